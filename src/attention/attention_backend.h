// AttentionBackend: one way to run a step's attention over the paged cache.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "ops/batch_views.h"
#include "ops/implementation.h"
#include "ops/paged_kv_view.h"
#include "ops/rope/rope.h"
#include "platform/device.h"
#include "tensor/tensor_view.h"

namespace quire {

// One layer's share of a step. T = the batch's rows.
struct LayerAttention {
  PagedKvView cache;         // this layer's pages; the batch's slots are written
  TensorView query;          // f32, f16 or bf16 [T, Hq, D]; T and H may be strided
  TensorView key;            // of the query's type [T, Hkv, D]; likewise
  TensorView value;          // of the query's type [T, Hkv, D]; likewise
  TensorView out;            // of the query's type [T, Hq, D]; contiguous
  float scale = 1.0f;        // of the dot products
  int32_t window_left = -1;  // a query at p sees keys p - window_left .. p; -1 = all before it
  float logit_soft_cap = 0;  // c > 0: scores become c * tanh(score / c)
  // f32 [T, r / 2, 2]: query and key are turned in place first; not given: they come turned.
  TensorView cos_sin = {};
  ops::rope::Style rope_style = ops::rope::Style::kNeox;
};

// Plan() once a step, then Run() once a layer. One thread at a time.
class AttentionBackend {
 public:
  virtual ~AttentionBackend() = default;

  virtual std::string_view name() const = 0;

  // Takes what the layers of the step share; `views` are the arrays of `batch` at the context's
  // place. Both must stay alive and unchanged until the next Plan. Errors: invalid_argument (arrays
  // of the batch that contradict each other).
  virtual Status Plan(const ops::OpContext& context, const Batch& batch,
                      const BatchViews& views) = 0;

  // Equal keys after two Plans say that Run enqueues the same work on the same addresses, so that a
  // graph captured after the one may be launched after the other; 0 says nothing.
  virtual uint64_t LaunchKey() const { return 0; }

  // Turns queries and keys, writes the keys and values of the step's rows into their slots, then
  // attends. A row's result depends, bit for bit, on its query, its position and the keys and
  // values before it alone; but not with kernels of libraries, which backends take only where
  // batch_invariant is not set.
  virtual Status Run(const ops::OpContext& context, const LayerAttention& layer) = 0;
};

// What a backend is chosen for.
struct AttentionProblem {
  const Device* device = nullptr;  // that will run it; outlives the backend
  int32_t q_heads = 1;             // a multiple of kv_heads
  int32_t kv_heads = 1;
  int32_t head_dim = 0;
  int32_t page_size = 0;
  DType query_dtype = DType::kF32;
  DType cache_dtype = DType::kF32;
  bool batch_invariant = false;  // only a backend that keeps Run()'s promise about bits will do
};

// The backend called `name`, or for "auto" the best that supports the problem; `reason` says why,
// for the log. Errors: not_found (unknown name, listing those that are known), unsupported (head
// size, page size, type or device, saying what is allowed).
Result<std::unique_ptr<AttentionBackend>> ChooseAttentionBackend(std::string_view name,
                                                                 const AttentionProblem& problem,
                                                                 std::string& reason);

}  // namespace quire
