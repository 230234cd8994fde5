#include "ops/attention/cpu/cpu_schedule.h"

#include <algorithm>

#include "platform/cpu/cpu_device.h"

namespace quire::ops::attention::cpu {

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

// Writes the units of a call, or only counts them.
class UnitList {
 public:
  UnitList(Workspace& workspace, const Problem& problem, int threads)
      : workspace_(workspace), problem_(problem), threads_(threads) {
    int64_t rows = 0;
    for (int32_t b = 0; b < problem.num_sequences; ++b) {
      rows += problem.Rows(b);
      total_cost_ += Cost(problem.Rows(b), b);
    }
    const int64_t wanted_blocks = CeilDiv(kUnitsPerThread * threads, problem.kv_heads);
    const int64_t largest = std::max(kMaxUnitQueries / problem.group(), 1);
    const int64_t smallest = std::clamp<int64_t>(kMinUnitQueries / problem.group(), 1, largest);
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
  // Keys that `rows` rows of sequence b visit, about.
  int64_t Cost(int64_t rows, int32_t b) const { return rows * problem_.Keys(b); }

  // Units of many rows first: they are the long ones. Within a sequence the last rows see most
  // keys.
  void Walk() {
    for (int32_t b = 0; b < problem_.num_sequences; ++b) {
      if (problem_.Rows(b) > block_rows_) {
        AddSequence(b);
      }
    }
    for (int32_t b = 0; b < problem_.num_sequences; ++b) {
      if (problem_.Rows(b) <= block_rows_) {
        AddSequence(b);
      }
    }
  }

  void AddSequence(int32_t b) {
    const int64_t rows = problem_.Rows(b);
    for (int64_t block = CeilDiv(rows, block_rows_) - 1; block >= 0; --block) {
      Unit unit;
      if (problem_.paged()) {
        unit.pages = problem_.page_table + int64_t{b} * problem_.max_pages;
      } else {
        unit.first_key = problem_.key_start[b];
      }
      unit.keys = problem_.Keys(b);
      unit.first_row = problem_.FirstRow(b) + block * block_rows_;
      unit.first_position = problem_.FirstPosition(b) + block * block_rows_;
      unit.rows = static_cast<int32_t>(std::min(block_rows_, rows - block * block_rows_));
      const int64_t last_position = unit.first_position + unit.rows - 1;
      unit.range_begin = problem_.VisibleKeys(unit.first_position, unit.keys).begin / kKeyRange;
      unit.range_end = CeilDiv(problem_.VisibleKeys(last_position, unit.keys).end, kKeyRange);
      AddBlock(unit, Cost(unit.rows, b));
    }
  }

  void AddBlock(Unit unit, int64_t cost) {
    const int64_t ranges = unit.range_end - unit.range_begin;
    const int64_t queries = int64_t{unit.rows} * problem_.group();
    const int64_t partial_floats = queries * ranges * PartialFloats(problem_.value_dim);
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

  // Long units first, as nothing is fetched ahead across their ends; short ones last, so that all
  // threads end together.
  void AddRanges(Unit unit, int64_t partial_floats) {
    unit.merge_range_begin = unit.range_begin;
    unit.merge_ranges = static_cast<int32_t>(unit.range_end - unit.range_begin);
    int32_t units_left = 0;
    if (units_ != nullptr) {
      unit.partials = workspace_.Allocate<float>(static_cast<size_t>(partial_floats));
      unit.units_left = workspace_.Allocate<int32_t>(1);
    }
    const int64_t end = unit.range_end;
    const int64_t later = (problem_.kv_heads - 1 - unit.kv_head) * int64_t{unit.merge_ranges};
    for (; unit.range_begin < end; unit.range_begin = unit.range_end) {
      const int64_t left = end - unit.range_begin;
      unit.range_end =
          unit.range_begin + std::clamp<int64_t>((later + left) / (2 * threads_), 1, left);
      ++units_left;
      Add(unit);
    }
    if (units_ != nullptr) {
      *unit.units_left = units_left;
    }
  }

  void Add(const Unit& unit) {
    if (units_ != nullptr) {
      units_[size_] = unit;
    }
    ++size_;
  }

  Workspace& workspace_;
  const Problem& problem_;
  const int64_t threads_;
  int64_t total_cost_ = 0;
  int64_t block_rows_ = 1;
  Unit* units_ = nullptr;
  int64_t size_ = 0;
};

int64_t* EvenRows(Workspace& workspace, int stride) {
  auto* rows = workspace.Allocate<int64_t>(kKeyTile);
  for (int j = 0; j < kKeyTile; ++j) {
    rows[j] = int64_t{j} * stride;
  }
  return rows;
}

Scratch MakeScratch(Workspace& workspace, const Problem& problem, int64_t queries) {
  const auto count = static_cast<size_t>(queries);
  const auto key_dim = static_cast<size_t>(problem.key_dim);
  const auto value_dim = static_cast<size_t>(problem.value_dim);
  const bool shared = ValuesAreKeys(problem);
  Scratch scratch;
  scratch.query = workspace.Allocate<float>((count + kLanes) * key_dim);
  scratch.acc = workspace.Allocate<float>(count * value_dim);
  scratch.sum = workspace.Allocate<float>(count * kLanes);
  scratch.max = workspace.Allocate<float>(count);
  scratch.total_acc = workspace.Allocate<float>(count * value_dim);
  scratch.total_sum = workspace.Allocate<float>(count);
  scratch.total_max = workspace.Allocate<float>(count);
  scratch.scores = workspace.Allocate<float>(kMaxStep * kKeyTile);
  scratch.columns = workspace.Allocate<float>(kKeyTile * key_dim);
  scratch.keys = workspace.Allocate<float>(kKeyTile * key_dim);
  scratch.values = shared ? scratch.keys : workspace.Allocate<float>(kKeyTile * value_dim);
  scratch.key_scale = workspace.Allocate<float>(kKeyTile);
  scratch.value_scale = workspace.Allocate<float>(kKeyTile);
  for (TileOffsets& offsets : scratch.offsets) {
    offsets.keys = workspace.Allocate<int64_t>(kKeyTile);
    offsets.values = problem.key.strides == problem.value.strides
                         ? offsets.keys
                         : workspace.Allocate<int64_t>(kKeyTile);
  }
  scratch.key_rows = EvenRows(workspace, problem.key_dim);
  scratch.value_rows = shared ? scratch.key_rows : EvenRows(workspace, problem.value_dim);
  return scratch;
}

Kernels::Function FunctionOf(const Kernels& kernels, DType dtype) {
  switch (dtype) {
    case DType::kF16: return kernels.f16;
    case DType::kBF16: return kernels.bf16;
    case DType::kF8E4M3: return kernels.f8e4m3;
    default: return kernels.f32;
  }
}

}  // namespace

Status RunUnits(const OpContext& context, const Problem& problem, const Kernels& kernels) {
  ThreadPool& threads = AsCpuStream(context.stream).threads();
  Workspace& workspace = context.workspace;
  const Workspace::Scope scope(workspace);
  UnitList list(workspace, problem, threads.size());
  list.Build();
  auto* scratch = workspace.Allocate<Scratch>(static_cast<size_t>(threads.size()));
  for (size_t worker = 0; worker < static_cast<size_t>(threads.size()); ++worker) {
    scratch[worker] = MakeScratch(workspace, problem, list.block_rows() * problem.group());
  }
  const Kernels::Function function = FunctionOf(kernels, problem.kv_dtype);
  threads.ParallelFor(list.size(), [&](int64_t task, int worker) {
    function(problem, list.units()[task], scratch[worker]);
  });
  return OkStatus();
}

}  // namespace quire::ops::attention::cpu
