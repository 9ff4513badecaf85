#include "proxy/policy/latency_window.hpp"

#include <doctest/doctest.h>

#include "tests/support/allocations.hpp"

using namespace outrigger;
using namespace outrigger::policy;
using namespace std::chrono_literals;

namespace {

constexpr TimePoint kStart{1h};
constexpr Nanos kWindow = 30s;

/// The quantile as a time; -1 ns where there are no samples.
Nanos quantile(const LatencyWindow& window, double q, TimePoint now) {
  const LatencyWindow::Quantile found = window.quantile(q, now);
  return found.samples == 0 ? Nanos{-1} : LatencyWindow::upper_edge(found.bucket);
}

/// The edge of the bucket that a latency falls into.
Nanos edge(Nanos latency) { return LatencyWindow::upper_edge(LatencyWindow::bucket_of(latency)); }

}  // namespace

TEST_SUITE("policy") {
  TEST_CASE("a bucket ends above all its latencies, by no more than a sixteenth of them") {
    std::uint32_t before = 0;
    for (Nanos latency = 1ns; latency < 1h; latency += latency / 40 + 1ns) {
      const std::uint32_t bucket = LatencyWindow::bucket_of(latency);
      CAPTURE(latency.count());
      CHECK(bucket >= before);
      CHECK(bucket < LatencyWindow::kBuckets - 1);
      CHECK(LatencyWindow::upper_edge(bucket) > latency);
      CHECK(LatencyWindow::upper_edge(bucket) <= latency + std::max(latency / 16, Nanos{1024}));
      before = bucket;
    }
  }

  TEST_CASE("every bucket begins where the one before it ends") {
    for (std::uint32_t bucket = 0; bucket + 1 < LatencyWindow::kBuckets; ++bucket) {
      const Nanos end = LatencyWindow::upper_edge(bucket);
      CHECK(LatencyWindow::bucket_of(end - 1ns) == bucket);
      CHECK(LatencyWindow::bucket_of(end) == bucket + 1);
    }
  }

  TEST_CASE("no latency is outside the buckets") {
    CHECK(LatencyWindow::bucket_of(-5s) == 0);
    CHECK(LatencyWindow::bucket_of(0ns) == 0);
    CHECK(LatencyWindow::bucket_of(Nanos{(std::int64_t{1} << 42) - 1}) == LatencyWindow::kBuckets - 2);
    CHECK(LatencyWindow::bucket_of(Nanos{std::int64_t{1} << 42}) == LatencyWindow::kBuckets - 1);
    CHECK(LatencyWindow::bucket_of(kForever) == LatencyWindow::kBuckets - 1);
    CHECK(LatencyWindow::upper_edge(LatencyWindow::kBuckets - 1) == kForever);
  }

  TEST_CASE("of one to a hundred milliseconds the quantiles are those of the sorted list, rounded up") {
    LatencyWindow window{kWindow, 1};
    for (int i = 100; i >= 1; --i) window.record(0, i * 1ms, kStart);
    CHECK(window.quantile(0.95, kStart).samples == 100);
    CHECK(quantile(window, 0.50, kStart) == edge(50ms));
    CHECK(quantile(window, 0.90, kStart) == edge(90ms));
    CHECK(quantile(window, 0.95, kStart) == edge(95ms));
    CHECK(quantile(window, 0.99, kStart) == edge(99ms));
    CHECK(quantile(window, 0.999, kStart) == edge(100ms));
  }

  TEST_CASE("a single sample is every quantile, and none is none") {
    LatencyWindow window{kWindow, 1};
    CHECK(quantile(window, 0.95, kStart) == -1ns);
    window.record(0, 7ms, kStart);
    CHECK(quantile(window, 0.5, kStart) == edge(7ms));
    CHECK(quantile(window, 0.999, kStart) == edge(7ms));
  }

  TEST_CASE("exactly the quantile's share is enough, one answer less is not") {
    LatencyWindow window{kWindow, 1};
    for (int i = 0; i < 95; ++i) window.record(0, 10ms, kStart);
    for (int i = 0; i < 5; ++i) window.record(0, 1s, kStart);
    CHECK(quantile(window, 0.95, kStart) == edge(10ms));
    window.record(0, 1s, kStart);
    CHECK(quantile(window, 0.95, kStart) == edge(1s));
  }

  TEST_CASE("an attempt that was cut off counts as longer, not as an answer and not as nothing") {
    LatencyWindow window{kWindow, 1};
    for (int i = 0; i < 90; ++i) window.record(0, 10ms, kStart);
    for (int i = 0; i < 10; ++i) window.record_at_least(0, 30ms, kStart);
    CHECK(window.quantile(0.9, kStart).samples == 100);
    CHECK(quantile(window, 0.90, kStart) == edge(10ms));
    // Without the ten p95 would be 10 ms, with them as answers 30 ms; it is more than that.
    CHECK(quantile(window, 0.95, kStart) == 2 * edge(30ms));
    window.record(0, 200ms, kStart);
    CHECK(quantile(window, 0.95, kStart) == edge(200ms));
  }

  TEST_CASE("the weight of an early cut goes to all that took longer, in equal parts") {
    LatencyWindow window{kWindow, 1};
    for (int i = 0; i < 10; ++i) window.record_at_least(0, 1ms, kStart);
    for (int i = 0; i < 50; ++i) window.record(0, 10ms, kStart);
    for (int i = 0; i < 50; ++i) window.record(0, 20ms, kStart);
    CHECK(quantile(window, 0.5, kStart) == edge(10ms));
    CHECK(quantile(window, 0.51, kStart) == edge(20ms));
  }

  TEST_CASE("a cut in the bucket of answers was still running when they came") {
    LatencyWindow window{kWindow, 1};
    for (int i = 0; i < 50; ++i) window.record(0, 10ms, kStart);
    for (int i = 0; i < 50; ++i) window.record_at_least(0, 10ms, kStart);
    CHECK(quantile(window, 0.50, kStart) == edge(10ms));
    CHECK(quantile(window, 0.51, kStart) == 2 * edge(10ms));
  }

  TEST_CASE("where nothing was ever answered the quantile is beyond every wait") {
    LatencyWindow window{kWindow, 1};
    for (int i = 0; i < 100; ++i) window.record_at_least(0, 1s, kStart);
    CHECK(quantile(window, 0.5, kStart) == 2 * edge(1s));
    window.record_at_least(0, 1h, kStart);
    CHECK(quantile(window, 0.5, kStart) == kForever);
  }

  TEST_CASE("samples of all workers are one distribution") {
    LatencyWindow window{kWindow, 3};
    for (int i = 0; i < 40; ++i) window.record(0, 10ms, kStart);
    for (int i = 0; i < 55; ++i) window.record(2, 20ms, kStart);
    for (int i = 0; i < 5; ++i) window.record(1, 30ms, kStart);
    CHECK(window.quantile(0.5, kStart).samples == 100);
    CHECK(quantile(window, 0.4, kStart) == edge(10ms));
    CHECK(quantile(window, 0.95, kStart) == edge(20ms));
    CHECK(quantile(window, 0.96, kStart) == edge(30ms));
  }

  TEST_CASE("the window slides under steady traffic: what is older than it counts for nothing") {
    LatencyWindow window{kWindow, 1};
    TimePoint now = kStart;
    for (; now < kStart + kWindow; now += 10ms) window.record(0, 500ms, now);
    CHECK(quantile(window, 0.5, now) == edge(500ms));
    const TimePoint changed = now;
    for (; now < changed + kWindow; now += 10ms) window.record(0, 10ms, now);
    CHECK(quantile(window, 0.999, now - 1ns) == edge(10ms));
    const std::uint64_t samples = window.quantile(0.5, now - 1ns).samples;
    CHECK(samples <= 3000);
    CHECK(samples > 2690);
  }

  TEST_CASE("after a long silence nothing of before is left, and what comes then counts") {
    LatencyWindow window{kWindow, 2};
    for (int i = 0; i < 100; ++i) window.record(static_cast<std::uint32_t>(i % 2), 500ms, kStart);
    CHECK(window.quantile(0.5, kStart + kWindow - 3s - 1ns).samples == 100);
    CHECK(window.quantile(0.5, kStart + kWindow).samples == 0);
    const TimePoint later = kStart + 24h + 7s;
    window.record(0, 10ms, later);
    CHECK(window.quantile(0.5, later).samples == 1);
    CHECK(quantile(window, 0.5, later) == edge(10ms));
  }

  TEST_CASE("a reader whose clock is a little behind counts what others did in its future") {
    LatencyWindow window{kWindow, 2};
    window.record(0, 10ms, kStart + 3s);
    CHECK(window.quantile(0.5, kStart + 2999ms).samples == 1);
  }

  TEST_CASE("a window of a nanosecond is none and does not fail") {
    LatencyWindow window{1ns, 1};
    window.record(0, 10ms, kStart);
    CHECK(window.quantile(0.5, kStart).samples == 1);
    CHECK(window.quantile(0.5, kStart + 1us).samples == 0);
  }

  TEST_CASE("neither a sample nor a quantile takes memory") {
    LatencyWindow window{kWindow, 1};
    const std::uint64_t before = test::allocations();
    for (TimePoint now = kStart; now < kStart + 100s; now += 100ms) {
      window.record(0, 10ms, now);
      window.record_at_least(0, 20ms, now);
      static_cast<void>(window.quantile(0.95, now));
    }
    CHECK(test::allocations() == before);
  }
}
