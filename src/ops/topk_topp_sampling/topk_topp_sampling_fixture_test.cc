// The definition that the reference follows against PyTorch (tools/fixtures/sampling_ops.py).
#include <gtest/gtest.h>

#include "ops/fixture_file.h"
#include "ops/topk_topp_sampling/definition.h"

namespace quire::ops::topk_topp_sampling {
namespace {

SamplingParams ParamsOf(const FixtureCase& c) {
  SamplingParams params = {.temperature = static_cast<float>(c.number("temperature")),
                           .top_k = c.integer("top_k"),
                           .top_p = static_cast<float>(c.number("top_p")),
                           .min_p = static_cast<float>(c.number("min_p")),
                           .repetition_penalty = static_cast<float>(c.number("repetition_penalty")),
                           .presence_penalty = static_cast<float>(c.number("presence_penalty")),
                           .frequency_penalty = static_cast<float>(c.number("frequency_penalty")),
                           .order = static_cast<FilterOrder>(c.integer("order"))};
  const std::vector<int32_t> tokens = c.array("bias_tokens").integers<int32_t>();
  const std::vector<float> biases = c.array("biases").floats();
  for (size_t i = 0; i < tokens.size(); ++i) {
    params.logit_bias.push_back({tokens[i], biases[i]});
  }
  return params;
}

TEST(TopkToppSamplingFixture, ReferenceAgreesWithPyTorch) {
  for (const FixtureCase& c : LoadFixture("topk_topp_sampling")) {
    const SamplingParams params = ParamsOf(c);
    ASSERT_TRUE(params.Validate().ok()) << c.name();
    const std::vector<int32_t> prompt = c.array("prompt").integers<int32_t>();
    const std::vector<int32_t> output = c.array("output").integers<int32_t>();
    const std::vector<float> expected = c.array("probabilities").floats();
    std::vector<float> actual(expected.size());
    const std::vector<WeightedToken> kept = Kept(
        InOrder(AdjustedLogits(c.array("logits").floats(), params, {prompt, output, {}})), params);
    double total = 0;
    for (const WeightedToken& token : kept) {
      total += static_cast<double>(token.weight);
    }
    for (const WeightedToken& token : kept) {
      actual[token.token] = static_cast<float>(static_cast<double>(token.weight) / total);
    }
    EXPECT_EQ(Mismatch(actual, expected, {.rtol = 2e-6, .atol = 1e-11}), "") << c.name();
  }
}

}  // namespace
}  // namespace quire::ops::topk_topp_sampling
