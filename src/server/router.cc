#include "server/router.h"

#include <utility>

#include "server/api_error.h"

namespace quire {

namespace {

using Handler = void (*)(ServerContext&, const HttpRequest&, std::shared_ptr<Responder>);

struct Endpoint {
  std::string_view name;
  std::string_view method;
  bool with_children;  // also /name/anything
  Handler handler;
};

constexpr Endpoint kEndpoints[] = {
    {"/", "GET", false, HandleIndex},
    {"/health", "GET", false, HandleHealth},
    {"/metrics", "GET", false, HandleMetrics},
    {"/v1/models", "GET", true, HandleModels},
    {"/v1/sessions", "GET", false, HandleSessions},
    {"/v1/sessions/release", "POST", false, HandleSessionRelease},
    {"/v1/chat/completions", "POST", false, HandleChatCompletions},
    {"/v1/completions", "POST", false, HandleCompletions},
};

const Endpoint* FindEndpoint(std::string_view path) {
  if (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  for (const Endpoint& endpoint : kEndpoints) {
    if (path == endpoint.name) return &endpoint;
    if (endpoint.with_children && path.starts_with(endpoint.name) &&
        path[endpoint.name.size()] == '/') {
      return &endpoint;
    }
  }
  return nullptr;
}

std::string AllowedMethods(const Endpoint& endpoint) {
  return endpoint.method == "GET" ? "GET, HEAD, OPTIONS" : "POST, OPTIONS";
}

}  // namespace

std::string_view Route(ServerContext& context, const HttpRequest& request,
                       std::shared_ptr<Responder> responder) {
  const Endpoint* endpoint = FindEndpoint(request.path);
  if (endpoint == nullptr) {
    ApiError error;
    error.status = 404;
    error.message =
        StrCat("there is no ", request.path, " here; the API is under ", context.base_url, "/v1");
    error.code = "not_found";
    responder->Send(ApiErrorResponse(error));
    return "other";
  }
  if (request.method == "OPTIONS") {
    HttpResponse response;
    response.status = 204;
    response.headers.emplace_back("Allow", AllowedMethods(*endpoint));
    responder->Send(std::move(response));
    return endpoint->name;
  }
  const bool is_head = request.method == "HEAD" && endpoint->method == "GET";
  if (request.method != endpoint->method && !is_head) {
    ApiError error;
    error.status = 405;
    error.message = StrCat("method ", request.method, " is not allowed for ", endpoint->name,
                           "; use ", endpoint->method);
    error.code = "method_not_allowed";
    HttpResponse response = ApiErrorResponse(error);
    response.headers.emplace_back("Allow", AllowedMethods(*endpoint));
    responder->Send(std::move(response));
    return endpoint->name;
  }
  endpoint->handler(context, request, std::move(responder));
  return endpoint->name;
}

}  // namespace quire
