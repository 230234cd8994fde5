// Session::Exchange: one request of a connection and the way of its answer. Part of session.cc,
// kept apart for its other concern: the form of an HTTP answer.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

#include "server/http_message.h"
#include "server/session.h"

namespace quire {

class Session::Exchange final : public Responder {
 public:
  Exchange(Session& session, const HttpRequest& request);

  void Send(HttpResponse response) override;
  void BeginStream(std::string_view content_type) override;
  void Write(std::string_view bytes) override;
  void EndStream() override;
  void OnHangUp(std::function<void()> hung_up) override { hung_up_ = std::move(hung_up); }

  // The session is done with it, or gone: nothing reaches the client any more.
  void Detach() { session_ = nullptr; }
  // Tells the answer's maker. REQUIRES: detached.
  void HangUp();

  bool done() const { return done_; }
  bool keep_alive() const { return keep_alive_; }
  int status() const { return status_; }
  std::string_view endpoint() const { return endpoint_; }
  void set_endpoint(std::string_view endpoint) { endpoint_ = endpoint; }
  double Seconds() const;  // since the request was complete

 private:
  std::string Head(const HttpResponse& response, std::string_view framing);
  void Complete();

  Session* session_;
  bool head_only_;
  bool http11_;
  bool keep_alive_;
  bool done_ = false;
  int status_ = 0;
  std::string_view endpoint_;
  std::function<void()> hung_up_;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace quire
