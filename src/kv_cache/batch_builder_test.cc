#include "kv_cache/batch_builder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "kv_cache/page_pool.h"

namespace quire {
namespace {

using ::testing::ElementsAre;

TEST(BatchBuilder, LaysSequencesOneBehindTheOther) {
  PagePool pool(8);
  PageTable longer(2);
  PageTable shorter(2);
  ASSERT_TRUE(longer.Extend(5, pool));
  ASSERT_TRUE(shorter.Extend(2, pool));

  BatchBuilder builder(2, 5);
  builder.Add(std::vector<int32_t>{11, 12, 13}, longer, 2);
  builder.Add(std::vector<int32_t>{20, 21}, shorter, 0);
  EXPECT_EQ(builder.num_rows(), 5);
  const Batch batch = std::move(builder).Finish();
  EXPECT_THAT(batch.tokens, ElementsAre(11, 12, 13, 20, 21));
  EXPECT_THAT(batch.positions, ElementsAre(2, 3, 4, 0, 1));
  EXPECT_THAT(batch.query_start, ElementsAre(0, 3, 5));
  EXPECT_THAT(batch.kv_length, ElementsAre(5, 2));
  EXPECT_THAT(batch.logit_rows, ElementsAre(1, 2));
  EXPECT_EQ(batch.max_pages, 3);
  const auto& a = longer.pages();
  const auto& b = shorter.pages();
  EXPECT_THAT(batch.page_table, ElementsAre(a[0], a[1], a[2], b[0], -1, -1));
  EXPECT_THAT(batch.slot_mapping,
              ElementsAre(a[1] * 2, a[1] * 2 + 1, a[2] * 2, b[0] * 2, b[0] * 2 + 1));
}

}  // namespace
}  // namespace quire
