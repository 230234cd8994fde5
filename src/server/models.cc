// GET /v1/models and /v1/models/{id}
#include <nlohmann/json.hpp>
#include <string_view>

#include "server/generation.h"

namespace quire {

namespace {

Json ModelJson(const ModelInfo& model) {
  return {{"id", model.id},
          {"object", "model"},
          {"created", model.created_unix_s},
          {"owned_by", "quire"},
          {"max_model_len", model.max_context}};
}

}  // namespace

void HandleModels(ServerContext& context, const HttpRequest& request,
                  std::shared_ptr<Responder> responder) {
  constexpr std::string_view kPath = "/v1/models";
  if (auto error = CheckReady(context)) return responder->Send(ApiErrorResponse(*error));
  const ModelInfo& model = context.engine.model();
  std::string id = request.path.substr(kPath.size());
  HttpResponse response;
  if (id.empty() || id == "/") {
    response.body = JsonText({{"object", "list"}, {"data", Json::array({ModelJson(model)})}});
    return responder->Send(std::move(response));
  }
  if (auto error = CheckModel(context, id.substr(1)))
    return responder->Send(ApiErrorResponse(*error));
  response.body = JsonText(ModelJson(model));
  responder->Send(std::move(response));
}

}  // namespace quire
