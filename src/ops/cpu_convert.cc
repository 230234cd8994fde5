// One template over the number of lanes. A row's tail goes through a zero-padded copy and the same
// instructions as its body.
#include "ops/cpu_convert.h"

#include <bit>
#include <cstring>
#include <type_traits>

#include "ops/cpu_rows.h"
#include "ops/lanes.h"
#include "tensor/element.h"

namespace quire::ops {

namespace {

template <int kLanes>
struct ByteLanes {
  typedef uint8_t Type __attribute__((vector_size(kLanes)));
};

template <int kLanes>
[[gnu::always_inline]] inline void LoadFloat8(const Float8* from,
                                              typename Lanes<kLanes>::Float& v) {
  using Float = typename Lanes<kLanes>::Float;
  using Int = typename Lanes<kLanes>::Int;
  typename ByteLanes<kLanes>::Type bytes;
  std::memcpy(&bytes, from, sizeof(bytes));
  // In two steps: of one, compilers make code for single elements.
  const Int wide =
      __builtin_convertvector(__builtin_convertvector(bytes, typename Lanes<kLanes>::Short), Int);
  const Int magnitude = wide & 0x7f;
  const Float subnormal = __builtin_convertvector(magnitude, Float) * 0x1p-9f;
  Int small;
  std::memcpy(&small, &subnormal, sizeof(small));
  Int bits = magnitude < 8 ? small : (magnitude << 20) + (120 << 23);
  bits = magnitude == 0x7f ? Int{} + 0x7fc00000 : bits;
  bits |= (wide & 0x80) << 24;
  std::memcpy(&v, &bits, sizeof(v));
}

template <int kLanes>
[[gnu::always_inline]] inline void StoreFloat8(const typename Lanes<kLanes>::Float& v, Float8* to) {
  using Int = typename Lanes<kLanes>::Int;
  Int bits;
  std::memcpy(&bits, &v, sizeof(bits));
  const Int magnitude = bits & 0x7fffffff;
  constexpr int32_t kLeastExponent = 121 << 23;  // of 2^-6, the smallest normal number
  constexpr int32_t kMost = 0x43e00000;          // 448
  const Int limited = magnitude < kMost ? magnitude : Int{} + kMost;
  const Int own = limited & 0x7f800000;
  const Int exponent = own > kLeastExponent ? own : Int{} + kLeastExponent;
  // Adding 2^(e + 20) to a number of exponent e rounds it to units of 2^(e - 3): there are eight to
  // sixteen of them, or up to eight below the smallest normal number. They are the sum's low bits.
  const Int unit = exponent + (20 << 23);
  typename Lanes<kLanes>::Float sum;
  typename Lanes<kLanes>::Float addend;
  std::memcpy(&sum, &limited, sizeof(sum));
  std::memcpy(&addend, &unit, sizeof(addend));
  sum = sum + addend;
  Int words;
  std::memcpy(&words, &sum, sizeof(words));
  words = words - unit + ((exponent - kLeastExponent) >> 20);
  words = magnitude > 0x7f800000 ? Int{} + 0x7f : words;
  words |= (bits >> 24) & 0x80;
  const auto narrow =
      __builtin_convertvector(__builtin_convertvector(words, typename Lanes<kLanes>::Short),
                              typename ByteLanes<kLanes>::Type);
  std::memcpy(to, &narrow, sizeof(narrow));
}

template <int kLanes, typename Element>
[[gnu::always_inline]] inline void LoadElements(const Element* from,
                                                typename Lanes<kLanes>::Float& v) {
  if constexpr (std::is_same_v<Element, Float8>) {
    LoadFloat8<kLanes>(from, v);
  } else {
    LoadLanes<kLanes>(from, v);
  }
}

template <int kLanes, typename Element>
[[gnu::always_inline]] inline void StoreElements(const typename Lanes<kLanes>::Float& v,
                                                 Element* to) {
  if constexpr (std::is_same_v<Element, Float8>) {
    StoreFloat8<kLanes>(v, to);
  } else {
    StoreLanes<kLanes>(v, to);
  }
}

struct Unscaled {
  template <typename Float>
  [[gnu::always_inline]] static void Apply(Float&, float) {}
};
struct Multiply {
  template <typename Float>
  [[gnu::always_inline]] static void Apply(Float& v, float scale) {
    v = v * scale;
  }
};
struct Divide {
  template <typename Float>
  [[gnu::always_inline]] static void Apply(Float& v, float scale) {
    v = v / scale;
  }
};

template <int kLanes, typename From, typename To, typename Scaling>
[[gnu::always_inline]] inline void ConvertRow(const void* from, int64_t elements, float scale,
                                              void* to) {
  const auto* in = static_cast<const From*>(from);
  auto* out = static_cast<To*>(to);
  typename Lanes<kLanes>::Float v;
  int64_t i = 0;
  for (; i + kLanes <= elements; i += kLanes) {
    LoadElements<kLanes>(in + i, v);
    Scaling::Apply(v, scale);
    StoreElements<kLanes>(v, out + i);
  }
  if (i < elements) {
    const auto rest = static_cast<size_t>(elements - i);
    From last_in[kLanes] = {};
    To last_out[kLanes];
    std::memcpy(last_in, in + i, rest * sizeof(From));
    LoadElements<kLanes>(last_in, v);
    Scaling::Apply(v, scale);
    StoreElements<kLanes>(v, last_out);
    std::memcpy(out + i, last_out, rest * sizeof(To));
  }
}

template <int kLanes, typename From>
[[gnu::always_inline]] inline float AbsMaxRow(const void* from, int64_t elements) {
  using Int = typename Lanes<kLanes>::Int;
  const auto* in = static_cast<const From*>(from);
  typename Lanes<kLanes>::Float v;
  Int bits;
  Int largest = {};  // magnitudes order like their bits
  for (int64_t i = 0; i < elements; i += kLanes) {
    if (i + kLanes <= elements) {
      LoadElements<kLanes>(in + i, v);
    } else {
      From last[kLanes] = {};
      std::memcpy(last, in + i, static_cast<size_t>(elements - i) * sizeof(From));
      LoadElements<kLanes>(last, v);
    }
    std::memcpy(&bits, &v, sizeof(bits));
    bits &= 0x7fffffff;
    bits = bits < 0x7f800000 ? bits : Int{};
    largest = bits > largest ? bits : largest;
  }
  int32_t result = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    result = largest[lane] > result ? largest[lane] : result;
  }
  return std::bit_cast<float>(result);
}

// Rows of this size and above are the business of memcpy(), which is slow to start at some sizes
// below.
constexpr int64_t kLargeBytes = 16 * 1024;

template <int kLanes>
[[gnu::always_inline]] inline void CopyBytes(const void* from, int64_t bytes, void* to) {
  const auto* in = static_cast<const std::byte*>(from);
  auto* out = static_cast<std::byte*>(to);
  typename Lanes<kLanes>::Int v;
  int64_t i = 0;
  for (; bytes < kLargeBytes && i + static_cast<int64_t>(sizeof(v)) <= bytes; i += sizeof(v)) {
    std::memcpy(&v, in + i, sizeof(v));
    std::memcpy(out + i, &v, sizeof(v));
  }
  if (i < bytes && in != out) {
    std::memcpy(out + i, in + i, static_cast<size_t>(bytes - i));
  }
}

template <typename From, typename To>
struct ConvertKernel {
  template <int kLanes>
  [[gnu::always_inline]] static inline void Run(const void* from, int64_t elements, void* to) {
    if constexpr (std::is_same_v<From, To>) {
      CopyBytes<kLanes>(from, elements * static_cast<int64_t>(sizeof(To)), to);
    } else {
      ConvertRow<kLanes, From, To, Unscaled>(from, elements, 1, to);
    }
  }
};

template <typename From, typename To, typename Scaling>
struct ScaleKernel {
  template <int kLanes>
  [[gnu::always_inline]] static inline void Run(const void* from, int64_t elements, float scale,
                                                void* to) {
    ConvertRow<kLanes, From, To, Scaling>(from, elements, scale, to);
  }
};

template <typename From>
struct AbsMaxKernel {
  template <int kLanes>
  [[gnu::always_inline]] static inline float Run(const void* from, int64_t elements) {
    return AbsMaxRow<kLanes, From>(from, elements);
  }
};

// body(from, to) with elements of the two types.
template <typename Body>
auto WithTypes(DType from, DType to, const Body& body) {
  return WithElementType(from, [&](auto from_element) {
    return WithElementType(to, [&](auto to_element) { return body(from_element, to_element); });
  });
}

template <typename Scaling>
ScaledConvertFunction ScalerOf(CpuIsa isa, DType from, DType to) {
  return WithTypes(from, to, [isa](auto in, auto out) {
    return KernelOf<ScaledConvertFunction, ScaleKernel<decltype(in), decltype(out), Scaling>>(isa);
  });
}

}  // namespace

ConvertFunction ConverterOf(CpuIsa isa, DType from, DType to) {
  return WithTypes(from, to, [isa](auto in, auto out) {
    return KernelOf<ConvertFunction, ConvertKernel<decltype(in), decltype(out)>>(isa);
  });
}

ScaledConvertFunction MultiplierOf(CpuIsa isa, DType from, DType to) {
  return ScalerOf<Multiply>(isa, from, to);
}

ScaledConvertFunction DividerOf(CpuIsa isa, DType from, DType to) {
  return ScalerOf<Divide>(isa, from, to);
}

AbsMaxFunction AbsMaxOf(CpuIsa isa, DType from) {
  return WithElementType(from, [isa](auto element) {
    return KernelOf<AbsMaxFunction, AbsMaxKernel<decltype(element)>>(isa);
  });
}

}  // namespace quire::ops
