// The device on which end-to-end tests run engines.
#pragma once

#include <cstdlib>
#include <string>

namespace quire {

// As OpenDevice takes it: the environment's QUIRE_TEST_DEVICE, or the CPU.
inline std::string TestDevice() {
  const char* device = std::getenv("QUIRE_TEST_DEVICE");
  return device == nullptr ? "cpu" : device;
}

}  // namespace quire
