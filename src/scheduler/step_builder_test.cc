#include "scheduler/step_builder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kv_cache/page_pool.h"

namespace quire {
namespace {

using ::testing::ElementsAre;

// A request whose first `computed` tokens are in `table`, which then takes `rows` more.
Request Prepare(const RequestSpec& spec, PageTable& table, PagePool& pool, int32_t computed,
                int32_t rows) {
  Request request(spec, {}, 1000);
  request.Start(1, 0);
  request.Advance(computed);
  table.Extend(computed + rows, pool);
  return request;
}

TEST(StepBuilder, MixesDecodeRowsAndPrefillChunks) {
  PagePool pool(8);
  RequestSpec spec;
  spec.id = 1;
  spec.prompt = {10, 11, 12, 13, 14};
  spec.sampling.seed = 77;
  PageTable decode_table(2);
  const Request decode = Prepare(spec, decode_table, pool, 4, 1);
  spec.id = 2;
  spec.prompt = {20, 21, 22, 23, 24, 25};
  PageTable prefill_table(2);
  const Request prefill = Prepare(spec, prefill_table, pool, 0, 3);

  StepBuilder builder(9, 2, 8);
  builder.Add(decode, decode_table, 1);
  builder.Add(prefill, prefill_table, 3);
  const Step step = std::move(builder).Finish();
  EXPECT_EQ(step.serial, 9);
  EXPECT_THAT(step.batch.tokens, ElementsAre(14, 20, 21, 22));
  EXPECT_THAT(step.batch.positions, ElementsAre(4, 0, 1, 2));
  EXPECT_THAT(step.batch.query_start, ElementsAre(0, 1, 4));
  EXPECT_THAT(step.batch.kv_length, ElementsAre(5, 3));
  EXPECT_EQ(step.batch.max_pages, 3);
  const auto& d = decode_table.pages();
  const auto& p = prefill_table.pages();
  EXPECT_THAT(step.batch.page_table, ElementsAre(d[0], d[1], d[2], p[0], p[1], -1));
  EXPECT_THAT(step.batch.slot_mapping, ElementsAre(d[2] * 2, p[0] * 2, p[0] * 2 + 1, p[1] * 2));
  // Only the first sequence reaches its end.
  EXPECT_THAT(step.batch.logit_rows, ElementsAre(0));
  ASSERT_EQ(step.sampling.size(), 1);
  EXPECT_EQ(step.sampling[0].seed, 77);
  EXPECT_THAT(step.sample_positions, ElementsAre(0));
  EXPECT_EQ(step.sequences[0].num_samples, 1);
  EXPECT_EQ(step.sequences[1].num_samples, 0);
  EXPECT_EQ(step.sequences[1].id, 2);
  EXPECT_EQ(step.sequences[1].first_row, 1);
  EXPECT_EQ(step.sequences[1].num_rows, 3);
}

TEST(StepBuilder, TheDrawCounterIsTheNumberOfTokensDrawn) {
  PagePool pool(8);
  RequestSpec spec;
  spec.prompt = {1, 2};
  spec.max_new_tokens = 5;
  Request request(spec, {}, 1000);
  request.Start(1, 0);
  request.Advance(2);
  request.Append(3);
  request.Preempt();
  request.Start(2, 0);
  PageTable table(4);
  table.Extend(3, pool);
  StepBuilder builder(1, 2, 8);
  builder.Add(request, table, 3);
  EXPECT_THAT(std::move(builder).Finish().sample_positions, ElementsAre(1));
}

using StepBuilderDeathTest = testing::Test;

TEST(StepBuilderDeathTest, StopsAtATableOfTheWrongLength) {
  PagePool pool(8);
  RequestSpec spec;
  spec.prompt = {1, 2, 3};
  PageTable table(4);
  const Request request = Prepare(spec, table, pool, 0, 2);
  StepBuilder builder(1, 2, 8);
  EXPECT_DEATH(builder.Add(request, table, 1), "");
  EXPECT_DEATH(builder.Add(request, table, 3), "");
}

}  // namespace
}  // namespace quire
