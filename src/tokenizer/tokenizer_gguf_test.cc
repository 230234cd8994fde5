// Tokenizers of files: of small ones written here, and of the real models where the build knows
// them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "model/loader/gguf_test_writer.h"
#include "tokenizer/tokenizer.h"

namespace quire {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint32_t kInt32 = 5;
constexpr uint32_t kFloat32 = 6;

GgufTestWriter SmallBpe() {
  GgufTestWriter writer;
  writer.AddString("tokenizer.ggml.model", "gpt2");
  writer.AddString("tokenizer.ggml.pre", "gpt-2");
  writer.AddStrings("tokenizer.ggml.tokens", {"<|endoftext|>", "h", "i", "hi"});
  writer.AddArray<int32_t>("tokenizer.ggml.token_type", kInt32, {3, 1, 1, 1});
  writer.AddStrings("tokenizer.ggml.merges", {"h i"});
  return writer;
}

Result<std::unique_ptr<Tokenizer>> Load(const GgufTestWriter& writer) {
  const GgufTestFile bytes(writer.Build());
  const Result<GgufFile> file = GgufFile::Open(bytes.path());
  EXPECT_TRUE(file.ok()) << file.status().message();
  return Tokenizer::FromGguf(*file);  // which does not keep the file
}

TEST(TokenizerGgufTest, ReadsBpe) {
  GgufTestWriter writer = SmallBpe();
  writer.AddUint32("tokenizer.ggml.bos_token_id", 0);
  writer.AddUint32("tokenizer.ggml.eos_token_id", 0);
  writer.AddBool("tokenizer.ggml.add_bos_token", true);
  const auto tokenizer = Load(writer);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_THAT((*tokenizer)->Encode("hii"), ElementsAre(0, 3, 2));
  EXPECT_EQ((*tokenizer)->vocab_size(), 4);
}

TEST(TokenizerGgufTest, ReadsSentencePiece) {
  GgufTestWriter writer;
  writer.AddString("tokenizer.ggml.model", "llama");
  writer.AddStrings("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", "▁h"});
  writer.AddArray<int32_t>("tokenizer.ggml.token_type", kInt32, {2, 3, 3, 1});
  writer.AddArray<float>("tokenizer.ggml.scores", kFloat32, {0, 0, 0, -1});
  writer.AddUint32("tokenizer.ggml.bos_token_id", 1);
  writer.AddUint32("tokenizer.ggml.eos_token_id", 2);
  writer.AddUint32("tokenizer.ggml.unknown_token_id", 0);
  const auto tokenizer = Load(writer);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  EXPECT_TRUE((*tokenizer)->adds_space_prefix());
  EXPECT_THAT((*tokenizer)->Encode("h"), ElementsAre(1, 3));
}

void ExpectRefused(const GgufTestWriter& writer, StatusCode code, std::string_view expected) {
  const auto tokenizer = Load(writer);
  ASSERT_FALSE(tokenizer.ok()) << expected;
  EXPECT_EQ(tokenizer.status().code(), code) << tokenizer.status().message();
  EXPECT_THAT(tokenizer.status().message(), HasSubstr(expected));
}

TEST(TokenizerGgufTest, MissingKeysAreNamed) {
  GgufTestWriter writer;
  ExpectRefused(writer, StatusCode::kNotFound, "tokenizer.ggml.model");
  writer.AddString("tokenizer.ggml.model", "gpt2");
  ExpectRefused(writer, StatusCode::kNotFound, "tokenizer.ggml.pre");
  writer.AddString("tokenizer.ggml.pre", "gpt-2");
  ExpectRefused(writer, StatusCode::kNotFound, "tokenizer.ggml.merges");
  writer.AddStrings("tokenizer.ggml.merges", {});
  ExpectRefused(writer, StatusCode::kNotFound, "tokenizer.ggml.tokens");
}

TEST(TokenizerGgufTest, MissingScoresAreNamed) {
  GgufTestWriter writer;
  writer.AddString("tokenizer.ggml.model", "llama");
  ExpectRefused(writer, StatusCode::kNotFound, "tokenizer.ggml.scores");
}

TEST(TokenizerGgufTest, OtherModelsAndKindsAreRefused) {
  GgufTestWriter bert;
  bert.AddString("tokenizer.ggml.model", "bert");
  ExpectRefused(bert, StatusCode::kUnsupported, "tokenizer.ggml.model 'bert'");
  GgufTestWriter number;
  number.AddUint32("tokenizer.ggml.model", 1);
  ExpectRefused(number, StatusCode::kInvalidArgument, "tokenizer.ggml.model");
  GgufTestWriter far = SmallBpe();
  far.AddUint32("tokenizer.ggml.bos_token_id", 4);
  ExpectRefused(far, StatusCode::kCorruptData, "tokenizer.ggml.bos_token_id");
  GgufTestWriter huge = SmallBpe();
  huge.AddUint32("tokenizer.ggml.bos_token_id", 0xFFFFFFFF);
  ExpectRefused(huge, StatusCode::kCorruptData, "tokenizer.ggml.bos_token_id");
}

#if defined(QUIRE_SMOLLM2_GGUF) || defined(QUIRE_GEMMA3_GGUF)

std::unique_ptr<Tokenizer> LoadModel(const std::string& path) {
  const Result<GgufFile> file = GgufFile::Open(path);
  EXPECT_TRUE(file.ok()) << file.status().message();
  Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::FromGguf(*file);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  return *std::move(tokenizer);
}

// Every case of a fixture made by tools/tokenizer/make_fixtures.py.
void ExpectFixture(const Tokenizer& tokenizer, const std::string& name) {
  const std::filesystem::path folder = std::filesystem::path(__FILE__).parent_path() / "testdata";
  std::ifstream in(folder / name);
  const nlohmann::json fixture = nlohmann::json::parse(in);
  EXPECT_GE(fixture["cases"].size(), 140u);
  for (const nlohmann::json& c : fixture["cases"]) {
    const std::string text = c["text"];
    const EncodeOptions options{.add_bos = false, .parse_special = c["parse_special"].get<bool>()};
    EXPECT_EQ(tokenizer.Encode(text, options), c["ids"].get<std::vector<int32_t>>())
        << c["text"].dump();
  }
}

#endif

#ifdef QUIRE_SMOLLM2_GGUF

TEST(TokenizerGgufTest, SmolLm2IsAsInHuggingFaceTokenizers) {
  const auto tokenizer = LoadModel(QUIRE_SMOLLM2_GGUF);
  ExpectFixture(*tokenizer, "smollm2_ids.json");
  EXPECT_EQ(tokenizer->vocab_size(), 49152);
  EXPECT_FALSE(tokenizer->adds_bos());
  EXPECT_EQ(tokenizer->bos_id(), 1);
  EXPECT_EQ(tokenizer->eos_id(), 2);
  EXPECT_EQ(tokenizer->eot_id(), 2);
  EXPECT_TRUE(tokenizer->IsEndOfGeneration(0));  // <|endoftext|>
}

#endif
#ifdef QUIRE_GEMMA3_GGUF

TEST(TokenizerGgufTest, Gemma3IsAsInSentencePiece) {
  const auto tokenizer = LoadModel(QUIRE_GEMMA3_GGUF);
  ExpectFixture(*tokenizer, "gemma3_ids.json");
  EXPECT_EQ(tokenizer->vocab_size(), 262144);
  EXPECT_TRUE(tokenizer->adds_bos());
  EXPECT_FALSE(tokenizer->adds_space_prefix());
  EXPECT_EQ(tokenizer->bos_id(), 2);
  EXPECT_EQ(tokenizer->TokenPiece(tokenizer->eot_id()), "<end_of_turn>");
  EXPECT_THAT(tokenizer->end_of_generation_ids(), ElementsAre(1, 106));  // not 212, HTML's </s>
}

#endif

}  // namespace
}  // namespace quire
