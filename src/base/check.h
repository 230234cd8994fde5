// QUIRE_CHECK: an invariant of Quire itself, checked in every build. A failure prints the place,
// the condition, both values and the message, then aborts. Never on anything that input can reach:
// that is a Status (base/status.h).
#pragma once

#include <sstream>

namespace quire::check_internal {

// Collects the message of a failed check and aborts the process when it is destroyed.
class Failure {
 public:
  Failure(const char* file, int line, const char* condition);
  [[noreturn]] ~Failure();
  std::ostream& stream() { return stream_; }

 private:
  std::ostringstream stream_;
};

// Makes both branches of the ternary in QUIRE_CHECK void.
struct Voidify {
  void operator&(std::ostream&) const {}
};

}  // namespace quire::check_internal

#define QUIRE_CHECK(condition)                       \
  (condition) ? (void)0                              \
              : ::quire::check_internal::Voidify{} & \
                    ::quire::check_internal::Failure(__FILE__, __LINE__, #condition).stream()

#define QUIRE_CHECK_OP(a, op, b) QUIRE_CHECK((a)op(b)) << "(" << (a) << " vs " << (b) << ") "
#define QUIRE_CHECK_EQ(a, b) QUIRE_CHECK_OP(a, ==, b)
#define QUIRE_CHECK_NE(a, b) QUIRE_CHECK_OP(a, !=, b)
#define QUIRE_CHECK_LT(a, b) QUIRE_CHECK_OP(a, <, b)
#define QUIRE_CHECK_LE(a, b) QUIRE_CHECK_OP(a, <=, b)
#define QUIRE_CHECK_GT(a, b) QUIRE_CHECK_OP(a, >, b)
#define QUIRE_CHECK_GE(a, b) QUIRE_CHECK_OP(a, >=, b)
