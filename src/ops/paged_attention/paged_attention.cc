#include "ops/paged_attention/paged_attention.h"

#include "ops/attention/attention_arguments.h"
#include "ops/paged_attention/paged_attention_problem.h"

namespace quire::ops::paged_attention {

namespace {

using attention::Caller;

Status CheckMirror(const Caller& caller, std::string_view name, const TensorView& mirror,
                   const TensorView& original) {
  if (mirror.defined() && (mirror.dtype() != DType::kI32 || mirror.shape() != original.shape() ||
                           !mirror.IsContiguous() || !mirror.place().IsHost())) {
    return InvalidArgument(caller.op, ": ", name, " is ", Describe(mirror),
                           "; it must be contiguous i32 ", ShapeName(original.shape()),
                           " on the host");
  }
  return OkStatus();
}

Status CheckQueryStart(const Caller& caller, const Args& args) {
  const int64_t sequences = args.page_table.dim(0);
  if (args.query_start.defined()) {
    return attention::CheckQueryStart(caller, args.query_start, sequences);
  }
  if (args.query.dim(0) != sequences) {
    return InvalidArgument(caller.op, ": ", args.query.dim(0), " query rows for ", sequences,
                           " sequences; without query_start each has one");
  }
  return OkStatus();
}

Status CheckRows(const Caller& caller, const attention::Problem& problem) {
  for (int32_t b = 0; caller.place.IsHost() && b < problem.num_sequences; ++b) {
    if (problem.Rows(b) > kMaxRows) {
      return InvalidArgument(caller.op, ": sequence ", b, " has ", problem.Rows(b),
                             " query rows, more than ", kMaxRows, "; use flash_attention");
    }
  }
  return OkStatus();
}

Status Validate(const Caller& caller, const Args& args) {
  QUIRE_RETURN_IF_ERROR(CheckHeads(caller, "query", args.query));
  QUIRE_RETURN_IF_ERROR(CheckCache(caller, args.cache));
  QUIRE_RETURN_IF_ERROR(CheckPages(caller, args.page_table, args.kv_length));
  QUIRE_RETURN_IF_ERROR(
      CheckMirror(caller, "page_table_host", args.page_table_host, args.page_table));
  QUIRE_RETURN_IF_ERROR(CheckMirror(caller, "kv_length_host", args.kv_length_host, args.kv_length));
  QUIRE_RETURN_IF_ERROR(CheckQueryStart(caller, args));
  if (args.query.dim(2) != args.cache.head_dim) {
    return InvalidArgument(caller.op, ": query has head dim ", args.query.dim(2), ", the keys ",
                           args.cache.head_dim);
  }
  QUIRE_RETURN_IF_ERROR(
      CheckOutputs(caller, args.query, args.out, args.lse, args.sinks, args.cache.value_dim()));
  const attention::Problem problem = ProblemOf(args);
  QUIRE_RETURN_IF_ERROR(CheckProblem(caller, problem));
  return CheckRows(caller, problem);
}

}  // namespace

attention::Problem ProblemOf(const Args& args) {
  attention::Problem problem;
  SetRows(args.query, args.out, args.lse, args.sinks, problem);
  SetCache(args.cache, problem);
  SetPages(args.page_table, args.kv_length, problem);
  if (args.query_start.defined()) {
    problem.query_start = args.query_start.as<const int32_t>();
  }
  problem.scale = args.scale;
  problem.logit_soft_cap = args.logit_soft_cap;
  problem.window_left = args.window_left;
  problem.window_right = 0;
  return problem;
}

Status Run(const OpContext& context, const Args& args) {
  const Place place = context.stream.device().place();
  QUIRE_RETURN_IF_ERROR(Validate({"paged_attention", place}, args));
  return RunBest("paged_attention", ImplementationsOf(place.platform), context, args);
}

}  // namespace quire::ops::paged_attention
