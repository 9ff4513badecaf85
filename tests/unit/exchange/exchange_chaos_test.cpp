#include <doctest/doctest.h>

#include "tests/support/script.hpp"

using namespace outrigger;
using namespace outrigger::test;

namespace {

policy::ChaosConfig abort_with(policy::ChaosAbort::Kind kind, std::uint16_t status = 503) {
  policy::ChaosConfig config;
  config.abort = policy::ChaosAbort{.probability = 1, .kind = kind, .status = status};
  return config;
}

policy::ChaosConfig delay_of(Nanos delay) {
  policy::ChaosConfig config;
  config.delay = policy::ChaosDelay{.probability = 1, .min = delay, .max = delay};
  return config;
}

using Kind = policy::ChaosAbort::Kind;

}  // namespace

TEST_SUITE("exchange") {
  TEST_CASE("an injected status looks like the upstream's answer to all that follows") {
    Script s{retrying(2).chaos(abort_with(Kind::status))};
    s.at(0ms, ready(), "");
    s.wakeup_is(100ms);
    s.at(100ms, tick(), "reply 503 http_5xx no-retry");
    s.finish(101ms);
    s.ends("503 upstream_error http_5xx -a 101 stop attempts_exhausted");
    s.attempts_are("1 primary retryable http_503 @0+0, 2 retry retryable http_503 @100+1");
  }

  TEST_CASE("an injected reset counts as one after bytes were sent") {
    Script s{plain().post().chaos(abort_with(Kind::reset))};
    s.at(0ms, ready(), "reply 502 reset");
    s.finish(1ms);
    s.ends("502 upstream_error reset U8 1 stop http_non_idempotent");
  }

  TEST_CASE("an injected delay comes before the attempt and is the upstream's for every limit") {
    Script s{retrying(1).attempt_timeout(100ms).chaos(delay_of(80ms))};
    s.at(0ms, ready(), "");
    s.wakeup_is(80ms);
    s.at(80ms, tick(), "start 0 primary e0");
    s.send(81ms, 0);
    s.wakeup_is(101ms);
    s.at(101ms, tick(), "abort 0, reply 504 attempt_timeout");
    s.finish(102ms);
  }

  TEST_CASE("a delay beyond the attempt's time limit is a timeout without the edge, and nothing else has befallen it") {
    policy::ChaosConfig both = abort_with(Kind::status);
    both.delay = delay_of(500ms).delay;
    Script s{retrying(1).attempt_timeout(100ms).chaos(both)};
    s.at(0ms, ready(), "");
    s.at(100ms, tick(), "reply 504 attempt_timeout");
    s.finish(102ms);
    CHECK(s.timeline().attempts[0].fault == exchange::Fault::none);
  }

  TEST_CASE("a client that leaves during a delay ends it, and nothing is said to the edge about the attempt") {
    Script s{plain().chaos(delay_of(500ms))};
    s.at(0ms, ready(), "");
    s.at(10ms, client_gone(), "");
    s.ends("499 client_gone client_disconnected D8 10");
  }

  TEST_CASE("the deadline ends a delay") {
    Script s{plain().overall(200ms).chaos(delay_of(500ms))};
    s.at(0ms, ready(), "");
    s.wakeup_is(200ms);
    s.at(200ms, tick(), "reply 504 overall_timeout no-retry");
    s.finish(201ms);
  }

  TEST_CASE("an answer that is cut short on purpose is relayed as such") {
    Script s{plain().chaos(abort_with(Kind::truncate))};
    s.begin();
    s.at(10ms, head(0, 200), "relay 0 truncated");
    s.at(10ms, failed(0, Reason::closed_early), "close");
    s.ends("200 upstream_error closed_early U9 10 stop response_committed");
  }

  TEST_CASE("a request that the experiment is not meant for meets no faults") {
    Given given = plain().chaos(abort_with(Kind::reset));
    given.facts.chaos = false;
    Script s{given};
    s.at(0ms, ready(), "start 0 primary e0");
    s.at(1ms, client_gone(), "abort 0");
  }

  TEST_CASE("faults are rolled for every attempt, and not again for a reconnect") {
    Script s{retrying(2).hedge(50ms).chaos(delay_of(1ms))};
    s.at(0ms, ready(), "");
    CHECK(s.chaos_rolls() == 1);
    s.at(1ms, tick(), "start 0 primary e0");
    s.at(1ms, reused(0), "");
    s.at(1ms, sent(0), "");
    s.at(2ms, died_idle(0), "start 1 reconnect e0 fresh");
    CHECK(s.chaos_rolls() == 1);
    s.send(3ms, 1);
    s.at(50ms, tick(), "");
    CHECK(s.chaos_rolls() == 2);
    s.at(51ms, tick(), "start 2 hedge e1 recent");
    s.at(52ms, unreachable(2), "");
    s.at(60ms, head(1, 503), "hold 1");
    s.at(160ms, tick(), "");
    CHECK(s.chaos_rolls() == 3);
    s.at(161ms, tick(), "start 3 retry e0 recent");
    s.at(162ms, client_gone(), "drop 1, abort 3");
  }

  TEST_CASE("a fault that befalls an attempt befalls its reconnect") {
    Script s{plain().chaos(abort_with(Kind::truncate))};
    s.at(0ms, ready(), "start 0 primary e0");
    s.at(0ms, reused(0), "");
    s.at(0ms, sent(0), "");
    s.at(1ms, died_idle(0), "start 1 reconnect e0 fresh");
    s.send(1ms, 1);
    s.at(2ms, head(1, 200), "relay 1 truncated");
    s.at(2ms, failed(1, Reason::closed_early), "close");
    CHECK(s.timeline().attempts[0].fault == exchange::Fault::none);
    CHECK(s.timeline().attempts[1].fault == exchange::Fault::truncate);
  }

  TEST_CASE("a delay, then the fault") {
    policy::ChaosConfig chaos = abort_with(Kind::reset);
    chaos.delay = delay_of(30ms).delay;
    Script s{plain().chaos(chaos)};
    s.at(0ms, ready(), "");
    s.wakeup_is(30ms);
    s.at(30ms, tick(), "reply 502 reset");
    s.finish(31ms);
    s.attempts_are("1 primary retryable reset @0+30");
    CHECK(s.timeline().attempts[0].injected_delay == 30ms);
    CHECK(s.timeline().attempts[0].fault == exchange::Fault::reset);
  }

  TEST_CASE("the hedge's clock runs through a delay, and a hedge may win meanwhile") {
    policy::ChaosConfig chaos;
    chaos.delay = policy::ChaosDelay{.probability = 0.5, .min = 500ms, .max = 500ms};
    // The first of these rolls delays, the second does not.
    while (!policy::chaos_roll(chaos, 0).acts() || policy::chaos_roll(chaos, 1).acts()) ++chaos.seed;
    Script s{plain().hedge(20ms).chaos(chaos)};
    s.at(0ms, ready(), "");
    s.wakeup_is(20ms);
    s.at(20ms, tick(), "start 1 hedge e1");
    s.send(21ms, 1);
    s.at(30ms, head(1, 200), "relay 1");
    s.finish(31ms);
    s.attempts_are("1 primary abort hedge_lost @0+30, 2 hedge success @20+11");
  }

  TEST_CASE("a hedge's injected status may win, and ends an attempt that is under way") {
    policy::ChaosConfig chaos = abort_with(Kind::status, 404);
    chaos.abort->probability = 0.5;
    // The first of these rolls passes, the second does not.
    while (policy::chaos_roll(chaos, 0).acts() || !policy::chaos_roll(chaos, 1).acts()) ++chaos.seed;
    Script s{plain().hedge(20ms).chaos(chaos)};
    s.begin();
    s.at(20ms, tick(), "abort 0, reply 404 http_4xx");
    s.finish(21ms);
    s.attempts_are("1 primary abort hedge_lost @0+20, 2 hedge non_retryable http_non_retryable_status @20+1");
  }

  TEST_CASE("a delay of no length is over at once") {
    policy::ChaosConfig chaos;
    chaos.delay = policy::ChaosDelay{.probability = 1, .min = 0ns, .max = 1ns};
    while (policy::chaos_roll(chaos, 0).delay != 0ns) ++chaos.seed;
    Script s{plain().chaos(chaos)};
    s.at(0ms, ready(), "");
    s.wakeup_is(0ms);
    s.at(0ms, tick(), "start 0 primary e0");
    s.send(0ms, 0);
    s.at(1ms, head(0, 200), "relay 0");
    s.finish(2ms);
  }

  TEST_CASE("a delay holds what the attempt holds") {
    Script s{plain().bulkhead(1).chaos(delay_of(100ms))};
    s.at(0ms, ready(), "");
    CHECK(s.bulkhead().in_flight() == 1);
    CHECK(s.in_flight() == 1);
    s.at(100ms, tick(), "start 0 primary e0");
    s.send(100ms, 0);
    s.at(110ms, head(0, 200), "relay 0");
    s.finish(111ms);
  }

  TEST_CASE("circuits and limits take an injected status for the upstream's") {
    Script s{plain().circuit(1).adaptive_limit(5).throttling().chaos(abort_with(Kind::status, 503))};
    s.at(0ms, ready(), "reply 503 http_5xx");
    s.finish(1ms);
    CHECK(s.circuit().state() == policy::CircuitState::open);
    CHECK(s.rejection(1ms) == 0.5);
  }

  TEST_CASE("an injected success earns what one of the upstream's would, once it is delivered") {
    const policy::BudgetConfig credit{.type = policy::BudgetType::success_credit,
                                      .min_per_second = 0,
                                      .capacity = 10,
                                      .retry_cost = 5,
                                      .success_credit = 2};
    policy::ChaosConfig chaos = abort_with(Kind::status, 200);
    chaos.abort->probability = 0.5;
    // The first of these rolls passes, the second does not.
    while (policy::chaos_roll(chaos, 0).acts() || !policy::chaos_roll(chaos, 1).acts()) ++chaos.seed;
    Script s{retrying(2).budget(credit).chaos(chaos)};
    const auto credits = [&] { return s.budget().available(credit, TimePoint{1h}); };
    s.begin();
    s.at(1ms, unreachable(0), "");
    s.at(101ms, tick(), "reply 200 success");
    CHECK(credits() == 5);
    s.finish(102ms);
    CHECK(credits() == 7);
  }

  TEST_CASE("circuits of requests take an injected reset for the upstream's") {
    Script s{plain().circuit(1, policy::CircuitScope::key, policy::Counts::request).chaos(abort_with(Kind::reset))};
    s.at(0ms, ready(), "reply 502 reset");
    s.finish(1ms);
    CHECK(s.circuit().state() == policy::CircuitState::open);
  }

  TEST_CASE("a delay that outlasts the deadline is the upstream's failure, one cut short by the client nobody's") {
    SUBCASE("the deadline") {
      Script s{plain().circuit(1).overall(200ms).chaos(delay_of(1s))};
      s.at(0ms, ready(), "");
      s.at(200ms, tick(), "reply 504 overall_timeout no-retry");
      s.finish(200ms);
      CHECK(s.circuit().state() == policy::CircuitState::open);
    }
    SUBCASE("the client") {
      Script s{plain().circuit(1).overall(200ms).chaos(delay_of(1s))};
      s.at(0ms, ready(), "");
      s.at(190ms, client_gone(), "");
      CHECK(s.circuit().state() == policy::CircuitState::closed);
    }
  }

  TEST_CASE("a delay counts for slow calls, and for the trigger of hedges") {
    Given given = plain().circuit(5).chaos(delay_of(2s)).hedge(10s);
    given.circuits[0].slow_call = policy::SlowCallConfig{.threshold = 1s, .rate = 1};
    given.circuits[0].minimum_calls = 1;
    Script s{given};
    s.at(0ms, ready(), "");
    s.at(2s, tick(), "start 0 primary e0");
    s.send(2s, 0);
    s.at(2001ms, head(0, 200), "relay 0");
    s.finish(2002ms);
    CHECK(s.circuit().state() == policy::CircuitState::open);
  }

  TEST_CASE("a custom classifier reads an injected status like any other") {
    Given given = retrying(2).chaos(abort_with(Kind::status, 404));
    policy::ClassifierRule rule;
    rule.status.emplace().insert(404, 404);
    rule.outcome = policy::Outcome::retryable;
    rule.reason = "not_yet";
    given.classifier = {rule};
    Script s{given};
    s.at(0ms, ready(), "");
    s.at(100ms, tick(), "reply 404 http_4xx no-retry");
    s.finish(101ms);
    CHECK(s.timeline().text(s.timeline().attempts[1].reason_text) == "not_yet");
  }

  TEST_CASE("an injected status that another attempt would not mend is the answer") {
    Script s{retrying(3).chaos(abort_with(Kind::status, 404))};
    s.at(0ms, ready(), "reply 404 http_4xx");
    s.finish(1ms);
    s.ends("404 ok http_4xx -a 1 stop non_retryable");
  }

  TEST_CASE("a fallback answers for an injected fault") {
    policy::FallbackConfig rule;
    rule.exhausted = true;
    SUBCASE("a status") {
      Script s{plain().chaos(abort_with(Kind::status)).fallback(rule)};
      s.at(0ms, ready(), "reply 200 http_5xx instead-of http_503");
      s.finish(1ms);
      s.ends("200 fallback http_5xx -a 1 stop attempts_exhausted");
    }
    SUBCASE("a reset") {
      Script s{plain().chaos(abort_with(Kind::reset)).fallback(rule)};
      s.at(0ms, ready(), "reply 200 reset instead-of reset");
      s.finish(1ms);
    }
    SUBCASE("an answer to be cut short, which is not relayed") {
      Script s{plain().chaos(abort_with(Kind::truncate)).fallback(rule)};
      s.begin();
      s.at(1ms, head(0, 503), "discard 0, reply 200 http_5xx instead-of http_503");
      s.finish(2ms);
    }
  }

  TEST_CASE("an answer to be cut short is not kept: it would have died") {
    Script s{retrying(2).chaos(abort_with(Kind::truncate))};
    s.begin();
    s.at(10ms, head(0, 503), "discard 0");
    s.at(110ms, tick(), "start 1 retry e1");
    s.send(110ms, 1);
    SUBCASE("the next is cut short, too") { s.at(120ms, head(1, 503), "relay 1 no-retry truncated"); }
    SUBCASE("no other comes") {
      s.at(120ms, failed(1, Reason::reset), "reply 502 reset no-retry");
      s.finish(121ms);
    }
    SUBCASE("none but at the deadline") {
      s.at(15s, tick(), "abort 1, reply 504 overall_timeout no-retry");
      s.finish(15001ms);
    }
  }

  TEST_CASE("a kept answer that was made up is sent when the next attempt brings nothing better") {
    policy::ChaosConfig chaos = abort_with(Kind::status);
    chaos.abort->probability = 0.5;
    while (!policy::chaos_roll(chaos, 0).acts() || policy::chaos_roll(chaos, 1).acts()) ++chaos.seed;
    Script s{retrying(2).chaos(chaos)};
    s.at(0ms, ready(), "");
    s.at(100ms, tick(), "start 1 retry e1");
    SUBCASE("nothing") {
      s.at(101ms, unreachable(1), "reply 503 http_5xx no-retry");
      s.finish(102ms);
      s.ends("503 upstream_error http_5xx -a 102 stop attempts_exhausted");
    }
    SUBCASE("a newer answer replaces it") {
      s.send(101ms, 1);
      s.at(102ms, head(1, 500), "relay 1 no-retry");
      s.finish(103ms);
    }
    SUBCASE("the client leaves") { s.at(101ms, client_gone(), "abort 1"); }
    SUBCASE("at the deadline") {
      s.at(15s, tick(), "abort 1, reply 503 http_5xx no-retry");
      s.finish(15001ms);
    }
  }

  TEST_CASE("an injected fault counts for the budget like any failure") {
    Script s{retrying(3).budget(no_extras()).chaos(abort_with(Kind::status))};
    s.at(0ms, ready(), "reply 503 http_5xx no-retry");
    s.finish(1ms);
    s.ends("503 upstream_error http_5xx -a 1 stop budget_denied");
  }

  TEST_CASE("a client that leaves while an injected answer is on its way") {
    Script s{plain().chaos(abort_with(Kind::status))};
    s.at(0ms, ready(), "reply 503 http_5xx");
    s.at(1ms, client_gone(), "close");
    CHECK(s.finished());
  }

  TEST_CASE("a fault without a back-off goes through all attempts in one instant") {
    Script s{retrying(10).backoff(0ms).chaos(abort_with(Kind::reset))};
    s.at(0ms, ready(), "reply 502 reset no-retry");
    s.finish(1ms);
    CHECK(s.timeline().attempts.size() == 10);
  }

  TEST_CASE("after its end the experiment does nothing") {
    policy::ChaosConfig chaos = abort_with(Kind::reset);
    chaos.until_us = 1'000'000;
    Given given = retrying(2).chaos(chaos);
    given.facts.wall_start_us = 950'000;
    Script s{given};
    s.at(0ms, ready(), "");
    s.at(100ms, tick(), "start 1 retry e1");
    CHECK(s.chaos_rolls() == 1);
    s.at(101ms, client_gone(), "abort 1");
  }

  TEST_CASE("a body is read while its attempt is delayed, and sent as a whole then") {
    Script s{plain().post().body().chaos(delay_of(100ms))};
    s.at(0ms, ready(), "drop-replay, read-body");
    s.at(50ms, body_complete(), "");
    s.at(100ms, tick(), "start 0 primary e0 recent");
    s.send(101ms, 0);
    s.at(110ms, head(0, 201), "drop-replay, relay 0");
    s.finish(111ms);
  }

  TEST_CASE("early facts about an attempt that the edge has not heard of are no news") {
    Script s{plain().chaos(delay_of(100ms))};
    s.at(0ms, ready(), "");
    s.at(1ms, woken(), "");
    s.at(2ms, tick(), "");
    s.wakeup_is(100ms);
    s.at(100ms, tick(), "start 0 primary e0");
    s.at(101ms, client_gone(), "abort 0");
  }
}
