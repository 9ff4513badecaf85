#include <doctest/doctest.h>

#include "tests/support/script.hpp"

using namespace outrigger;
using namespace outrigger::test;
using policy::Counts;

namespace {

/// One request that is answered with 200, whatever would have happened to it.
void pass(Script& s, Nanos at) {
  s.orders_of(at, ready());
  s.send(at, 0);
  s.at(at, head(0, 200), "relay 0");
  s.finish(at);
}

policy::FallbackConfig when_exhausted() {
  policy::FallbackConfig rule;
  rule.exhausted = true;
  return rule;
}

}  // namespace

TEST_SUITE("exchange") {
  TEST_CASE("a policy that only observes refuses nothing and says what it would have refused") {
    Script s{plain().rate_limit(1s).bulkhead(1).circuit(1).observes()};
    const auto place = s.take_place();
    s.begin();
    s.at(10ms, head(0, 500), "relay 0");
    s.at(11ms, done(0), "");
    s.finish(12ms);
    s.ends("500 upstream_error http_5xx -a 12 stop attempts_exhausted");
    s.decisions_are("0 bulkhead would_bulkhead_full");
    s.again();
    s.begin();
    s.at(20ms, head(0, 200), "relay 0");
    s.at(21ms, done(0), "");
    s.finish(22ms);
    s.decisions_are("0 rate_limit would_rate_limited, 0 bulkhead would_bulkhead_full, 0 circuit would_circuit_open");
  }

  TEST_CASE("a policy that only observes does not retry, and says that it would have") {
    Script s{retrying(3).attempt_timeout(5ms).observes()};
    s.begin();
    s.at(10ms, head(0, 503), "relay 0");
    s.at(11ms, done(0), "");
    s.finish(12ms);
    s.decisions_are("10 retry would_retry");
  }

  TEST_CASE("a policy that only observes does not hedge, and says when it would have") {
    Script s{plain().hedge(20ms).observes()};
    s.begin();
    s.at(20ms, tick(), "");
    s.at(30ms, head(0, 200), "relay 0");
    s.at(31ms, done(0), "");
    s.finish(32ms);
    s.decisions_are("20 hedge would_hedge");
  }

  TEST_CASE("a client's own deadline still ends its request") {
    Script s{plain().client_waits(3ms).observes()};
    s.begin();
    s.at(3ms, tick(), "abort 0, reply 504 overall_timeout no-retry");
    s.finish(4ms);
    s.decisions_are("0 deadline would_deadline_too_short");
  }

  TEST_CASE("faults, fallbacks and stored answers are only noted") {
    policy::FallbackConfig rule;
    rule.exhausted = true;
    policy::ChaosConfig chaos;
    chaos.abort = policy::ChaosAbort{.probability = 1, .kind = policy::ChaosAbort::Kind::reset};
    Script s{plain().fallback(rule).chaos(chaos).observes()};
    s.begin();
    s.at(10ms, head(0, 503), "relay 0");
    s.at(11ms, done(0), "");
    s.finish(12ms);
    s.decisions_are("0 chaos would_chaos, 10 fallback would_fallback");
  }

  TEST_CASE("each admission is asked, and its refusal noted once") {
    Given given;
    std::string_view noted;
    SUBCASE("a rate of requests") {
      given.rate_limit(1h);
      noted = "0 rate_limit would_rate_limited";
    }
    SUBCASE("a rate of attempts") {
      given.rate_limit(1h, 1, 0s, Counts::attempt);
      noted = "0 rate_limit would_rate_limited";
    }
    SUBCASE("the throttle") {
      given.throttling();
      noted = "0 throttle would_throttled";
    }
    SUBCASE("a bulkhead of requests") {
      given.bulkhead(1, 0, 0s, Counts::request);
      noted = "0 bulkhead would_bulkhead_full";
    }
    SUBCASE("a bulkhead with a queue: who would have waited counts as refused") {
      given.bulkhead(1, 10, 1s);
      noted = "0 bulkhead would_bulkhead_full";
    }
    SUBCASE("a level of a bulkhead") {
      given.bulkhead(10).priority(Priority::low);
      given.bulkheads[0].priorities.fraction = {0.1, 0.8, 1};
      noted = "0 bulkhead would_shed_load";
    }
    SUBCASE("an adaptive limit") {
      given.adaptive_limit(1, 10);
      noted = "0 adaptive_limit would_concurrency_limit";
    }
    SUBCASE("a circuit") {
      given.circuit(1);
      noted = "0 circuit would_circuit_open";
    }
    SUBCASE("a circuit of requests") {
      given.circuit(1, policy::CircuitScope::key, Counts::request);
      noted = "0 circuit would_circuit_open";
    }
    SUBCASE("circuits of endpoints") {
      given.circuit(1, policy::CircuitScope::endpoint).endpoints(1);
      noted = "0 circuit would_circuit_open";
    }
    Script s{given.observes()};
    pass(s, 0ms);
    s.decisions_are("");
    policy::GatePermit place;
    if (!given.bulkheads.empty()) place = s.take_place();
    if (given.adaptive) place = s.take_adaptive_place();
    if (given.throttle) s.others_fail(0ms, 100'000);
    if (!given.circuits.empty()) s.circuit().force_open();
    s.again();
    pass(s, 1ms);
    s.decisions_are(noted);
    s.ends("200 ok success -a 0");
    CHECK(s.timeline().queued == 0ms);
  }

  TEST_CASE("limits by key are asked for the request's own key") {
    policy::RateLimitConfig limit;
    limit.requests = 1;
    limit.per = 1h;
    limit.burst = 1;
    limit.key = policy::RateLimitConfig::Key::client_ip;
    Given given = plain().observes();
    given.rate_limits.push_back(limit);
    given.facts.client_ip = "10.0.0.1";
    Script s{given};
    pass(s, 0ms);
    s.again();
    pass(s, 1ms);
    s.decisions_are("0 rate_limit would_rate_limited");
    s.facts().client_ip = "10.0.0.2";
    s.again();
    pass(s, 2ms);
    s.decisions_are("");
  }

  TEST_CASE("what admits takes its shadow permits, and they go back as they would have") {
    Script s{plain()
                 .bulkhead(3)
                 .bulkhead(3, 0, 0s, Counts::request)
                 .adaptive_limit(3)
                 .rate_limit(1h, 2)
                 .circuit(1, policy::CircuitScope::key, Counts::request)
                 .observes()};
    s.begin();
    CHECK(s.bulkhead(0).in_flight() == 1);
    CHECK(s.bulkhead(1).in_flight() == 1);
    CHECK(s.adaptive().in_flight() == 1);
    CHECK(s.permits_left(0ms) == 1);
    s.at(10ms, head(0, 503), "relay 0");
    CHECK(s.circuit().state() == policy::CircuitState::open);
    s.finish(11ms);
    CHECK(s.permits_left(11ms) == 1);
  }

  TEST_CASE("a refusal by one limit does not keep the request from the shadows behind it") {
    Script s{plain().bulkhead(1).bulkhead(3).observes()};
    const auto place = s.take_place(0);
    s.begin();
    CHECK(s.bulkhead(1).in_flight() == 1);
    s.at(10ms, head(0, 200), "relay 0");
    s.finish(11ms);
    CHECK(s.bulkhead(0).in_flight() == 1);
    s.decisions_are("0 bulkhead would_bulkhead_full");
    const_cast<policy::GatePermit&>(place).release();
  }

  TEST_CASE("nobody waits for a rate, though its place is taken") {
    Script s{plain().rate_limit(1s, 1, 10s).observes()};
    pass(s, 0ms);
    s.again();
    s.at(1ms, ready(), "start 0 primary e1");
    s.send(1ms, 0);
    s.at(2ms, head(0, 200), "relay 0");
    s.finish(3ms);
    s.decisions_are("");
    CHECK(s.timeline().queued == 0ms);
  }

  TEST_CASE("no attempt has a time limit of its own, and the request only its overall one") {
    Script s{retrying(3).attempt_timeout(5ms).overall(1s).max_duration(500ms).observes()};
    s.begin();
    s.wakeup_is(5ms);
    s.at(5ms, tick(), "");
    s.wakeup_is(1s);
    s.at(600ms, tick(), "");
    s.at(900ms, head(0, 200), "relay 0");
    s.at(5s, tick(), "");
    s.finish(6s);
    s.decisions_are("5 retry would_attempt_timeout, 5 retry would_retry");
  }

  TEST_CASE("the upstream is told the deadline that there is, not an attempt's own limit") {
    Script s{retrying(3).attempt_timeout(5ms).overall(1s).observes()};
    s.begin();
    CHECK(s.forwarded() == 1s);
    s.at(1s, tick(), "abort 0, reply 504 overall_timeout no-retry");
    s.finish(1s);
  }

  TEST_CASE("a deadline that cannot be read ends nothing") {
    Given given = plain().observes();
    given.facts.deadline_unreadable = given.policy.deadline.reject_invalid = true;
    Script s{given};
    pass(s, 0ms);
    s.decisions_are("0 deadline would_bad_request");
  }

  TEST_CASE("each reason not to try again is noted in its place") {
    Given given = retrying(3).observes();
    std::string_view noted;
    SUBCASE("none") { noted = "10 retry would_retry"; }
    SUBCASE("not idempotent") {
      given.post();
      noted = "10 retry would_http_non_idempotent";
    }
    SUBCASE("the budget") {
      given.budget(no_extras());
      noted = "10 budget would_budget_denied";
    }
    SUBCASE("one's own circuit") {
      given.circuit(1);
      noted = "10 circuit would_circuit_open";
    }
    SUBCASE("a limit of attempts") {
      given.rate_limit(1h, 1, 0s, policy::Counts::attempt);
      noted = "10 rate_limit would_rate_limited";
    }
    SUBCASE("the deadline") {
      given.overall(50ms);
      noted = "10 retry would_deadline_insufficient";
    }
    Script s{given};
    s.begin();
    s.at(10ms, head(0, 503), "relay 0");
    s.finish(11ms);
    s.decisions_are(noted);
  }

  TEST_CASE("hedges are noted when they would have been due, as many as there would have been") {
    Script s{plain().hedge(20ms, 2).observes()};
    s.begin();
    s.at(20ms, tick(), "");
    s.wakeup_is(40ms);
    s.at(40ms, tick(), "");
    s.wakeup_is(15s);
    s.at(50ms, head(0, 200), "relay 0");
    s.finish(51ms);
    s.decisions_are("20 hedge would_hedge, 40 hedge would_hedge");
  }

  TEST_CASE("a hedge would have needed a place of its own, a retry that of the attempt before it") {
    Script hedged{plain().hedge(20ms, 1).bulkhead(1).observes()};
    hedged.begin();
    hedged.at(20ms, tick(), "");
    hedged.at(50ms, head(0, 200), "relay 0");
    hedged.finish(51ms);
    hedged.decisions_are("20 bulkhead would_bulkhead_full");

    Script retried{retrying(2).bulkhead(1).observes()};
    retried.begin();
    retried.at(50ms, head(0, 503), "relay 0");
    retried.finish(51ms);
    retried.decisions_are("50 retry would_retry");
  }

  TEST_CASE("a stored answer is kept up to date by what passes, and only noted") {
    Script s{plain().cache(5s).observes()};
    s.begin();
    s.at(1ms, head(0, 200), "store 0, relay 0");
    s.finish(2ms);
    s.again();
    s.at(3ms, ready(), "start 0 primary e1");
    s.send(3ms, 0);
    s.at(4ms, head(0, 200), "relay 0");
    s.finish(5ms);
    s.decisions_are("0 cache would_cached");
    s.ends("200 ok success -a 2");
  }

  TEST_CASE("nobody waits for another's answer, and nobody is refused for want of one") {
    Given given = plain().cache(5s).observes();
    Script s{given};
    policy::CacheAnswer leader = s.ask_cache(0ms);
    s.at(0ms, ready(), "start 0 primary e0");
    s.at(1ms, client_gone(), "abort 0");
    given.facts.cache->demand->only_if_cached = true;
    s.again(given.facts);
    s.at(2ms, ready(), "start 0 primary e1");
    s.at(3ms, client_gone(), "abort 0");
    s.decisions_are("0 cache would_not_cached");
  }

  TEST_CASE("a fallback is noted only where there would have been one") {
    SUBCASE("an old answer that there is") {
      Script s{plain().cache(1s, 10s).observes()};
      s.begin();
      s.at(1ms, head(0, 200), "store 0, relay 0");
      s.finish(2ms);
      s.again();
      s.at(5s, ready(), "start 0 primary e1");
      s.send(5s, 0);
      s.at(5001ms, head(0, 503), "store 0, relay 0");
      s.finish(5002ms);
      s.decisions_are("1 fallback would_fallback");
    }
    SUBCASE("none") {
      Script s{plain().cache(1s, 10s).observes()};
      s.begin();
      s.at(1ms, head(0, 503), "store 0, relay 0");
      s.finish(2ms);
      s.decisions_are("");
    }
    SUBCASE("another upstream for a GET") {
      Script s{plain().fallback_upstream(when_exhausted()).observes()};
      s.begin();
      s.at(1ms, head(0, 503), "relay 0");
      s.finish(2ms);
      s.decisions_are("1 fallback would_fallback");
    }
    SUBCASE("another upstream for a POST") {
      Script s{plain().post().fallback_upstream(when_exhausted()).observes()};
      s.begin();
      s.at(1ms, head(0, 503), "relay 0");
      s.finish(2ms);
      s.decisions_are("1 fallback would_http_non_idempotent");
    }
    SUBCASE("an upstream that failed") {
      Script s{plain().fallback(when_exhausted()).observes()};
      s.at(0ms, ready(), "start 0 primary e0");
      s.at(1ms, unreachable(0), "reply 502 connect_refused");
      s.finish(2ms);
      s.decisions_are("1 fallback would_fallback");
      s.ends("502 upstream_error connect_refused U8 2 stop attempts_exhausted");
    }
  }

  TEST_CASE("a dead idle connection is tried again at once by a policy that only observes, too") {
    policy::ChaosConfig chaos;
    chaos.delay = policy::ChaosDelay{.probability = 1, .min = 5ms, .max = 5ms};
    Script s{retrying(3).chaos(chaos).observes()};
    s.at(0ms, ready(), "start 0 primary e0");
    s.at(0ms, reused(0), "");
    s.at(0ms, sent(0), "");
    s.at(1ms, died_idle(0), "start 1 reconnect e0 fresh");
    s.send(1ms, 1);
    s.at(2ms, head(1, 200), "relay 1");
    s.finish(3ms);
    s.decisions_are("0 chaos would_chaos");
    CHECK(s.timeline().attempts[0].injected_delay == 0ms);
  }

  TEST_CASE("shadows learn what they would have learnt") {
    Script s{plain().throttling().circuit(2).observes()};
    s.begin();
    s.at(1ms, head(0, 503), "relay 0");
    s.finish(2ms);
    CHECK(s.rejection(2ms) == 0.5);
    CHECK(s.circuit().failures_in_a_row() == 1);
    s.again();
    s.at(3ms, ready(), "start 0 primary e1");
    s.at(4ms, unreachable(0), "reply 502 connect_refused");
    s.finish(5ms);
    CHECK(s.circuit().state() == policy::CircuitState::open);
  }
}
