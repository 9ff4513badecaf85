#include <chrono>
#include <vector>

#include "proxy/policy/hedge.hpp"
#include "tests/bench/micro/bench.hpp"

namespace {

using namespace outrigger;
using namespace outrigger::bench;
using namespace outrigger::policy;
using namespace std::chrono_literals;

constexpr std::uint32_t kWorkers = 2;

void hedges(const Bench& bench) {
  HedgeConfig config;
  config.quantile = 0.95;
  HedgeTrigger trigger{config, kWorkers};
  for (int i = 0; i < 1000; ++i) trigger.record(0, (5 + i % 10) * 1ms, TimePoint{1h});
  // Time passes as at a hundred thousand requests per second and worker, periods and slots included.
  Padded<TimePoint> now[kWorkers] = {{TimePoint{1h}}, {TimePoint{1h}}};

  bench.shared("hedge trigger, delay", [&](std::uint32_t worker) {
    now[worker].value += 10us;
    keep(trigger.delay(config, now[worker].value));
  });
  bench.shared("hedge trigger, record", [&](std::uint32_t worker) {
    now[worker].value += 10us;
    trigger.record(worker, 10ms, now[worker].value);
  });
  bench.shared("hedge trigger, record and delay", [&](std::uint32_t worker) {
    now[worker].value += 10us;
    trigger.record(worker, 10ms, now[worker].value);
    keep(trigger.delay(config, now[worker].value));
  });
  bench("hedge, method allowed", [&] { keep(hedges_method(config, "OPTIONS")); });

  LatencyWindow window{30s, kWorkers};
  for (std::uint32_t i = 0; i < 20'000; ++i) window.record(i % 2, (5 + i % 40) * 1ms, TimePoint{1h} + i * 1ms);
  bench("latency window, quantile of 2 workers", [&] { keep(window.quantile(0.95, TimePoint{1h} + 20s)); });
}

const BenchGroup group{hedges};

}  // namespace
