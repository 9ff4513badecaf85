#include "proxy/policy/aimd.hpp"

#include <doctest/doctest.h>

using namespace outrigger;
using namespace outrigger::policy;
using namespace std::chrono_literals;

namespace {

constexpr TimePoint kStart{1h};

/// The rule, fed window after window of 100 ms.
struct Fed {
  explicit Fed(std::uint32_t initial) : rule(initial), limit(initial) {}

  std::uint32_t feed(const LimitWindow& window, int times = 1) {
    for (int i = 0; i < times; ++i) {
      now += 100ms;
      limit = rule.on_window(config, bounds, window, now, rng);
    }
    return limit;
  }
  /// Windows with a hundred good answers of that mean, all of the limit in use.
  std::uint32_t busy(Nanos mean, int times = 1) {
    for (int i = 0; i < times; ++i) feed(window(mean, limit));
    return limit;
  }
  static LimitWindow window(Nanos mean, std::uint32_t peak) {
    return {.good = 100, .mean_ns = static_cast<double>(mean.count()), .peak = peak};
  }
  /// Past the first two windows, which hold only the quickest answers.
  Fed& settled(Nanos mean) {
    feed(window(mean, 0), 3);
    return *this;
  }
  Nanos baseline() const { return Nanos{static_cast<std::int64_t>(rule.baseline_ns())}; }

  AimdConfig config;
  LimitBounds bounds{1, 200};
  Aimd rule;
  Rng rng{5};
  TimePoint now = kStart;
  std::uint32_t limit;
};

LimitWindow of_mean(double mean_ns, double spread_ns = 0) {
  return {.good = 100, .mean_ns = mean_ns, .spread_ns = spread_ns};
}

LimitWindow failing(std::uint64_t good, std::uint64_t congestion, Nanos mean) {
  return {
      .good = good, .congestion = congestion, .mean_ns = good > 0 ? static_cast<double>(mean.count()) : 0.0, .peak = 1};
}

}  // namespace

TEST_SUITE("policy") {
  TEST_CASE("aimd: a limit that is used and whose answers come as ever grows by one per window") {
    Fed fed{20};
    fed.settled(10ms);
    CHECK(fed.baseline() == 10ms);
    CHECK(fed.limit == 20);
    CHECK(fed.busy(10ms) == 21);
    CHECK(fed.busy(10ms, 9) == 30);
  }

  TEST_CASE("aimd: the first two windows teach nothing, as they hold only the quickest answers") {
    Fed fed{20};
    CHECK(fed.busy(4ms, 2) == 20);
    CHECK(fed.baseline() == 0ms);
    CHECK(fed.busy(10ms) == 21);
    CHECK(fed.baseline() == 10ms);
  }

  TEST_CASE("aimd: a limit of which less than half is used stands still, half is enough to grow") {
    Fed fed{20};
    fed.settled(10ms);
    CHECK(fed.feed(Fed::window(10ms, 9), 1000) == 20);
    CHECK(fed.feed(Fed::window(10ms, 10)) == 21);
    CHECK(fed.feed(Fed::window(10ms, 10)) == 21);
  }

  TEST_CASE("aimd: late answers lower the limit, those a little late hold it, at the bounds themselves nothing") {
    struct Row {
      Nanos mean;
      std::uint32_t limit;
    };
    for (const Row& row :
         {Row{12'500us, 51}, Row{12'501us, 50}, Row{15'000us, 50}, Row{15'001us, 40}, Row{100ms, 40}}) {
      CAPTURE(row.mean.count());
      Fed fed{50};
      fed.config.smoothing = 1;
      fed.settled(10ms);
      CHECK(fed.busy(row.mean) == row.limit);
    }
  }

  TEST_CASE("aimd: latency is smoothed, so one late window lowers nothing") {
    Fed fed{50};
    fed.settled(10ms);
    CHECK(fed.busy(40ms) == 50);  // 13 ms
    CHECK(fed.busy(10ms) == 50);
    CHECK(fed.busy(10ms) == 51);
  }

  TEST_CASE("aimd: failures are congestion when they are a tenth and at least two") {
    struct Row {
      std::uint64_t good;
      std::uint64_t congestion;
      std::uint32_t limit;
    };
    for (const Row& row : {Row{9, 1, 50}, Row{1, 1, 50}, Row{18, 2, 40}, Row{19, 2, 50}, Row{0, 10, 40}}) {
      CAPTURE(row.good);
      Fed fed{50};
      fed.settled(10ms);
      CHECK(fed.feed(failing(row.good, row.congestion, 10ms)) == row.limit);
    }
  }

  TEST_CASE("aimd: nothing but failures brings the limit down to its least and no further") {
    Fed fed{50};
    fed.bounds.min = 3;
    fed.settled(10ms);
    CHECK(fed.feed(failing(0, 100, 0ms), 200) == 3);
    CHECK(fed.baseline() == 10ms);
    CHECK(fed.feed(Fed::window(10ms, 3), 8) > 3);
  }

  TEST_CASE("aimd: growth ends at the largest limit") {
    Fed fed{20};
    fed.bounds.max = 22;
    fed.settled(10ms);
    CHECK(fed.busy(10ms, 10) == 22);
  }

  TEST_CASE("aimd: three decreases in a row probe: half the limit for four windows, of which two teach") {
    Fed fed{100};
    fed.config.smoothing = 1;
    fed.settled(10ms);
    CHECK(fed.busy(40ms, 2) == 64);
    CHECK_FALSE(fed.rule.probing());
    CHECK(fed.busy(40ms) == 25);  // 51, halved
    CHECK(fed.rule.probing());
    CHECK(fed.busy(5ms) == 25);
    CHECK(fed.busy(5ms) == 25);
    CHECK(fed.busy(22ms) == 25);
    CHECK(fed.busy(20ms) == 51);
    CHECK_FALSE(fed.rule.probing());
    CHECK(fed.baseline() == 20ms);
    CHECK(fed.busy(20ms, 2) == 51);
    CHECK(fed.busy(20ms) == 52);
  }

  TEST_CASE("aimd: what a probe has found replaces all that was known, so old means do not pull it down again") {
    Fed fed{100};
    fed.config.smoothing = 1;
    fed.settled(10ms);
    fed.busy(10ms, 200);
    fed.busy(40ms, 3);
    fed.busy(20ms, 4);
    CHECK(fed.baseline() == 20ms);
    fed.busy(20ms, 50);
    CHECK(fed.baseline() == 20ms);
  }

  TEST_CASE("aimd: a probe that ends before its mean is known raises the baseline, and does not lower it") {
    for (const double mean_ms : {6.0, 14.0}) {
      Fed fed{20};
      fed.settled(10ms);
      LimitWindow scattered = Fed::window(30ms, 1);
      for (int i = 0; i < 20 && !fed.rule.probing(); ++i) fed.feed(scattered);
      REQUIRE(fed.rule.probing());
      scattered.mean_ns = mean_ms * 1e6;
      scattered.spread_ns = scattered.mean_ns * 2;
      fed.feed(scattered, 4);
      CHECK_FALSE(fed.rule.probing());
      CHECK(fed.baseline() == (mean_ms < 10 ? 10ms : 14ms));
    }
  }

  TEST_CASE("aimd: a probe in which nothing succeeds leaves the baseline") {
    Fed fed{100};
    fed.settled(10ms);
    fed.feed(failing(0, 100, 0ms), 3);
    CHECK(fed.rule.probing());
    CHECK(fed.feed(failing(0, 100, 0ms), 4) == 51);
    CHECK(fed.baseline() == 10ms);
  }

  TEST_CASE("aimd: a probe halves no further than the least limit") {
    Fed fed{10};
    fed.bounds.min = 8;
    fed.settled(10ms);
    CHECK(fed.feed(failing(0, 100, 0ms), 3) == 8);
    CHECK(fed.rule.probing());
    CHECK(fed.feed(failing(0, 100, 0ms), 4) == 8);
  }

  TEST_CASE("aimd: the baseline falls to the p10 of the means, not to the odd quick one") {
    Fed fed{20};
    fed.settled(10ms);
    fed.busy(10ms, 100);
    fed.busy(5ms, 10);
    CHECK(fed.baseline() == 10ms);
    fed.busy(5ms, 3);
    CHECK(fed.baseline() == 5ms);
  }

  TEST_CASE("aimd: without a probe the baseline never rises, however long answers are slower") {
    Fed fed{20};
    fed.settled(10ms);
    fed.feed(Fed::window(14ms, 1), 5000);
    CHECK(fed.baseline() == 10ms);
    CHECK(fed.limit == 20);
  }

  TEST_CASE("aimd: a limit in use is probed once per baseline window, give or take a fifth") {
    Fed fed{20};
    fed.bounds.max = 20;
    fed.settled(10ms);
    TimePoint last = fed.now;
    int probes = 0;
    for (int i = 0; i < 6000; ++i) {
      const bool before = fed.rule.probing();
      fed.busy(10ms);
      if (before || !fed.rule.probing()) continue;
      ++probes;
      CHECK(fed.now - last >= 24s);
      CHECK(fed.now - last <= 36s + 500ms);
      last = fed.now;
    }
    CHECK(probes >= 16);
    CHECK(probes <= 25);
  }

  TEST_CASE("aimd: a limit that is not in use is never probed on schedule") {
    Fed fed{20};
    fed.settled(10ms);
    for (int i = 0; i < 3000; ++i) {
      fed.feed(Fed::window(10ms, 9));
      REQUIRE_FALSE(fed.rule.probing());
    }
  }

  TEST_CASE("aimd: a probe that fell into a long pause is not made up for in the burst that ends it") {
    Fed fed{20};
    fed.settled(10ms);
    fed.busy(10ms, 10);
    fed.now += 1h;
    CHECK(fed.busy(10ms, 230) == 200);
    CHECK_FALSE(fed.rule.probing());
  }

  TEST_CASE("aimd: a periodic probe sees a baseline that has risen a little") {
    Fed fed{20};
    fed.bounds.max = 20;
    fed.settled(10ms);
    fed.busy(13ms, 500);
    CHECK(fed.baseline() == 13ms);
  }

  TEST_CASE("aimd: windows last as long as an answer takes, at least 100 ms") {
    Fed fed{20};
    CHECK(fed.rule.window_length(fed.config) == 100ms);
    fed.busy(20ms);
    CHECK(fed.rule.window_length(fed.config) == 100ms);
    fed.busy(250ms);
    CHECK(fed.rule.window_length(fed.config) == 250ms);
    fed.feed(failing(0, 20, 0ms));
    CHECK(fed.rule.window_length(fed.config) == 250ms);
    fed.busy(1h);
    CHECK(fed.rule.window_length(fed.config) == fed.config.baseline_window);
  }

  TEST_CASE("aimd: after a reload with other bounds and factors the state goes on with them") {
    Fed fed{100};
    fed.config.smoothing = 1;
    fed.settled(10ms);
    fed.bounds = {1, 60};
    CHECK(fed.busy(10ms) == 60);
    fed.bounds = {70, 200};
    CHECK(fed.busy(10ms) == 70);
    fed.config.increase = 5;
    CHECK(fed.busy(10ms) == 75);
    fed.config.tolerance = 2;
    CHECK(fed.busy(19ms) == 75);
    CHECK(fed.busy(14ms) == 80);
    fed.bounds.min = 1;
    fed.config.decrease = 0.5;
    CHECK(fed.busy(21ms) == 40);
    CHECK(fed.baseline() == 10ms);
  }

  TEST_CASE("a history of means keeps what is not older than its length, in slots if there is much of it") {
    MeanHistory history;
    CHECK(history.p10(30s, kStart) == 0);
    for (int i = 0; i < 10; ++i) history.add(30s, of_mean(100 + i), kStart + i * 1s);
    CHECK(history.p10(30s, kStart + 9s) == 100);
    history.add(30s, of_mean(110), kStart + 10s);
    CHECK(history.p10(30s, kStart + 10s) == 101);
    CHECK(history.p10(30s, kStart + 35s) == 105);
    CHECK(history.p10(30s, kStart + 1h) == 0);
    MeanHistory crowded;
    for (int i = 0; i < 60'000; ++i) crowded.add(1h, of_mean(i % 2 == 0 ? 10 : 20), kStart + i * 60ms);
    CHECK(crowded.p10(1h, kStart + 1h) == doctest::Approx(15).epsilon(0.01));
  }

  TEST_CASE("a mean whose answers scatter is put together from windows in a row until it is known") {
    // A hundred answers spread by half of their mean leave an error of 5 %; 3.5 % takes three windows of them.
    MeanHistory history;
    for (int i = 0; i < 2; ++i) history.add(30s, of_mean(100, 50), kStart + i * 100ms);
    CHECK_FALSE(history.known());
    history.add(30s, of_mean(100, 50), kStart + 200ms);
    CHECK(history.known());
    history.add(30s, of_mean(120, 50), kStart + 300ms);
    history.add(30s, of_mean(60, 50), kStart + 400ms);
    CHECK(history.p10(30s, kStart + 400ms) == 100);
    history.add(30s, of_mean(120, 50), kStart + 500ms);
    CHECK(history.p10(30s, kStart + 500ms) == doctest::Approx(100));
  }

  TEST_CASE("a mean that is not known counts only while there is no other, and closes after half of the time") {
    MeanHistory history;
    history.add(30s, of_mean(100, 500), kStart);
    CHECK_FALSE(history.known());
    CHECK(history.p10(30s, kStart) == 100);
    history.add(30s, of_mean(200, 500), kStart + 15s);
    CHECK(history.known());
    history.add(30s, of_mean(50, 500), kStart + 16s);
    CHECK(history.p10(30s, kStart + 16s) == 150);
  }

  TEST_CASE("a mean that was under way when the past was replaced takes nothing more") {
    MeanHistory history;
    history.add(30s, of_mean(100), kStart);
    history.add(30s, of_mean(100, 500), kStart + 1s);
    history.replace_all(100);
    history.add(30s, of_mean(50, 500), kStart + 8s);
    CHECK(history.p10(30s, kStart + 8s) == 100);
  }

  TEST_CASE("aimd: a first mean that is only a guess may be followed by a higher one without a probe") {
    Fed fed{20};
    const auto scattered = [](double mean_ms) {
      return LimitWindow{.good = 10, .mean_ns = mean_ms * 1e6, .spread_ns = mean_ms * 1e6, .peak = 1};
    };
    fed.feed(scattered(6), 3);
    CHECK(fed.baseline() == 6ms);
    fed.feed(scattered(12));
    CHECK(fed.baseline() == 9ms);
  }
}
