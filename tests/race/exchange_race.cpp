#include <atomic>
#include <memory>

#include <doctest/doctest.h>

#include "proxy/exchange/exchange.hpp"
#include "tests/race/threads.hpp"

using namespace outrigger;
using namespace outrigger::exchange;
using namespace outrigger::test;
using namespace std::chrono_literals;

namespace {

/// What workers share, and one of every budget type in turn.
struct Shared {
  explicit Shared(policy::BudgetType type) : budget(config_of(type), kThreads) {
    config = config_of(type);
    for (policy::EndpointState& state : states) {
      set.endpoints.push_back({.address = "e", .state = &state});
      ++set.total_weight;
    }
    upstream.name = "up";
    upstream.endpoints = &set;
    policy.retry.emplace();
    policy.retry->backoff.jitter = policy::Jitter::none;
    plan.policy = &policy;
    plan.upstream = &upstream;
    plan.budget = {.name = "b", .config = &config, .state = &budget, .cost = 1};
  }
  static policy::BudgetConfig config_of(policy::BudgetType type) {
    policy::BudgetConfig config;
    config.type = type;
    config.refill_per_second = 100;
    return config;
  }

  policy::BudgetConfig config;
  policy::Budget budget;
  policy::EndpointState states[3];
  policy::EndpointSet set;
  Upstream upstream;
  policy::Policy policy;
  Plan plan;
};

/// Everything that an exchange may hold, besides.
struct Guarded : Shared {
  struct Unheard final : Wakeups {
    void wake(const Ticket&) noexcept override {}
  };

  Guarded() : Shared(policy::BudgetType::ratio) {
    for (policy::CircuitConfig& each : circuit_configs) {
      each.trip = policy::CircuitConfig::Trip::rate_by_time;
      each.minimum_calls = 5;
      each.window = 500ms;
      each.cooldown = 100ms;
      each.max_probes = 2;
      each.failure_statuses.insert(503, 503);
    }
    circuit_configs[1].counts = policy::Counts::request;
    bulkhead_configs[1].counts = policy::Counts::request;
    for (std::size_t i = 0; i < 2; ++i) {
      plan.circuits.push_back({.name = "c", .config = &circuit_configs[i], .state = &circuits[i], .by_endpoint = {}});
      plan.bulkheads.push_back({.name = "b", .config = &bulkhead_configs[i], .state = &bulkheads[i]});
    }
    plan.rate_limits.push_back({{.name = "r", .config = &rate_config, .state = &rate}});
    plan.throttle = {.name = "t", .config = &throttle_config, .state = &throttle};
    plan.adaptive_limit = {.name = "a", .config = &adaptive_config, .state = &adaptive};
    upstream.max_connections = 1;
    slots.set_limit(1);
    upstream.slots = &slots;
    upstream.outlier = &outlier_config;
    upstream.ejections = &ejections;
    for (policy::EndpointState& state : states) state.slots = &slots;
  }

  Unheard wakeups;
  policy::CircuitConfig circuit_configs[2];
  policy::CircuitBreaker circuits[2]{policy::CircuitBreaker{{}}, policy::CircuitBreaker{{}}};
  policy::BulkheadConfig bulkhead_configs[2] = {{.max_concurrent = 3}, {.max_concurrent = 3}};
  policy::Bulkhead bulkheads[2]{policy::Bulkhead{wakeups}, policy::Bulkhead{wakeups}};
  policy::RateLimitConfig rate_config{.requests = 350};
  policy::RateLimit rate{rate_config};
  policy::AdaptiveThrottleConfig throttle_config{.max_rejection = 0.2};
  policy::AdaptiveThrottle throttle{throttle_config};
  policy::AdaptiveLimitConfig adaptive_config{.initial = 3, .min = 2, .max = 4};
  policy::AdaptiveLimit adaptive{adaptive_config, wakeups, kThreads};
  policy::ConnectionSlots slots{wakeups};
  policy::OutlierConfig outlier_config{.base_ejection = 20ms, .max_ejection = 100ms};
  policy::OutlierDetection ejections;
};

struct Run {
  bool finished = false;
  std::size_t attempts = 0;
};

/// One request of which every other attempt fails.
Run run_one(const Plan& plan, WorkerLocal& local, TimePoint now, Timeline& timeline, bool leaves) {
  timeline.reset();
  RequestFacts facts;
  facts.idempotent = true;
  Exchange exchange{plan, facts, local, timeline};
  const auto feed = [&](const Event& fact) {
    Actions orders;
    exchange.on(now, fact, orders);
    std::optional<AttemptId> started;
    for (const Action& order : orders) {
      if (const auto* start = std::get_if<StartAttempt>(&order)) started = start->id;
    }
    return started;
  };
  std::optional<AttemptId> attempt = feed(RequestReady{});
  while (attempt) {
    const AttemptId id = *attempt;
    feed(Connected{id, false});
    feed(RequestSent{id});
    if (index(id) == 1) break;
    now += 1ms;
    attempt = feed(ResponseHead{id, 503, {}, std::nullopt});
    if (exchange.committed()) break;
    if (!attempt) {
      now = exchange.wakeup();
      attempt = feed(Tick{});
    }
  }
  if (leaves) feed(DownstreamFailed{Reason::client_disconnected});
  if (!exchange.finished() && !exchange.committed()) feed(ResponseHead{AttemptId{1}, 200, {}, std::nullopt});
  feed(Delivered{});
  return {exchange.finished(), timeline.attempts.size()};
}

}  // namespace

TEST_SUITE("race") {
  TEST_CASE("exchanges of all workers on one state end, and leave it as they found it") {
    for (const auto type : {policy::BudgetType::window, policy::BudgetType::ratio, policy::BudgetType::token_bucket,
                            policy::BudgetType::success_credit}) {
      Shared shared{type};
      std::atomic<std::size_t> attempts{0};
      std::atomic<int> unfinished{0};
      race([&](std::uint32_t thread) {
        WorkerLocal local{.worker = thread, .rng = Rng{thread}, .cursors = {{}}};
        const auto timeline = std::make_unique<Timeline>();
        for (int i = 0; i < 2000; ++i) {
          const Run run = run_one(shared.plan, local, TimePoint{1h} + i * 10ms, *timeline, i % 7 == 0);
          if (!run.finished) unfinished.fetch_add(1);
          attempts.fetch_add(run.attempts);
        }
      });
      CHECK(unfinished == 0);
      CHECK(attempts >= 2000 * kThreads);
      CHECK(shared.budget.extras_in_flight() == 0);
      CHECK(shared.budget.requests_in_flight() == 0);
      for (const policy::EndpointState& state : shared.states) CHECK(state.in_flight == 0);
    }
  }

  TEST_CASE("exchanges that hold everything there is give all of it back, refused or not") {
    Guarded guarded;
    std::atomic<int> unfinished{0};
    std::atomic<int> refused{0};
    race([&](std::uint32_t thread) {
      WorkerLocal local{.worker = thread, .rng = Rng{thread}, .cursors = {{}}};
      const auto timeline = std::make_unique<Timeline>();
      for (int i = 0; i < 5000; ++i) {
        const Run run = run_one(guarded.plan, local, TimePoint{1h} + i * 10ms, *timeline, i % 7 == 0);
        if (!run.finished) unfinished.fetch_add(1);
        if (run.attempts == 0) refused.fetch_add(1);
      }
    });
    CHECK(unfinished == 0);
    CHECK(refused > 0);
    CHECK(refused < 5000 * static_cast<int>(kThreads));
    for (const policy::CircuitBreaker& circuit : guarded.circuits) CHECK(circuit.probes_out() == 0);
    for (const policy::Bulkhead& bulkhead : guarded.bulkheads) CHECK(bulkhead.in_flight() == 0);
    CHECK(guarded.adaptive.in_flight() == 0);
    CHECK(guarded.budget.extras_in_flight() == 0);
    CHECK(guarded.budget.requests_in_flight() == 0);
    for (const policy::EndpointState& state : guarded.states) CHECK(state.in_flight == 0);
  }
}
