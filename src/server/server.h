// Server: the OpenAI-compatible HTTP server. One thread does all input and output; tokens come to
// it from the engine's thread through EngineClient, without a lock.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/status.h"
#include "engine/engine_client.h"

namespace quire {

struct ServerOptions {
  std::string host = "127.0.0.1";  // address or name to listen on; "0.0.0.0" for all
  uint16_t port = 8000;            // 0: any free one
  size_t max_connections = 4096;   // more are answered 503
  size_t max_header_bytes = 32 * 1024;
  size_t max_body_bytes = 8 * 1024 * 1024;
  size_t max_output_bytes =
      1024 * 1024;  // of a stream, waiting for a slow client; beyond, it is cut off
  std::chrono::milliseconds header_timeout{10'000};  // for a whole request header
  std::chrono::milliseconds body_timeout{120'000};   // for a whole request body
  std::chrono::milliseconds idle_timeout{75'000};    // of a kept connection
  std::chrono::milliseconds write_timeout{30'000};   // without the client taking a byte
  bool stop_when_engine_fails =
      true;                    // Serve() returns then; else it goes on answering 503 with the error
  bool handle_signals = true;  // SIGTERM and SIGINT act as RequestStop() while Serve() runs
};

class Server {
 public:
  // Takes the port, so that a taken one is known before a model is loaded; connections wait until
  // Serve(). Errors: invalid_argument (the host has no address), unavailable (port taken),
  // io_error; each names host:port.
  static Result<std::unique_ptr<Server>> Listen(const ServerOptions& options);
  ~Server();

  uint16_t port() const;
  const std::string& url() const;  // "http://127.0.0.1:8000"

  // Serves on the calling thread, while `engine` loads too, until stopped and drained. At most
  // once.
  void Serve(EngineClient& engine);

  // First call: no new connections and requests, the engine drains, running requests finish, then
  // Serve() returns. Second call: running requests are cancelled and Serve() returns. Any thread,
  // but not from inside a signal handler: signals have handle_signals.
  void RequestStop();

 private:
  class Impl;
  explicit Server(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

// A command to try a server at `url`.
std::string CurlLine(const std::string& url);

}  // namespace quire
