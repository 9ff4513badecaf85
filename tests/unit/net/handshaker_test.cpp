#include "proxy/net/handshaker.hpp"

#include <poll.h>

#include <future>
#include <memory>
#include <string>

#include <doctest/doctest.h>

#include "tests/support/tls_pair.hpp"

using namespace outrigger;
using namespace outrigger::net;
using namespace outrigger::test;

namespace {

constexpr Nanos kLong = std::chrono::hours{1};

/// One handshake on a thread of its own, and the client in the test's hand.
struct Rig {
  Rig() { client.attach(wire.ends[0]); }

  void begin(Nanos timeout) {
    handshaker->begin({.listener = 7,
                       .descriptor = std::exchange(wire.ends[1], -1),
                       .peer = "192.0.2.1",
                       .context = server_context(shown(authority.issue())),
                       .timeout = timeout});
  }
  /// Waits until the server has something to say; false: it has closed.
  bool wait() {
    pollfd wanted{.fd = wire.ends[0], .events = POLLIN, .revents = 0};
    REQUIRE(::poll(&wanted, 1, 20'000) == 1);
    char byte = 0;
    return ::recv(wire.ends[0], &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
  }
  void shake() {
    while (client.handshake() == IoStatus::again) {
      REQUIRE(wait());
      client.announce(true, false);
    }
  }

  Authority authority;
  SocketPair wire;
  TlsTicket ticket;
  std::shared_ptr<const TlsContext> context = client_context({.ca = as_file(authority.certificate())});
  TlsSession client{*context, "localhost", ticket};
  std::promise<Handshaker::Outcome> promise;
  std::unique_ptr<Handshaker> handshaker =
      std::make_unique<Handshaker>([this](Handshaker::Outcome outcome) { promise.set_value(std::move(outcome)); });
};

}  // namespace

TEST_SUITE("net") {
  TEST_CASE("what comes out of a handshake is a connection on which bytes flow, with all that was known of it") {
    Rig rig;
    rig.begin(kLong);
    rig.shake();
    Handshaker::Outcome outcome = rig.promise.get_future().get();
    CHECK(outcome.failure.empty());
    CHECK(outcome.listener == 7);
    CHECK(outcome.peer == "192.0.2.1");
    REQUIRE(outcome.tls);
    rig.handshaker.reset();  // which has nothing more to do with it
    const std::string_view text = "ping";
    CHECK(rig.client.send(std::span(&text, 1)).bytes == 4);
    char room[16];
    outcome.tls->announce(true, false);
    CHECK(outcome.tls->recv(room).bytes == 4);
    ::close(outcome.descriptor);
  }

  TEST_CASE("who leaves in the middle of a handshake has failed it, and so has who takes too long") {
    for (const bool leaves : {true, false}) {
      Rig rig;
      rig.begin(leaves ? kLong : Nanos{1});
      if (leaves) rig.wire.close(0);
      const Handshaker::Outcome outcome = rig.promise.get_future().get();
      CHECK(outcome.failure == (leaves ? "closed during the handshake" : "not done in time"));
      CHECK(outcome.descriptor == -1);
      if (!leaves) CHECK_FALSE(rig.wait());
    }
  }

  TEST_CASE("when the process drains there is less time left") {
    Rig rig;
    rig.begin(kLong);
    rig.handshaker->hurry(Nanos{1});
    CHECK(rig.promise.get_future().get().failure == "not done in time");
  }

  TEST_CASE("what is under way when all ends is cut, and nobody is told") {
    Rig rig;
    rig.begin(kLong);
    rig.handshaker.reset();
    CHECK_FALSE(rig.wait());
    CHECK(rig.promise.get_future().wait_for(std::chrono::seconds{0}) == std::future_status::timeout);
  }
}
