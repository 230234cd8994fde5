// What the tests and benchmarks of the attention operators share: problems, and their memory with
// known keys and values one after another or in a cache whose pages lie in random order; slots of
// no token hold NaN, as do the pages that nobody owns. No product code includes this.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "ops/conformance.h"
#include "ops/paged_kv_view.h"

namespace quire::ops::attention {

// How many rows a case may have and where its keys lie.
enum class Kind : uint8_t {
  kAny,     // any rows; keys in pages or, with page size 0, one after another
  kDecode,  // up to 16 rows of a sequence; keys in pages
  kLatent,  // keys are rows of a latent cache, values their first elements
};

struct Case {
  std::string name;
  Kind kind = Kind::kAny;
  int q_heads = 4;
  int kv_heads = 2;
  int key_dim = 64;
  int value_dim = 64;
  int page_size = 16;
  PageOrder order = PageOrder::kHnd;
  DType dtype = DType::kF16;  // of keys and values
  KvScaling scaling = KvScaling::kNone;
  DType query_dtype = DType::kF32;
  std::vector<int32_t> lengths = {};  // [B] keys
  std::vector<int32_t> rows = {};     // [B] query rows
  bool causal = true;
  int32_t window_left = -1;
  int32_t window_right = -1;
  float logit_soft_cap = 0.0f;
  bool sinks = false;
  int random = 0;  // > 0: all but the kind is drawn from the test's seed and this number

  Tolerance tolerance() const {
    return query_dtype == DType::kF32 ? Tolerance{2e-5, 4e-6} : ToleranceOf(query_dtype);
  }
};

// What a sequence holds, wherever its keys lie, made from a seed: the same seed and index give the
// same numbers in every case of the same sizes.
struct SequenceData {
  std::vector<float> query;        // [rows, Hq, Dk]
  std::vector<float> key;          // [length, Hkv, Dk]
  std::vector<float> value;        // [length, Hkv, Dv]
  std::vector<float> key_scale;    // [length, Hkv] for a scaled cache
  std::vector<float> value_scale;  // [length, Hkv]
};

inline SequenceData MakeSequence(const Case& c, uint64_t seed, size_t index) {
  std::mt19937_64 rng(seed * 1000003 + index);
  const int64_t heads = int64_t{c.lengths[index]} * c.kv_heads;
  SequenceData data;
  data.query = RandomFloats(rng, int64_t{c.rows[index]} * c.q_heads * c.key_dim);
  data.key = RandomFloats(rng, heads * c.key_dim);
  data.value = RandomFloats(rng, heads * c.value_dim);
  for (int64_t i = 0; i < heads && c.scaling != KvScaling::kNone; ++i) {
    const bool each = c.scaling == KvScaling::kPerTokenHead;
    data.key_scale.push_back(each ? 0.003f + 0.001f * static_cast<float>(rng() % 8) : 0.01f);
    data.value_scale.push_back(each ? 0.003f + 0.001f * static_cast<float>(rng() % 8) : 0.02f);
  }
  return data;
}

inline std::vector<SequenceData> MakeSequences(const Case& c, uint64_t seed) {
  std::vector<SequenceData> data;
  for (size_t b = 0; b < c.lengths.size(); ++b) {
    data.push_back(MakeSequence(c, seed, b));
  }
  return data;
}

// A case with its memory. Pages are taken in random order from twice as many as needed. `gap`
// elements lie between heads of queries, outputs and of keys one after another.
class Memory {
 public:
  Memory(const Case& c, const std::vector<SequenceData>& data, uint64_t page_seed = 1,
         int64_t gap = 0)
      : case_(c),
        query_(c.query_dtype, {Rows(), c.q_heads, c.key_dim}, c.key_dim + gap),
        out_(c.query_dtype, {Rows(), c.q_heads, c.value_dim}, c.value_dim + gap),
        lse_({Rows(), c.q_heads}),
        key_(RowType(), {KeyRows(), c.kv_heads, c.key_dim}, c.key_dim + gap),
        value_(RowType(), {KeyRows(), c.kv_heads, c.value_dim}, c.value_dim + gap) {
    for (int head = 0; head < c.q_heads; ++head) {
      sinks_.push_back(0.4f * static_cast<float>(head % 7) - 1.0f);
    }
    FillQueries(data);
    if (c.page_size > 0) {
      TakePages(page_seed);
      FillCache(data);
    } else {
      FillRows(data);
    }
  }

  TensorView query() { return query_.View(); }
  TensorView out() { return out_.View(); }
  TensorView lse() { return lse_.View(DType::kF32); }
  TensorView sinks() {
    return case_.sinks ? TensorView(sinks_.data(), DType::kF32, {case_.q_heads}) : TensorView();
  }
  TensorView query_start() { return Indices(query_start_); }
  TensorView key() { return key_.View(); }
  TensorView value() { return value_.View(); }
  TensorView key_start() { return Indices(key_start_); }
  TensorView page_table() { return {page_table_.data(), DType::kI32, {B(), max_pages_}}; }
  TensorView kv_length() { return Indices(case_.lengths); }
  std::vector<int32_t>& pages() { return page_table_; }

  PagedKvView cache() {
    PagedKvView view = {CacheOf(k_, k_moved_), CacheOf(v_, v_moved_), case_.dtype,   num_pages_,
                        case_.kv_heads,        case_.page_size,       case_.key_dim, Place::Host()};
    view.order = case_.order;
    view.value_head_dim = case_.value_dim;
    view.scaling = case_.scaling;
    if (case_.scaling != KvScaling::kNone) {
      view.k_scale = k_scale_.data();
      view.v_scale = v_scale_.data();
    }
    return view;
  }
  PagedLatentView latent() {
    return {.data = CacheOf(k_, k_moved_),
            .dtype = case_.dtype,
            .num_pages = num_pages_,
            .page_size = case_.page_size,
            .latent_dim = case_.value_dim,
            .rope_dim = case_.key_dim - case_.value_dim,
            .place = Place::Host(),
            .scale = case_.scaling != KvScaling::kNone ? k_scale_.data() : nullptr};
  }

  // Moves keys and values in pages to the device's memory, where those of an engine lie: for
  // benchmarks. Call before cache() and latent().
  void MoveCache(Device& device) {
    Move(device, k_, k_moved_);
    Move(device, v_, v_moved_);
  }

  // Fills the outputs with something else than a result.
  void Spoil() {
    out_.Assign(std::vector<float>(static_cast<size_t>(out_.shape().elements()), 42.0f));
    lse_.Assign(std::vector<float>(static_cast<size_t>(Rows() * case_.q_heads), 42.0f));
  }
  std::vector<float> Out() const { return out_.Values(); }
  std::vector<float> Lse() const { return lse_.Values(); }
  // Outputs, then log-sum-exps, of sequence b or of all.
  std::vector<float> ResultOf(size_t b) const {
    return Result(query_start_[b], query_start_[b + 1]);
  }
  std::vector<float> Result() const { return Result(0, Rows()); }
  std::string Damage() const { return out_.Damage() + lse_.Damage(); }
  // Bytes of the keys and values that the sequences hold.
  int64_t KvBytes() const {
    const int64_t tokens = std::accumulate(case_.lengths.begin(), case_.lengths.end(), int64_t{0});
    const int dim = case_.key_dim + (case_.kind == Kind::kLatent ? 0 : case_.value_dim);
    return tokens * case_.kv_heads * BytesOf(case_.dtype, dim);
  }

 private:
  static constexpr int32_t kUnused = 3;  // rows and keys of nobody before the first sequence

  int64_t B() const { return static_cast<int64_t>(case_.lengths.size()); }
  // Of the call: the first and the last rows belong to no sequence where keys lie in a row.
  int64_t Rows() const {
    return std::accumulate(case_.rows.begin(), case_.rows.end(), int64_t{0}) +
           (case_.page_size > 0 ? 0 : 2 * kUnused);
  }
  int64_t KeyRows() const {
    return case_.page_size > 0
               ? 0
               : std::accumulate(case_.lengths.begin(), case_.lengths.end(), int64_t{2 * kUnused});
  }
  DType RowType() const { return case_.page_size > 0 ? DType::kF32 : case_.dtype; }
  static void* CacheOf(std::vector<uint8_t>& bytes, Buffer& moved) {
    return moved.bytes() > 0 ? moved.data() : bytes.data();
  }
  static void Move(Device& device, std::vector<uint8_t>& bytes, Buffer& moved) {
    if (bytes.empty()) {
      return;
    }
    auto buffer = device.Allocate(bytes.size());
    QUIRE_CHECK(buffer.ok()) << buffer.status().message();
    moved = *std::move(buffer);
    std::copy(bytes.begin(), bytes.end(), static_cast<uint8_t*>(moved.data()));
    bytes = {};
  }
  static TensorView Indices(std::vector<int32_t>& values) {
    return {values.data(), DType::kI32, {static_cast<int64_t>(values.size())}};
  }
  std::vector<float> Result(int64_t begin, int64_t end) const {
    const std::vector<float> out = Out();
    const std::vector<float> lse = Lse();
    const int64_t row = int64_t{case_.q_heads} * case_.value_dim;
    std::vector<float> result(out.begin() + begin * row, out.begin() + end * row);
    result.insert(result.end(), lse.begin() + begin * case_.q_heads,
                  lse.begin() + end * case_.q_heads);
    return result;
  }

  void FillQueries(const std::vector<SequenceData>& data) {
    const int32_t first = case_.page_size > 0 ? 0 : kUnused;
    const auto row = static_cast<size_t>(case_.q_heads * case_.key_dim);
    std::vector<float> queries(static_cast<size_t>(first) * row, NAN);
    query_start_ = {first};
    for (size_t b = 0; b < case_.rows.size(); ++b) {
      queries.insert(queries.end(), data[b].query.begin(), data[b].query.end());
      query_start_.push_back(query_start_.back() + case_.rows[b]);
    }
    queries.resize(static_cast<size_t>(Rows()) * row, NAN);
    query_.Assign(queries);
  }

  void FillRows(const std::vector<SequenceData>& data) {
    std::vector<float> keys(static_cast<size_t>(kUnused * case_.kv_heads * case_.key_dim), NAN);
    std::vector<float> values(static_cast<size_t>(kUnused * case_.kv_heads * case_.value_dim), NAN);
    key_start_ = {kUnused};
    for (size_t b = 0; b < case_.lengths.size(); ++b) {
      keys.insert(keys.end(), data[b].key.begin(), data[b].key.end());
      values.insert(values.end(), data[b].value.begin(), data[b].value.end());
      key_start_.push_back(key_start_.back() + case_.lengths[b]);
    }
    keys.resize(static_cast<size_t>(key_.shape().elements()), NAN);
    values.resize(static_cast<size_t>(value_.shape().elements()), NAN);
    key_.Assign(keys);
    value_.Assign(values);
  }

  void TakePages(uint64_t seed) {
    max_pages_ = 1;
    int32_t needed = 0;
    for (const int32_t length : case_.lengths) {
      const int32_t pages = (length + case_.page_size - 1) / case_.page_size;
      max_pages_ = std::max(max_pages_, pages);
      needed += pages;
    }
    num_pages_ = 2 * needed + 1;
    std::vector<int32_t> free(static_cast<size_t>(num_pages_));
    std::iota(free.begin(), free.end(), 0);
    std::mt19937_64 rng(seed);
    std::shuffle(free.begin(), free.end(), rng);
    page_table_.assign(case_.lengths.size() * static_cast<size_t>(max_pages_), -1);
    for (size_t b = 0; b < case_.lengths.size(); ++b) {
      for (int32_t page = 0; page * case_.page_size < case_.lengths[b]; ++page) {
        page_table_[b * static_cast<size_t>(max_pages_) + static_cast<size_t>(page)] = free.back();
        free.pop_back();
      }
    }
  }

  void FillCache(const std::vector<SequenceData>& data) {
    const int64_t slots = num_pages_ * case_.page_size * case_.kv_heads;
    k_.assign(static_cast<size_t>(BytesOf(case_.dtype, slots * case_.key_dim)), 0xff);  // NaNs
    v_.assign(static_cast<size_t>(BytesOf(case_.dtype, slots * case_.value_dim)), 0xff);
    const bool each = case_.scaling == KvScaling::kPerTokenHead;
    k_scale_.assign(static_cast<size_t>(each ? slots : 1), each ? NAN : 0.01f);
    v_scale_ = k_scale_;
    for (size_t b = 0; b < case_.lengths.size(); ++b) {
      for (int32_t t = 0; t < case_.lengths[b]; ++t) {
        for (int head = 0; head < case_.kv_heads; ++head) {
          FillToken(data[b], b, t, head);
        }
      }
    }
  }

  void FillToken(const SequenceData& data, size_t b, int32_t t, int head) {
    const PagedKvView view = cache();
    const int64_t page =
        page_table_[b * static_cast<size_t>(max_pages_) + static_cast<size_t>(t / case_.page_size)];
    const int64_t offset = t % case_.page_size;
    const auto index = static_cast<size_t>(t * case_.kv_heads + head);
    const int64_t key_at = view.KeyStrides().Offset(page, head, offset);
    const int64_t value_at = view.ValueStrides().Offset(page, head, offset);
    const int64_t scale_at = view.ScaleStrides().Offset(page, head, offset);
    Put(data.key, data.key_scale, index, case_.key_dim, k_, key_at, k_scale_, scale_at);
    if (case_.kind != Kind::kLatent) {
      Put(data.value, data.value_scale, index, case_.value_dim, v_, value_at, v_scale_, scale_at);
    }
  }

  // Row `index` of `from` into `to` at `at`, as quotients by its scale if there is one.
  void Put(const std::vector<float>& from, const std::vector<float>& scales, size_t index, int dim,
           std::vector<uint8_t>& to, int64_t at, std::vector<float>& to_scales,
           int64_t scale_at) const {
    float scale = 1.0f;
    if (!scales.empty()) {
      scale = scales[index];
      to_scales[static_cast<size_t>(scale_at)] = scale;
    }
    for (int d = 0; d < dim; ++d) {
      const float value = from[index * static_cast<size_t>(dim) + static_cast<size_t>(d)];
      StoreElement(value / scale, to.data(), case_.dtype, at + d);
    }
  }

  Case case_;
  TypedArray query_;
  TypedArray out_;
  GuardedArray<float> lse_;
  TypedArray key_;
  TypedArray value_;
  std::vector<float> sinks_;
  std::vector<uint8_t> k_;
  std::vector<uint8_t> v_;
  Buffer k_moved_;
  Buffer v_moved_;
  std::vector<float> k_scale_;
  std::vector<float> v_scale_;
  std::vector<int32_t> page_table_;
  std::vector<int32_t> query_start_;
  std::vector<int32_t> key_start_;
  int32_t max_pages_ = 0;
  int64_t num_pages_ = 0;
};

// One row each at lengths around the borders of pages, tiles and ranges; an empty sequence among
// them, and one without keys.
inline Case DecodeCase(std::string name) {
  return {.name = std::move(name),
          .key_dim = 32,
          .value_dim = 32,
          .lengths = {1, 15, 16, 0, 17, 63, 64, 65, 0, 255, 257, 520},
          .rows = {1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1}};
}

// Decode rows, verification rows, whole prompts and later chunks together.
inline Case MixedCase(std::string name) {
  return {
      .name = std::move(name), .lengths = {70, 33, 300, 5, 45, 1}, .rows = {1, 33, 4, 0, 20, 1}};
}

// The same for operators that take few rows.
inline Case VerifyCase(std::string name) {
  return {.name = std::move(name),
          .kind = Kind::kDecode,
          .lengths = {70, 16, 300, 5, 0, 17, 513},
          .rows = {1, 16, 4, 0, 3, 2, 5}};
}

// The name of a cache's type in the names of cases: "f8e4m3_per_tensor".
struct CacheType {
  DType dtype;
  KvScaling scaling;
  std::string_view name;
};
inline constexpr CacheType kCacheTypes[] = {
    {DType::kF32, KvScaling::kNone, "f32"},
    {DType::kF16, KvScaling::kNone, "f16"},
    {DType::kBF16, KvScaling::kNone, "bf16"},
    {DType::kF8E4M3, KvScaling::kPerTensor, "f8_per_tensor"},
    {DType::kF8E4M3, KvScaling::kPerTokenHead, "f8_per_token_head"},
};

// A case of any size and kind of mask, small enough for the reference.
inline Case DrawCase(const Case& pattern, uint64_t seed) {
  std::mt19937_64 rng(seed * 977 + static_cast<uint64_t>(pattern.random));
  const auto draw = [&rng](int32_t low, int32_t high) { return RandomInts(rng, 1, low, high)[0]; };
  const bool latent = pattern.kind == Kind::kLatent;
  Case c = {.name = pattern.name, .kind = pattern.kind};
  c.kv_heads = latent ? 1 : draw(1, 3);
  c.q_heads = c.kv_heads * draw(1, latent ? 20 : 6);
  c.value_dim = 16 * draw(1, 9);
  c.key_dim = latent ? c.value_dim + 16 * draw(0, 4) : 16 * draw(1, 9);
  const bool paged = pattern.kind != Kind::kAny || draw(0, 3) > 0;
  const CacheType& type = kCacheTypes[draw(0, latent ? 3 : paged ? 4 : 2)];
  c.dtype = type.dtype;
  c.scaling = type.scaling;
  c.page_size = paged ? 1 << draw(0, 8) : 0;
  c.order = !latent && draw(0, 1) == 0 ? PageOrder::kNhd : PageOrder::kHnd;
  c.query_dtype = kCacheTypes[draw(0, 2)].dtype;
  const int32_t most_rows = pattern.kind == Kind::kAny ? 40 : 16;
  for (int b = draw(1, 6); b > 0; --b) {
    c.lengths.push_back(draw(0, 3) == 0 ? draw(0, 600) : draw(0, 80));
    c.rows.push_back(draw(0, 1) == 0 ? 1 : draw(0, most_rows));
  }
  if (latent) {
    return c;
  }
  c.window_left = draw(0, 2) == 0 ? draw(0, 300) : -1;
  c.logit_soft_cap = draw(0, 3) == 0 ? 3.0f : 0.0f;
  c.sinks = draw(0, 2) == 0;
  if (pattern.kind == Kind::kAny && draw(0, 2) == 0) {
    c.causal = false;
    c.window_right = draw(0, 1) == 0 ? draw(0, 300) : -1;
  }
  return c;
}

}  // namespace quire::ops::attention
