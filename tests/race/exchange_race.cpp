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

/// One request of which every other attempt fails; answers with the attempts it took.
std::size_t run_one(const Plan& plan, WorkerLocal& local, TimePoint now, Timeline& timeline, bool leaves) {
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
  return exchange.finished() ? timeline.attempts.size() : 0;
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
          const std::size_t made = run_one(shared.plan, local, TimePoint{1h} + i * 10ms, *timeline, i % 7 == 0);
          if (made == 0) unfinished.fetch_add(1);
          attempts.fetch_add(made);
        }
      });
      CHECK(unfinished == 0);
      CHECK(attempts >= 2000 * kThreads);
      CHECK(shared.budget.extras_in_flight() == 0);
      CHECK(shared.budget.requests_in_flight() == 0);
      for (const policy::EndpointState& state : shared.states) CHECK(state.in_flight == 0);
    }
  }
}
