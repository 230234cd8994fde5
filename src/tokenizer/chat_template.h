// Conversations to prompts: the Jinja template that comes with a model.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/status.h"
#include "model/loader/gguf.h"
#include "tokenizer/tokenizer.h"

namespace quire {

// A parsed template. Immutable, so thread-safe. Copies share the parsed form.
//
// Templates are untrusted: source size, nesting, work and text made are bounded, and whatever goes
// wrong is an invalid_argument Status whose one-line message says where. They are rendered as
// Hugging Face transformers does (trim_blocks, lstrip_blocks, raise_exception, strftime_now,
// tojson).
class ChatTemplate {
 public:
  // `bos` and `eos` are the template's bos_token and eos_token.
  // Errors: invalid_argument (syntax, larger than 128 KiB, nested too deep).
  static Result<ChatTemplate> Create(std::string source, std::string bos, std::string eos);

  // The file's tokenizer.chat_template: a string, or an array of strings, of which the first
  // counts. If it has none: kGemmaTemplate for the architectures gemma, gemma2 and gemma3, else
  // kChatMlTemplate. Errors: as Create; invalid_argument if the value is of another kind.
  static Result<ChatTemplate> FromGguf(const GgufFile& file, const Tokenizer& tokenizer);

  // The prompt of a conversation. `messages` is an array of {"role": ..., "content": ...} objects,
  // as in the OpenAI API; the template sees all their members. With `add_generation_prompt` the
  // prompt ends where the answer begins. `variables` is an object of further variables (tools,
  // enable_thinking, ...).
  //
  // The prompt names every special token it needs, the beginning-of-text token included: encode it
  // with EncodeOptions{.add_bos = false, .parse_special = true}.
  //
  // Errors: invalid_argument (messages of another shape; what the template itself refuses, with its
  // words; mistakes of the template; work out of bounds).
  Result<std::string> Render(const nlohmann::ordered_json& messages,
                             bool add_generation_prompt) const;
  Result<std::string> Render(const nlohmann::ordered_json& messages, bool add_generation_prompt,
                             const nlohmann::ordered_json& variables) const;

  const std::string& source() const;

 private:
  struct Parsed;
  explicit ChatTemplate(std::shared_ptr<const Parsed> parsed) : parsed_(std::move(parsed)) {}

  std::shared_ptr<const Parsed> parsed_;
};

// What files without a template are taken to speak. Gemma's turns, with a system message put before
// the first user message, and ChatML.
extern const std::string_view kGemmaTemplate;
extern const std::string_view kChatMlTemplate;

}  // namespace quire
