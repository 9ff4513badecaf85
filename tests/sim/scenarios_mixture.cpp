#include <array>

#include "tests/sim/scenario.hpp"
#include "tests/sim/scenario_parts.hpp"

// Everything at once, drawn at random: all policies in the worst mixtures, with small numbers and nasty peers.
namespace outrigger::sim {

using namespace std::chrono_literals;

namespace {

// ---- who is met -------------------------------------------------------------------------------

Behaviour nasty(Rng& rng) {
  Behaviour usual;
  usual.service = pareto(1ms, 500ms);
  usual.concurrency = pick_below(rng, 20);
  usual.queue = pick_below(rng, 20);
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
  usual.says_when = pick(rng, 0, 0.3);
  usual.pushback = pick(rng, 0, 0.1);
  usual.statuses = {500, 502, 503, 504, 429, 404, 501};
  return usual;
}

ModelEndpoint nasty_endpoint(Rng& rng) {
  ModelEndpoint endpoint{.usual = nasty(rng), .phases = {}, .weight = 1 + pick_below(rng, 3)};
  if (rng.below(2) == 0) {
    Behaviour worse = endpoint.usual;
    (rng.below(2) == 0 ? worse.fail : worse.hang) = pick(rng, 0.5, 1);
    const Nanos from = pick(rng, 500ms, 2500ms);
    endpoint.phases.push_back({from, from + pick(rng, 200ms, 1s), worse});
  }
  return endpoint;
}

Traffic nasty_traffic(Rng& rng) {
  Traffic traffic;
  traffic.rate = pick(rng, 50, 400);
  traffic.length = 4s;
  traffic.low = 0.3;
  traffic.critical = 0.2;
  traffic.clients = 1 + pick_below(rng, 40);
  traffic.bodies = 0.4;
  traffic.slow_bodies = 0.3;
  traffic.long_bodies = 0.1;
  traffic.bad_bodies = 0.1;
  traffic.impatient = 0.2;
  traffic.with_deadline = 0.2;
  traffic.not_reading = 0.02;
  return traffic;
}

// ---- what protects ----------------------------------------------------------------------------

policy::RetryConfig some_retry(Rng& rng) {
  policy::RetryConfig retry;
  retry.max_attempts = 1 + pick_below(rng, 4);
  retry.timeout_per_attempt = rng.below(2) == 0 ? 0ms : pick(rng, 10ms, 200ms);
  retry.backoff.initial = pick(rng, 1ms, 20ms);
  retry.backoff.jitter = static_cast<policy::Jitter>(rng.below(4));
  retry.non_idempotent = rng.below(4) == 0;
  retry.retry_after = {.honor = rng.below(4) != 0, .max = pick(rng, 0ms, 300ms)};
  retry.avoid_previous_endpoint = rng.below(4) != 0;
  return retry;
}

policy::BudgetConfig some_budget(Rng& rng) {
  policy::BudgetConfig budget;
  budget.type = static_cast<policy::BudgetType>(rng.below(5));
  budget.max_rate = pick(rng, 0, 0.5);
  budget.min_per_second = pick(rng, 0, 10);
  budget.min_concurrency = pick_below(rng, 5);
  budget.window = pick(rng, 500ms, 4s);
  budget.capacity = 1 + pick_below(rng, 60);
  budget.refill_per_second = pick(rng, 0, 20);
  budget.retry_cost = 1 + pick_below(rng, 5);
  return budget;
}

policy::HedgeConfig some_hedge(Rng& rng) {
  policy::HedgeConfig hedge;
  hedge.max_hedges = 1 + pick_below(rng, 3);
  if (rng.below(2) == 0) hedge.delay = pick(rng, 1ms, 50ms);
  if (rng.below(4) != 0 || !hedge.delay) hedge.quantile = pick(rng, 0.5, 0.99);
  hedge.min_samples = 1 + pick_below(rng, 50);
  hedge.window = pick(rng, 1s, 10s);
  hedge.cancel_on_first_terminal = rng.below(4) == 0;
  if (rng.below(2) == 0) hedge.methods.push_back("POST");
  return hedge;
}

policy::CircuitConfig some_circuit(Rng& rng) {
  policy::CircuitConfig config = circuit(rng);
  if (rng.below(3) == 0) {
    config.trip = policy::CircuitConfig::Trip::rate_by_calls;
    config.window_calls = 10 + pick_below(rng, 50);
  }
  if (rng.below(3) == 0) config.slow_call = policy::SlowCallConfig{pick(rng, 20ms, 200ms), pick(rng, 0.2, 1)};
  config.failure_rate = pick(rng, 0.2, 0.8);
  config.cooldown = pick(rng, 50ms, 500ms);
  config.cooldown_multiplier = pick(rng, 1, 3);
  config.max_cooldown = 1s;
  config.max_probes = 1 + pick_below(rng, 3);
  config.successes = 1 + pick_below(rng, 3);
  config.probe_timeout = rng.below(2) == 0 ? 0ms : pick(rng, 20ms, 300ms);
  if (rng.below(3) == 0) {
    config.counts = policy::Counts::request;
  } else if (rng.below(2) == 0) {
    config.scope = policy::CircuitScope::endpoint;
  }
  return config;
}

policy::BulkheadConfig some_bulkhead(Rng& rng) {
  policy::BulkheadConfig bulkhead;
  bulkhead.max_concurrent = 1 + pick_below(rng, 20);
  bulkhead.max_queue = pick_below(rng, 10);
  bulkhead.max_wait = pick(rng, 0ms, 200ms);
  bulkhead.priorities.fraction = {0.5, 0.8, 1};
  if (rng.below(2) == 0) bulkhead.counts = policy::Counts::request;
  return bulkhead;
}

policy::RateLimitConfig some_rate_limit(Rng& rng) {
  policy::RateLimitConfig limit;
  limit.requests = pick(rng, 20, 300);
  limit.burst = 1 + pick_below(rng, 20);
  limit.max_wait = rng.below(2) == 0 ? 0ms : pick(rng, 1ms, 100ms);
  if (rng.below(2) == 0) limit.counts = policy::Counts::attempt;
  if (rng.below(3) == 0) limit.shape = policy::RateLimitConfig::Shape::smooth;
  if (rng.below(2) == 0) {
    limit.key = policy::RateLimitConfig::Key::client_ip;
    limit.requests = pick(rng, 2, 50);
    limit.max_keys = 1 + pick_below(rng, 50);
  }
  return limit;
}

policy::AdaptiveLimitConfig some_adaptive_limit(Rng& rng) {
  policy::AdaptiveLimitConfig limit;
  limit.initial = 1 + pick_below(rng, 30);
  limit.queue = pick_below(rng, 10);
  limit.max_wait = pick(rng, 0ms, 200ms);
  limit.priorities.fraction = {0.5, 0.8, 1};
  limit.aimd.baseline_window = pick(rng, 500ms, 5s);
  limit.gradient.min_samples = 5 + pick_below(rng, 30);
  if (rng.below(2) == 0) limit.algorithm = policy::AdaptiveLimitConfig::Algorithm::gradient;
  return limit;
}

/// Rules that change what is tried again; none makes a success of a failure, which budgets by success would be paid by.
policy::Classifier some_classifier(Rng& rng) {
  using policy::Outcome;
  policy::Classifier rules;
  if (rng.below(2) == 0) rules.push_back({.failure = Reason::reset, .outcome = Outcome::non_retryable});
  if (rng.below(2) == 0) rules.push_back({.failure = Reason::protocol_error, .outcome = Outcome::retryable});
  policy::ClassifierRule& rule = rules.emplace_back();
  rule.status.emplace().insert(404, 429);
  rule.outcome = rng.below(2) == 0 ? Outcome::retryable : Outcome::non_retryable;
  policy::ClassifierRule& posts = rules.emplace_back();
  posts.status.emplace().insert(500, 503);
  posts.method = "POST";
  posts.outcome = Outcome::non_retryable;
  return rules;
}

Numbers some_numbers(Rng& rng) {
  Numbers numbers;
  numbers.policy.overall_timeout = pick(rng, 50ms, 800ms);
  if (rng.below(4) == 0) numbers.policy.max_duration = pick(rng, 100ms, 1s);
  numbers.policy.deadline.min_remaining = pick(rng, 0ms, 10ms);
  numbers.policy.deadline.margin = rng.below(2) == 0 ? 0ms : 3ms;
  numbers.budget = some_budget(rng);
  numbers.budgeted = rng.below(8) != 0;
  if (rng.below(2) == 0) numbers.balance = policy::Balance::round_robin;
  if (rng.below(4) != 0) numbers.policy.retry = some_retry(rng);
  if (rng.below(2) == 0) numbers.hedge = some_hedge(rng);
  for (std::uint64_t i = rng.below(3); i-- > 0;) numbers.circuits.push_back(some_circuit(rng));
  for (std::uint64_t i = rng.below(3); i-- > 0;) numbers.bulkheads.push_back(some_bulkhead(rng));
  for (std::uint64_t i = rng.below(3); i-- > 0;) numbers.rate_limits.push_back(some_rate_limit(rng));
  if (rng.below(3) == 0) numbers.adaptive = some_adaptive_limit(rng);
  if (rng.below(3) == 0) numbers.throttle.emplace().minimum_calls = 1 + pick_below(rng, 50);
  if (rng.below(3) == 0) numbers.classifier = some_classifier(rng);
  if (rng.below(4) == 0) numbers.balance = policy::Balance::random;
  if (rng.below(2) == 0) {
    numbers.max_connections = 1 + pick_below(rng, 5);
    numbers.max_pending = pick_below(rng, 10);
  }
  if (rng.below(2) == 0) {
    numbers.outlier.emplace();
    numbers.outlier->consecutive_failures = 1 + pick_below(rng, 4);
    numbers.outlier->base_ejection = pick(rng, 20ms, 500ms);
    numbers.outlier->max_ejection = 1s;
    numbers.outlier->max_ejected = pick(rng, 0, 1);
  }
  return numbers;
}

/// Other numbers for the same states: only what a reload may change without beginning anew.
void change(Rng& rng, Numbers& numbers, std::size_t endpoints) {
  numbers.policy.overall_timeout = pick(rng, 50ms, 800ms);
  if (numbers.policy.retry) numbers.policy.retry = some_retry(rng);
  for (auto& each : numbers.bulkheads) each.max_concurrent = 1 + pick_below(rng, 20);
  for (auto& each : numbers.rate_limits) each.requests = pick(rng, 20, 300);
  for (auto& each : numbers.circuits) each.cooldown = pick(rng, 50ms, 500ms);
  if (numbers.adaptive) {
    numbers.adaptive->min = 1 + pick_below(rng, 5);
    numbers.adaptive->max = numbers.adaptive->min + pick_below(rng, 50);
  }
  if (numbers.max_pending != 0) numbers.max_connections = 1 + pick_below(rng, 5);
  numbers.endpoints = 1 + rng.below(endpoints);
}

Setup draw_mixture(Rng& rng) {
  Setup setup;
  setup.workers = 1 + pick_below(rng, 3);
  setup.numbers = some_numbers(rng);
  for (std::uint64_t i = 1 + rng.below(3); i-- > 0;) setup.endpoints.push_back(nasty_endpoint(rng));
  setup.traffic = nasty_traffic(rng);
  Numbers later = setup.numbers;
  for (std::uint64_t i = rng.below(3); i-- > 0;) {
    change(rng, later, setup.endpoints.size());
    setup.reloads.push_back({.at = pick(rng, 500ms, 3500ms), .numbers = later});
  }
  if (rng.below(3) == 0) {
    for (std::uint64_t i = 0; i < 4; ++i) {
      setup.commands.push_back({.at = pick(rng, 0ms, 4s), .what = static_cast<Command::What>(rng.below(4))});
    }
  }
  if (rng.below(4) == 0) setup.drain_at = pick(rng, 1s, 4s);
  if (rng.below(4) == 0) setup.tick = 1ns;
  return setup;
}

Figures measure_mixture(const Setup&, const Account& account) {
  return {{.name = "goodput", .value = account.goodput({})},
          {.name = "attempts per request", .value = account.amplification({})}};
}

}  // namespace

std::span<const Scenario> mixture_scenarios() {
  static constexpr std::array kScenarios = {
      Scenario{"mixture", "all policies at once, with small numbers and nasty peers", draw_mixture, measure_mixture}};
  return kScenarios;
}

}  // namespace outrigger::sim
