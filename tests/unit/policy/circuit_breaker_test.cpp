#include "proxy/policy/circuit_breaker.hpp"

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "tests/support/allocations.hpp"

using namespace outrigger;
using namespace outrigger::policy;
using namespace std::chrono_literals;

namespace {

constexpr TimePoint kStart{1h};

using State = CircuitState;
using Result = CircuitResult;

/// Opens after three failures in a row for exactly ten seconds.
CircuitConfig plain() {
  CircuitConfig config;
  config.consecutive_failures = 3;
  config.cooldown_jitter = 0;
  return config;
}

CircuitConfig by_time(double rate, std::uint32_t minimum, Nanos window) {
  CircuitConfig config = plain();
  config.trip = CircuitConfig::Trip::rate_by_time;
  config.failure_rate = rate;
  config.minimum_calls = minimum;
  config.window = window;
  return config;
}

CircuitConfig by_calls(double rate, std::uint32_t minimum, std::uint32_t calls) {
  CircuitConfig config = plain();
  config.trip = CircuitConfig::Trip::rate_by_calls;
  config.failure_rate = rate;
  config.minimum_calls = minimum;
  config.window_calls = calls;
  return config;
}

CircuitConfig with_slow_calls(CircuitConfig config, Nanos threshold, double rate) {
  config.slow_call = SlowCallConfig{threshold, rate};
  return config;
}

/// A circuit, the configuration it is asked with (which a test may change as a reload does), and a clock.
struct Asked {
  explicit Asked(const CircuitConfig& given, std::uint64_t seed = 1) : config(given), circuit(given), rng(seed) {}

  CircuitAnswer admit(Nanos attempt_limit = 0ns) { return circuit.admit(config, attempt_limit, now, rng); }
  CircuitPermit admitted() {
    CircuitAnswer answer = admit();
    REQUIRE(answer.verdict.admitted());
    REQUIRE(answer.permit);
    return std::move(answer.permit);
  }
  bool refused(Reason reason) {
    const CircuitAnswer answer = admit();
    return answer.verdict.refused == reason && !answer.permit && answer.verdict.retry_after > 0ns;
  }
  void settle(CircuitPermit& permit, Result result, Nanos took = 1ms) { permit.settle(config, result, took, now, rng); }
  void call(Result result, Nanos took = 1ms) {
    CircuitPermit permit = admitted();
    settle(permit, result, took);
  }
  /// One letter a call: S, F, N.
  void calls(std::string_view letters) {
    for (const char letter : letters) {
      call(letter == 'S' ? Result::success : letter == 'F' ? Result::failure : Result::neutral);
    }
  }
  void tick() { circuit.tick(config, now, rng); }
  void pass(Nanos time) { now += time; }
  State state() const { return circuit.state(); }
  /// Opens it, lets the cooldown pass, and begins to probe.
  void half_open() {
    calls("FFF");
    pass(circuit.cooldown_left(now));
    tick();
    REQUIRE(state() == State::half_open);
  }
  std::uint64_t moves(State from, State to) const { return circuit.transitions(from, to); }

  CircuitConfig config;
  CircuitBreaker circuit;
  Rng rng;
  TimePoint now = kStart;
};

}  // namespace

TEST_SUITE("policy") {
  // ---- failures in a row ----------------------------------------------------------------------

  TEST_CASE("a circuit is closed at first and opens at the last of enough failures in a row") {
    Asked asked{plain()};
    CHECK(asked.state() == State::closed);
    asked.calls("FF");
    CHECK(asked.state() == State::closed);
    CHECK(asked.circuit.failures_in_a_row() == 2);
    asked.calls("F");
    CHECK(asked.state() == State::open);
    CHECK(asked.refused(Reason::circuit_open));
    CHECK(asked.moves(State::closed, State::open) == 1);
  }

  TEST_CASE("a success between failures begins the row anew, a neutral result does not touch it") {
    Asked asked{plain()};
    asked.calls("FFSFF");
    CHECK(asked.state() == State::closed);
    asked.calls("NNN");
    CHECK(asked.circuit.failures_in_a_row() == 2);
    asked.calls("F");
    CHECK(asked.state() == State::open);
  }

  TEST_CASE("a threshold of one opens at the first failure") {
    Asked asked{plain()};
    asked.config.consecutive_failures = 1;
    asked.calls("SSF");
    CHECK(asked.state() == State::open);
  }

  TEST_CASE("recourse's vector: failures, a cooldown, one probe at once, again a failure, and a success") {
    Asked asked{plain()};
    asked.calls("FFSFFF");
    CHECK(asked.state() == State::open);
    asked.pass(10s);
    {
      CircuitPermit probe = asked.admitted();
      CHECK(probe.probe());
      CHECK(asked.refused(Reason::circuit_half_open_probe_limit));
      asked.settle(probe, Result::failure);
    }
    CHECK(asked.state() == State::open);
    asked.pass(10s);
    asked.tick();
    CHECK(asked.state() == State::half_open);
    asked.calls("S");
    CHECK(asked.state() == State::closed);
  }

  TEST_CASE("failsafe-go's vector: three in a row") {
    Asked asked{plain()};
    asked.calls("FSFF");
    CHECK(asked.state() == State::closed);
    asked.calls("F");
    CHECK(asked.state() == State::open);
  }

  // ---- rates by time --------------------------------------------------------------------------

  TEST_CASE("a rate by time holds at equality and with exactly the least number of calls") {
    Asked asked{by_time(0.5, 4, 30s)};
    asked.calls("FSF");
    CHECK(asked.state() == State::closed);
    asked.calls("F");
    CHECK(asked.state() == State::open);

    Asked equal{by_time(0.5, 4, 30s)};
    equal.calls("SSFF");
    CHECK(equal.state() == State::open);

    Asked below{by_time(0.51, 4, 30s)};
    below.calls("SSFF");
    CHECK(below.state() == State::closed);
  }

  TEST_CASE("a rate is asked at failures only: the success that makes the number full opens nothing") {
    Asked asked{by_time(0.5, 4, 30s)};
    asked.calls("FFFS");
    CHECK(asked.state() == State::closed);
    asked.calls("F");
    CHECK(asked.state() == State::open);
  }

  TEST_CASE("a rate without an exact binary form holds where it should and not before") {
    for (const auto& [rate, all, failures] : {std::tuple{0.07, 100, 7},
                                              {0.32, 50, 16},
                                              {0.29, 100, 29},
                                              {0.57, 100, 57},
                                              {1.0 / 3, 3, 1},
                                              {2.0 / 3, 3, 2},
                                              {1.0, 10, 10}}) {
      CAPTURE(rate);
      Asked asked{by_time(rate, static_cast<std::uint32_t>(all), 30s)};
      for (int i = 0; i < all - failures; ++i) asked.calls("S");
      for (int i = 0; i < failures - 1; ++i) asked.calls("F");
      CHECK(asked.state() == State::closed);
      asked.calls("F");
      CHECK(asked.state() == State::open);
    }
  }

  TEST_CASE("a rate is not rounded before it is compared: 49.5 % is not 50 %") {
    Asked asked{by_time(0.5, 200, 30s)};
    for (int i = 0; i < 101; ++i) asked.calls("S");
    for (int i = 0; i < 99; ++i) asked.calls("F");
    CHECK(asked.state() == State::closed);
  }

  TEST_CASE("failsafe-go's vector: half of at least three in 200 ms, sliding") {
    Asked asked{by_time(0.5, 3, 200ms)};
    asked.calls("FS");
    asked.pass(210ms);
    asked.calls("FS");
    asked.pass(50ms);
    asked.calls("S");
    CHECK(asked.state() == State::closed);
    asked.calls("F");
    CHECK(asked.state() == State::open);
  }

  TEST_CASE("resile's vector: ten calls, at least five, half of them") {
    Asked asked{by_calls(0.5, 5, 10)};
    asked.config.successes = 2;
    asked.calls("FFFF");
    CHECK(asked.state() == State::closed);
    asked.calls("F");
    CHECK(asked.state() == State::open);
    asked.pass(10s);
    asked.calls("S");
    CHECK(asked.state() == State::half_open);
    asked.calls("S");
    CHECK(asked.state() == State::closed);
  }

  TEST_CASE("a window slides under steady traffic: an outage after a long good time opens within half of it") {
    Asked asked{by_time(0.5, 10, 60s)};
    for (int i = 0; i < 6000; ++i) {
      asked.call(Result::success);
      asked.pass(100ms);
    }
    const TimePoint outage = asked.now;
    while (asked.state() == State::closed && asked.now < outage + 60s) {
      asked.call(Result::failure);
      asked.pass(100ms);
    }
    CHECK(asked.state() == State::open);
    CHECK(asked.now - outage <= 30s);
  }

  TEST_CASE("failures of a time before a long silence do not open a circuit after it") {
    Asked asked{by_time(0.5, 4, 30s)};
    asked.calls("FFF");
    asked.pass(1h);
    asked.calls("F");
    CHECK(asked.state() == State::closed);
    asked.calls("FFF");
    CHECK(asked.state() == State::open);
  }

  // ---- rates by calls -------------------------------------------------------------------------

  TEST_CASE("failsafe-go's vectors: two of the last three open, three of the last four never come") {
    Asked two{by_calls(2.0 / 3, 3, 3)};
    two.calls("FSF");
    CHECK(two.state() == State::open);
    Asked three{by_calls(0.75, 4, 4)};
    for (int i = 0; i < 20; ++i) three.calls("SF");
    CHECK(three.state() == State::closed);
  }

  TEST_CASE("a rate by calls forgets by calls and never by time") {
    Asked asked{by_calls(0.5, 4, 4)};
    asked.calls("SSSF");
    asked.pass(24h);
    asked.calls("F");
    CHECK(asked.state() == State::open);
    Asked forgets{by_calls(0.5, 4, 4)};
    forgets.calls("SSSFSSSF");
    CHECK(forgets.state() == State::closed);
  }

  TEST_CASE("a minimum beyond the window does not mean never") {
    Asked asked{by_calls(0.5, 100, 10)};
    asked.calls("FFFFFFFFF");
    CHECK(asked.state() == State::closed);
    asked.calls("F");
    CHECK(asked.state() == State::open);
  }

  // ---- slow calls -----------------------------------------------------------------------------

  TEST_CASE("slow calls open at their own rate, a call of exactly the threshold is slow") {
    Asked asked{with_slow_calls(by_time(0.5, 4, 30s), 100ms, 0.75)};
    for (const Nanos took : {99ms, 100ms, 5000ms}) asked.call(Result::success, took);
    CHECK(asked.state() == State::closed);
    asked.call(Result::success, 100ms);
    CHECK(asked.state() == State::open);
  }

  TEST_CASE("slow calls beside failures in a row have their window and minimum") {
    Asked asked{with_slow_calls(plain(), 100ms, 0.5)};
    for (int i = 0; i < 9; ++i) asked.call(Result::success, 1s);
    CHECK(asked.state() == State::closed);
    asked.pass(30s);
    for (int i = 0; i < 9; ++i) asked.call(Result::success, 1s);
    CHECK(asked.state() == State::closed);
    asked.call(Result::success, 1s);
    CHECK(asked.state() == State::open);
    Asked in_a_row{with_slow_calls(plain(), 100ms, 0.5)};
    in_a_row.calls("SSFFF");
    CHECK(in_a_row.state() == State::open);
  }

  TEST_CASE("a failure that was slow is both") {
    Asked asked{with_slow_calls(by_time(0.9, 4, 30s), 100ms, 0.5)};
    asked.calls("SS");
    asked.call(Result::failure, 1s);
    CHECK(asked.state() == State::closed);
    asked.call(Result::failure, 1s);
    CHECK(asked.state() == State::open);
  }

  TEST_CASE("clients that leave after waiting long are slow calls, those that leave early are nothing") {
    Asked asked{with_slow_calls(by_time(0.5, 4, 30s), 100ms, 0.5)};
    for (int i = 0; i < 100; ++i) asked.call(Result::neutral, 99ms);
    CHECK(asked.circuit.counts(asked.now) == OutcomeCounts{});
    for (int i = 0; i < 3; ++i) asked.call(Result::neutral, 1s);
    CHECK(asked.state() == State::closed);
    asked.call(Result::neutral, 1s);
    CHECK(asked.state() == State::open);
  }

  TEST_CASE("slow neutral calls do not dilute the rate of failures") {
    for (const bool calls : {false, true}) {
      Asked asked{with_slow_calls(calls ? by_calls(0.5, 4, 100) : by_time(0.5, 4, 30s), 100ms, 1.0)};
      asked.calls("SSF");
      for (int i = 0; i < 20; ++i) asked.call(Result::neutral, 1s);
      CHECK(asked.state() == State::closed);
      asked.calls("F");
      CHECK(asked.state() == State::open);
    }
  }

  TEST_CASE("a probe that was slow has failed: slowness does not close what slowness opened") {
    Asked asked{with_slow_calls(plain(), 100ms, 0.5)};
    asked.half_open();
    asked.call(Result::success, 100ms);
    CHECK(asked.state() == State::open);
    asked.pass(10s);
    asked.call(Result::neutral, 99ms);
    CHECK(asked.state() == State::half_open);
    asked.call(Result::success, 99ms);
    CHECK(asked.state() == State::closed);
  }

  TEST_CASE("without slow_call no duration matters") {
    Asked asked{by_time(0.5, 4, 30s)};
    for (int i = 0; i < 20; ++i) asked.call(Result::success, 1h);
    CHECK(asked.state() == State::closed);
    CHECK(asked.circuit.counts(asked.now).slow == 0);
  }

  // ---- what counts ----------------------------------------------------------------------------

  TEST_CASE("the truth table: which answers and faults are failures, and which say nothing") {
    CircuitConfig config;
    config.failure_statuses.insert(500, 500);
    config.failure_statuses.insert(502, 504);
    for (const int status : {200, 204, 304, 400, 401, 404, 409, 418, 499}) {
      CAPTURE(status);
      CHECK(circuit_result(config, static_cast<std::uint16_t>(status)) == Result::success);
    }
    for (const int status : {500, 502, 503, 504}) {
      CHECK(circuit_result(config, static_cast<std::uint16_t>(status)) == Result::failure);
    }
    for (const int status : {408, 425, 429, 501, 505, 511, 599}) {
      CHECK(circuit_result(config, static_cast<std::uint16_t>(status)) == Result::neutral);
    }
    for (const Reason fault : {Reason::connect_refused, Reason::connect_error, Reason::connect_timeout,
                               Reason::dns_failure, Reason::tls_failure, Reason::reset, Reason::closed_early,
                               Reason::attempt_timeout, Reason::overall_timeout, Reason::protocol_error}) {
      CHECK(circuit_result(config, fault) == Result::failure);
    }
    for (const Reason fault : {Reason::client_disconnected, Reason::body_timeout, Reason::body_too_large,
                               Reason::client_not_reading, Reason::hedge_lost, Reason::drained, Reason::rate_limited,
                               Reason::bulkhead_full, Reason::pool_full, Reason::circuit_open}) {
      CHECK(circuit_result(config, fault) == Result::neutral);
    }
    config.failure_reasons = {};
    config.failure_statuses.insert(501, 501);
    CHECK(circuit_result(config, Reason::reset) == Result::neutral);
    CHECK(circuit_result(config, std::uint16_t{501}) == Result::failure);
  }

  TEST_CASE("a flood of 4xx never opens a circuit, by whatever rule it trips") {
    for (const CircuitConfig& config : {plain(), by_time(0.1, 1, 30s), by_calls(0.1, 1, 10)}) {
      Asked asked{config};
      for (int i = 0; i < 1000; ++i) {
        for (const int status : {400, 401, 403, 404, 408, 409, 425, 429}) {
          asked.call(circuit_result(config, static_cast<std::uint16_t>(status)));
        }
        asked.pass(1ms);
      }
      CHECK(asked.state() == State::closed);
      CHECK(asked.circuit.counts(asked.now).failures == 0);
    }
  }

  TEST_CASE("a flood of 429 lets the failures before and after it be in a row") {
    Asked asked{plain()};
    asked.calls("FF");
    for (int i = 0; i < 1000; ++i) asked.call(circuit_result(asked.config, std::uint16_t{429}));
    CHECK(asked.state() == State::closed);
    asked.calls("F");
    CHECK(asked.state() == State::open);
  }

  TEST_CASE("clients that leave and hedges that lose neither open nor close a circuit") {
    Asked asked{by_time(0.5, 1, 30s)};
    for (int i = 0; i < 1000; ++i) asked.calls("N");
    CHECK(asked.state() == State::closed);
    CHECK(asked.circuit.counts(asked.now) == OutcomeCounts{});
    asked.calls("F");
    CHECK(asked.state() == State::open);
    asked.pass(10s);
    for (int i = 0; i < 1000; ++i) asked.calls("N");
    CHECK(asked.state() == State::half_open);
  }

  // ---- open -----------------------------------------------------------------------------------

  TEST_CASE("an open circuit says how long it will be, until the very end of the cooldown") {
    Asked asked{plain()};
    asked.calls("FFF");
    CHECK(asked.admit().verdict.retry_after == 10s);
    CHECK(asked.circuit.cooldown_left(asked.now) == 10s);
    asked.pass(9999ms);
    CHECK(asked.circuit.peek(asked.config, asked.now).retry_after == 1ms);
    CHECK(asked.refused(Reason::circuit_open));
    asked.pass(999'999ns);
    CHECK(asked.admit().verdict.retry_after == 1ns);
    asked.pass(1ns);
    CHECK(asked.circuit.peek(asked.config, asked.now).admitted());
    CHECK(asked.admitted().probe());
  }

  TEST_CASE("an opening that begins within a millisecond ends within the one after its cooldown, never before") {
    Asked asked{plain()};
    asked.pass(1ns);
    asked.calls("FFF");
    asked.pass(10s - 1ns);
    CHECK(asked.refused(Reason::circuit_open));
    asked.pass(1ms);
    CHECK(asked.admit().verdict.admitted());
  }

  TEST_CASE("the clock alone leads from open to half-open, once, however often it is looked at") {
    Asked asked{plain()};
    asked.calls("FFF");
    asked.pass(9999ms);
    asked.tick();
    CHECK(asked.state() == State::open);
    asked.pass(1ms);
    CHECK(asked.state() == State::open);  // reading the state moves nothing
    for (int i = 0; i < 100; ++i) asked.tick();
    CHECK(asked.state() == State::half_open);
    CHECK(asked.moves(State::open, State::half_open) == 1);
    CHECK(asked.circuit.cooldown_left(asked.now) == 0ns);
    asked.pass(24h);
    asked.tick();
    CHECK(asked.state() == State::half_open);
    CHECK(asked.moves(State::open, State::half_open) == 1);
  }

  TEST_CASE("jitter spreads the cooldown over its whole range and no further") {
    CircuitConfig config = plain();
    config.cooldown_jitter = 0.1;
    Nanos least = kForever;
    Nanos most{0};
    for (std::uint64_t seed = 0; seed < 500; ++seed) {
      Asked asked{config, seed};
      asked.calls("FFF");
      least = std::min(least, asked.circuit.cooldown_left(asked.now));
      most = std::max(most, asked.circuit.cooldown_left(asked.now));
    }
    CHECK(least >= 9s);
    CHECK(least < 9050ms);
    CHECK(most <= 11s + 1ms);
    CHECK(most > 10'950ms);
  }

  TEST_CASE("each re-opening multiplies the cooldown up to its bound, and closing begins anew") {
    Asked asked{plain()};
    asked.config.cooldown_multiplier = 2;
    asked.config.max_cooldown = 1min;
    asked.calls("FFF");
    for (const Nanos expected : {10s, 20s, 40s, 60s, 60s, 60s}) {
      CHECK(asked.circuit.cooldown_left(asked.now) == expected);
      asked.pass(expected);
      asked.calls("F");
    }
    asked.pass(60s);
    asked.calls("S");
    CHECK(asked.state() == State::closed);
    asked.calls("FFF");
    CHECK(asked.circuit.cooldown_left(asked.now) == 10s);
    asked.pass(10s);
    asked.calls("F");
    CHECK(asked.circuit.cooldown_left(asked.now) == 20s);
  }

  TEST_CASE("a great many re-openings stay at the bound, and jitter does not exceed it nor vanish there") {
    Asked asked{plain()};
    asked.config.cooldown_multiplier = 10;
    asked.config.cooldown_jitter = 0.1;
    asked.calls("FFF");
    std::set<Nanos> seen;
    for (int i = 0; i < 2000; ++i) {
      const Nanos left = asked.circuit.cooldown_left(asked.now);
      CHECK(left <= 5min + 1ms);
      if (i > 2) {
        CHECK(left >= 270s);
        seen.insert(left);
      }
      asked.pass(left);
      asked.calls("F");
    }
    CHECK(seen.size() > 1500);
  }

  TEST_CASE("a cooldown beyond max_cooldown is not shortened by it") {
    Asked asked{plain()};
    asked.config.cooldown = 10min;
    asked.calls("FFF");
    CHECK(asked.circuit.cooldown_left(asked.now) == 10min);
  }

  TEST_CASE("a success that begins a new row does not keep a circuit closed that opens by rate") {
    Asked asked{by_time(0.8, 5, 30s)};
    asked.calls("FFFF");
    asked.calls("S");
    CHECK(asked.state() == State::closed);
    asked.calls("F");
    CHECK(asked.state() == State::open);
  }

  // ---- half-open ------------------------------------------------------------------------------

  TEST_CASE("half-open admits as many probes at once as it may and refuses the next") {
    Asked asked{plain()};
    asked.config.max_probes = 3;
    asked.half_open();
    std::vector<CircuitPermit> probes;
    for (int i = 0; i < 3; ++i) probes.push_back(asked.admitted());
    CHECK(asked.circuit.probes_out() == 3);
    CHECK(asked.refused(Reason::circuit_half_open_probe_limit));
    CHECK(asked.circuit.peek(asked.config, asked.now).refused == Reason::circuit_half_open_probe_limit);
    probes.pop_back();
    CHECK(asked.circuit.peek(asked.config, asked.now).admitted());
    probes.push_back(asked.admitted());
    CHECK(asked.circuit.probes_out() == 3);
  }

  TEST_CASE("the most probes there can be are all out at once, and each comes back") {
    Asked asked{plain()};
    asked.config.max_probes = CircuitBreaker::kMaxProbes;
    asked.config.successes = 1000;
    asked.half_open();
    for (int round = 0; round < 3; ++round) {
      std::vector<CircuitPermit> probes;
      for (std::uint32_t i = 0; i < CircuitBreaker::kMaxProbes; ++i) probes.push_back(asked.admitted());
      CHECK(asked.refused(Reason::circuit_half_open_probe_limit));
      for (std::size_t i = 0; i < probes.size(); i += 2) asked.settle(probes[i], Result::success);
      CHECK(asked.circuit.probes_out() == CircuitBreaker::kMaxProbes / 2);
    }
    CHECK(asked.circuit.probes_out() == 0);
    asked.pass(1h);
    asked.tick();
    CHECK(asked.state() == State::half_open);
  }

  TEST_CASE("enough successes close it, one short of them does not") {
    Asked asked{plain()};
    asked.config.successes = 3;
    asked.half_open();
    asked.calls("SNS");
    CHECK(asked.state() == State::half_open);
    asked.calls("S");
    CHECK(asked.state() == State::closed);
    CHECK(asked.moves(State::half_open, State::closed) == 1);
  }

  TEST_CASE("one failure re-opens it whatever came before, and successes of the last period count for nothing") {
    Asked asked{plain()};
    asked.config.successes = 3;
    asked.half_open();
    asked.calls("SSF");
    CHECK(asked.state() == State::open);
    CHECK(asked.circuit.cooldown_left(asked.now) == 10s);
    asked.pass(10s);
    asked.calls("SS");
    CHECK(asked.state() == State::half_open);
    asked.calls("S");
    CHECK(asked.state() == State::closed);
  }

  TEST_CASE("closing begins with empty windows and an empty row: what opened it is forgotten") {
    for (const CircuitConfig& config : {by_time(0.5, 2, 1h), by_calls(0.5, 2, 100), plain()}) {
      Asked asked{config};
      asked.calls(config.trip == CircuitConfig::Trip::consecutive ? "FFF" : "FF");
      CHECK(asked.state() == State::open);
      asked.pass(10s);
      asked.calls("S");
      CHECK(asked.state() == State::closed);
      CHECK(asked.circuit.counts(asked.now) == OutcomeCounts{});
      asked.calls("F");
      CHECK(asked.state() == State::closed);
    }
  }

  // ---- probes that are lost -------------------------------------------------------------------

  TEST_CASE("a probe whose client leaves gives its place back: the next request is admitted") {
    Asked asked{plain()};
    asked.half_open();
    for (int i = 0; i < 100; ++i) asked.calls("N");
    for (int i = 0; i < 100; ++i) static_cast<void>(asked.admitted());
    CHECK(asked.circuit.probes_out() == 0);
    asked.calls("S");
    CHECK(asked.state() == State::closed);
  }

  TEST_CASE("a probe that never ends has failed after probe_timeout, with traffic and without") {
    for (const bool traffic : {true, false}) {
      Asked asked{plain()};
      asked.config.probe_timeout = 3s;
      asked.half_open();
      CircuitPermit lost = asked.admitted();
      asked.pass(3s);
      asked.tick();
      CHECK(asked.state() == State::half_open);
      CHECK(asked.refused(Reason::circuit_half_open_probe_limit));
      asked.pass(1ns);
      if (traffic) {
        CHECK(asked.circuit.peek(asked.config, asked.now).refused == Reason::circuit_open);
        CHECK(asked.refused(Reason::circuit_open));
      } else {
        asked.tick();
      }
      CHECK(asked.state() == State::open);
      CHECK(asked.circuit.cooldown_left(asked.now) == 10s - 1ns);
      asked.pass(10s);
      asked.calls("S");
      CHECK(asked.state() == State::closed);
      asked.settle(lost, Result::failure);
      CHECK(asked.circuit.failures_in_a_row() == 0);
    }
  }

  TEST_CASE("a lost probe that nobody noticed for long failed when it was due, so a probe is admitted at once") {
    Asked asked{plain()};
    asked.half_open();
    CircuitPermit lost = asked.admitted();
    asked.pass(24h);
    CircuitPermit next = asked.admitted();
    CHECK(next.probe());
    CHECK(asked.moves(State::half_open, State::open) == 1);
    CHECK(asked.moves(State::open, State::half_open) == 2);
    asked.settle(next, Result::success);
    CHECK(asked.state() == State::closed);
  }

  TEST_CASE("by default a probe has the larger of the cooldown and the attempt's own limit") {
    for (const Nanos limit : {Nanos{0}, Nanos{3s}, Nanos{25s}}) {
      Asked asked{plain()};
      asked.half_open();
      CircuitAnswer probe = asked.admit(limit);
      const Nanos expected = std::max<Nanos>(10s, limit);
      asked.pass(expected);
      asked.tick();
      CHECK(asked.state() == State::half_open);
      asked.pass(1ns);
      asked.tick();
      CHECK(asked.state() == State::open);
    }
  }

  TEST_CASE("a result that comes after the probe's time is a failure, even if it is the first to notice") {
    Asked asked{plain()};
    asked.half_open();
    CircuitPermit probe = asked.admitted();
    asked.pass(10'001ms);
    asked.settle(probe, Result::success);
    CHECK(asked.state() == State::open);
    CHECK(asked.moves(State::half_open, State::closed) == 0);
  }

  TEST_CASE("the oldest of several probes is the one that becomes overdue") {
    Asked asked{plain()};
    asked.config.max_probes = 3;
    asked.config.successes = 3;
    asked.half_open();
    CircuitPermit first = asked.admitted();
    asked.pass(4s);
    CircuitPermit second = asked.admitted();
    asked.settle(first, Result::success);
    CircuitPermit third = asked.admitted();
    asked.pass(9s);
    asked.tick();
    CHECK(asked.state() == State::half_open);
    third.release();
    asked.pass(1001ms);
    asked.tick();
    CHECK(asked.state() == State::open);
  }

  TEST_CASE("an overdue probe makes the next cooldown longer like any other failure") {
    Asked asked{plain()};
    asked.config.cooldown_multiplier = 3;
    asked.half_open();
    CircuitPermit lost = asked.admitted();
    asked.pass(10'001ms);
    asked.tick();
    CHECK(asked.circuit.cooldown_left(asked.now) == 30s - 1ms);
  }

  // ---- results that come late -----------------------------------------------------------------

  TEST_CASE("a late success from before the trip does not close a half-open circuit") {
    Asked asked{plain()};
    CircuitPermit late = asked.admitted();
    asked.half_open();
    asked.settle(late, Result::success);
    CHECK(asked.state() == State::half_open);
    CHECK(asked.circuit.probes_out() == 0);
  }

  TEST_CASE("a late failure from before the trip does not re-open a half-open circuit nor lengthen an open one") {
    Asked asked{plain()};
    CircuitPermit first = asked.admitted();
    CircuitPermit second = asked.admitted();
    asked.calls("FFF");
    asked.pass(9s);
    asked.settle(first, Result::failure);
    CHECK(asked.circuit.cooldown_left(asked.now) == 1s);
    asked.pass(1s);
    asked.tick();
    asked.settle(second, Result::failure);
    CHECK(asked.state() == State::half_open);
  }

  TEST_CASE("late results do not enter the row or the windows of the next closed period") {
    for (const CircuitConfig& config : {plain(), by_time(0.5, 3, 1h), by_calls(0.5, 3, 100)}) {
      Asked asked{config};
      std::vector<CircuitPermit> late;
      for (int i = 0; i < 10; ++i) late.push_back(asked.admitted());
      asked.half_open();
      asked.calls("S");
      for (CircuitPermit& permit : late) asked.settle(permit, Result::failure);
      CHECK(asked.state() == State::closed);
      CHECK(asked.circuit.counts(asked.now) == OutcomeCounts{});
      CHECK(asked.circuit.failures_in_a_row() == 0);
    }
  }

  TEST_CASE("probes left over from a failed period cannot close the circuit or take the places of the next") {
    Asked asked{plain()};
    asked.config.max_probes = 10;
    asked.config.successes = 10;
    asked.half_open();
    std::vector<CircuitPermit> probes;
    for (int i = 0; i < 10; ++i) probes.push_back(asked.admitted());
    asked.settle(probes[0], Result::failure);
    CHECK(asked.state() == State::open);
    for (int i = 1; i < 6; ++i) asked.settle(probes[static_cast<std::size_t>(i)], Result::success);
    CHECK(asked.state() == State::open);
    asked.pass(10s);
    std::vector<CircuitPermit> next;
    for (int i = 0; i < 10; ++i) next.push_back(asked.admitted());
    CHECK(asked.refused(Reason::circuit_half_open_probe_limit));
    for (int i = 6; i < 10; ++i) asked.settle(probes[static_cast<std::size_t>(i)], Result::success);
    probes.clear();
    CHECK(asked.circuit.probes_out() == 10);
    for (int i = 0; i < 9; ++i) asked.settle(next[static_cast<std::size_t>(i)], Result::success);
    CHECK(asked.state() == State::half_open);
    asked.settle(next[9], Result::success);
    CHECK(asked.state() == State::closed);
  }

  TEST_CASE("a probe from before a reset changes nothing after it") {
    Asked asked{plain()};
    asked.half_open();
    asked.config.consecutive_failures = 1;
    CircuitPermit stale = asked.admitted();
    asked.circuit.reset();
    asked.settle(stale, Result::failure);
    CHECK(asked.state() == State::closed);
  }

  TEST_CASE("every transition is another generation, and a permit given away is given back once") {
    Asked asked{plain()};
    const std::uint32_t first = asked.circuit.generation();
    asked.half_open();
    CHECK(asked.circuit.generation() == first + 2);
    CircuitPermit probe = asked.admitted();
    CircuitPermit moved = std::move(probe);
    CHECK_FALSE(probe);
    CHECK(asked.circuit.probes_out() == 1);
    moved.release();
    moved.release();
    asked.settle(moved, Result::failure);
    CHECK(asked.circuit.probes_out() == 0);
    CHECK(asked.state() == State::half_open);
    moved = asked.admitted();
    moved = CircuitPermit{};
    CHECK(asked.circuit.probes_out() == 0);
    CHECK(asked.circuit.generation() == first + 2);
  }

  TEST_CASE("asking takes nothing, however often") {
    Asked asked{plain()};
    asked.half_open();
    for (int i = 0; i < 100; ++i) CHECK(asked.circuit.peek(asked.config, asked.now).admitted());
    CHECK(asked.circuit.probes_out() == 0);
  }

  // ---- operators ------------------------------------------------------------------------------

  TEST_CASE("a circuit forced open refuses until it is automatic again, and then begins with probes") {
    Asked asked{plain()};
    CircuitPermit before = asked.admitted();
    asked.circuit.force_open();
    CHECK(asked.circuit.force() == CircuitForce::open);
    CHECK(asked.state() == State::open);
    asked.pass(24h);
    asked.tick();
    CHECK(asked.refused(Reason::circuit_open));
    CHECK(asked.circuit.peek(asked.config, asked.now).refused == Reason::circuit_open);
    CHECK(asked.circuit.cooldown_left(asked.now) == 0ns);
    asked.settle(before, Result::success);
    CHECK(asked.state() == State::open);
    asked.circuit.automatic();
    CHECK(asked.circuit.force() == CircuitForce::none);
    CHECK(asked.state() == State::half_open);
    asked.calls("S");
    CHECK(asked.state() == State::closed);
  }

  TEST_CASE("a circuit forced closed admits everything, learns nothing, and then begins with empty windows") {
    Asked asked{by_time(0.5, 2, 1h)};
    asked.calls("F");
    asked.circuit.force_close();
    CHECK(asked.circuit.force() == CircuitForce::closed);
    for (int i = 0; i < 100; ++i) asked.calls("F");
    CHECK(asked.state() == State::closed);
    CircuitPermit forced = asked.admitted();
    asked.circuit.automatic();
    asked.settle(forced, Result::failure);
    CHECK(asked.circuit.counts(asked.now) == OutcomeCounts{});
    asked.calls("F");
    CHECK(asked.state() == State::closed);
    asked.calls("F");
    CHECK(asked.state() == State::open);
  }

  TEST_CASE("automatic without a forcing changes nothing, reset also ends one") {
    Asked asked{plain()};
    asked.calls("FFF");
    asked.circuit.automatic();
    CHECK(asked.circuit.cooldown_left(asked.now) == 10s);
    asked.circuit.force_open();
    asked.circuit.reset();
    CHECK(asked.circuit.force() == CircuitForce::none);
    CHECK(asked.state() == State::closed);
    asked.calls("FF");
    CHECK(asked.state() == State::closed);
  }

  TEST_CASE("a reset forgets the row, the windows and the growth of the cooldown") {
    Asked asked{plain()};
    asked.config.cooldown_multiplier = 2;
    asked.half_open();
    asked.calls("F");
    CHECK(asked.circuit.cooldown_left(asked.now) == 20s);
    asked.circuit.reset();
    asked.calls("FF");
    asked.circuit.reset();
    asked.calls("FF");
    CHECK(asked.state() == State::closed);
    asked.calls("F");
    CHECK(asked.circuit.cooldown_left(asked.now) == 10s);
  }

  TEST_CASE("transitions are counted by where they went, and only where the shown state changed") {
    Asked asked{plain()};
    asked.half_open();
    asked.calls("F");
    asked.circuit.force_open();
    asked.circuit.force_close();
    asked.circuit.reset();
    asked.circuit.reset();
    CHECK(asked.moves(State::closed, State::open) == 1);
    CHECK(asked.moves(State::open, State::half_open) == 1);
    CHECK(asked.moves(State::half_open, State::open) == 1);
    CHECK(asked.moves(State::open, State::closed) == 1);
    CHECK(asked.moves(State::open, State::open) == 0);
    CHECK(asked.moves(State::closed, State::closed) == 0);
    CHECK(to_string(State::half_open) == "half_open");
  }

  // ---- after a reload -------------------------------------------------------------------------

  TEST_CASE("numbers may change under a living circuit, its scope, unit and kind of window may not") {
    const CircuitConfig was = plain();
    CircuitConfig now = by_time(0.1, 7, 1min);
    now.cooldown = 1s;
    now.max_probes = 5;
    now.slow_call = SlowCallConfig{1s, 0.5};
    CHECK(same_structure(was, now));
    CHECK_FALSE(same_structure(was, by_calls(0.5, 10, 100)));
    CHECK(same_structure(by_calls(0.5, 10, 100), by_calls(0.2, 20, 1000)));
    now.scope = CircuitScope::endpoint;
    CHECK_FALSE(same_structure(was, now));
    now.scope = was.scope;
    now.counts = Counts::request;
    CHECK_FALSE(same_structure(was, now));
  }

  TEST_CASE("an open circuit stays open under other numbers, for the cooldown it began with") {
    Asked asked{plain()};
    asked.calls("FFF");
    asked.config.consecutive_failures = 100;
    asked.config.cooldown = 1s;
    asked.config.window = 1min;
    asked.tick();
    CHECK(asked.state() == State::open);
    CHECK(asked.circuit.cooldown_left(asked.now) == 10s);
    asked.pass(10s);
    asked.calls("F");
    CHECK(asked.circuit.cooldown_left(asked.now) == 1s);
  }

  TEST_CASE("a row that is long enough for a smaller threshold opens at its next failure") {
    Asked asked{plain()};
    asked.config.consecutive_failures = 10;
    asked.calls("FFFFF");
    asked.config.consecutive_failures = 3;
    asked.tick();
    CHECK(asked.state() == State::closed);
    asked.calls("F");
    CHECK(asked.state() == State::open);
  }

  TEST_CASE("fewer or more probes hold at once, those that are out included") {
    Asked asked{plain()};
    asked.config.max_probes = 4;
    asked.config.successes = 10;
    asked.half_open();
    std::vector<CircuitPermit> probes;
    for (int i = 0; i < 4; ++i) probes.push_back(asked.admitted());
    asked.config.max_probes = 2;
    for (int i = 0; i < 3; ++i) {
      CHECK(asked.refused(Reason::circuit_half_open_probe_limit));
      probes.pop_back();
    }
    CHECK(asked.admit().verdict.admitted());
    asked.config.max_probes = 3;
    probes.push_back(asked.admitted());
    probes.push_back(asked.admitted());
    CHECK(asked.refused(Reason::circuit_half_open_probe_limit));
  }

  TEST_CASE("fewer successes needed than there were close it at the next one") {
    Asked asked{plain()};
    asked.config.successes = 10;
    asked.half_open();
    asked.calls("SSSSS");
    asked.config.successes = 2;
    asked.tick();
    CHECK(asked.state() == State::half_open);
    asked.calls("S");
    CHECK(asked.state() == State::closed);
  }

  TEST_CASE("another window length is followed at the next tick, and a request of the old numbers cannot undo it") {
    Asked asked{by_time(0.5, 4, 1s)};
    asked.calls("FFF");
    const CircuitConfig old = asked.config;
    asked.config.window = 1min;
    const OutcomeCounts before = asked.circuit.counts(asked.now);
    REQUIRE(before.calls > 0);
    asked.tick();
    CHECK(asked.circuit.counts(asked.now) == before);
    asked.circuit.reset();
    asked.calls("FF");
    CircuitPermit permit = asked.admitted();
    permit.settle(old, Result::failure, 1ms, asked.now, asked.rng);
    asked.pass(50s);
    CHECK(asked.circuit.counts(asked.now).failures == 3);
    asked.calls("F");
    CHECK(asked.state() == State::open);

    Asked calls{by_calls(0.5, 4, 4)};
    calls.config.window_calls = 6;
    calls.tick();
    calls.calls("SSSSFF");
    CHECK(calls.state() == State::closed);
    calls.calls("F");
    CHECK(calls.state() == State::open);
  }

  TEST_CASE("a row turns into a rate without closing what is open") {
    Asked asked{plain()};
    asked.calls("FFF");
    asked.config = by_time(0.5, 4, 30s);
    asked.tick();
    CHECK(asked.state() == State::open);
    asked.pass(10s);
    asked.calls("S");
    asked.calls("SSFF");
    CHECK(asked.state() == State::open);
  }

  // ---- conservation, and what it costs --------------------------------------------------------

  TEST_CASE("whatever happens in whatever order, probes out are permits held, and never more than allowed") {
    for (std::uint64_t seed = 1; seed <= 50; ++seed) {
      CAPTURE(seed);
      Rng dice{seed};
      Asked asked{dice.below(2) == 0 ? plain() : by_time(0.5, 3, 2s), seed};
      asked.config.cooldown_jitter = 0.1;
      asked.config.cooldown = 500ms;
      asked.config.cooldown_multiplier = 1.5;
      asked.config.max_cooldown = 5s;
      asked.config.probe_timeout = 700ms;
      asked.config.max_probes = 1 + static_cast<std::uint32_t>(dice.below(5));
      asked.config.successes = 1 + static_cast<std::uint32_t>(dice.below(5));
      struct Held {
        CircuitPermit permit;
        std::uint32_t generation;
      };
      std::vector<Held> held;
      for (int step = 0; step < 3000; ++step) {
        asked.pass(Nanos{static_cast<std::int64_t>(dice.below(60'000'000))});
        switch (dice.below(8)) {
          case 0:
          case 1:
          case 2: {
            CircuitAnswer answer = asked.admit();
            CHECK(static_cast<bool>(answer.permit) == answer.verdict.admitted());
            if (!answer.verdict.admitted()) CHECK(answer.verdict.retry_after.value_or(0ns) > 0ns);
            if (answer.permit) held.push_back({std::move(answer.permit), asked.circuit.generation()});
            break;
          }
          case 3: asked.tick(); break;
          case 4:
            if (dice.below(50) == 0) asked.circuit.reset();
            if (dice.below(50) == 0) asked.circuit.force_open();
            if (dice.below(50) == 0) asked.circuit.force_close();
            if (dice.below(5) == 0) asked.circuit.automatic();
            break;
          default: {
            if (held.empty()) break;
            const auto which = static_cast<std::ptrdiff_t>(dice.below(held.size()));
            Held& one = held[static_cast<std::size_t>(which)];
            if (dice.below(4) != 0) asked.settle(one.permit, static_cast<Result>(dice.below(3)));
            held.erase(held.begin() + which);
          }
        }
        const auto current = std::count_if(held.begin(), held.end(), [&](const Held& one) {
          return one.permit.probe() && one.generation == asked.circuit.generation();
        });
        REQUIRE(asked.circuit.probes_out() == static_cast<std::uint32_t>(current));
        REQUIRE(asked.circuit.probes_out() <= asked.config.max_probes);
      }
      held.clear();
      CHECK(asked.circuit.probes_out() == 0);
    }
  }

  TEST_CASE("no decision of a circuit allocates") {
    for (const CircuitConfig& config : {plain(), by_time(0.5, 10, 30s), by_calls(0.5, 10, 100)}) {
      Asked asked{config};
      const std::uint64_t before = test::allocations();
      for (int i = 0; i < 200; ++i) {
        CircuitAnswer answer = asked.admit();
        answer.permit.settle(asked.config, i % 3 == 0 ? Result::success : Result::failure, 1ms, asked.now, asked.rng);
        asked.tick();
        asked.pass(100ms);
      }
      CHECK(test::allocations() == before);
    }
  }
}
