// Model files that are well-formed GGUF but no model that can run: each is refused with a message
// that names what is wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "model/loader/gguf_test_writer.h"
#include "model/model.h"
#include "platform/cpu/cpu_device.h"

namespace quire {
namespace {

using testing::HasSubstr;

constexpr uint32_t kGgufF32 = 0;
constexpr uint32_t kGgufI32 = 26;

// The metadata of a decoder with one layer of hidden size 32 and two heads.
GgufTestWriter TinyMetadata(const std::string& architecture = "llama") {
  GgufTestWriter writer;
  writer.AddString("general.architecture", architecture);
  writer.AddUint32(architecture + ".block_count", 1);
  writer.AddUint32(architecture + ".embedding_length", 32);
  writer.AddUint32(architecture + ".feed_forward_length", 64);
  writer.AddUint32(architecture + ".context_length", 128);
  writer.AddUint32(architecture + ".attention.head_count", 2);
  writer.AddFloat32(architecture + ".attention.layer_norm_rms_epsilon", 1e-5f);
  return writer;
}

void AddFloats(GgufTestWriter& writer, const std::string& name, uint64_t rows, uint64_t columns) {
  writer.AddTensor(name, kGgufF32, {columns, rows}, std::string(rows * columns * 4, '\0'));
}

Result<std::unique_ptr<Model>> Load(const GgufTestWriter& writer) {
  const GgufTestFile path(writer.Build());
  QUIRE_ASSIGN_OR_RETURN(GgufFile file, GgufFile::Open(path.path()));
  QUIRE_ASSIGN_OR_RETURN(const auto device, CpuDevice::Create(1));
  CpuStream stream(*device);
  Workspace workspace(*device);
  return LoadModel({stream, workspace}, std::make_shared<const GgufFile>(std::move(file)), {});
}

void ExpectRefused(const GgufTestWriter& writer, StatusCode code, const std::string& text) {
  const auto model = Load(writer);
  ASSERT_FALSE(model.ok());
  EXPECT_EQ(model.status().code(), code) << model.status().message();
  EXPECT_THAT(model.status().message(), HasSubstr(text));
}

TEST(ModelLoadTest, UnknownArchitectureNamesTheKnown) {
  GgufTestWriter writer;
  writer.AddString("general.architecture", "mamba9");
  ExpectRefused(writer, StatusCode::kUnsupported, "'mamba9'");
  ExpectRefused(writer, StatusCode::kUnsupported, "llama, gemma3");
}

TEST(ModelLoadTest, MissingArchitectureIsNamed) {
  ExpectRefused({}, StatusCode::kNotFound, "general.architecture");
}

TEST(ModelLoadTest, MissingKeyIsNamed) {
  GgufTestWriter writer;
  writer.AddString("general.architecture", "llama");
  ExpectRefused(writer, StatusCode::kNotFound, "llama.block_count");
}

TEST(ModelLoadTest, AbsurdCountIsRefused) {
  GgufTestWriter writer;
  writer.AddString("general.architecture", "llama");
  writer.AddUint32("llama.block_count", 4'000'000'000u);
  ExpectRefused(writer, StatusCode::kCorruptData, "4000000000");
}

TEST(ModelLoadTest, MoreKeyHeadsThanQueryHeadsAreRefused) {
  GgufTestWriter writer = TinyMetadata();
  writer.AddUint32("llama.attention.head_count_kv", 5);
  ExpectRefused(writer, StatusCode::kCorruptData, "llama.attention.head_count_kv");
}

TEST(ModelLoadTest, UnknownRopeScalingIsRefused) {
  GgufTestWriter writer = TinyMetadata();
  writer.AddString("llama.rope.scaling.type", "spiral");
  ExpectRefused(writer, StatusCode::kUnsupported, "spiral");
}

TEST(ModelLoadTest, MixtureOfExpertsIsRefused) {
  GgufTestWriter writer = TinyMetadata();
  writer.AddUint32("llama.expert_count", 8);
  ExpectRefused(writer, StatusCode::kUnsupported, "llama.expert_count");
}

TEST(ModelLoadTest, MissingEmbeddingIsNamed) {
  ExpectRefused(TinyMetadata(), StatusCode::kCorruptData, "token_embd.weight");
}

TEST(ModelLoadTest, MissingTensorIsNamed) {
  for (const char* architecture : {"llama", "gemma3"}) {
    GgufTestWriter writer = TinyMetadata(architecture);
    AddFloats(writer, "token_embd.weight", 8, 32);
    ExpectRefused(writer, StatusCode::kNotFound, "blk.0.attn_norm.weight");
  }
}

TEST(ModelLoadTest, WrongShapeIsNamedWithBothShapes) {
  GgufTestWriter writer = TinyMetadata();
  AddFloats(writer, "token_embd.weight", 8, 32);
  writer.AddTensor("blk.0.attn_norm.weight", kGgufF32, {31}, std::string(31 * 4, '\0'));
  ExpectRefused(writer, StatusCode::kCorruptData, "[31], expected [32]");
}

TEST(ModelLoadTest, IntegersAreNoWeights) {
  GgufTestWriter writer = TinyMetadata();
  AddFloats(writer, "token_embd.weight", 8, 32);
  writer.AddTensor("blk.0.attn_norm.weight", kGgufI32, {32}, std::string(32 * 4, '\0'));
  ExpectRefused(writer, StatusCode::kUnsupported, "blk.0.attn_norm.weight");
}

}  // namespace
}  // namespace quire
