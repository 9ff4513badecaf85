#include <doctest/doctest.h>

#include "tests/support/script.hpp"

using namespace outrigger;
using namespace outrigger::test;
using policy::Counts;

TEST_SUITE("exchange") {
  TEST_CASE("a rate limit refuses with the time to the next permit, and stands before everything that costs") {
    Script script{Given{plain()}.rate_limit(10s).bulkhead(1, 0, 0s, Counts::request)};
    script.begin();
    script.at(1ms, head(0, 200), "relay 0");
    script.finish(2ms);
    script.again();
    script.at(1000ms, ready(), "reply 429 rate_limited retry-after 9000 no-retry");
    script.decisions_are("0 rate_limit rate_limited");
    script.finish(1001ms);
    script.ends("429 rejected rate_limited P5 1");
  }

  TEST_CASE("a request may wait for its permit, which is known to come in time or not waited for") {
    Script script{Given{plain()}.rate_limit(1s, 1, 2s).overall(3s)};
    script.begin();
    script.at(1ms, head(0, 200), "relay 0");
    script.finish(2ms);
    script.again();
    script.at(100ms, ready(), "");
    script.wakeup_is(1000ms);
    script.at(1000ms, tick(), "start 0 primary e1");
    script.send(1000ms, 0);
    script.at(1100ms, head(0, 200), "relay 0");
    script.finish(1100ms);
    CHECK(script.timeline().queued == 900ms);
    CHECK(script.timeline().waits.rate_limit == 900ms);
  }

  TEST_CASE("a wait that the deadline would cut is not begun") {
    Script script{Given{plain()}.rate_limit(1s, 1, 2s).overall(500ms)};
    script.begin();
    script.at(1ms, head(0, 200), "relay 0");
    script.finish(2ms);
    script.again();
    script.at(100ms, ready(), "reply 429 rate_limited retry-after 1000 no-retry");
    script.finish(101ms);
  }

  TEST_CASE("a permit that was not used goes back: its client left, or something behind the limit refused") {
    for (const bool leaves : {true, false}) {
      Script script{Given{plain()}.rate_limit(1s, 1, 2s).bulkhead(1, 0, 0s, Counts::request)};
      script.begin();
      script.at(1ms, head(0, 200), "relay 0");
      script.finish(2ms);
      script.again();
      if (leaves) {
        script.at(100ms, ready(), "");
        script.at(200ms, client_gone(), "");
        CHECK(script.finished());
      } else {
        auto other = script.take_place();
        script.at(1500ms, ready(), "reply 503 bulkhead_full retry-after 1000");
        script.finish(1500ms);
      }
      script.again();
      script.at(leaves ? 1000ms : 1500ms, ready(), "start 0 primary e1");
      script.at(1501ms, client_gone(), "abort 0");
    }
  }

  TEST_CASE("a full bulkhead refuses at once where nobody may wait") {
    Script script{Given{plain()}.bulkhead(1)};
    auto other = script.take_place();
    script.at(0ms, ready(), "reply 503 bulkhead_full retry-after 1000");
    script.decisions_are("0 bulkhead bulkhead_full");
    script.finish(1ms);
    script.ends("503 rejected bulkhead_full P8 1");
    other.release();
  }

  TEST_CASE("who waits for a place is woken when one is free, and holds it until the body is relayed") {
    for (const Counts counts : {Counts::attempt, Counts::request}) {
      Script script{Given{plain()}.bulkhead(1, 5, 1s, counts)};
      auto other = script.take_place();
      script.at(0ms, ready(), "");
      CHECK(script.bulkhead().queued() == 1);
      script.wakeup_is(1000ms);
      script.at(300ms, woken(), "");  // somebody else's
      other.release();
      CHECK(script.woken() == 1);
      CHECK(script.bulkhead().in_flight() == 1);
      script.at(400ms, woken(), "start 0 primary e0");
      script.send(400ms, 0);
      script.at(500ms, head(0, 200), "relay 0");
      CHECK(script.bulkhead().in_flight() == 1);
      script.at(600ms, done(0), "");
      CHECK(script.bulkhead().in_flight() == (counts == Counts::attempt ? 0 : 1));
      script.finish(700ms);
      CHECK(script.bulkhead().in_flight() == 0);
      CHECK(script.timeline().waits.bulkhead == 400ms);
    }
  }

  TEST_CASE("a wait for a place ends after its time, and at the deadline at the latest") {
    Script queue{Given{plain()}.bulkhead(1, 5, 1s)};
    auto other = queue.take_place();
    queue.at(0ms, ready(), "");
    queue.at(1000ms, tick(), "reply 503 bulkhead_queue_timeout retry-after 1000");
    queue.finish(1001ms);
    other.release();

    Script deadline{Given{plain()}.bulkhead(1, 5, 1s).overall(500ms)};
    auto another = deadline.take_place();
    deadline.at(0ms, ready(), "");
    deadline.at(500ms, tick(), "reply 504 overall_timeout no-retry");
    deadline.finish(501ms);
    another.release();
  }

  TEST_CASE("a place that is granted to somebody who has just given up is given back by him") {
    Script script{Given{plain()}.bulkhead(1, 5, 1s)};
    auto other = script.take_place();
    script.at(0ms, ready(), "");
    other.release();
    CHECK(script.bulkhead().in_flight() == 1);
    script.at(10ms, client_gone(), "");
    CHECK(script.bulkhead().in_flight() == 0);
    script.at(11ms, woken(), "");
  }

  TEST_CASE("a grant and the end of the wait in one instant is a grant") {
    Script script{Given{plain()}.bulkhead(1, 5, 1s)};
    auto other = script.take_place();
    script.at(0ms, ready(), "");
    other.release();
    script.at(1000ms, tick(), "start 0 primary e0");
    script.at(1001ms, client_gone(), "abort 0");
  }

  TEST_CASE("a retry that finds a limit full does not wait, and its reason is the stop reason") {
    Script script{Given{retrying(2)}.bulkhead(1, 5, 1s)};
    script.begin();
    script.at(10ms, head(0, 503), "hold 0");
    CHECK(script.bulkhead().in_flight() == 0);
    auto other = script.take_place();
    script.at(110ms, tick(), "relay 0");
    CHECK(script.stop_reason() == Reason::bulkhead_full);
    script.decisions_are("110 bulkhead bulkhead_full");
    script.finish(111ms);
    other.release();
  }

  TEST_CASE("a hedge that finds a limit full leaves the attempt in flight alone") {
    Script script{Given{plain()}.hedge(50ms).bulkhead(1, 5, 1s)};
    script.begin();
    script.at(50ms, tick(), "");
    script.decisions_are("50 bulkhead bulkhead_full");
    script.at(60ms, head(0, 200), "relay 0");
    script.finish(61ms);
  }

  TEST_CASE("limits that count attempts count each, limits that count requests count once") {
    Script script{Given{retrying(2)}.bulkhead(2).bulkhead(2, 0, 0s, Counts::request).hedge(50ms)};
    script.begin();
    script.at(50ms, tick(), "start 1 hedge e1");
    CHECK(script.bulkhead(0).in_flight() == 2);
    CHECK(script.bulkhead(1).in_flight() == 1);
    script.at(60ms, client_gone(), "abort 0, abort 1");
  }

  TEST_CASE("the adaptive limit refuses and lets wait like a bulkhead, under its own name") {
    Script script{Given{plain()}.adaptive_limit(1)};
    auto other = script.adaptive().admit(policy::AdaptiveLimitConfig{.initial = 1, .min = 1, .max = 1},
                                         Priority::critical, nullptr);
    REQUIRE(other.permit);
    script.at(0ms, ready(), "reply 503 concurrency_limit retry-after 1000");
    script.decisions_are("0 adaptive_limit concurrency_limit");
    script.finish(1ms);
    other.permit.release();
    script.again();
    script.at(2ms, ready(), "start 0 primary e0");
    script.send(2ms, 0);
    CHECK(script.adaptive().in_flight() == 1);
    script.at(3ms, head(0, 200), "relay 0");
    CHECK(script.adaptive().in_flight() == 1);
    script.at(4ms, done(0), "");
    CHECK(script.adaptive().in_flight() == 0);
    script.finish(5ms);
  }

  TEST_CASE("an open circuit spares the wait for limits that count attempts") {
    Script script{Given{plain()}.circuit(1).bulkhead(1, 5, 1s)};
    auto other = script.take_place();
    script.circuit().force_open();
    script.at(0ms, ready(), "reply 503 circuit_open retry-after 1000 no-retry");
    script.finish(1ms);
    other.release();
  }

  TEST_CASE("the clock of hedges begins after the last wait") {
    Script script{Given{plain()}.hedge(50ms).bulkhead(2, 5, 1s)};
    auto first = script.take_place();
    auto second = script.take_place();
    script.at(0ms, ready(), "");
    first.release();
    script.at(500ms, woken(), "start 0 primary e0");
    script.send(500ms, 0);
    script.wakeup_is(550ms);
    second.release();
    script.at(550ms, tick(), "start 1 hedge e1");
    script.at(560ms, client_gone(), "abort 0, abort 1");
  }

  TEST_CASE("a drain cuts those who wait") {
    Script script{Given{plain()}.bulkhead(1, 5, 1s)};
    auto other = script.take_place();
    script.at(0ms, ready(), "");
    script.at(10ms, drained(), "reply 503 draining retry-after 1000");
    CHECK(script.bulkhead().queued() == 0);
    script.finish(11ms);
    other.release();
  }

  TEST_CASE("a place that is granted when the deadline has passed is given back, and no attempt starts") {
    Script script{Given{plain()}.bulkhead(1, 5, 10s).overall(500ms)};
    auto other = script.take_place();
    script.at(0ms, ready(), "");
    other.release();
    script.at(500ms, woken(), "reply 504 overall_timeout no-retry");
    CHECK(script.bulkhead().in_flight() == 0);
    script.finish(501ms);
  }
}
