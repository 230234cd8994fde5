#include "base/status.h"

#include <gtest/gtest.h>

#include <memory>

namespace quire {
namespace {

TEST(StatusTest, DefaultIsOk) {
  EXPECT_TRUE(Status().ok());
  EXPECT_TRUE(OkStatus().ok());
  EXPECT_EQ(OkStatus().code(), StatusCode::kOk);
  EXPECT_EQ(OkStatus().message(), "");
}

TEST(StatusTest, MakersSetCodeAndMessage) {
  EXPECT_EQ(InvalidArgument("page size ", 48).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(InvalidArgument("page size ", 48).message(), "page size 48");
  EXPECT_EQ(NotFound("x").code(), StatusCode::kNotFound);
  EXPECT_EQ(Unsupported("x").code(), StatusCode::kUnsupported);
  EXPECT_EQ(CorruptData("x").code(), StatusCode::kCorruptData);
  EXPECT_EQ(ResourceExhausted("x").code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(Unavailable("x").code(), StatusCode::kUnavailable);
  EXPECT_EQ(IoError("x").code(), StatusCode::kIoError);
  EXPECT_EQ(InternalError("x").code(), StatusCode::kInternal);
  EXPECT_FALSE(InternalError("x").ok());
}

TEST(StatusTest, ContextComesFirst) {
  const Status status = NotFound("no key").WithContext("file 'a'");
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "file 'a': no key");
  EXPECT_TRUE(OkStatus().WithContext("file 'a'").ok());
  EXPECT_EQ(OkStatus().WithContext("file 'a'").message(), "");
}

TEST(StatusTest, CodesHaveNames) {
  EXPECT_EQ(StatusCodeName(StatusCode::kOk), "ok");
  EXPECT_EQ(StatusCodeName(StatusCode::kInvalidArgument), "invalid_argument");
  EXPECT_EQ(StatusCodeName(StatusCode::kResourceExhausted), "resource_exhausted");
  EXPECT_EQ(StatusCodeName(StatusCode::kCancelled), "cancelled");
  EXPECT_EQ(StatusCodeName(StatusCode::kInternal), "internal");
}

TEST(ResultTest, HoldsAValueOrAStatus) {
  const Result<int> value = 7;
  EXPECT_TRUE(value.ok());
  EXPECT_TRUE(value.status().ok());
  EXPECT_EQ(*value, 7);
  const Result<int> failed = NotFound("nothing");
  EXPECT_FALSE(failed.ok());
  EXPECT_EQ(failed.status().message(), "nothing");
}

TEST(ResultTest, MovesItsValueOut) {
  Result<std::unique_ptr<std::string>> result = std::make_unique<std::string>("text");
  EXPECT_EQ((*result)->size(), 4U);
  EXPECT_EQ(result->get(), (*result).get());
  const std::unique_ptr<std::string> moved = *std::move(result);
  EXPECT_EQ(*moved, "text");
}

TEST(ResultTest, ValueOfFailedResultDies) {
  const Result<int> failed = NotFound("nothing here");
  EXPECT_DEATH(static_cast<void>(*failed), "value of a failed Result: nothing here");
  EXPECT_DEATH(static_cast<void>(Result<int>{OkStatus()}), "OK status without a value");
}

Result<int> Half(int value) {
  if (value % 2 != 0) {
    return InvalidArgument(value, " is odd");
  }
  return value / 2;
}

Result<int> Quarter(int value) {
  QUIRE_ASSIGN_OR_RETURN(const int half, Half(value));
  int quarter = 0;
  QUIRE_ASSIGN_OR_RETURN(quarter, Half(half));
  return quarter;
}

Status CheckEven(int value, int& evaluations) {
  QUIRE_RETURN_IF_ERROR((++evaluations, Half(value).status()));
  return OkStatus();
}

TEST(ResultTest, MacrosReturnTheFirstError) {
  EXPECT_EQ(*Quarter(12), 3);
  EXPECT_EQ(Quarter(7).status().message(), "7 is odd");
  EXPECT_EQ(Quarter(6).status().message(), "3 is odd");
}

TEST(StatusTest, ReturnIfErrorEvaluatesOnce) {
  int evaluations = 0;
  EXPECT_TRUE(CheckEven(2, evaluations).ok());
  EXPECT_EQ(CheckEven(3, evaluations).message(), "3 is odd");
  EXPECT_EQ(evaluations, 2);
}

}  // namespace
}  // namespace quire
