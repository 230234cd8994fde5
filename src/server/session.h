// Session: one client connection. Reads requests one after the other (pipelined ones wait), hands
// each to the host, writes the answer. It always reads, also while an answer is being made, so that
// a client that hangs up is noticed at once; the end of the client's sending side counts as hanging
// up. Runs on the I/O thread.
#pragma once

#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "server/api_error.h"
#include "server/http_message.h"
#include "server/http_parser.h"

namespace quire {

struct SessionLimits {
  size_t max_header_bytes = 32 * 1024;
  size_t max_body_bytes = 8 * 1024 * 1024;
  size_t max_output_bytes = 1024 * 1024;  // of a stream, waiting for a client that does not read
  std::chrono::milliseconds header_timeout{
      10'000};  // for a whole header, so that slow senders cannot pile up
  std::chrono::milliseconds body_timeout{120'000};  // for a whole body
  std::chrono::milliseconds idle_timeout{75'000};   // between requests
  std::chrono::milliseconds write_timeout{30'000};  // without the client taking a byte
};

// What a session needs of the server.
class SessionHost {
 public:
  virtual ~SessionHost() = default;

  // Answers `request` through `responder`, now or later. Returns the endpoint's name, for the
  // metrics; it lives forever.
  virtual std::string_view Handle(HttpRequest request, std::shared_ptr<Responder> responder) = 0;

  // An answer is complete (its last byte may still wait for the client), or given up with status
  // 499.
  virtual void OnAnswered(std::string_view endpoint, int status, double seconds) = 0;

  // True: connections close after their answer.
  virtual bool draining() const = 0;

  virtual void OnSessionQuiet() = 0;  // some session's busy() became false
  virtual void OnSessionClosed(
      class Session* session) = 0;  // drop it; it may live on for its last handlers
};

class Session final : public std::enable_shared_from_this<Session> {
 public:
  // `host` must outlive the event loop's handlers.
  Session(boost::asio::ip::tcp::socket socket, SessionHost& host, const SessionLimits& limits);
  ~Session();

  void Start();

  // Instead of Start(): answers `error` to whatever the client asks, and closes.
  void Refuse(const ApiError& error);

  // An answer is being made or written.
  bool busy() const { return exchange_ != nullptr || !output_.empty() || !in_flight_.empty(); }

  // Closes unless busy().
  void CloseIfQuiet();

  // Closes now; an answer being made is told that its client hung up. `reason` goes to the log.
  void Abort(std::string_view reason);

 private:
  class Exchange;
  using TimePoint = std::chrono::steady_clock::time_point;

  void Read();
  void OnRead(const boost::system::error_code& error, size_t count);
  void OnEndOfInput(const boost::system::error_code& error);
  void Advance();
  void Dispatch(HttpRequest request);
  void FailInput(const ApiError& error);
  void SetInputDeadline(HttpParser::State state);

  void Append(std::string_view bytes, bool bounded);
  void Write();
  void OnWritten(const boost::system::error_code& error, size_t count);

  void OnExchangeDone();
  void EndExchange(int status);
  void BeginClose();
  void ShutDownWhenWritten();
  void Close();

  void WaitForDeadline();
  void OnDeadline();
  void Wake();

  boost::asio::ip::tcp::socket socket_;
  boost::asio::steady_timer timer_;
  SessionHost& host_;
  const SessionLimits& limits_;
  std::string peer_;  // address and port, for the log

  HttpParser parser_;
  HttpParser::State phase_;  // the parser state that input_deadline_ stands for
  std::array<char, 16 * 1024> read_buffer_;
  std::string input_;      // read, not parsed
  std::string output_;     // waits for in_flight_
  std::string in_flight_;  // being written
  size_t written_ = 0;     // bytes of in_flight_
  std::shared_ptr<Exchange> exchange_;

  TimePoint input_deadline_ = TimePoint::max();
  TimePoint write_deadline_ = TimePoint::max();

  bool reading_ = false;
  bool dispatching_ = false;
  bool saw_end_ = false;     // of the client's bytes
  bool closing_ = false;     // no more requests; close after the output
  bool discarding_ = false;  // sending side shut; input is dropped until the client closes
  bool aborting_ = false;
  bool closed_ = false;
};

}  // namespace quire
