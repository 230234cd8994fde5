// Rows of one head are converted whole; tokens are shared out among the threads. All
// implementations write the same bits.
#include "ops/cpu_convert.h"
#include "ops/cpu_rows.h"
#include "ops/cpu_stream.h"
#include "ops/reshape_and_cache/quantize.h"
#include "ops/reshape_and_cache/reshape_and_cache.h"
#include "ops/reshape_and_cache/slots.h"
#include "platform/cpu/isa_targets.h"

namespace quire::ops::reshape_and_cache {

namespace {

constexpr std::string_view kTypes = "f32, f16, bf16; pages of f32, f16, bf16, f8e4m3";

// Where keys, or values, come from and go to. Strides are in bytes.
struct Side {
  Side(const TensorView& rows, DType cache_type, void* cache_pages, const PageStrides& strides,
       float* cache_scales)
      : from(static_cast<const std::byte*>(rows.data())),
        from_token(BytesOf(rows.dtype(), rows.stride(0))),
        from_head(BytesOf(rows.dtype(), rows.stride(1))),
        heads(rows.dim(1)),
        elements(rows.dim(2)),
        pages(static_cast<std::byte*>(cache_pages)),
        to{BytesOf(cache_type, strides.page), BytesOf(cache_type, strides.head),
           BytesOf(cache_type, strides.token)},
        scales(cache_scales) {}

  // Makes the heads of a token one row, if they are neighbours in the inputs and in the pages.
  void JoinHeads(int64_t from_element, int64_t to_element) {
    if (from_head == elements * from_element && to.head == elements * to_element) {
      elements *= heads;
      heads = 1;
    }
  }

  const std::byte* from;
  int64_t from_token;
  int64_t from_head;
  int64_t heads;
  int64_t elements;  // of a head
  std::byte* pages;
  PageStrides to;
  float* scales;
};

// Whether keys and values go past the caches. Dividing is slower than any store.
bool Streams(const Args& args) {
  const PagedKvView& cache = args.cache;
  const int64_t key_bytes = BytesOf(cache.dtype, cache.head_dim);
  const int64_t value_bytes = BytesOf(cache.dtype, cache.value_dim());
  const int64_t bytes = args.slot_mapping.dim(0) * cache.num_kv_heads * (key_bytes + value_bytes);
  return cache.scaling == KvScaling::kNone && StreamingPays(bytes, key_bytes, cache.k) &&
         StreamingPays(bytes, value_bytes, cache.v);
}

struct Job {
  Job(CpuIsa isa, const Args& args)
      : key(args.key, args.cache.dtype, args.cache.k, args.cache.KeyStrides(), args.cache.k_scale),
        value(args.value, args.cache.dtype, args.cache.v, args.cache.ValueStrides(),
              args.cache.v_scale),
        slots(args.slot_mapping),
        page_size(args.cache.page_size),
        scaling(args.cache.scaling),
        scale_strides(args.cache.ScaleStrides()),
        writer(isa, args.key.dtype(), args.cache.dtype, Streams(args)),
        divide(DividerOf(isa, args.key.dtype(), args.cache.dtype)),
        abs_max(AbsMaxOf(isa, args.key.dtype())) {
    if (scaling != KvScaling::kPerTokenHead) {
      key.JoinHeads(BytesOf(args.key.dtype(), 1), BytesOf(args.cache.dtype, 1));
      value.JoinHeads(BytesOf(args.key.dtype(), 1), BytesOf(args.cache.dtype, 1));
    }
  }

  Side key;
  Side value;
  TensorView slots;
  int64_t page_size;
  KvScaling scaling;
  PageStrides scale_strides;
  RowWriter writer;
  ScaledConvertFunction divide;
  AbsMaxFunction abs_max;
};

void WriteSide(const Job& job, const Side& side, int64_t token, int64_t page, int64_t offset) {
  const std::byte* from = side.from + token * side.from_token;
  std::byte* to = side.pages + side.to.Offset(page, 0, offset);
  for (int64_t head = 0; head < side.heads; ++head, from += side.from_head, to += side.to.head) {
    if (job.scaling == KvScaling::kNone) {
      job.writer.Write(from, side.elements, to);
      continue;
    }
    float& scale = side.scales[job.scale_strides.Offset(page, head, offset)];
    if (job.scaling == KvScaling::kPerTokenHead) {
      scale = TokenHeadScale(job.abs_max(from, side.elements));
    }
    job.divide(from, side.elements, scale, to);
  }
}

template <CpuIsa kIsa>
Status WriteTokens(const OpContext& context, const Args& args) {
  const Job job(kIsa, args);
  const int64_t token_elements =
      args.cache.num_kv_heads * int64_t{args.cache.head_dim + args.cache.value_dim()};
  ForRowRanges(context, args.slot_mapping.dim(0), token_elements, [&](int64_t begin, int64_t end) {
    for (int64_t token = begin; token < end; ++token) {
      const int64_t slot = SlotOf(job.slots, token);
      if (slot >= 0) {
        WriteSide(job, job.key, token, slot / job.page_size, slot % job.page_size);
        WriteSide(job, job.value, token, slot / job.page_size, slot % job.page_size);
      }
    }
    job.writer.Finish();
  });
  return OkStatus();
}

}  // namespace

Implementations CpuImplementations() {
  return {
#if QUIRE_HAVE_X86
      {"avx512", DeviceHas<CpuIsa::kAvx512, Args>, WriteTokens<CpuIsa::kAvx512>, kTypes},
      {"avx2", DeviceHas<CpuIsa::kAvx2, Args>, WriteTokens<CpuIsa::kAvx2>, kTypes},
#endif
      {"vectorized", DeviceHas<CpuIsa::kBaseline, Args>, WriteTokens<CpuIsa::kBaseline>, kTypes},
  };
}

}  // namespace quire::ops::reshape_and_cache
