#include <doctest/doctest.h>

#include "tests/support/script.hpp"

using namespace outrigger;
using namespace outrigger::test;

TEST_SUITE("exchange") {
  TEST_CASE("an endpoint whose connections are all in use is passed over") {
    Script script{Given{plain()}.connections(1)};
    const auto other = script.take_connection(0);
    for (int i = 0; i < 3; ++i) {
      script.at(0ms, ready(), "start 0 primary e1");
      script.send(0ms, 0);
      script.at(1ms, head(0, 200), "relay 0");
      script.finish(2ms);
      script.again();
    }
    script.at(0ms, client_gone(), "");
  }

  TEST_CASE("with all connections in use and no room to wait a request is refused by the pool") {
    Script script{Given{plain()}.connections(1)};
    auto first = script.take_connection(0);
    auto second = script.take_connection(1);
    script.at(0ms, ready(), "reply 503 pool_full retry-after 1000");
    script.decisions_are("0 pool pool_full");
    script.finish(1ms);
    script.ends("503 rejected pool_full P8 1");
    first.release();
    second.release();
  }

  TEST_CASE("a connection that could not be made for want of descriptors is refused by the pool, not the upstream") {
    Script script{Given{retrying(2)}.circuit(1).outlier(1).throttling()};
    script.at(0ms, ready(), "start 0 primary e0");
    script.at(0ms, unreachable(0, Reason::pool_full), "reply 503 pool_full retry-after 1000");
    script.finish(1ms);
    script.attempts_are("1 primary abort pool_full @0+0");
    script.decisions_are("0 pool pool_full");
    script.ends("503 rejected pool_full P8 1");
    CHECK(script.circuit().failures_in_a_row() == 0);
    CHECK(script.ejections() == 0);
    CHECK(script.rejection(1ms) == 0);
  }

  TEST_CASE("a retry for which there is no descriptor is the last, and the answer at hand is sent") {
    Script script{Given{retrying(3)}};
    script.at(0ms, ready(), "start 0 primary e0");
    script.send(0ms, 0);
    script.at(1ms, head(0, 503), "hold 0");
    script.at(2ms, in_memory(0), "");
    script.at(101ms, tick(), "start 1 retry e1");
    script.at(101ms, unreachable(1, Reason::pool_full), "relay 0 no-retry");
    script.decisions_are("101 pool pool_full");
    script.finish(102ms);
    CHECK(script.stop_reason() == Reason::pool_full);
  }

  TEST_CASE("a retry for which there is no descriptor does not hide the failure before it") {
    Script script{Given{retrying(3)}.circuit(2, policy::CircuitScope::key, policy::Counts::request)};
    script.at(0ms, ready(), "start 0 primary e0");
    script.at(0ms, unreachable(0), "");
    script.at(100ms, tick(), "start 1 retry e1");
    script.at(100ms, unreachable(1, Reason::pool_full), "reply 502 connect_refused no-retry");
    script.finish(101ms);
    script.ends("502 upstream_error connect_refused U8 101 stop pool_full");
    CHECK(script.circuit().failures_in_a_row() == 1);
  }

  TEST_CASE("a hedge for which there is no descriptor changes nothing for the attempt beside it") {
    Script script{Given{plain()}.hedge(50ms)};
    script.begin();
    script.at(50ms, tick(), "start 1 hedge e1");
    script.at(50ms, unreachable(1, Reason::pool_full), "");
    script.decisions_are("50 pool pool_full");
    script.at(60ms, failed(0, Reason::reset), "reply 502 reset no-retry");
    script.finish(61ms);
  }

  TEST_CASE("the fallback for a full pool is for want of descriptors, too") {
    policy::FallbackConfig rule;
    rule.reasons.insert(Reason::pool_full);
    Script script{Given{retrying(3)}.fallback(rule)};
    script.at(0ms, ready(), "start 0 primary e0");
    script.at(0ms, unreachable(0, Reason::pool_full), "reply 200 pool_full instead-of pool_full");
    script.finish(1ms);
  }

  TEST_CASE("a request waits for a connection until one is free, and its hedge clock starts then") {
    Script script{Given{plain()}.connections(1, 1).hedge(50ms)};
    auto first = script.take_connection(0);
    auto second = script.take_connection(1);
    script.at(0ms, ready(), "");
    CHECK(script.slots().queued() == 1);
    script.at(10ms, woken(), "");  // a stray one
    second.release();
    CHECK(script.woken() == 1);
    script.at(30ms, woken(), "start 0 primary e1");
    script.wakeup_is(80ms);
    CHECK(script.timeline().queued == 30ms);
    CHECK(script.timeline().waits.pool == 30ms);
    script.send(30ms, 0);
    script.at(40ms, head(0, 200), "relay 0");
    script.finish(41ms);
    first.release();
  }

  TEST_CASE("a wait for a connection ends with the deadline, with the client, and with the process") {
    const auto waits = [](const auto& end) {
      Script script{Given{plain()}.connections(1, 1).bulkhead(1).overall(100ms)};
      auto first = script.take_connection(0);
      auto second = script.take_connection(1);
      script.at(0ms, ready(), "");
      CHECK(script.bulkhead().in_flight() == 1);
      script.wakeup_is(100ms);
      end(script);
      CHECK(script.slots().queued() == 0);
      CHECK(script.bulkhead().in_flight() == 0);
      first.release();
      second.release();
    };
    waits([](Script& script) {
      script.at(100ms, tick(), "reply 504 overall_timeout no-retry");
      script.decisions_are("100 pool overall_timeout");
      script.finish(101ms);
    });
    waits([](Script& script) { script.at(50ms, client_gone(), ""); });
    waits([](Script& script) {
      script.at(50ms, drained(), "reply 503 draining retry-after 1000");
      script.finish(51ms);
    });
  }

  TEST_CASE("a slot that was given in the moment in which it is of no use any more goes to the next") {
    Script script{Given{plain()}.connections(1, 2).overall(100ms)};
    auto first = script.take_connection(0);
    auto second = script.take_connection(1);
    script.at(0ms, ready(), "");
    policy::SlotWaiter next;
    // As another request would.
    first.release();
    CHECK(script.endpoint(0).in_flight == 1);
    script.at(100ms, tick(), "reply 504 overall_timeout no-retry");
    CHECK(script.endpoint(0).in_flight == 0);
    script.finish(101ms);
    second.release();
  }

  TEST_CASE("no circuit permit is held while a request waits, and one that opened meanwhile refuses it") {
    Script script{Given{plain()}.connections(1, 1).circuit(1)};
    auto first = script.take_connection(0);
    auto second = script.take_connection(1);
    script.at(0ms, ready(), "");
    script.circuit().force_open();
    first.release();
    script.at(10ms, woken(), "reply 503 circuit_open retry-after 1000 no-retry");
    CHECK(script.endpoint(0).in_flight == 0);
    script.finish(11ms);
    second.release();
  }

  TEST_CASE("an endpoint behind its own open circuit is not waited for") {
    Script script{Given{plain()}.connections(1, 1).circuit(1, policy::CircuitScope::endpoint)};
    script.circuit(0).force_open();
    auto second = script.take_connection(1);
    script.at(0ms, ready(), "");  // the first endpoint is free, and of no use
    CHECK(script.endpoint(0).in_flight == 0);
    second.release();
    script.at(10ms, woken(), "start 0 primary e1");
    script.send(10ms, 0);
    script.at(11ms, head(0, 200), "relay 0");
    script.finish(12ms);
  }

  TEST_CASE("a retry does not wait: without a connection it is refused and the answer at hand is sent") {
    Script script{Given{retrying(3)}.connections(1, 5)};
    script.at(0ms, ready(), "start 0 primary e0");
    script.send(0ms, 0);
    script.at(1ms, head(0, 503), "hold 0");
    script.at(2ms, in_memory(0), "");
    auto first = script.take_connection(0);
    auto second = script.take_connection(1);
    script.at(101ms, tick(), "relay 0");
    script.decisions_are("101 pool pool_full");
    script.finish(102ms);
    CHECK(script.stop_reason() == Reason::pool_full);
    first.release();
    second.release();
  }

  TEST_CASE("an answer that is kept unread keeps its connection, which its own request does not wait for") {
    Script script{Given{retrying(3)}.connections(1, 5).endpoints(1)};
    script.at(0ms, ready(), "start 0 primary e0");
    script.send(0ms, 0);
    script.at(1ms, head(0, 503), "hold 0");
    CHECK(script.in_flight() == 1);
    script.at(101ms, tick(), "relay 0");
    CHECK(script.stop_reason() == Reason::pool_full);
    CHECK(script.in_flight() == 1);
    script.at(102ms, done(0), "");
    CHECK(script.in_flight() == 0);
    script.finish(103ms);
  }

  TEST_CASE("an answer that is kept whole in memory has given its connection back") {
    Script script{Given{retrying(2)}.connections(1).endpoints(1)};
    script.at(0ms, ready(), "start 0 primary e0");
    script.send(0ms, 0);
    script.at(1ms, head(0, 503), "hold 0");
    script.at(2ms, in_memory(0), "");
    CHECK(script.in_flight() == 0);
    script.at(101ms, tick(), "start 1 retry e0");
    script.send(101ms, 1);
    script.at(102ms, head(1, 200), "drop 0, relay 1");
    script.finish(103ms);
  }

  TEST_CASE("a kept answer whose connection died, or whose client left, has no connection any more") {
    for (const bool dies : {true, false}) {
      Script script{Given{retrying(2)}.connections(1).endpoints(2)};
      script.at(0ms, ready(), "start 0 primary e0");
      script.send(0ms, 0);
      script.at(1ms, head(0, 503), "hold 0");
      CHECK(script.in_flight() == 1);
      if (dies) script.at(2ms, lost(0), "");
      if (dies) CHECK(script.in_flight() == 0);
      script.orders_of(3ms, client_gone());
      CHECK(script.in_flight() == 0);
    }
  }

  TEST_CASE("a hedge does not wait, and takes nothing from what is under way") {
    Script script{Given{plain()}.connections(1, 5).hedge(50ms)};
    script.begin();
    auto other = script.take_connection(1);
    script.at(50ms, tick(), "");
    script.decisions_are("50 pool pool_full");
    script.at(60ms, head(0, 200), "relay 0");
    script.finish(61ms);
    other.release();
  }

  TEST_CASE("a reconnect inherits the connection's slot: nobody can take it in between") {
    Script script{Given{plain()}.connections(1, 5).endpoints(1)};
    script.at(0ms, ready(), "start 0 primary e0");
    script.at(0ms, reused(0), "");
    script.at(0ms, sent(0), "");
    script.at(1ms, died_idle(0), "start 1 reconnect e0 fresh");
    CHECK(script.in_flight() == 1);
    script.send(1ms, 1);
    script.at(2ms, head(1, 200), "relay 1");
    script.finish(3ms);
  }

  TEST_CASE("an arrival stands back for those who wait, unless it matters more") {
    for (const Priority priority : {Priority::standard, Priority::critical}) {
      Script script{Given{plain()}.connections(1, 1).priority(priority)};
      auto first = script.take_connection(0);
      auto second = script.take_connection(1);
      bool refuses = true;  // so that what comes free is not handed to the waiter at once
      policy::SlotWaiter waiter;
      const policy::SlotQuestion question{.set = &script.endpoints(),
                                          .max_pending = 1,
                                          .refuses = [](const void* who, policy::EndpointId,
                                                        TimePoint) noexcept { return *static_cast<const bool*>(who); },
                                          .who = &refuses};
      REQUIRE(script.slots().wait(waiter, question, TimePoint{1h}) == policy::SlotWaiter::State::waiting);
      first.release();
      refuses = false;
      const bool passes = priority == Priority::critical;
      script.at(0ms, ready(), passes ? "start 0 primary e0" : "");
      CHECK((waiter.state() == policy::SlotWaiter::State::granted) == !passes);
      script.orders_of(1ms, client_gone());
      second.release();
      CHECK(script.slots().leave(waiter));
    }
  }

  TEST_CASE("who finds somebody else to be the probe of the endpoint that it was given waits on, for the others too") {
    Given given = Given{plain()}.connections(1, 1).circuit(1, policy::CircuitScope::endpoint);
    given.circuits[0].cooldown = 100ms;
    Script script{given};
    constexpr TimePoint kStart{1h};
    Rng rng{1};
    policy::CircuitBreaker& circuit = script.circuit(0);
    circuit.admit(given.circuits[0], 0ms, kStart, rng)
        .permit.settle(given.circuits[0], policy::CircuitResult::failure, 0ms, kStart, rng);
    auto first = script.take_connection(0);
    auto second = script.take_connection(1);
    script.at(0ms, ready(), "");
    first.release();
    CHECK(script.woken() == 0);
    script.slots().offer(script.endpoints(), kStart + 100ms);
    CHECK(script.woken() == 1);
    {
      const auto probe = circuit.admit(given.circuits[0], 0ms, kStart + 100ms, rng);
      REQUIRE(probe.verdict.admitted());
      script.at(100ms, woken(), "");
      CHECK(script.slots().queued() == 1);
      script.slots().offer(script.endpoints(), kStart + 110ms);
      CHECK(script.woken() == 1);
      second.release();
      CHECK(script.woken() == 2);
      script.at(120ms, woken(), "start 0 primary e1");
    }
    CHECK(script.timeline().waits.pool == 120ms);
    CHECK(script.timeline().decisions.empty());
    script.send(120ms, 0);
    script.at(121ms, head(0, 200), "relay 0");
    script.finish(122ms);
  }

  TEST_CASE("who is dropped from the queue for somebody more important is refused by the pool") {
    Script script{Given{plain()}.connections(1, 1).priority(Priority::low)};
    auto first = script.take_connection(0);
    auto second = script.take_connection(1);
    script.at(0ms, ready(), "");
    policy::EndpointSet elsewhere;
    policy::SlotWaiter important;
    const policy::SlotQuestion question{.set = &elsewhere, .max_pending = 1, .priority = Priority::critical};
    REQUIRE(script.slots().wait(important, question, TimePoint{1h}) == policy::SlotWaiter::State::waiting);
    script.at(10ms, woken(), "reply 503 pool_full retry-after 1000");
    script.finish(11ms);
    CHECK_FALSE(script.slots().leave(important));
    first.release();
    second.release();
  }

  TEST_CASE("a policy that only observes is held to the connections there are") {
    Script script{Given{plain()}.connections(1, 1).observes()};
    auto first = script.take_connection(0);
    auto second = script.take_connection(1);
    script.at(0ms, ready(), "");
    first.release();
    script.at(10ms, woken(), "start 0 primary e0");
    script.send(10ms, 0);
    script.at(11ms, head(0, 200), "relay 0");
    script.finish(12ms);
    second.release();
  }
}
