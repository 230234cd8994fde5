#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include "bindings/python/src/context.h"
#include "bindings/python/src/operators.h"
#include "ops/speculative_sampling/speculative_sampling.h"
#include "ops/topk_topp_sampling/topk_topp_sampling.h"

namespace quire::python {

namespace {

using Tokens = std::vector<std::vector<int32_t>>;

constexpr const char* kSamplingParamsDoc =
    R"(How one request wants its tokens drawn; every field is an attribute.

temperature (0 = greedy), top_k (<= 0 = off), top_p, min_p, seed, top_logprobs (-1 = none),
repetition_penalty, presence_penalty, frequency_penalty, logit_bias as (token, bias) pairs, and
joint: top-p of the softmax over all tokens rather than over what top_k left.)";

constexpr const char* kTopkToppSamplingDoc =
    R"(One token per row of logits, by the row's seed, position, history and logits alone.

Args:
    logits: float32 [R, V].
    params: one SamplingParams for each row.
    positions: the counter of each row's draw; all 0 if empty.
    prompts, outputs: token ids before the one to draw, for penalties; empty without.

Returns:
    a SampledToken for each row.

Raises:
    ValueError: shapes, parameters, a row of logits that holds NaN.)";

constexpr const char* kSpeculativeSamplingDoc =
    R"(Which draft tokens stand, and the token after them, with the distribution of plain sampling.

Args:
    logits: float32 [N + B, V]: a sequence with n drafts has n + 1 rows.
    drafts: the draft tokens of each sequence.
    params: one SamplingParams for each sequence.
    draft_probs: float32 [N, V] that the drafts were drawn from; None for drafts that were not
        drawn.
    positions: the counter of each sequence's first row; all 0 if empty.
    prompts, outputs: as in topk_topp_sampling.

Returns:
    the emitted SampledTokens of each sequence: the drafts that stand and one more.)";

std::vector<TokenHistory> HistoryOf(const Tokens& prompts, const Tokens& outputs, size_t rows) {
  if (prompts.empty() && outputs.empty()) {
    return {};
  }
  if ((!prompts.empty() && prompts.size() != rows) ||
      (!outputs.empty() && outputs.size() != rows)) {
    ThrowIfError(InvalidArgument("prompts and outputs must have ", rows, " entries or none"));
  }
  std::vector<TokenHistory> history(rows);
  for (size_t row = 0; row < rows; ++row) {
    history[row].prompt = prompts.empty() ? std::span<const int32_t>() : prompts[row];
    history[row].output = outputs.empty() ? std::span<const int32_t>() : outputs[row];
  }
  return history;
}

std::vector<SampledToken> TopkToppSampling(nb::handle logits,
                                           const std::vector<SamplingParams>& params,
                                           std::vector<int64_t> positions, const Tokens& prompts,
                                           const Tokens& outputs, const std::string& implementation,
                                           Context& context) {
  Arrays arrays;
  if (positions.empty()) {
    positions.resize(params.size());
  }
  std::vector<SampledToken> tokens(params.size());
  const std::vector<TokenHistory> history = HistoryOf(prompts, outputs, params.size());
  ops::topk_topp_sampling::Args args;
  args.logits = arrays.View("logits", logits);
  args.params = params;
  args.positions = positions;
  args.history = history;
  args.out = tokens;
  ThrowIfError(ops::topk_topp_sampling::Run(context.For(implementation), args));
  return tokens;
}

std::vector<std::vector<SampledToken>> SpeculativeSampling(
    nb::handle logits, const Tokens& drafts, const std::vector<SamplingParams>& params,
    nb::handle draft_probs, std::vector<int64_t> positions, const Tokens& prompts,
    const Tokens& outputs, const std::string& implementation, Context& context) {
  Arrays arrays;
  std::vector<int32_t> start = {0};
  std::vector<int32_t> flat;
  for (const std::vector<int32_t>& draft : drafts) {
    flat.insert(flat.end(), draft.begin(), draft.end());
    start.push_back(static_cast<int32_t>(flat.size()));
  }
  if (positions.empty()) {
    positions.resize(drafts.size());
  }
  std::vector<int32_t> accepted(drafts.size());
  std::vector<SampledToken> out(flat.size() + drafts.size());
  const std::vector<TokenHistory> history = HistoryOf(prompts, outputs, drafts.size());
  ops::speculative_sampling::Args args;
  args.logits = arrays.View("logits", logits);
  args.draft_start = start;
  args.draft_tokens = flat;
  args.draft_probs = arrays.View("draft_probs", draft_probs);
  args.params = params;
  args.positions = positions;
  args.history = history;
  args.accepted = accepted;
  args.out = out;
  ThrowIfError(ops::speculative_sampling::Run(context.For(implementation), args));
  std::vector<std::vector<SampledToken>> emitted;
  for (size_t b = 0; b < drafts.size(); ++b) {
    const auto first = out.begin() + start[b] + static_cast<int64_t>(b);
    emitted.emplace_back(first, first + accepted[b] + 1);
  }
  return emitted;
}

std::vector<std::pair<int32_t, float>> BiasOf(const SamplingParams& params) {
  std::vector<std::pair<int32_t, float>> pairs;
  for (const TokenBias& bias : params.logit_bias) {
    pairs.emplace_back(bias.token, bias.bias);
  }
  return pairs;
}

void SetBias(SamplingParams& params, const std::vector<std::pair<int32_t, float>>& pairs) {
  params.logit_bias.clear();
  for (const auto& [token, bias] : pairs) {
    params.logit_bias.push_back({token, bias});
  }
}

void BindParameters(nb::module_& module) {
  nb::class_<SamplingParams>(module, "SamplingParams", kSamplingParamsDoc)
      .def(nb::init<>())
      .def_rw("temperature", &SamplingParams::temperature)
      .def_rw("top_k", &SamplingParams::top_k)
      .def_rw("top_p", &SamplingParams::top_p)
      .def_rw("min_p", &SamplingParams::min_p)
      .def_rw("seed", &SamplingParams::seed)
      .def_rw("top_logprobs", &SamplingParams::top_logprobs)
      .def_rw("repetition_penalty", &SamplingParams::repetition_penalty)
      .def_rw("presence_penalty", &SamplingParams::presence_penalty)
      .def_rw("frequency_penalty", &SamplingParams::frequency_penalty)
      .def_prop_rw("logit_bias", BiasOf, SetBias)
      .def_prop_rw(
          "joint", [](const SamplingParams& params) { return params.order == FilterOrder::kJoint; },
          [](SamplingParams& params, bool joint) {
            params.order = joint ? FilterOrder::kJoint : FilterOrder::kTopKFirst;
          });
  nb::class_<SampledToken>(module, "SampledToken", "A drawn token: token, logprob and top.")
      .def_ro("token", &SampledToken::token)
      .def_ro("logprob", &SampledToken::logprob)
      .def_prop_ro("top", [](const SampledToken& sampled) {
        std::vector<std::pair<int32_t, float>> top;
        for (const TokenLogprob& other : sampled.top) {
          top.emplace_back(other.token, other.logprob);
        }
        return top;
      });
}

}  // namespace

void BindSamplingOperators(nb::module_& module) {
  const nb::none none;
  BindParameters(module);
  module.def("topk_topp_sampling", TopkToppSampling, nb::arg("logits"), nb::arg("params"),
             nb::kw_only(), nb::arg("positions") = std::vector<int64_t>{},
             nb::arg("prompts") = Tokens{}, nb::arg("outputs") = Tokens{},
             nb::arg("implementation") = "", nb::arg("context"), kTopkToppSamplingDoc);
  module.def("speculative_sampling", SpeculativeSampling, nb::arg("logits"), nb::arg("drafts"),
             nb::arg("params"), nb::kw_only(), nb::arg("draft_probs") = none,
             nb::arg("positions") = std::vector<int64_t>{}, nb::arg("prompts") = Tokens{},
             nb::arg("outputs") = Tokens{}, nb::arg("implementation") = "", nb::arg("context"),
             kSpeculativeSamplingDoc);
}

}  // namespace quire::python
