#include <gtest/gtest.h>

#include "ops/fixture_file.h"
#include "ops/flash_attention/flash_attention.h"

namespace quire::ops::flash_attention {

namespace {

TEST(FlashAttentionFixture, ReferenceAgreesWithPyTorch) {
  CpuFixture cpu(1);
  for (const FixtureCase& c : LoadFixture("flash_attention")) {
    SCOPED_TRACE(c.name());
    TypedArray query = c.array("query").array();
    TypedArray key = c.array("key").array();
    TypedArray value = c.array("value").array();
    TypedArray out(query.dtype(), c.array("out").shape());
    TypedArray lse(DType::kF32, c.array("lse").shape());
    std::vector<int32_t> query_start = c.array("query_start").integers<int32_t>();
    std::vector<int32_t> key_start = c.array("key_start").integers<int32_t>();
    std::vector<float> sinks = c.has("sinks") ? c.array("sinks").floats() : std::vector<float>();
    const auto starts = static_cast<int64_t>(query_start.size());
    Args args;
    args.query = query.View();
    args.query_start = {query_start.data(), DType::kI32, {starts}};
    args.key = key.View();
    args.value = value.View();
    args.key_start = {key_start.data(), DType::kI32, {starts}};
    args.out = out.View();
    args.lse = lse.View();
    args.scale = static_cast<float>(c.number("scale"));
    args.causal = c.integer("causal") != 0;
    args.window_left = c.integer("window_left");
    args.window_right = c.integer("window_right");
    if (c.has("sliding_window")) {
      args.sliding_window = c.integer("sliding_window");
    }
    args.logit_soft_cap = static_cast<float>(c.number("logit_soft_cap"));
    if (c.has("sinks")) {
      args.sinks = {sinks.data(), DType::kF32, {static_cast<int64_t>(sinks.size())}};
    }
    const Status status = flash_attention::Run(cpu.Context("reference"), args);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(Mismatch(out.Values(), c.array("out").floats(), ToleranceOf(query.dtype())), "");
    EXPECT_EQ(Mismatch(lse.Values(), c.array("lse").floats(), {1e-6, 1e-6}), "");
  }
}

}  // namespace

}  // namespace quire::ops::flash_attention
