// Vectors of floats in the compiler's portable vector types, and exp() on them.
//
// A kernel is one always-inline template over the number of lanes. It is instantiated inside an ISA
// region (platform/cpu/isa_targets.h) with the lanes of that set, and outside of any with four
// lanes, which every 64-bit CPU has. The build never contracts a multiplication and an addition, so
// an element's bits are the same at every width and in every lane.
//
// Vectors are passed by reference: by value, a wide vector would change the calling convention.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#include "platform/cpu/isa_targets.h"
#include "tensor/element.h"

namespace quire::ops {

template <int kLanes>
struct Lanes {
  typedef float Float __attribute__((vector_size(kLanes * sizeof(float))));
  typedef int32_t Int __attribute__((vector_size(kLanes * sizeof(int32_t))));
  typedef uint32_t Uint __attribute__((vector_size(kLanes * sizeof(uint32_t))));
  typedef uint16_t Short __attribute__((vector_size(kLanes * sizeof(uint16_t))));
};

// The lanes of each instruction set.
inline constexpr int kBaselineLanes = 4;
inline constexpr int kAvx2Lanes = 8;
inline constexpr int kAvx512Lanes = 16;

template <typename Vector>
[[gnu::always_inline]] inline void Load(const float* from, Vector& v) {
  std::memcpy(&v, from, sizeof(v));
}

template <typename Vector>
[[gnu::always_inline]] inline void Store(const Vector& v, float* to) {
  std::memcpy(to, &v, sizeof(v));
}

#if QUIRE_HAVE_X86
// The sets' own conversions of f16. They cannot be always-inline: the templates that call them are
// of no set until they are inlined themselves.
QUIRE_BEGIN_AVX2
inline void WidenHalves(const Half* from, Lanes<kAvx2Lanes>::Float& v) {
  v = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

inline void NarrowToHalves(const Lanes<kAvx2Lanes>::Float& v, Half* to) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
QUIRE_END_TARGET

QUIRE_BEGIN_AVX512
inline void WidenHalves(const Half* from, Lanes<kAvx512Lanes>::Float& v) {
  v = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

inline void NarrowToHalves(const Lanes<kAvx512Lanes>::Float& v, Half* to) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                      _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
QUIRE_END_TARGET
#endif

// Lanes of f16 and bf16 with the values and bits of tensor/half.h. Of f16, kAvx2Lanes and
// kAvx512Lanes are for code of their sets alone.
template <int kLanes>
[[gnu::always_inline]] inline void LoadLanes(const float* from, typename Lanes<kLanes>::Float& v) {
  std::memcpy(&v, from, sizeof(v));
}

template <int kLanes>
[[gnu::always_inline]] inline void LoadLanes(const BFloat16* from,
                                             typename Lanes<kLanes>::Float& v) {
  typename Lanes<kLanes>::Short bits;
  std::memcpy(&bits, from, sizeof(bits));
  const typename Lanes<kLanes>::Uint wide =
      __builtin_convertvector(bits, typename Lanes<kLanes>::Uint) << 16;
  std::memcpy(&v, &wide, sizeof(v));
}

template <int kLanes>
[[gnu::always_inline]] inline void LoadLanes(const Half* from, typename Lanes<kLanes>::Float& v) {
  if constexpr (requires { WidenHalves(from, v); }) {
    return WidenHalves(from, v);
  }
  using Uint = typename Lanes<kLanes>::Uint;
  typename Lanes<kLanes>::Short bits;
  std::memcpy(&bits, from, sizeof(bits));
  const Uint wide = __builtin_convertvector(bits, Uint);
  const Uint magnitude = (wide & 0x7fff) << 13;
  typename Lanes<kLanes>::Float scaled;
  std::memcpy(&scaled, &magnitude, sizeof(scaled));
  scaled = scaled * 0x1p112f;  // the bias of fp32; subnormals become normal
  Uint result;
  std::memcpy(&result, &scaled, sizeof(result));
  const Uint top = magnitude >= 0x0f800000 ? Uint{} + 0x7f800000 : Uint{};  // infinity and NaN
  const Uint quiet = magnitude > 0x0f800000 ? Uint{} + 0x400000 : Uint{};
  result |= top | quiet | (wide & 0x8000) << 16;
  std::memcpy(&v, &result, sizeof(v));
}

template <int kLanes>
[[gnu::always_inline]] inline void StoreLanes(const typename Lanes<kLanes>::Float& v, float* to) {
  std::memcpy(to, &v, sizeof(v));
}

template <int kLanes>
[[gnu::always_inline]] inline void StoreLanes(const typename Lanes<kLanes>::Float& v,
                                              BFloat16* to) {
  using Uint = typename Lanes<kLanes>::Uint;
  Uint bits;
  std::memcpy(&bits, &v, sizeof(bits));
  const Uint rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const Uint nan = (bits >> 16) | 0x40;
  const Uint words = (bits & 0x7fffffff) > 0x7f800000 ? nan : rounded;
  const auto narrow = __builtin_convertvector(words, typename Lanes<kLanes>::Short);
  std::memcpy(to, &narrow, sizeof(narrow));
}

template <int kLanes>
[[gnu::always_inline]] inline void StoreLanes(const typename Lanes<kLanes>::Float& v, Half* to) {
  if constexpr (requires { NarrowToHalves(v, to); }) {
    return NarrowToHalves(v, to);
  }
  using Float = typename Lanes<kLanes>::Float;
  using Uint = typename Lanes<kLanes>::Uint;
  Uint bits;
  std::memcpy(&bits, &v, sizeof(bits));
  const Uint magnitude = bits & 0x7fffffff;
  Float small;
  std::memcpy(&small, &magnitude, sizeof(small));
  small = small + 0.5f;
  Uint subnormal;
  std::memcpy(&subnormal, &small, sizeof(subnormal));
  subnormal -= 0x3f000000;
  const Uint normal = (magnitude + 0xfff + ((magnitude >> 13) & 1) - 0x38000000) >> 13;
  Uint words = magnitude < 0x38800000 ? subnormal : normal;
  words = magnitude >= 0x477ff000 ? Uint{} + 0x7c00 : words;
  words = magnitude > 0x7f800000 ? 0x7e00 | ((magnitude >> 13) & 0x3ff) : words;
  words |= (bits >> 16) & 0x8000;
  const auto narrow = __builtin_convertvector(words, typename Lanes<kLanes>::Short);
  std::memcpy(to, &narrow, sizeof(narrow));
}

// The first `count` lanes from memory, the others 0. REQUIRES: count <= lanes.
template <typename Vector, typename Element>
[[gnu::always_inline]] inline void LoadPart(const Element* from, int64_t count, Vector& v) {
  v = Vector{};
  for (int64_t i = 0; i < count; ++i) {
    v[i] = ToFloat(from[i]);
  }
}

template <typename Vector, typename Element>
[[gnu::always_inline]] inline void StorePart(const Vector& v, int64_t count, Element* to) {
  for (int64_t i = 0; i < count; ++i) {
    FromFloat(v[i], to[i]);
  }
}

// out[i] = v[i ^ kDistance]: neighbours change places for 1, halves of the vector for half its
// lanes.
template <int kDistance, typename Vector, int... kLane>
[[gnu::always_inline]] inline void Exchange(const Vector& v, Vector& out,
                                            std::integer_sequence<int, kLane...>) {
  out = __builtin_shufflevector(v, v, (kLane ^ kDistance)...);
}

// The largest lane. REQUIRES: no NaN.
template <int kLanes, int kDistance = kLanes / 2>
[[gnu::always_inline]] inline float MaxLane(const typename Lanes<kLanes>::Float& v) {
  if constexpr (kDistance == 0) {
    return v[0];
  } else {
    typename Lanes<kLanes>::Float other;
    Exchange<kDistance>(v, other, std::make_integer_sequence<int, kLanes>());
    return MaxLane<kLanes, kDistance / 2>(v > other ? v : other);
  }
}

// out = e^x within 1.5 units in the last place over the whole range, subnormal results included;
// exactly 1 at 0, infinity above the range, NaN for NaN.
//
// x = n ln 2 + r with |r| <= ln 2 / 2 (ln 2 in two parts, the first short enough that its product
// with n is exact), then e^r = 1 + r + r^2 p(r) with p of degree 4 from a weighted minimax fit
// (relative error of e^r 3.2e-9), then two multiplications by powers of two, which reach subnormals
// and infinity.
template <int kLanes>
[[gnu::always_inline]] inline void Exp(const typename Lanes<kLanes>::Float& x,
                                       typename Lanes<kLanes>::Float& out) {
  using Float = typename Lanes<kLanes>::Float;
  using Int = typename Lanes<kLanes>::Int;
  constexpr float kLowest = -104.0f;     // e^x rounds to 0 below
  constexpr float kHighest = 89.0f;      // and to infinity above
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  constexpr int32_t kRoundBits = 0x4b400000;
  const Float zero = {};
  Float clamped = x < kLowest ? zero + kLowest : x;
  clamped = clamped > kHighest ? zero + kHighest : clamped;
  const Float shifted = clamped * 0x1.715476p+0f + kRound;
  const Float n = shifted - kRound;
  const Float r = (clamped - n * 0x1.63p-1f) - n * -0x1.bd0106p-13f;
  Float p = r * 0x1.6db5a2p-10f + 0x1.123c6ap-7f;
  p = p * r + 0x1.55545cp-5f;
  p = p * r + 0x1.55548ep-3f;
  p = p * r + 0.5f;
  p = p * (r * r) + r + 1.0f;
  Int exponent;
  std::memcpy(&exponent, &shifted, sizeof(exponent));
  exponent = exponent - kRoundBits;
  const Int half = exponent >> 1;
  const Int first_bits = (half + 127) << 23;
  const Int second_bits = (exponent - half + 127) << 23;
  Float first;
  Float second;
  std::memcpy(&first, &first_bits, sizeof(first));
  std::memcpy(&second, &second_bits, sizeof(second));
  out = p * first * second;
}

}  // namespace quire::ops
