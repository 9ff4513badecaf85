#include <array>

#include "tests/sim/scenario.hpp"

// What upstreams and clients do to single requests.
namespace outrigger::sim {

using namespace std::chrono_literals;

namespace {

policy::RetryConfig retries(Rng& rng) {
  policy::RetryConfig retry;
  retry.max_attempts = 2 + static_cast<std::uint32_t>(rng.below(4));
  retry.backoff = {.initial = 5ms, .max = 50ms, .multiplier = 2, .jitter = static_cast<policy::Jitter>(rng.below(4))};
  if (chance(rng, 0.7)) retry.timeout_per_attempt = pick(rng, 20ms, 200ms);
  retry.non_idempotent = chance(rng, 0.2);
  retry.avoid_previous_endpoint = chance(rng, 0.8);
  return retry;
}

Setup basic(Rng& rng, const Behaviour& behaviour) {
  Setup setup;
  setup.workers = 2 + static_cast<std::uint32_t>(rng.below(2));
  setup.numbers.policy.overall_timeout = 1s;
  setup.numbers.policy.retry = retries(rng);
  setup.numbers.balance = chance(rng, 0.5) ? policy::Balance::least_request : policy::Balance::round_robin;
  for (std::uint64_t i = 0; i < 1 + rng.below(4); ++i) {
    setup.endpoints.push_back(
        {.usual = behaviour, .phases = {}, .weight = 1 + static_cast<std::uint32_t>(rng.below(3))});
  }
  setup.traffic.length = 8s;
  setup.traffic.rate = 300;
  if (chance(rng, 0.3)) setup.tick = 1ns;
  return setup;
}

Setup draw_steady(Rng& rng) {
  Behaviour behaviour;
  behaviour.service = pareto(1ms, 200ms);
  behaviour.interim = 0.1;
  Setup setup = basic(rng, behaviour);
  setup.numbers.policy.retry->timeout_per_attempt = 0ns;
  return setup;
}

Setup draw_failing(Rng& rng) {
  Behaviour behaviour;
  behaviour.fail = 0.3;
  behaviour.statuses = {500, 502, 503, 504, 429, 408, 404, 501};
  behaviour.says_when = 0.3;
  behaviour.pushback = 0.05;
  return basic(rng, behaviour);
}

Setup draw_transport(Rng& rng) {
  Behaviour behaviour;
  behaviour.refuse = pick(rng, 0, 0.2);
  behaviour.silent = pick(rng, 0, 0.1);
  behaviour.stale = pick(rng, 0, 0.4);
  behaviour.hang = pick(rng, 0, 0.05);
  behaviour.reset = pick(rng, 0, 0.2);
  behaviour.broken = pick(rng, 0, 0.05);
  behaviour.dies_in_body = pick(rng, 0, 0.1);
  behaviour.early = 0.02;
  Setup setup = basic(rng, behaviour);
  setup.traffic.bodies = 0.5;
  return setup;
}

Setup draw_held(Rng& rng) {
  Behaviour behaviour;
  behaviour.fail = 0.6;
  behaviour.statuses = {500, 503, 429};
  behaviour.says_when = 0.5;
  behaviour.body = exponential(30ms);
  behaviour.long_body = 0.5;
  behaviour.dies_in_body = 0.1;
  behaviour.dies_unread = 0.5;
  behaviour.hang = 0.1;
  Setup setup = basic(rng, behaviour);
  setup.numbers.policy.overall_timeout = pick(rng, 50ms, 400ms);
  setup.numbers.budgeted = false;
  return setup;
}

Setup draw_clients(Rng& rng) {
  Behaviour behaviour;
  behaviour.service = exponential(20ms);
  behaviour.body = exponential(20ms);
  behaviour.fail = 0.2;
  behaviour.early = 0.05;
  behaviour.hang = 0.02;
  Setup setup = basic(rng, behaviour);
  if (chance(rng, 0.1)) setup.numbers.policy.retry.reset();
  Traffic& traffic = setup.traffic;
  traffic.impatient = 0.4;
  traffic.with_deadline = 0.4;
  traffic.bodies = 0.6;
  traffic.slow_bodies = 0.5;
  traffic.long_bodies = 0.3;
  traffic.bad_bodies = 0.1;
  traffic.not_reading = 0.02;
  traffic.reading = exponential(5ms);
  if (chance(rng, 0.3)) setup.numbers.policy.max_duration = pick(rng, 50ms, 500ms);
  if (chance(rng, 0.3)) {
    setup.numbers.policy.overall_timeout = 0ns;
    for (ModelEndpoint& endpoint : setup.endpoints) endpoint.usual.hang = 0;  // nothing would end it
  }
  return setup;
}

Setup draw_overload(Rng& rng) {
  Behaviour behaviour;
  behaviour.service = uniform(5ms, 15ms);
  behaviour.concurrency = 2;
  behaviour.queue = 10;
  Setup setup = basic(rng, behaviour);
  setup.traffic.rate = 150.0 * static_cast<double>(setup.endpoints.size());
  setup.traffic.burst_every = 500ms;
  setup.traffic.burst_size = 60;
  return setup;
}

Setup draw_drain(Rng& rng) {
  Behaviour behaviour;
  behaviour.service = exponential(100ms);
  behaviour.body = exponential(100ms);
  behaviour.fail = 0.3;
  Setup setup = basic(rng, behaviour);
  setup.traffic.length = 1s;
  setup.drain_at = 1s;
  return setup;
}

Figures measure_steady(const Setup&, const Account& account) {
  return {{.name = "goodput", .value = account.goodput({}), .least = 1},
          {.name = "attempts per request", .value = account.amplification({}), .most = 1}};
}

/// What the window allows over a run shorter than itself: a share of the requests, and its floor, which is the larger
/// per request the fewer there were. Shown is how much of that was used.
Figures measure_failing(const Setup& setup, const Account& account) {
  const policy::BudgetConfig& budget = setup.numbers.budget;
  const double floor = 10 * budget.min_per_second / static_cast<double>(account.requests());
  return {{.name = "goodput", .value = account.goodput({})},
          {.name = "extra attempts of those allowed",
           .value = (account.amplification({}) - 1) / (budget.max_rate + floor),
           .most = 1}};
}

Figures measure_goodput(const Setup&, const Account& account) {
  return {{.name = "goodput", .value = account.goodput({})}};
}

}  // namespace

std::span<const Scenario> traffic_scenarios() {
  static constexpr std::array kScenarios = {
      Scenario{"steady", "a healthy upstream with a long tail", draw_steady, measure_steady},
      Scenario{"failing", "three answers in ten are failures of every kind", draw_failing, measure_failing},
      Scenario{"transport", "connections refused, silent, stale, reset, hanging, broken", draw_transport,
               measure_failing},
      Scenario{"held", "long failing answers kept, lost, replaced, relayed at the deadline", draw_held,
               measure_goodput},
      Scenario{"clients", "clients that leave, hurry, upload slowly, wrongly or too much", draw_clients,
               measure_goodput},
      Scenario{"overload", "bursts on servers with few workers and short queues", draw_overload, measure_failing},
      Scenario{"drain", "everything that runs is cut at once", draw_drain, measure_goodput}};
  return kScenarios;
}

}  // namespace outrigger::sim
