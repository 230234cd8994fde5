#include "model/loader/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "model/loader/gguf_test_writer.h"

namespace quire {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Tensor type numbers of the specification.
constexpr uint32_t kF32 = 0;
constexpr uint32_t kF16 = 1;
constexpr uint32_t kQ4_1 = 3;
constexpr uint32_t kQ8_0 = 8;
constexpr uint32_t kQ4K = 12;

template <typename T>
std::string Repeat(T value, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) {
    out += GgufBytes(static_cast<T>(value + i));
  }
  return out;
}

// One value of every kind, tensors of rank 1 to 4.
GgufTestWriter SmallModel() {
  GgufTestWriter writer;
  writer.AddString("general.architecture", "llama");
  writer.AddMetadata("u8", 0, GgufBytes<uint8_t>(200));
  writer.AddMetadata("i8", 1, GgufBytes<int8_t>(-100));
  writer.AddMetadata("u16", 2, GgufBytes<uint16_t>(65535));
  writer.AddMetadata("i16", 3, GgufBytes<int16_t>(-32768));
  writer.AddUint32("u32", 4000000000U);
  writer.AddMetadata("i32", 5, GgufBytes<int32_t>(-2000000000));
  writer.AddMetadata("u64", 10, GgufBytes(std::numeric_limits<uint64_t>::max()));
  writer.AddMetadata("i64", 11, GgufBytes(std::numeric_limits<int64_t>::min()));
  writer.AddFloat32("f32", 0.5F);
  writer.AddMetadata("f64", 12, GgufBytes(1e300));
  writer.AddBool("yes", true);
  writer.AddBool("no", false);
  writer.AddString("empty", "");
  writer.AddStrings("strings", {"a", "", "long enough not to be small"});
  writer.AddArray<int16_t>("i16s", 3, {-1, 0, 32767});
  writer.AddArray<uint64_t>("u64s", 10, {1, std::numeric_limits<uint64_t>::max()});
  writer.AddArray<float>("f32s", 6, {0.25F, -8.0F});
  writer.AddArray<double>("f64s", 12, {0.125});
  writer.AddArray<uint8_t>("bools", 7, {1, 0, 1});
  writer.AddArray<uint32_t>("none", 4, {});
  writer.AddTensor("vector", kF32, {5}, Repeat<float>(1, 5));
  writer.AddTensor("matrix", kF16, {4, 3}, Repeat<uint16_t>(100, 12));
  writer.AddTensor("cube", kF32, {2, 3, 4}, Repeat<float>(0, 24));
  writer.AddTensor("four", 24, {1, 2, 3, 4}, Repeat<int8_t>(0, 24));
  writer.AddTensor("quantized", kQ4_1, {64, 2}, std::string(4 * 20, '\x11'));
  return writer;
}

Result<GgufFile> OpenBytes(const std::string& bytes) {
  const GgufTestFile file(bytes);  // the map outlives the file's name
  return GgufFile::Open(file.path());
}

void ExpectError(const std::string& bytes, StatusCode code, const std::string& message) {
  const Result<GgufFile> file = OpenBytes(bytes);
  ASSERT_FALSE(file.ok()) << "expected: " << message;
  EXPECT_EQ(file.status().code(), code) << file.status().message();
  EXPECT_THAT(file.status().message(), HasSubstr(message));
  EXPECT_THAT(file.status().message(), HasSubstr("quire_gguf_test_"));  // names the file
}

void ExpectCorrupt(const GgufTestWriter& writer, const std::string& message) {
  ExpectError(writer.Build(), StatusCode::kCorruptData, message);
}

TEST(GgufTest, ReadsScalarsOfEveryType) {
  const Result<GgufFile> file = OpenBytes(SmallModel().Build());
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->metadata().size(), 21U);
  EXPECT_EQ(*file->GetString("general.architecture"), "llama");
  EXPECT_EQ(*file->GetString("empty"), "");
  EXPECT_EQ(*file->GetInt("u8"), 200);
  EXPECT_EQ(*file->GetInt("i8"), -100);
  EXPECT_EQ(*file->GetInt("u16"), 65535);
  EXPECT_EQ(*file->GetInt("i16"), -32768);
  EXPECT_EQ(*file->GetInt("u32"), 4000000000);
  EXPECT_EQ(*file->GetInt("i32"), -2000000000);
  EXPECT_EQ(*file->GetInt("i64"), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(*file->GetFloat("f32"), 0.5);
  EXPECT_EQ(*file->GetFloat("f64"), 1e300);
  EXPECT_EQ(*file->GetFloat("i8"), -100);
  EXPECT_EQ(*file->GetFloat("u16"), 65535);
  EXPECT_TRUE(*file->GetBool("yes"));
  EXPECT_FALSE(*file->GetBool("no"));
}

TEST(GgufTest, ReadsArrays) {
  const Result<GgufFile> file = OpenBytes(SmallModel().Build());
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_THAT(*file->GetStrings("strings"), ElementsAre("a", "", "long enough not to be small"));
  EXPECT_THAT(*file->GetInts("i16s"), ElementsAre(-1, 0, 32767));
  EXPECT_THAT(*file->GetInts("bools"), ElementsAre(1, 0, 1));
  EXPECT_THAT(*file->GetFloats("f32s"), ElementsAre(0.25F, -8.0F));
  EXPECT_THAT(*file->GetFloats("f64s"), ElementsAre(0.125F));
  EXPECT_THAT(*file->GetFloats("i16s"), ElementsAre(-1.0F, 0.0F, 32767.0F));
  EXPECT_TRUE((*file->GetInts("none")).empty());
}

TEST(GgufTest, TypedReadsRefuseOtherKinds) {
  const Result<GgufFile> file = OpenBytes(SmallModel().Build());
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->GetInt("u64").status().message(),
            "metadata key 'u64' is 18446744073709551615, which does not fit 64 bits with sign");
  EXPECT_EQ(file->GetInt("f32").status().message(),
            "metadata key 'f32' is a float, not an integer");
  EXPECT_EQ(file->GetString("u8").status().message(),
            "metadata key 'u8' is an unsigned integer, not a string");
  EXPECT_EQ(file->GetBool("u8").status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(file->GetFloat("yes").status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(file->GetStrings("i16s").status().message(),
            "metadata key 'i16s' is an array of i16, not an array of strings");
  EXPECT_EQ(file->GetInts("strings").status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(file->GetInts("f32s").status().message(),
            "metadata key 'f32s' is an array of f32, not an array of integers");
  EXPECT_EQ(file->GetInts("u8").status().message(),
            "metadata key 'u8' is an unsigned integer, not an array");
  EXPECT_EQ(file->GetInts("u64s").status().code(), StatusCode::kInvalidArgument);
}

TEST(GgufTest, AbsentKeys) {
  const Result<GgufFile> file = OpenBytes(SmallModel().Build());
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->GetInt("absent").status().code(), StatusCode::kNotFound);
  EXPECT_THAT(file->GetStrings("absent").status().message(), HasSubstr("metadata key 'absent'"));
  EXPECT_EQ(*file->GetIntOr("absent", 7), 7);
  EXPECT_EQ(*file->GetIntOr("u8", 7), 200);
  EXPECT_EQ(*file->GetFloatOr("absent", 0.1), 0.1);
  EXPECT_TRUE(*file->GetBoolOr("absent", true));
  EXPECT_FALSE(*file->GetBoolOr("no", true));
  EXPECT_EQ(file->GetIntOr("empty", 7).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(file->Find("absent"), nullptr);
  EXPECT_EQ(file->FindTensor("absent"), nullptr);
}

TEST(GgufTest, TensorsAreViewsOutermostFirst) {
  const Result<GgufFile> file = OpenBytes(SmallModel().Build());
  ASSERT_TRUE(file.ok());
  ASSERT_EQ(file->tensors().size(), 5U);
  EXPECT_EQ(file->tensors()[0].name, "vector");
  EXPECT_EQ(Describe(file->FindTensor("vector")->view), "f32 [5] on cpu:0");
  EXPECT_EQ(Describe(file->FindTensor("matrix")->view), "f16 [3, 4] on cpu:0");
  EXPECT_EQ(Describe(file->FindTensor("cube")->view), "f32 [4, 3, 2] on cpu:0");
  EXPECT_EQ(Describe(file->FindTensor("four")->view), "i8 [4, 3, 2, 1] on cpu:0");
  EXPECT_EQ(Describe(file->FindTensor("quantized")->view), "q4_1 [2, 64] on cpu:0");
  EXPECT_EQ(file->FindTensor("vector")->view.as<float>()[4], 5);
  EXPECT_EQ(file->FindTensor("matrix")->view.Rows(2, 3).as<uint16_t>()[0], 108);
  EXPECT_EQ(file->FindTensor("cube")->view.as<float>()[23], 23);
}

TEST(GgufTest, StaysValidWhenMoved) {
  Result<GgufFile> opened = OpenBytes(SmallModel().Build());
  ASSERT_TRUE(opened.ok());
  const GgufFile file = *std::move(opened);
  EXPECT_EQ(*file.GetString("general.architecture"), "llama");
  EXPECT_EQ(file.FindTensor("vector")->view.as<float>()[0], 1);
}

TEST(GgufTest, OwnAlignment) {
  GgufTestWriter writer;
  writer.alignment = 128;
  writer.AddUint32("general.alignment", 128);
  writer.AddTensor("a", kF32, {1}, GgufBytes(2.0F));
  writer.AddTensor("b", kF32, {1}, GgufBytes(3.0F));
  const Result<GgufFile> file = OpenBytes(writer.Build());
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->FindTensor("b")->view.as<float>()[0], 3);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(file->FindTensor("b")->view.data()) % 128, 0U);
}

TEST(GgufTest, LargeVocabulary) {
  constexpr int kTokens = 262144;
  std::vector<std::string> texts;
  for (int i = 0; i < kTokens; ++i) {
    texts.push_back(StrCat("token", i));
  }
  GgufTestWriter writer;
  writer.AddStrings("tokens", {texts.begin(), texts.end()});
  const Result<GgufFile> file = OpenBytes(writer.Build());
  ASSERT_TRUE(file.ok());
  const auto tokens = file->GetStrings("tokens");
  ASSERT_EQ((*tokens).size(), size_t{kTokens});
  EXPECT_EQ((*tokens)[kTokens - 1], "token262143");
}

TEST(GgufTest, NoMetadataAndNoTensors) {
  const Result<GgufFile> file = OpenBytes(GgufTestWriter().Header());
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_TRUE(file->metadata().empty());
  EXPECT_TRUE(file->tensors().empty());
}

TEST(GgufBrokenTest, NotAGguf) {
  EXPECT_EQ(GgufFile::Open("/nonexistent/model.gguf").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(GgufFile::Open(testing::TempDir()).status().code(), StatusCode::kIoError);
  ExpectError("", StatusCode::kCorruptData, "file is empty");
  ExpectError("GG", StatusCode::kCorruptData, "file is truncated: magic needs 4 bytes");
  ExpectError("PK\x03\x04 a zip file, for once", StatusCode::kCorruptData,
              "not a gguf file: it begins with 'PK?\?' instead of 'GGUF'");
}

TEST(GgufBrokenTest, OtherVersionsAndByteOrder) {
  for (const uint32_t version : {0U, 1U, 2U, 4U, 70000U}) {
    GgufTestWriter writer = SmallModel();
    writer.version = version;
    ExpectError(writer.Build(), StatusCode::kUnsupported,
                StrCat("gguf version ", version, " is not supported"));
  }
  GgufTestWriter writer = SmallModel();
  writer.version = 0x03000000;
  ExpectError(writer.Build(), StatusCode::kUnsupported, "big-endian");
  writer.magic = "FUGG";
  ExpectError(writer.Build(), StatusCode::kUnsupported, "big-endian");
}

TEST(GgufBrokenTest, AbsurdCounts) {
  for (const uint64_t count : {uint64_t{1} << 40, std::numeric_limits<uint64_t>::max()}) {
    GgufTestWriter tensors = SmallModel();
    tensors.tensor_count = count;
    ExpectCorrupt(tensors, StrCat("tensor count ", count, " is more than"));
    GgufTestWriter metadata = SmallModel();
    metadata.metadata_count = count;
    ExpectCorrupt(metadata, StrCat("metadata count ", count, " is more than"));
  }
  GgufTestWriter fewer = SmallModel();
  fewer.metadata_count = 3;  // the fourth entry is then read as a tensor
  EXPECT_FALSE(OpenBytes(fewer.Build()).ok());
}

TEST(GgufBrokenTest, AbsurdStringLengths) {
  for (const uint64_t length : {uint64_t{1000}, std::numeric_limits<uint64_t>::max(),
                                std::numeric_limits<uint64_t>::max() - 7}) {
    GgufTestWriter value;
    value.AddMetadata("name", 8, GgufBytes(length) + "text");
    ExpectCorrupt(value, StrCat("metadata key 'name' has length ", length));
    GgufTestWriter element;
    element.AddMetadata("names", 9,
                        GgufBytes<uint32_t>(8) + GgufBytes<uint64_t>(2) + GgufBytes("ok") +
                            GgufBytes(length) + "text");
    ExpectCorrupt(element, StrCat("metadata key 'names': string 1 of 2 has length ", length));
  }
  GgufTestWriter key;
  key.AddUint32(std::string(70000, 'k'), 1);
  ExpectCorrupt(key, "metadata key 0 of 1 has length 70000; the most is 65535");
}

TEST(GgufBrokenTest, AbsurdArrays) {
  for (const uint32_t type : {0U, 5U, 8U, 12U}) {
    GgufTestWriter writer;
    writer.AddMetadata("list", 9,
                       GgufBytes(type) + GgufBytes(std::numeric_limits<uint64_t>::max() / 2));
    ExpectCorrupt(writer, "metadata key 'list' is an array of 9223372036854775807 ");
  }
  GgufTestWriter unknown;
  unknown.AddMetadata("list", 9, GgufBytes<uint32_t>(13) + GgufBytes<uint64_t>(0));
  ExpectCorrupt(unknown, "is an array of unknown value type 13");
  GgufTestWriter nested;
  nested.AddMetadata("list", 9,
                     GgufBytes<uint32_t>(9) + GgufBytes<uint64_t>(1) + std::string(64, '\0'));
  ExpectError(nested.Build(), StatusCode::kUnsupported,
              "metadata key 'list' is an array of arrays");
}

TEST(GgufBrokenTest, BadValues) {
  GgufTestWriter type;
  type.AddMetadata("key", 99, std::string(8, '\0'));
  ExpectCorrupt(type, "metadata key 'key' has unknown value type 99");
  GgufTestWriter flag;
  flag.AddMetadata("flag", 7, GgufBytes<uint8_t>(2));
  ExpectCorrupt(flag, "metadata key 'flag' has the bool value 2");
  GgufTestWriter flags;
  flags.AddArray<uint8_t>("flags", 7, {1, 255});
  ExpectCorrupt(flags, "metadata key 'flags' has the bool value 255");
  GgufTestWriter control;
  control.AddMetadata("a\nb\x80", 99, std::string(8, '\0'));
  ExpectCorrupt(control, "metadata key 'a?b?' has unknown");
}

TEST(GgufBrokenTest, DuplicateNames) {
  GgufTestWriter keys;
  keys.AddUint32("key", 1);
  keys.AddUint32("key", 1);
  ExpectCorrupt(keys, "metadata key 'key' occurs twice");
  GgufTestWriter tensors;
  tensors.AddTensor("w", kF32, {1}, GgufBytes(1.0F));
  tensors.AddTensor("w", kF32, {1}, GgufBytes(1.0F));
  ExpectCorrupt(tensors, "tensor 'w' occurs twice");
}

TEST(GgufBrokenTest, BadAlignment) {
  for (const uint32_t alignment : {0U, 1U, 4U, 33U, 48U}) {
    GgufTestWriter writer;
    writer.AddUint32("general.alignment", alignment);
    ExpectCorrupt(writer,
                  StrCat("'general.alignment' is ", alignment, "; it must be a power of two"));
  }
  GgufTestWriter huge;
  huge.AddMetadata("general.alignment", 10, GgufBytes(uint64_t{1} << 63));
  ExpectCorrupt(huge, "'general.alignment' is 9223372036854775808");
  GgufTestWriter text;
  text.AddString("general.alignment", "32");
  ExpectCorrupt(text, "'general.alignment' is not an unsigned integer");
}

TEST(GgufBrokenTest, UnsupportedTensorTypes) {
  const std::pair<uint32_t, std::string> types[] = {{10, "10 (Q2_K)"},
                                                    {23, "23 (IQ4_XS)"},
                                                    {28, "28 (F64)"},
                                                    {39, "39 (MXFP4)"},
                                                    {4, "4 (unknown)"},
                                                    {40, "40 (unknown)"},
                                                    {0xffffffff, "4294967295 (unknown)"}};
  for (const auto& [type, name] : types) {
    GgufTestWriter writer;
    writer.AddTensor("blk.0.w", type, {256}, std::string(1024, '\0'));
    ExpectError(writer.Build(), StatusCode::kUnsupported,
                StrCat("tensor 'blk.0.w' has type ", name));
  }
}

TEST(GgufBrokenTest, BadShapes) {
  GgufTestWriter scalar;
  scalar.AddTensorAt("w", kF32, {}, 0);
  scalar.AddTensorAt("x", kF32, {1}, 0);
  ExpectCorrupt(scalar, "tensor 'w' has 0 dimensions");
  GgufTestWriter five;
  five.AddTensorAt("w", kF32, {1, 1, 1, 1, 1}, 0);
  ExpectCorrupt(five, "tensor 'w' has 5 dimensions");
  GgufTestWriter zero;
  zero.AddTensorAt("w", kF32, {4, 0}, 0);
  ExpectCorrupt(zero, "tensor 'w' has extent 0 in dimension 1");
  GgufTestWriter blocks;
  blocks.AddTensor("w", kQ8_0, {48, 2}, std::string(3 * 34, '\0'));
  ExpectCorrupt(blocks, "tensor 'w' has rows of 48 elements, not whole q8_0 blocks of 32");
  GgufTestWriter super_blocks;
  super_blocks.AddTensor("w", kQ4K, {128, 2}, std::string(144, '\0'));
  ExpectCorrupt(super_blocks, "not whole q4_k blocks of 256");
}

TEST(GgufBrokenTest, OverflowingShapes) {
  constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
  const std::vector<uint64_t> shapes[] = {
      {kMax},
      {uint64_t{1} << 63},
      {uint64_t{1} << 32, uint64_t{1} << 32},
      {uint64_t{1} << 16, uint64_t{1} << 16, uint64_t{1} << 16, 1 << 16},
      {3, kMax / 3 + 1}};
  for (const auto& shape : shapes) {
    GgufTestWriter writer;
    writer.AddTensorAt("w", kF32, shape, 0);
    ExpectCorrupt(writer, "its elements overflow");
  }
  GgufTestWriter bytes;  // the elements fit 64 bits, their bytes wrap to 0
  bytes.AddTensorAt("w", kF32, {uint64_t{1} << 62}, 0);
  ExpectCorrupt(bytes, "overflows the bytes of a tensor");
}

TEST(GgufBrokenTest, BadOffsets) {
  GgufTestWriter misaligned;
  misaligned.AddTensor("v", kF32, {64}, std::string(256, '\0'));
  misaligned.AddTensorAt("w", kF32, {1}, 4);
  ExpectCorrupt(misaligned, "tensor 'w' has offset 4, which is not a multiple of the alignment 32");
  for (const uint64_t offset : {uint64_t{256}, uint64_t{1} << 40, ~uint64_t{31}}) {
    GgufTestWriter writer;
    writer.AddTensor("v", kF32, {64}, std::string(256, '\0'));
    writer.AddTensorAt("w", kF32, {1}, offset);
    ExpectCorrupt(writer, StrCat("tensor 'w' needs 4 bytes at offset ", offset));
  }
  GgufTestWriter too_long;
  too_long.AddTensor("w", kF32, {65}, std::string(256, '\0'));
  ExpectCorrupt(too_long,
                "tensor 'w' needs 260 bytes at offset 0 of the data section, which has 256");
  GgufTestWriter no_data;
  no_data.AddTensorAt("w", kF32, {1}, 0);
  ExpectError(no_data.Header(), StatusCode::kCorruptData, "which has 0 bytes");
}

}  // namespace
}  // namespace quire
