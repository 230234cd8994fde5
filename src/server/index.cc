// GET /: where the API is and a line to try it.
#include "base/strcat.h"
#include "server/server.h"
#include "server/server_context.h"

namespace quire {

void HandleIndex(ServerContext& context, const HttpRequest&, std::shared_ptr<Responder> responder) {
  HttpResponse response;
  response.content_type = "text/plain; charset=utf-8";
  response.body = StrCat("Quire serves an OpenAI-compatible API at ", context.base_url, "/v1\n\n",
                         CurlLine(context.base_url), "\n");
  responder->Send(std::move(response));
}

}  // namespace quire
