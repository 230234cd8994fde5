// Plain loops: all scores of a row, then the softmax, then the weighted sum, in double.
#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/paged_attention/paged_attention.h"
#include "tensor/half.h"

namespace quire::ops::paged_attention {

namespace {

double Element(const void* data, DType dtype, int64_t index) {
  switch (dtype) {
    case DType::kF16: return HalfToFloat(static_cast<const uint16_t*>(data)[index]);
    case DType::kBF16: return BFloat16ToFloat(static_cast<const uint16_t*>(data)[index]);
    default: return static_cast<const float*>(data)[index];
  }
}

// Where the key and value of `position` start in their arrays.
int64_t OffsetOf(const Args& args, int32_t sequence, int64_t position, int32_t kv_head) {
  const PagedKvView& cache = args.cache;
  const int64_t index = int64_t{sequence} * args.sequences.max_pages + position / cache.page_size;
  return cache.ElementOffset(args.sequences.page_table[index], kv_head) +
         position % cache.page_size * cache.head_dim;
}

double Score(const Args& args, const float* query, int64_t key_offset) {
  double dot = 0;
  for (int32_t d = 0; d < args.cache.head_dim; ++d) {
    dot += double{query[d]} * Element(args.cache.k, args.cache.dtype, key_offset + d);
  }
  const double score = dot * double{args.scale};
  const double cap = double{args.logit_soft_cap};
  return cap > 0 ? cap * std::tanh(score / cap) : score;
}

void AttendRow(const Args& args, int32_t sequence, int64_t row, int64_t position, int32_t q_head) {
  const int64_t head_dim = args.cache.head_dim;
  const int64_t q_heads = args.query.dim(1);
  const auto kv_head = static_cast<int32_t>(q_head / (q_heads / args.cache.num_kv_heads));
  const float* query =
      args.query.as<const float>() + row * args.query.stride(0) + q_head * args.query.stride(1);
  const int64_t first =
      args.window_left < 0 ? 0 : std::max<int64_t>(position - args.window_left, 0);
  std::vector<double> weights;
  for (int64_t key = first; key <= position; ++key) {
    weights.push_back(Score(args, query, OffsetOf(args, sequence, key, kv_head)));
  }
  const double max = *std::max_element(weights.begin(), weights.end());
  double sum = 0;
  for (double& weight : weights) {
    weight = std::exp(weight - max);
    sum += weight;
  }
  std::vector<double> acc(static_cast<size_t>(head_dim));
  for (int64_t key = first; key <= position; ++key) {
    const int64_t offset = OffsetOf(args, sequence, key, kv_head);
    for (int64_t d = 0; d < head_dim; ++d) {
      acc[static_cast<size_t>(d)] += weights[static_cast<size_t>(key - first)] *
                                     Element(args.cache.v, args.cache.dtype, offset + d);
    }
  }
  float* out = args.out.as<float>() + (row * q_heads + q_head) * head_dim;
  for (int64_t d = 0; d < head_dim; ++d) {
    out[d] = static_cast<float>(acc[static_cast<size_t>(d)] / sum);
  }
}

Status RunReference(const OpContext&, const Args& args) {
  const PagedSequences& sequences = args.sequences;
  for (int32_t b = 0; b < sequences.num_sequences; ++b) {
    const int64_t end = sequences.query_start[b + 1];
    for (int64_t row = sequences.query_start[b]; row < end; ++row) {
      const int64_t position = sequences.kv_length[b] - (end - row);
      for (int32_t head = 0; head < args.query.dim(1); ++head) {
        AttendRow(args, b, row, position, head);
      }
    }
  }
  return OkStatus();
}

}  // namespace

Implementations ReferenceImplementations() {
  return {{"reference",
           [](const OpContext& context, const Args&) {
             return context.stream.device().place().IsHost();
           },
           RunReference}};
}

}  // namespace quire::ops::paged_attention
