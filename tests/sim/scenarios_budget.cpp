#include <array>

#include "tests/sim/scenario.hpp"

// Every type of budget under failure, its rule recomputed at each extra attempt from an exact account.
namespace outrigger::sim {

using namespace std::chrono_literals;

namespace {

Setup failing(Rng& rng) {
  Behaviour behaviour;
  behaviour.fail = pick(rng, 0.1, 0.9);
  behaviour.refuse = pick(rng, 0, 0.3);
  behaviour.service = exponential(20ms);
  behaviour.body = exponential(10ms);
  Setup setup;
  setup.workers = 3;
  setup.numbers.policy.overall_timeout = 1s;
  setup.numbers.policy.retry.emplace();
  setup.numbers.policy.retry->max_attempts = 4;
  setup.numbers.policy.retry->backoff = {.initial = 2ms, .max = 20ms, .multiplier = 2, .jitter = policy::Jitter::full};
  setup.endpoints.resize(3, {.usual = behaviour, .phases = {}, .weight = 1});
  setup.traffic.length = 8s;
  setup.traffic.rate = pick(rng, 50, 500);
  setup.traffic.burst_every = 400ms;
  setup.traffic.burst_size = 20;
  return setup;
}

Setup draw_window(Rng& rng) {
  Setup setup = failing(rng);
  setup.numbers.budget.max_rate = pick(rng, 0, 0.5);
  setup.numbers.budget.min_per_second = chance(rng, 0.3) ? 0 : pick(rng, 0, 20);
  setup.numbers.budget.window = chance(rng, 0.5) ? Nanos{1s} : Nanos{250ms};
  return setup;
}

Setup draw_ratio(Rng& rng) {
  Setup setup = failing(rng);
  setup.numbers.budget.type = policy::BudgetType::ratio;
  setup.numbers.budget.max_rate = pick(rng, 0, 0.5);
  setup.numbers.budget.min_concurrency = static_cast<std::uint32_t>(rng.below(5));
  return setup;
}

Setup draw_tokens(Rng& rng) {
  Setup setup = failing(rng);
  setup.numbers.budget.type = policy::BudgetType::token_bucket;
  setup.numbers.budget.capacity = static_cast<double>(1 + rng.below(50));
  setup.numbers.budget.refill_per_second = chance(rng, 0.2) ? 0 : pick(rng, 0.1, 200);
  setup.numbers.cost = 1 + static_cast<double>(rng.below(2));
  return setup;
}

Setup draw_credit(Rng& rng) {
  Setup setup = failing(rng);
  setup.numbers.budget.type = policy::BudgetType::success_credit;
  setup.numbers.budget.capacity = static_cast<double>(5 + rng.below(100));
  setup.numbers.budget.retry_cost = static_cast<double>(1 + rng.below(5));
  setup.numbers.budget.success_credit = static_cast<double>(rng.below(3)) / 2;
  setup.numbers.budget.min_per_second = chance(rng, 0.5) ? 0 : pick(rng, 0.5, 20);
  // Bodies that outlast the five seconds after which a success counts.
  if (chance(rng, 0.3)) setup.endpoints[0].usual.body = exponential(4s);
  return setup;
}

Setup draw_reload(Rng& rng) {
  Setup setup = chance(rng, 0.5) ? draw_window(rng) : chance(rng, 0.5) ? draw_ratio(rng) : draw_tokens(rng);
  Numbers numbers = setup.numbers;
  for (Nanos at = 200ms; at < 8s; at += pick(rng, 50ms, 500ms)) {
    numbers.budget.max_rate = pick(rng, 0, 0.6);
    numbers.budget.min_per_second = pick(rng, 0, 30);
    numbers.budget.min_concurrency = static_cast<std::uint32_t>(rng.below(6));
    numbers.budget.capacity = static_cast<double>(1 + rng.below(60));
    numbers.policy.retry->max_attempts = 1 + static_cast<std::uint32_t>(rng.below(6));
    numbers.policy.overall_timeout = pick(rng, 100ms, 2s);
    numbers.endpoints = 1 + rng.below(3);
    setup.reloads.push_back({at, numbers});
  }
  return setup;
}

Figures measure(const Setup&, const Account& account) {
  return {{.name = "goodput", .value = account.goodput({})},
          {.name = "attempts per request", .value = account.amplification({})}};
}

}  // namespace

std::span<const Scenario> budget_scenarios() {
  static constexpr std::array kScenarios = {
      Scenario{"budget_window", "extras in any window within their share", draw_window, measure},
      Scenario{"budget_ratio", "extras in flight within their share", draw_ratio, measure},
      Scenario{"budget_tokens", "no more extras than tokens", draw_tokens, measure},
      Scenario{"budget_credit", "no more extras than successes have earned", draw_credit, measure},
      Scenario{"reload", "other numbers in mid-flight on the same states", draw_reload, measure}};
  return kScenarios;
}

}  // namespace outrigger::sim
