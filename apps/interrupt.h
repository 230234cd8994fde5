// Ctrl-C as something to ask for, instead of the end of the process.
#pragma once

#include <memory>

namespace quire {

// While it lives, SIGINT is only noted. At most one at a time.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();

  // Whether Ctrl-C was pressed since the last call.
  bool Take();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace quire
