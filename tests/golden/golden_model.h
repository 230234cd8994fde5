// A model of the golden tests: its file, its tokenizer, and runners of its two paths.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "support/sequence_runner.h"
#include "support/test_device.h"
#include "tokenizer/tokenizer.h"

namespace quire {

class GoldenModel {
 public:
  // A model that cannot be opened fails the running test; then nothing else may be called.
  explicit GoldenModel(const std::string& path) {
    auto file = GgufFile::Open(path);
    EXPECT_TRUE(file.ok()) << file.status().message();
    file_ = std::make_shared<GgufFile>(*std::move(file));
    auto tokenizer = Tokenizer::FromGguf(*file_);
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
    tokenizer_ = *std::move(tokenizer);
  }

  const Tokenizer& tokenizer() const { return *tokenizer_; }

  // The exact path: fp32 products and an f32 cache; else the fast path as it is served.
  std::unique_ptr<ModelRunner> MakeRunner(bool exact) const {
    EngineOptions options;
    options.device = TestDevice();
    options.exact_activations = exact;
    if (exact) {
      options.kv_dtype = DType::kF32;
    }
    options.kv_memory_bytes = 256 << 20;
    auto runner = ModelRunner::Create(file_, options);
    EXPECT_TRUE(runner.ok()) << runner.status().message();
    return *std::move(runner);
  }

 private:
  std::shared_ptr<const GgufFile> file_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

}  // namespace quire
