// Python's arrays as TensorViews, and Status as Python's exceptions.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "tensor/tensor_view.h"

namespace quire::python {

namespace nb = nanobind;

// Throws what `status` is in Python: ValueError (invalid_argument), NotImplementedError
// (unsupported), LookupError (not_found), MemoryError (resource_exhausted), else RuntimeError.
void ThrowIfError(const Status& status);

// The type that Quire calls `name`: 'f32', 'bf16' ... Throws ValueError.
DType TypeNamed(const std::string& name);

// The arrays of one call: keeps them alive until the operator has returned.
class Arrays {
 public:
  // Any object with __dlpack__ or the buffer protocol on the CPU, or a NumPy array of ml_dtypes'
  // bfloat16 or float8_e4m3fn. None gives an undefined view. Throws TypeError naming the argument.
  TensorView View(std::string_view name, nb::handle object);

  // `out` if it is not None, else a new NumPy array of that shape and type.
  TensorView Output(std::string_view name, nb::handle out, DType dtype, const Shape& shape);
  // What the function returns: its only output, or a tuple of them.
  nb::object TakeOutput();

 private:
  std::vector<nb::ndarray<>> arrays_;
  std::byte empty_ = {};  // where arrays without elements are, which may have no address
  nb::list outputs_;
};

}  // namespace quire::python
