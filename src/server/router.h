// Which endpoint a request goes to.
#pragma once

#include <memory>
#include <string_view>

#include "server/http_message.h"
#include "server/server_context.h"

namespace quire {

// Hands `request` to its endpoint, or answers it: 404 unknown path, 405 wrong method, OPTIONS. HEAD
// goes where GET goes. Returns the endpoint's name for the metrics ("other" if there is none).
std::string_view Route(ServerContext& context, const HttpRequest& request,
                       std::shared_ptr<Responder> responder);

}  // namespace quire
