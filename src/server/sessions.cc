// GET /v1/sessions, POST /v1/sessions/release
#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "server/chat_request.h"
#include "server/field_reader.h"
#include "server/generation.h"

namespace quire {

void HandleSessions(ServerContext& context, const HttpRequest& request,
                    std::shared_ptr<Responder> responder) {
  if (auto error = CheckReady(context)) return responder->Send(ApiErrorResponse(*error));
  const std::string prefix = EngineSessionName(context, request, "");
  Json data = Json::array();
  for (const SessionInfo& session : context.engine.sessions()) {
    if (!session.name.starts_with(prefix)) continue;
    data.push_back({{"id", session.name.substr(prefix.size())},
                    {"object", "session"},
                    {"pinned_tokens", session.tokens},
                    {"expires_in_s", session.expires_in_s}});
  }
  HttpResponse response;
  response.body = JsonText({{"object", "list"}, {"data", std::move(data)}});
  responder->Send(std::move(response));
}

void HandleSessionRelease(ServerContext& context, const HttpRequest& request,
                          std::shared_ptr<Responder> responder) {
  if (auto error = CheckReady(context)) return responder->Send(ApiErrorResponse(*error));
  Json object;
  if (auto error = ParseRequestObject(request.body, object)) {
    return responder->Send(ApiErrorResponse(*error));
  }
  FieldReader reader(object);
  std::string session;
  reader.Text("session", &session);
  if (reader.ok() && session.empty()) {
    reader.Fail("session", "field \"session\" is missing; name the session to release",
                "missing_required_parameter");
  }
  if (!reader.ok()) return responder->Send(ApiErrorResponse(reader.error()));
  const std::string name = EngineSessionName(context, request, session);
  const bool pinned = std::ranges::count(context.engine.sessions(), name, &SessionInfo::name) > 0;
  if (const Status status = context.engine.ReleaseSession(name); !status.ok()) {
    return responder->Send(ApiErrorResponse(ApiErrorFromStatus(status)));
  }
  HttpResponse response;
  response.body = JsonText({{"id", session}, {"object", "session"}, {"released", pinned}});
  responder->Send(std::move(response));
}

}  // namespace quire
