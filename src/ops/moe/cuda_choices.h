// What CUDA kernels know of the tokens' choices: which expert each row of a product belongs to,
// found on the device, so that a call can be captured in a graph.
//
// Choice c = t * k + j is the j-th expert of token t. Sorted by expert, then by number, choices are
// the rows of the experts' products.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "ops/act_and_mul/act_and_mul.h"
#include "tensor/dtype.h"

namespace quire::ops::moe {

// Up to `rows` rows of one expert.
struct RowTile {
  int32_t expert;  // -1: none
  int32_t first_row;
  int32_t rows;
};

struct SortedChoices {
  int32_t* row_of = nullptr;     // [T * k]: the row of each choice; -1 if it is not one of ours
  int32_t* choice_of = nullptr;  // [T * k]: the choice of each row
  RowTile* tiles = nullptr;      // [TileCount()], of tile_rows rows, those of an expert together
  int32_t tile_rows = 0;
};

// Tiles that there may be; some are empty. With few choices, tile r starts at row r, if one does.
constexpr bool HasTileOfEachRow(int64_t choices, int64_t experts, int64_t tile_rows) {
  return choices <= choices / tile_rows + experts;
}
constexpr int64_t TileCount(int64_t choices, int64_t experts, int64_t tile_rows) {
  return HasTileOfEachRow(choices, experts, tile_rows) ? choices : choices / tile_rows + experts;
}

// Sorts ids [choices]. An id that is none of the experts has no row. REQUIRES: experts > 0.
cudaError_t SortChoices(const int32_t* ids, int64_t choices, int64_t experts,
                        const SortedChoices& sorted, cudaStream_t stream);

// out [rows][k_padded] = activation(gate) * up of gate_up [rows][2 * features], 0 beyond the
// features.
struct Activate {
  const float* gate_up = nullptr;
  int64_t rows = 0;
  int64_t features = 0;
  int64_t k_padded = 0;
  act_and_mul::Activation activation = act_and_mul::Activation::kSilu;
  void* out = nullptr;
  DType out_type = DType::kBF16;  // or f16
};
cudaError_t RunActivate(const Activate& activate, cudaStream_t stream);

// results [row_of[c]] = result [c / k] for the choices of `expert`.
struct ChosenRows {
  const int32_t* ids = nullptr;
  const int32_t* row_of = nullptr;
  int64_t choices = 0;
  int k = 0;
  int64_t hidden = 0;
  float* results = nullptr;       // [T * k][hidden]
  const float* result = nullptr;  // [T][hidden]
  int32_t expert = 0;
};
cudaError_t KeepChosen(const ChosenRows& chosen, cudaStream_t stream);

// out [tokens][hidden] (=, +=) the sum over j of weights[t, j] * results[row_of[t, j]], then of
// shared * sigmoid(gate), rounded once.
struct Combine {
  const float* results = nullptr;  // [T * k][hidden]
  const int32_t* row_of = nullptr;
  const float* weights = nullptr;
  int64_t tokens = 0;
  int64_t hidden = 0;
  int k = 0;
  const float* shared = nullptr;       // [tokens][hidden] or null
  const float* shared_gate = nullptr;  // [tokens] or null for 1
  void* out = nullptr;
  DType out_type = DType::kBF16;
  int64_t out_stride = 0;
  bool accumulate = false;
};
cudaError_t RunCombine(const Combine& combine, cudaStream_t stream);

}  // namespace quire::ops::moe
