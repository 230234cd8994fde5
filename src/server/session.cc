#include "server/session.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <exception>
#include <utility>

#include "base/log.h"
#include "server/session_exchange.h"

namespace quire {

namespace asio = boost::asio;
using boost::system::error_code;
using std::chrono::steady_clock;

namespace {

constexpr size_t kMaxPipelinedBytes = 256 * 1024;  // read ahead while an answer is being made
constexpr std::chrono::seconds kLingerTime{2};  // for the client to read the last answer and close
constexpr int kClientClosed = 499;              // in the metrics only; nobody is left to read it

std::string PeerName(const asio::ip::tcp::socket& socket) {
  error_code error;
  const auto peer = socket.remote_endpoint(error);
  return error ? "?" : StrCat(peer.address().to_string(), ":", peer.port());
}

}  // namespace

Session::Session(asio::ip::tcp::socket socket, SessionHost& host, const SessionLimits& limits)
    : socket_(std::move(socket)),
      timer_(socket_.get_executor()),
      host_(host),
      limits_(limits),
      peer_(PeerName(socket_)),
      parser_(limits.max_header_bytes, limits.max_body_bytes),
      phase_(HttpParser::State::kDone) {
  error_code ignored;
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  socket_.non_blocking(true, ignored);
}

Session::~Session() {
  if (exchange_ != nullptr) exchange_->Detach();
}

void Session::Start() {
  phase_ = HttpParser::State::kIdle;
  input_deadline_ =
      steady_clock::now() + limits_.header_timeout;  // a new client has something to say
  WaitForDeadline();
  Read();
}

void Session::Refuse(const ApiError& error) {
  WaitForDeadline();
  FailInput(error);
  Read();
}

void Session::CloseIfQuiet() {
  if (!busy() && !discarding_) Close();
}

// ---- Input

void Session::Read() {
  if (reading_ || closed_ || saw_end_ || input_.size() >= kMaxPipelinedBytes) return;
  reading_ = true;
  socket_.async_read_some(asio::buffer(read_buffer_),
                          [self = shared_from_this()](const error_code& error, size_t count) {
                            self->reading_ = false;
                            self->OnRead(error, count);
                          });
}

void Session::OnRead(const error_code& error, size_t count) {
  if (closed_) return;
  if (error) return OnEndOfInput(error);
  if (!discarding_ && !closing_) {
    input_.append(read_buffer_.data(), count);
    Advance();
  }
  Read();
}

void Session::OnEndOfInput(const error_code& error) {
  saw_end_ = true;
  if (exchange_ != nullptr) return Abort("client hung up before its answer was complete");
  // What is already answered still goes out to a client that only closed its sending side.
  if (error == asio::error::eof && busy()) return BeginClose();
  Close();
}

void Session::SetInputDeadline(HttpParser::State state) {
  if (state == phase_) return;
  phase_ = state;
  const auto now = steady_clock::now();
  switch (state) {
    case HttpParser::State::kIdle: input_deadline_ = now + limits_.idle_timeout; break;
    case HttpParser::State::kHeader: input_deadline_ = now + limits_.header_timeout; break;
    case HttpParser::State::kBody: input_deadline_ = now + limits_.body_timeout; break;
    default: input_deadline_ = TimePoint::max();
  }
  Wake();
}

void Session::Advance() {
  if (dispatching_) return;
  // A client that asks and never reads is not answered further.
  while (!closed_ && !closing_ && exchange_ == nullptr &&
         output_.size() + in_flight_.size() <= limits_.max_output_bytes) {
    const HttpParser::State state = parser_.Feed(input_);
    SetInputDeadline(state);
    if (parser_.TakeWantsContinue()) Append("HTTP/1.1 100 Continue\r\n\r\n", false);
    if (state == HttpParser::State::kError) return FailInput(parser_.error());
    if (state != HttpParser::State::kDone) break;
    Dispatch(parser_.Take());
  }
  if (!closed_ && host_.draining()) CloseIfQuiet();
}

void Session::Dispatch(HttpRequest request) {
  auto exchange = std::make_shared<Exchange>(*this, request);
  exchange_ = exchange;
  dispatching_ = true;
  try {
    exchange->set_endpoint(host_.Handle(std::move(request), exchange));
  } catch (const std::exception& error) {  // no memory, most likely
    LogError(StrCat("handling a request failed: ", error.what()));
    exchange->set_endpoint("none");
    if (exchange->status() == 0) {
      exchange->Send(ApiErrorResponse(
          ApiErrorFromStatus(InternalError("the server could not handle this request"))));
    }
  }
  dispatching_ = false;
  if (exchange->done()) OnExchangeDone();
}

void Session::FailInput(const ApiError& error) {
  const auto exchange = std::make_shared<Exchange>(*this, HttpRequest{});
  exchange_ = exchange;
  exchange->set_endpoint("none");
  exchange->Send(ApiErrorResponse(error));
}

// ---- Output

void Session::Append(std::string_view bytes, bool bounded) {
  if (closed_ || aborting_) return;
  output_.append(bytes);
  if (bounded && output_.size() > limits_.max_output_bytes) {
    // The caller is in the middle of something; it hears of this from the event loop.
    aborting_ = true;
    asio::post(socket_.get_executor(), [self = shared_from_this()] {
      self->Abort(StrCat("client reads too slowly; more than ", self->limits_.max_output_bytes,
                         " bytes wait for it"));
    });
    return;
  }
  Write();
}

void Session::Write() {
  if (!in_flight_.empty() || output_.empty() || closed_) return;
  in_flight_.swap(output_);
  written_ = 0;
  write_deadline_ = steady_clock::now() + limits_.write_timeout;
  Wake();
  OnWritten({}, 0);
}

void Session::OnWritten(const error_code& error, size_t count) {
  if (closed_) return;
  if (error) return Abort(StrCat("writing to the client failed: ", error.message()));
  written_ += count;
  if (count > 0) write_deadline_ = steady_clock::now() + limits_.write_timeout;
  if (written_ < in_flight_.size()) {
    socket_.async_write_some(
        asio::buffer(in_flight_.data() + written_, in_flight_.size() - written_),
        [self = shared_from_this()](const error_code& error, size_t count) {
          self->OnWritten(error, count);
        });
    return;
  }
  in_flight_.clear();
  write_deadline_ = TimePoint::max();
  if (!output_.empty()) return Write();
  if (closing_) return ShutDownWhenWritten();
  if (exchange_ != nullptr) return;
  host_.OnSessionQuiet();
  Advance();
  Read();
}

// ---- The end of an answer and of the connection

void Session::OnExchangeDone() {
  if (exchange_ == nullptr || dispatching_) return;
  const bool keep_alive = exchange_->keep_alive();
  EndExchange(exchange_->status());
  phase_ = HttpParser::State::kDone;
  if (!keep_alive) return BeginClose();
  // From the event loop: the answer may have ended inside the handling of another client's events.
  asio::post(socket_.get_executor(), [self = shared_from_this()] {
    if (self->closed_) return;
    self->Advance();
    self->Read();
    if (!self->closed_ && !self->busy()) self->host_.OnSessionQuiet();
  });
}

void Session::EndExchange(int status) {
  const std::shared_ptr<Exchange> exchange = std::exchange(exchange_, nullptr);
  exchange->Detach();
  host_.OnAnswered(exchange->endpoint(), status, exchange->Seconds());
}

void Session::BeginClose() {
  closing_ = true;
  input_.clear();
  input_deadline_ = TimePoint::max();
  if (!busy()) {
    asio::post(socket_.get_executor(),
               [self = shared_from_this()] { self->ShutDownWhenWritten(); });
  }
}

void Session::ShutDownWhenWritten() {
  if (closed_ || discarding_ || busy()) return;
  if (saw_end_) return Close();
  // Closing with unread input would reset the connection and could take the answer with it.
  discarding_ = true;
  error_code ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  input_deadline_ = steady_clock::now() + kLingerTime;
  Wake();
  Read();
  host_.OnSessionQuiet();
}

void Session::Abort(std::string_view reason) {
  if (closed_) return;
  if (exchange_ != nullptr) {
    LogInfo(StrCat("connection ", peer_, " closed: ", reason));
    const std::shared_ptr<Exchange> exchange = exchange_;
    EndExchange(kClientClosed);
    exchange->HangUp();
  }
  output_.clear();
  in_flight_.clear();
  Close();
}

void Session::Close() {
  if (closed_) return;
  closed_ = true;
  error_code ignored;
  timer_.cancel();
  socket_.close(ignored);
  host_.OnSessionClosed(this);
}

// ---- Deadlines

void Session::Wake() {
  if (std::min(input_deadline_, write_deadline_) < timer_.expiry()) timer_.cancel();
}

void Session::WaitForDeadline() {
  // The timer may run early or idly: moving a deadline back costs nothing this way.
  const TimePoint soonest = std::min(input_deadline_, write_deadline_);
  timer_.expires_at(std::min(soonest, steady_clock::now() + limits_.idle_timeout));
  timer_.async_wait([self = shared_from_this()](const error_code&) {
    if (!self->closed_) self->OnDeadline();
  });
}

void Session::OnDeadline() {
  const auto now = steady_clock::now();
  if (now >= write_deadline_) return Abort("client does not read its answer");
  if (now >= input_deadline_) {
    const bool partial = phase_ == HttpParser::State::kHeader || phase_ == HttpParser::State::kBody;
    if (!partial || discarding_ || closing_) return Close();
    ApiError error;
    error.status = 408;
    error.message = "the request did not arrive in time; send it again";
    error.code = "request_timeout";
    input_deadline_ = TimePoint::max();
    FailInput(error);
  }
  if (!closed_) WaitForDeadline();
}

}  // namespace quire
