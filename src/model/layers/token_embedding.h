// The input embedding: rows of a table that stays in its file's type.
#pragma once

#include "model/layers/weight_reader.h"
#include "ops/batch.h"
#include "ops/embedding/embedding.h"

namespace quire {

class TokenEmbedding {
 public:
  TokenEmbedding() = default;
  // Reads "token_embd.weight"; every row is multiplied by `scale`.
  static Result<TokenEmbedding> Load(WeightReader& reader, const ModelConfig& config, float scale) {
    TokenEmbedding embedding;
    embedding.scale_ = scale;
    QUIRE_ASSIGN_OR_RETURN(
        embedding.table_, reader.Mapped("token_embd.weight",
                                        {int64_t{config.vocab_size}, int64_t{config.hidden_size}}));
    return embedding;
  }

  // The batch's rows [T, hidden] f32, in the context's workspace.
  Result<TensorView> Forward(const ops::OpContext& context, const Batch& batch) const {
    const int64_t rows = batch.num_tokens();
    const int64_t size = table_.dim(1);
    const TensorView out(context.workspace.Allocate<float>(static_cast<size_t>(rows * size)),
                         DType::kF32, {rows, size});
    QUIRE_RETURN_IF_ERROR(ops::embedding::Run(
        context, {.tokens = batch.tokens, .table = table_, .out = out, .scale = scale_}));
    return out;
  }

 private:
  TensorView table_;  // mapped
  float scale_ = 1.0f;
};

}  // namespace quire
