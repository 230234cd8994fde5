// GET /health: 200 when requests are taken, else 503 with the reason.
#include <nlohmann/json.hpp>

#include "server/json_text.h"
#include "server/server_context.h"

namespace quire {

void HandleHealth(ServerContext& context, const HttpRequest&,
                  std::shared_ptr<Responder> responder) {
  const EngineState state = context.engine.state();
  Json body = Json::object();
  HttpResponse response;
  if (state == EngineState::kReady && !context.draining) {
    body["status"] = "ok";
    body["model"] = context.engine.model().id;
  } else {
    response.status = 503;
    const bool draining = context.draining && state == EngineState::kReady;
    body["status"] = draining ? EngineStateName(EngineState::kDraining) : EngineStateName(state);
    if (state == EngineState::kLoading) {
      body["progress"] = context.engine.load_progress();
      response.headers.emplace_back("Retry-After", "1");
    }
    if (state == EngineState::kFailed) body["error"] = context.engine.load_error().message();
  }
  response.body = JsonText(body);
  responder->Send(std::move(response));
}

}  // namespace quire
