// SmolLM2 against Hugging Face transformers in fp32 on the same dequantized weights
// (data/README.md).
#include <gtest/gtest.h>

#include <cmath>

#include "golden/golden_files.h"
#include "golden/golden_model.h"

namespace quire {
namespace {

// What llama.cpp reaches on the same weights; the fast path must be no worse.
constexpr double kMaxRegret = 0.26;
constexpr double kMeanRegret = 0.002;
constexpr int kMinAgreeing = 502;
constexpr double kFp32Perplexity = 10.775144162571081;
constexpr double kPeerPerplexity = 10.8061;

class SmolLm2Golden : public testing::Test {
 protected:
  std::vector<int32_t> Encode(const std::string& text) {
    return model_.tokenizer().Encode(text, {.add_bos = false, .parse_special = true});
  }

  const GoldenModel model_{QUIRE_SMOLLM2_GGUF};
  const nlohmann::json golden_ = ReadGoldenJson("smollm2_fp32.json");
};

std::vector<int32_t> Ids(const nlohmann::json& value) {
  return value.get<std::vector<int32_t>>();
}

std::vector<int32_t> Joined(std::vector<int32_t> a, const std::vector<int32_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST_F(SmolLm2Golden, PromptIds) {
  for (const auto& prompt : golden_["prompts"]) {
    EXPECT_EQ(Encode(prompt["text"]), Ids(prompt["prompt_ids"])) << prompt["text"];
  }
}

TEST_F(SmolLm2Golden, ExactPathFirstLogits) {
  const auto runner = model_.MakeRunner(true);
  for (const auto& prompt : golden_["prompts"]) {
    SequenceRunner sequence(*runner);
    const auto logits = sequence.Append(Ids(prompt["prompt_ids"]), 1);
    ASSERT_TRUE(logits.ok()) << logits.status().message();
    for (const auto& entry : prompt["top5_first"]) {
      EXPECT_NEAR((*logits)[0][entry["id"]], entry["logit"].get<float>(), 2e-3) << prompt["text"];
    }
  }
}

TEST_F(SmolLm2Golden, ExactPathGreedyTokens) {
  const auto runner = model_.MakeRunner(true);
  for (const auto& prompt : golden_["prompts"]) {
    const std::vector<int32_t> expected = Ids(prompt["generated_ids"]);
    SequenceRunner sequence(*runner);
    std::vector<int32_t> next = Ids(prompt["prompt_ids"]);
    for (size_t step = 0; step < expected.size(); ++step) {
      const auto logits = sequence.Append(next, 1);
      ASSERT_TRUE(logits.ok()) << logits.status().message();
      const int32_t token = ArgMax((*logits)[0]);
      ASSERT_EQ(token, expected[step]) << prompt["text"] << " step " << step;
      const size_t best = static_cast<size_t>(token);
      EXPECT_NEAR((*logits)[0][best], prompt["top1_logit"][step].get<float>(), 2e-3);
      next = {token};
    }
  }
}

TEST_F(SmolLm2Golden, ExactPathPerplexity) {
  const auto runner = model_.MakeRunner(true);
  const std::vector<int32_t> tokens = Encode(ReadGoldenText("ppl.txt"));
  EXPECT_EQ(tokens.size(), golden_["ppl_tokens"].get<size_t>());
  const auto perplexity = Perplexity(*runner, tokens, -1);
  ASSERT_TRUE(perplexity.ok()) << perplexity.status().message();
  EXPECT_NEAR(*perplexity, kFp32Perplexity, kFp32Perplexity * 1e-4);
}

TEST_F(SmolLm2Golden, FastPathPerplexityCloserThanPeer) {
  const auto runner = model_.MakeRunner(false);
  const auto perplexity = Perplexity(*runner, Encode(ReadGoldenText("ppl.txt")), -1);
  ASSERT_TRUE(perplexity.ok()) << perplexity.status().message();
  std::printf("fast path perplexity %.5f, fp32 %.5f\n", *perplexity, kFp32Perplexity);
  EXPECT_LT(std::abs(*perplexity - kFp32Perplexity), kPeerPerplexity - kFp32Perplexity);
}

TEST_F(SmolLm2Golden, FastPathRegret) {
  const auto exact = model_.MakeRunner(true);
  const auto fast = model_.MakeRunner(false);
  double worst = 0;
  double total = 0;
  int agreeing = 0;
  int steps = 0;
  for (const auto& prompt : golden_["prompts"]) {
    std::vector<int32_t> tokens = Joined(Ids(prompt["prompt_ids"]), Ids(prompt["generated_ids"]));
    const size_t generated = prompt["generated_ids"].size();
    tokens.pop_back();
    const auto truth = SequenceRunner(*exact).Append(tokens, generated);
    const auto ours = SequenceRunner(*fast).Append(tokens, generated);
    ASSERT_TRUE(truth.ok() && ours.ok());
    for (size_t i = 0; i < generated; ++i) {
      const auto& logits = (*truth)[i];
      const int32_t best = ArgMax(logits);
      const int32_t choice = ArgMax((*ours)[i]);
      const double regret = logits[static_cast<size_t>(best)] - logits[static_cast<size_t>(choice)];
      worst = std::max(worst, regret);
      total += regret;
      agreeing += best == choice ? 1 : 0;
      ++steps;
    }
  }
  std::printf("regret max %.4f mean %.5f, agreeing %d of %d\n", worst, total / steps, agreeing,
              steps);
  EXPECT_EQ(steps, 512);
  EXPECT_LE(worst, kMaxRegret);
  EXPECT_LE(total / steps, kMeanRegret);
  EXPECT_GE(agreeing, kMinAgreeing);
}

}  // namespace
}  // namespace quire
