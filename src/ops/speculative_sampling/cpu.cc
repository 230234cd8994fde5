#include <algorithm>

#include "ops/cpu_rows.h"
#include "ops/speculative_sampling/rejection.h"
#include "ops/speculative_sampling/speculative_sampling.h"
#include "ops/topk_topp_sampling/cpu_row_sampler.h"

namespace quire::ops::speculative_sampling {

namespace {

using topk_topp_sampling::Gathered;
using topk_topp_sampling::RowFault;
using topk_topp_sampling::RowSampler;
using topk_topp_sampling::SamplerScratch;
using topk_topp_sampling::Uniform;

uint64_t WeightIn(const Gathered& target, int32_t token) {
  const std::span<const int32_t> tokens(target.tokens, static_cast<size_t>(target.count));
  const auto found = std::lower_bound(tokens.begin(), tokens.end(), token);
  return found != tokens.end() && *found == token ? target.weights[found - tokens.begin()] : 0;
}

// The first token of `target` at which the sum of `weights` reaches the draw.
int32_t DrawFrom(const Gathered& target, const uint64_t* weights, uint64_t total, float uniform) {
  const uint64_t wanted = topk_topp_sampling::DrawWeight(uniform, total);
  uint64_t sum = 0;
  int64_t i = 0;
  while ((sum += weights[i]) < wanted) {
    ++i;
  }
  return target.tokens[i];
}

// The draft if it stands, else its replacement. Returns false if a probability is impossible.
bool AcceptOrReplace(const Gathered& target, uint64_t total, std::span<const float> draft_probs,
                     const SamplingParams& params, int64_t position, uint64_t* residual,
                     int32_t draft, int32_t& token) {
  const float q = draft_probs[draft];
  if (!IsProbability(q) || q == 0.0f) {
    return false;
  }
  if (Accepts(Probability(WeightIn(target, draft), total), q,
              Uniform(params.seed, position, kAcceptStream))) {
    token = draft;
    return true;
  }
  uint64_t rest = 0;
  bool possible = true;
  for (int64_t i = 0; i < target.count; ++i) {
    const float other = draft_probs[target.tokens[i]];
    possible &= IsProbability(other) || target.weights[i] == 0;
    residual[i] = ResidualWeight(Probability(target.weights[i], total), other);
    rest += residual[i];
  }
  if (!possible) {
    return false;
  }
  const float uniform = Uniform(params.seed, position, kReplaceStream);
  token = rest > 0 ? DrawFrom(target, residual, rest, uniform)
                   : DrawFrom(target, target.weights, total, uniform);
  return true;
}

SequenceFault RunSequence(const Args& args, const Sequence& sequence, RowSampler& sampler,
                          uint64_t* residual, int32_t& accepted) {
  accepted = 0;
  const auto drafts = static_cast<int64_t>(sequence.drafts.size());
  for (int64_t i = 0; i <= drafts; ++i) {
    const int64_t row = sequence.first_row + i;
    const int64_t position = sequence.position + i;
    SampledToken& out = args.out[row];
    const RowFault fault =
        sampler.Load(RowOf(args.logits, row), sequence.params, sequence.HistoryAt(i));
    if (fault != RowFault::kNone) {
      return {.logits = fault, .row = row};
    }
    if (i < drafts && sequence.has_probs) {
      uint64_t total = 0;
      const Gathered& target = sampler.Keep(total);
      if (!AcceptOrReplace(target, total, RowOf(args.draft_probs, sequence.first_draft + i),
                           sequence.params, position, residual, sequence.drafts[i], out.token)) {
        return {.draft_prob = true, .row = row};
      }
    } else {
      out.token = sampler.Draw(Uniform(sequence.params.seed, position));
    }
    sampler.FillLogprobs(out);
    if (i == drafts || out.token != sequence.drafts[i]) {
      break;
    }
    ++accepted;
  }
  return {};
}

template <CpuIsa kIsa>
Status RunSequences(const OpContext& context, const Args& args) {
  const auto sequences = static_cast<int64_t>(args.params.size());
  const int64_t vocabulary = args.logits.dim(1);
  ThreadPool& threads = AsCpuStream(context.stream).threads();
  const Workspace::Scope scope(context.workspace);
  Workspace& workspace = context.workspace;
  auto* faults = workspace.Allocate<SequenceFault>(static_cast<size_t>(sequences));
  const bool adjusts = std::any_of(args.params.begin(), args.params.end(),
                                   [](const SamplingParams& p) { return p.AdjustsLogits(); });
  const SamplerScratch* scratch =
      SamplerScratch::Allocate(workspace, threads.size(), vocabulary, adjusts);
  const auto workers = static_cast<size_t>(threads.size());
  auto* residuals = args.draft_probs.defined()
                        ? workspace.Allocate<uint64_t>(workers * static_cast<size_t>(vocabulary))
                        : nullptr;
  const auto run = [&](int64_t index, int worker) {
    RowSampler sampler(topk_topp_sampling::RowScanOf(kIsa), scratch[worker]);
    uint64_t* residual = residuals == nullptr ? nullptr : residuals + worker * vocabulary;
    faults[index] =
        RunSequence(args, Sequence(args, index), sampler, residual, args.accepted[index]);
  };
  if (args.logits.dim(0) * vocabulary <= kInlineElements) {
    for (int64_t index = 0; index < sequences; ++index) {
      run(index, 0);
    }
  } else {
    threads.ParallelFor(sequences, run);
  }
  return FirstFault({faults, static_cast<size_t>(sequences)});
}

}  // namespace

Implementations CpuImplementations() {
  return {
#if defined(__x86_64__)
      {"avx512", DeviceHas<CpuIsa::kAvx512, Args>, RunSequences<CpuIsa::kAvx512>, "f32"},
      {"avx2", DeviceHas<CpuIsa::kAvx2, Args>, RunSequences<CpuIsa::kAvx2>, "f32"},
#endif
      {"vectorized", DeviceHas<CpuIsa::kBaseline, Args>, RunSequences<CpuIsa::kBaseline>, "f32"},
  };
}

}  // namespace quire::ops::speculative_sampling
