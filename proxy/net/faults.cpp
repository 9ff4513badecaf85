#include "proxy/net/faults.hpp"

#include <cerrno>

namespace outrigger::net {

Reason connect_fault(int error) noexcept {
  switch (error) {
    case ECONNREFUSED:
    case ENOENT: return Reason::connect_refused;
    case ETIMEDOUT: return Reason::connect_timeout;
    default: return Reason::connect_error;
  }
}

Reason stream_fault(int error) noexcept {
  // EPIPE: the peer had closed its side before we wrote, which is an early close whoever noticed it first.
  return error == EPIPE ? Reason::closed_early : Reason::reset;
}

}  // namespace outrigger::net
