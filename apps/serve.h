// quire serve: the engine behind an OpenAI-compatible HTTP server.
#pragma once

#include "engine/engine_options.h"
#include "server/server.h"

namespace quire {

// Serves until SIGTERM or SIGINT has drained it. Returns the process's exit code; errors go to
// standard error.
int RunServe(const EngineOptions& engine_options, const ServerOptions& server_options);

}  // namespace quire
