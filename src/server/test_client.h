// TestClient: a blocking HTTP client that shows every byte, for tests. A read that gets nothing for
// five minutes fails. For tests only: no product code includes this.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/strcat.h"

namespace quire {

struct TestResponse {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

class TestClient {
 public:
  explicit TestClient(uint16_t port, int receive_buffer = 0)
      : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    QUIRE_CHECK(socket_ >= 0);
    if (receive_buffer > 0) {
      setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    }
    const timeval patience{300, 0};
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  }
  ~TestClient() { Close(); }
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;

  bool connected() const { return connected_; }

  // False once the server has closed the connection.
  bool Send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }
  bool SendGet(std::string_view path) {
    return Send(StrCat("GET ", path, " HTTP/1.1\r\nHost: t\r\n\r\n"));
  }
  bool SendPost(std::string_view path, std::string_view body) {
    return Send(StrCat("POST ", path, " HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n",
                       "Content-Length: ", body.size(), "\r\n\r\n", body));
  }

  // A whole response; status 0 if the connection ended before its header was complete.
  TestResponse Read(bool without_body = false) {
    TestResponse response = ReadHead();
    if (response.status == 0 || without_body || response.status == 204) return response;
    if (response.headers.contains("transfer-encoding")) {
      while (auto chunk = ReadChunk()) response.body += *chunk;
    } else if (const auto length = response.headers.find("content-length");
               length != response.headers.end()) {
      response.body = Take(std::strtoull(length->second.c_str(), nullptr, 10));
    } else {
      while (Fill()) {
      }
      response.body = std::exchange(buffer_, "");
    }
    return response;
  }

  TestResponse ReadHead() {
    TestResponse response;
    size_t end = 0;
    while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
      if (!Fill()) return response;
    }
    const std::string head = Take(end + 4);
    response.status = std::atoi(head.c_str() + 9);
    for (size_t line = head.find("\r\n") + 2; line + 2 < head.size();) {
      const size_t colon = head.find(": ", line);
      const size_t stop = head.find("\r\n", line);
      std::string name = head.substr(line, colon - line);
      std::transform(name.begin(), name.end(), name.begin(),
                     [](unsigned char c) { return std::tolower(c); });
      response.headers[name] = head.substr(colon + 2, stop - colon - 2);
      line = stop + 2;
    }
    return response;
  }

  // The data of the next server-sent event of a chunked stream; nothing at the stream's end.
  std::optional<std::string> ReadEvent() {
    size_t end = 0;
    while ((end = events_.find("\n\n")) == std::string::npos) {
      const auto chunk = ReadChunk();
      if (!chunk.has_value()) return std::nullopt;
      events_ += *chunk;
    }
    const std::string event = events_.substr(0, end);
    events_.erase(0, end + 2);
    QUIRE_CHECK(event.starts_with("data: ")) << event;
    return event.substr(6);
  }

  // The connection ends, in good order or not, without another byte.
  bool AtEnd() { return buffer_.empty() && !Fill(); }

  void ShutdownSend() { shutdown(socket_, SHUT_WR); }
  void Close() {
    if (socket_ >= 0) close(socket_);
    socket_ = -1;
  }

 private:
  bool Fill() {
    char bytes[16384];
    const ssize_t count = recv(socket_, bytes, sizeof(bytes), 0);
    QUIRE_CHECK(count >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK))
        << "no byte for five minutes";
    if (count <= 0) return false;
    buffer_.append(bytes, static_cast<size_t>(count));
    return true;
  }
  // Fewer bytes if the connection ends.
  std::string Take(size_t count) {
    while (buffer_.size() < count && Fill()) {
    }
    const std::string taken = buffer_.substr(0, count);
    buffer_.erase(0, taken.size());
    return taken;
  }
  std::optional<std::string> ReadChunk() {
    size_t end = 0;
    while ((end = buffer_.find("\r\n")) == std::string::npos) {
      if (!Fill()) return std::nullopt;
    }
    const size_t size = std::strtoull(Take(end + 2).c_str(), nullptr, 16);
    std::string data = Take(size + 2);
    if (size == 0) return std::nullopt;
    data.resize(std::min(data.size(), size));
    return data;
  }

  int socket_;
  bool connected_ = false;
  std::string buffer_;
  std::string events_;
};

inline TestResponse Get(uint16_t port, std::string_view path) {
  TestClient client(port);
  client.SendGet(path);
  return client.Read();
}

inline TestResponse Post(uint16_t port, std::string_view path, std::string_view body) {
  TestClient client(port);
  client.SendPost(path, body);
  return client.Read();
}

}  // namespace quire
