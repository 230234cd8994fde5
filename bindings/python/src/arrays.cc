#include "bindings/python/src/arrays.h"

#include "base/strcat.h"

namespace quire::python {

namespace {

[[noreturn]] void Throw(PyObject* type, const std::string& message) {
  PyErr_SetString(type, message.c_str());
  throw nb::python_error();
}

std::optional<DType> FloatOf(const nb::dlpack::dtype& type) {
  switch (type.bits) {
    case 32: return DType::kF32;
    case 16: return DType::kF16;
    default: return std::nullopt;
  }
}

std::optional<DType> IntegerOf(const nb::dlpack::dtype& type) {
  switch (type.bits) {
    case 8: return DType::kI8;
    case 32: return DType::kI32;
    case 64: return DType::kI64;
    default: return std::nullopt;
  }
}

std::optional<DType> TypeOf(const nb::dlpack::dtype& type) {
  using Code = nb::dlpack::dtype_code;
  switch (static_cast<Code>(type.code)) {
    case Code::Float: return FloatOf(type);
    case Code::Int: return IntegerOf(type);
    case Code::UInt: return type.bits == 8 ? std::optional(DType::kU8) : std::nullopt;
    case Code::Bfloat: return DType::kBF16;
    case Code::Float8_E4M3FN: return DType::kF8E4M3;
    default: return std::nullopt;
  }
}

// The name of a NumPy array's type, or "".
std::string NumpyTypeOf(nb::handle object) {
  if (!nb::hasattr(object, "dtype")) {
    return "";
  }
  const nb::str name(nb::object(object.attr("dtype")));
  return name.c_str();
}

const char* NumpyName(DType dtype) {
  switch (dtype) {
    case DType::kF16: return "float16";
    case DType::kBF16: return "bfloat16";
    case DType::kF8E4M3: return "float8_e4m3fn";
    case DType::kI8: return "int8";
    case DType::kU8: return "uint8";
    case DType::kI32: return "int32";
    case DType::kI64: return "int64";
    default: return "float32";
  }
}

}  // namespace

void ThrowIfError(const Status& status) {
  switch (status.code()) {
    case StatusCode::kOk: return;
    case StatusCode::kInvalidArgument: Throw(PyExc_ValueError, status.message());
    case StatusCode::kUnsupported: Throw(PyExc_NotImplementedError, status.message());
    case StatusCode::kNotFound: Throw(PyExc_LookupError, status.message());
    case StatusCode::kResourceExhausted: Throw(PyExc_MemoryError, status.message());
    default: Throw(PyExc_RuntimeError, status.message());
  }
}

DType TypeNamed(const std::string& name) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3, DType::kI8,
                            DType::kU8, DType::kI32, DType::kI64}) {
    if (InfoOf(dtype).name == name) {
      return dtype;
    }
  }
  ThrowIfError(InvalidArgument("no type is called '", name, "'; use f32, f16, bf16 or f8e4m3"));
  return DType::kF32;
}

TensorView Arrays::View(std::string_view name, nb::handle object) {
  if (object.is_none()) {
    return {};
  }
  std::optional<DType> dtype;
  nb::object plain = nb::borrow(object);
  // NumPy exports neither of these types: its bytes are seen as integers.
  if (const std::string type = NumpyTypeOf(object); type == "bfloat16") {
    dtype = DType::kBF16;
    plain = object.attr("view")("uint16");
  } else if (type == "float8_e4m3fn") {
    dtype = DType::kF8E4M3;
    plain = object.attr("view")("uint8");
  }
  nb::ndarray<> array;
  if (!nb::try_cast(plain, array) || array.device_type() != nb::device::cpu::value) {
    Throw(PyExc_TypeError, StrCat(name, " is not an array on the CPU"));
  }
  dtype = dtype.has_value() ? dtype : TypeOf(array.dtype());
  if (!dtype.has_value() || array.ndim() > Shape::kMaxRank) {
    Throw(PyExc_TypeError,
          StrCat(name,
                 " has a type or rank that no operator takes; use float32, float16, bfloat16, "
                 "float8_e4m3fn, int8, uint8, int32 or int64 of up to ",
                 Shape::kMaxRank, " axes"));
  }
  std::vector<int64_t> extents;
  std::array<int64_t, Shape::kMaxRank> strides = {};
  for (size_t axis = 0; axis < array.ndim(); ++axis) {
    extents.push_back(static_cast<int64_t>(array.shape(axis)));
    strides[axis] = array.stride(axis);
  }
  arrays_.push_back(array);
  void* data = array.data() != nullptr ? array.data() : &empty_;
  return {data, *dtype, Shape(std::span<const int64_t>(extents)), strides};
}

TensorView Arrays::Output(std::string_view name, nb::handle out, DType dtype, const Shape& shape) {
  if (!out.is_none()) {
    outputs_.append(out);
    return View(name, out);
  }
  nb::list extents;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    extents.append(shape[axis]);
  }
  const bool extended = dtype == DType::kBF16 || dtype == DType::kF8E4M3;
  const nb::object type = extended ? nb::module_::import_("ml_dtypes").attr(NumpyName(dtype))
                                   : nb::object(nb::str(NumpyName(dtype)));
  const nb::object made = nb::module_::import_("numpy").attr("empty")(nb::tuple(extents), type);
  outputs_.append(made);
  return View(name, made);
}

nb::object Arrays::TakeOutput() {
  if (outputs_.size() == 1) {
    return outputs_[0];
  }
  return nb::tuple(outputs_);
}

}  // namespace quire::python
