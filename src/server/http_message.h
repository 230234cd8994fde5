// HTTP as the endpoints see it: plain structs and the way back to the client. Sockets and parsing
// are elsewhere.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace quire {

struct HttpRequest {
  std::string method;       // upper case, as sent
  std::string path;         // of the target, percent-decoded, without the query
  std::string body;         // whole, transfer coding removed
  std::string api_key;      // of "Authorization: Bearer ...", empty without; not checked
  bool keep_alive = false;  // the client wants the connection kept
  bool http11 = true;       // false: HTTP/1.0, which knows no chunked coding
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>>
      headers;  // besides type, length, date, connection
};

// The answer to one request. Either Send() once, or BeginStream(), any number of Write(),
// EndStream(). All calls come from the I/O thread. Calls after the client hung up do nothing, so
// the holder need not ask.
class Responder {
 public:
  virtual ~Responder() = default;

  virtual void Send(HttpResponse response) = 0;

  virtual void BeginStream(std::string_view content_type) = 0;
  virtual void Write(std::string_view bytes) = 0;
  virtual void EndStream() = 0;

  // `hung_up` runs at most once, from the event loop and never from inside a call above, if the
  // client goes away or is cut off before the answer is complete.
  virtual void OnHangUp(std::function<void()> hung_up) = 0;
};

// "OK", "Not Found", ...
std::string_view HttpReason(int status);

// `text` with %XX replaced; malformed escapes stay as they are.
std::string PercentDecode(std::string_view text);

}  // namespace quire
