#include "server/http_parser.h"

#include <gtest/gtest.h>

#include <random>

#include "base/test_seed.h"

namespace quire {
namespace {

using State = HttpParser::State;

constexpr std::string_view kPost =
    "POST /v1/a%20b?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";
constexpr std::string_view kChunked =
    "POST /c HTTP/1.1\r\nTransfer-Encoding: "
    "chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: t\r\n\r\n";

TEST(HttpParserTest, ParsesARequest) {
  HttpParser parser(1024, 1024);
  std::string input(kPost);
  EXPECT_EQ(parser.state(), State::kIdle);
  ASSERT_EQ(parser.Feed(input), State::kDone);
  EXPECT_TRUE(input.empty());
  const HttpRequest request = parser.Take();
  EXPECT_EQ(request.method, "POST");
  EXPECT_EQ(request.path, "/v1/a b");
  EXPECT_EQ(request.body, "hello");
  EXPECT_TRUE(request.keep_alive);
  EXPECT_TRUE(request.http11);
  EXPECT_EQ(parser.state(), State::kIdle);
}

TEST(HttpParserTest, KeepAliveFollowsVersionAndHeader) {
  const std::pair<const char*, bool> cases[] = {
      {"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", false},
      {"GET / HTTP/1.0\r\n\r\n", false},
      {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true},
  };
  for (const auto& [text, keep_alive] : cases) {
    HttpParser parser(1024, 1024);
    std::string input = text;
    ASSERT_EQ(parser.Feed(input), State::kDone) << text;
    EXPECT_EQ(parser.Take().keep_alive, keep_alive) << text;
  }
}

TEST(HttpParserTest, TakesTheApiKey) {
  const std::pair<const char*, const char*> cases[] = {
      {"Authorization: Bearer sk-1 2", "sk-1 2"},
      {"authorization: bearer k", "k"},
      {"Authorization: Basic k", ""},
      {"Authorization: Bear", ""},
      {"Host: h", ""},
  };
  for (const auto& [header, key] : cases) {
    HttpParser parser(1024, 1024);
    std::string input = StrCat("GET / HTTP/1.1\r\n", header, "\r\n\r\n");
    ASSERT_EQ(parser.Feed(input), State::kDone) << header;
    EXPECT_EQ(parser.Take().api_key, key) << header;
  }
}

// Two requests, cut at every place and fed byte by byte, give the same two requests.
TEST(HttpParserTest, EveryCutGivesTheSame) {
  const std::string both = StrCat(kPost, kChunked);
  for (size_t cut = 0; cut <= both.size(); ++cut) {
    HttpParser parser(1024, 1024);
    std::vector<std::string> bodies;
    std::string input;
    for (const std::string& part : {both.substr(0, cut), both.substr(cut)}) {
      input += part;
      while (parser.Feed(input) == State::kDone) bodies.push_back(parser.Take().body);
    }
    EXPECT_EQ(bodies, (std::vector<std::string>{"hello", "abcde"})) << cut;
    EXPECT_EQ(parser.state(), State::kIdle) << cut;
  }
  HttpParser parser(1024, 1024);
  std::string input;
  int requests = 0;
  for (const char c : both) {
    input.push_back(c);
    if (parser.Feed(input) == State::kDone) {
      parser.Take();
      ++requests;
    }
  }
  EXPECT_EQ(requests, 2);
}

TEST(HttpParserTest, TellsHeaderFromBody) {
  HttpParser parser(1024, 1024);
  std::string input(kPost.substr(0, 10));
  EXPECT_EQ(parser.Feed(input), State::kHeader);
  input += kPost.substr(10, kPost.size() - 12);
  EXPECT_EQ(parser.Feed(input), State::kBody);
  input += kPost.substr(kPost.size() - 2);
  EXPECT_EQ(parser.Feed(input), State::kDone);
}

TEST(HttpParserTest, AsksForTheBodyOnce) {
  HttpParser parser(1024, 1024);
  std::string input = "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
  EXPECT_EQ(parser.Feed(input), State::kBody);
  EXPECT_TRUE(parser.TakeWantsContinue());
  EXPECT_FALSE(parser.TakeWantsContinue());
  input = "ok";
  EXPECT_EQ(parser.Feed(input), State::kDone);
  EXPECT_FALSE(parser.TakeWantsContinue());
}

void ExpectRefusal(std::string text, int status) {
  HttpParser parser(256, 64);
  ASSERT_EQ(parser.Feed(text), State::kError) << text;
  EXPECT_EQ(parser.error().status, status) << text << parser.error().message;
  std::string more = "GET / HTTP/1.1\r\n\r\n";
  EXPECT_EQ(parser.Feed(more), State::kError);
}

TEST(HttpParserTest, RefusesWithTheRightStatus) {
  ExpectRefusal("NONSENSE\r\n\r\n", 400);
  ExpectRefusal("GET / HTTP/3.0\r\n\r\n", 400);
  ExpectRefusal("GET / HTTP/1.1\r\nbad header\r\n\r\n", 400);
  ExpectRefusal("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400);
  ExpectRefusal("POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
  ExpectRefusal("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400);
  ExpectRefusal("POST / HTTP/1.1\r\nContent-Length: 65\r\n\r\n", 413);
  ExpectRefusal(
      StrCat("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n41\r\n", std::string(65, 'x')),
      413);
  ExpectRefusal(StrCat("GET / HTTP/1.1\r\nX: ", std::string(300, 'x'), "\r\n\r\n"), 431);
  ExpectRefusal(StrCat("GET /", std::string(300, 'x')), 431);
}

TEST(HttpParserTest, MutatedBytesNeverDoHarm) {
  std::mt19937_64 random(TestSeed());
  const std::string good = StrCat(kPost, kChunked);
  for (int round = 0; round < 20000; ++round) {
    std::string text = good;
    for (uint64_t edits = 1 + random() % 4; edits > 0; --edits) {
      const size_t at = random() % text.size();
      if (random() % 2 == 0) {
        text[at] = static_cast<char>(random());
      } else {
        text.erase(at, 1 + random() % 4);
      }
    }
    HttpParser parser(256, 64);
    std::string input;
    for (size_t at = 0; at < text.size();) {
      const size_t size = std::min<size_t>(1 + random() % 40, text.size() - at);
      input += text.substr(at, size);
      at += size;
      while (parser.Feed(input) == State::kDone) ASSERT_LE(parser.Take().body.size(), 64u);
    }
    if (parser.state() == State::kError) {
      ASSERT_GE(parser.error().status, 400);
    }
  }
}

}  // namespace
}  // namespace quire
