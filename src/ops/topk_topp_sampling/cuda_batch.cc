// The parameters go up in one block, the kernels write into pinned memory.
#include "ops/topk_topp_sampling/cuda_batch.h"

#include <algorithm>
#include <span>

#include "ops/topk_topp_sampling/distribution.h"
#include "platform/cuda/cuda_device.h"
#include "platform/cuda/cuda_error.h"

namespace quire::ops::topk_topp_sampling {

namespace {

constexpr size_t kArrayAlignment = 64;
// Streams of Uniform() for drafts that were drawn from probabilities.
constexpr uint32_t kAcceptStream = 1;
constexpr uint32_t kReplaceStream = 2;

// The arrays of one call, in one block of memory for the host and, but for the results, in another
// for the device.
struct Layout {
  explicit Layout(const std::vector<RowRequest>& requests) : rows(requests.size()) {
    for (const RowRequest& request : requests) {
      const SamplingParams& params = *request.params;
      key_stride = std::max(key_stride, static_cast<size_t>(std::max(params.top_logprobs, 0)));
      if (!params.AdjustsLogits()) {
        continue;
      }
      ++adjusted;
      num_biases += params.logit_bias.size();
      if (params.UsesHistory()) {
        num_tokens += request.history.prompt.size() + request.history.output.size() +
                      request.history.drafts.size();
      }
    }
    adjustments = Next(rows * sizeof(DeviceRow));
    biases = adjustments + Next(adjusted * sizeof(DeviceAdjustment));
    tokens = biases + Next(num_biases * sizeof(TokenBias));
    uploaded = tokens + Next(num_tokens * sizeof(int32_t));
    keys = uploaded + Next(rows * sizeof(DeviceDraw));
    bytes = keys + Next(rows * key_stride * sizeof(uint64_t));
  }

  static size_t Next(size_t size) {
    return (size + kArrayAlignment - 1) / kArrayAlignment * kArrayAlignment;
  }

  size_t rows;
  size_t adjusted = 0;  // rows with bias or penalties
  size_t num_biases = 0;
  size_t num_tokens = 0;
  size_t key_stride = 0;
  // Where arrays begin; DeviceRows at 0, DeviceDraws at `uploaded`.
  size_t adjustments = 0;
  size_t biases = 0;
  size_t tokens = 0;
  size_t uploaded = 0;
  size_t keys = 0;
  size_t bytes = 0;
};

DeviceRow RowOf(const RowRequest& request, int64_t vocabulary) {
  const SamplingParams& params = *request.params;
  DeviceRow to;
  to.logits = to.original = request.logits;
  to.scale = params.temperature == 0.0f ? 0.0f : WeightScale(params.temperature);
  to.top_p = params.top_p;
  to.min_weight = params.min_p > 0.0f ? MinPWeight(params.min_p) : 0;
  to.top_k = std::max(params.top_k, 0);
  to.top_logprobs = params.top_logprobs;
  to.uniform = Uniform(params.seed, request.position);
  to.filters = Filters(params, vocabulary);
  to.joint = params.order == FilterOrder::kJoint;
  if (request.draft_probs != nullptr) {
    to.draft_probs = request.draft_probs;
    to.draft = request.draft;
    to.accept = Uniform(params.seed, request.position, kAcceptStream);
    to.replace = Uniform(params.seed, request.position, kReplaceStream);
  }
  return to;
}

// Fills the uploaded part of `block`. `adjusted` and `counts` are device memory [adjusted][V].
void FillBlock(const std::vector<RowRequest>& requests, const Layout& layout, int64_t vocabulary,
               float* adjusted, uint32_t* counts, std::byte* block) {
  auto* rows = reinterpret_cast<DeviceRow*>(block);
  auto* adjustment = reinterpret_cast<DeviceAdjustment*>(block + layout.adjustments);
  auto* biases = reinterpret_cast<TokenBias*>(block + layout.biases);
  auto* tokens = reinterpret_cast<int32_t*>(block + layout.tokens);
  int32_t num_biases = 0;
  int32_t num_tokens = 0;
  const auto append = [&](std::span<const int32_t> from) {
    std::copy(from.begin(), from.end(), tokens + num_tokens);
    num_tokens += static_cast<int32_t>(from.size());
    return num_tokens;
  };
  for (const RowRequest& request : requests) {
    const SamplingParams& params = *request.params;
    DeviceRow& row = *rows++;
    row = RowOf(request, vocabulary);
    if (!params.AdjustsLogits()) {
      continue;
    }
    DeviceAdjustment to;
    to.from = row.original;
    to.logits = adjusted;
    to.counts = counts;
    to.bias_begin = num_biases;
    std::copy(params.logit_bias.begin(), params.logit_bias.end(), biases + num_biases);
    num_biases += static_cast<int32_t>(params.logit_bias.size());
    to.bias_end = num_biases;
    to.prompt_begin = to.prompt_end = to.output_end = num_tokens;
    if (params.UsesHistory()) {
      to.prompt_end = append(request.history.prompt);
      append(request.history.output);
      to.output_end = append(request.history.drafts);
    }
    to.repetition = params.repetition_penalty;
    to.presence = params.presence_penalty;
    to.frequency = params.frequency_penalty;
    *adjustment++ = to;
    row.logits = adjusted;
    adjusted += vocabulary;
    counts += vocabulary;
  }
}

}  // namespace

Result<PendingRows> PendingRows::Enqueue(const OpContext& context, int64_t vocabulary,
                                         const std::vector<RowRequest>& requests, int32_t* drawn,
                                         const int32_t* drawn_before) {
  const Layout layout(requests);
  CudaStream& stream = AsCudaStream(context.stream);
  const Workspace::Scope scope(context.workspace);
  const size_t scratch = layout.adjusted * static_cast<size_t>(vocabulary);
  PendingRows pending;
  QUIRE_ASSIGN_OR_RETURN(pending.block_, stream.device().pinned_pool().Take(layout.bytes));
  std::byte* const block = pending.block_.get();
  auto* uploaded = context.workspace.Allocate<std::byte>(layout.uploaded);
  FillBlock(requests, layout, vocabulary, context.workspace.Allocate<float>(scratch),
            context.workspace.Allocate<uint32_t>(scratch), block);
  QUIRE_RETURN_IF_ERROR(
      stream.Copy(uploaded, stream.device().place(), block, Place::Host(), layout.uploaded));
  if (layout.adjusted > 0) {
    const AdjustmentBatch batch = {
        .rows = reinterpret_cast<const DeviceAdjustment*>(uploaded + layout.adjustments),
        .biases = reinterpret_cast<const TokenBias*>(uploaded + layout.biases),
        .tokens = reinterpret_cast<const int32_t*>(uploaded + layout.tokens),
        .drawn_before = drawn_before,
        .count = static_cast<int>(layout.adjusted),
        .vocabulary = static_cast<int>(vocabulary)};
    QUIRE_RETURN_IF_ERROR(CudaStatus(AdjustRows(batch, stream.handle()), "AdjustKernel"));
  }
  const SamplerBatch batch = {.rows = reinterpret_cast<const DeviceRow*>(uploaded),
                              .draws = reinterpret_cast<DeviceDraw*>(block + layout.uploaded),
                              .keys = reinterpret_cast<uint64_t*>(block + layout.keys),
                              .tokens = drawn,
                              .key_stride = static_cast<int64_t>(layout.key_stride),
                              .count = static_cast<int>(layout.rows),
                              .vocabulary = static_cast<int>(vocabulary)};
  QUIRE_RETURN_IF_ERROR(CudaStatus(SampleRows(batch, stream.handle()), "SampleKernel"));
  pending.rows_ = reinterpret_cast<const DeviceRow*>(block);
  pending.draws_ = batch.draws;
  pending.keys_ = batch.keys;
  pending.key_stride_ = layout.key_stride;
  pending.size_ = layout.rows;
  return pending;
}

SampledToken PendingRows::TokenAt(size_t row) const {
  const DeviceDraw& draw = draws_[row];
  SampledToken token;
  token.token = draw.token;
  if (rows_[row].top_logprobs < 0) {
    return token;
  }
  token.logprob = LogprobOf(draw.logit, draw.max, draw.total);
  const uint64_t* const first = keys_ + row * key_stride_;
  std::vector<uint64_t> keys(first, first + rows_[row].top_logprobs);
  std::sort(keys.begin(), keys.end());
  for (const uint64_t key : keys) {
    token.top.push_back({TokenOf(key), LogprobOf(LogitOf(key), draw.max, draw.total)});
  }
  return token;
}

}  // namespace quire::ops::topk_topp_sampling
