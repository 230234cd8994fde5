// Status and Result<T>: how Quire reports errors that the outside world can cause.
//
// A bad file, a bad request, exhausted memory or a vendor call that failed is a Status. A broken
// invariant of Quire itself is a QUIRE_CHECK (base/check.h). Messages are lowercase, name the
// thing, the value and what to do: "page size 48 is not a power of two; use 1, 2, 4 ... 256".
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "base/strcat.h"

namespace quire {

enum class StatusCode {
  kOk = 0,
  kInvalidArgument,    // the caller's value is wrong and will stay wrong
  kNotFound,           // the named thing does not exist
  kUnsupported,        // valid, but this build, model or hardware cannot do it
  kCorruptData,        // a file or message breaks its own format
  kResourceExhausted,  // memory, pages, queue places
  kUnavailable,        // not now; trying again may help
  kCancelled,          // the caller gave up
  kIoError,            // the operating system refused a file or socket call
  kInternal,           // a contained failure of Quire itself
};

// The lowercase name of `code`, e.g. "invalid_argument".
std::string_view StatusCodeName(StatusCode code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }

  // This status with `context` and ": " before its message; OK stays OK.
  Status WithContext(std::string_view context) const {
    return ok() ? *this : Status(code_, StrCat(context, ": ", message_));
  }

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

inline Status OkStatus() {
  return {};
}

template <typename... Pieces>
Status InvalidArgument(const Pieces&... pieces) {
  return {StatusCode::kInvalidArgument, StrCat(pieces...)};
}
template <typename... Pieces>
Status NotFound(const Pieces&... pieces) {
  return {StatusCode::kNotFound, StrCat(pieces...)};
}
template <typename... Pieces>
Status Unsupported(const Pieces&... pieces) {
  return {StatusCode::kUnsupported, StrCat(pieces...)};
}
template <typename... Pieces>
Status CorruptData(const Pieces&... pieces) {
  return {StatusCode::kCorruptData, StrCat(pieces...)};
}
template <typename... Pieces>
Status ResourceExhausted(const Pieces&... pieces) {
  return {StatusCode::kResourceExhausted, StrCat(pieces...)};
}
template <typename... Pieces>
Status Unavailable(const Pieces&... pieces) {
  return {StatusCode::kUnavailable, StrCat(pieces...)};
}
template <typename... Pieces>
Status IoError(const Pieces&... pieces) {
  return {StatusCode::kIoError, StrCat(pieces...)};
}
template <typename... Pieces>
Status InternalError(const Pieces&... pieces) {
  return {StatusCode::kInternal, StrCat(pieces...)};
}

// A value or the Status that says why there is none. Reading the value of a failed Result is a bug.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}         // NOLINT: implicit by design
  Result(Status status) : status_(std::move(status)) {  // NOLINT: implicit by design
    QUIRE_CHECK(!status_.ok()) << "Result made from an OK status without a value";
  }

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }

  T& operator*() & { return Value(); }
  const T& operator*() const& { return const_cast<Result*>(this)->Value(); }
  T&& operator*() && { return std::move(Value()); }
  T* operator->() { return &Value(); }
  const T* operator->() const { return &const_cast<Result*>(this)->Value(); }

 private:
  T& Value() {
    QUIRE_CHECK(value_.has_value()) << "value of a failed Result: " << status_.message();
    return *value_;
  }

  std::optional<T> value_;
  Status status_;
};

}  // namespace quire

// Returns the Status of `expr` from the enclosing function unless it is OK.
#define QUIRE_RETURN_IF_ERROR(expr)                                  \
  do {                                                               \
    if (::quire::Status quire_status = (expr); !quire_status.ok()) { \
      return quire_status;                                           \
    }                                                                \
  } while (false)

#define QUIRE_CONCAT_INNER(a, b) a##b
#define QUIRE_CONCAT(a, b) QUIRE_CONCAT_INNER(a, b)

// QUIRE_ASSIGN_OR_RETURN(auto x, MakeX()): x is the Result's value, or the Status is returned.
#define QUIRE_ASSIGN_OR_RETURN(lhs, expr) \
  QUIRE_ASSIGN_OR_RETURN_IMPL(QUIRE_CONCAT(quire_result_, __LINE__), lhs, expr)
#define QUIRE_ASSIGN_OR_RETURN_IMPL(result, lhs, expr) \
  auto result = (expr);                                \
  if (!result.ok()) {                                  \
    return result.status();                            \
  }                                                    \
  lhs = *std::move(result)
