#include "platform/device.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

int freed = 0;  // calls of the deleter of the test's buffers

Buffer CountedBuffer(void* data) {
  return {data, 8, Place::Host(), [](void*, size_t) { ++freed; }};
}

TEST(PlaceTest, Names) {
  EXPECT_EQ(PlaceName(Place::Host()), "cpu:0");
  EXPECT_TRUE(Place::Host().IsHost());
  const Place other = {PlatformKind::kCuda, 3};
  EXPECT_FALSE(other.IsHost());
  EXPECT_NE(other, Place::Host());
  EXPECT_EQ(PlaceName(other), "cuda:3");
}

TEST(BufferTest, FreesOnce) {
  int storage[3] = {};
  freed = 0;
  {
    Buffer a = CountedBuffer(&storage[0]);
    Buffer b = std::move(a);
    EXPECT_EQ(a.data(), nullptr);
    EXPECT_EQ(b.data(), &storage[0]);
    EXPECT_EQ(b.bytes(), 8U);
    Buffer c = CountedBuffer(&storage[1]);
    c = std::move(b);
    EXPECT_EQ(c.data(), &storage[0]);
    EXPECT_EQ(freed, 0);
  }
  EXPECT_EQ(freed, 2);
}

TEST(BufferTest, EmptyFreesNothing) {
  freed = 0;
  {
    const Buffer empty;
  }
  EXPECT_EQ(freed, 0);
}

}  // namespace
}  // namespace quire
