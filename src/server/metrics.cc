// GET /metrics: counters and gauges in Prometheus' text format.
#include "server/server_context.h"

namespace quire {

void HandleMetrics(ServerContext& context, const HttpRequest&,
                   std::shared_ptr<Responder> responder) {
  HttpResponse response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = context.metrics.Text(context.engine.stats(), context.engine.state());
  responder->Send(std::move(response));
}

}  // namespace quire
