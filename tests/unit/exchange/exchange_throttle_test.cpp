#include <doctest/doctest.h>

#include "tests/support/script.hpp"

using namespace outrigger;
using namespace outrigger::test;
using policy::Counts;

namespace {

constexpr int kNearlyAll = 100'000;

/// One request, which ends with this answer.
void answer(Script& script, Nanos at, int status) {
  script.at(at, ready(), "start 0 primary e0");
  script.send(at, 0);
  script.at(at, head(0, status), "relay 0");
  script.finish(at);
  script.again();
}

Given throttled() { return Given{plain()}.throttling().endpoints(1); }

}  // namespace

TEST_SUITE("exchange") {
  TEST_CASE("failures raise the share that is refused, and answers lower it, those about the request included") {
    Script script{throttled()};
    answer(script, 0ms, 200);
    CHECK(script.rejection(0ms) == 0);
    script.others_fail(0ms, 1);
    CHECK(script.rejection(1ms) == doctest::Approx(1.0 / 3));
    Script failing{throttled()};
    answer(failing, 0ms, 200);
    answer(failing, 1ms, 404);
    answer(failing, 2ms, 302);
    answer(failing, 3ms, 503);
    CHECK(failing.rejection(3ms) == doctest::Approx(1.0 / 5));
  }

  TEST_CASE("a throttled request gives back what it took, and comes before the queue of a bulkhead") {
    Script script{throttled().rate_limit(10s, 2).bulkhead(1, 5, 1s, Counts::request)};
    auto other = script.take_place();
    script.others_fail(0ms, kNearlyAll);
    script.at(0ms, ready(), "reply 503 throttled retry-after 1000 no-retry");
    CHECK(script.bulkhead().queued() == 0);
    CHECK(script.permits_left(0ms) == 2);
    script.decisions_are("0 throttle throttled");
    script.finish(1ms);
    script.ends("503 rejected throttled P6 1");
    other.release();
  }

  TEST_CASE("a rate limit refuses before the throttle is asked") {
    Script script{throttled().rate_limit(10s, 1)};
    script.begin();
    script.at(0ms, head(0, 200), "relay 0");
    script.finish(0ms);
    script.again();
    script.others_fail(0ms, kNearlyAll);
    script.at(1s, ready(), "reply 429 rate_limited retry-after 9000 no-retry");
    script.finish(1s);
  }

  TEST_CASE("the least important requests bear what is refused") {
    Script script{throttled()};
    for (int i = 0; i < 100; ++i) answer(script, 0ms, 200);
    script.others_fail(0ms, 25);
    int refused = 0;
    for (int i = 0; i < 100; ++i) {
      for (const Priority priority : {Priority::low, Priority::critical}) {
        script.facts().priority = priority;
        script.again();
        exchange::Actions orders = script.orders_of(1s, ready());
        const bool reply = std::holds_alternative<exchange::Reply>(orders[0]);
        if (reply) ++refused;
        if (priority == Priority::critical) CHECK_FALSE(reply);
        if (!reply) script.at(1s, client_gone(), "abort 0");
      }
    }
    CHECK(refused > 0);
  }

  TEST_CASE("what was refused, or its client left, or could not be made, is no settled request") {
    Script refused{throttled().bulkhead(1)};
    auto other = refused.take_place();
    refused.at(0ms, ready(), "reply 503 bulkhead_full retry-after 1000");
    refused.finish(0ms);
    CHECK(refused.rejection(0ms) == 0);
    other.release();

    Script gone{throttled()};
    gone.begin();
    gone.at(1ms, client_gone(), "abort 0");
    CHECK(gone.rejection(1ms) == 0);
  }

  TEST_CASE("what the client or we ourselves cut is no failure of the upstream") {
    Script drained_away{throttled()};
    drained_away.begin();
    drained_away.at(1ms, drained(), "abort 0, reply 503 draining retry-after 1000");
    drained_away.finish(1ms);
    CHECK(drained_away.rejection(1ms) == 0);

    for (const Reason why : {Reason::body_timeout, Reason::body_too_large}) {
      Script body{throttled().body()};
      body.at(0ms, ready(), "read-body, start 0 primary e0");
      body.at(0ms, connected(0), "");
      body.at(1ms, client(why),
              "abort 0, reply " + std::to_string(info(why).status) + " " + std::string{to_string(why)});
      body.finish(1ms);
      CHECK(body.rejection(1ms) == 0);
    }

    Script cut{throttled().max_duration(1s)};
    cut.begin();
    cut.at(1s, tick(), "abort 0, reply 504 max_duration");
    cut.finish(1s);
    CHECK(cut.rejection(1s) == 0);
  }

  TEST_CASE("clients with little patience do not throttle everybody, a silent upstream does") {
    // Half of the overall timeout is what an upstream is given.
    for (const Nanos client_waits : {499ms, 500ms}) {
      Script script{throttled().overall(1s).client_waits(client_waits)};
      script.begin();
      script.at(client_waits, tick(), "abort 0, reply 504 overall_timeout no-retry");
      script.finish(client_waits);
      CHECK((script.rejection(client_waits) > 0) == (client_waits == 500ms));
    }
    Script silent{Given{retrying(1)}.throttling().attempt_timeout(50ms)};
    silent.begin();
    silent.at(50ms, tick(), "abort 0, reply 504 attempt_timeout");
    silent.finish(50ms);
    CHECK(silent.rejection(50ms) > 0);
  }

  TEST_CASE("a request that succeeds at its second attempt has succeeded, one that fails twice has failed once") {
    for (const int status : {200, 503}) {
      Script script{Given{retrying(2)}.throttling()};
      script.begin();
      script.at(0ms, head(0, 503), "hold 0");
      script.at(100ms, tick(), "start 1 retry e1");
      script.send(100ms, 1);
      script.at(110ms, head(1, status), status == 200 ? "drop 0, relay 1" : "drop 0, relay 1 no-retry");
      script.finish(110ms);
      CHECK(script.rejection(110ms) == (status == 200 ? 0 : 0.5));
    }
  }
}
