#include <doctest/doctest.h>

#include "tests/support/script.hpp"

using namespace outrigger;
using namespace outrigger::test;
using policy::CircuitScope;
using policy::CircuitState;
using policy::Counts;

namespace {

const auto closed = CircuitState::closed;
const auto open = CircuitState::open;
const auto half_open = CircuitState::half_open;

/// One attempt that ends with this status.
void answer(Script& script, Nanos at, int status) {
  script.at(at, ready(), "start 0 primary e0");
  script.send(at, 0);
  script.at(at, head(0, status), status < 500 ? "relay 0" : "relay 0");
  script.at(at, done(0), "");
  script.finish(at);
  script.again();
}

}  // namespace

TEST_SUITE("exchange") {
  TEST_CASE("an open circuit refuses a request with the time until it is worth coming back") {
    Script script{Given{plain()}.circuit(2).endpoints(1)};
    answer(script, 0ms, 503);
    CHECK(script.circuit().state() == closed);
    answer(script, 10ms, 503);
    CHECK(script.circuit().state() == open);
    script.at(1010ms, ready(), "reply 503 circuit_open retry-after 9000 no-retry");
    script.decisions_are("0 circuit circuit_open");
    script.finish(1010ms);
    script.ends("503 rejected circuit_open P8 0");
  }

  TEST_CASE("what the truth table calls a success or neutral does not open a circuit") {
    for (const int status : {200, 302, 404, 408, 425, 429, 501, 505}) {
      Script script{Given{plain()}.circuit(1).endpoints(1)};
      for (int i = 0; i < 5; ++i) answer(script, i * 1ms, status);
      CHECK(script.circuit().state() == closed);
    }
  }

  TEST_CASE("a failing status counts at its head, an answer that breaks off when it does, and each once") {
    Script script{Given{plain()}.circuit(1).endpoints(1)};
    script.begin();
    script.at(10ms, head(0, 200), "relay 0");
    CHECK(script.circuit().state() == closed);
    script.at(20ms, failed(0, Reason::closed_early), "close");
    CHECK(script.circuit().state() == open);

    Script failing{Given{plain()}.circuit(1).endpoints(1)};
    failing.begin();
    failing.at(10ms, head(0, 500), "relay 0");
    CHECK(failing.circuit().state() == open);
    failing.at(20ms, failed(0, Reason::reset), "close");
    CHECK(failing.circuit().transitions(closed, open) == 1);
  }

  TEST_CASE("a good answer counts when it is whole, or five seconds after its head") {
    for (const bool long_body : {false, true}) {
      Script script{Given{plain()}.circuit(2).endpoints(1)};
      answer(script, 0ms, 503);
      script.at(1ms, ready(), "start 0 primary e0");
      script.send(1ms, 0);
      script.at(10ms, head(0, 200), "relay 0");
      CHECK(script.circuit().failures_in_a_row() == 1);
      if (long_body) {
        script.wakeup_is(5010ms);
        script.at(5010ms, tick(), "");
      } else {
        script.at(20ms, done(0), "");
      }
      CHECK(script.circuit().failures_in_a_row() == 0);
      script.at(6s, delivered(), "");
    }
  }

  TEST_CASE("a retry that an opened circuit would refuse is not waited for, and says so") {
    Script script{Given{retrying(3)}.circuit(1)};
    script.begin();
    script.at(10ms, head(0, 503), "relay 0");
    script.decisions_are("10 circuit circuit_open");
    script.finish(11ms);
    CHECK(script.stop_reason() == Reason::circuit_open);
  }

  TEST_CASE("a circuit that opens during the back-off stops the retry, and no budget is spent") {
    Script script{Given{retrying(3)}.circuit(2).budget({.type = policy::BudgetType::unlimited})};
    script.begin();
    script.at(10ms, head(0, 503), "hold 0");
    script.circuit().force_open();
    script.at(110ms, tick(), "relay 0");
    CHECK(script.stop_reason() == Reason::circuit_open);
    CHECK(script.extras() == 0);
    script.finish(111ms);
  }

  TEST_CASE("an attempt of a half-open circuit is its probe, and its success closes it") {
    Script script{Given{plain()}.circuit(1)};
    script.circuit().force_open();
    script.circuit().automatic();
    REQUIRE(script.circuit().state() == half_open);
    script.begin();
    CHECK(script.circuit().probes_out() == 1);
    script.at(10ms, head(0, 200), "relay 0");
    script.at(11ms, done(0), "");
    CHECK(script.circuit().state() == closed);
    script.finish(12ms);
    CHECK(script.timeline().attempts[0].circuit == exchange::CircuitShown::half_open);
  }

  TEST_CASE("a probe that a budget refuses is given back") {
    policy::BudgetConfig budget;
    budget.type = policy::BudgetType::token_bucket;
    budget.capacity = 1;
    Script script{Given{retrying(2)}.circuit(2).budget(budget)};
    script.begin();
    script.at(10ms, head(0, 503), "hold 0");
    script.circuit().force_open();
    script.circuit().automatic();
    static_cast<void>(script.budget().admit(budget, 1, TimePoint{1h} + 50ms));
    script.at(110ms, tick(), "relay 0 no-retry");
    CHECK(script.stop_reason() == Reason::budget_denied);
    CHECK(script.circuit().probes_out() == 0);
    CHECK(script.circuit().state() == half_open);
    script.finish(111ms);
  }

  TEST_CASE("a client that leaves gives the probe back and teaches nothing") {
    Script script{Given{plain()}.circuit(1)};
    script.circuit().force_open();
    script.circuit().automatic();
    script.begin();
    CHECK(script.circuit().probes_out() == 1);
    script.at(10ms, client_gone(), "abort 0");
    CHECK(script.circuit().probes_out() == 0);
    CHECK(script.circuit().state() == half_open);
  }

  TEST_CASE("a request that is refused behind its circuit gives the probe back at once and teaches nothing") {
    Given given = Given{plain()}.circuit(1).endpoints(1).bulkhead(1, 1, 1s);
    given.circuits[0].counts = policy::Counts::request;
    given.circuits[0].slow_call = {.threshold = 100ms, .rate = 0.5};
    for (const bool client_leaves : {false, true}) {
      Script script{given};
      answer(script, 0ms, 503);
      const auto taken = script.take_place();
      script.at(11s, ready(), "");
      CHECK(script.circuit().probes_out() == 1);
      if (client_leaves) {
        script.at(12s, client_gone(), "");
      } else {
        script.at(12s, tick(), "reply 503 bulkhead_queue_timeout retry-after 1000");
      }
      CHECK(script.circuit().probes_out() == 0);
      CHECK(script.circuit().state() == half_open);
      script.finish(13s);
      CHECK(script.circuit().state() == half_open);
    }
  }

  TEST_CASE("a request that has failed counts when it is answered, however long its client reads") {
    Given given = Given{plain()}.circuit(1).endpoints(1);
    given.circuits[0].counts = policy::Counts::request;
    Script script{given};
    script.begin();
    script.at(1ms, unreachable(0), "reply 502 connect_refused");
    CHECK(script.circuit().state() == open);
    script.finish(20s);
    CHECK(script.circuit().transitions(closed, open) == 1);
  }

  TEST_CASE("while it probes others are refused") {
    Script script{Given{plain()}.circuit(1)};
    script.circuit().force_open();
    script.circuit().automatic();
    policy::CircuitConfig config;
    Rng rng{1};
    auto probe = script.circuit().admit(config, 0ns, TimePoint{1h}, rng);
    REQUIRE(probe.verdict.admitted());
    script.at(0ms, ready(), "reply 503 circuit_half_open_probe_limit retry-after 1000 no-retry");
    script.finish(1ms);
  }

  TEST_CASE("there is no hedge while a circuit is half-open") {
    Script script{Given{plain()}.hedge(50ms).circuit(1)};
    script.circuit().force_open();
    script.circuit().automatic();
    script.begin();
    script.at(50ms, tick(), "");
    script.decisions_are("50 circuit circuit_half_open_probe_limit");
    script.at(60ms, head(0, 200), "relay 0");
    script.finish(61ms);
  }

  TEST_CASE("a hedge is not the first to come when a cooldown is over") {
    for (const CircuitScope scope : {CircuitScope::key, CircuitScope::endpoint}) {
      Given given = Given{plain()}.circuit(1, scope).hedge(500ms);
      given.circuits[0].cooldown = 100ms;
      Script script{given};
      script.begin();
      Rng rng{1};
      policy::CircuitBreaker& circuit = script.circuit(scope == CircuitScope::endpoint ? 1 : 0);
      const TimePoint start = script.timeline().start;
      circuit.admit(given.circuits[0], 0ms, start, rng)
          .permit.settle(given.circuits[0], policy::CircuitResult::failure, 0ms, start, rng);
      CHECK(circuit.state() == open);
      script.at(500ms, tick(), scope == CircuitScope::endpoint ? "start 1 hedge e0" : "");
      if (scope == CircuitScope::key) script.decisions_are("500 circuit circuit_half_open_probe_limit");
      CHECK(circuit.state() == open);
      script.at(600ms, client_gone(), scope == CircuitScope::endpoint ? "abort 0, abort 1" : "abort 0");
    }
  }

  TEST_CASE("the loser of a race teaches a circuit nothing") {
    Script script{Given{plain()}.hedge(50ms).circuit(1)};
    script.begin();
    script.at(50ms, tick(), "start 1 hedge e1");
    script.send(50ms, 1);
    script.at(60ms, head(1, 200), "abort 0, relay 1");
    script.at(61ms, done(1), "");
    script.finish(62ms);
    CHECK(script.circuit().state() == closed);
  }

  TEST_CASE("where one endpoint's circuit is open another endpoint is chosen, and none only if all are") {
    Script script{Given{plain()}.circuit(1, CircuitScope::endpoint).endpoints(3)};
    script.circuit(0).force_open();
    script.at(0ms, ready(), "start 0 primary e1");
    script.send(0ms, 0);
    script.at(1ms, head(0, 200), "relay 0");
    script.finish(2ms);
    script.again();
    script.circuit(1).force_open();
    script.circuit(2).force_open();
    script.at(3ms, ready(), "reply 503 circuit_open retry-after 1000 no-retry");
    script.finish(4ms);
  }

  TEST_CASE("a deadline is the upstream's fault only if it had the whole request for long enough") {
    struct Case {
      Nanos sent;
      Nanos client_waits;
      bool blamed;
    };
    for (const Case& each :
         {Case{0ms, 15s, true}, Case{7400ms, 15s, true}, Case{7600ms, 15s, false}, Case{0ms, 7s, false}}) {
      Given given = Given{plain()}.circuit(1).client_waits(each.client_waits);
      given.upstream.connect_timeout = 20s;
      Script script{given};
      script.at(0ms, ready(), "start 0 primary e0");
      script.send(each.sent, 0);
      script.at(each.client_waits, tick(), "abort 0, reply 504 overall_timeout no-retry");
      CHECK(script.circuit().state() == (each.blamed ? open : closed));
      script.finish(16s);
    }
  }

  TEST_CASE("a refusal of the upstream's own sidecar is not the upstream's failure") {
    const Field refusal[] = {{"X-Outrigger-Reason", "bulkhead_full"}};
    Script script{Given{plain()}.circuit(1)};
    script.begin();
    script.at(10ms, head(0, 503, {}, refusal), "relay 0");
    CHECK(script.circuit().state() == closed);
    script.finish(11ms);
  }

  TEST_CASE("a classifier's word decides about the retry, and nothing about the circuit") {
    Given given = Given{retrying(2)}.circuit(1);
    policy::ClassifierRule rule;
    rule.status.emplace().insert(409, 409);
    given.classifier.push_back(rule);
    Script script{given};
    script.begin();
    script.at(10ms, head(0, 409), "hold 0");
    script.at(110ms, tick(), "start 1 retry e1");
    script.send(110ms, 1);
    script.at(120ms, head(1, 200), "drop 0, relay 1");
    script.finish(121ms);
    CHECK(script.circuit().state() == closed);
  }

  TEST_CASE("a reconnect is unseen by the circuit that let the attempt through") {
    Script script{Given{plain()}.circuit(1)};
    script.at(0ms, ready(), "start 0 primary e0");
    script.at(0ms, reused(0), "");
    script.at(0ms, sent(0), "");
    script.at(1ms, died_idle(0), "start 1 reconnect e0 fresh");
    CHECK(script.circuit().state() == closed);
    script.send(2ms, 1);
    script.at(3ms, head(1, 503), "relay 1");
    CHECK(script.circuit().state() == open);
    script.finish(4ms);
  }

  TEST_CASE("latencies are taken at the head; those of losers and of the impatient are known to be longer") {
    Given given = Given{plain()}.hedge(50ms);
    given.hedge_config->quantile = 0.5;
    given.hedge_config->min_samples = 1;
    Script script{given};
    script.begin();
    script.at(50ms, tick(), "start 1 hedge e1");
    script.send(50ms, 1);
    script.at(60ms, head(1, 200), "abort 0, relay 1");
    script.finish(61ms);
    script.again();
    script.at(2000ms, ready(), "start 0 primary e0");
    CHECK(script.trigger().samples() == 2);
    script.at(2001ms, client_gone(), "abort 0");
  }

  TEST_CASE("a client that leaves after slow_call.threshold has met a slow call, one that leaves before has not") {
    for (const bool slow : {false, true}) {
      Given given = Given{plain()}.circuit(100);
      given.circuits[0].slow_call = policy::SlowCallConfig{.threshold = 500ms, .rate = 1};
      given.circuits[0].minimum_calls = 1;
      Script script{given};
      script.begin();
      script.at(slow ? 500ms : 499ms, client_gone(), "abort 0");
      CHECK(script.circuit().state() == (slow ? open : closed));
    }
  }

  TEST_CASE("where all endpoints' circuits are open nobody waits: not for a limit, not for a retry") {
    Script primary{Given{plain()}.circuit(1, CircuitScope::endpoint).bulkhead(1, 5, 1s)};
    auto other = primary.take_place();
    primary.circuit(0).force_open();
    primary.circuit(1).force_open();
    primary.at(0ms, ready(), "reply 503 circuit_open retry-after 1000 no-retry");
    primary.finish(1ms);
    other.release();

    Script retry{Given{retrying(3)}.circuit(1, CircuitScope::endpoint).endpoints(1)};
    retry.begin();
    retry.at(10ms, head(0, 503), "relay 0");
    CHECK(retry.stop_reason() == Reason::circuit_open);
    retry.finish(11ms);
  }

  TEST_CASE("while one endpoint's circuit is open a retry goes to another") {
    Script script{Given{retrying(2)}.circuit(1, CircuitScope::endpoint)};
    script.begin();
    script.at(10ms, head(0, 503), "hold 0");
    CHECK(script.circuit(0).state() == open);
    script.at(110ms, tick(), "start 1 retry e1");
    script.at(111ms, client_gone(), "drop 0, abort 1");
  }

  TEST_CASE("a hedge that an open circuit refuses is not sent, and the attempt in flight goes on") {
    Script script{Given{plain()}.hedge(50ms).circuit(1)};
    script.begin();
    script.circuit().force_open();
    script.at(50ms, tick(), "");
    script.decisions_are("50 circuit circuit_open");
    script.at(60ms, head(0, 200), "relay 0");
    script.finish(61ms);
    CHECK_FALSE(script.stop_reason());
  }

  // ---- circuits that count requests -------------------------------------------------------------

  TEST_CASE("a request counts once, by how it ended and not by its attempts") {
    for (const int status : {200, 503}) {
      Script script{Given{retrying(2)}.circuit(3, CircuitScope::key, Counts::request).endpoints(1)};
      script.begin();
      script.at(0ms, head(0, 503), "hold 0");
      script.at(100ms, tick(), "start 1 retry e0");
      script.send(100ms, 1);
      script.at(110ms, head(1, status), status == 200 ? "drop 0, relay 1" : "drop 0, relay 1 no-retry");
      script.finish(120ms);
      CHECK(script.circuit().failures_in_a_row() == (status == 200 ? 0 : 1));
    }
  }

  TEST_CASE("a request that failed without an answer counts as its last attempt did") {
    Script script{Given{retrying(1)}.circuit(1, CircuitScope::key, Counts::request).attempt_timeout(50ms)};
    script.begin();
    script.at(50ms, tick(), "abort 0, reply 504 attempt_timeout");
    script.finish(50ms);
    CHECK(script.circuit().state() == open);
    script.again();
    script.at(1050ms, ready(), "reply 503 circuit_open retry-after 9000 no-retry");
    script.finish(1050ms);
  }

  TEST_CASE("a failing answer counts at its head, whatever becomes of its body") {
    Script script{Given{plain()}.circuit(1, CircuitScope::key, Counts::request)};
    script.begin();
    script.at(10ms, head(0, 503), "relay 0");
    CHECK(script.circuit().state() == open);
    script.at(20ms, client_gone(), "abort 0, close");
    CHECK(script.circuit().transitions(closed, open) == 1);
  }

  TEST_CASE("a request whose answer breaks off has failed, one whose client leaves has not") {
    for (const bool leaves : {false, true}) {
      Script script{Given{plain()}.circuit(1, CircuitScope::key, Counts::request)};
      script.begin();
      script.at(10ms, head(0, 200), "relay 0");
      script.at(20ms, leaves ? client_gone() : failed(0, Reason::reset), leaves ? "abort 0, close" : "close");
      CHECK(script.circuit().state() == (leaves ? closed : open));
    }
  }

  TEST_CASE("a request that the upstream's own sidecar refused says nothing about the upstream") {
    const Field refusal[] = {{"X-Outrigger-Reason", "bulkhead_full"}};
    Script script{Given{plain()}.circuit(1, CircuitScope::key, Counts::request)};
    script.begin();
    script.at(10ms, head(0, 503, {}, refusal), "relay 0");
    script.at(11ms, done(0), "");
    script.finish(12ms);
    CHECK(script.circuit().state() == closed);

    Script kept{Given{retrying(2)}.circuit(1, CircuitScope::key, Counts::request)};
    kept.begin();
    kept.at(10ms, head(0, 503, {}, refusal), "hold 0");
    kept.at(20ms, client_gone(), "drop 0");
    CHECK(kept.circuit().state() == closed);
  }

  TEST_CASE("a request that something behind the circuit refused gives its probe back, and its wait was not slow") {
    Given given = Given{plain()}.circuit(1, CircuitScope::key, Counts::request).bulkhead(1, 5, 1s);
    given.circuits[0].slow_call = policy::SlowCallConfig{.threshold = 500ms, .rate = 1};
    given.circuits[0].minimum_calls = 1;
    Script script{given};
    auto other = script.take_place();
    script.at(0ms, ready(), "");
    script.at(1000ms, tick(), "reply 503 bulkhead_queue_timeout retry-after 1000");
    script.finish(1000ms);
    CHECK(script.circuit().state() == closed);

    script.circuit().force_open();
    script.circuit().automatic();
    script.again();
    script.at(2s, ready(), "");
    CHECK(script.circuit().probes_out() == 1);
    script.at(3s, client_gone(), "");
    CHECK(script.circuit().probes_out() == 0);
    CHECK(script.circuit().state() == half_open);
    other.release();
  }

  TEST_CASE("at the deadline the attempt that was waited for longest decides, not the youngest") {
    Script script{Given{plain()}.overall(1s).hedge(900ms).circuit(1, CircuitScope::key, Counts::request)};
    script.begin();
    script.at(900ms, tick(), "start 1 hedge e1");
    script.send(900ms, 1);
    script.at(1s, tick(), "abort 0, abort 1, reply 504 overall_timeout no-retry");
    script.finish(1s);
    CHECK(script.circuit().state() == open);
  }

  TEST_CASE("a circuit of requests that opens meanwhile stops no retry of a request it has let through") {
    Script script{Given{retrying(2)}.circuit(5, CircuitScope::key, Counts::request)};
    script.begin();
    script.at(10ms, head(0, 503), "hold 0");
    script.circuit().force_open();
    script.at(110ms, tick(), "start 1 retry e1");
    script.at(111ms, client_gone(), "drop 0, abort 1");
  }

  TEST_CASE("a probe that fails is one attempt: it is not retried into the circuit that it has re-opened") {
    Script script{Given{retrying(5)}.circuit(1)};
    script.circuit().force_open();
    script.circuit().automatic();
    script.begin();
    script.at(10ms, head(0, 503), "relay 0");
    CHECK(script.circuit().state() == open);
    CHECK(script.stop_reason() == Reason::circuit_open);
    script.finish(11ms);
  }

  TEST_CASE("of seven attempts that a failing upstream might get, a circuit of three lets three through") {
    Script script{Given{retrying(7)}.backoff(0ms).circuit(3)};
    script.begin();
    script.at(0ms, unreachable(0), "start 1 retry e1");
    script.at(1ms, unreachable(1), "start 2 retry e0");
    script.at(2ms, unreachable(2), "reply 502 connect_refused no-retry");
    CHECK(script.stop_reason() == Reason::circuit_open);
    CHECK(script.circuit().state() == open);
    script.finish(3ms);
  }

  TEST_CASE("what our own limits refuse is no failure of the upstream") {
    Script script{Given{plain()}.circuit(1).bulkhead(1).rate_limit(10s, 1, 0s, Counts::attempt)};
    auto other = script.take_place();
    for (int i = 0; i < 5; ++i) {
      script.at(i * 1ms, ready(), "reply 503 bulkhead_full retry-after 1000");
      script.finish(i * 1ms);
      script.again();
    }
    other.release();
    CHECK(script.circuit().state() == closed);
    CHECK(script.circuit().failures_in_a_row() == 0);
  }
}
