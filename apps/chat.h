// quire chat: a conversation with the model in the terminal.
#pragma once

#include <cstdint>
#include <string>

#include "engine/engine_client.h"

namespace quire {

struct ChatOptions {
  std::string system_prompt;  // the first message, if not empty
  SamplingParams sampling;    // answer i draws with seed + i
  int32_t max_tokens = 1024;  // of an answer; cut to the end of the context
};

// Reads lines from standard input and prints answers as they come, until the end of input or /exit.
// /reset forgets the conversation, /help lists the commands, Ctrl-C cancels the answer. Returns the
// exit code; errors that end it go to standard error.
int RunChat(EngineClient& engine, const ChatOptions& options);

}  // namespace quire
