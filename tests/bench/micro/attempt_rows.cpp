// What is decided about an attempt: what its end means, whether and when there is another one, and where it goes.
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "proxy/base/cache_line.hpp"
#include "proxy/policy/backoff.hpp"
#include "proxy/policy/balance.hpp"
#include "proxy/policy/budget.hpp"
#include "proxy/policy/chaos.hpp"
#include "proxy/policy/classifier.hpp"
#include "proxy/policy/deadline.hpp"
#include "proxy/policy/fallback.hpp"
#include "proxy/policy/hedge.hpp"
#include "proxy/policy/pushback.hpp"
#include "proxy/policy/retry.hpp"
#include "tests/bench/micro/bench.hpp"
#include "tests/bench/micro/samples.hpp"

namespace outrigger::bench {
namespace {

using namespace outrigger::policy;
using namespace std::chrono_literals;

/// Every extra attempt is affordable, or the row would be one of refusals.
BudgetConfig plenty_of(BudgetType type) {
  BudgetConfig config;
  config.type = type;
  config.max_rate = 1;
  config.min_per_second = 1e9;
  config.capacity = 1'000'000;
  config.refill_per_second = 1e9;
  config.retry_cost = 1;
  return config;
}

struct Spending {
  explicit Spending(BudgetType type) : config(plenty_of(type)), budget(config, kWorkers) {}
  BudgetConfig config;
  Budget budget;
};

void add_ends(Bench& bench) {
  bench.row("classify a status", [](Turn turn) {
    const auto status = static_cast<std::uint16_t>(200 + turn.number % 2 * 303);
    keep(classify_status(status));
  });
  bench.row("classifier, 3 rules, none applies",
            [rules = sample_rules()](Turn) { keep(classify(rules, "GET", 200, kAnswerFields)); });
  bench.row("pushback, 8 fields", [](Turn) { keep(pushes_back(kAnswerFields)); });
  FallbackConfig fallback;
  fallback.reasons = {Reason::circuit_open};
  fallback.statuses.insert(500, 599);
  bench.row("fallback, match",
            [fallback](Turn) { keep(matches(fallback, {.reason = Reason::http_4xx, .status = 404})); });
  bench.row("deadline, effective and forwarded", [config = DeadlineConfig{}](Turn turn) {
    const TimePoint now = turn.at(1us);
    const Deadline deadline = effective_deadline(15s, 2s, now);
    keep(forwarded_deadline(config, deadline.at, 1s, now));
  });
}

void add_retries(Bench& bench) {
  bench.row("retry rules", [config = RetryConfig{}](Turn turn) {
    const TimePoint now = turn.at(1us);
    keep(why_no_retry(config, {.reason = Reason::http_503, .idempotent = true, .delay = 25ms, .deadline = now + 15s},
                      now));
  });
  const auto rngs = std::make_shared<std::array<Padded<Rng>, kWorkers>>(two_rngs());
  bench.row("back-off, full jitter, third retry",
            [rngs](Turn turn) { keep(backoff_delay({}, 3, 0ns, (*rngs)[turn.worker].value)); });

  struct Named {
    const char* name;
    BudgetType type;
  };
  for (const Named& each : {Named{"budget window, admit an extra", BudgetType::window},
                            Named{"budget ratio, admit an extra", BudgetType::ratio},
                            Named{"budget token_bucket, admit an extra", BudgetType::token_bucket},
                            Named{"budget success_credit, admit an extra and earn", BudgetType::success_credit}}) {
    const auto spending = std::make_shared<Spending>(each.type);
    bench.row(each.name, [spending](Turn turn) {
      keep(spending->budget.admit(spending->config, 1, turn.at(1us)));
      spending->budget.earn(spending->config);
    });
  }
  const auto spending = std::make_shared<Spending>(BudgetType::window);
  bench.row("budget window, a request enters and leaves", [spending](Turn turn) {
    spending->budget.enter_loop(turn.worker, turn.at(1us));
    spending->budget.leave_loop(turn.worker);
  });
}

void add_choices(Bench& bench) {
  struct Choosing {
    Choosing() {
      for (EndpointState& state : states) set.endpoints.push_back({.address = "127.0.0.1:9001", .state = &state});
      set.total_weight = 3;
    }
    EndpointState states[3];
    EndpointSet set;
    std::array<Padded<Rng>, kWorkers> rngs = two_rngs();
    std::array<Padded<BalanceCursor>, kWorkers> cursors{};
  };
  const auto choosing = std::make_shared<Choosing>();
  bench.row("endpoint of 3, least_request", [choosing](Turn turn) {
    keep(choose(choosing->set, {}, choosing->cursors[turn.worker].value, choosing->rngs[turn.worker].value,
                [](EndpointId) { return true; }));
  });
}

void add_hedges(Bench& bench) {
  struct Hedging {
    Hedging() : trigger(config_of(), kWorkers) {
      for (int i = 0; i < 1000; ++i) trigger.record(0, (5 + i % 10) * 1ms, TimePoint{1h});
    }
    static HedgeConfig config_of() {
      HedgeConfig config;
      config.quantile = 0.95;
      return config;
    }
    HedgeConfig config = config_of();
    HedgeTrigger trigger;
  };
  // Time passes as at a hundred thousand requests per second and worker, so periods and slots are in the mean.
  const auto hedging = std::make_shared<Hedging>();
  bench.row("hedge trigger, record and delay", [hedging](Turn turn) {
    hedging->trigger.record(turn.worker, 10ms, turn.at(10us));
    keep(hedging->trigger.delay(hedging->config, turn.at(10us)));
  });
  bench.row("hedge, is the method allowed", [config = HedgeConfig{}](Turn) { keep(hedges_method(config, "OPTIONS")); });
}

void add_chaos(Bench& bench) {
  struct Trouble {
    Trouble() {
      config.delay = ChaosDelay{.probability = 0.1, .min = 1ms, .max = 2ms};
      config.abort = ChaosAbort{.probability = 0.1};
    }
    ChaosConfig config;
    Chaos chaos;
  };
  const auto trouble = std::make_shared<Trouble>();
  bench.row("chaos, roll", [trouble](Turn) { keep(trouble->chaos.roll(trouble->config, 0)); });
}

}  // namespace

void add_attempt_rows(Bench& bench) {
  add_ends(bench);
  add_retries(bench);
  add_choices(bench);
  add_hedges(bench);
  add_chaos(bench);
}

}  // namespace outrigger::bench
