// The input embedding: rows of a table that stays in its file's type.
#pragma once

#include "model/layers/weight_reader.h"
#include "ops/batch_views.h"
#include "ops/embedding/embedding.h"
#include "ops/scratch.h"

namespace quire {

class TokenEmbedding {
 public:
  TokenEmbedding() = default;
  // Reads "token_embd.weight"; every row is multiplied by `scale`.
  static Result<TokenEmbedding> Load(WeightReader& reader, const ModelConfig& config, float scale) {
    TokenEmbedding embedding;
    embedding.scale_ = scale;
    embedding.out_type_ = reader.activation_type();
    QUIRE_ASSIGN_OR_RETURN(embedding.table_,
                           reader.Table("token_embd.weight",
                                        {int64_t{config.vocab_size}, int64_t{config.hidden_size}}));
    return embedding;
  }

  // The batch's rows [T, hidden] of the activations' type, in the context's workspace.
  Result<TensorView> Forward(const ops::OpContext& context, const BatchViews& batch) const {
    const TensorView out =
        ops::Scratch(context, out_type_, {batch.num_tokens(), table_.view.dim(1)});
    QUIRE_RETURN_IF_ERROR(ops::embedding::Run(context, {.table = table_.view,
                                                        .out = out,
                                                        .scale = scale_,
                                                        .ids = batch.tokens,
                                                        .drawn = batch.drawn}));
    return out;
  }

 private:
  WeightReader::TableRows table_;
  DType out_type_ = DType::kF32;
  float scale_ = 1.0f;
};

}  // namespace quire
