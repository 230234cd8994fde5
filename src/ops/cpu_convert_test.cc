#include "ops/cpu_convert.h"

#include <gtest/gtest.h>

#include <bit>
#include <limits>

#include "base/test_seed.h"
#include "ops/conformance.h"

namespace quire::ops {
namespace {

constexpr DType kTypes[] = {DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3};

// Bit patterns of `dtype`: all of them for 8 and 16 bits; for f32 those around every bound that a
// conversion knows, and random ones.
std::vector<uint8_t> Patterns(DType dtype, std::mt19937_64& rng) {
  std::vector<uint8_t> bytes;
  const auto append = [&bytes](uint32_t bits, int64_t size) {
    for (int64_t i = 0; i < size; ++i) {
      bytes.push_back(static_cast<uint8_t>(bits >> (8 * i)));
    }
  };
  const int64_t size = BytesOf(dtype, 1);
  if (dtype != DType::kF32) {
    for (uint32_t bits = 0; bits < 1u << (8 * size); ++bits) {
      append(bits, size);
    }
    return bytes;
  }
  for (uint32_t exponent = 0; exponent < 512; ++exponent) {  // and signs
    for (const uint32_t bit : {0, 1, 12, 13, 15, 16, 19, 20, 22}) {
      for (const uint32_t mantissa : {0u, (1u << bit) - 1, 1u << bit, (1u << bit) + 1, 0x7fffffu,
                                      0x600000u, 0x500000u, 0x300000u, 0x380000u}) {
        append(exponent << 23 | (mantissa & 0x7fffff), size);
      }
    }
  }
  for (int i = 0; i < 20000; ++i) {
    append(static_cast<uint32_t>(rng()), size);
  }
  return bytes;
}

// The value that `scale` makes of an element, by the scalar functions.
template <typename Apply>
std::vector<uint8_t> Expected(const std::vector<uint8_t>& in, DType from, DType to,
                              const Apply& apply) {
  const int64_t elements = static_cast<int64_t>(in.size()) / BytesOf(from, 1);
  std::vector<uint8_t> out(static_cast<size_t>(BytesOf(to, elements)));
  for (int64_t i = 0; i < elements; ++i) {
    StoreElement(apply(LoadElement(in.data(), from, i)), out.data(), to, i);
  }
  return out;
}

// "" or the first element that differs.
std::string Difference(const std::vector<uint8_t>& in, DType from,
                       const std::vector<uint8_t>& actual, const std::vector<uint8_t>& expected,
                       DType to) {
  const int64_t size = BytesOf(to, 1);
  for (int64_t i = 0; i * size < static_cast<int64_t>(expected.size()); ++i) {
    if (std::memcmp(actual.data() + i * size, expected.data() + i * size,
                    static_cast<size_t>(size)) != 0) {
      return StrCat("element ", i, ": ", InfoOf(from).name, " ", LoadElement(in.data(), from, i),
                    " became ", InfoOf(to).name, " ", LoadElement(actual.data(), to, i), ", not ",
                    LoadElement(expected.data(), to, i));
    }
  }
  return "";
}

class CpuConvertTest : public testing::TestWithParam<CpuIsa> {
 protected:
  // Calls body(from, to, patterns of from) for every pair of types.
  template <typename Body>
  void ForEachPair(const Body& body) {
    for (const DType from : kTypes) {
      const std::vector<uint8_t> in = Patterns(from, rng_);
      for (const DType to : kTypes) {
        SCOPED_TRACE(StrCat(InfoOf(from).name, " to ", InfoOf(to).name));
        body(from, to, in);
      }
    }
  }

  std::mt19937_64 rng_{TestSeed()};
};

INSTANTIATE_TEST_SUITE_P(Isas, CpuConvertTest, testing::ValuesIn(AvailableIsas()),
                         [](const auto& info) { return std::string(CpuIsaName(info.param)); });

TEST_P(CpuConvertTest, HasTheBitsOfTheScalarFunctions) {
  ForEachPair([](DType from, DType to, const std::vector<uint8_t>& in) {
    const std::vector<uint8_t> expected =
        from == to ? in : Expected(in, from, to, [](float x) { return x; });
    std::vector<uint8_t> actual(expected.size());
    ConverterOf(GetParam(), from, to)(in.data(), static_cast<int64_t>(in.size()) / BytesOf(from, 1),
                                      actual.data());
    EXPECT_EQ(Difference(in, from, actual, expected, to), "");
  });
}

TEST_P(CpuConvertTest, ScalesInFp32AndRoundsOnce) {
  for (const float scale : {0.7f, -3.0f, 0.0f, 0x1p-130f, 0x1.8p100f}) {
    ForEachPair([scale](DType from, DType to, const std::vector<uint8_t>& in) {
      const int64_t elements = static_cast<int64_t>(in.size()) / BytesOf(from, 1);
      std::vector<uint8_t> actual(static_cast<size_t>(BytesOf(to, elements)));
      MultiplierOf(GetParam(), from, to)(in.data(), elements, scale, actual.data());
      EXPECT_EQ(Difference(in, from, actual,
                           Expected(in, from, to, [scale](float x) { return x * scale; }), to),
                "");
      DividerOf(GetParam(), from, to)(in.data(), elements, scale, actual.data());
      EXPECT_EQ(Difference(in, from, actual,
                           Expected(in, from, to, [scale](float x) { return x / scale; }), to),
                "");
    });
  }
}

TEST_P(CpuConvertTest, EveryLengthWritesItsElementsAlone) {
  for (const DType from : kTypes) {
    for (const DType to : kTypes) {
      for (int64_t elements = 0; elements <= 50; ++elements) {
        TypedArray in(from, {1, std::max<int64_t>(elements, 1)});
        in.Assign(RandomFloats(rng_, in.shape().elements()));
        TypedArray out(to, {1, elements});
        ConverterOf(GetParam(), from, to)(in.View().data(), elements, out.View().data());
        ASSERT_EQ(out.Damage(), "") << elements;
        for (int64_t i = 0; i < elements; ++i) {
          float expected = LoadElement(in.View().data(), from, i);
          WithElementType(to, [&expected](auto type) {
            FromFloat(expected, type);
            expected = ToFloat(type);
          });
          ASSERT_EQ(LoadElement(out.View().data(), to, i), expected) << i << " of " << elements;
        }
      }
    }
  }
}

TEST_P(CpuConvertTest, AbsMaxIsTheLargestFiniteMagnitude) {
  for (const DType type : kTypes) {
    const AbsMaxFunction abs_max = AbsMaxOf(GetParam(), type);
    EXPECT_EQ(abs_max(nullptr, 0), 0.0f);
    for (int64_t elements = 1; elements <= 50; ++elements) {
      TypedArray in(type, {1, elements});
      std::vector<float> values(static_cast<size_t>(elements), -0.5f);
      const auto at = static_cast<size_t>(rng_()) % values.size();
      values[at] = -3.0f;
      values[(at + 1) % values.size()] = std::numeric_limits<float>::quiet_NaN();
      in.Assign(values);
      EXPECT_EQ(abs_max(in.View().data(), elements), elements == 1 ? 0.0f : 3.0f);
      if (type != DType::kF8E4M3) {
        values[(at + 1) % values.size()] = -std::numeric_limits<float>::infinity();
        in.Assign(values);
        EXPECT_EQ(abs_max(in.View().data(), elements), elements == 1 ? 0.0f : 3.0f);
      }
    }
  }
}

TEST_P(CpuConvertTest, ConvertsInPlaceWhereElementsHaveTheSameSize) {
  std::vector<float> values = RandomFloats(rng_, 37);
  TypedArray apart_in(DType::kF16, {1, 37});
  apart_in.Assign(values);
  TypedArray apart_out(DType::kBF16, {1, 37});
  const ConvertFunction convert = ConverterOf(GetParam(), DType::kF16, DType::kBF16);
  convert(apart_in.View().data(), 37, apart_out.View().data());
  convert(apart_in.View().data(), 37, apart_in.View().data());
  EXPECT_EQ(apart_in.Bytes(), apart_out.Bytes());
}

}  // namespace
}  // namespace quire::ops
