// The names of tokens that end a text or a turn. GGUF files name one end token, models use several.
//
// Sources: llama.cpp's list of end-of-generation tokens, which goes by name too, and the models'
// cards.
#pragma once

#include <string_view>

namespace quire {

// Unmistakable: a token of this name is a control token even where the file calls it ordinary.
inline constexpr std::string_view kEndTokenNames[] = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|calls|>",
    "<|flush|>",
    "<end_of_turn>",
    "<turn|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "[e~[",
    "<end_of_utterance>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
};

// These end a text only where the file marks them as control tokens: elsewhere they are markup
// (Gemma 3's
// "</s>" is HTML). Those after "<eos>" end a file, or begin the next, in code models.
inline constexpr std::string_view kEndControlTokenNames[] = {
    "</s>",   "<eos>",      "<|fim_pad|>",  "<fim-pad>",     "<fim_pad>",
    "<PAD>",  "[PAD]",      "<|fim_repo|>", "<|repo_name|>", "<fim-repo>",
    "<REPO>", "<reponame>", "<|file_sep|>",
};

// The end-of-turn token of a file that does not name one is the first of these that it has.
inline constexpr std::string_view kTurnEndNames[] = {
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<turn|>", "<|endoftext|>",
};

}  // namespace quire
