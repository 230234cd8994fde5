#include "attention/paged/paged_cpu.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "ops/conformance.h"

namespace quire {

namespace {

using testing::HasSubstr;

constexpr int32_t kQHeads = 4;
constexpr int32_t kKvHeads = 2;
constexpr int32_t kHeadDim = 32;
constexpr int32_t kPageSize = 4;
constexpr int32_t kPages = 16;
constexpr int32_t kMaxPages = 6;

// A batch of sequences that have `before` tokens in the cache and bring `rows` more. Sequence b
// owns the pages 7 b, 7 b + 1, ... modulo the number of pages, which are different for two
// sequences of 6 pages.
Batch MakeBatch(const std::vector<int32_t>& before, const std::vector<int32_t>& rows) {
  Batch batch;
  batch.max_pages = kMaxPages;
  batch.query_start = {0};
  for (size_t b = 0; b < before.size(); ++b) {
    const auto first_page = static_cast<int32_t>(7 * b);
    for (int32_t page = 0; page < kMaxPages; ++page) {
      batch.page_table.push_back((first_page + page) % kPages);
    }
    for (int32_t t = before[b]; t < before[b] + rows[b]; ++t) {
      batch.tokens.push_back(0);
      batch.positions.push_back(t);
      const int64_t page = (first_page + t / kPageSize) % kPages;
      batch.slot_mapping.push_back(page * kPageSize + t % kPageSize);
    }
    batch.query_start.push_back(batch.num_tokens());
    batch.kv_length.push_back(before[b] + rows[b]);
  }
  return batch;
}

// Queries, keys and values of one sequence and the memory of one layer.
class PagedCpuTest : public testing::Test {
 protected:
  PagedCpuTest() : backend_(MakePagedCpu()), cpu_(2) {
    cache_bytes_.assign(size_t{2} * kPages * kKvHeads * kPageSize * kHeadDim * sizeof(float), 0xff);
    std::mt19937_64 rng(5);
    query_ = ops::RandomFloats(rng, 24 * kQHeads * kHeadDim);
    key_ = ops::RandomFloats(rng, 24 * kKvHeads * kHeadDim);
    value_ = ops::RandomFloats(rng, 24 * kKvHeads * kHeadDim);
  }

  // The layer of rows [begin, end) of the sequence's arrays.
  LayerAttention Layer(int64_t begin, int64_t end, std::vector<float>& out) {
    out.assign(static_cast<size_t>((end - begin) * kQHeads * kHeadDim), -1.0f);
    LayerAttention layer;
    const size_t half = cache_bytes_.size() / 2;
    layer.cache = {cache_bytes_.data(),
                   cache_bytes_.data() + half,
                   dtype_,
                   kPages,
                   kKvHeads,
                   kPageSize,
                   kHeadDim,
                   Place::Host()};
    if (dtype_ == DType::kF8E4M3) {
      layer.cache.scaling = KvScaling::kPerTokenHead;
      layer.cache.k_scale = scales_.data();
      layer.cache.v_scale = scales_.data() + scales_.size() / 2;
    }
    layer.query = TensorView(query_.data(), DType::kF32, {24, kQHeads, kHeadDim}).Rows(begin, end);
    layer.key = TensorView(key_.data(), DType::kF32, {24, kKvHeads, kHeadDim}).Rows(begin, end);
    layer.value = TensorView(value_.data(), DType::kF32, {24, kKvHeads, kHeadDim}).Rows(begin, end);
    layer.out = TensorView(out.data(), DType::kF32, {end - begin, kQHeads, kHeadDim});
    layer.scale = 0.2f;
    return layer;
  }

  std::vector<float> Step(const Batch& batch, int64_t begin, int64_t end) {
    std::vector<float> out;
    Status status = backend_->Plan(cpu_.Context(), batch, HostViews(batch));
    EXPECT_TRUE(status.ok()) << status.message();
    status = backend_->Run(cpu_.Context(), Layer(begin, end, out));
    EXPECT_TRUE(status.ok()) << status.message();
    return out;
  }

  void ExpectRefused(const Batch& batch, std::string_view words) {
    const Status status = backend_->Plan(cpu_.Context(), batch, HostViews(batch));
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), HasSubstr(std::string(words)));
  }

  std::unique_ptr<AttentionBackend> backend_;
  ops::CpuFixture cpu_;
  DType dtype_ = DType::kF32;
  std::vector<uint8_t> cache_bytes_;
  std::vector<float> scales_ = std::vector<float>(2 * kPages * kKvHeads * kPageSize, NAN);
  std::vector<float> query_;
  std::vector<float> key_;
  std::vector<float> value_;
};

// Softmax attention of the last head of row 2 over the three keys, in double.
TEST_F(PagedCpuTest, WritesThenAttends) {
  const Batch batch = MakeBatch({0}, {3});
  const std::vector<float> out = Step(batch, 0, 3);
  double weights[3];
  double sum = 0;
  for (size_t t = 0; t < 3; ++t) {
    double dot = 0;
    for (size_t d = 0; d < kHeadDim; ++d) {
      dot += double{query_[(2 * kQHeads + 3) * kHeadDim + d]} *
             key_[(t * kKvHeads + 1) * kHeadDim + d];
    }
    weights[t] = std::exp(dot * 0.2);
    sum += weights[t];
  }
  std::vector<float> expected(kHeadDim);
  for (size_t d = 0; d < kHeadDim; ++d) {
    double value = 0;
    for (size_t t = 0; t < 3; ++t) {
      value += weights[t] / sum * value_[(t * kKvHeads + 1) * kHeadDim + d];
    }
    expected[d] = static_cast<float>(value);
  }
  const std::vector<float> head(out.end() - kHeadDim, out.end());
  EXPECT_EQ(ops::Mismatch(head, expected, {1e-5, 1e-6}), "");
}

TEST_F(PagedCpuTest, TurnsWhatDoesNotComeTurned) {
  const Batch batch = MakeBatch({0}, {20});
  std::mt19937_64 rng(6);
  std::vector<float> table = ops::RandomFloats(rng, 20 * kHeadDim);
  const TensorView cos_sin(table.data(), DType::kF32, {20, kHeadDim / 2, 2});
  const std::vector<float> query = query_;
  const std::vector<float> key = key_;
  std::vector<float> out;
  LayerAttention layer = Layer(0, 20, out);
  layer.cos_sin = cos_sin;
  layer.rope_style = ops::rope::Style::kInterleaved;
  ASSERT_TRUE(backend_->Plan(cpu_.Context(), batch, HostViews(batch)).ok());
  ASSERT_TRUE(backend_->Run(cpu_.Context(), layer).ok());
  query_ = query;
  key_ = key;
  for (const TensorView& x : {layer.query, layer.key}) {
    ASSERT_TRUE(
        ops::rope::Run(cpu_.Context(),
                       {.x = x, .cos_sin = cos_sin, .style = ops::rope::Style::kInterleaved})
            .ok());
  }
  EXPECT_EQ(ops::BitMismatch(Step(batch, 0, 20), out), "");
  EXPECT_NE(query_, query);
}

TEST_F(PagedCpuTest, StepByStepHasTheBitsOfOneStep) {
  const std::vector<float> whole = Step(MakeBatch({0}, {20}), 0, 20);
  std::ranges::fill(cache_bytes_, 0xff);
  std::vector<float> steps;
  for (int32_t begin = 0; begin < 20;) {
    const int32_t rows = std::min(20 - begin, begin % 3 + 1);
    const std::vector<float> out = Step(MakeBatch({begin}, {rows}), begin, begin + rows);
    steps.insert(steps.end(), out.begin(), out.end());
    begin += rows;
  }
  EXPECT_EQ(ops::BitMismatch(steps, whole), "");
}

TEST_F(PagedCpuTest, SequencesOfABatchDoNotMix) {
  const std::vector<float> together = Step(MakeBatch({0, 0}, {5, 15}), 0, 20);
  std::ranges::fill(cache_bytes_, 0xff);
  const std::vector<float> alone = Step(MakeBatch({0}, {15}), 5, 20);
  EXPECT_EQ(ops::BitMismatch(std::span(together).subspan(5 * kQHeads * kHeadDim), alone), "");
}

// A step must see the length that its own batch says, not one of a step before.
TEST_F(PagedCpuTest, LengthsAreThoseOfTheStep) {
  const std::vector<float> first = Step(MakeBatch({0}, {8}), 0, 8);
  const std::vector<float> second = Step(MakeBatch({8}, {1}), 8, 9);
  const std::vector<float> again = Step(MakeBatch({0}, {8}), 0, 8);
  EXPECT_EQ(ops::BitMismatch(again, first), "");
  std::ranges::fill(cache_bytes_, 0xff);
  const std::vector<float> whole = Step(MakeBatch({0}, {9}), 0, 9);
  EXPECT_EQ(ops::BitMismatch(second, std::span(whole).subspan(8 * kQHeads * kHeadDim)), "");
}

// With a scale of its own for each token and head, f8e4m3 is half a unit of 3 bits wrong at most.
TEST_F(PagedCpuTest, AnFp8CacheIsAboutAnF32Cache) {
  const std::vector<float> exact = Step(MakeBatch({0}, {20}), 0, 20);
  dtype_ = DType::kF8E4M3;
  std::ranges::fill(cache_bytes_, 0xff);
  const std::vector<float> whole = Step(MakeBatch({0}, {20}), 0, 20);
  EXPECT_EQ(ops::Mismatch(whole, exact, {0.1, 0.1}), "");
  EXPECT_NE(ops::BitMismatch(whole, exact), "");
  std::ranges::fill(cache_bytes_, 0xff);
  Step(MakeBatch({0}, {19}), 0, 19);
  const std::vector<float> last = Step(MakeBatch({19}, {1}), 19, 20);
  EXPECT_EQ(ops::BitMismatch(last, std::span(whole).subspan(19 * kQHeads * kHeadDim)), "");
}

TEST_F(PagedCpuTest, AnEmptyStepDoesNothing) {
  EXPECT_TRUE(Step(MakeBatch({}, {}), 0, 0).empty());
  EXPECT_TRUE(Step(MakeBatch({8}, {0}), 0, 0).empty());
}

TEST_F(PagedCpuTest, RefusesContradictingBatches) {
  Batch batch = MakeBatch({2}, {3});
  batch.positions.pop_back();
  ExpectRefused(batch, "batch of 3 tokens has 2 positions and 3 slots");
  batch = MakeBatch({2}, {3});
  batch.positions[1] = 7;
  ExpectRefused(batch, "row 1 of the batch has position 7; the length of sequence 0 makes it 3");
  batch = MakeBatch({2}, {3});
  batch.query_start.push_back(3);
  ExpectRefused(batch, "batch of 1 sequences has 3 row starts");
  batch = MakeBatch({2}, {3});
  batch.query_start[1] = 2;
  ExpectRefused(batch, "run from 0 to 2, not from 0 to 3");
  batch = MakeBatch({2}, {3});
  batch.kv_length[0] = 2;
  ExpectRefused(batch, "sequence 0 of the batch has 3 rows but 2 tokens");
  batch = MakeBatch({2, 0}, {3, 1});
  batch.query_start[1] = 9;
  ExpectRefused(batch, "descend from 9 to 4 at sequence 1");
  batch = MakeBatch({2}, {3});
  batch.page_table.pop_back();
  ExpectRefused(batch, "a page table of 5 entries");
}

TEST_F(PagedCpuTest, RefusesRowsOfAnotherBatch) {
  const Batch batch = MakeBatch({0}, {3});
  ASSERT_TRUE(backend_->Plan(cpu_.Context(), batch, HostViews(batch)).ok());
  std::vector<float> out;
  const Status status = backend_->Run(cpu_.Context(), Layer(0, 4, out));
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("a batch of 3 tokens has the query f32 [4, 4, 32]"));
}

TEST(PagedCpuDeathTest, RunWithoutAPlan) {
  ops::CpuFixture cpu(1);
  const std::unique_ptr<AttentionBackend> backend = MakePagedCpu();
  EXPECT_DEATH((void)backend->Run(cpu.Context(), LayerAttention()), "without a plan");
}

}  // namespace

}  // namespace quire
