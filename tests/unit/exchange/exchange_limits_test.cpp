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
    auto other = script.take_adaptive_place();
    REQUIRE(other);
    script.at(0ms, ready(), "reply 503 concurrency_limit retry-after 1000");
    script.decisions_are("0 adaptive_limit concurrency_limit");
    script.finish(1ms);
    other.release();
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

  TEST_CASE("whichever limit of attempts refuses a retry names the stop reason, and gives back what was taken before") {
    Script rate{
        Given{retrying(2)}.rate_limit(10s, 1, 20s, Counts::attempt).budget({.type = policy::BudgetType::unlimited})};
    rate.begin();
    rate.at(10ms, head(0, 503), "hold 0");
    rate.at(110ms, tick(), "relay 0");
    CHECK(rate.stop_reason() == Reason::rate_limited);
    rate.finish(111ms);

    Script adaptive{Given{retrying(2)}.rate_limit(10s, 2, 0s, Counts::attempt).adaptive_limit(1, 5)};
    adaptive.begin();
    adaptive.at(10ms, head(0, 503), "hold 0");
    auto other = adaptive.take_adaptive_place();
    adaptive.at(110ms, tick(), "relay 0");
    CHECK(adaptive.stop_reason() == Reason::concurrency_limit);
    CHECK(adaptive.permits_left(110ms) == 1);
    adaptive.finish(111ms);
    other.release();
  }

  TEST_CASE("a refused hedge gives back what it had taken") {
    Script script{Given{plain()}.hedge(50ms).rate_limit(10s, 2, 0s, Counts::attempt).bulkhead(1)};
    script.begin();
    script.at(50ms, tick(), "");
    script.decisions_are("50 bulkhead bulkhead_full");
    CHECK(script.permits_left(50ms) == 1);
    script.at(60ms, head(0, 200), "relay 0");
    script.finish(61ms);
  }

  TEST_CASE("of several limits of a kind each is asked in its turn, and those before a refusal get theirs back") {
    Script rates{Given{plain()}.rate_limit(10s, 5).rate_limit(10s, 1)};
    rates.begin();
    rates.at(1ms, head(0, 200), "relay 0");
    rates.finish(2ms);
    rates.again();
    rates.at(1s, ready(), "reply 429 rate_limited retry-after 9000 no-retry");
    CHECK(rates.permits_left(1s, 0) == 4);
    rates.finish(1s);

    Script bulkheads{Given{plain()}.bulkhead(5, 0, 0s, Counts::request).bulkhead(1, 0, 0s, Counts::request)};
    auto other = bulkheads.take_place(1);
    bulkheads.at(0ms, ready(), "reply 503 bulkhead_full retry-after 1000");
    CHECK(bulkheads.bulkhead(0).in_flight() == 0);
    bulkheads.finish(0ms);
    other.release();
  }

  TEST_CASE("a request waits for one limit after the other, and all its waits are told") {
    Script script{Given{plain()}.rate_limit(100ms, 1, 1s).bulkhead(1, 5, 1s, Counts::request).bulkhead(1, 5, 1s)};
    script.begin();
    script.at(1ms, head(0, 200), "relay 0");
    script.finish(2ms);
    script.again();
    auto first = script.take_place(0);
    auto second = script.take_place(1);
    script.at(50ms, ready(), "");
    script.wakeup_is(100ms);
    script.at(100ms, tick(), "");
    CHECK(script.bulkhead(0).queued() == 1);
    first.release();
    script.at(130ms, woken(), "");
    CHECK(script.bulkhead(1).queued() == 1);
    second.release();
    script.at(170ms, woken(), "start 0 primary e1");
    CHECK(script.timeline().waits.rate_limit == 50ms);
    CHECK(script.timeline().waits.bulkhead == 70ms);
    CHECK(script.timeline().queued == 120ms);
    script.at(180ms, client_gone(), "abort 0");
  }

  TEST_CASE("less important requests are shed while places are left, and hear full where there are none") {
    for (const bool all_taken : {false, true}) {
      Given given = Given{plain()}.bulkhead(2).priority(Priority::low);
      given.bulkheads[0].priorities = {{0.5, 1, 1}};
      Script script{given};
      auto one = script.take_place();
      auto two = all_taken ? script.take_place() : policy::GatePermit{};
      script.at(0ms, ready(),
                all_taken ? "reply 503 bulkhead_full retry-after 1000" : "reply 503 shed_load retry-after 1000");
      script.finish(1ms);
      script.facts().priority = Priority::standard;
      script.again();
      script.at(2ms, ready(), all_taken ? "reply 503 bulkhead_full retry-after 1000" : "start 0 primary e0");
      script.at(3ms, client_gone(), all_taken ? "" : "abort 0");
    }
  }

  TEST_CASE("a waiter that a more important arrival throws out is shed at once") {
    Script script{Given{plain()}.bulkhead(1, 1, 1s).priority(Priority::low)};
    auto other = script.take_place();
    script.at(0ms, ready(), "");
    policy::GateWaiter important{{}};
    CHECK(script.join_queue(important, Priority::critical) == policy::GateAnswer::waiting);
    CHECK(script.woken() == 1);
    script.at(100ms, woken(), "reply 503 shed_load retry-after 1000");
    script.finish(100ms);
    script.ends("503 rejected shed_load P8 100");
    static_cast<void>(script.bulkhead().leave(important));
    other.release();
  }

  TEST_CASE("a wait for the adaptive limit ends after its time under its own name, and at the deadline at the latest") {
    Given given = Given{plain()}.adaptive_limit(1, 5);
    given.adaptive->max_wait = 100ms;
    Script script{given};
    auto other = script.take_adaptive_place();
    script.at(0ms, ready(), "");
    script.wakeup_is(100ms);
    script.at(100ms, tick(), "reply 503 concurrency_limit retry-after 1000");
    script.finish(100ms);
    other.release();

    Script late{given.overall(50ms)};
    auto another = late.take_adaptive_place();
    late.at(0ms, ready(), "");
    late.at(50ms, tick(), "reply 504 overall_timeout no-retry");
    late.finish(50ms);
    another.release();
  }

  TEST_CASE("requests are told apart by client or header, and those without the header share one bucket") {
    for (const bool by_header : {false, true}) {
      Given given = Given{plain()}.rate_limit(10s);
      given.rate_limits[0].key =
          by_header ? policy::RateLimitConfig::Key::header : policy::RateLimitConfig::Key::client_ip;
      given.rate_limits[0].header = "X-User";
      const Field ann[] = {{"x-user", "ann"}};
      const Field bob[] = {{"X-User", "bob"}};
      Script script{given};
      const auto ask = [&](std::string_view client, HeaderView fields, bool admitted) {
        script.facts().client_ip = client;
        script.facts().fields = fields;
        script.again();
        if (!admitted) {
          script.at(0ms, ready(), "reply 429 rate_limited retry-after 10000 no-retry");
          return script.finish(0ms);
        }
        CHECK(std::holds_alternative<exchange::StartAttempt>(script.orders_of(0ms, ready())[0]));
        script.at(0ms, client_gone(), "abort 0");
      };
      ask("10.0.0.1", ann, true);
      ask("10.0.0.1", ann, false);
      ask("10.0.0.1", bob, by_header);
      ask("10.0.0.2", ann, !by_header);
      ask("10.0.0.3", {}, true);
      ask("10.0.0.4", {}, !by_header);
    }
  }

  TEST_CASE("a kept answer's attempt holds no place during the back-off, a request-counted one holds it throughout") {
    Script script{Given{retrying(2)}.bulkhead(1).bulkhead(1, 0, 0s, Counts::request).adaptive_limit(1)};
    script.begin();
    script.at(10ms, head(0, 503), "hold 0");
    CHECK(script.bulkhead(0).in_flight() == 0);
    CHECK(script.bulkhead(1).in_flight() == 1);
    CHECK(script.adaptive().in_flight() == 0);
    script.at(110ms, tick(), "start 1 retry e1");
    CHECK(script.bulkhead(0).in_flight() == 1);
    script.at(111ms, client_gone(), "drop 0, abort 1");
  }
}
