// What the libraries of a platform measured, from one process to the next.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <vector>

#include "base/test_seed.h"
#include "ops/linear/weight_sources.h"
#include "ops/platform_conformance.h"

namespace quire::ops::linear {
namespace {

// The product of 40 rows on a device of its own, as a process has it. Empty if there is no device.
std::vector<float> ProductOf(PlatformKind platform, const std::string& folder) {
  const auto opened = OpenDevice(PlatformName(platform), {.threads = 2, .cache_folder = folder});
  if (!opened.ok()) {
    return {};
  }
  const auto stream = opened->device->CreateStream();
  QUIRE_CHECK(stream.ok()) << stream.status().message();
  Workspace workspace(*opened->device);
  const OpContext context = {**stream, workspace};
  std::mt19937_64 rng(TestSeed());
  const SourceWeight weight(rng, KindNamed("bf16"), 256, 512);
  auto packed = PackWeight(context, std::span(&weight.source(), 1), ActivationMode::kBf16);
  QUIRE_CHECK(packed.ok()) << packed.status().message();
  TypedArray x(DType::kBF16, {40, 512});
  TypedArray out(DType::kF32, {40, 256});
  x.Assign(RandomFloats(rng, 40 * 512));
  const Status status = RunOnDevice(
      context, Args{.x = x.View(), .weight = packed->get(), .bias = {}, .out = out.View()});
  EXPECT_TRUE(status.ok()) << status.message();
  return out.Values();
}

// Which file it is: one that is written again is another.
std::vector<ino_t> FilesOf(const std::string& folder) {
  std::vector<ino_t> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    struct stat found = {};
    EXPECT_EQ(::stat(entry.path().c_str(), &found), 0);
    files.push_back(found.st_ino);
  }
  return files;
}

TEST(LinearChoicesTest, AreMeasuredOnce) {
  const std::string folder = StrCat(testing::TempDir(), "quire_linear_choices_", ::getpid());
  for (const PlatformEntry& entry : EnabledPlatforms()) {
    SCOPED_TRACE(PlatformName(entry.kind));
    const std::vector<float> measured = ProductOf(entry.kind, folder);
    if (measured.empty()) {
      continue;  // no such device
    }
    ASSERT_EQ(std::filesystem::exists(folder), entry.kind != PlatformKind::kCpu);
    if (entry.kind == PlatformKind::kCpu) {
      continue;  // measures nothing
    }
    const std::vector<ino_t> files = FilesOf(folder);
    EXPECT_EQ(files.size(), 1);
    EXPECT_EQ(BitMismatch(ProductOf(entry.kind, folder), measured), "");
    EXPECT_EQ(FilesOf(folder), files);
    std::filesystem::remove_all(folder);
  }
}

}  // namespace
}  // namespace quire::ops::linear
