// A product of rows with the weights of the experts that they chose, as kernels take it.
#pragma once

#include <cstdint>

#include "ops/linear/cuda/cuda_layout.h"
#include "ops/moe/cuda_choices.h"

namespace quire::ops::moe {

inline constexpr int kMaxExperts = 512;

// The experts' weights: all of one shape, each at its own address.
struct ExpertWeights {
  // Of every expert, but for the addresses: the other arrays lie at fixed distances from `data`.
  linear::DeviceSegment shape = {};
  int64_t scales_at = 0;  // bytes
  int64_t super_at = 0;
  int64_t k = 0;  // input features
  const uint8_t* data[kMaxExperts] = {};

  constexpr int64_t columns() const { return shape.spans * SpanOf(shape.kind); }
};

// out [rows][N] = x * w^T of each row's expert, sums in fp32.
struct GroupedProduct {
  ExpertWeights weights = {};
  // f16 for weights of f16, else bf16; rows of whole spans, zero beyond K, aligned to 16 bytes.
  const void* x = nullptr;
  int64_t x_stride = 0;                // elements
  const int32_t* choice_of = nullptr;  // row r has x of token choice_of[r] / k; null: row r of x
  int k = 1;
  const RowTile* tiles = nullptr;  // as the kernel wants them
  int32_t tile_count = 0;
  int32_t tile_rows = 0;
  float* out = nullptr;
};

}  // namespace quire::ops::moe
