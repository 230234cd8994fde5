// The backends of CUDA devices against the CPU's, on the same steps.
#include "attention/paged/cuda_paged.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "attention/paged/paged_cpu.h"
#include "ops/conformance.h"

namespace quire {

namespace {

using ops::CpuFixture;
using ops::OpContext;
using ops::PlatformFixture;

constexpr int32_t kHeads = 8;
constexpr int32_t kKvHeads = 2;

struct Shape {
  int32_t head_dim;
  DType dtype;
  int32_t window_left = -1;
  int32_t page_size = 16;
  int32_t q_heads = kHeads;
};

// A step with its arrays in host memory: sequences of `lengths` tokens bring their last rows.
class StepData {
 public:
  StepData(const Shape& shape, const std::vector<int32_t>& rows,
           const std::vector<int32_t>& lengths)
      : shape_(shape) {
    const int32_t page_size = shape.page_size;
    batch.query_start = {0};
    batch.kv_length = lengths;
    batch.max_pages = (*std::ranges::max_element(lengths) + page_size - 1) / page_size;
    int32_t page = 0;
    for (size_t b = 0; b < rows.size(); ++b) {
      const int32_t pages = (lengths[b] + page_size - 1) / page_size;
      const size_t table = batch.page_table.size();
      for (int32_t i = 0; i < batch.max_pages; ++i) {
        const int32_t at = b % 2 == 0 ? i : pages - 1 - i;  // one after another, or backwards
        batch.page_table.push_back(i < pages ? page + at : -1);
      }
      page += pages;
      for (int32_t i = lengths[b] - rows[b]; i < lengths[b]; ++i) {
        batch.tokens.push_back(1);
        batch.positions.push_back(i);
        const auto page_of_token = static_cast<size_t>(i / page_size);
        batch.slot_mapping.push_back(int64_t{batch.page_table[table + page_of_token]} * page_size +
                                     i % page_size);
      }
      batch.query_start.push_back(static_cast<int32_t>(batch.tokens.size()));
    }
    num_pages_ = page;
    const int64_t t = batch.num_tokens();
    const int64_t cache = int64_t{page} * page_size * kKvHeads * shape.head_dim;
    std::mt19937_64 rng(3);
    query = Bytes(rng, t * shape.q_heads * shape.head_dim);
    key = Bytes(rng, t * kKvHeads * shape.head_dim);
    value = Bytes(rng, t * kKvHeads * shape.head_dim);
    keys = Bytes(rng, cache);
    values = Bytes(rng, cache);
    out.resize(query.size());
  }

  LayerAttention Layer() {
    const int64_t t = batch.num_tokens();
    const auto view = [&](std::vector<uint8_t>& bytes, int64_t heads) {
      return TensorView(bytes.data(), shape_.dtype, {t, heads, shape_.head_dim});
    };
    LayerAttention layer;
    layer.cache = {keys.data(), values.data(),    shape_.dtype,    num_pages_,
                   kKvHeads,    shape_.page_size, shape_.head_dim, Place::Host()};
    layer.query = view(query, shape_.q_heads);
    layer.key = view(key, kKvHeads);
    layer.value = view(value, kKvHeads);
    layer.out = view(out, shape_.q_heads);
    layer.window_left = shape_.window_left;
    layer.scale = 1.0f / std::sqrt(static_cast<float>(shape_.head_dim));
    return layer;
  }

  // Leaves row `row` of a single sequence, as the step that decoded it.
  void KeepRow(int32_t row) {
    const auto rest = static_cast<size_t>(row) + 1;
    const auto keep = [&](auto& values_of_rows, size_t of_row) {
      values_of_rows.resize(rest * of_row);
    };
    keep(batch.tokens, 1);
    keep(batch.positions, 1);
    keep(batch.slot_mapping, 1);
    const auto head_bytes = static_cast<size_t>(BytesOf(shape_.dtype, shape_.head_dim));
    keep(query, kHeads * head_bytes);
    keep(key, kKvHeads * head_bytes);
    keep(value, kKvHeads * head_bytes);
    keep(out, kHeads * head_bytes);
    batch.kv_length = {row + 1};
    KeepLast(1);
  }

  // Leaves the last `rows` rows of a single sequence.
  void KeepLast(int32_t rows) {
    const auto dropped = batch.num_tokens() - rows;
    const auto drop = [&](auto& values_of_rows, int64_t of_row) {
      values_of_rows.erase(values_of_rows.begin(), values_of_rows.begin() + dropped * of_row);
    };
    drop(batch.tokens, 1);
    drop(batch.positions, 1);
    drop(batch.slot_mapping, 1);
    batch.query_start = {0, rows};
    const int64_t head_bytes = BytesOf(shape_.dtype, shape_.head_dim);
    drop(query, shape_.q_heads * head_bytes);
    drop(key, kKvHeads * head_bytes);
    drop(value, kKvHeads * head_bytes);
    drop(out, shape_.q_heads * head_bytes);
  }

  std::vector<float> Out() const {
    std::vector<float> values_of_out;
    const int64_t count = batch.num_tokens() * shape_.q_heads * shape_.head_dim;
    for (int64_t i = 0; i < count; ++i) {
      values_of_out.push_back(LoadElement(out.data(), shape_.dtype, i));
    }
    return values_of_out;
  }

  Batch batch;
  std::vector<uint8_t> query;
  std::vector<uint8_t> key;
  std::vector<uint8_t> value;
  std::vector<uint8_t> keys;
  std::vector<uint8_t> values;
  std::vector<uint8_t> out;

 private:
  std::vector<uint8_t> Bytes(std::mt19937_64& rng, int64_t count) const {
    std::vector<uint8_t> bytes(static_cast<size_t>(BytesOf(shape_.dtype, count)));
    const std::vector<float> numbers = ops::RandomFloats(rng, count);
    for (int64_t i = 0; i < count; ++i) {
      StoreElement(numbers[static_cast<size_t>(i)], bytes.data(), shape_.dtype, i);
    }
    return bytes;
  }

  Shape shape_;
  int64_t num_pages_ = 0;
};

template <typename Visitor>
void VisitArrays(LayerAttention& layer, const Visitor& visit) {
  visit(layer.cache);
  visit(layer.query);
  visit(layer.key);
  visit(layer.value);
  visit(layer.out);
}

template <typename Visitor>
void VisitArrays(BatchViews& views, const Visitor& visit) {
  visit(views.tokens);
  visit(views.positions);
  visit(views.query_start);
  visit(views.kv_length);
  visit(views.page_table);
  visit(views.slot_mapping);
}

Status RunStep(const OpContext& context, AttentionBackend& backend, StepData& step, int layers) {
  LayerAttention layer = step.Layer();
  BatchViews views = HostViews(step.batch);
  if (context.stream.device().place().IsHost()) {
    QUIRE_RETURN_IF_ERROR(backend.Plan(context, step.batch, views));
    return backend.Run(context, layer);
  }
  ops::DeviceArrays arrays(context.stream);
  VisitArrays(layer, ops::AddArrays{arrays});
  VisitArrays(views, ops::AddArrays{arrays});
  QUIRE_RETURN_IF_ERROR(arrays.CopyIn());
  VisitArrays(layer, ops::UseCopies{arrays});
  VisitArrays(views, ops::UseCopies{arrays});
  QUIRE_RETURN_IF_ERROR(backend.Plan(context, step.batch, views));
  for (int i = 0; i < layers; ++i) {
    QUIRE_RETURN_IF_ERROR(backend.Run(context, layer));
  }
  return arrays.CopyBack();
}

class CudaPagedTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!device_.missing().empty()) {
      GTEST_SKIP() << device_.missing();
    }
  }

  AttentionProblem ProblemOf(const Shape& shape) {
    return {.device = &device_.Context().stream.device(),
            .q_heads = shape.q_heads,
            .kv_heads = kKvHeads,
            .head_dim = shape.head_dim,
            .page_size = shape.page_size,
            .query_dtype = shape.dtype,
            .cache_dtype = shape.dtype};
  }

  // Several steps of one backend, each against the CPU's.
  void ExpectAgreement(std::string_view name, const Shape& shape) {
    std::string reason;
    auto backend = ChooseAttentionBackend(name, ProblemOf(shape), reason);
    ASSERT_TRUE(backend.ok()) << backend.status().message();
    const std::vector<std::pair<std::vector<int32_t>, std::vector<int32_t>>> steps = {
        {{1, 1, 1}, {700, 33, 1}},
        {{1, 40, 1, 200}, {1500, 40, 7, 300}},
        {{1, 5, 16}, {1300, 5, 600}},
        {{300}, {300}},
    };
    for (const auto& [rows, lengths] : steps) {
      StepData expected(shape, rows, lengths);
      CpuFixture cpu(2);
      ASSERT_TRUE(RunStep(cpu.Context(), *MakePagedCpu(), expected, 1).ok());
      StepData actual(shape, rows, lengths);
      const Status status = RunStep(device_.Context(), **backend, actual, 2);
      ASSERT_TRUE(status.ok()) << status.message();
      EXPECT_EQ(ops::Mismatch(actual.Out(), expected.Out(), ops::ToleranceOf(shape.dtype)), "")
          << name << ", " << rows.size() << " sequences";
      EXPECT_EQ(actual.keys, expected.keys);
    }
  }

  std::unique_ptr<AttentionBackend> InvariantBackend(const Shape& shape) {
    AttentionProblem problem = ProblemOf(shape);
    problem.batch_invariant = true;
    std::string reason;
    auto backend = ChooseAttentionBackend("auto", problem, reason);
    EXPECT_TRUE(backend.ok()) << backend.status().message();
    EXPECT_THAT(reason, testing::HasSubstr("split_kv for all rows"));
    return *std::move(backend);
  }

  // The last rows of a prompt that brings them alone have the bits of the whole prompt's.
  void ExpectIndependentRows(const Shape& shape, int32_t length) {
    auto backend = InvariantBackend(shape);
    StepData whole(shape, {length}, {length});
    ASSERT_TRUE(RunStep(device_.Context(), *backend, whole, 1).ok());
    const std::vector<float> all = whole.Out();
    for (const int32_t rows : {1, 7, 16, 17, 150, 300}) {
      if (rows > length) {
        break;
      }
      StepData part(shape, {length}, {length});
      part.keys = whole.keys;
      part.values = whole.values;
      part.KeepLast(rows);
      ASSERT_TRUE(RunStep(device_.Context(), *backend, part, 1).ok());
      const std::vector<float> last(all.end() - int64_t{rows} * kHeads * shape.head_dim, all.end());
      EXPECT_EQ(ops::BitMismatch(part.Out(), last), "") << rows << " of " << length << " rows";
    }
  }

  PlatformFixture device_{PlatformKind::kCuda};
};

TEST_F(CudaPagedTest, AgreesWithTheCpu) {
  for (const std::string_view name :
       {"auto", "paged_cuda", "split_kv", "hopper_prefill", "flashinfer_fa3", "flashinfer_fa2"}) {
    ExpectAgreement(name, {128, DType::kBF16});
  }
  for (const std::string_view name : {"auto", "split_kv", "hopper_prefill", "flashinfer_fa3"}) {
    ExpectAgreement(name, {64, DType::kF16});
    ExpectAgreement(name, {64, DType::kBF16});
    ExpectAgreement(name, {128, DType::kF16});
  }
  for (const int32_t page_size : {1, 4, 64, 256}) {
    ExpectAgreement("hopper_prefill", {128, DType::kBF16, -1, page_size});
    ExpectAgreement("hopper_prefill", {64, DType::kF16, -1, page_size});
  }
  for (const int32_t page_size : {2, 8, 32, 128}) {
    ExpectAgreement("hopper_prefill", {128, DType::kF16, -1, page_size});
    ExpectAgreement("hopper_prefill", {128, DType::kBF16, -1, page_size, 6});
    ExpectAgreement("hopper_prefill", {64, DType::kBF16, -1, page_size, 2});
  }
  for (const std::string_view name : {"auto", "split_kv"}) {
    ExpectAgreement(name, {80, DType::kF32});
    ExpectAgreement(name, {256, DType::kBF16});
  }
}

TEST_F(CudaPagedTest, PageSizesHaveTheSameBits) {
  for (const Shape& first : {Shape{128, DType::kBF16, -1, 1}, Shape{64, DType::kF16, -1, 1},
                             Shape{128, DType::kF16, -1, 1, 6}}) {
    std::vector<float> expected;
    for (Shape shape = first; shape.page_size <= 256; shape.page_size *= 2) {
      std::string reason;
      auto backend = ChooseAttentionBackend("hopper_prefill", ProblemOf(shape), reason);
      ASSERT_TRUE(backend.ok()) << backend.status().message();
      StepData step(shape, {300, 1100}, {300, 1100});
      ASSERT_TRUE(RunStep(device_.Context(), **backend, step, 1).ok());
      if (expected.empty()) {
        expected = step.Out();
      }
      EXPECT_EQ(ops::BitMismatch(step.Out(), expected), "") << shape.page_size;
    }
  }
}

// A prompt whole, in chunks, and row by row: the same bits, whichever kernels take the rows.
TEST_F(CudaPagedTest, RowsAreIndependentWhereTheyMust) {
  for (const Shape& shape : {Shape{128, DType::kBF16}, Shape{128, DType::kF16, -1, 64},
                             Shape{64, DType::kF16}, Shape{64, DType::kBF16, -1, 1},
                             Shape{256, DType::kBF16, 511}, Shape{64, DType::kBF16, 100}}) {
    for (const int32_t length : {40, 256, 1100}) {
      ExpectIndependentRows(shape, length);
    }
  }
}

// What runs through split_kv row by row has the bits of its kernel for Hopper, in any company.
TEST_F(CudaPagedTest, PromptsHaveTheBitsOfDecodeRows) {
  constexpr int32_t kLength = 1091;
  for (const Shape& shape : {Shape{128, DType::kBF16}, Shape{64, DType::kF16, -1, 8}}) {
    auto backend = InvariantBackend(shape);
    StepData prompt(shape, {kLength}, {kLength});
    ASSERT_TRUE(RunStep(device_.Context(), *backend, prompt, 1).ok());
    const std::vector<float> rows = prompt.Out();
    const int64_t row = int64_t{kHeads} * shape.head_dim;
    for (const int32_t length : {1, 2, 63, 64, 65, 128, 255, 256, 257, 700, 1023, 1024, 1025}) {
      StepData decode(shape, {kLength}, {kLength});
      decode.keys = prompt.keys;
      decode.values = prompt.values;
      decode.KeepRow(length - 1);
      ASSERT_TRUE(RunStep(device_.Context(), *backend, decode, 1).ok());
      EXPECT_EQ(ops::BitMismatch(decode.Out(),
                                 {rows.begin() + (length - 1) * row, rows.begin() + length * row}),
                "")
          << "row " << length - 1;
    }
  }
}

TEST_F(CudaPagedTest, DecodeStepsLaunchAlike) {
  const Shape shape = {128, DType::kBF16};
  std::string reason;
  auto backend = ChooseAttentionBackend("auto", ProblemOf(shape), reason);
  ASSERT_TRUE(backend.ok());
  EXPECT_THAT(reason, testing::HasSubstr("hopper_prefill"));
  const auto key_of = [&](const std::vector<int32_t>& rows, const std::vector<int32_t>& lengths) {
    StepData step(shape, rows, lengths);
    const Status status = RunStep(device_.Context(), **backend, step, 1);
    EXPECT_TRUE(status.ok()) << status.message();
    return (*backend)->LaunchKey();
  };
  const uint64_t key = key_of({1, 1}, {100, 200});
  EXPECT_NE(key, 0u);
  EXPECT_EQ(key_of({1, 1}, {250, 7}), key);
  EXPECT_NE(key_of({1, 1}, {3000, 7}), key);
  EXPECT_EQ(key_of({1, 1}, {1100, 300}), key_of({1, 1}, {1200, 500}));
  EXPECT_EQ(key_of({1, 50}, {300, 50}), 0u);
}

TEST_F(CudaPagedTest, RefusesWhatItLacks) {
  std::string reason;
  const auto refusal = [&](std::string_view name, const Shape& shape) {
    return ChooseAttentionBackend(name, ProblemOf(shape), reason).status().message();
  };
  EXPECT_THAT(refusal("flashinfer_fa3", {80, DType::kBF16}), testing::HasSubstr("head size 80"));
  EXPECT_THAT(refusal("flashinfer_fa3", {128, DType::kF32}), testing::HasSubstr("not both f16"));
  AttentionProblem invariant = ProblemOf({128, DType::kBF16});
  invariant.batch_invariant = true;
  for (const std::string_view name : {"flashinfer_fa2", "flashinfer_fa3", "hopper_prefill"}) {
    EXPECT_THAT(ChooseAttentionBackend(name, invariant, reason).status().message(),
                testing::HasSubstr("--deterministic excludes"));
  }
  EXPECT_THAT(refusal("blackwell_decode", {128, DType::kBF16}), testing::HasSubstr("sm_100"));
  EXPECT_THAT(refusal("paged_cpu", {128, DType::kBF16}), testing::HasSubstr("platform cpu"));
}

}  // namespace

}  // namespace quire
