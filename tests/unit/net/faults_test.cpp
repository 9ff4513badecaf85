#include "proxy/net/faults.hpp"

#include <cerrno>

#include <doctest/doctest.h>

using namespace outrigger;
using namespace outrigger::net;

TEST_SUITE("net") {
  TEST_CASE("a connection that could not be made is refused, late, or failed in another way") {
    CHECK(connect_fault(ECONNREFUSED) == Reason::connect_refused);
    CHECK(connect_fault(ENOENT) == Reason::connect_refused);
    CHECK(connect_fault(ETIMEDOUT) == Reason::connect_timeout);
    for (const int error : {ENETUNREACH, EHOSTUNREACH, EADDRNOTAVAIL, EAGAIN, ECONNRESET, 0}) {
      CHECK(connect_fault(error) == Reason::connect_error);
    }
  }

  TEST_CASE("what this process or machine has run out of is no failure of the endpoint") {
    for (const int error : {EMFILE, ENFILE, ENOBUFS, ENOMEM}) CHECK(connect_fault(error) == Reason::pool_full);
  }

  TEST_CASE("a connection that ends under an exchange was reset, or closed before we had finished writing") {
    CHECK(stream_fault(EPIPE) == Reason::closed_early);
    CHECK(stream_fault(EPROTO) == Reason::tls_failure);
    for (const int error : {ECONNRESET, ETIMEDOUT, EHOSTUNREACH}) CHECK(stream_fault(error) == Reason::reset);
  }
}
