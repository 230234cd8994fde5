// Steps as a device sees them: how often the host waits for one, and that a step which the device
// knows as a whole has the bits of one that is enqueued call by call.
#include <gtest/gtest.h>

#include "engine/engine.h"
#include "support/sequence_runner.h"
#include "support/test_device.h"

namespace quire {
namespace {

EngineOptions SmallOptions() {
  EngineOptions options;
  options.model_path = QUIRE_SMOLLM2_GGUF;
  options.device = TestDevice();
  options.kv_memory_bytes = 256 << 20;
  return options;
}

// Greedy and drawn, with penalties and without.
RequestSpec EndlessRequest(uint64_t id) {
  RequestSpec request;
  request.id = id;
  request.prompt = {1000, 2000, static_cast<int32_t>(3000 + id)};
  request.sampling.temperature = id % 2 == 0 ? 0.0f : 0.8f;
  request.sampling.top_p = id % 4 == 1 ? 0.9f : 1.0f;
  request.sampling.frequency_penalty = id % 3 == 2 ? 0.5f : 0.0f;
  request.sampling.seed = id;
  request.max_new_tokens = 1000;
  request.ignore_eos = true;
  return request;
}

class DeviceSteps : public testing::TestWithParam<bool> {};

TEST_P(DeviceSteps, OneWaitHandsOutTheTokensOfADecodeStep) {
  constexpr size_t kRequests = 6;
  constexpr int kWarmUp = 12;
  constexpr uint64_t kSteps = 40;
  EngineOptions options = SmallOptions();
  options.overlap = GetParam();
  const auto engine = Engine::Create(options);
  ASSERT_TRUE(engine.ok()) << engine.status().message();
  for (uint64_t id = 0; id < kRequests; ++id) {
    ASSERT_TRUE((*engine)->Add(EndlessRequest(id)).ok());
  }
  std::vector<EngineEvent> events;
  for (int step = 0; step < kWarmUp; ++step) {  // prompts, and what is chosen by measuring
    (*engine)->Step(events);
  }
  events.clear();
  const uint64_t before = (*engine)->runner().device().waits();
  for (uint64_t step = 0; step < kSteps; ++step) {
    (*engine)->Step(events);
  }
  const Device& device = (*engine)->runner().device();
  const uint64_t waits = device.waits() - before;
  if (device.is_asynchronous()) {  // fewer where it is ahead of the host
    EXPECT_GT(waits, 0U);
    EXPECT_LE(waits, kSteps);
  } else {
    EXPECT_EQ(waits, kSteps);
  }
  EXPECT_EQ(events.size(), kSteps * kRequests);
}

INSTANTIATE_TEST_SUITE_P(All, DeviceSteps, testing::Bool(), [](const auto& suite) {
  return suite.param ? "overlapping" : "one_by_one";
});

std::unique_ptr<ModelRunner> MakeRunner() {
  auto file = GgufFile::Open(QUIRE_SMOLLM2_GGUF);
  EXPECT_TRUE(file.ok()) << file.status().message();
  auto runner = ModelRunner::Create(std::make_shared<GgufFile>(*std::move(file)), SmallOptions());
  EXPECT_TRUE(runner.ok()) << runner.status().message();
  return *std::move(runner);
}

// The logits of `token` in a step of its own behind a prompt.
std::vector<float> DecodeStep(ModelRunner& runner, int32_t token) {
  SequenceRunner sequence(runner);
  const std::vector<int32_t> prompt = {1000, 2000, 3000, 4000, 5000};
  EXPECT_TRUE(sequence.Append(prompt, 1).ok());
  const auto logits = sequence.Append(std::span(&token, 1), 1);
  EXPECT_TRUE(logits.ok()) << logits.status().message();
  return logits->at(0);
}

TEST(RecordedSteps, HaveTheBitsOfThoseThatAreEnqueued) {
  const std::vector<int32_t> tokens = {6000, 7000};
  std::vector<std::vector<float>> enqueued;
  for (const int32_t token : tokens) {
    const auto runner = MakeRunner();
    enqueued.push_back(DecodeStep(*runner, token));
    EXPECT_EQ(runner->recorded_steps(), 0);
  }
  EXPECT_NE(enqueued[0], enqueued[1]);
  const auto runner = MakeRunner();
  for (int turn = 0; turn < 3; ++turn) {
    for (size_t i = 0; i < tokens.size(); ++i) {
      EXPECT_EQ(DecodeStep(*runner, tokens[i]), enqueued[i]) << "turn " << turn;
    }
  }
  EXPECT_EQ(runner->recorded_steps(), runner->device().is_asynchronous() ? 1 : 0);
}

}  // namespace
}  // namespace quire
