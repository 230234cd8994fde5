// HttpParser: requests out of a connection's bytes, whatever way they are cut. No I/O. The parsing
// library (Boost.Beast) stays in http_parser.cc.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "server/api_error.h"
#include "server/http_message.h"

namespace quire {

class HttpParser {
 public:
  enum class State {
    kIdle,    // no byte of the next request seen
    kHeader,  // its header is not complete
    kBody,    // its body is not complete
    kDone,    // Take() has it
    kError,   // error() says why; the connection cannot go on
  };

  HttpParser(size_t max_header_bytes, size_t max_body_bytes);
  ~HttpParser();

  // Takes bytes off the front of `input` until a request is complete or more bytes are needed.
  // Bytes of a following request stay in `input`.
  State Feed(std::string& input);

  State state() const { return state_; }

  // True once per request whose client waits for "100 Continue" before it sends the body.
  bool TakeWantsContinue();

  // The request; ready for the next one. REQUIRES: state() == kDone.
  HttpRequest Take();

  // What to answer before closing: 400, 413 or 431. REQUIRES: state() == kError.
  const ApiError& error() const { return error_; }

 private:
  struct Impl;

  void Reset();
  void AfterHeader();
  State Fail(int status, std::string message);

  size_t max_header_bytes_;
  size_t max_body_bytes_;
  std::unique_ptr<Impl> impl_;
  State state_ = State::kIdle;
  bool header_seen_ = false;
  bool wants_continue_ = false;
  ApiError error_;
};

}  // namespace quire
