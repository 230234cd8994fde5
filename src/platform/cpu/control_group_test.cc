#include "platform/cpu/control_group.h"

#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <string>

namespace quire {
namespace {

constexpr size_t kNoLimit = std::numeric_limits<size_t>::max();

class ControlGroupTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(root_);
    std::filesystem::create_directories(root_ / "outer" / "inner");
    Write(root_ / "membership", "1:cpu:/elsewhere\n0::/outer/inner\n");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  static void Write(const std::filesystem::path& file, const std::string& text) {
    std::ofstream(file) << text;
  }
  void Limit(const std::filesystem::path& group, const std::string& limit,
             const std::string& used) {
    Write(root_ / group / "memory.max", limit + "\n");
    Write(root_ / group / "memory.current", used + "\n");
  }
  size_t Room(FilePages files = FilePages::kCountAsTaken) const {
    return ControlGroupRoom(files, root_, root_ / "membership");
  }

  std::filesystem::path root_ = std::filesystem::path(testing::TempDir()) / "quire_groups";
};

TEST_F(ControlGroupTest, WithoutALimitThereIsNone) {
  EXPECT_EQ(Room(), kNoLimit);
  Limit("outer/inner", "max", "1000");
  EXPECT_EQ(Room(), kNoLimit);
  EXPECT_EQ(ControlGroupRoom(FilePages::kCountAsFree, root_ / "none", root_ / "none"), kNoLimit);
}

TEST_F(ControlGroupTest, TheTightestGroupDecides) {
  Limit("outer/inner", "9000", "1000");
  EXPECT_EQ(Room(), 8000u);
  Limit("outer", "5000", "4000");
  EXPECT_EQ(Room(), 1000u);
  Limit("", "4500", "4400");
  EXPECT_EQ(Room(), 100u);
  Limit("outer", "5000", "6000");
  EXPECT_EQ(Room(), 0u);
}

TEST_F(ControlGroupTest, MemoryThatHoldsFilesCanBeTakenBack) {
  Limit("outer/inner", "9000", "8000");
  EXPECT_EQ(Room(FilePages::kCountAsFree), 1000u);
  Write(root_ / "outer" / "inner" / "memory.stat",
        "anon 3000\nfile 5000\nshmem 500\ninactive_file 1500\nactive_file 3000\n");
  EXPECT_EQ(Room(FilePages::kCountAsTaken), 1000u);
  EXPECT_EQ(Room(FilePages::kCountAsFree), 5500u);
  Write(root_ / "outer" / "inner" / "memory.stat", "inactive_file 99999\n");
  EXPECT_EQ(Room(FilePages::kCountAsFree), 9000u);
}

}  // namespace
}  // namespace quire
