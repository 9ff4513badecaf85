#include <atomic>

#include <doctest/doctest.h>

#include "proxy/policy/hedge.hpp"
#include "proxy/policy/latency_window.hpp"
#include "tests/race/threads.hpp"

using namespace outrigger;
using namespace outrigger::policy;
using namespace outrigger::test;
using namespace std::chrono_literals;

namespace {

constexpr TimePoint kStart{1h};
constexpr int kRounds = 20'000;

}  // namespace

TEST_SUITE("race") {
  TEST_CASE("no sample of any worker is lost while others add them up") {
    LatencyWindow window{30s, kThreads};
    std::atomic<std::uint64_t> most_seen{0};
    race([&](std::uint32_t worker) {
      std::uint64_t seen = 0;
      for (int i = 0; i < kRounds; ++i) {
        if (i % 2 == 0) window.record(worker, 10ms, kStart);
        if (i % 2 == 1) window.record_at_least(worker, 20ms, kStart);
        if (i % 500 != 0) continue;
        const std::uint64_t samples = window.quantile(0.5, kStart).samples;
        CHECK(samples >= seen);
        seen = samples;
      }
      std::uint64_t most = most_seen.load();
      while (most < seen && !most_seen.compare_exchange_weak(most, seen)) {
      }
    });
    CHECK(most_seen <= kThreads * kRounds);
    CHECK(window.quantile(0.5, kStart).samples == kThreads * kRounds);
    CHECK(window.quantile(0.5, kStart).bucket == LatencyWindow::bucket_of(10ms));
    CHECK(window.quantile(0.51, kStart).bucket == LatencyWindow::bucket_of(2 * 20ms));
  }

  TEST_CASE("slots that are cleared while they are read show nothing that was not measured") {
    LatencyWindow window{10ms, kThreads};
    const std::uint32_t least = LatencyWindow::bucket_of(5ms);
    const std::uint32_t most = LatencyWindow::bucket_of(8ms);
    race([&](std::uint32_t worker) {
      for (int i = 0; i < kRounds; ++i) {
        const TimePoint now = kStart + i * 10us - worker * 300us;
        if (worker == 0 && i % 500 == 0) window.resize(i % 1000 == 0 ? 10ms : 20ms);
        window.record(worker, 5ms + worker * 1ms, now);
        if (i % 50 != 0) continue;
        const LatencyWindow::Quantile found = window.quantile(0.95, now);
        CHECK(found.samples <= kThreads * kRounds);
        CHECK(found.samples > 0);
        CHECK(found.bucket >= least);
        CHECK(found.bucket <= most);
      }
    });
    const TimePoint end = kStart + kRounds * 10us;
    CHECK(window.quantile(0.95, end + 40ms).samples == 0);
  }

  TEST_CASE("one asker works the quantile out; nobody sees half of it") {
    HedgeConfig config;
    config.quantile = 0.95;
    config.window = 80ms;  // a period of one millisecond
    HedgeTrigger trigger{config, kThreads};
    std::atomic<int> wrong{0};
    race([&](std::uint32_t worker) {
      for (int i = 0; i < kRounds; ++i) {
        const TimePoint now = kStart + i * 10us;
        trigger.record(worker, 10ms, now);
        const auto delay = trigger.delay(config, now);
        const bool right = !delay || *delay == LatencyWindow::upper_edge(LatencyWindow::bucket_of(10ms));
        if (!right || (i > kRounds / 2 && !delay)) ++wrong;
      }
    });
    CHECK(wrong == 0);
    CHECK(trigger.samples() > config.min_samples);
  }
}
