#include <array>

#include "tests/sim/scenario.hpp"
#include "tests/sim/scenario_parts.hpp"

// Everything at once, drawn at random: all policies in the worst mixtures, with small numbers and nasty peers.
namespace outrigger::sim {

using namespace std::chrono_literals;

namespace {

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

std::span<const Scenario> mixture_scenarios() {
  static constexpr std::array kScenarios = {
      Scenario{"mixture", "all policies at once, with small numbers and nasty peers", draw_mixture, no_figures}};
  return kScenarios;
}

}  // namespace outrigger::sim
