#include "attention/paged/cuda_paged.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <map>
#include <tuple>

#include "attention/batch_checks.h"
#include "attention/paged/cuda_layer.h"
#include "attention/paged/cuda_step_memory.h"
#include "attention/paged/paged_cpu.h"
#include "attention/write_layer.h"
#include "ops/attention/cuda_general.h"
#include "ops/attention/flashinfer/cuda_flashinfer.h"
#include "ops/attention/hopper_prefill/cuda_hopper_prefill.h"
#include "ops/attention/hopper_split_kv/cuda_hopper_split_kv.h"
#include "ops/attention/split_kv/cuda_split_kv.h"
#include "platform/cuda/cuda_device.h"

namespace quire {

namespace {

using ops::attention::HopperPrefillPlan;
using ops::attention::HopperTile;
using ops::attention::Problem;
using ops::attention::SplitKvGrain;
using ops::attention::SplitKvPlan;
using ops::attention::SplitKvWork;
using ops::attention::cuda::FlashInferMemory;
using ops::attention::cuda::FlashInferPlan;
using ops::attention::cuda::HopperPrefillSchedule;
using ops::attention::cuda::SplitKvSchedule;

// Rows of a sequence that still run through split keys: a token, or a draft to verify.
constexpr int32_t kMaxDecodeRows = 16;
// What FlashInfer's plan of a step takes for each tile of 128 rows of each head, and for the rest.
constexpr size_t kFa3TileBytes = 7 * sizeof(int32_t);
constexpr size_t kFa3PlanBytes = size_t{1} << 16;

bool IsHalf(DType dtype) {
  return dtype == DType::kF16 || dtype == DType::kBF16;
}

// Why the general kernel serves the problem; "" if it need not.
std::string WhyNotTensorCores(const AttentionProblem& problem) {
  const DType dtype = problem.cache_dtype;
  if (!IsHalf(dtype) || problem.query_dtype != dtype) {
    return StrCat("tensor cores want activations and a cache of f16 or of bf16, not ",
                  InfoOf(problem.query_dtype).name, " and ", InfoOf(dtype).name);
  }
  if (problem.head_dim != 64 && problem.head_dim != 128 && problem.head_dim != 256) {
    return StrCat("tensor cores want a head size of 64, 128 or 256, not ", problem.head_dim);
  }
  return "";
}

// What kernels for Hopper need of a problem.
Status CheckHopper(const AttentionProblem& problem) {
  if (problem.head_dim != 64 && problem.head_dim != 128) {
    return Unsupported("head size ", problem.head_dim, " is not 64 or 128");
  }
  if (!IsHalf(problem.cache_dtype) || problem.query_dtype != problem.cache_dtype) {
    return Unsupported("activations of ", InfoOf(problem.query_dtype).name, " and a cache of ",
                       InfoOf(problem.cache_dtype).name, " are not both f16 or both bf16");
  }
  const std::string& found = problem.device->properties().instruction_set;
  return found == "sm_90"
             ? OkStatus()
             : Unsupported("the device is ", found, "; these kernels are for sm_90 (Hopper) alone");
}

// Splits the memory of a plan among its arrays.
class PlanLayout {
 public:
  size_t Add(size_t bytes) {
    const size_t at = bytes_;
    bytes_ += (bytes + Buffer::kAlignment - 1) / Buffer::kAlignment * Buffer::kAlignment;
    return at;
  }
  size_t bytes() const { return bytes_; }

 private:
  size_t bytes_ = 0;
};

// The next of 0, 1, 2, 3, 4, 6, 8, 12, 16, ...: plans of steps that differ little launch alike.
size_t RoundUp(size_t count) {
  if (count <= 2) {
    return count;
  }
  const size_t power = std::bit_floor(count - 1);
  return count <= power + power / 2 ? power + power / 2 : 2 * power;
}

class CudaPaged final : public AttentionBackend {
 public:
  CudaPaged(std::string_view name, const AttentionProblem& problem, PrefillKernels prefill)
      : name_(name),
        problem_(problem),
        prefill_kernels_(prefill),
        by_tensor_cores_(WhyNotTensorCores(problem).empty()),
        has_hopper_plan_(prefill != PrefillKernels::kFlashInferFa3 && CheckHopper(problem).ok()) {}

  std::string_view name() const override { return name_; }

  Status Plan(const ops::OpContext& context, const Batch& batch, const BatchViews& views) override {
    planned_ = false;
    QUIRE_RETURN_IF_ERROR(CheckBatch(batch));
    views_ = views;
    const int32_t sequences = batch.num_sequences();
    prefill_begin_ = 0;
    while (prefill_begin_ < sequences && RowsOf(batch, prefill_begin_) <= kMaxDecodeRows) {
      ++prefill_begin_;
    }
    has_prefill_ = prefill_begin_ < sequences;
    if (sequences > 0 && by_tensor_cores_) {
      QUIRE_RETURN_IF_ERROR(PlanKernels(context, batch));
    }
    planned_ = true;
    return OkStatus();
  }

  uint64_t LaunchKey() const override {
    if (has_prefill_) {
      return 0;
    }
    const Launch launch = {decode_.work,        decode_.partial_data, decode_.work_count,
                           decode_.merge_count, decode_.tile_rows,    decode_.grain,
                           decode_.merge_warps};
    return launches_.try_emplace(launch, launches_.size() + 1).first->second;
  }

  Status Run(const ops::OpContext& context, const LayerAttention& layer) override {
    QUIRE_CHECK(planned_) << "attention ran without a plan that succeeded";
    QUIRE_RETURN_IF_ERROR(WriteLayer(context, layer, views_));
    if (views_.num_tokens() == 0) {
      return OkStatus();
    }
    return Attend(context, ProblemOf(layer, views_));
  }

 private:
  // What the launches of a step's decode rows depend on, beside the step's arrays.
  using Launch = std::tuple<const SplitKvWork*, const float*, int32_t, int32_t, int32_t,
                            SplitKvGrain, int32_t>;

  static int32_t RowsOf(const Batch& batch, int32_t sequence) {
    const auto b = static_cast<size_t>(sequence);
    return batch.query_start[b + 1] - batch.query_start[b];
  }

  // Whether FlashInfer takes this layer's chunks of prompts.
  bool IsForFa3(const Problem& problem) const {
    return prefill_kernels_ == PrefillKernels::kFlashInferFa3 && problem.window_left < 0 &&
           problem.logit_soft_cap == 0.0f;
  }

  Status Attend(const ops::OpContext& context, const Problem& problem) {
    const cudaStream_t stream = AsCudaStream(context.stream).handle();
    if (!by_tensor_cores_) {
      return ops::attention::cuda::RunGeneral(problem, stream);
    }
    if (const std::string_view reason = ops::attention::cuda::WhyNotSplitKv(problem);
        !reason.empty()) {
      return Unsupported("attention backend '", name_, "': ", reason);
    }
    QUIRE_RETURN_IF_ERROR(ops::attention::cuda::RunSplitKv(problem, decode_, stream));
    if (!has_prefill_) {
      return OkStatus();
    }
    if (IsForFa3(problem)) {
      return ops::attention::cuda::RunFa3(problem, {.pages = problem.page_table}, fa3_plan_,
                                          fa3_memory_, stream);
    }
    if (prefill_kernels_ == PrefillKernels::kHopper &&
        ops::attention::cuda::WhyNotHopperPrefill(problem).empty()) {
      return ops::attention::cuda::RunHopperPrefill(problem, hopper_, stream);
    }
    if (prefill_kernels_ == PrefillKernels::kSplitKv && has_hopper_plan_ &&
        ops::attention::cuda::WhyNotHopperSplitKv(problem).empty()) {
      return ops::attention::cuda::RunHopperSplitKv(problem, hopper_, stream);
    }
    return ops::attention::cuda::RunSplitKv(problem, prefill_, stream);
  }

  SplitKvPlan SplitKvPlanOf(const Batch& batch, int32_t begin, int32_t end) const {
    const int32_t units = problem_.device->properties().compute_units;
    return ops::attention::PlanSplitKv(
        {.query_start = batch.query_start,
         .kv_length = batch.kv_length,
         .begin = begin,
         .end = end,
         .group = problem_.q_heads / problem_.kv_heads,
         .kv_heads = problem_.kv_heads,
         .resident_blocks = units * ops::attention::cuda::kResidentBlocks,
         .resident_parts = units * ops::attention::cuda::ResidentParts(problem_.head_dim)});
  }

  HopperPrefillPlan HopperPlanOf(const Batch& batch) const {
    if (!has_prefill_ || !has_hopper_plan_) {
      return {};
    }
    return ops::attention::PlanHopperPrefill(
        {.query_start = batch.query_start,
         .kv_length = batch.kv_length,
         .begin = prefill_begin_,
         .end = batch.num_sequences(),
         .group = problem_.q_heads / problem_.kv_heads,
         .kv_heads = problem_.kv_heads,
         .blocks = problem_.device->properties().compute_units});
  }

  Status PlanKernels(const ops::OpContext& context, const Batch& batch) {
    SplitKvPlan decode = SplitKvPlanOf(batch, 0, prefill_begin_);
    const SplitKvPlan prefill = SplitKvPlanOf(batch, prefill_begin_, batch.num_sequences());
    decode.work.resize(RoundUp(decode.work.size()));
    decode.merges.resize(RoundUp(decode.merges.size()));
    QUIRE_RETURN_IF_ERROR(ReservePartials(context, decode, prefill));
    decode_ = ScheduleOf(decode);
    prefill_ = ScheduleOf(prefill);
    const std::array<const std::vector<SplitKvWork>*, 4> lists = {&decode.work, &decode.merges,
                                                                  &prefill.work, &prefill.merges};
    PlanLayout layout;
    std::array<size_t, 4> at = {};
    for (size_t i = 0; i < lists.size(); ++i) {
      at[i] = layout.Add(lists[i]->size() * sizeof(SplitKvWork));
    }
    const HopperPrefillPlan hopper = HopperPlanOf(batch);
    const size_t tiles_at = layout.Add(hopper.tiles.size() * sizeof(HopperTile));
    const size_t blocks_at = layout.Add(hopper.block_start.size() * sizeof(int32_t));
    QUIRE_ASSIGN_OR_RETURN(std::byte* const host,
                           plan_memory_.Begin(context.stream, layout.bytes()));
    for (size_t i = 0; i < lists.size(); ++i) {
      std::memcpy(host + at[i], lists[i]->data(), lists[i]->size() * sizeof(SplitKvWork));
    }
    std::memcpy(host + tiles_at, hopper.tiles.data(), hopper.tiles.size() * sizeof(HopperTile));
    std::memcpy(host + blocks_at, hopper.block_start.data(),
                hopper.block_start.size() * sizeof(int32_t));
    QUIRE_RETURN_IF_ERROR(plan_memory_.Send(context.stream, layout.bytes()));
    const std::byte* const device = plan_memory_.device();
    decode_.work = reinterpret_cast<const SplitKvWork*>(device + at[0]);
    decode_.merges = reinterpret_cast<const SplitKvWork*>(device + at[1]);
    prefill_.work = reinterpret_cast<const SplitKvWork*>(device + at[2]);
    prefill_.merges = reinterpret_cast<const SplitKvWork*>(device + at[3]);
    hopper_ = {.tiles = reinterpret_cast<const HopperTile*>(device + tiles_at),
               .block_start = reinterpret_cast<const int32_t*>(device + blocks_at),
               .blocks = problem_.device->properties().compute_units};
    return has_prefill_ && prefill_kernels_ == PrefillKernels::kFlashInferFa3
               ? PlanFa3(context, batch)
               : OkStatus();
  }

  // Room for partial results; for decode rows all that there may ever be.
  Status ReservePartials(const ops::OpContext& context, const SplitKvPlan& decode,
                         const SplitKvPlan& prefill) {
    const int32_t group = problem_.q_heads / problem_.kv_heads;
    const int32_t rows = std::max({decode.tile_rows, prefill.partials > 0 ? prefill.tile_rows : 0,
                                   std::min(group, ops::attention::kTileRows)});
    const int64_t floats = ops::attention::cuda::PartialFloats(problem_.kv_heads, problem_.head_dim,
                                                               ops::attention::kMaxPartials, rows);
    return Reserve(context.stream.device(), static_cast<size_t>(floats) * sizeof(float), partials_);
  }

  // All but where the work lies.
  SplitKvSchedule ScheduleOf(const SplitKvPlan& plan) const {
    SplitKvSchedule schedule;
    schedule.work_count = static_cast<int32_t>(plan.work.size());
    schedule.merge_count = static_cast<int32_t>(plan.merges.size());
    schedule.grain = plan.grain;
    schedule.merge_warps = ops::attention::cuda::MergeWarps(plan.tile_partials);
    schedule.tile_rows = plan.tile_rows;
    schedule.partials = static_cast<int32_t>(ops::attention::kMaxPartials);
    schedule.partial_data = static_cast<float*>(partials_.data());
    return schedule;
  }

  Status PlanFa3(const ops::OpContext& context, const Batch& batch) {
    const int32_t sequences = batch.num_sequences() - prefill_begin_;
    const auto max_pages = static_cast<int32_t>(views_.page_table.dim(1));
    std::vector<int32_t> page_start;
    for (int32_t b = prefill_begin_; b <= batch.num_sequences(); ++b) {
      page_start.push_back(b * max_pages);
    }
    const auto tiles = static_cast<size_t>(batch.num_tokens() / 128 + sequences);
    const size_t bytes =
        kFa3PlanBytes + tiles * static_cast<size_t>(problem_.q_heads) * kFa3TileBytes;
    QUIRE_ASSIGN_OR_RETURN(std::byte* const host, fa3_staging_.Begin(context.stream, bytes));
    fa3_memory_ = {.indices = fa3_staging_.device(), .host_indices = host, .index_bytes = bytes};
    const auto first = static_cast<size_t>(prefill_begin_);
    QUIRE_RETURN_IF_ERROR(ops::attention::cuda::PlanFa3(
        {.query_start = batch.query_start.data() + first,
         .page_start = page_start.data(),
         .kv_length = batch.kv_length.data() + first,
         .sequences = sequences,
         .rows = batch.num_tokens() - batch.query_start[first],
         .q_heads = problem_.q_heads,
         .kv_heads = problem_.kv_heads,
         .head_dim = problem_.head_dim,
         .page_size = problem_.page_size},
        fa3_memory_, AsCudaStream(context.stream).handle(), fa3_plan_));
    return fa3_staging_.Sent(context.stream);
  }

  std::string_view name_;
  AttentionProblem problem_;
  PrefillKernels prefill_kernels_;
  bool by_tensor_cores_;
  bool has_hopper_plan_;  // our own kernels for Hopper take chunks of prompts, where layers allow
  CudaStepMemory plan_memory_;
  CudaStepMemory fa3_staging_;
  Buffer partials_;
  mutable std::map<Launch, uint64_t> launches_;  // seen so far, and their keys
  // Of the step that was planned:
  bool planned_ = false;
  BatchViews views_;
  int32_t prefill_begin_ = 0;  // sequences from here on go to the kernels for prompts
  bool has_prefill_ = false;
  SplitKvSchedule decode_;
  SplitKvSchedule prefill_;
  HopperPrefillSchedule hopper_;
  FlashInferMemory fa3_memory_;
  FlashInferPlan fa3_plan_;
};

// What the kernels for Hopper need that are not split_kv's.
Status CheckHopperKernels(const AttentionProblem& problem) {
  QUIRE_RETURN_IF_ERROR(PagedSupports(problem));
  QUIRE_RETURN_IF_ERROR(CheckBitsMayDiffer(problem));
  return CheckHopper(problem);
}

}  // namespace

Result<std::string> SplitKvSupports(const AttentionProblem& problem) {
  QUIRE_RETURN_IF_ERROR(PagedSupports(problem));
  if (const std::string reason = WhyNotTensorCores(problem); !reason.empty()) {
    return StrCat("the general kernel for all rows: ", reason);
  }
  return CheckHopper(problem).ok()
             ? std::string(
                   "split_kv for all rows, hopper_split_kv for prompts without window or soft cap")
             : std::string("split_kv for all rows");
}

Status CheckBitsMayDiffer(const AttentionProblem& problem) {
  return problem.batch_invariant ? Unsupported(
                                       "a row's bits depend on the rows beside it, which "
                                       "--deterministic excludes; use split_kv or auto")
                                 : OkStatus();
}

Result<std::string> FlashInferFa3Supports(const AttentionProblem& problem) {
  QUIRE_RETURN_IF_ERROR(CheckHopperKernels(problem));
  return std::string(
      "split_kv for decode rows, flashinfer_fa3 for prompts without window or soft cap");
}

Result<std::string> HopperPrefillSupports(const AttentionProblem& problem) {
  QUIRE_RETURN_IF_ERROR(CheckHopperKernels(problem));
  return std::string(
      "split_kv for decode rows, hopper_prefill for prompts without window or soft cap");
}

Result<std::string> PagedCudaSupports(const AttentionProblem& problem) {
  Result<std::string> kernels = HopperPrefillSupports(problem);
  return kernels.ok() ? kernels : SplitKvSupports(problem);
}

std::unique_ptr<AttentionBackend> MakeCudaPaged(std::string_view name,
                                                const AttentionProblem& problem,
                                                PrefillKernels prefill) {
  return std::make_unique<CudaPaged>(name, problem, prefill);
}

}  // namespace quire
