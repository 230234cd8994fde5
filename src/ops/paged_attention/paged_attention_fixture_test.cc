#include <gtest/gtest.h>

#include "ops/fixture_file.h"
#include "ops/paged_attention/paged_attention.h"

namespace quire::ops::paged_attention {

namespace {

// The view of a case's cache: [pages, Hkv, P, D], or [pages, P, Hkv, D] where nhd.
PagedKvView CacheOf(const FixtureCase& c, TypedArray& k, TypedArray& v, std::vector<float>& k_scale,
                    std::vector<float>& v_scale) {
  const bool nhd = c.integer("nhd") != 0;
  PagedKvView cache;
  cache.k = k.View().data();
  cache.v = v.View().data();
  cache.dtype = k.dtype();
  cache.num_pages = k.shape()[0];
  cache.num_kv_heads = static_cast<int32_t>(k.shape()[nhd ? 2 : 1]);
  cache.page_size = static_cast<int32_t>(k.shape()[nhd ? 1 : 2]);
  cache.head_dim = static_cast<int32_t>(k.shape()[3]);
  cache.order = nhd ? PageOrder::kNhd : PageOrder::kHnd;
  if (c.has("k_scale")) {
    k_scale = c.array("k_scale").floats();
    v_scale = c.array("v_scale").floats();
    cache.scaling = k_scale.size() == 1 ? KvScaling::kPerTensor : KvScaling::kPerTokenHead;
    cache.k_scale = k_scale.data();
    cache.v_scale = v_scale.data();
  }
  return cache;
}

TEST(PagedAttentionFixture, ReferenceAgreesWithPyTorch) {
  CpuFixture cpu(1);
  for (const FixtureCase& c : LoadFixture("paged_attention")) {
    SCOPED_TRACE(c.name());
    TypedArray query = c.array("query").array();
    TypedArray k = c.array("k").array();
    TypedArray v = c.array("v").array();
    TypedArray out(query.dtype(), c.array("out").shape());
    TypedArray lse(DType::kF32, c.array("lse").shape());
    std::vector<int32_t> query_start = c.array("query_start").integers<int32_t>();
    std::vector<int32_t> page_table = c.array("page_table").integers<int32_t>();
    std::vector<int32_t> kv_length = c.array("kv_length").integers<int32_t>();
    std::vector<float> sinks = c.has("sinks") ? c.array("sinks").floats() : std::vector<float>();
    std::vector<float> k_scale;
    std::vector<float> v_scale;
    const auto sequences = static_cast<int64_t>(kv_length.size());
    Args args;
    args.query = query.View();
    args.query_start = {query_start.data(), DType::kI32, {sequences + 1}};
    args.cache = CacheOf(c, k, v, k_scale, v_scale);
    args.page_table = {page_table.data(), DType::kI32, c.array("page_table").shape()};
    args.kv_length = {kv_length.data(), DType::kI32, {sequences}};
    args.out = out.View();
    args.lse = lse.View();
    args.scale = static_cast<float>(c.number("scale"));
    args.window_left = c.integer("window_left");
    args.logit_soft_cap = static_cast<float>(c.number("logit_soft_cap"));
    if (c.has("sinks")) {
      args.sinks = {sinks.data(), DType::kF32, {static_cast<int64_t>(sinks.size())}};
    }
    const Status status = paged_attention::Run(cpu.Context("reference"), args);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(Mismatch(out.Values(), c.array("out").floats(), ToleranceOf(query.dtype())), "");
    EXPECT_EQ(Mismatch(lse.Values(), c.array("lse").floats(), {1e-6, 1e-6}), "");
  }
}

}  // namespace

}  // namespace quire::ops::paged_attention
