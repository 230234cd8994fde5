#include "apps/serve.h"

#include <cstdio>

#include "engine/engine_thread.h"

namespace quire {

namespace {

int Fail(const Status& status) {
  std::fprintf(stderr, "quire serve: %s\n", status.message().c_str());
  return 1;
}

}  // namespace

int RunServe(const EngineOptions& engine_options, const ServerOptions& server_options) {
  auto server = Server::Listen(server_options);
  if (!server.ok()) {
    return Fail(server.status());
  }
  auto engine = EngineThread::Start(engine_options);
  if (!engine.ok()) {
    return Fail(engine.status());
  }
  const std::string& url = (*server)->url();
  std::printf("Quire serves at %s/v1 (loading; %s/health says when it is ready). Try:\n  %s\n",
              url.c_str(), url.c_str(), CurlLine(url).c_str());
  std::fflush(stdout);
  (*server)->Serve(**engine);
  if ((*engine)->state() == EngineState::kFailed) {
    return Fail((*engine)->load_error());
  }
  return 0;
}

}  // namespace quire
