#include "tokenizer/token_table.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <unordered_map>

#include "base/strcat.h"
#include "base/test_seed.h"

namespace quire {
namespace {

TEST(TokenTableTest, FindsOnlyWhatIsIndexed) {
  TokenTable table(4, 16);
  for (const std::string_view token : {"a", "ab", "", "hidden"}) {
    table.Add(token);
  }
  EXPECT_EQ(table.Index(std::vector<int32_t>{0, 1, 2}), -1);
  EXPECT_EQ(table.size(), 4);
  EXPECT_EQ(table.bytes(3), "hidden");
  EXPECT_EQ(table.Find("a"), 0);
  EXPECT_EQ(table.Find("ab"), 1);
  EXPECT_EQ(table.Find(""), -1);
  EXPECT_EQ(table.Find("hidden"), -1);
  EXPECT_EQ(table.Find("b"), -1);
  EXPECT_EQ(table.longest_indexed(), 2u);
}

TEST(TokenTableTest, NamesTheFirstRepeatedToken) {
  TokenTable table(40, 400);
  std::vector<int32_t> ids;
  for (int i = 0; i < 40; ++i) {
    table.Add(StrCat("token ", i % 33));
    ids.push_back(i);
  }
  EXPECT_EQ(table.Index(ids), 33);
  EXPECT_EQ(table.Find("token 0"), 0);
}

TEST(TokenTableTest, AgreesWithAMapOnRandomBytes) {
  std::mt19937_64 random(TestSeed());
  std::unordered_map<std::string, int32_t> map;
  TokenTable table(5000, 100);
  std::vector<int32_t> ids;
  while (table.size() < 5000) {
    std::string bytes(1 + random() % 12, '\0');
    for (char& c : bytes) {
      c = static_cast<char>(random() % 5);  // zero bytes too
    }
    if (map.emplace(bytes, table.size()).second) {
      ids.push_back(table.size());
      table.Add(bytes);
    }
  }
  ASSERT_EQ(table.Index(ids), -1);
  for (const auto& [bytes, id] : map) {
    ASSERT_EQ(table.Find(bytes), id);
    ASSERT_EQ(table.bytes(id), bytes);
    const auto longer = map.find(bytes + '\7');
    ASSERT_EQ(table.Find(bytes + '\7'), longer == map.end() ? -1 : longer->second);
  }
}

}  // namespace
}  // namespace quire
