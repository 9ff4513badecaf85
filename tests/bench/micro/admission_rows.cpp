// What a request or an attempt has to pass before it goes on: circuits, rate limits, throttles, places.
#include <array>
#include <chrono>
#include <memory>
#include <string>

#include "proxy/base/cache_line.hpp"
#include "proxy/policy/adaptive_limit.hpp"
#include "proxy/policy/adaptive_throttle.hpp"
#include "proxy/policy/bulkhead.hpp"
#include "proxy/policy/circuit_breaker.hpp"
#include "proxy/policy/keyed_rate_limit.hpp"
#include "tests/bench/micro/bench.hpp"
#include "tests/bench/micro/samples.hpp"

namespace outrigger::bench {
namespace {

using namespace outrigger::policy;
using namespace std::chrono_literals;

struct Guarding {
  explicit Guarding(const CircuitConfig& from) : config(from), circuit(config) {}

  void decide(Turn turn, CircuitResult result) {
    Rng& rng = rngs[turn.worker].value;
    CircuitAnswer answer = circuit.admit(config, 0ns, turn.at(10us), rng);
    answer.permit.settle(config, result, 1ms, turn.at(10us), rng);
    keep(answer);
  }

  CircuitConfig config;
  CircuitBreaker circuit;
  std::array<Padded<Rng>, kWorkers> rngs = two_rngs();
};

void add_circuits(Bench& bench) {
  const auto row = [&](const char* name, const std::shared_ptr<Guarding>& guarding, CircuitResult result) {
    bench.row(name, [guarding, result](Turn turn) { guarding->decide(turn, result); });
  };
  CircuitConfig in_a_row;
  in_a_row.consecutive_failures = 4'000'000'000;
  CircuitConfig by_time;
  by_time.trip = CircuitConfig::Trip::rate_by_time;
  by_time.failure_rate = 2;  // never reached
  CircuitConfig by_calls = by_time;
  by_calls.trip = CircuitConfig::Trip::rate_by_calls;
  row("circuit in a row, closed, success", std::make_shared<Guarding>(in_a_row), CircuitResult::success);
  row("circuit in a row, closed, failure", std::make_shared<Guarding>(in_a_row), CircuitResult::failure);
  row("circuit by time, closed, success", std::make_shared<Guarding>(by_time), CircuitResult::success);
  row("circuit by time, closed, failure", std::make_shared<Guarding>(by_time), CircuitResult::failure);
  row("circuit by calls, closed, success", std::make_shared<Guarding>(by_calls), CircuitResult::success);
  row("circuit by calls, closed, failure", std::make_shared<Guarding>(by_calls), CircuitResult::failure);

  const auto open = std::make_shared<Guarding>(in_a_row);
  open->circuit.force_open();
  row("circuit open, refusal", open, CircuitResult::neutral);
  CircuitConfig probes = in_a_row;
  probes.max_probes = kWorkers;
  const auto half_open = std::make_shared<Guarding>(probes);
  half_open->circuit.force_open();
  half_open->circuit.automatic();
  row("circuit half-open, probe without a result", half_open, CircuitResult::neutral);
}

template <class Limit>
struct Limiting {
  template <class... Seed>
  explicit Limiting(const RateLimitConfig& from, Seed... seed) : config(from), limit(config, seed...) {}
  RateLimitConfig config;
  Limit limit;
  Clients clients;
};

void add_rate_limits(Bench& bench) {
  const auto admitting = std::make_shared<Limiting<RateLimit>>(plenty_of_permits());
  bench.row("rate limit, admit",
            [admitting](Turn turn) { keep(admitting->limit.admit(admitting->config, 0ns, turn.at(1us)).at); });
  const auto returning = std::make_shared<Limiting<RateLimit>>(plenty_of_permits());
  bench.row("rate limit, admit and cancel", [returning](Turn turn) {
    returning->limit.admit(returning->config, 0ns, turn.at(1us)).place.cancel(turn.at(1us));
  });
  RateLimitConfig next_to_none;
  next_to_none.requests = 1e-6;
  next_to_none.burst = 1;
  const auto refusing = std::make_shared<Limiting<RateLimit>>(next_to_none);
  bench.row("rate limit, refusal",
            [refusing](Turn turn) { keep(refusing->limit.admit(refusing->config, 0ns, turn.at(1us)).at); });
  bench.row("rate limit, view for the response's fields",
            [admitting](Turn turn) { keep(admitting->limit.view(admitting->config, turn.at(1us))); });

  const auto keyed = [&](const char* name, std::uint32_t max_keys) {
    RateLimitConfig config = plenty_of_permits();
    config.max_keys = max_keys;
    const auto limiting = std::make_shared<Limiting<KeyedRateLimit>>(config, std::uint64_t{1});
    bench.row(name, [limiting](Turn turn) {
      keep(limiting->limit.admit(limiting->config, limiting->clients.of(turn), 0ns, turn.at(1us)).at);
    });
  };
  keyed("keyed rate limit, one of 1,024 keys", 10'000);
  keyed("keyed rate limit, a new key for an old one", 64);
}

void add_throttles(Bench& bench) {
  struct Throttling {
    AdaptiveThrottleConfig config;
    AdaptiveThrottle throttle{config};
    std::array<Padded<Rng>, kWorkers> rngs = two_rngs();
  };
  for (const bool success : {true, false}) {
    const auto throttling = std::make_shared<Throttling>();
    bench.row(success ? "adaptive throttle, success" : "adaptive throttle, failure", [throttling, success](Turn turn) {
      const AdaptiveThrottleConfig& config = throttling->config;
      keep(throttling->throttle.admit(config, Priority::standard, turn.at(10us), throttling->rngs[turn.worker].value));
      throttling->throttle.settle(config, success, turn.at(10us));
    });
  }
}

void add_bulkheads(Bench& bench) {
  struct Holding {
    explicit Holding(const BulkheadConfig& from) : config(from) {}
    BulkheadConfig config;
    NobodyWaits wakeups;
    Bulkhead bulkhead{wakeups};
    GatePermit taken;
  };
  const auto row = [&](const char* name, const std::shared_ptr<Holding>& holding, Priority priority) {
    bench.row(name, [holding, priority](Turn) { keep(holding->bulkhead.admit(holding->config, priority, nullptr)); });
  };
  row("bulkhead, admit and release", std::make_shared<Holding>(BulkheadConfig{.max_concurrent = 1000}),
      Priority::standard);
  row("bulkhead with priorities, admit and release",
      std::make_shared<Holding>(BulkheadConfig{.max_concurrent = 1000, .priorities = {{0.5, 0.8, 1}}}),
      Priority::standard);
  const auto full = std::make_shared<Holding>(BulkheadConfig{.max_concurrent = 1, .max_queue = 1000, .max_wait = 1s});
  full->taken = full->bulkhead.admit(full->config, Priority::standard, nullptr).permit;
  row("bulkhead, full, refusal", full, Priority::low);
  bench.row("bulkhead, full, wait and leave", [full](Turn) {
    GateWaiter waiter;
    keep(full->bulkhead.admit(full->config, Priority::standard, &waiter));
  });
}

void add_adaptive_limits(Bench& bench) {
  struct Adapting {
    explicit Adapting(AdaptiveLimitConfig::Algorithm algorithm) : config{.algorithm = algorithm} {}
    AdaptiveLimitConfig config;
    NobodyWaits wakeups;
    AdaptiveLimit limit{config, wakeups, kWorkers};
    std::array<Padded<Rng>, kWorkers> rngs = two_rngs();
  };
  using Algorithm = AdaptiveLimitConfig::Algorithm;
  for (const Algorithm algorithm : {Algorithm::aimd, Algorithm::gradient}) {
    const auto adapting = std::make_shared<Adapting>(algorithm);
    // A window is over every 10,000 turns: what moves the limit is in the mean.
    bench.row(algorithm == Algorithm::aimd ? "adaptive limit aimd, an attempt" : "adaptive limit gradient, an attempt",
              [adapting](Turn turn) {
                const GateAdmission admission = adapting->limit.admit(adapting->config, Priority::standard, nullptr);
                adapting->limit.on_result(adapting->config, turn.worker, LimitSample::good, 10ms, turn.at(10us),
                                          adapting->rngs[turn.worker].value);
                keep(admission);
              });
  }
}

}  // namespace

void add_admission_rows(Bench& bench) {
  add_circuits(bench);
  add_rate_limits(bench);
  add_throttles(bench);
  add_bulkheads(bench);
  add_adaptive_limits(bench);
}

}  // namespace outrigger::bench
