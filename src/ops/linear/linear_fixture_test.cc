// The reference against PyTorch: tools/fixtures/linear_ops.py.
#include <gtest/gtest.h>

#include <cstring>

#include "ops/fixture_file.h"
#include "ops/linear/linear.h"

namespace quire::ops::linear {
namespace {

// An array of a fixture in its own type.
struct TypedBytes {
  TypedBytes() = default;
  explicit TypedBytes(const FixtureArray& array)
      : dtype(array.dtype),
        shape(array.shape()),
        bytes(static_cast<size_t>(BytesOf(array.dtype, array.shape().elements()))) {
    for (size_t i = 0; i < array.values.size(); ++i) {
      const double value = array.values[i];
      if (IsFloating(dtype)) {
        StoreElement(static_cast<float>(value), bytes.data(), dtype, static_cast<int64_t>(i));
      } else if (dtype == DType::kI8) {
        bytes[i] = static_cast<uint8_t>(static_cast<int8_t>(value));
      } else {
        const auto word = static_cast<int32_t>(value);
        std::memcpy(&bytes[4 * i], &word, sizeof(word));
      }
    }
  }

  TensorView View() {
    return bytes.empty() ? TensorView() : TensorView(bytes.data(), dtype, shape);
  }

  DType dtype = DType::kF32;
  Shape shape;
  std::vector<uint8_t> bytes;
};

TypedBytes Optional(const FixtureCase& c, const std::string& key) {
  return c.has(key) ? TypedBytes(c.array(key)) : TypedBytes();
}

TEST(LinearFixture, ReferenceAgreesWithPyTorch) {
  CpuFixture cpu(1);
  for (const FixtureCase& c : LoadFixture("linear")) {
    TypedBytes weight(c.array("weight"));
    TypedBytes scales = Optional(c, "scales");
    TypedBytes zeros = Optional(c, "zeros");
    TypedBytes group_index = Optional(c, "group_index");
    TypedBytes bias = Optional(c, "bias");
    const WeightSource source = {.weight = weight.View(),
                                 .scales = scales.View(),
                                 .zeros = zeros.View(),
                                 .group_index = group_index.View(),
                                 .format = static_cast<WeightFormat>(c.integer("format"))};
    const auto packed = PackWeight(cpu.Context(), std::span(&source, 1),
                                   static_cast<ActivationMode>(c.integer("mode")));
    ASSERT_TRUE(packed.ok()) << c.name() << ": " << packed.status().message();
    TypedArray x = c.array("x").array();
    const FixtureArray expected = c.array("out");
    TypedArray out(expected.dtype, expected.shape());
    const Args args = {
        .x = x.View(), .weight = packed->get(), .bias = bias.View(), .out = out.View()};
    ASSERT_TRUE(linear::Run(cpu.Context("reference"), args).ok()) << c.name();
    const Tolerance tolerance = expected.dtype == DType::kF32
                                    ? Tolerance{.rtol = 1e-5, .atol = 1e-5}
                                    : ToleranceOf(expected.dtype);
    EXPECT_EQ(Mismatch(out.Values(), expected.floats(), tolerance), "") << c.name();
  }
}

}  // namespace
}  // namespace quire::ops::linear
