#include <vector>

#include <doctest/doctest.h>

#include "tests/support/allocations.hpp"
#include "tests/support/script.hpp"

using namespace outrigger;
using namespace outrigger::exchange;
using namespace outrigger::test;

namespace {

struct Step {
  Nanos when;
  Event fact;
};

/// A state made once, on which exchanges run without anything around them.
struct Bare {
  explicit Bare(const Given& from) : given(from), budget(*given.budget_config, 1) {
    for (std::size_t i = 0; i < 2; ++i) {
      set.endpoints.push_back({.address = "127.0.0.1:9000", .state = &states[i]});
      ++set.total_weight;
    }
    given.upstream.endpoints = &set;
    local.cursors.resize(1);
    plan.policy = &given.policy;
    plan.upstream = &given.upstream;
    plan.budget = {.name = "b", .config = &*given.budget_config, .state = &budget, .cost = 1};
  }

  /// Runs one exchange and answers with the allocations that it made.
  std::uint64_t run(const std::vector<Step>& steps) {
    const std::uint64_t before = allocations();
    timeline.reset();
    Exchange exchange{plan, given.facts, local, timeline};
    for (const Step& step : steps) {
      Actions orders;
      exchange.on(TimePoint{1h} + step.when, step.fact, orders);
      REQUIRE(exchange.wakeup() >= TimePoint{1h});
    }
    REQUIRE(exchange.finished());
    return allocations() - before;
  }

  Given given;
  policy::EndpointState states[2];
  policy::EndpointSet set;
  policy::Budget budget;
  Plan plan;
  WorkerLocal local;
  Timeline timeline;
};

policy::BudgetConfig of(policy::BudgetType type) {
  policy::BudgetConfig config;
  config.type = type;
  config.refill_per_second = 10;
  return config;
}

}  // namespace

TEST_SUITE("exchange") {
  TEST_CASE("an exchange allocates nothing, from its start to its end, whatever happens and whatever the budget") {
    const std::vector<std::vector<Step>> lives = {
        {{0ms, ready()}, {1ms, connected(0)}, {2ms, sent(0)}, {3ms, head(0, 200)}, {4ms, done(0)}, {5ms, delivered()}},
        {{0ms, ready()},
         {0ms, reused(0)},
         {1ms, died_idle(0)},
         {1ms, connected(1)},
         {1ms, sent(1)},
         {2ms, head(1, 503)},
         {2ms, in_memory(1)},
         {102ms, tick()},
         {103ms, unreachable(2)},
         {303ms, tick()},
         {303ms, connected(3)},
         {304ms, sent(3)},
         {305ms, head(3, 200)},
         {306ms, delivered()}},
        {{0ms, ready()}, {1ms, connected(0)}, {2ms, sent(0)}, {16s, tick()}, {16s, delivered()}},
        {{0ms, ready()}, {1ms, connected(0)}, {2ms, head(0, 503)}, {3ms, client_gone()}},
        {{0ms, ready()}, {1ms, drained()}, {2ms, delivered()}}};
    for (const auto type : {policy::BudgetType::window, policy::BudgetType::ratio, policy::BudgetType::token_bucket,
                            policy::BudgetType::success_credit, policy::BudgetType::unlimited}) {
      Bare bare{retrying(3).budget(of(type))};
      for (const auto& life : lives) CHECK(bare.run(life) == 0);
    }
  }

  TEST_CASE("no decision of a policy allocates") {
    for (const auto type : {policy::BudgetType::window, policy::BudgetType::ratio, policy::BudgetType::token_bucket,
                            policy::BudgetType::success_credit}) {
      Bare bare{retrying(3).budget(of(type))};
      const policy::BudgetConfig config = of(type);
      const std::uint64_t before = allocations();
      for (int i = 0; i < 100; ++i) {
        const TimePoint now = TimePoint{1h} + i * 100ms;
        bare.budget.enter_loop(0, now);
        bare.budget.peek(config, 1, now);
        bare.budget.admit(config, 1, now);
        bare.budget.earn(config);
        bare.budget.available(config, now);
        bare.budget.leave_loop(0);
        policy::choose(bare.set, {.avoided = policy::EndpointId{0}, .key = {}}, bare.local.cursors[0], bare.local.rng,
                       [](policy::EndpointId) { return true; });
        policy::backoff_delay({}, 3, 0ms, bare.local.rng);
      }
      CHECK(allocations() == before);
    }
  }
}
