#include "tokenizer/chat_template.h"

#include <array>
#include <ctime>
#include <nlohmann/json.hpp>

#include "jinja/lexer.h"
#include "jinja/parser.h"
#include "jinja/runtime.h"
#include "tokenizer/jinja_limits.h"
#include "tokenizer/unicode.h"

namespace quire {

namespace {

using nlohmann::ordered_json;

constexpr size_t kMaxSource = 128 << 10;  // bytes; real templates have up to about 30 KiB
constexpr size_t kMaxBlockTokens = 4096;  // between {{ and }}: bounds long chains of operators
constexpr int kMaxDepth = 256;            // nodes of the syntax tree
constexpr int kMaxJsonDepth = 64;
constexpr uint64_t kBaseUnits = 24 << 20;  // a second or two of work
constexpr uint64_t kUnitsPerByte = 64;     // text is copied once per level of nesting
constexpr uint64_t kBytesPerValue = 64;    // as what a value of the messages counts

// "parser: Expected }}\n...source...\n   ^" and the engine's frames around run-time errors, as one
// line.
Status TemplateError(std::string_view what) {
  constexpr std::string_view kRaised = "Jinja Exception: ";
  if (const size_t at = what.find(kRaised); at != std::string_view::npos) {
    return InvalidArgument("the chat template refuses the messages: ",
                           RepairUtf8(what.substr(at + kRaised.size())));
  }
  std::string place;
  constexpr std::string_view kWhere = " at line ";
  const size_t where = what.find(kWhere);
  const size_t where_end = what.find(" in source", where);
  if (where != std::string_view::npos && where_end != std::string_view::npos) {
    place = what.substr(where, where_end - where);
  }
  constexpr std::string_view kError = "Error: ";
  if (const size_t at = what.rfind(kError); at != std::string_view::npos) {
    what.remove_prefix(at + kError.size());
  }
  return InvalidArgument("chat template", place, ": ", RepairUtf8(what.substr(0, what.find('\n'))));
}

// Runs `work`, which may throw anything, within `units`.
template <typename Work>
Status Guarded(uint64_t units, const Work& work) {
  JinjaBudget budget{units, kMaxDepth};
  const JinjaBudgetScope scope(&budget);
  try {
    work();
    return OkStatus();
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("chat template: out of memory");
  } catch (const std::exception& e) {
    return TemplateError(e.what());
  } catch (...) {
    return TemplateError("break or continue outside a loop");
  }
}

Status CheckBlocks(const std::vector<jinja::token>& tokens) {
  size_t in_block = 0;
  for (const jinja::token& token : tokens) {
    const bool opens =
        token.t == jinja::token::open_expression || token.t == jinja::token::open_statement;
    in_block = opens ? 0 : in_block + 1;
    if (in_block > kMaxBlockTokens && token.t != jinja::token::text) {
      return InvalidArgument("chat template: more than ", kMaxBlockTokens,
                             " tokens in one block at byte ", token.pos);
    }
  }
  return OkStatus();
}

// Throws if `json` nests too deep for the engine's own recursion.
jinja::value ToJinja(const ordered_json& json, int depth, uint64_t* bytes) {
  if (depth > kMaxJsonDepth) {
    throw std::runtime_error("the messages nest too deep");
  }
  *bytes += kBytesPerValue;
  switch (json.type()) {
    case ordered_json::value_t::boolean: return jinja::mk_val<jinja::value_bool>(json.get<bool>());
    case ordered_json::value_t::number_integer:
    case ordered_json::value_t::number_unsigned:
      return jinja::mk_val<jinja::value_int>(json.get<int64_t>());
    case ordered_json::value_t::number_float:
      return jinja::mk_val<jinja::value_float>(json.get<double>());
    case ordered_json::value_t::string: {
      const std::string& text = json.get_ref<const std::string&>();
      *bytes += text.size();
      return jinja::mk_val<jinja::value_string>(text);
    }
    case ordered_json::value_t::array: {
      std::vector<jinja::value> items;
      for (const ordered_json& item : json) {
        items.push_back(ToJinja(item, depth + 1, bytes));
      }
      return jinja::mk_val<jinja::value_array>(std::move(items));
    }
    case ordered_json::value_t::object: {
      auto object = jinja::mk_val<jinja::value_object>();
      for (const auto& [key, value] : json.items()) {
        *bytes += key.size();
        object->insert(key, ToJinja(value, depth + 1, bytes));
      }
      return object;
    }
    default: return jinja::mk_val<jinja::value_none>();
  }
}

// The engine's own strftime_now shares a buffer between threads.
jinja::value StrftimeNow(const jinja::func_args& args) {
  args.ensure_vals<jinja::value_string>();
  const std::string format = args.get_pos(0)->as_string().str();
  std::tm local;
  if (localtime_r(&args.ctx.current_time, &local) == nullptr) {
    throw std::runtime_error("strftime_now: no local time");
  }
  std::array<char, 256> text;
  const size_t size = std::strftime(text.data(), text.size(), format.c_str(), &local);
  return jinja::mk_val<jinja::value_string>(std::string(text.data(), size));
}

Status CheckMessages(const ordered_json& messages) {
  if (!messages.is_array() || messages.empty()) {
    return InvalidArgument("messages must be an array of at least one message");
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    const ordered_json& message = messages[i];
    if (!message.is_object() || !message.contains("role") || !message["role"].is_string()) {
      return InvalidArgument("messages[", i, "] must be an object with a string \"role\"");
    }
  }
  return OkStatus();
}

}  // namespace

struct ChatTemplate::Parsed {
  std::string source;
  std::string bos;
  std::string eos;
  jinja::program program;
};

Result<ChatTemplate> ChatTemplate::Create(std::string source, std::string bos, std::string eos) {
  if (source.size() > kMaxSource) {
    return InvalidArgument("chat template has ", source.size(), " bytes; the most is ", kMaxSource);
  }
  auto parsed = std::make_shared<Parsed>();
  Status blocks;
  QUIRE_RETURN_IF_ERROR(Guarded(kBaseUnits, [&] {
    jinja::lexer lexer;
    const jinja::lexer_result tokens = lexer.tokenize(source);
    blocks = CheckBlocks(tokens.tokens);
    if (blocks.ok()) {
      parsed->program = jinja::parse_from_tokens(tokens);
    }
  }));
  QUIRE_RETURN_IF_ERROR(blocks);
  parsed->source = std::move(source);
  parsed->bos = std::move(bos);
  parsed->eos = std::move(eos);
  return ChatTemplate(std::move(parsed));
}

Result<ChatTemplate> ChatTemplate::FromGguf(const GgufFile& file, const Tokenizer& tokenizer) {
  constexpr std::string_view kKey = "tokenizer.chat_template";
  std::string_view source;
  if (const GgufValue* value = file.Find(kKey);
      value != nullptr && std::holds_alternative<GgufArray>(*value)) {
    QUIRE_ASSIGN_OR_RETURN(const std::vector<std::string_view> sources, file.GetStrings(kKey));
    if (sources.empty()) {
      return InvalidArgument(kKey, " of ", file.path(), " is an empty array");
    }
    source = sources[0];
  } else if (value != nullptr) {
    QUIRE_ASSIGN_OR_RETURN(source, file.GetString(kKey));
  } else {
    QUIRE_ASSIGN_OR_RETURN(const std::string_view arch, file.GetString("general.architecture"));
    const bool is_gemma = arch == "gemma" || arch == "gemma2" || arch == "gemma3";
    source = is_gemma ? kGemmaTemplate : kChatMlTemplate;
  }
  const auto piece = [&](int32_t id) {
    return std::string(id < 0 ? std::string_view() : tokenizer.TokenPiece(id));
  };
  return Create(std::string(source), piece(tokenizer.bos_id()), piece(tokenizer.eos_id()));
}

const std::string& ChatTemplate::source() const {
  return parsed_->source;
}

Result<std::string> ChatTemplate::Render(const ordered_json& messages,
                                         bool add_generation_prompt) const {
  return Render(messages, add_generation_prompt, ordered_json::object());
}

Result<std::string> ChatTemplate::Render(const ordered_json& messages, bool add_generation_prompt,
                                         const ordered_json& variables) const {
  QUIRE_RETURN_IF_ERROR(CheckMessages(messages));
  if (!variables.is_object()) {
    return InvalidArgument("the template's variables must be an object");
  }
  std::string prompt;
  QUIRE_RETURN_IF_ERROR(Guarded(kBaseUnits, [&] {
    jinja::context context(parsed_->source);
    uint64_t bytes = parsed_->source.size();
    for (const auto& [name, value] : variables.items()) {
      context.set_val(name, ToJinja(value, 0, &bytes));
    }
    context.set_val("messages", ToJinja(messages, 0, &bytes));
    context.set_val("add_generation_prompt",
                    jinja::mk_val<jinja::value_bool>(add_generation_prompt));
    context.set_val("bos_token", jinja::mk_val<jinja::value_string>(parsed_->bos));
    context.set_val("eos_token", jinja::mk_val<jinja::value_string>(parsed_->eos));
    context.set_val("strftime_now", jinja::mk_val<jinja::value_func>("strftime_now", StrftimeNow));
    jinja_budget->units = kBaseUnits + kUnitsPerByte * bytes;
    const jinja::value results = jinja::runtime(context).execute(parsed_->program);
    prompt = jinja::render_string_parts(jinja::runtime::gather_string_parts(results));
  }));
  return prompt;
}

}  // namespace quire
