// Gemma 3 270M against llama.cpp: the exact path against its run on the same weights in fp32, the
// fast path judged by the distance from there that its run with 8-bit activations has
// (data/README.md).
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "golden/golden_files.h"
#include "golden/golden_model.h"

namespace quire {
namespace {

constexpr double kPeerPerplexity = 13.0197;  // llama-perplexity -c 512 with f32 keys and values

class Gemma3Golden : public testing::Test {
 protected:
  std::vector<int32_t> Encode(const std::string& text) {
    return model_.tokenizer().Encode(text, {.add_bos = true, .parse_special = true});
  }

  const GoldenModel model_{QUIRE_GEMMA3_GGUF};
  const nlohmann::json truth_ = ReadGoldenJson("gemma3_270m_f32_llamacpp.json");  // fp32
  // 8-bit activations:
  const nlohmann::json peer_ = ReadGoldenJson("gemma3_270m_q4_k_m_llamacpp_faoff_kvf32.json");
};

// Distances from the fp32 logits of a prompt's five best first tokens.
struct Distance {
  double worst = 0;
  double total = 0;
  int count = 0;

  void Add(double found, double expected) {
    worst = std::max(worst, std::abs(found - expected));
    total += std::abs(found - expected);
    ++count;
  }
  double mean() const { return total / count; }
};

// The peer's logits by token.
std::map<int32_t, double> LogitsById(const nlohmann::json& prompt) {
  std::map<int32_t, double> logits;
  for (const auto& entry : prompt["top5_first"]) {
    logits[entry["id"]] = entry["logit"];
  }
  return logits;
}

TEST_F(Gemma3Golden, PromptIds) {
  const auto texts = ReadGoldenJson("prompts_gemma3.json");
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto ids = Encode(texts[i].get<std::string>());
    EXPECT_EQ(ids, peer_["prompts"][i]["prompt_ids"].get<std::vector<int32_t>>()) << texts[i];
  }
}

TEST_F(Gemma3Golden, ExactPathLogitsAndTokens) {
  const auto runner = model_.MakeRunner(true);
  for (const auto& prompt : truth_["prompts"]) {
    SequenceRunner sequence(*runner);
    auto logits = sequence.Append(prompt["prompt_ids"].get<std::vector<int32_t>>(), 1);
    ASSERT_TRUE(logits.ok()) << logits.status().message();
    for (const auto& entry : prompt["top5_first"]) {
      EXPECT_NEAR((*logits)[0][entry["id"].get<size_t>()], entry["logit"].get<float>(), 0.02);
    }
    for (const auto& expected : prompt["generated_ids"]) {
      const int32_t token = ArgMax((*logits)[0]);
      ASSERT_EQ(token, expected.get<int32_t>());
      logits = sequence.Append(std::vector<int32_t>{token}, 1);
      ASSERT_TRUE(logits.ok()) << logits.status().message();
    }
  }
}

TEST_F(Gemma3Golden, FastPathNoFurtherFromTruthThanPeer) {
  const auto runner = model_.MakeRunner(false);
  Distance ours;
  Distance peer;
  for (size_t i = 0; i < truth_["prompts"].size(); ++i) {
    const auto& prompt = truth_["prompts"][i];
    SequenceRunner sequence(*runner);
    const auto logits = sequence.Append(prompt["prompt_ids"].get<std::vector<int32_t>>(), 1);
    ASSERT_TRUE(logits.ok()) << logits.status().message();
    const auto peer_logits = LogitsById(peer_["prompts"][i]);
    for (const auto& entry : prompt["top5_first"]) {
      const auto found = peer_logits.find(entry["id"].get<int32_t>());
      if (found != peer_logits.end()) {
        ours.Add((*logits)[0][entry["id"].get<size_t>()], entry["logit"]);
        peer.Add(found->second, entry["logit"]);
      }
    }
  }
  std::printf(
      "distance to fp32 over %d logits: ours mean %.4f worst %.4f, peer's mean %.4f worst %.4f\n",
      ours.count, ours.mean(), ours.worst, peer.mean(), peer.worst);
  EXPECT_LE(ours.mean(), peer.mean());
  EXPECT_LE(ours.worst, peer.worst);
}

TEST_F(Gemma3Golden, Perplexity) {
  const auto runner = model_.MakeRunner(false);
  const auto tokens = Encode(ReadGoldenText("ppl.txt"));
  const auto perplexity = Perplexity(*runner, tokens, model_.tokenizer().bos_id());
  ASSERT_TRUE(perplexity.ok()) << perplexity.status().message();
  std::printf("perplexity %.5f, peer %.5f\n", *perplexity, kPeerPerplexity);
  EXPECT_NEAR(*perplexity, kPeerPerplexity, kPeerPerplexity * 0.005);
}

}  // namespace
}  // namespace quire
