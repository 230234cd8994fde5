#include "engine/draft_model_source.h"

#include <gtest/gtest.h>

#include <random>

#include "base/test_seed.h"
#include "support/test_device.h"

namespace quire {
namespace {

constexpr int32_t kDrafts = 4;

// SmolLM2 drafts for itself.
class DraftModelSourceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    EngineOptions options;
    options.model_path = QUIRE_SMOLLM2_GGUF;
    options.draft_model_path = QUIRE_SMOLLM2_GGUF;
    options.device = TestDevice();
    options.deterministic = true;
    options.kv_memory_bytes = 64 << 20;
    auto file = GgufFile::Open(options.model_path);
    ASSERT_TRUE(file.ok()) << file.status().message();
    auto target = ModelRunner::Create(std::make_shared<const GgufFile>(std::move(*file)), options);
    ASSERT_TRUE(target.ok()) << target.status().message();
    target_ = std::move(*target);
    auto source = DraftModelSource::Create(*target_, options);
    ASSERT_TRUE(source.ok()) << source.status().message();
    source_ = std::move(*source);
  }

  std::vector<int32_t> Drafts(uint64_t id, const std::vector<int32_t>& tokens) {
    DraftQuery query = {.id = id, .tokens = tokens, .most = kDrafts, .drafts = {}};
    source_->Propose({&query, 1});
    return query.drafts;
  }

  std::vector<int32_t> DrawTokens(size_t count) {
    std::vector<int32_t> tokens(count);
    for (int32_t& token : tokens) {
      token = std::uniform_int_distribution<int32_t>(300, 40000)(random_);
    }
    return tokens;
  }

  std::mt19937_64 random_{TestSeed()};
  std::unique_ptr<ModelRunner> target_;
  std::unique_ptr<DraftModelSource> source_;
};

TEST_F(DraftModelSourceTest, DraftsFollowTheTokensWhateverWasDraftedBefore) {
  std::vector<int32_t> tokens = DrawTokens(20);
  for (uint64_t round = 0; round < 6; ++round) {
    const std::vector<int32_t> drafts = Drafts(1, tokens);
    ASSERT_EQ(drafts.size(), size_t{kDrafts});
    EXPECT_EQ(drafts, Drafts(100 + round, tokens)) << "of a request not seen before";
    // As many of them are right as the round's number says, and then comes another token.
    const size_t right = round % (kDrafts + 1);
    tokens.insert(tokens.end(), drafts.begin(), drafts.begin() + static_cast<ptrdiff_t>(right));
    tokens.push_back(DrawTokens(1)[0]);
  }
}

TEST_F(DraftModelSourceTest, ALongPromptIsReadBeforeItsDraftsCome) {
  const std::vector<int32_t> tokens = DrawTokens(DraftModelSource::kCatchUpRows + 1);
  EXPECT_TRUE(Drafts(1, tokens).empty());
  EXPECT_EQ(Drafts(1, tokens).size(), size_t{kDrafts});
}

TEST_F(DraftModelSourceTest, ARequestThatEndedIsForgotten) {
  const std::vector<int32_t> tokens = DrawTokens(20);
  const std::vector<int32_t> drafts = Drafts(1, tokens);
  source_->Forget(1);
  EXPECT_EQ(Drafts(1, tokens), drafts);
}

}  // namespace
}  // namespace quire
