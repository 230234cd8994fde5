// Selection among gathered tokens without sorting them all.
#pragma once

#include <cstdint>

#include "ops/topk_topp_sampling/cpu_scan.h"

namespace quire::ops::topk_topp_sampling {

// A token that is still in question.
struct Entry {
  uint64_t key;  // of KeyOf()
  uint64_t weight;
};

// A place in the token order.
struct Border {
  uint64_t key;     // KeyOf() of the token there
  uint64_t weight;  // of all gathered tokens up to and including it
};

// The first token of the order at which the weights of the gathered tokens sum to `wanted`. Linear
// in their number: histograms over ever narrower ranges of logits, then a sort of a few. `scratch`
// has room for gathered.count. REQUIRES: weights are set, 1 <= wanted <= their sum.
Border SelectByWeight(const Gathered& gathered, uint64_t wanted, Entry* scratch);

// The same with 1 for every weight: the wanted-th of the order. REQUIRES: 1 <= wanted <= count.
Border SelectByCount(const Gathered& gathered, int64_t wanted, Entry* scratch);

// Keeps what comes at or before `key` in the order.
void KeepUpTo(uint64_t key, Gathered& gathered);

}  // namespace quire::ops::topk_topp_sampling
