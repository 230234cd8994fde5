#include "server/session_exchange.h"

#include <ctime>
#include <utility>

#include "base/check.h"
#include "base/strcat.h"

namespace quire {

namespace {

std::string HttpDate() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[40];
  const size_t length = std::strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  return std::string(text, length);
}

std::string HexSize(size_t size) {
  char text[20];
  const auto [end, error] = std::to_chars(text, text + sizeof(text), size, 16);
  return std::string(text, end);
}

}  // namespace

Session::Exchange::Exchange(Session& session, const HttpRequest& request)
    : session_(&session),
      head_only_(request.method == "HEAD"),
      http11_(request.http11),
      keep_alive_(request.keep_alive),
      start_(std::chrono::steady_clock::now()) {}

double Session::Exchange::Seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

std::string Session::Exchange::Head(const HttpResponse& response, std::string_view framing) {
  if (session_->host_.draining() || session_->closing_) keep_alive_ = false;
  status_ = response.status;
  std::string head = StrCat("HTTP/1.1 ", response.status, " ", HttpReason(response.status),
                            "\r\nServer: quire\r\nDate: ", HttpDate(), "\r\n", framing,
                            "Connection: ", keep_alive_ ? "keep-alive" : "close", "\r\n");
  if (response.status != 204) head += StrCat("Content-Type: ", response.content_type, "\r\n");
  for (const auto& [name, value] : response.headers) head += StrCat(name, ": ", value, "\r\n");
  return head += "\r\n";
}

void Session::Exchange::Send(HttpResponse response) {
  if (session_ == nullptr) return;
  QUIRE_CHECK(!done_ && status_ == 0) << "a request was answered twice";
  const std::string framing =
      response.status == 204 ? "" : StrCat("Content-Length: ", response.body.size(), "\r\n");
  std::string bytes = Head(response, framing);
  if (!head_only_) bytes += response.body;
  session_->Append(bytes, false);
  Complete();
}

void Session::Exchange::BeginStream(std::string_view content_type) {
  if (session_ == nullptr) return;
  QUIRE_CHECK(!done_ && status_ == 0) << "a request was answered twice";
  HttpResponse response;
  response.content_type = content_type;
  response.headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}};
  if (!http11_) keep_alive_ = false;  // the end of the connection is the end of the stream
  session_->Append(Head(response, http11_ ? "Transfer-Encoding: chunked\r\n" : ""), true);
}

void Session::Exchange::Write(std::string_view bytes) {
  if (session_ == nullptr || bytes.empty() || head_only_) return;
  if (!http11_) return session_->Append(bytes, true);
  session_->Append(StrCat(HexSize(bytes.size()), "\r\n", bytes, "\r\n"), true);
}

void Session::Exchange::EndStream() {
  if (session_ == nullptr) return;
  if (http11_ && !head_only_) session_->Append("0\r\n\r\n", true);
  Complete();
}

void Session::Exchange::Complete() {
  done_ = true;
  hung_up_ = nullptr;
  session_->OnExchangeDone();
}

void Session::Exchange::HangUp() {
  if (auto hung_up = std::exchange(hung_up_, nullptr)) hung_up();
}

}  // namespace quire
