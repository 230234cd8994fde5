#include <gtest/gtest.h>

#include "server/generation_fields.h"
#include "server/server_fixture.h"

namespace quire {
namespace {

class SessionsTest : public ServerFixture {
 protected:
  void SetUp() override {
    engine_.set_behaviour(AnswerWith("xyz"));
    Start();
  }
  TestJson Error(const TestResponse& response) {
    EXPECT_EQ(response.status, 400) << response.body;
    return ParseTestJson(response.body)["error"];
  }
};

TEST_F(SessionsTest, ARequestNamesASession) {
  EXPECT_EQ(Complete({{"prompt", "a"}, {"session", "agent 7"}, {"session_ttl_s", 9}}).status, 200);
  EXPECT_EQ(Chat({{"messages", Messages("b")}, {"session", "agent 7"}}).status, 200);
  EXPECT_EQ(Complete({{"prompt", "c"}}).status, 200);
  const RequestSpec first = engine_.WaitForRequest(0);
  EXPECT_TRUE(first.session.ends_with(" agent 7")) << first.session;
  EXPECT_EQ(first.session_ttl_ms, 9000);
  EXPECT_EQ(engine_.WaitForRequest(1).session, first.session);
  EXPECT_EQ(engine_.WaitForRequest(1).session_ttl_ms, kDefaultSessionTtlS * 1000);
  EXPECT_EQ(engine_.WaitForRequest(2).session, "");
}

TEST_F(SessionsTest, ASessionHasOneAnswer) {
  EXPECT_EQ(Error(Complete({{"prompt", "a"}, {"session", "s"}, {"n", 2}}))["param"], "n");
  EXPECT_EQ(Error(Complete({{"prompt", {"a", "b"}}, {"session", "s"}}))["param"], "prompt");
  EXPECT_EQ(Error(Complete({{"prompt", "a"}, {"session", std::string(257, 's')}}))["param"],
            "session");
  EXPECT_EQ(Error(Complete({{"prompt", "a"}, {"session", "a\nb"}}))["param"], "session");
  EXPECT_EQ(Error(Complete({{"prompt", "a"}, {"session", "s"}, {"session_ttl_s", 0}}))["param"],
            "session_ttl_s");
}

TEST_F(SessionsTest, ListsAndReleasesThoseOfTheKeyAlone) {
  EXPECT_EQ(Complete({{"prompt", "a"}, {"session", "mine"}}).status, 200);
  const std::string name = engine_.WaitForRequest(0).session;
  engine_.mutable_sessions() = {{"1 mine", 64, 10}, {name, 128, 20.5}};
  const TestJson list = ParseTestJson(Get(port_, "/v1/sessions").body);
  ASSERT_EQ(list["data"].size(), 1u) << list;
  EXPECT_EQ(list["data"][0]["id"], "mine");
  EXPECT_EQ(list["data"][0]["pinned_tokens"], 128);
  EXPECT_EQ(list["data"][0]["expires_in_s"], 20.5);

  const auto release = [&](const TestJson& body) {
    return Post(port_, "/v1/sessions/release", body.dump());
  };
  EXPECT_EQ(ParseTestJson(release({{"session", "mine"}}).body)["released"], true);
  EXPECT_EQ(engine_.released(), std::vector<std::string>{name});
  EXPECT_EQ(ParseTestJson(release({{"session", "other"}}).body)["released"], false);
  EXPECT_EQ(Error(release(TestJson::object()))["param"], "session");
}

}  // namespace
}  // namespace quire
