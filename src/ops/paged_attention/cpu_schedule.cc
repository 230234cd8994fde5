#include "ops/paged_attention/cpu_schedule.h"

#include <algorithm>
#include <bit>

#include "platform/cpu/cpu_device.h"

namespace quire::ops::paged_attention::cpu {

namespace {

// Units per thread that are enough to keep all threads busy to the end.
constexpr int64_t kUnitsPerThread = 4;
// A block of query rows is not cut below this many query vectors: each unit expands the keys it
// reads.
constexpr int kMinUnitQueries = 24;
// A sequence's ranges run apart only while its partial results stay below this.
constexpr int64_t kMaxPartialBytes = int64_t{8} << 20;

int64_t CeilDiv(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

Problem MakeProblem(const Args& args) {
  Problem problem;
  problem.query = args.query.as<const float>();
  problem.query_row_stride = args.query.stride(0);
  problem.query_head_stride = args.query.stride(1);
  problem.out = args.out.as<float>();
  problem.k = args.cache.k;
  problem.v = args.cache.v;
  problem.head_dim = args.cache.head_dim;
  problem.q_heads = static_cast<int>(args.query.dim(1));
  problem.kv_heads = args.cache.num_kv_heads;
  problem.group = problem.q_heads / problem.kv_heads;
  problem.page_shift = std::countr_zero(static_cast<uint32_t>(args.cache.page_size));
  problem.window_left = args.window_left;
  problem.scale = args.scale;
  problem.logit_soft_cap = args.logit_soft_cap;
  return problem;
}

// Writes the units of a call, or only counts them.
class UnitList {
 public:
  UnitList(const OpContext& context, const Args& args, const Problem& problem, int threads)
      : workspace_(context.workspace),
        sequences_(args.sequences),
        problem_(problem),
        threads_(threads) {
    int64_t rows = 0;
    for (int32_t b = 0; b < sequences_.num_sequences; ++b) {
      rows += Rows(b);
      total_cost_ += Cost(Rows(b), b);
    }
    const int64_t wanted_blocks = CeilDiv(kUnitsPerThread * threads, problem.kv_heads);
    const int64_t largest = std::max(kMaxUnitQueries / problem.group, 1);
    const int64_t smallest = std::clamp<int64_t>(kMinUnitQueries / problem.group, 1, largest);
    block_rows_ = std::clamp(CeilDiv(rows, wanted_blocks), smallest, largest);
  }

  int64_t block_rows() const { return block_rows_; }
  const Unit* units() const { return units_; }
  int64_t size() const { return size_; }

  void Build() {
    Walk();  // counts
    units_ = workspace_.Allocate<Unit>(static_cast<size_t>(size_));
    size_ = 0;
    Walk();
  }

 private:
  int64_t Rows(int32_t b) const {
    return sequences_.query_start[b + 1] - sequences_.query_start[b];
  }
  // Keys that `rows` rows of sequence b visit, about.
  int64_t Cost(int64_t rows, int32_t b) const { return rows * sequences_.kv_length[b]; }

  // Units of many rows first: they are the long ones. Within a sequence the last rows see most
  // keys.
  void Walk() {
    for (int32_t b = 0; b < sequences_.num_sequences; ++b) {
      if (Rows(b) > block_rows_) {
        AddSequence(b);
      }
    }
    for (int32_t b = 0; b < sequences_.num_sequences; ++b) {
      if (Rows(b) <= block_rows_) {
        AddSequence(b);
      }
    }
  }

  void AddSequence(int32_t b) {
    const int64_t rows = Rows(b);
    const int64_t first_position = sequences_.kv_length[b] - rows;
    for (int64_t block = CeilDiv(rows, block_rows_) - 1; block >= 0; --block) {
      Unit unit;
      unit.pages = sequences_.page_table + int64_t{b} * sequences_.max_pages;
      unit.first_row = sequences_.query_start[b] + block * block_rows_;
      unit.first_position = first_position + block * block_rows_;
      unit.rows = static_cast<int32_t>(std::min(block_rows_, rows - block * block_rows_));
      const int64_t last_position = unit.first_position + unit.rows - 1;
      unit.range_begin = VisibleKeys(unit.first_position, problem_.window_left).begin / kKeyRange;
      unit.range_end = last_position / kKeyRange + 1;
      AddBlock(unit, Cost(unit.rows, b));
    }
  }

  void AddBlock(Unit unit, int64_t cost) {
    const int64_t ranges = unit.range_end - unit.range_begin;
    const int64_t queries = int64_t{unit.rows} * problem_.group;
    const int64_t partial_floats = queries * ranges * PartialFloats(problem_.head_dim);
    const bool long_one = 2 * kUnitsPerThread * threads_ * cost > total_cost_ * problem_.kv_heads;
    const bool split =
        threads_ > 1 && ranges > 1 && long_one &&
        partial_floats * problem_.kv_heads <= kMaxPartialBytes / int64_t{sizeof(float)};
    for (unit.kv_head = 0; unit.kv_head < problem_.kv_heads; ++unit.kv_head) {
      if (split) {
        AddRanges(unit, partial_floats);
      } else {
        Add(unit);
      }
    }
  }

  void AddRanges(Unit unit, int64_t partial_floats) {
    unit.merge_range_begin = unit.range_begin;
    unit.merge_ranges = static_cast<int32_t>(unit.range_end - unit.range_begin);
    if (units_ != nullptr) {
      unit.partials = workspace_.Allocate<float>(static_cast<size_t>(partial_floats));
      unit.units_left = workspace_.Allocate<int32_t>(1);
      *unit.units_left = unit.merge_ranges;
    }
    for (int32_t i = 0; i < unit.merge_ranges; ++i) {
      unit.range_begin = unit.merge_range_begin + i;
      unit.range_end = unit.range_begin + 1;
      Add(unit);
    }
  }

  void Add(const Unit& unit) {
    if (units_ != nullptr) {
      units_[size_] = unit;
    }
    ++size_;
  }

  Workspace& workspace_;
  const PagedSequences& sequences_;
  const Problem& problem_;
  const int64_t threads_;
  int64_t total_cost_ = 0;
  int64_t block_rows_ = 1;
  Unit* units_ = nullptr;
  int64_t size_ = 0;
};

Scratch MakeScratch(Workspace& workspace, int64_t queries, int head_dim) {
  const auto vectors = static_cast<size_t>(queries * head_dim);
  const auto count = static_cast<size_t>(queries);
  const auto tile = static_cast<size_t>(kKeyTile) * static_cast<size_t>(head_dim);
  Scratch scratch;
  scratch.query = workspace.Allocate<float>(vectors);
  scratch.acc = workspace.Allocate<float>(vectors);
  scratch.sum = workspace.Allocate<float>(count * kLanes);
  scratch.max = workspace.Allocate<float>(count);
  scratch.total_acc = workspace.Allocate<float>(vectors);
  scratch.total_sum = workspace.Allocate<float>(count);
  scratch.total_max = workspace.Allocate<float>(count);
  scratch.scores = workspace.Allocate<float>(kMaxRun * kKeyTile);
  scratch.keys = workspace.Allocate<float>(tile);
  scratch.values = workspace.Allocate<float>(tile);
  scratch.offsets = workspace.Allocate<int64_t>(2 * kKeyTile);
  scratch.rows = workspace.Allocate<int64_t>(kKeyTile);
  for (int j = 0; j < kKeyTile; ++j) {
    scratch.rows[j] = int64_t{j} * head_dim;
  }
  return scratch;
}

Kernels::Function FunctionOf(const Kernels& kernels, DType dtype) {
  return dtype == DType::kF16 ? kernels.f16 : dtype == DType::kBF16 ? kernels.bf16 : kernels.f32;
}

}  // namespace

Status RunUnits(const OpContext& context, const Args& args, const Kernels& kernels) {
  ThreadPool& threads = AsCpuStream(context.stream).threads();
  const Workspace::Scope scope(context.workspace);
  const Problem problem = MakeProblem(args);
  UnitList list(context, args, problem, threads.size());
  list.Build();
  auto* scratch = context.workspace.Allocate<Scratch>(static_cast<size_t>(threads.size()));
  for (size_t worker = 0; worker < static_cast<size_t>(threads.size()); ++worker) {
    scratch[worker] =
        MakeScratch(context.workspace, list.block_rows() * problem.group, problem.head_dim);
  }
  const Kernels::Function function = FunctionOf(kernels, args.cache.dtype);
  threads.ParallelFor(list.size(), [&](int64_t task, int worker) {
    function(problem, list.units()[task], scratch[worker]);
  });
  return OkStatus();
}

}  // namespace quire::ops::paged_attention::cpu
