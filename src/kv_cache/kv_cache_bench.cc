// How long the cache takes to find, start and publish histories.
#include "kv_cache/kv_cache.h"

#include <benchmark/benchmark.h>

#include <numeric>
#include <vector>

#include "base/check.h"

namespace quire {
namespace {

using Tokens = std::vector<int32_t>;

void Compute(KvCache& cache, const Tokens& tokens) {
  const KvCache::Started started = cache.StartSequence(tokens);
  QUIRE_CHECK(cache.Extend(started.id, static_cast<int32_t>(tokens.size()) - started.matched));
  cache.Publish(started.id, tokens);
  cache.Release(started.id);
}

constexpr int32_t kLongHistory = 100'000;

// A history of `tokens` cached tokens, and one page more, that goes through `path` nodes of a tree
// of about `nodes`.
struct Tree {
  KvCache cache;
  Tokens history;

  Tree(int32_t tokens, int32_t page_size, int32_t nodes, int32_t path)
      : cache({.page_size = page_size, .num_pages = tokens / page_size + 2 * (nodes + path) + 64}),
        history(static_cast<size_t>(tokens + page_size)) {
    std::iota(history.begin(), history.end(), 0);
    Compute(cache, history);
    // Branches off the history cut it into nodes.
    const int32_t pages = tokens / page_size;
    for (int32_t i = 1; i < path; ++i) {
      const auto cut = static_cast<ptrdiff_t>(int64_t{pages} * i / path * page_size);
      Branch(Tokens(history.begin(), history.begin() + cut), -i);
    }
    // Others have nothing to do with it.
    for (int32_t i = path; i < nodes; ++i) {
      Branch({}, -i);
    }
  }

  void Branch(Tokens tokens, int32_t token) {
    tokens.resize(tokens.size() + cache.page_size() + 1, token);
    Compute(cache, tokens);
  }
};

void BM_Match(benchmark::State& state) {
  const auto tokens = static_cast<int32_t>(state.range(0));
  Tree tree(tokens, static_cast<int32_t>(state.range(1)), static_cast<int32_t>(state.range(2)),
            static_cast<int32_t>(state.range(3)));
  for (auto _ : state) {
    const KvCache::Prefix prefix = tree.cache.Lookup(tree.history);
    QUIRE_CHECK_GE(prefix.tokens, tokens);
    benchmark::DoNotOptimize(prefix);
  }
}
BENCHMARK(BM_Match)
    ->ArgNames({"tokens", "page", "nodes", "path"})
    ->ArgsProduct({{kLongHistory}, {1, 16, 64}, {1, 1000, 100'000}, {1, 1000}})
    ->ArgsProduct({{1000, 3000, 10'000, 30'000, 300'000}, {64}, {1000}, {1}})
    ->ArgsProduct({{kLongHistory}, {64}, {10, 100, 10'000}, {1}})
    ->ArgsProduct({{kLongHistory}, {4, 256}, {1000}, {1}})
    ->Unit(benchmark::kMicrosecond);
// The longest ways take many times as long to lay as to match: once is enough.
BENCHMARK(BM_Match)
    ->ArgNames({"tokens", "page", "nodes", "path"})
    ->ArgsProduct({{kLongHistory}, {1}, {10'000}, {1, 10, 100, 1000, 10'000}})
    ->Iterations(50)
    ->Unit(benchmark::kMicrosecond);

// The same as a sequence that begins and ends: owners of all pages are counted.
void BM_StartAndRelease(benchmark::State& state) {
  Tree tree(kLongHistory, static_cast<int32_t>(state.range(0)), 1000, 1000);
  for (auto _ : state) {
    tree.cache.Release(tree.cache.StartSequence(tree.history).id);
  }
}
BENCHMARK(BM_StartAndRelease)
    ->ArgName("page")
    ->Arg(1)
    ->Arg(16)
    ->Arg(64)
    ->Unit(benchmark::kMicrosecond);

// A token of decode: room for it and, when its page is full, its publication.
void BM_DecodeToken(benchmark::State& state) {
  const auto page_size = static_cast<int32_t>(state.range(0));
  constexpr int32_t kLength = 4096;
  KvCache cache({.page_size = page_size, .num_pages = 2 * kLength / page_size + 2});
  Tokens tokens;
  KvSequenceId id = cache.StartSequence({}).id;
  for (auto _ : state) {
    if (tokens.size() == kLength) {
      cache.Release(id);
      tokens.clear();
      id = cache.StartSequence({}).id;
    }
    QUIRE_CHECK(cache.Extend(id, 1));
    tokens.push_back(static_cast<int32_t>(tokens.size() * 7));
    cache.Publish(id, tokens);
  }
}
BENCHMARK(BM_DecodeToken)->ArgName("page")->Arg(1)->Arg(16)->Arg(64);

}  // namespace
}  // namespace quire
