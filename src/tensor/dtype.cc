#include "tensor/dtype.h"

#include "base/check.h"

namespace quire {

const DTypeInfo& InfoOf(DType dtype) {
  static constexpr DTypeInfo kInfos[] = {
      {"f32", 1, 4},    {"f16", 1, 2},      {"bf16", 1, 2},     {"f8e4m3", 1, 1},
      {"i8", 1, 1},     {"u8", 1, 1},       {"i32", 1, 4},      {"i64", 1, 8},
      {"q4_0", 32, 18}, {"q4_1", 32, 20},   {"q5_0", 32, 22},   {"q5_1", 32, 24},
      {"q8_0", 32, 34}, {"q4_k", 256, 144}, {"q5_k", 256, 176}, {"q6_k", 256, 210},
  };
  return kInfos[static_cast<int>(dtype)];
}

int64_t BytesOf(DType dtype, int64_t elements) {
  const DTypeInfo& info = InfoOf(dtype);
  QUIRE_CHECK_EQ(elements % info.block_elements, 0);
  return elements / info.block_elements * info.block_bytes;
}

}  // namespace quire
