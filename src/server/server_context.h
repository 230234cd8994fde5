// ServerContext: what the endpoints may use. One per Server::Serve; everything in it is the I/O
// thread's.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>

#include "base/clock.h"
#include "base/siphash.h"
#include "engine/engine_client.h"
#include "server/engine_feed.h"
#include "server/http_message.h"
#include "server/server_metrics.h"

namespace quire {

struct ServerContext {
  EngineClient& engine;
  EngineFeed& feed;
  ServerMetrics& metrics;
  const Clock& clock;
  std::mt19937_64& random;  // ids, and seeds where the client gave none
  std::string base_url;     // "http://127.0.0.1:8000"
  SipHashKey salt_key = SipHashKey::Random();
  bool draining = false;
};

// The endpoints. Each answers `request` through `responder`, at once or later.
void HandleIndex(ServerContext& context, const HttpRequest& request,
                 std::shared_ptr<Responder> responder);
void HandleHealth(ServerContext& context, const HttpRequest& request,
                  std::shared_ptr<Responder> responder);
void HandleMetrics(ServerContext& context, const HttpRequest& request,
                   std::shared_ptr<Responder> responder);
void HandleModels(ServerContext& context, const HttpRequest& request,
                  std::shared_ptr<Responder> responder);
void HandleSessions(ServerContext& context, const HttpRequest& request,
                    std::shared_ptr<Responder> responder);
void HandleSessionRelease(ServerContext& context, const HttpRequest& request,
                          std::shared_ptr<Responder> responder);
void HandleChatCompletions(ServerContext& context, const HttpRequest& request,
                           std::shared_ptr<Responder> responder);
void HandleCompletions(ServerContext& context, const HttpRequest& request,
                       std::shared_ptr<Responder> responder);

}  // namespace quire
