#include <array>

#include "tests/sim/scenario.hpp"

// Whether the policies do what they are for, together and in the worst mixtures.
namespace outrigger::sim {

using namespace std::chrono_literals;

namespace {

constexpr Nanos kOutageBegins = 5s;
constexpr Nanos kOutageEnds = kOutageBegins + 30s;
constexpr Nanos kRecovered = kOutageEnds + 5s;
constexpr Nanos kOver = kRecovered + 5s;

policy::CircuitConfig circuit(Rng& rng) {
  policy::CircuitConfig config;
  config.failure_statuses.insert(500, 500);
  config.failure_statuses.insert(502, 504);
  config.cooldown = 2s;
  if (rng.below(2) == 0) {
    config.trip = policy::CircuitConfig::Trip::rate_by_time;
    config.minimum_calls = 20;
    config.window = 1s;
  }
  return config;
}

// ---- an outage behind a circuit ----------------------------------------------------------------

Setup draw_circuit_outage(Rng& rng) {
  Behaviour usual;
  usual.service = exponential(20ms);
  usual.concurrency = 6;
  usual.queue = 150;
  Behaviour out = usual;
  switch (rng.below(3)) {
    case 0: out.refuse = out.stale = out.reset = 1; break;
    case 1: out.fail = 1; break;
    default: out.hang = 1; break;
  }
  Setup setup;
  setup.numbers.policy.overall_timeout = 1s;
  setup.numbers.policy.retry.emplace();
  setup.numbers.policy.retry->timeout_per_attempt = 300ms;
  setup.numbers.circuits.push_back(circuit(rng));
  setup.endpoints.push_back({.usual = usual, .phases = {{kOutageBegins, kOutageEnds, out}}, .weight = 1});
  setup.traffic.rate = 200;
  setup.traffic.length = kOver;
  setup.traffic.posts = 0;
  return setup;
}

std::string judge_circuit_outage(const Setup&, const Invariants& outcome) {
  const double during = outcome.amplification(kOutageBegins, kOutageEnds);
  if (during > 0.05) return "I11 " + std::to_string(during) + " attempts per request behind an open circuit";
  const double after = outcome.goodput(kRecovered, kOver);
  if (after < 0.99) return "I11 goodput " + std::to_string(after) + " five seconds after the outage";
  return {};
}

// ---- hedging against a slow tail ---------------------------------------------------------------

constexpr Nanos kUsual = 10ms;
constexpr Nanos kLearnt = 5s;

Setup draw_hedge(Rng& rng) {
  Behaviour usual;
  usual.service = uniform(8ms, kUsual);
  usual.slow = 0.02;
  usual.slow_service = constant(20 * kUsual);
  Setup setup;
  setup.numbers.hedge.emplace();
  setup.numbers.hedge->quantile = 0.95;
  setup.numbers.budget.max_rate = 0.2;
  setup.endpoints.resize(2 + rng.below(3), {.usual = usual, .phases = {}, .weight = 1});
  setup.traffic.rate = 400;
  setup.traffic.length = 20s;
  setup.traffic.posts = 0;
  setup.traffic.bodies = 0;
  return setup;
}

std::string judge_hedge(const Setup& setup, const Invariants& outcome) {
  const Nanos p99 = outcome.latency(0.99, kLearnt, setup.traffic.length);
  if (p99 > 20 * kUsual / 5) return "I11 p99 is " + std::to_string(to_ms(p99)) + " ms, unhedged it would be 200 ms";
  const double cost = outcome.amplification(kLearnt, setup.traffic.length);
  return cost <= 1.06 ? "" : "I11 " + std::to_string(cost) + " attempts per request";
}

// ---- more than can be served -------------------------------------------------------------------

constexpr std::uint32_t kCapacity = 20;
constexpr Nanos kServiceTime = 50ms;

/// Three times what can be served, of which a third is critical; a bulkhead of 1.25 times the capacity.
Setup draw_overload(Rng&) {
  Behaviour usual;
  usual.service = uniform(40ms, 60ms);
  usual.concurrency = kCapacity;
  usual.queue = 10'000;
  Setup setup;
  policy::BulkheadConfig& bulkhead = setup.numbers.bulkheads.emplace_back();
  bulkhead.max_concurrent = kCapacity * 5 / 4;
  bulkhead.priorities.fraction = {0.5, 0.8, 1};
  setup.numbers.policy.overall_timeout = 1s;
  setup.endpoints.push_back({.usual = usual, .phases = {}, .weight = 1});
  setup.traffic.rate = 3 * kCapacity * 1e9 / static_cast<double>(kServiceTime.count());
  setup.traffic.length = 8s;
  setup.traffic.posts = 0;
  setup.traffic.bodies = 0;
  setup.traffic.low = 0.3;
  setup.traffic.critical = 0.1;
  return setup;
}

std::string judge_overload(const Setup& setup, const Invariants& outcome) {
  const double critical = outcome.goodput(1s, setup.traffic.length, Priority::critical);
  if (critical < 0.99) return "I11 goodput of critical requests is " + std::to_string(critical);
  const double capacity = kCapacity * 1e9 / static_cast<double>(kServiceTime.count());
  const double served = outcome.good_per_second(1s, setup.traffic.length) / capacity;
  return served >= 0.9 ? "" : "I11 only " + std::to_string(served) + " of the capacity is used";
}

// ---- everything at once ------------------------------------------------------------------------

Behaviour nasty(Rng& rng) {
  Behaviour usual;
  usual.service = pareto(1ms, 500ms);
  usual.concurrency = static_cast<std::uint32_t>(rng.below(20));
  usual.queue = static_cast<std::uint32_t>(rng.below(20));
  usual.refuse = pick(rng, 0, 0.1);
  usual.stale = pick(rng, 0, 0.2);
  usual.fail = pick(rng, 0, 0.4);
  usual.hang = pick(rng, 0, 0.05);
  usual.reset = pick(rng, 0, 0.1);
  usual.broken = pick(rng, 0, 0.05);
  usual.early = pick(rng, 0, 0.1);
  usual.dies_in_body = pick(rng, 0, 0.1);
  usual.long_body = pick(rng, 0, 0.2);
  usual.dies_unread = pick(rng, 0, 0.2);
  usual.pushback = pick(rng, 0, 0.1);
  usual.statuses = {500, 502, 503, 504, 429, 404, 501};
  return usual;
}

Setup draw_mixture(Rng& rng) {
  Setup setup;
  Numbers& numbers = setup.numbers;
  setup.workers = 1 + static_cast<std::uint32_t>(rng.below(3));
  numbers.policy.overall_timeout = pick(rng, 50ms, 800ms);
  if (rng.below(4) != 0) {
    policy::RetryConfig& retry = numbers.policy.retry.emplace();
    retry.max_attempts = 1 + static_cast<std::uint32_t>(rng.below(4));
    retry.timeout_per_attempt = rng.below(2) == 0 ? 0ms : pick(rng, 10ms, 200ms);
    retry.backoff.initial = pick(rng, 1ms, 20ms);
  }
  if (rng.below(2) == 0) {
    policy::HedgeConfig& hedge = numbers.hedge.emplace();
    hedge.max_hedges = 1 + static_cast<std::uint32_t>(rng.below(3));
    if (rng.below(2) == 0) hedge.delay = pick(rng, 1ms, 50ms);
    hedge.quantile = 0.9;
    hedge.min_samples = 20;
    hedge.cancel_on_first_terminal = rng.below(4) == 0;
    if (rng.below(2) == 0) hedge.methods.push_back("POST");
  }
  for (std::uint64_t i = rng.below(3); i-- > 0;) {
    numbers.circuits.push_back(circuit(rng));
    numbers.circuits.back().cooldown = pick(rng, 100ms, 500ms);
    if (rng.below(3) == 0) numbers.circuits.back().counts = policy::Counts::request;
  }
  for (std::uint64_t i = rng.below(3); i-- > 0;) {
    policy::BulkheadConfig& bulkhead = numbers.bulkheads.emplace_back();
    bulkhead.max_concurrent = 1 + static_cast<std::uint32_t>(rng.below(20));
    bulkhead.max_queue = static_cast<std::uint32_t>(rng.below(10));
    bulkhead.max_wait = pick(rng, 0ms, 200ms);
    bulkhead.priorities.fraction = {0.5, 0.8, 1};
    if (rng.below(2) == 0) bulkhead.counts = policy::Counts::request;
  }
  for (std::uint64_t i = rng.below(3); i-- > 0;) {
    policy::RateLimitConfig& limit = numbers.rate_limits.emplace_back();
    limit.requests = pick(rng, 20, 300);
    limit.burst = 1 + static_cast<std::uint32_t>(rng.below(20));
    limit.max_wait = rng.below(2) == 0 ? 0ms : pick(rng, 1ms, 100ms);
    if (rng.below(2) == 0) limit.counts = policy::Counts::attempt;
  }
  if (rng.below(3) == 0) {
    policy::AdaptiveLimitConfig& limit = numbers.adaptive.emplace();
    limit.queue = static_cast<std::uint32_t>(rng.below(10));
    limit.priorities.fraction = {0.5, 0.8, 1};
    if (rng.below(2) == 0) limit.algorithm = policy::AdaptiveLimitConfig::Algorithm::gradient;
  }
  if (rng.below(3) == 0) numbers.throttle.emplace();
  setup.endpoints.resize(1 + rng.below(3));
  for (ModelEndpoint& endpoint : setup.endpoints) endpoint.usual = nasty(rng);
  Traffic& traffic = setup.traffic;
  traffic.rate = pick(rng, 50, 400);
  traffic.length = 4s;
  traffic.low = 0.3;
  traffic.critical = 0.2;
  traffic.bodies = 0.4;
  traffic.slow_bodies = 0.3;
  traffic.long_bodies = 0.1;
  traffic.bad_bodies = 0.1;
  traffic.impatient = 0.2;
  traffic.with_deadline = 0.2;
  traffic.not_reading = 0.02;
  if (rng.below(2) == 0) {
    Numbers later = numbers;
    for (auto& bulkhead : later.bulkheads) bulkhead.max_concurrent = 1 + static_cast<std::uint32_t>(rng.below(20));
    for (auto& limit : later.rate_limits) limit.requests = pick(rng, 20, 300);
    setup.reloads.push_back({.at = pick(rng, 500ms, 3500ms), .numbers = later});
  }
  if (rng.below(4) == 0) setup.drain_at = pick(rng, 1s, 4s);
  return setup;
}

}  // namespace

std::span<const Scenario> policy_scenarios() {
  static constexpr std::array kScenarios = {
      Scenario{"circuit_outage", "an outage behind a circuit", draw_circuit_outage, judge_circuit_outage},
      Scenario{"hedge", "two answers in a hundred are twenty times slower", draw_hedge, judge_hedge},
      Scenario{"priorities", "three times what can be served, by priority", draw_overload, judge_overload},
      Scenario{"mixture", "all policies at once, with small numbers and nasty peers", draw_mixture, no_judgement}};
  return kScenarios;
}

}  // namespace outrigger::sim
