// The limits within which a chat template is parsed and rendered.
//
// The Jinja engine calls these from lines that cmake/llama_jinja.cmake adds to it. A template comes
// with a model file: without limits "{% for i in range(10 ** 12) %}" or a macro that calls itself
// would take the server down. They bound time, memory and stack well enough for that, not exactly.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>

namespace quire {

inline constexpr uint64_t kJinjaStepCost = 32;     // one node of the syntax tree parsed or run
inline constexpr uint64_t kJinjaElementCost = 32;  // one element of an array, one part of a string

// What is left to the template that this thread works on. Thread-local because the engine offers no
// place to pass it through.
struct JinjaBudget {
  uint64_t units;  // steps, elements and bytes of text at their cost
  int depth;       // nesting of syntax tree nodes
};
inline thread_local JinjaBudget* jinja_budget = nullptr;

// Gives the template on this thread `budget` while it lives.
class JinjaBudgetScope {
 public:
  explicit JinjaBudgetScope(JinjaBudget* budget) { jinja_budget = budget; }
  ~JinjaBudgetScope() { jinja_budget = nullptr; }
  JinjaBudgetScope(const JinjaBudgetScope&) = delete;
  JinjaBudgetScope& operator=(const JinjaBudgetScope&) = delete;
};

inline void ChargeJinja(uint64_t units) {
  if (jinja_budget == nullptr) {
    return;
  }
  if (jinja_budget->units < units) {
    jinja_budget->units = 0;
    throw std::runtime_error("the template runs too long or makes too much text");
  }
  jinja_budget->units -= units;
}

// One node at work, on the stack of the engine's recursion.
class JinjaStep {
 public:
  JinjaStep() {
    ChargeJinja(kJinjaStepCost);
    if (jinja_budget != nullptr && --jinja_budget->depth < 0) {
      ++jinja_budget->depth;
      throw std::runtime_error("the template nests too deep");
    }
  }
  ~JinjaStep() {
    if (jinja_budget != nullptr) {
      ++jinja_budget->depth;
    }
  }
  JinjaStep(const JinjaStep&) = delete;
  JinjaStep& operator=(const JinjaStep&) = delete;
};

}  // namespace quire
