// The backend "flashinfer_fa2": FlashInfer's kernels for tensor cores of sm_80 and later, for all
// rows of a step. bf16, head size 128, neither windows nor soft caps. For comparison, and for what
// the others lose against it.
#pragma once

#include <memory>
#include <string>

#include "attention/attention_backend.h"

namespace quire {

inline constexpr std::string_view kFlashInferFa2Name = "flashinfer_fa2";

// Errors: unsupported, saying what is missing.
Result<std::string> FlashInferFa2Supports(const AttentionProblem& problem);

std::unique_ptr<AttentionBackend> MakeCudaFa2(const AttentionProblem& problem);

}  // namespace quire
