#include "proxy/net/faults.hpp"

#include <cerrno>

namespace outrigger::net {

Reason connect_fault(int error) noexcept {
  switch (error) {
    case ECONNREFUSED:
    case ENOENT: return Reason::connect_refused;
    case ETIMEDOUT: return Reason::connect_timeout;
    // It is we, or this machine, who have no room for another connection; the endpoint was not even asked.
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM: return Reason::pool_full;
    default: return Reason::connect_error;
  }
}

Reason stream_fault(int error) noexcept {
  switch (error) {
    // The peer had closed its side before we wrote, or without saying so under TLS: an early close whoever noticed it.
    case EPIPE: return Reason::closed_early;
    // Refused behind the handshake: with TLS 1.3 that is how a server says that it does not know our certificate.
    case EPROTO: return Reason::tls_failure;
    default: return Reason::reset;
  }
}

}  // namespace outrigger::net
