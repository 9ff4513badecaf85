// tests/bench/micro/micro_bench.cpp
//
// The program, and what whole exchanges, budgets and choices cost without sockets. `--once` runs each operation a
// single time. See bench.hpp for how it is measured.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string_view>

#include "proxy/exchange/exchange.hpp"
#include "tests/bench/micro/bench.hpp"

namespace {

using namespace outrigger;
using namespace outrigger::bench;
using namespace outrigger::exchange;
using namespace std::chrono_literals;

/// Three endpoints, the default retry block, one budget.
struct Core {
  explicit Core(policy::BudgetType type) : config(config_of(type)), budget(config, 2) {
    for (policy::EndpointState& state : states) {
      set.endpoints.push_back({.address = "127.0.0.1:9001", .state = &state});
      ++set.total_weight;
    }
    upstream.name = "payments";
    upstream.endpoints = &set;
    policy.retry.emplace();
    plan.policy = &policy;
    plan.upstream = &upstream;
    plan.budget = {.name = "default/payments", .config = &config, .state = &budget, .cost = 1};
    plan.policy_key = "payments.Charge";
    local.cursors.resize(1);
    facts.idempotent = true;
    facts.request_id = "018f3c1e-7b1a-7c3e-9d2a-0123456789ab";
    facts.method = "GET";
    facts.path = "/v1/charges/42";
    facts.listener = "outbound";
  }
  static policy::BudgetConfig config_of(policy::BudgetType type) {
    policy::BudgetConfig config;
    config.type = type;
    config.max_rate = 1;
    config.min_per_second = 1e9;
    config.capacity = 1'000'000;
    config.refill_per_second = 1e9;
    config.retry_cost = 1;
    return config;
  }

  void feed(Exchange& exchange, const Event& fact) {
    Actions orders;
    exchange.on(now, fact, orders);
    keep(orders);
    keep(exchange.wakeup());
  }
  void serve(Exchange& exchange, int attempt, std::uint16_t status) {
    const auto id = static_cast<AttemptId>(attempt);
    feed(exchange, Connected{id, true});
    feed(exchange, RequestSent{id});
    now += 1ms;
    feed(exchange, ResponseHead{id, status, {}, std::nullopt});
  }
  void plain_request() {
    timeline.reset();
    Exchange exchange{plan, facts, local, timeline};
    feed(exchange, RequestReady{});
    serve(exchange, 0, 200);
    feed(exchange, ResponseDone{AttemptId{0}});
    feed(exchange, Delivered{});
  }
  void retried_request() {
    timeline.reset();
    Exchange exchange{plan, facts, local, timeline};
    feed(exchange, RequestReady{});
    serve(exchange, 0, 503);
    now = std::max(now, exchange.wakeup());
    feed(exchange, Tick{});
    serve(exchange, 1, 200);
    feed(exchange, ResponseDone{AttemptId{1}});
    feed(exchange, Delivered{});
  }

  policy::BudgetConfig config;
  policy::Budget budget;
  policy::EndpointState states[3];
  policy::EndpointSet set;
  Upstream upstream;
  policy::Policy policy;
  Plan plan;
  WorkerLocal local;
  RequestFacts facts;
  Timeline timeline;
  TimePoint now{1h};
};

void exchanges(const Bench& bench) {
  Core core{policy::BudgetType::window};
  bench("exchange, plain request", [&] { core.plain_request(); });
  bench("exchange, one retry", [&] { core.retried_request(); });
  core.plan.budget = {};
  bench("exchange, plain, without budget", [&] { core.plain_request(); });
  Timeline copy;
  bench("timeline, copied into a ring", [&] {
    copy = core.timeline;
    keep(copy);
  });
}

void budgets(const Bench& bench) {
  struct Named {
    const char* name;
    policy::BudgetType type;
  };
  for (const Named& each : {Named{"budget window, admit", policy::BudgetType::window},
                            Named{"budget ratio, admit", policy::BudgetType::ratio},
                            Named{"budget token_bucket, admit", policy::BudgetType::token_bucket},
                            Named{"budget success_credit, admit", policy::BudgetType::success_credit}}) {
    Core core{each.type};
    bench(each.name, [&] {
      core.now += 1us;
      keep(core.budget.admit(core.config, 1, core.now));
      core.budget.earn(core.config);
    });
  }
  Core core{policy::BudgetType::window};
  bench("budget window, enter and leave", [&] {
    core.now += 1us;
    core.budget.enter_loop(0, core.now);
    core.budget.leave_loop(0);
  });
  bench("budget window, peek", [&] { keep(core.budget.peek(core.config, 1, core.now)); });
}

void choices(const Bench& bench) {
  Core core{policy::BudgetType::unlimited};
  policy::BalanceCursor cursor;
  bench("choose endpoint, least_request",
        [&] { keep(policy::choose(core.set, policy::Balance::least_request, std::nullopt, cursor, core.local.rng)); });
  bench("choose endpoint, round_robin",
        [&] { keep(policy::choose(core.set, policy::Balance::round_robin, std::nullopt, cursor, core.local.rng)); });
  bench("back-off, full jitter, third retry", [&] { keep(policy::backoff_delay({}, 3, 0ns, core.local.rng)); });
}

}  // namespace

int main(int argc, char** argv) {
  const Bench bench{argc > 1 && std::string_view{argv[1]} == "--once"};
  exchanges(bench);
  budgets(bench);
  choices(bench);
  BenchGroup::run_all(bench);
  return 0;
}
