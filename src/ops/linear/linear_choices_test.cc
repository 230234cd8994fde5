// What the libraries of a platform measured, from one process to the next.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <vector>

#include "base/test_seed.h"
#include "ops/linear/row_bucket.h"
#include "ops/linear/weight_sources.h"
#include "ops/platform_conformance.h"

namespace quire::ops::linear {
namespace {

constexpr int64_t kFeatures = 256;
constexpr int64_t kInputs = 512;

// Products of several numbers of rows on a device of its own, as a process has it. Empty if there
// is no device.
std::vector<float> ProductsOf(PlatformKind platform, uint64_t seed, const std::string& folder) {
  const auto opened = OpenDevice(PlatformName(platform), {.threads = 2, .cache_folder = folder});
  if (!opened.ok()) {
    return {};
  }
  const auto stream = opened->device->CreateStream();
  QUIRE_CHECK(stream.ok()) << stream.status().message();
  Workspace workspace(*opened->device);
  const OpContext context = {**stream, workspace};
  std::mt19937_64 rng(seed);
  const SourceWeight weight(rng, KindNamed("bf16"), kFeatures, kInputs);
  auto packed = PackWeight(context, std::span(&weight.source(), 1), ActivationMode::kBf16);
  QUIRE_CHECK(packed.ok()) << packed.status().message();
  std::vector<float> all;
  for (const int64_t rows : {40, 200, 700}) {
    TypedArray x(DType::kBF16, {rows, kInputs});
    TypedArray out(DType::kF32, {rows, kFeatures});
    x.Assign(RandomFloats(rng, rows * kInputs));
    const Args args = {.x = x.View(), .weight = packed->get(), .bias = {}, .out = out.View()};
    const Status status = RunOnDevice(context, args);
    EXPECT_TRUE(status.ok()) << status.message();
    const std::vector<float> values = out.Values();
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
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
  const uint64_t seed = TestSeed();
  const std::vector<float> expected = ProductsOf(PlatformKind::kCpu, seed, folder);
  EXPECT_FALSE(std::filesystem::exists(folder));
  for (const PlatformEntry& entry : EnabledPlatforms()) {
    SCOPED_TRACE(PlatformName(entry.kind));
    const std::vector<float> measured = ProductsOf(entry.kind, seed, folder);
    if (measured.empty() || entry.kind == PlatformKind::kCpu) {
      continue;
    }
    EXPECT_EQ(Mismatch(measured, expected, {.rtol = 1e-4, .atol = 5e-3}), "");
    const std::vector<ino_t> files = FilesOf(folder);
    EXPECT_EQ(files.size(), 1);
    EXPECT_EQ(BitMismatch(ProductsOf(entry.kind, seed, folder), measured), "");
    EXPECT_EQ(FilesOf(folder), files);
    std::filesystem::remove_all(folder);
  }
}

TEST(RowBucketTest, IsLittleMoreThanTheRows) {
  for (int64_t m = 1; m < 20000; ++m) {
    const int64_t bucket = RowBucket(m);
    EXPECT_GE(bucket, m);
    EXPECT_LE(bucket - m, std::max<int64_t>(7, (m - 1) / 4)) << m;
    EXPECT_EQ(RowBucket(bucket), bucket) << m;
  }
}

TEST(RowBucketTest, HasFourInEachPowerOfTwo) {
  std::set<int64_t> buckets;
  for (int64_t m = 33; m <= 8192; ++m) {
    buckets.insert(RowBucket(m));
  }
  EXPECT_EQ(buckets.size(), 8 * 4);
  EXPECT_EQ(RowBucket(1), 1);
  EXPECT_EQ(RowBucket(2), 8);
  EXPECT_EQ(RowBucket(17), 24);
  EXPECT_EQ(RowBucket(128), 128);
  EXPECT_EQ(RowBucket(129), 160);
  EXPECT_EQ(RowBucket(8192), 8192);
}

}  // namespace
}  // namespace quire::ops::linear
