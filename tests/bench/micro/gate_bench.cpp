// tests/bench/micro/gate_bench.cpp
//
// What a place costs, from a bulkhead and from an adaptive limit, and what an answer costs that moves the limit.
#include "proxy/policy/adaptive_limit.hpp"
#include "proxy/policy/bulkhead.hpp"
#include "tests/bench/micro/bench.hpp"

namespace {

using namespace outrigger;
using namespace outrigger::bench;
using namespace outrigger::policy;
using namespace std::chrono_literals;

struct Deaf final : Wakeups {
  void wake(const Ticket&) noexcept override {}
};

void bulkheads(const Bench& bench) {
  Deaf wakeups;
  Bulkhead plain{wakeups};
  Bulkhead levelled{wakeups};
  Bulkhead full{wakeups};
  const BulkheadConfig one_level{.max_concurrent = 1000};
  const BulkheadConfig levels{.max_concurrent = 1000, .priorities = {{0.5, 0.8, 1}}};
  const BulkheadConfig queue{.max_concurrent = 1, .max_queue = 1000, .max_wait = 1s};
  bench.shared("bulkhead, admit and release",
               [&](std::uint32_t) { keep(plain.admit(one_level, Priority::standard, nullptr)); });
  bench.shared("bulkhead with priorities, admit and release",
               [&](std::uint32_t) { keep(levelled.admit(levels, Priority::standard, nullptr)); });
  const GateAdmission taken = full.admit(queue, Priority::standard, nullptr);
  bench.shared("bulkhead, full, refused", [&](std::uint32_t) { keep(full.admit(queue, Priority::low, nullptr)); });
  bench.shared("bulkhead, wait and leave", [&](std::uint32_t) {
    GateWaiter waiter;
    keep(full.admit(queue, Priority::standard, &waiter));
  });
}

template <AdaptiveLimitConfig::Algorithm kAlgorithm>
void adaptive_limit(const Bench& bench, const char* admit, const char* attempt) {
  struct alignas(kCacheLine) Local {
    Rng rng{1};
    TimePoint now{1h};
  };
  Deaf wakeups;
  const AdaptiveLimitConfig config{.algorithm = kAlgorithm};
  AdaptiveLimit limit{config, wakeups, 2};
  Local locals[2];
  bench.shared(admit, [&](std::uint32_t) { keep(limit.admit(config, Priority::standard, nullptr)); });
  // A window of 100 ms every 100,000 results: decisions are in the mean.
  bench.shared(attempt, [&](std::uint32_t worker) {
    Local& local = locals[worker];
    local.now += 1us;
    const GateAdmission admission = limit.admit(config, Priority::standard, nullptr);
    limit.on_result(config, worker, LimitSample::good, 10ms, local.now, local.rng);
    keep(admission);
  });
}

void adaptive_limits(const Bench& bench) {
  using Algorithm = AdaptiveLimitConfig::Algorithm;
  adaptive_limit<Algorithm::aimd>(bench, "adaptive_limit aimd, admit and release", "adaptive_limit aimd, an attempt");
  adaptive_limit<Algorithm::gradient>(bench, "adaptive_limit gradient, admit and release",
                                      "adaptive_limit gradient, an attempt");
  Aimd rule{20};
  Rng rng{1};
  TimePoint now{1h};
  const LimitWindow window{.good = 1000, .mean_ns = 1e7, .peak = 200};
  bench("adaptive_limit aimd, a decision", [&] {
    now += 100ms;
    keep(rule.on_window({}, {}, window, now, rng));
  });
}

const BenchGroup kBulkheads{bulkheads};
const BenchGroup kAdaptiveLimits{adaptive_limits};

}  // namespace
