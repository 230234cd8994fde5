// Damaged files: cut anywhere, or with random bytes changed. Nothing may crash, whatever the reader
// says.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>

#include "base/test_seed.h"
#include "model/loader/gguf.h"
#include "model/loader/gguf_test_writer.h"

namespace quire {
namespace {

GgufTestWriter SmallModel() {
  GgufTestWriter writer;
  writer.AddString("general.architecture", "llama");
  writer.AddUint32("general.alignment", 32);
  writer.AddUint32("llama.block_count", 2);
  writer.AddMetadata("llama.big", 11, GgufBytes<int64_t>(-5));
  writer.AddFloat32("llama.rope.freq_base", 10000.0F);
  writer.AddBool("tokenizer.ggml.add_bos_token", true);
  writer.AddStrings("tokenizer.ggml.tokens", {"<s>", "</s>", "a", "b", "ab"});
  writer.AddArray<float>("tokenizer.ggml.scores", 6, {0, 0, -1, -2, -3});
  writer.AddArray<int32_t>("tokenizer.ggml.token_type", 5, {3, 3, 1, 1, 1});
  writer.AddArray<uint8_t>("llama.pattern", 7, {1, 0});
  writer.AddTensor("token_embd.weight", 8, {32, 5}, std::string(5 * 34, '\x2a'));
  writer.AddTensor("blk.0.attn_q.weight", 12, {256, 2}, std::string(size_t{2} * 144, '\x2a'));
  writer.AddTensor("output_norm.weight", 0, {32}, std::string(128, '\x2a'));
  return writer;
}

// Whether `size` bytes at `data` lie in the map of the file: reading past its end need not crash.
bool InFile(const GgufFile& file, const void* data, size_t size) {
  const auto begin = reinterpret_cast<uintptr_t>(file.bytes().data());
  const auto address = reinterpret_cast<uintptr_t>(data);
  return address >= begin && size <= file.bytes().size() &&
         address - begin <= file.bytes().size() - size;
}

// Everything the reader can tell, as text; reads every byte of every tensor.
std::string Summary(const GgufFile& file) {
  std::string out;
  for (const auto& [key, value] : file.metadata()) {
    if (const auto* text = std::get_if<std::string_view>(&value)) {
      EXPECT_TRUE(InFile(file, text->data(), text->size()));
    }
    out += StrCat(key, " ", value.index(), "\n");
    if (const auto ints = file.GetInts(key); ints.ok()) {
      out += StrCat((*ints).size(), "\n");
    }
    if (const auto floats = file.GetFloats(key); floats.ok()) {
      out += StrCat((*floats).size(), "\n");
    }
    if (const auto number = file.GetFloat(key); number.ok()) {
      out += StrCat(*number, "\n");
    }
    if (const auto strings = file.GetStrings(key); strings.ok()) {
      for (const std::string_view text : *strings) {
        EXPECT_TRUE(InFile(file, text.data(), text.size()));
        out += StrCat(text, "\n");
      }
    }
  }
  for (const GgufTensor& tensor : file.tensors()) {
    const TensorView& view = tensor.view;
    const int64_t bytes = BytesOf(view.dtype(), view.shape().elements());
    EXPECT_TRUE(InFile(file, view.data(), static_cast<size_t>(bytes)));
    uint64_t sum = 0;
    for (int64_t i = 0; i < bytes; ++i) {
      sum = sum * 31 + static_cast<const uint8_t*>(view.data())[i];
    }
    out += StrCat(tensor.name, " ", Describe(view), " ", sum, "\n");
  }
  return out;
}

// The summary of the file with these bytes, or "" if it is refused.
std::string SummaryOf(const std::string& bytes) {
  const GgufTestFile file(bytes);
  const Result<GgufFile> opened = GgufFile::Open(file.path());
  if (!opened.ok()) {
    EXPECT_FALSE(opened.status().message().empty());
    return "";
  }
  return Summary(*opened);
}

TEST(GgufMutationTest, CutAtEveryByte) {
  const std::string whole =
      SmallModel().Build() + std::string(40, '\0');  // bytes that nothing needs
  const size_t needed = whole.size() - 40;
  const std::string expected = SummaryOf(whole);
  ASSERT_FALSE(expected.empty());
  for (size_t size = 0; size < whole.size(); ++size) {
    ASSERT_EQ(SummaryOf(whole.substr(0, size)), size < needed ? "" : expected) << size;
  }
}

// Changes `bytes` in one to four places: single bits, bytes, and 32- and 64-bit words that counts,
// lengths and offsets like least.
void Mutate(std::string& bytes, std::mt19937_64& random) {
  constexpr uint64_t kWords[] = {0,
                                 1,
                                 0xff,
                                 0x7fffffff,
                                 0xffffffff,
                                 uint64_t{1} << 32,
                                 uint64_t{1} << 61,
                                 uint64_t{1} << 63,
                                 std::numeric_limits<uint64_t>::max() - 7,
                                 std::numeric_limits<uint64_t>::max()};
  for (uint64_t changes = 1 + random() % 4; changes > 0; --changes) {
    const size_t position = random() % bytes.size();
    const size_t width = random() % 2 == 0 ? 4 : 8;
    const uint64_t word = random() % 2 == 0 ? kWords[random() % std::size(kWords)] : random() % 64;
    switch (random() % 4) {
      case 0: bytes[position] = static_cast<char>(bytes[position] ^ 1 << random() % 8); break;
      case 1: bytes[position] = static_cast<char>(random()); break;
      case 2: bytes.erase(position, 1 + random() % 8); break;
      default: bytes.replace(position, width, GgufBytes(word).substr(0, width)); break;
    }
    if (bytes.empty()) {
      return;
    }
  }
}

TEST(GgufMutationTest, RandomChangesNeverCrash) {
  constexpr int kFiles = 6000;
  std::mt19937_64 random(TestSeed());
  const GgufTestWriter writer = SmallModel();
  const std::string header = writer.Header();
  const std::string data = writer.Build().substr(header.size());
  int refused = 0;
  for (int i = 0; i < kFiles; ++i) {
    std::string bytes = header;  // only the header has something to break
    Mutate(bytes, random);
    refused += SummaryOf(bytes + data).empty() ? 1 : 0;
  }
  // Most damage is noticed; changes of text and values rightly are not.
  EXPECT_GT(refused, kFiles / 4);
  EXPECT_LT(refused, kFiles);
}

}  // namespace
}  // namespace quire
