#include "model/loader/gguf.h"

#include <bit>
#include <cstring>
#include <limits>
#include <optional>
#include <type_traits>
#include <utility>

#include "model/loader/gguf_types.h"

namespace quire {

namespace {

static_assert(std::endian::native == std::endian::little,
              "gguf files are read in place: this host would have to swap their bytes");

constexpr uint32_t kVersion = 3;
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMinAlignment =
    8;  // the specification's floor; every plain element type fits it
constexpr uint64_t kMaxKeyBytes = 65535;
constexpr size_t kMinMetadataBytes = 8 + 4 + 1;        // empty key, value type, one-byte value
constexpr size_t kMinTensorBytes = 8 + 4 + 8 + 4 + 8;  // empty name, rank, one extent, type, offset

// A name of the file made fit for a message: short, printable ASCII.
std::string Printable(std::string_view name) {
  constexpr size_t kMaxShown = 64;
  std::string out(name.substr(0, kMaxShown));
  for (char& c : out) {
    const auto byte = static_cast<unsigned char>(c);
    c = byte < 0x20 || byte >= 0x7f ? '?' : c;
  }
  return name.size() > kMaxShown ? out + "..." : out;
}

// Reads forward through the file; every read is checked against its end. Errors do not name the
// file.
class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  size_t position() const { return position_; }
  size_t left() const { return bytes_.size() - position_; }

  // `what` names the field in errors.
  template <typename T>
  Result<T> Read(std::string_view what) {
    if (left() < sizeof(T)) {
      return Truncated(what, sizeof(T));
    }
    T value;
    std::memcpy(&value, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return value;
  }

  Result<std::string_view> ReadString(std::string_view what) {
    QUIRE_ASSIGN_OR_RETURN(const uint64_t length, Read<uint64_t>(what));
    if (length > left()) {
      return CorruptData(what, " has length ", length, ", but only ", left(),
                         " bytes are left at offset ", position_);
    }
    const auto* text = reinterpret_cast<const char*>(bytes_.data() + position_);
    position_ += length;
    return std::string_view(text, length);
  }

  // Passes over `count` strings, checking each length.
  Status SkipStrings(std::string_view what, uint64_t count) {
    for (uint64_t i = 0; i < count; ++i) {
      uint64_t length = 0;
      if (left() < sizeof(length)) {
        return Truncated(StrCat(what, ": the length of string ", i, " of ", count), sizeof(length));
      }
      std::memcpy(&length, bytes_.data() + position_, sizeof(length));
      if (length > left() - sizeof(length)) {
        return CorruptData(what, ": string ", i, " of ", count, " has length ", length,
                           ", but only ", left() - sizeof(length), " bytes are left at offset ",
                           position_);
      }
      position_ += sizeof(length) + length;
    }
    return OkStatus();
  }

  // REQUIRES: bytes <= left().
  void Skip(uint64_t bytes) { position_ += bytes; }

  std::span<const std::byte> Since(size_t begin) const {
    return bytes_.subspan(begin, position_ - begin);
  }

 private:
  Status Truncated(std::string_view what, size_t bytes) const {
    return CorruptData("file is truncated: ", what, " needs ", bytes, " bytes at offset ",
                       position_, ", but the file has ", bytes_.size(), " bytes");
  }

  std::span<const std::byte> bytes_;
  size_t position_ = 0;
};

struct Counts {
  uint64_t tensors = 0;
  uint64_t metadata = 0;
};

Status CheckMagicAndVersion(Cursor& cursor) {
  constexpr std::string_view kMagic = "GGUF";
  constexpr std::string_view kSwappedMagic = "FUGG";
  if (cursor.left() == 0) {
    return CorruptData("file is empty");
  }
  QUIRE_ASSIGN_OR_RETURN(const auto magic, (cursor.Read<std::array<char, 4>>("magic")));
  const std::string_view found(magic.data(), magic.size());
  if (found != kMagic && found != kSwappedMagic) {
    return CorruptData("not a gguf file: it begins with '", Printable(found),
                       "' instead of 'GGUF'");
  }
  QUIRE_ASSIGN_OR_RETURN(const uint32_t version, cursor.Read<uint32_t>("version"));
  // A big-endian file has a small version in its upper bytes; most writers swap no byte of the
  // magic.
  if (found == kSwappedMagic || (version != 0 && (version & 0xffff) == 0)) {
    return Unsupported("gguf file is big-endian; convert it to little-endian");
  }
  if (version != kVersion) {
    return Unsupported("gguf version ", version, " is not supported; convert the model to version ",
                       kVersion);
  }
  return OkStatus();
}

Result<Counts> ReadCounts(Cursor& cursor) {
  Counts counts;
  QUIRE_ASSIGN_OR_RETURN(counts.tensors, cursor.Read<uint64_t>("tensor count"));
  QUIRE_ASSIGN_OR_RETURN(counts.metadata, cursor.Read<uint64_t>("metadata count"));
  if (counts.tensors > cursor.left() / kMinTensorBytes) {
    return CorruptData("tensor count ", counts.tensors, " is more than ", cursor.left(),
                       " bytes can describe");
  }
  if (counts.metadata > cursor.left() / kMinMetadataBytes) {
    return CorruptData("metadata count ", counts.metadata, " is more than ", cursor.left(),
                       " bytes can describe");
  }
  return counts;
}

// A bool must be 0 or 1 in the file: any other byte in a C++ bool is undefined behaviour.
Status CheckBools(std::string_view what, std::span<const std::byte> bytes) {
  for (const std::byte b : bytes) {
    if (b > std::byte{1}) {
      return CorruptData(what, " has the bool value ", static_cast<int>(b), "; it must be 0 or 1");
    }
  }
  return OkStatus();
}

Result<GgufArray> ReadArray(Cursor& cursor, std::string_view what) {
  GgufArray array;
  QUIRE_ASSIGN_OR_RETURN(array.element_type, cursor.Read<uint32_t>(what));
  QUIRE_ASSIGN_OR_RETURN(array.count, cursor.Read<uint64_t>(what));
  const bool strings = array.element_type == static_cast<uint32_t>(GgufValueType::kString);
  if (array.element_type == static_cast<uint32_t>(GgufValueType::kArray)) {
    return Unsupported(what, " is an array of arrays, which is not supported");
  }
  const uint64_t least_bytes = strings ? sizeof(uint64_t) : GgufValueTypeBytes(array.element_type);
  if (least_bytes == 0) {
    return CorruptData(what, " is an array of unknown value type ", array.element_type);
  }
  if (array.count > cursor.left() / least_bytes) {
    return CorruptData(what, " is an array of ", array.count, " ",
                       GgufValueTypeName(array.element_type), " elements, but only ", cursor.left(),
                       " bytes are left at offset ", cursor.position());
  }
  const size_t begin = cursor.position();
  if (strings) {
    QUIRE_RETURN_IF_ERROR(cursor.SkipStrings(what, array.count));
  } else {
    cursor.Skip(array.count * least_bytes);
  }
  array.bytes = cursor.Since(begin);
  if (array.element_type == static_cast<uint32_t>(GgufValueType::kBool)) {
    QUIRE_RETURN_IF_ERROR(CheckBools(what, array.bytes));
  }
  return array;
}

template <typename T>
Result<GgufValue> ReadNumber(Cursor& cursor, std::string_view what) {
  using Wide = std::conditional_t<std::is_floating_point_v<T>, double,
                                  std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>>;
  QUIRE_ASSIGN_OR_RETURN(const T value, cursor.Read<T>(what));
  return GgufValue(static_cast<Wide>(value));
}

Result<GgufValue> ReadBool(Cursor& cursor, std::string_view what) {
  QUIRE_ASSIGN_OR_RETURN(const std::byte value, cursor.Read<std::byte>(what));
  QUIRE_RETURN_IF_ERROR(CheckBools(what, {&value, 1}));
  return GgufValue(value == std::byte{1});
}

Result<GgufValue> ReadValue(Cursor& cursor, uint32_t type, std::string_view what) {
  switch (static_cast<GgufValueType>(type)) {
    case GgufValueType::kUint8: return ReadNumber<uint8_t>(cursor, what);
    case GgufValueType::kInt8: return ReadNumber<int8_t>(cursor, what);
    case GgufValueType::kUint16: return ReadNumber<uint16_t>(cursor, what);
    case GgufValueType::kInt16: return ReadNumber<int16_t>(cursor, what);
    case GgufValueType::kUint32: return ReadNumber<uint32_t>(cursor, what);
    case GgufValueType::kInt32: return ReadNumber<int32_t>(cursor, what);
    case GgufValueType::kUint64: return ReadNumber<uint64_t>(cursor, what);
    case GgufValueType::kInt64: return ReadNumber<int64_t>(cursor, what);
    case GgufValueType::kFloat32: return ReadNumber<float>(cursor, what);
    case GgufValueType::kFloat64: return ReadNumber<double>(cursor, what);
    case GgufValueType::kBool: return ReadBool(cursor, what);
    case GgufValueType::kString: {
      QUIRE_ASSIGN_OR_RETURN(const std::string_view text, cursor.ReadString(what));
      return GgufValue(text);
    }
    case GgufValueType::kArray: {
      QUIRE_ASSIGN_OR_RETURN(const GgufArray array, ReadArray(cursor, what));
      return GgufValue(array);
    }
  }
  return CorruptData(what, " has unknown value type ", type);
}

using Metadata = std::map<std::string, GgufValue, std::less<>>;

Result<Metadata> ReadMetadata(Cursor& cursor, uint64_t count) {
  Metadata metadata;
  for (uint64_t i = 0; i < count; ++i) {
    const std::string where = StrCat("metadata key ", i, " of ", count);
    QUIRE_ASSIGN_OR_RETURN(const std::string_view key, cursor.ReadString(where));
    if (key.size() > kMaxKeyBytes) {
      return CorruptData(where, " has length ", key.size(), "; the most is ", kMaxKeyBytes);
    }
    const std::string what = StrCat("metadata key '", Printable(key), "'");
    QUIRE_ASSIGN_OR_RETURN(const uint32_t type, cursor.Read<uint32_t>(what));
    QUIRE_ASSIGN_OR_RETURN(const GgufValue value, ReadValue(cursor, type, what));
    if (!metadata.emplace(key, value).second) {
      return CorruptData(what, " occurs twice");
    }
  }
  return metadata;
}

Result<uint64_t> ReadAlignment(const Metadata& metadata) {
  const auto found = metadata.find("general.alignment");
  if (found == metadata.end()) {
    return kDefaultAlignment;
  }
  const auto* alignment = std::get_if<uint64_t>(&found->second);
  if (alignment == nullptr) {
    return CorruptData("metadata key 'general.alignment' is not an unsigned integer");
  }
  if (!std::has_single_bit(*alignment) || *alignment < kMinAlignment ||
      *alignment > std::numeric_limits<uint32_t>::max()) {
    return CorruptData("metadata key 'general.alignment' is ", *alignment,
                       "; it must be a power of two from ", kMinAlignment, " that fits 32 bits");
  }
  return *alignment;
}

// What the header says of one tensor, its shape and type checked.
struct TensorInfo {
  std::string_view name;
  DType dtype = DType::kF32;
  Shape shape;
  uint64_t bytes = 0;
  uint64_t offset = 0;  // from the start of the data section
};

// Extents as the file has them, innermost first; their product is at most 2^62.
struct Extents {
  uint32_t rank = 0;
  std::array<int64_t, Shape::kMaxRank> extents = {};
};

Result<Extents> ReadExtents(Cursor& cursor, const std::string& what) {
  constexpr uint64_t kMaxElements = uint64_t{1} << 62;
  Extents out;
  QUIRE_ASSIGN_OR_RETURN(out.rank, cursor.Read<uint32_t>(what));
  if (out.rank == 0 || out.rank > Shape::kMaxRank) {
    return CorruptData(what, " has ", out.rank, " dimensions; it must have 1 to ", Shape::kMaxRank);
  }
  uint64_t elements = 1;
  for (uint32_t axis = 0; axis < out.rank; ++axis) {
    QUIRE_ASSIGN_OR_RETURN(const uint64_t extent, cursor.Read<uint64_t>(what));
    if (extent == 0 || extent > kMaxElements / elements) {
      return CorruptData(what, " has extent ", extent, " in dimension ", axis,
                         extent == 0 ? "; it must be positive" : "; its elements overflow");
    }
    elements *= extent;
    out.extents[axis] = static_cast<int64_t>(extent);
  }
  return out;
}

Shape OutermostFirst(const Extents& e) {
  switch (e.rank) {
    case 1: return {e.extents[0]};
    case 2: return {e.extents[1], e.extents[0]};
    case 3: return {e.extents[2], e.extents[1], e.extents[0]};
    default: return {e.extents[3], e.extents[2], e.extents[1], e.extents[0]};
  }
}

Result<uint64_t> TensorBytes(const std::string& what, DType dtype, const Shape& shape) {
  const DTypeInfo& info = InfoOf(dtype);
  const int64_t row = shape[shape.rank() - 1];
  if (row % info.block_elements != 0) {
    return CorruptData(what, " has rows of ", row, " elements, not whole ", info.name,
                       " blocks of ", info.block_elements);
  }
  const uint64_t blocks = static_cast<uint64_t>(shape.elements() / info.block_elements);
  const auto block_bytes = static_cast<uint64_t>(info.block_bytes);
  if (blocks > std::numeric_limits<uint64_t>::max() / block_bytes) {
    return CorruptData(what, " of shape ", ShapeName(shape), " overflows the bytes of a tensor");
  }
  return blocks * block_bytes;
}

Result<TensorInfo> ReadTensorInfo(Cursor& cursor, uint64_t index, uint64_t count) {
  TensorInfo tensor;
  const std::string where = StrCat("name of tensor ", index, " of ", count);
  QUIRE_ASSIGN_OR_RETURN(tensor.name, cursor.ReadString(where));
  if (tensor.name.size() > kMaxKeyBytes) {
    return CorruptData(where, " has length ", tensor.name.size(), "; the most is ", kMaxKeyBytes);
  }
  const std::string what = StrCat("tensor '", Printable(tensor.name), "'");
  QUIRE_ASSIGN_OR_RETURN(const Extents extents, ReadExtents(cursor, what));
  QUIRE_ASSIGN_OR_RETURN(const uint32_t type, cursor.Read<uint32_t>(what));
  QUIRE_ASSIGN_OR_RETURN(tensor.offset, cursor.Read<uint64_t>(what));
  const std::optional<DType> dtype = DTypeOfGguf(type);
  if (!dtype) {
    return Unsupported(
        what, " has type ", type, " (", GgufTensorTypeName(type),
        "), which is not supported; quantize the model to q4_0, q4_1, q5_0, q5_1, q8_0, "
        "q4_k, q5_k or q6_k, or use f16, bf16 or f32");
  }
  tensor.dtype = *dtype;
  tensor.shape = OutermostFirst(extents);
  QUIRE_ASSIGN_OR_RETURN(tensor.bytes, TensorBytes(what, tensor.dtype, tensor.shape));
  return tensor;
}

// The tensor's place in the file. The data section begins at the first aligned offset behind the
// header.
Result<TensorView> LocateTensor(const TensorInfo& tensor, std::span<const std::byte> data,
                                uint64_t alignment) {
  const std::string what = StrCat("tensor '", Printable(tensor.name), "'");
  if (tensor.offset % alignment != 0) {
    return CorruptData(what, " has offset ", tensor.offset,
                       ", which is not a multiple of the alignment ", alignment);
  }
  if (tensor.offset > data.size() || tensor.bytes > data.size() - tensor.offset) {
    return CorruptData(what, " needs ", tensor.bytes, " bytes at offset ", tensor.offset,
                       " of the data section, which has ", data.size(),
                       " bytes; the file is truncated or damaged");
  }
  auto* start = const_cast<std::byte*>(data.data() + tensor.offset);
  return TensorView(start, tensor.dtype, tensor.shape);
}

std::span<const std::byte> DataSection(std::span<const std::byte> file, size_t header_bytes,
                                       uint64_t alignment) {
  const uint64_t start = (header_bytes + alignment - 1) / alignment * alignment;
  return start < file.size() ? file.subspan(start) : std::span<const std::byte>();
}

struct Contents {
  Metadata metadata;
  std::vector<GgufTensor> tensors;
  std::map<std::string, size_t, std::less<>> tensor_index;
};

Result<Contents> ReadContents(std::span<const std::byte> file) {
  Contents contents;
  Cursor cursor(file);
  QUIRE_RETURN_IF_ERROR(CheckMagicAndVersion(cursor));
  QUIRE_ASSIGN_OR_RETURN(const Counts counts, ReadCounts(cursor));
  QUIRE_ASSIGN_OR_RETURN(contents.metadata, ReadMetadata(cursor, counts.metadata));
  QUIRE_ASSIGN_OR_RETURN(const uint64_t alignment, ReadAlignment(contents.metadata));
  std::vector<TensorInfo> infos;
  for (uint64_t i = 0; i < counts.tensors; ++i) {
    QUIRE_ASSIGN_OR_RETURN(TensorInfo info, ReadTensorInfo(cursor, i, counts.tensors));
    infos.push_back(std::move(info));
  }
  const std::span<const std::byte> data = DataSection(file, cursor.position(), alignment);
  for (const TensorInfo& info : infos) {
    QUIRE_ASSIGN_OR_RETURN(const TensorView view, LocateTensor(info, data, alignment));
    if (!contents.tensor_index.emplace(info.name, contents.tensors.size()).second) {
      return CorruptData("tensor '", Printable(info.name), "' occurs twice");
    }
    contents.tensors.push_back({std::string(info.name), view});
  }
  return contents;
}

}  // namespace

Result<GgufFile> GgufFile::Open(const std::string& path) {
  QUIRE_ASSIGN_OR_RETURN(MappedFile map, MappedFile::Open(path));
  Result<Contents> contents = ReadContents(map.bytes());
  if (!contents.ok()) {
    return contents.status().WithContext(StrCat("file '", path, "'"));
  }
  GgufFile file(std::move(map));
  file.metadata_ = std::move(contents->metadata);
  file.tensors_ = std::move(contents->tensors);
  file.tensor_index_ = std::move(contents->tensor_index);
  return file;
}

const GgufValue* GgufFile::Find(std::string_view key) const {
  const auto found = metadata_.find(key);
  return found == metadata_.end() ? nullptr : &found->second;
}

const GgufTensor* GgufFile::FindTensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace quire
