#include "ops/flash_attention/flash_attention.h"

#include "ops/attention/attention_arguments.h"
#include "ops/flash_attention/flash_attention_problem.h"

namespace quire::ops::flash_attention {

namespace {

using attention::Caller;

Status CheckContiguousKeys(const Caller& caller, const Args& args) {
  if (args.page_table.defined() || args.kv_length.defined() || args.cache.k != nullptr) {
    return InvalidArgument(caller.op, ": both key and pages of a cache are given; use one");
  }
  QUIRE_RETURN_IF_ERROR(CheckHeads(caller, "key", args.key));
  QUIRE_RETURN_IF_ERROR(CheckHeads(caller, "value", args.value));
  const Shape shape = {args.key.dim(0), args.key.dim(1), args.value.dim(2)};
  if (args.value.dtype() != args.key.dtype() || args.value.shape() != shape) {
    return InvalidArgument(caller.op, ": value is ", Describe(args.value), ", key ",
                           Describe(args.key),
                           "; they must have one type, as many tokens and "
                           "as many heads");
  }
  return CheckIndices(caller, "key_start", args.key_start, args.query_start.shape());
}

Status CheckPagedKeys(const Caller& caller, const Args& args) {
  if (args.value.defined() || args.key_start.defined()) {
    return InvalidArgument(caller.op,
                           ": value and key_start are for keys one after another; "
                           "with pages of a cache leave them undefined");
  }
  QUIRE_RETURN_IF_ERROR(CheckCache(caller, args.cache));
  QUIRE_RETURN_IF_ERROR(CheckPages(caller, args.page_table, args.kv_length));
  return CheckQueryStart(caller, args.query_start, args.page_table.dim(0));
}

Status CheckSlidingWindow(const Caller& caller, const Args& args) {
  if (!args.sliding_window.has_value()) {
    return OkStatus();
  }
  const int32_t window = *args.sliding_window;
  if (window < 1) {
    return InvalidArgument(caller.op, ": sliding_window ", window,
                           " is not positive; leave it out for no window");
  }
  const bool given = args.window_left != -1 || args.window_right != -1;
  const bool right = args.window_right == 0 || (args.causal && args.window_right == -1);
  if (given && (args.window_left != window - 1 || !right)) {
    return InvalidArgument(caller.op, ": sliding_window ", window, " means the window (",
                           window - 1, ", 0), but the window given is (", args.window_left, ", ",
                           args.window_right, "); give one of them");
  }
  return OkStatus();
}

Status Validate(const Caller& caller, const Args& args) {
  QUIRE_RETURN_IF_ERROR(CheckHeads(caller, "query", args.query));
  if (args.query_start.rank() != 1 || args.query_start.dim(0) < 1) {
    return InvalidArgument(caller.op, ": query_start is ", Describe(args.query_start),
                           "; it must be i32 [sequences + 1]");
  }
  QUIRE_RETURN_IF_ERROR(CheckQueryStart(caller, args.query_start, args.query_start.dim(0) - 1));
  const bool paged = args.key.rank() == 0;
  QUIRE_RETURN_IF_ERROR(paged ? CheckPagedKeys(caller, args) : CheckContiguousKeys(caller, args));
  const int64_t key_dim = paged ? args.cache.head_dim : args.key.dim(2);
  if (args.query.dim(2) != key_dim) {
    return InvalidArgument(caller.op, ": query has head dim ", args.query.dim(2), ", the keys ",
                           key_dim);
  }
  QUIRE_RETURN_IF_ERROR(CheckOutputs(caller, args.query, args.out, args.lse, args.sinks,
                                     paged ? args.cache.value_dim() : args.value.dim(2)));
  QUIRE_RETURN_IF_ERROR(CheckSlidingWindow(caller, args));
  return CheckProblem(caller, ProblemOf(args));
}

}  // namespace

attention::Problem ProblemOf(const Args& args) {
  attention::Problem problem;
  SetRows(args.query, args.out, args.lse, args.sinks, problem);
  problem.query_start = args.query_start.as<const int32_t>();
  if (args.key.rank() == 0) {
    SetCache(args.cache, problem);
    SetPages(args.page_table, args.kv_length, problem);
  } else {
    problem.num_sequences = static_cast<int32_t>(args.key_start.dim(0) - 1);
    problem.num_keys = args.key.dim(0);
    problem.key_start = args.key_start.as<const int32_t>();
    problem.kv_heads = static_cast<int>(args.key.dim(1));
    problem.key_dim = static_cast<int>(args.key.dim(2));
    problem.value_dim = static_cast<int>(args.value.dim(2));
    problem.kv_dtype = args.key.dtype();
    problem.key = {args.key.data(), {0, args.key.stride(1), args.key.stride(0)}, nullptr};
    problem.value = {args.value.data(), {0, args.value.stride(1), args.value.stride(0)}, nullptr};
  }
  problem.scale = args.scale;
  problem.logit_soft_cap = args.logit_soft_cap;
  problem.window_left = args.window_left;
  problem.window_right = args.causal && args.window_right >= -1 ? 0 : args.window_right;
  if (args.sliding_window.has_value()) {
    problem.window_left = *args.sliding_window - 1;
    problem.window_right = 0;
  }
  return problem;
}

Status Run(const OpContext& context, const Args& args) {
  const Place place = context.stream.device().place();
  QUIRE_RETURN_IF_ERROR(Validate({"flash_attention", place}, args));
  return RunBest("flash_attention", ImplementationsOf(place.platform), context, args);
}

}  // namespace quire::ops::flash_attention
