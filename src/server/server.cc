#include "server/server.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <exception>
#include <optional>
#include <random>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "server/engine_feed.h"
#include "server/router.h"
#include "server/server_context.h"
#include "server/server_metrics.h"
#include "server/session.h"

namespace quire {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr std::chrono::milliseconds kAcceptRetry{100};
constexpr size_t kRefusedConnections = 64;  // at once, that are still told why

SessionLimits LimitsOf(const ServerOptions& options) {
  SessionLimits limits;
  limits.max_header_bytes = options.max_header_bytes;
  limits.max_body_bytes = options.max_body_bytes;
  limits.max_output_bytes = options.max_output_bytes;
  limits.header_timeout = options.header_timeout;
  limits.body_timeout = options.body_timeout;
  limits.idle_timeout = options.idle_timeout;
  limits.write_timeout = options.write_timeout;
  return limits;
}

std::mt19937_64 SeededRandom() {
  std::random_device device;
  std::seed_seq seed{device(), device(), device(), device()};
  return std::mt19937_64(seed);
}

}  // namespace

class Server::Impl final : public SessionHost {
 public:
  explicit Impl(const ServerOptions& options)
      : options_(options),
        limits_(LimitsOf(options)),
        acceptor_(io_),
        accept_timer_(io_),
        signals_(io_) {}
  ~Impl() override;

  Status Listen();
  void Serve(EngineClient& engine);
  void RequestStop();

  uint16_t port() const { return port_; }
  const std::string& url() const { return url_; }

  // SessionHost
  std::string_view Handle(HttpRequest request, std::shared_ptr<Responder> responder) override;
  void OnAnswered(std::string_view endpoint, int status, double seconds) override;
  bool draining() const override { return context_ == nullptr || context_->draining; }
  void OnSessionQuiet() override { StopIfDrained(); }
  void OnSessionClosed(Session* session) override;

 private:
  Status BindTo(const tcp::endpoint& endpoint);
  void Accept();
  void OnAccepted(const error_code& error, tcp::socket socket);
  void WaitForEngine();
  void WaitForSignal();
  void Stop();
  void BeginDrain();
  void StopIfDrained();
  void StopNow();

  const ServerOptions options_;
  const SessionLimits limits_;
  asio::io_context io_{1};
  tcp::acceptor acceptor_;
  asio::steady_timer accept_timer_;
  asio::signal_set signals_;
  std::optional<asio::posix::stream_descriptor> engine_events_;
  uint16_t port_ = 0;
  std::string url_;

  SteadyClock clock_;
  std::mt19937_64 random_ = SeededRandom();
  ServerMetrics metrics_;
  std::unique_ptr<EngineFeed> feed_;
  std::unique_ptr<ServerContext> context_;
  std::unordered_map<Session*, std::shared_ptr<Session>> sessions_;
  bool stopped_ = false;
};

Server::Impl::~Impl() {
  if (engine_events_.has_value()) engine_events_->release();  // the descriptor is the engine's
}

// ---- Listening

Status Server::Impl::BindTo(const tcp::endpoint& endpoint) {
  const std::string name = StrCat(options_.host, ":", options_.port);
  error_code error;
  acceptor_.open(endpoint.protocol(), error);
  if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor_.bind(endpoint, error);
  if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
  if (!error) return OkStatus();
  error_code ignored;
  acceptor_.close(ignored);
  if (error == asio::error::address_in_use) {
    return Unavailable("cannot listen on ", name,
                       ": the port is taken; stop the program that uses it or choose "
                       "another with --port");
  }
  if (error == asio::error::access_denied) {
    return IoError("cannot listen on ", name,
                   ": permission denied; choose a port above 1023 with --port");
  }
  return IoError("cannot listen on ", name, ": ", error.message(),
                 "; choose another with --host and --port");
}

Status Server::Impl::Listen() {
  error_code error;
  tcp::resolver resolver(io_);
  const auto found =
      resolver.resolve(options_.host, StrCat(options_.port),
                       tcp::resolver::passive | tcp::resolver::numeric_service, error);
  if (error || found.empty()) {
    return InvalidArgument("cannot listen on ", options_.host, ":", options_.port,
                           ": the host has no address (", error.message(),
                           "); use an address of this machine, 127.0.0.1 or 0.0.0.0");
  }
  Status status;
  for (const auto& entry : found) {
    status = BindTo(entry.endpoint());
    if (status.ok()) break;
  }
  QUIRE_RETURN_IF_ERROR(status);
  port_ = acceptor_.local_endpoint().port();
  const bool any = acceptor_.local_endpoint().address().is_unspecified();
  const bool bare_v6 = options_.host.find(':') != std::string::npos;
  const std::string host = any       ? "127.0.0.1"
                           : bare_v6 ? StrCat("[", options_.host, "]")
                                     : options_.host;
  url_ = StrCat("http://", host, ":", port_);
  return OkStatus();
}

// ---- Serving

void Server::Impl::Serve(EngineClient& engine) {
  QUIRE_CHECK(context_ == nullptr && !stopped_) << "Serve() was called twice";
  feed_ = std::make_unique<EngineFeed>(engine);
  context_ = std::make_unique<ServerContext>(ServerContext{.engine = engine,
                                                           .feed = *feed_,
                                                           .metrics = metrics_,
                                                           .clock = clock_,
                                                           .random = random_,
                                                           .base_url = url_});
  engine_events_.emplace(io_, engine.event_fd());
  if (options_.handle_signals) {
    signals_.add(SIGINT);
    signals_.add(SIGTERM);
    WaitForSignal();
  }
  WaitForEngine();
  Accept();
  while (!stopped_) {
    try {
      io_.run();
      break;
    } catch (const std::exception&
                 error) {  // no memory, most likely: one handler is lost, not the server
      LogError(StrCat("the server goes on after an unexpected failure: ", error.what()));
    }
  }
}

void Server::Impl::Accept() {
  acceptor_.async_accept([this](const error_code& error, tcp::socket socket) {
    OnAccepted(error, std::move(socket));
  });
}

void Server::Impl::OnAccepted(const error_code& error, tcp::socket socket) {
  if (!acceptor_.is_open()) return;
  if (error) {  // no file descriptors left, or the client went away meanwhile
    LogWarning(StrCat("accepting a connection failed: ", error.message()));
    accept_timer_.expires_after(kAcceptRetry);
    accept_timer_.async_wait([this](const error_code&) {
      if (acceptor_.is_open()) Accept();
    });
    return;
  }
  if (sessions_.size() < options_.max_connections + kRefusedConnections) {
    const auto session = std::make_shared<Session>(std::move(socket), *this, limits_);
    sessions_.emplace(session.get(), session);
    if (sessions_.size() <= options_.max_connections) {
      session->Start();
    } else {
      ApiError busy;
      busy.status = 503;
      busy.message = StrCat("the server has its maximum of ", options_.max_connections,
                            " connections; try again later");
      busy.code = "too_many_connections";
      busy.retry_after_s = 1;
      session->Refuse(busy);
    }
  }
  Accept();
}

std::string_view Server::Impl::Handle(HttpRequest request, std::shared_ptr<Responder> responder) {
  return Route(*context_, request, std::move(responder));
}

void Server::Impl::OnAnswered(std::string_view endpoint, int status, double seconds) {
  metrics_.CountRequest(endpoint, status, seconds);
}

void Server::Impl::OnSessionClosed(Session* session) {
  sessions_.erase(session);
  StopIfDrained();
}

// Runs in the same loop turn as the engine's wake-up, so that tokens go out at once.
void Server::Impl::WaitForEngine() {
  engine_events_->async_wait(
      asio::posix::stream_descriptor::wait_read, [this](const error_code& error) {
        if (error || stopped_) return;
        try {
          feed_->Pump();
        } catch (const std::exception& error) {  // the wait below must go on for all others
          LogError(StrCat("handing on the engine's events failed: ", error.what()));
        }
        if (context_->engine.state() == EngineState::kFailed && options_.stop_when_engine_fails &&
            !context_->draining) {
          BeginDrain();
        }
        WaitForEngine();
      });
}

// ---- Stopping

void Server::Impl::WaitForSignal() {
  signals_.async_wait([this](const error_code& error, int number) {
    if (error || stopped_) return;
    LogInfo(StrCat("signal ", number, ": ", context_->draining ? "stopping now" : "draining",
                   context_->draining ? "" : "; send it again to stop now"));
    Stop();
    WaitForSignal();
  });
}

void Server::Impl::RequestStop() {
  asio::post(io_, [this] { Stop(); });
}

void Server::Impl::Stop() {
  if (context_->draining) return StopNow();
  BeginDrain();
}

void Server::Impl::BeginDrain() {
  context_->draining = true;
  error_code ignored;
  acceptor_.close(ignored);
  accept_timer_.cancel();
  context_->engine.BeginDrain();
  std::vector<std::shared_ptr<Session>> sessions;
  for (const auto& [key, session] : sessions_) sessions.push_back(session);
  for (const auto& session : sessions) session->CloseIfQuiet();
  StopIfDrained();
}

void Server::Impl::StopIfDrained() {
  if (stopped_ || !context_->draining) return;
  for (const auto& [key, session] : sessions_) {
    if (session->busy()) return;
  }
  StopNow();
}

void Server::Impl::StopNow() {
  if (std::exchange(stopped_, true)) return;
  std::vector<std::shared_ptr<Session>> sessions;
  for (const auto& [key, session] : sessions_) sessions.push_back(session);
  for (const auto& session : sessions) session->Abort("the server is stopping");
  io_.stop();
}

// ---- Server

Result<std::unique_ptr<Server>> Server::Listen(const ServerOptions& options) {
  auto impl = std::make_unique<Impl>(options);
  QUIRE_RETURN_IF_ERROR(impl->Listen());
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;

uint16_t Server::port() const {
  return impl_->port();
}
const std::string& Server::url() const {
  return impl_->url();
}
void Server::Serve(EngineClient& engine) {
  impl_->Serve(engine);
}
void Server::RequestStop() {
  impl_->RequestStop();
}

std::string CurlLine(const std::string& url) {
  return StrCat("curl -N ", url,
                "/v1/chat/completions -H 'Content-Type: application/json' -d "
                "'{\"model\": \"default\", \"stream\": true, \"messages\": [{\"role\": \"user\", "
                "\"content\": "
                "\"What is the capital of Japan?\"}]}'");
}

}  // namespace quire
