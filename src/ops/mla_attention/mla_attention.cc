#include "ops/mla_attention/mla_attention.h"

#include "ops/attention/attention_arguments.h"
#include "ops/mla_attention/mla_attention_problem.h"

namespace quire::ops::mla_attention {

namespace {

using attention::Caller;

Status CheckQueries(const Caller& caller, const Args& args) {
  QUIRE_RETURN_IF_ERROR(CheckHeads(caller, "query", args.query));
  const int64_t sequences = args.page_table.dim(0);
  if (args.query_start.defined()) {
    QUIRE_RETURN_IF_ERROR(CheckQueryStart(caller, args.query_start, sequences));
  } else if (args.query.dim(0) != sequences) {
    return InvalidArgument(caller.op, ": ", args.query.dim(0), " query rows for ", sequences,
                           " sequences; without query_start each has one");
  }
  const PagedLatentView& cache = args.cache;
  if (cache.latent_dim < 1 || cache.rope_dim < 0 || args.query.dim(2) != cache.row_elements()) {
    return InvalidArgument(caller.op, ": query has head dim ", args.query.dim(2),
                           ", the rows of the cache ", cache.latent_dim, " + ", cache.rope_dim);
  }
  return OkStatus();
}

Status Validate(const Caller& caller, const Args& args) {
  QUIRE_RETURN_IF_ERROR(CheckCache(caller, args.cache));
  QUIRE_RETURN_IF_ERROR(CheckPages(caller, args.page_table, args.kv_length));
  QUIRE_RETURN_IF_ERROR(CheckQueries(caller, args));
  QUIRE_RETURN_IF_ERROR(
      CheckOutputs(caller, args.query, args.out, args.lse, TensorView(), args.cache.latent_dim));
  return CheckProblem(caller, ProblemOf(args));
}

}  // namespace

attention::Problem ProblemOf(const Args& args) {
  attention::Problem problem;
  SetRows(args.query, args.out, args.lse, TensorView(), problem);
  SetCache(args.cache, problem);
  SetPages(args.page_table, args.kv_length, problem);
  if (args.query_start.defined()) {
    problem.query_start = args.query_start.as<const int32_t>();
  }
  problem.scale = args.scale;
  problem.window_right = 0;
  return problem;
}

Status Run(const OpContext& context, const Args& args) {
  const Place place = context.stream.device().place();
  QUIRE_RETURN_IF_ERROR(Validate({"mla_attention", place}, args));
  return RunBest("mla_attention", ImplementationsOf(place.platform), context, args);
}

}  // namespace quire::ops::mla_attention
