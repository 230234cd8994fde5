#include "kv_cache/sequence_slots.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace quire {
namespace {

TEST(SequenceSlots, AnIdIsNeverUsedTwice) {
  SequenceSlots<std::string> slots;
  std::set<KvSequenceId> ids;
  for (int i = 0; i < 100; ++i) {
    const KvSequenceId id = slots.Add(std::to_string(i));
    EXPECT_TRUE(ids.insert(id).second);
    EXPECT_NE(id, 0);
    if (i % 3 == 0) {
      slots.Remove(id);
      EXPECT_EQ(slots.Find(id), nullptr);
    }
    if (i == 50) {
      slots.Clear();
    }
  }
  EXPECT_EQ(slots.size(), 32);
}

TEST(SequenceSlots, FindsTheValueOfAnIdAndNoOther) {
  SequenceSlots<std::string> slots;
  const KvSequenceId first = slots.Add("first");
  const KvSequenceId second = slots.Add("second");
  const std::string* found = slots.Find(second);
  slots.Remove(first);
  const KvSequenceId third = slots.Add("third");
  EXPECT_EQ(slots.Find(first), nullptr) << "its slot has another value now";
  EXPECT_EQ(*slots.Find(third), "third");
  EXPECT_EQ(slots.Find(second), found);
  EXPECT_EQ(*found, "second");
  EXPECT_EQ(slots.Find(0), nullptr);
  EXPECT_EQ(slots.Find(-1), nullptr);
  EXPECT_EQ(slots.Find(INT64_MAX), nullptr);
  std::string all;
  slots.ForEach([&](KvSequenceId, const std::string& value) { all += value + " "; });
  EXPECT_EQ(all, "third second ");
}

}  // namespace
}  // namespace quire
