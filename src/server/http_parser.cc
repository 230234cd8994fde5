#include "server/http_parser.h"

#include <algorithm>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <utility>

#include "base/check.h"

namespace quire {

namespace http = boost::beast::http;

namespace {

std::string BearerToken(boost::beast::string_view authorization) {
  constexpr boost::beast::string_view kScheme = "Bearer ";
  if (!boost::beast::iequals(authorization.substr(0, kScheme.size()), kScheme)) return "";
  authorization.remove_prefix(kScheme.size());
  return std::string(authorization.data(), authorization.size());
}

}  // namespace

struct HttpParser::Impl {
  http::request_parser<http::string_body> parser;
};

HttpParser::HttpParser(size_t max_header_bytes, size_t max_body_bytes)
    : max_header_bytes_(max_header_bytes), max_body_bytes_(max_body_bytes) {
  Reset();
}

HttpParser::~HttpParser() = default;

void HttpParser::Reset() {
  impl_ = std::make_unique<Impl>();
  impl_->parser.eager(true);
  impl_->parser.header_limit(static_cast<uint32_t>(max_header_bytes_));
  impl_->parser.body_limit(max_body_bytes_);
  state_ = State::kIdle;
  header_seen_ = false;
  wants_continue_ = false;
}

HttpParser::State HttpParser::Fail(int status, std::string message) {
  error_ = ApiError{};
  error_.status = status;
  error_.message = std::move(message);
  if (status == 413) error_.code = "body_too_large";
  return state_ = State::kError;
}

void HttpParser::AfterHeader() {
  header_seen_ = true;
  const auto& header = impl_->parser.get();
  wants_continue_ = header.version() >= 11 && !impl_->parser.is_done() &&
                    boost::beast::iequals(header[http::field::expect], "100-continue");
}

HttpParser::State HttpParser::Feed(std::string& input) {
  if (state_ == State::kDone || state_ == State::kError) return state_;
  if (state_ == State::kIdle) {  // an empty line between requests is allowed (RFC 9112, 2.2)
    input.erase(0, std::min(input.find_first_not_of("\r\n"), input.size()));
  }
  size_t used = 0;
  boost::beast::error_code error;
  while (used < input.size() && !impl_->parser.is_done()) {
    const boost::asio::const_buffer rest(input.data() + used, input.size() - used);
    const size_t taken = impl_->parser.put(rest, error);
    used += taken;
    state_ = State::kHeader;
    if (error || (taken == 0 && !impl_->parser.is_done())) break;
  }
  input.erase(0, used);
  if (error == http::error::need_more) error = {};
  if (error == http::error::body_limit) {
    return Fail(413,
                StrCat("the request body is larger than ", max_body_bytes_, " bytes; send less"));
  }
  if (error == http::error::header_limit ||
      (!impl_->parser.is_header_done() && input.size() > max_header_bytes_)) {
    return Fail(
        431, StrCat("the request header is larger than ", max_header_bytes_, " bytes; send less"));
  }
  if (error) return Fail(400, StrCat("malformed HTTP request: ", error.message()));
  if (impl_->parser.is_header_done()) {
    if (!header_seen_) AfterHeader();
    state_ = impl_->parser.is_done() ? State::kDone : State::kBody;
  }
  return state_;
}

bool HttpParser::TakeWantsContinue() {
  return std::exchange(wants_continue_, false);
}

HttpRequest HttpParser::Take() {
  QUIRE_CHECK(state_ == State::kDone) << "no complete request";
  auto& message = impl_->parser.get();
  HttpRequest request;
  request.method = std::string(message.method_string());
  const std::string_view target(message.target().data(), message.target().size());
  request.path = PercentDecode(target.substr(0, target.find_first_of("?#")));
  request.api_key = BearerToken(message[http::field::authorization]);
  request.keep_alive = message.keep_alive();
  request.http11 = message.version() >= 11;
  request.body = std::move(message.body());
  Reset();
  return request;
}

}  // namespace quire
