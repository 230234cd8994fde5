#include "tokenizer/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "model/loader/gguf_test_writer.h"
#include "tokenizer/unicode.h"

namespace quire {
namespace {

using nlohmann::ordered_json;
using testing::HasSubstr;
using testing::Not;

const ordered_json kHello = {{{"role", "user"}, {"content", "Hello"}}};

Result<std::string> RenderSource(std::string_view source, const ordered_json& messages = kHello,
                                 bool add_generation_prompt = true) {
  QUIRE_ASSIGN_OR_RETURN(const ChatTemplate chat,
                         ChatTemplate::Create(std::string(source), "<s>", "</s>"));
  return chat.Render(messages, add_generation_prompt);
}

std::string RenderOrError(std::string_view source, const ordered_json& messages = kHello,
                          bool add_generation_prompt = true) {
  const Result<std::string> text = RenderSource(source, messages, add_generation_prompt);
  return text.ok() ? *text : "error: " + text.status().message();
}

TEST(ChatTemplateTest, RendersAsJinja2) {
  const std::filesystem::path folder = std::filesystem::path(__FILE__).parent_path() / "testdata";
  std::ifstream in(folder / "chat_templates.json");
  const ordered_json fixture = ordered_json::parse(in);
  ASSERT_GE(fixture["cases"].size(), 60u);
  for (const ordered_json& c : fixture["cases"]) {
    const std::string name = c["template"];
    const std::string source = fixture["templates"][name];
    EXPECT_EQ(RenderOrError(source, c["messages"], c["add_generation_prompt"].get<bool>()),
              c["text"].get<std::string>())
        << name << " " << c["messages"].dump();
  }
}

TEST(ChatTemplateTest, VariablesReachTheTemplate) {
  const Result<ChatTemplate> chat = ChatTemplate::Create(
      "{{ tools[0].name }} {{ on }} {{ n + 1 }} {{ x }} {{ none is none }}", "", "");
  ASSERT_TRUE(chat.ok());
  const ordered_json variables = {{"tools", {{{"name", "f"}}}}, {"on", true}, {"n", 2}, {"x", 0.5}};
  const Result<std::string> text = chat->Render(kHello, true, variables);
  ASSERT_TRUE(text.ok()) << text.status().message();
  EXPECT_EQ(*text, "f True 3 0.5 True");
  EXPECT_FALSE(chat->Render(kHello, true, ordered_json::array()).ok());
}

TEST(ChatTemplateTest, RefusalsCarryTheTemplatesWords) {
  const Result<std::string> text = RenderSource("{{ raise_exception('roles must alternate') }}");
  ASSERT_FALSE(text.ok());
  EXPECT_EQ(text.status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(text.status().message(),
            "the chat template refuses the messages: roles must alternate");
}

TEST(ChatTemplateTest, MistakesOfTheTemplateAreStatuses) {
  for (const std::string_view source :
       {"{% if %}", "{{ x", "{% for m in messages %}", "{% endfor %}", "{{ 1 + }}", "{% unknown %}",
        "{{ 'a' | nofilter }}", "{% break %}", "{{ [1, 2", "{{ {'a': } }}", "{{ 1 % 'x' }}",
        "{{ undefined_function() }}", "{% set %}", "{% macro %}", "{{ \"abc }}", "{#"}) {
    const Result<std::string> text = RenderSource(source);
    ASSERT_FALSE(text.ok()) << source << " gave " << *text;
    EXPECT_EQ(text.status().code(), StatusCode::kInvalidArgument) << source;
    EXPECT_THAT(text.status().message(), HasSubstr("chat template")) << source;
    EXPECT_THAT(text.status().message(), Not(HasSubstr("\n"))) << source;
  }
}

TEST(ChatTemplateTest, ErrorsAreValidUtf8) {
  const Result<std::string> text = RenderSource("{{ raise_exception('é'[0:1]) }}");
  ASSERT_FALSE(text.ok());
  EXPECT_EQ(text.status().message(), RepairUtf8(text.status().message()));
  const Result<std::string> place = RenderSource("{{ x 〈 }}");
  ASSERT_FALSE(place.ok());
  EXPECT_EQ(place.status().message(), RepairUtf8(place.status().message()));
}

TEST(ChatTemplateTest, MessagesMustBeMessages) {
  for (const char* json : {"{}", "[]", "[1]", "[{}]", "[{\"role\": 1}]", "\"x\"", "null"}) {
    const Result<std::string> text = RenderSource("x", ordered_json::parse(json));
    ASSERT_FALSE(text.ok()) << json;
    EXPECT_EQ(text.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(text.status().message(), HasSubstr("messages"));
  }
}

TEST(ChatTemplateTest, EndlessTemplatesStop) {
  for (const std::string_view source :
       {"{% for i in range(10 ** 12) %}x{% endfor %}",
        "{% for i in range(1000000000000) %}x{% endfor %}",
        "{% for i in range(9999) %}{% for j in range(9999) %}{{ i }}{% endfor %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ 'a' * 1000000000000 }}",
        "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% "
        "endfor %}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% "
        "endfor %}",
        "{% set ns = namespace(s='aa') %}{% for i in range(60) %}{% set ns.s = ns.s | replace('a', "
        "'aaaa') "
        "%}{% endfor %}",
        "{{ 'a' | indent(1000000000000) }}", "{{ [[1]] | tojson(indent=2000000000) }}",
        "{{ range(99999) | join('a' * 9999999) }}",
        "{{ ('a' * 9999999) | replace('', 'a' * 9999999) }}"}) {
    EXPECT_FALSE(RenderSource(source).ok()) << source;
  }
}

TEST(ChatTemplateTest, DeepAndLongTemplatesAreRefused) {
  const auto repeat = [](std::string_view part, int times) {
    std::string out;
    for (int i = 0; i < times; ++i) out += part;
    return out;
  };
  EXPECT_FALSE(RenderSource("{{ " + repeat("(", 20000) + "1" + repeat(")", 20000) + " }}").ok());
  EXPECT_FALSE(RenderSource("{{ 1" + repeat(" + 1", 20000) + " }}").ok());
  EXPECT_FALSE(RenderSource("{{ " + repeat("not ", 20000) + "1 }}").ok());
  EXPECT_FALSE(RenderSource("{{ " + repeat("[", 20000) + repeat("]", 20000) + " }}").ok());
  EXPECT_FALSE(RenderSource("{{ f" + repeat("()", 20000) + " }}").ok());
  EXPECT_FALSE(RenderSource(repeat("{% if 1 %}", 8000) + repeat("{% endif %}", 4000)).ok());
  EXPECT_FALSE(RenderSource("{% if 0 %}" + repeat("{% elif 0 %}", 8000) + "{% endif %}").ok());
  EXPECT_FALSE(RenderSource(repeat("x", 200000)).ok());
  EXPECT_EQ(
      RenderOrError("{{ " + repeat("(", 20) + "1" + repeat(")", 20) + repeat(" + 1", 100) + " }}"),
      "101");
}

TEST(ChatTemplateTest, LongMessagesFit) {
  ordered_json messages;
  for (int i = 0; i < 200; ++i) {
    messages.push_back(
        {{"role", i % 2 == 0 ? "user" : "assistant"}, {"content", std::string(20000, 'x')}});
  }
  const Result<std::string> text = RenderSource(kChatMlTemplate, messages);
  ASSERT_TRUE(text.ok()) << text.status().message();
  EXPECT_GT(text->size(), 4000000u);
}

TEST(ChatTemplateTest, BuiltInChatMl) {
  const ordered_json messages = {{{"role", "system"}, {"content", "S"}},
                                 {{"role", "user"}, {"content", " u\n"}}};
  EXPECT_EQ(
      RenderOrError(kChatMlTemplate, messages),
      "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n u\n<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(RenderOrError(kChatMlTemplate, kHello, false), "<|im_start|>user\nHello<|im_end|>\n");
}

TEST(ChatTemplateTest, BuiltInGemma) {
  const ordered_json messages = {{{"role", "system"}, {"content", "S"}},
                                 {{"role", "user"}, {"content", " u\n"}},
                                 {{"role", "assistant"}, {"content", "a"}},
                                 {{"role", "user"}, {"content", "v"}}};
  EXPECT_EQ(RenderOrError(kGemmaTemplate, messages),
            "<s><start_of_turn>user\nS\n\nu<end_of_turn>\n<start_of_turn>model\na<end_of_turn>\n"
            "<start_of_turn>user\nv<end_of_turn>\n<start_of_turn>model\n");
  EXPECT_EQ(RenderOrError(kGemmaTemplate, kHello, false),
            "<s><start_of_turn>user\nHello<end_of_turn>\n");
  const ordered_json odd = {{{"role", "assistant"}, {"content", "a"}}};
  EXPECT_THAT(RenderOrError(kGemmaTemplate, odd), HasSubstr("must alternate"));
}

TEST(ChatTemplateTest, OneTemplateServesManyThreads) {
  const Result<ChatTemplate> chat = ChatTemplate::Create(
      std::string(kChatMlTemplate) + "{{ strftime_now('%Y') | length }}", "", "");
  ASSERT_TRUE(chat.ok());
  std::vector<std::jthread> threads;
  std::array<std::string, 4> texts;
  for (std::string& text : texts) {
    threads.emplace_back([&chat, &text] {
      for (int i = 0; i < 50; ++i) {
        text = *chat->Render(kHello, true);
      }
    });
  }
  threads.clear();
  for (const std::string& text : texts) {
    EXPECT_EQ(text, "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n4");
  }
}

GgufTestWriter SmallFile(std::string_view architecture) {
  GgufTestWriter writer;
  writer.AddString("general.architecture", architecture);
  writer.AddString("tokenizer.ggml.model", "gpt2");
  writer.AddString("tokenizer.ggml.pre", "gpt-2");
  writer.AddStrings("tokenizer.ggml.tokens", {"<b>", "<e>"});
  writer.AddArray<int32_t>("tokenizer.ggml.token_type", 5, {3, 3});
  writer.AddStrings("tokenizer.ggml.merges", {});
  writer.AddUint32("tokenizer.ggml.bos_token_id", 0);
  writer.AddUint32("tokenizer.ggml.eos_token_id", 1);
  return writer;
}

std::string SourceOf(const GgufTestWriter& writer, bool render = false) {
  const GgufTestFile bytes(writer.Build());
  const Result<GgufFile> file = GgufFile::Open(bytes.path());
  const auto tokenizer = Tokenizer::FromGguf(*file);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  const Result<ChatTemplate> chat = ChatTemplate::FromGguf(*file, **tokenizer);
  if (!chat.ok()) {
    return "error: " + chat.status().message();
  }
  return render ? *chat->Render(kHello, true) : chat->source();
}

TEST(ChatTemplateTest, FilesBringTheirTemplate) {
  GgufTestWriter one = SmallFile("llama");
  one.AddString("tokenizer.chat_template", "{{ bos_token }}|{{ eos_token }}");
  EXPECT_EQ(SourceOf(one, true), "<b>|<e>");
  GgufTestWriter many = SmallFile("llama");
  many.AddStrings("tokenizer.chat_template", {"first", "second"});
  EXPECT_EQ(SourceOf(many), "first");
  EXPECT_EQ(SourceOf(SmallFile("gemma3")), kGemmaTemplate);
  EXPECT_EQ(SourceOf(SmallFile("llama")), kChatMlTemplate);
}

TEST(ChatTemplateTest, OddTemplatesOfFilesAreNamed) {
  GgufTestWriter number = SmallFile("llama");
  number.AddUint32("tokenizer.chat_template", 7);
  EXPECT_THAT(SourceOf(number), HasSubstr("tokenizer.chat_template"));
  GgufTestWriter empty = SmallFile("llama");
  empty.AddStrings("tokenizer.chat_template", {});
  EXPECT_THAT(SourceOf(empty), HasSubstr("tokenizer.chat_template"));
}

}  // namespace
}  // namespace quire
