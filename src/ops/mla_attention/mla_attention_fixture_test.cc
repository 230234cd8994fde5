#include <gtest/gtest.h>

#include "ops/fixture_file.h"
#include "ops/mla_attention/mla_attention.h"

namespace quire::ops::mla_attention {

namespace {

TEST(MlaAttentionFixture, ReferenceAgreesWithPyTorch) {
  CpuFixture cpu(1);
  for (const FixtureCase& c : LoadFixture("mla_attention")) {
    SCOPED_TRACE(c.name());
    TypedArray query = c.array("query").array();
    TypedArray rows = c.array("cache").array();
    TypedArray out(query.dtype(), c.array("out").shape());
    TypedArray lse(DType::kF32, c.array("lse").shape());
    std::vector<int32_t> query_start = c.array("query_start").integers<int32_t>();
    std::vector<int32_t> page_table = c.array("page_table").integers<int32_t>();
    std::vector<int32_t> kv_length = c.array("kv_length").integers<int32_t>();
    float cache_scale = c.has("cache_scale") ? c.array("cache_scale").floats()[0] : 0.0f;
    const auto sequences = static_cast<int64_t>(kv_length.size());
    Args args;
    args.query = query.View();
    args.query_start = {query_start.data(), DType::kI32, {sequences + 1}};
    args.cache = {.data = rows.View().data(),
                  .dtype = rows.dtype(),
                  .num_pages = rows.shape()[0],
                  .page_size = static_cast<int32_t>(rows.shape()[1]),
                  .latent_dim = c.integer("latent_dim"),
                  .rope_dim = c.integer("rope_dim"),
                  .place = Place::Host(),
                  .scale = c.has("cache_scale") ? &cache_scale : nullptr};
    args.page_table = {page_table.data(), DType::kI32, c.array("page_table").shape()};
    args.kv_length = {kv_length.data(), DType::kI32, {sequences}};
    args.out = out.View();
    args.lse = lse.View();
    args.scale = static_cast<float>(c.number("scale"));
    const Status status = mla_attention::Run(cpu.Context("reference"), args);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(Mismatch(out.Values(), c.array("out").floats(), ToleranceOf(query.dtype())), "");
    EXPECT_EQ(Mismatch(lse.Values(), c.array("lse").floats(), {1e-6, 1e-6}), "");
  }
}

}  // namespace

}  // namespace quire::ops::mla_attention
