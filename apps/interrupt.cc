#include "apps/interrupt.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <utility>

namespace quire {

struct Interrupt::Impl {
  void Wait() {
    signals.async_wait([this](const boost::system::error_code& error, int) {
      if (error) return;
      pressed = true;
      Wait();
    });
  }

  boost::asio::io_context io{1};
  boost::asio::signal_set signals{io, SIGINT};
  bool pressed = false;
};

Interrupt::Interrupt() : impl_(std::make_unique<Impl>()) {
  impl_->Wait();
}

Interrupt::~Interrupt() = default;

bool Interrupt::Take() {
  impl_->io.poll();
  return std::exchange(impl_->pressed, false);
}

}  // namespace quire
