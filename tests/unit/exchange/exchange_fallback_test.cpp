#include <doctest/doctest.h>

#include "proxy/policy/reason_groups.hpp"
#include "tests/support/script.hpp"

using namespace outrigger;
using namespace outrigger::test;

namespace {

policy::FallbackConfig when(Reason reason) {
  policy::FallbackConfig rule;
  rule.reasons.insert(reason);
  return rule;
}

policy::FallbackConfig when_exhausted() {
  policy::FallbackConfig rule;
  rule.exhausted = true;
  return rule;
}

policy::FallbackConfig when_status(std::uint16_t first, std::uint16_t last) {
  policy::FallbackConfig rule;
  rule.statuses.insert(first, last);
  return rule;
}

policy::FallbackConfig when_any(const policy::ReasonSet& reasons) {
  policy::FallbackConfig rule;
  rule.reasons = reasons;
  return rule;
}

policy::Classifier rule_for(std::uint16_t status, policy::Outcome outcome) {
  policy::ClassifierRule rule;
  rule.status.emplace().insert(status, status);
  rule.outcome = outcome;
  return {rule};
}

policy::ChaosConfig always(std::uint16_t status) {
  policy::ChaosConfig config;
  config.abort = policy::ChaosAbort{.probability = 1, .kind = policy::ChaosAbort::Kind::status, .status = status};
  return config;
}

/// An answer that bears the reason of a refusal by the upstream's own sidecar.
constexpr Field kRefusedThere[] = {{"X-Outrigger-Reason", "bulkhead_full"}};

}  // namespace

TEST_SUITE("exchange") {
  TEST_CASE("a refusal that the fallback is for is answered with the prepared response, under its own reason") {
    Script s{plain().bulkhead(1).fallback(when(Reason::bulkhead_full))};
    const auto place = s.take_place();
    s.at(0ms, ready(), "reply 200 bulkhead_full instead-of bulkhead_full");
    s.at(1ms, delivered(), "");
    s.ends("200 fallback bulkhead_full P8 1");
  }

  TEST_CASE("attempts that end without an acceptable answer are exhausted, and their last answer is replaced") {
    Script s{retrying(2).fallback(when_exhausted())};
    s.begin();
    s.at(10ms, head(0, 503), "hold 0");
    s.at(110ms, tick(), "start 1 retry e1");
    s.send(110ms, 1);
    s.at(120ms, head(1, 503), "drop 0, discard 1, reply 200 http_5xx instead-of http_503");
    s.at(121ms, delivered(), "");
    s.ends("200 fallback http_5xx -a 121 stop attempts_exhausted");
  }

  TEST_CASE("a fallback's upstream is asked once, and its answer is relayed with the mark") {
    Script s{plain().fallback_upstream(when_exhausted())};
    s.begin();
    s.at(10ms, head(0, 503), "hold 0, start 1 fallback e0");
    s.send(11ms, 1);
    s.at(20ms, head(1, 200), "drop 0, relay 1 instead-of http_503");
    s.at(21ms, done(1), "");
    s.finish(22ms);
    s.ends("200 fallback http_5xx -a 22 stop attempts_exhausted");
    s.attempts_are("1 primary retryable http_503 @0+10, 2 fallback success @10+11");
  }

  TEST_CASE("where the fallback's upstream does no better the original answer stands") {
    Script s{plain().fallback_upstream(when_exhausted())};
    s.begin();
    s.at(10ms, head(0, 503), "hold 0, start 1 fallback e0");
    SUBCASE("a failure of the server") {
      s.send(11ms, 1);
      s.at(20ms, head(1, 500), "discard 1, relay 0 no-retry");
    }
    SUBCASE("no connection") { s.at(20ms, unreachable(1), "relay 0 no-retry"); }
    SUBCASE("no answer before the deadline") {
      s.send(11ms, 1);
      s.at(15000ms, tick(), "abort 1, relay 0 no-retry");
    }
    s.at(15000ms, in_memory(0), "");
    s.at(15001ms, done(0), "");
    s.finish(15001ms);
    s.ends("503 upstream_error http_5xx -a 15001 stop attempts_exhausted");
  }

  TEST_CASE("a request that may have reached an upstream and is not idempotent never goes to another") {
    Script s{plain().post().fallback_upstream(when_exhausted())};
    s.begin();
    s.at(10ms, head(0, 503), "relay 0");
    s.at(11ms, done(0), "");
    s.finish(12ms);
    s.decisions_are("10 retry http_non_idempotent, 10 fallback http_non_idempotent");
  }

  TEST_CASE("a request that was refused before any attempt goes to the fallback's upstream with its body") {
    Script s{plain().post().body().bulkhead(1).fallback_upstream(when(Reason::bulkhead_full))};
    const auto place = s.take_place();
    s.at(0ms, ready(), "drop-replay, read-body, start 0 fallback e0 recent");
    s.send(1ms, 0);
    s.at(5ms, head(0, 201), "drop-replay, relay 0 instead-of bulkhead_full");
    s.at(6ms, done(0), "");
    s.finish(7ms);
    s.ends("201 fallback bulkhead_full -a 7");
  }

  TEST_CASE("a client that leaves while the fallback is under way ends both") {
    Script s{plain().fallback_upstream(when_exhausted())};
    s.begin();
    s.at(10ms, head(0, 503), "hold 0, start 1 fallback e0");
    s.send(11ms, 1);
    s.at(12ms, client_gone(), "drop 0, abort 1");
    s.ends("499 client_gone client_disconnected D8 12 stop attempts_exhausted");
  }

  TEST_CASE("while the fallback's upstream is asked no hedge of the race before it starts") {
    Script s{plain().hedge(50ms).fallback_upstream(when_exhausted())};
    s.begin();
    s.at(10ms, head(0, 501), "hold 0, start 1 fallback e0");
    s.send(11ms, 1);
    s.wakeup_is(15s);
    s.at(50ms, tick(), "");
    s.at(60ms, head(1, 200), "drop 0, relay 1 instead-of http_501");
    s.finish(61ms);
    s.decisions_are("");
  }

  TEST_CASE("losers of the race are aborted before the fallback's upstream is asked") {
    Script s{plain().hedge(20ms).first_head_wins().fallback_upstream(when_exhausted())};
    s.begin();
    s.at(20ms, tick(), "start 1 hedge e1");
    s.send(20ms, 1);
    s.at(30ms, head(1, 503), "abort 0, hold 1, start 2 fallback e0");
    s.send(30ms, 2);
    s.at(40ms, head(2, 204), "drop 1, relay 2 instead-of http_503");
    s.finish(41ms);
    s.attempts_are("1 primary abort hedge_lost @0+30, 2 hedge retryable http_503 @20+10, 3 fallback success @30+11");
  }

  TEST_CASE("a refusal by the upstream's own sidecar is nobody's failure, replaced or not") {
    Given given = plain().circuit(1, policy::CircuitScope::key, policy::Counts::request);
    SUBCASE("relayed") {}
    SUBCASE("replaced") { given.fallback(when_exhausted()); }
    SUBCASE("answered elsewhere") { given.fallback_upstream(when_exhausted()); }
    Script s{given};
    s.begin();
    s.orders_of(10ms, head(0, 503, {}, kRefusedThere));
    if (s.timeline().attempts.size() == 2) {
      s.send(11ms, 1);
      s.orders_of(12ms, head(1, 200));
    }
    s.finish(13ms);
    CHECK(s.circuit().state() == policy::CircuitState::closed);
    CHECK(s.circuit().failures_in_a_row() == 0);
  }

  TEST_CASE("a circuit of requests learns from the answer that was replaced, and not how long the fallback took") {
    Given given = plain().circuit(5, policy::CircuitScope::key, policy::Counts::request);
    given.circuits[0].slow_call = policy::SlowCallConfig{.threshold = 1s, .rate = 1};
    given.circuits[0].minimum_calls = 1;
    given.fallback_upstream(when_status(404, 404));
    Script s{given};
    s.begin();
    s.at(10ms, head(0, 404), "hold 0, start 1 fallback e0");
    s.send(10ms, 1);
    SUBCASE("it answers") {
      s.at(3000ms, head(1, 200), "drop 0, relay 1 instead-of http_404");
      s.finish(3001ms);
    }
    SUBCASE("it fails") {
      s.at(3000ms, head(1, 500), "discard 1, relay 0");
      s.finish(3001ms);
    }
    CHECK(s.circuit().state() == policy::CircuitState::closed);
    CHECK(s.circuit().counts(TimePoint{1h} + 3001ms).slow == 0);
  }

  TEST_CASE("a prepared response that the client takes slowly makes no call slow") {
    Given given = plain().circuit(5, policy::CircuitScope::key, policy::Counts::request).fallback(when_exhausted());
    given.circuits[0].slow_call = policy::SlowCallConfig{.threshold = 1s, .rate = 1};
    given.circuits[0].minimum_calls = 1;
    Script s{given};
    s.begin();
    s.at(10ms, head(0, 503), "discard 0, reply 200 http_5xx instead-of http_503");
    s.finish(9000ms);
    CHECK(s.circuit().state() == policy::CircuitState::closed);
    CHECK(s.circuit().failures_in_a_row() == 1);
  }

  TEST_CASE("a failure that the classifier calls a success is acceptable") {
    Given given = plain().fallback(when_exhausted());
    given.classifier = rule_for(503, policy::Outcome::success);
    Script s{given};
    s.begin();
    s.at(10ms, head(0, 503), "relay 0");
    s.finish(11ms);
  }

  TEST_CASE("exhausted is what is neither a good answer nor a refusal of our own") {
    SUBCASE("any failure of the server") {
      Script s{plain().fallback(when_exhausted())};
      s.begin();
      s.at(10ms, head(0, 501), "discard 0, reply 200 http_5xx instead-of http_501");
      s.finish(11ms);
    }
    SUBCASE("what would have been tried again") {
      Script s{retrying(1).fallback(when_exhausted())};
      s.begin();
      s.at(10ms, head(0, 429, 1s), "discard 0, reply 200 http_4xx instead-of http_429");
      s.finish(11ms);
    }
    SUBCASE("also what only the classifier would try again") {
      Given given = plain().fallback(when_exhausted());
      given.classifier = rule_for(404, policy::Outcome::retryable);
      Script s{given};
      s.begin();
      s.at(10ms, head(0, 404), "discard 0, reply 200 http_4xx instead-of http_404");
      s.finish(11ms);
    }
    SUBCASE("not what is the client's own doing") {
      Script s{plain().fallback(when_exhausted())};
      s.begin();
      s.at(10ms, head(0, 404), "relay 0");
      s.finish(11ms);
    }
    SUBCASE("no answer at all") {
      Script s{plain().fallback(when_exhausted())};
      s.at(0ms, ready(), "start 0 primary e0");
      s.at(1ms, unreachable(0), "reply 200 connect_refused instead-of connect_refused");
      s.finish(2ms);
      s.ends("200 fallback connect_refused U8 2 stop attempts_exhausted");
    }
    SUBCASE("no time left") {
      Script s{plain().fallback(when_exhausted())};
      s.begin();
      s.at(15s, tick(), "abort 0, reply 200 overall_timeout instead-of overall_timeout");
      s.finish(15001ms);
      s.ends("200 fallback overall_timeout P8 15001 stop non_retryable");
    }
    SUBCASE("not a refusal before any attempt") {
      Script s{plain().bulkhead(1).fallback(when_exhausted())};
      const auto place = s.take_place();
      s.at(0ms, ready(), "reply 503 bulkhead_full retry-after 1000");
      s.finish(1ms);
    }
    SUBCASE("not an upstream without endpoints") {
      Script s{plain().endpoints(0).fallback(when_exhausted())};
      s.at(0ms, ready(), "reply 503 no_healthy_endpoint");
      s.finish(1ms);
    }
  }

  TEST_CASE("the account names a fallback only if the client got it") {
    SUBCASE("the client left before") {
      Script s{plain().fallback_upstream(when_exhausted())};
      s.begin();
      s.at(10ms, head(0, 503), "hold 0, start 1 fallback e0");
      s.at(12ms, client_gone(), "drop 0, abort 1");
      CHECK(s.timeline().fallback.size == 0);
    }
    SUBCASE("the process was cut before") {
      Script s{plain().fallback_upstream(when_exhausted())};
      s.begin();
      s.at(10ms, head(0, 503), "hold 0, start 1 fallback e0");
      s.at(12ms, drained(), "drop 0, abort 1, reply 503 draining retry-after 1000 no-retry");
      s.finish(13ms);
      CHECK(s.timeline().fallback.size == 0);
      s.ends("503 rejected draining P8 13 stop attempts_exhausted");
    }
    SUBCASE("the whole request took too long") {
      Script s{plain().max_duration(1s).fallback_upstream(when_exhausted())};
      s.begin();
      s.at(10ms, head(0, 503), "hold 0, start 1 fallback e0");
      s.at(1s, tick(), "abort 1, relay 0 no-retry");
      s.finish(1001ms);
      CHECK(s.timeline().fallback.size == 0);
    }
    SUBCASE("it broke off on its way") {
      Script s{plain().fallback_upstream(when(Reason::closed_early))};
      s.begin();
      s.at(10ms, failed(0, Reason::closed_early), "start 1 fallback e0");
      s.send(10ms, 1);
      s.at(20ms, head(1, 200), "relay 1 instead-of closed_early");
      s.at(30ms, failed(1, Reason::closed_early), "close");
      s.ends("200 upstream_error closed_early U9 30 stop attempts_exhausted");
      CHECK(s.timeline().text(s.timeline().fallback) == "closed_early");
    }
  }

  TEST_CASE("nothing is sent anywhere once the request itself is over") {
    policy::FallbackConfig rule = when_status(400, 599);
    SUBCASE("its body is broken") {
      Script s{plain().body().fallback_upstream(rule)};
      s.at(0ms, ready(), "read-body, start 0 primary e0");
      s.at(1ms, client(Reason::bad_request), "abort 0, reply 400 bad_request");
      s.finish(2ms);
      s.ends("400 rejected bad_request D8 2");
    }
    SUBCASE("the process goes") {
      Script s{plain().fallback_upstream(rule)};
      s.begin();
      s.at(1ms, drained(), "abort 0, reply 503 draining retry-after 1000");
      s.finish(2ms);
    }
    SUBCASE("it took too long") {
      Script s{plain().overall(0s).max_duration(1s).fallback_upstream(rule)};
      s.begin();
      s.at(1s, tick(), "abort 0, reply 504 max_duration");
      s.finish(1001ms);
    }
  }

  TEST_CASE("a prepared response may still be sent then") {
    Script s{plain().fallback(when(Reason::draining))};
    s.begin();
    s.at(1ms, drained(), "abort 0, reply 200 draining instead-of draining");
    s.finish(2ms);
    s.ends("200 fallback draining P8 2");
  }

  TEST_CASE("the fallback's own attempt teaches the throttle nothing") {
    SUBCASE("a refusal of our own, then an answer that breaks off") {
      Script s{plain().throttling().bulkhead(1).fallback_upstream(when(Reason::bulkhead_full))};
      const auto place = s.take_place();
      s.at(0ms, ready(), "start 0 fallback e0");
      s.send(0ms, 0);
      s.at(1ms, head(0, 200), "relay 0 instead-of bulkhead_full");
      s.at(2ms, failed(0, Reason::reset), "close");
      CHECK(s.rejection(3ms) == 0);
    }
    SUBCASE("an upstream without addresses") {
      Given given = plain().endpoints(0).throttling().fallback_upstream(when(Reason::dns_failure));
      given.upstream.unresolved = true;
      Script s{given};
      s.at(0ms, ready(), "start 0 fallback e0");
      s.at(1ms, unreachable(0), "reply 502 dns_failure");
      s.finish(2ms);
      CHECK(s.rejection(3ms) == 0);
    }
    SUBCASE("a client that leaves meanwhile hides no failure") {
      Script s{plain().throttling().fallback_upstream(when_exhausted())};
      s.begin();
      s.at(1ms, head(0, 503), "hold 0, start 1 fallback e0");
      s.at(2ms, client_gone(), "drop 0, abort 1");
      CHECK(s.rejection(3ms) == 0.5);
    }
    SUBCASE("nor does a good answer from elsewhere") {
      Script s{plain().throttling().fallback_upstream(when_exhausted())};
      s.begin();
      s.at(1ms, head(0, 503), "hold 0, start 1 fallback e0");
      s.send(1ms, 1);
      s.at(2ms, head(1, 200), "drop 0, relay 1 instead-of http_503");
      s.finish(3ms);
      CHECK(s.rejection(3ms) == 0.5);
    }
    SUBCASE("nor a prepared one") {
      Script s{plain().throttling().fallback(when_exhausted())};
      s.begin();
      s.at(1ms, head(0, 503), "discard 0, reply 200 http_5xx instead-of http_503");
      s.finish(3ms);
      CHECK(s.rejection(3ms) == 0.5);
    }
  }

  TEST_CASE("the fallback's own attempt teaches circuits, limits, budgets and hedges nothing") {
    Given given = plain().circuit(1).adaptive_limit(10).bulkhead(5).hedge(10s).endpoints(1);
    given.budget({.type = policy::BudgetType::success_credit, .capacity = 10, .success_credit = 5});
    Script s{given.fallback_upstream(when(Reason::no_healthy_endpoint)).endpoints(0)};
    s.at(0ms, ready(), "start 0 fallback e0");
    CHECK(s.bulkhead().in_flight() == 0);
    CHECK(s.adaptive().in_flight() == 0);
    SUBCASE("it fails") { s.at(1ms, unreachable(0), "reply 503 no_healthy_endpoint"); }
    SUBCASE("it answers") {
      s.send(1ms, 0);
      s.at(2ms, head(0, 200), "relay 0 instead-of no_healthy_endpoint");
    }
    s.finish(3ms);
    CHECK(s.circuit().failures_in_a_row() == 0);
    CHECK(s.circuit().counts(TimePoint{1h} + 3ms).calls == 0);
  }

  TEST_CASE("permits of attempts go back before the fallback's upstream is asked, those of requests at the end") {
    Script s{plain()
                 .bulkhead(1, 0, 0s, policy::Counts::attempt)
                 .bulkhead(1, 0, 0s, policy::Counts::request)
                 .fallback_upstream(when_exhausted())};
    s.begin();
    CHECK(s.bulkhead(0).in_flight() == 1);
    CHECK(s.bulkhead(1).in_flight() == 1);
    s.at(10ms, head(0, 503), "hold 0, start 1 fallback e0");
    CHECK(s.bulkhead(0).in_flight() == 0);
    CHECK(s.bulkhead(1).in_flight() == 1);
    s.send(11ms, 1);
    s.at(12ms, head(1, 200), "drop 0, relay 1 instead-of http_503");
    s.finish(13ms);
  }

  TEST_CASE("the request is out of its attempt loop while the fallback's upstream is asked, and pays for nothing") {
    Script s{plain().budget({.type = policy::BudgetType::ratio}).fallback_upstream(when_exhausted())};
    s.begin();
    CHECK(s.requests_in_loop() == 1);
    s.at(10ms, head(0, 503), "hold 0, start 1 fallback e0");
    CHECK(s.requests_in_loop() == 0);
    CHECK(s.extras() == 0);
    s.send(11ms, 1);
    s.at(12ms, head(1, 200), "drop 0, relay 1 instead-of http_503");
    s.finish(13ms);
  }

  TEST_CASE("a probe that fails re-opens its circuit though the fallback answers") {
    Given given = plain().circuit(1).fallback_upstream(when_exhausted());
    given.circuits[0].cooldown = 1s;
    Script s{given};
    s.begin();
    s.at(10ms, head(0, 503), "hold 0, start 1 fallback e0");
    s.send(11ms, 1);
    s.at(12ms, head(1, 200), "drop 0, relay 1 instead-of http_503");
    s.finish(13ms);
    CHECK(s.circuit().state() == policy::CircuitState::open);
    s.again();
    s.at(2000ms, ready(), "start 0 primary e1");
    CHECK(s.circuit().state() == policy::CircuitState::half_open);
    s.send(2000ms, 0);
    s.at(2010ms, head(0, 503), "hold 0, start 1 fallback e0");
    CHECK(s.circuit().state() == policy::CircuitState::open);
    s.at(2011ms, client_gone(), "drop 0, abort 1");
  }

  TEST_CASE("an injected answer of the fallback's own attempt bears the mark, too") {
    Script s{plain().bulkhead(1).chaos(always(404)).fallback_upstream(when(Reason::bulkhead_full))};
    const auto place = s.take_place();
    s.at(0ms, ready(), "reply 404 http_4xx instead-of bulkhead_full");
    s.finish(1ms);
    s.ends("404 fallback bulkhead_full -a 1");
  }

  TEST_CASE("an injected failure of both leaves the first") {
    Script s{plain().chaos(always(500)).fallback_upstream(when_exhausted())};
    s.at(0ms, ready(), "reply 500 http_5xx no-retry");
    s.finish(1ms);
    s.ends("500 upstream_error http_5xx -a 1 stop attempts_exhausted");
    s.attempts_are("1 primary retryable http_500 @0+0, 2 fallback retryable http_500 @0+0");
  }

  TEST_CASE("each refusal of the stages before the first attempt has its fallback") {
    Given given;
    std::string_view expected;
    SUBCASE("too little time") {
      given.client_waits(3ms).fallback(when_any(policy::timeout_reasons()));
      expected = "reply 200 deadline_too_short instead-of deadline_too_short";
    }
    SUBCASE("an unreadable deadline") {
      given.facts.deadline_unreadable = given.policy.deadline.reject_invalid = true;
      given.fallback(when(Reason::bad_request));
      expected = "reply 200 bad_request instead-of bad_request";
    }
    SUBCASE("nothing stored") {
      given.cache(5s).fallback(when(Reason::not_cached));
      given.facts.cache->demand->only_if_cached = true;
      expected = "reply 200 not_cached instead-of not_cached";
    }
    SUBCASE("a rate") {
      given.rate_limit(1h).fallback(when(Reason::rate_limited));
      expected = "reply 200 rate_limited instead-of rate_limited";
    }
    SUBCASE("a rate of attempts") {
      given.rate_limit(1h, 1, 0s, policy::Counts::attempt).fallback(when_status(429, 429));
      expected = "reply 200 rate_limited instead-of rate_limited";
    }
    SUBCASE("the throttle") {
      given.throttling().fallback(when_any(policy::shed_reasons()));
      expected = "reply 200 throttled instead-of throttled";
    }
    SUBCASE("a bulkhead of requests") {
      given.bulkhead(1, 0, 0s, policy::Counts::request).fallback(when_any(policy::shed_reasons()));
      expected = "reply 200 bulkhead_full instead-of bulkhead_full";
    }
    SUBCASE("an adaptive limit") {
      given.adaptive_limit(1).fallback(when_any(policy::shed_reasons()));
      expected = "reply 200 concurrency_limit instead-of concurrency_limit";
    }
    SUBCASE("a circuit") {
      given.circuit(1).fallback(when(Reason::circuit_open));
      expected = "reply 200 circuit_open instead-of circuit_open";
    }
    SUBCASE("a circuit of requests") {
      given.circuit(1, policy::CircuitScope::key, policy::Counts::request).fallback(when_status(500, 599));
      expected = "reply 200 circuit_open instead-of circuit_open";
    }
    Script s{given};
    policy::GatePermit place;
    if (!given.bulkheads.empty()) place = s.take_place();
    if (given.adaptive) place = s.take_adaptive_place();
    if (given.throttle) s.others_fail(0ms, 100'000);
    if (!given.circuits.empty()) s.circuit().force_open();
    if (!given.rate_limits.empty()) {
      s.begin();
      s.at(0ms, head(0, 200), "relay 0");
      s.finish(0ms);
      s.again();
    }
    s.at(0ms, ready(), expected);
    s.finish(1ms);
    CHECK(s.timeline().outcome == exchange::RequestOutcome::fallback);
    CHECK(s.timeline().status == 200);
  }

  TEST_CASE("each way to have no connection is in one group") {
    for (const Reason why : {Reason::connect_refused, Reason::connect_error, Reason::connect_timeout,
                             Reason::dns_failure, Reason::tls_failure}) {
      Script s{plain().fallback(when_any(policy::connect_failures()))};
      s.at(0ms, ready(), "start 0 primary e0");
      const std::string name{to_string(why)};
      s.at(1ms, unreachable(0, why), "reply 200 " + name + " instead-of " + name);
      s.finish(2ms);
    }
  }

  TEST_CASE("a wait that ends without a place has its fallback, and a place that comes late is given back") {
    Script s{plain().bulkhead(1, 1, 100ms).fallback_upstream(when(Reason::bulkhead_queue_timeout))};
    auto place = s.take_place();
    s.at(0ms, ready(), "");
    s.wakeup_is(100ms);
    s.at(100ms, tick(), "start 0 fallback e0");
    CHECK(s.bulkhead().queued() == 0);
    place.release();
    CHECK(s.bulkhead().in_flight() == 0);
    s.at(101ms, woken(), "");
    s.send(101ms, 0);
    s.at(102ms, head(0, 200), "relay 0 instead-of bulkhead_queue_timeout");
    s.finish(103ms);
    s.ends("200 fallback bulkhead_queue_timeout -a 103");
  }

  TEST_CASE("at the deadline no other upstream is asked, and a kept answer stands") {
    Script s{retrying(3).overall(1s).fallback_upstream(when_exhausted())};
    s.begin();
    s.at(10ms, head(0, 503), "hold 0");
    s.at(110ms, tick(), "start 1 retry e1");
    s.send(110ms, 1);
    s.at(1s, tick(), "abort 1, relay 0 no-retry");
    s.finish(1001ms);
    s.ends("503 upstream_error http_5xx -a 1001 stop deadline_insufficient");
  }

  TEST_CASE("an answer that was kept and dies while the fallback's upstream is asked cannot stand") {
    Script s{plain().fallback_upstream(when_exhausted())};
    s.begin();
    s.at(10ms, head(0, 503), "hold 0, start 1 fallback e0");
    s.at(11ms, lost(0), "");
    SUBCASE("it fails") {
      s.at(20ms, unreachable(1), "reply 502 closed_early no-retry");
      s.finish(21ms);
      s.ends("502 upstream_error closed_early U8 21 stop attempts_exhausted");
    }
    SUBCASE("it answers") {
      s.send(12ms, 1);
      s.at(20ms, head(1, 200), "relay 1 instead-of http_503");
      s.finish(21ms);
      s.ends("200 fallback http_5xx -a 21 stop attempts_exhausted");
    }
    SUBCASE("it is still silent at the deadline") {
      s.send(12ms, 1);
      s.at(15s, tick(), "abort 1, reply 502 closed_early no-retry");
      s.finish(15001ms);
    }
  }

  TEST_CASE("what came of the last real attempt stands where nothing was kept") {
    Script s{retrying(2).fallback_upstream(when_exhausted())};
    s.at(0ms, ready(), "start 0 primary e0");
    s.at(1ms, unreachable(0), "");
    s.at(101ms, tick(), "start 1 retry e1");
    s.send(101ms, 1);
    s.at(102ms, failed(1, Reason::reset), "start 2 fallback e0");
    s.at(103ms, unreachable(2, Reason::connect_timeout), "reply 502 reset no-retry");
    s.finish(104ms);
    s.ends("502 upstream_error reset U8 104 stop attempts_exhausted");
  }

  TEST_CASE("an attempt of the fallback that met a dead idle connection is made again at once") {
    Script s{plain().bulkhead(1).fallback_upstream(when(Reason::bulkhead_full))};
    const auto place = s.take_place();
    s.at(0ms, ready(), "start 0 fallback e0");
    s.at(0ms, reused(0), "");
    s.at(0ms, sent(0), "");
    s.at(1ms, died_idle(0), "start 1 reconnect e0 fresh");
    s.send(1ms, 1);
    SUBCASE("it answers") {
      s.at(2ms, head(1, 200), "relay 1 instead-of bulkhead_full");
      s.finish(3ms);
      s.ends("200 fallback bulkhead_full -a 3");
    }
    SUBCASE("it fails") {
      s.at(2ms, head(1, 502), "discard 1, reply 503 bulkhead_full retry-after 1000");
      s.finish(3ms);
      s.ends("503 rejected bulkhead_full P8 3");
    }
  }

  TEST_CASE("a fallback's attempt has the time limits of any other") {
    Script s{retrying(1).attempt_timeout(100ms).fallback_upstream(when_exhausted())};
    s.begin();
    s.at(10ms, head(0, 503), "hold 0, start 1 fallback e0");
    SUBCASE("to connect") {
      s.wakeup_is(1010ms);
      s.at(1010ms, tick(), "abort 1, relay 0 no-retry");
    }
    SUBCASE("to answer") {
      s.send(20ms, 1);
      s.wakeup_is(120ms);
      s.at(120ms, tick(), "abort 1, relay 0 no-retry");
    }
    s.finish(1020ms);
  }

  TEST_CASE("a fallback's upstream without endpoints cannot be asked") {
    Script s{plain().fallback_upstream(when_exhausted())};
    s.empty_elsewhere();
    s.begin();
    s.at(10ms, head(0, 503), "relay 0");
    s.finish(11ms);
    s.decisions_are("10 retry attempts_exhausted, 10 fallback no_healthy_endpoint");
    s.ends("503 upstream_error http_5xx -a 11 stop attempts_exhausted");
  }

  TEST_CASE("what the fallback's upstream says about the request is sent, failures of its own are not") {
    for (const int status : {200, 302, 404, 429}) {
      Script s{plain().fallback_upstream(when_exhausted())};
      s.begin();
      s.at(10ms, head(0, 503), "hold 0, start 1 fallback e0");
      s.send(10ms, 1);
      s.at(20ms, head(1, status), "drop 0, relay 1 instead-of http_503");
      s.finish(21ms);
    }
    for (const int status : {500, 501, 503, 599}) {
      Script s{plain().fallback_upstream(when_exhausted())};
      s.begin();
      s.at(10ms, head(0, 503), "hold 0, start 1 fallback e0");
      s.send(10ms, 1);
      s.at(20ms, head(1, status), "discard 1, relay 0 no-retry");
      s.finish(21ms);
    }
  }

  TEST_CASE("a POST goes to the fallback's upstream only if no upstream can have seen any of it") {
    Script s{plain().post().fallback_upstream(when_exhausted())};
    s.at(0ms, ready(), "start 0 primary e0 recent");
    SUBCASE("it was never sent") {
      s.at(1ms, unreachable(0), "start 1 fallback e0 recent");
      s.send(1ms, 1);
      s.at(2ms, head(1, 201), "relay 1 instead-of connect_refused");
    }
    SUBCASE("it was, in part") {
      s.at(1ms, connected(0), "");
      s.at(1ms, failed(0, Reason::reset, Exposure::partly_sent), "reply 502 reset");
    }
    s.finish(3ms);
  }

  TEST_CASE("a body that is gone cannot go to the fallback's upstream") {
    Script s{plain().body().fallback_upstream(when_exhausted())};
    s.at(0ms, ready(), "read-body, start 0 primary e0");
    s.send(0ms, 0);
    s.at(1ms, body_overflowed(), "");
    s.at(2ms, head(0, 503), "drop-replay, relay 0");
    s.finish(3ms);
    s.decisions_are("2 retry body_not_replayable, 2 fallback body_not_replayable");
  }

  TEST_CASE("a whole body that is kept goes to the fallback's upstream") {
    Script s{plain().body().fallback_upstream(when_exhausted())};
    s.at(0ms, ready(), "read-body, start 0 primary e0");
    s.send(0ms, 0);
    s.at(1ms, body_complete(), "");
    s.at(2ms, head(0, 503), "hold 0, start 1 fallback e0");
    s.send(2ms, 1);
    s.at(3ms, head(1, 200), "drop 0, drop-replay, relay 1 instead-of http_503");
    s.finish(4ms);
  }

  TEST_CASE("a refusal whose fallback runs out of time stands under its own reason, without a word about retries") {
    Script s{plain().overall(1s).bulkhead(1).fallback_upstream(when(Reason::bulkhead_full))};
    const auto place = s.take_place();
    s.at(0ms, ready(), "start 0 fallback e0");
    s.send(0ms, 0);
    s.at(1s, tick(), "abort 0, reply 503 bulkhead_full retry-after 1000");
    s.finish(1001ms);
    s.ends("503 rejected bulkhead_full P8 1001");
  }

  TEST_CASE("the mark is whole however little room the account has left") {
    Given given = retrying(10).hedge(1ms, 3).fallback(when_exhausted());
    const std::string text(2000, 't');
    given.facts.path = given.facts.request_id = given.facts.trace_id = given.facts.logged_fields = text;
    given.classifier = {{.failure = Reason::connect_refused, .reason = std::string(40, 'r')}};
    Script s{given};
    s.orders_of(0ms, ready());
    for (int hedge = 1; hedge <= 3; ++hedge) s.orders_of(hedge * 1ms, tick());
    for (int attempt = 0; attempt < 4; ++attempt) s.orders_of(4ms, unreachable(attempt));
    for (int attempt = 4; attempt < 12; ++attempt) {
      s.orders_of(100ms * (attempt - 3) + 4ms, tick());
      s.orders_of(100ms * (attempt - 3) + 4ms, unreachable(attempt));
    }
    s.orders_of(904ms, tick());
    s.at(904ms, unreachable(12), "reply 200 connect_refused instead-of connect_refused");
    s.finish(905ms);
    CHECK(s.timeline().truncated);
    CHECK(s.timeline().fallback.size < 15);
  }
}
