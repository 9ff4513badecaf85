#include "proxy/policy/gradient.hpp"

#include <limits>

#include <doctest/doctest.h>

#include "proxy/policy/fine_histogram.hpp"

using namespace outrigger;
using namespace outrigger::policy;
using namespace std::chrono_literals;

namespace {

constexpr TimePoint kStart{1h};

/// The rule, fed window after window of one second.
struct Fed {
  explicit Fed(std::uint32_t initial) : limit(initial), rule(config, initial) {}

  std::uint32_t feed(Nanos quantile, std::uint32_t peak, int times = 1, std::uint64_t congestion = 0) {
    for (int i = 0; i < times; ++i) {
      now += 1s;
      const auto ns = static_cast<double>(quantile.count());
      limit = rule.on_window(
          config, bounds,
          {.good = 100, .congestion = congestion, .quantile_ns = ns, .least_ns = ns, .peak = peak, .full = full}, now);
    }
    return limit;
  }

  GradientConfig config;
  LimitBounds bounds{1, 200};
  std::uint32_t limit;
  Gradient rule;
  TimePoint now = kStart;
  bool full = false;
};

}  // namespace

TEST_SUITE("policy") {
  TEST_CASE("gradient: at limit 20 a recent latency of 1 s grows, of 2 s shrinks, of 1.3 s holds, over a base of 1 s") {
    const auto direction = [](std::uint32_t limit, double recent) {
      return gradient_direction(limit, {.baseline_ns = 1e9, .recent_ns = recent});
    };
    CHECK(direction(20, 1e9) == 1);
    CHECK(direction(20, 0.5e9) == 1);
    CHECK(direction(20, 2e9) == -1);
    CHECK(direction(20, 1.3e9) == 0);
    // The ratios at which it turns depend on the limit.
    struct Row {
      std::uint32_t limit;
      double grows;
      double shrinks;
    };
    for (const auto& [limit, grows, shrinks] :
         {Row{20, 1.111, 1.4286}, Row{50, 1.0417, 1.1364}, Row{200, 1.0256, 1.0638}}) {
      CAPTURE(limit);
      CHECK(direction(limit, grows * 1e9 - 2e6) == 1);
      CHECK(direction(limit, grows * 1e9 + 2e6) == 0);
      CHECK(direction(limit, shrinks * 1e9 - 2e6) == 0);
      CHECK(direction(limit, shrinks * 1e9 + 2e6) == -1);
    }
  }

  TEST_CASE("gradient: a full limit whose throughput does not follow shrinks, one with room does not") {
    GradientSigns signs{.baseline_ns = 1e9, .recent_ns = 1e9};
    const auto direction = [&] { return gradient_direction(20, signs); };
    signs.throughput_correlation = -0.1;
    CHECK(direction() == 1);
    signs.full = true;
    CHECK(direction() == -1);
    signs.throughput_correlation = 0.2;
    signs.throughput_variation = 0.5;
    CHECK(direction() == 1);
    signs.latency_correlation = 0.6;
    CHECK(direction() == -1);
    signs.throughput_correlation = 0.9;
    CHECK(direction() == 1);
    signs.throughput_variation = 0.1;
    CHECK(direction() == -1);
  }

  TEST_CASE("gradient: a limit moves by one, from a hundred on by two, from a thousand on by its order of magnitude") {
    CHECK(gradient_step(99) == 1);
    CHECK(gradient_step(100) == 2);
    CHECK(gradient_step(999) == 2);
    CHECK(gradient_step(1000) == 3);
    CHECK(gradient_step(20'000) == 4);
  }

  TEST_CASE("gradient: an average is plain for ten values, then forgets with its age") {
    WarmAverage average;
    for (int i = 1; i <= 10; ++i) average.set(average.with(i, 10));
    CHECK(average.value() == doctest::Approx(5.5));
    average.set(average.with(16.5, 10));
    CHECK(average.value() == doctest::Approx(7.5));
  }

  TEST_CASE("gradient: a correlation needs ten pairs, some variation, and leaves out what is no number") {
    Correlation correlation{50};
    for (int i = 1; i < 10; ++i) correlation.add(i, 2 * i);
    CHECK(correlation.coefficient() == 0);
    correlation.add(10, 20);
    CHECK(correlation.coefficient() == doctest::Approx(1));
    correlation.add(std::numeric_limits<double>::infinity(), 1);
    correlation.add(0, 1);
    correlation.add(1, 0);
    CHECK(correlation.coefficient() == doctest::Approx(1));
    Correlation resized{20};
    Correlation small{12};
    for (int i = 1; i <= 30; ++i) {
      if (i == 5) resized.resize(12);
      if (i == 20) resized.resize(1000);
      const double y = i % 7 == 0 ? 3 * i : i;
      resized.add(i, y);
      small.add(i, y);
      if (i < 20) CHECK(resized.coefficient() == doctest::Approx(small.coefficient()));
    }
    resized.resize(12);
    CHECK(resized.coefficient() == doctest::Approx(small.coefficient()));
    CHECK(resized.variation_of_y() == doctest::Approx(small.variation_of_y()));
    Correlation against{20};
    for (int i = 1; i <= 100; ++i) against.add(i, 200 - i);
    CHECK(against.coefficient() == doctest::Approx(-1));
    Correlation steady{20};
    for (int i = 0; i < 20; ++i) steady.add(100 + i, 100);
    CHECK(steady.coefficient() == 0);
    CHECK(steady.variation_of_y() == 0);
  }

  TEST_CASE("gradient: steady latency lets a used limit grow, up to a multiple of what is in flight") {
    Fed fed{20};
    CHECK(fed.feed(1s, 5) == 21);
    CHECK(fed.feed(500ms, 5) == 22);
    CHECK(fed.feed(500ms, 5, 100) == 25);
  }

  TEST_CASE("gradient: an idle limit does not grow") {
    Fed fed{20};
    CHECK(fed.feed(10ms, 4, 1000) == 20);
  }

  TEST_CASE("gradient: a quiet minute does not shrink the limit below the next burst, a quiet hour does, gently") {
    Fed fed{20};
    fed.feed(10ms, 20, 10);
    CHECK(fed.limit == 30);
    fed.bounds.max = 30;
    CHECK(fed.feed(10ms, 1, 200) == 30);
    fed.feed(10ms, 1, 120);
    CHECK(fed.limit < 30);
    CHECK(fed.feed(10ms, 1, 300) == 5);
  }

  TEST_CASE("gradient: doubled latency shrinks the limit step by step, and the overload does not become the baseline") {
    Fed fed{40};
    fed.bounds.max = 40;
    fed.feed(10ms, 40, 30);
    CHECK(fed.limit == 40);
    fed.feed(20ms, 40, 15);
    CHECK(fed.limit < 40);
    CHECK(fed.rule.baseline_ns() == doctest::Approx(10e6).epsilon(0.25));
  }

  TEST_CASE("gradient: failures shrink the limit by a fifth at once and are never samples") {
    Fed fed{40};
    fed.bounds.max = 40;
    fed.feed(10ms, 40, 10);
    CHECK(fed.feed(10ms, 40, 1, 11) == 40);
    CHECK(fed.feed(10ms, 40, 1, 12) == 32);
    fed.now += 1s;
    fed.limit = fed.rule.on_window(fed.config, fed.bounds, {.congestion = 50, .peak = 30}, fed.now);
    CHECK(fed.limit == 25);
    CHECK(fed.rule.baseline_ns() == doctest::Approx(10e6));
  }

  TEST_CASE("gradient: windows last twice the least latency, within their bounds") {
    Fed fed{20};
    CHECK(fed.rule.window_length(fed.config) == 1s);
    fed.feed(100ms, 5);
    CHECK(fed.rule.window_length(fed.config) == 1s);
    fed.feed(3s, 5);
    CHECK(fed.rule.window_length(fed.config) == 6s);
    fed.feed(1min, 5);
    CHECK(fed.rule.window_length(fed.config) == 30s);
  }

  TEST_CASE("gradient: after a reload with other bounds the state goes on within them") {
    Fed fed{20};
    fed.feed(10ms, 20, 10);
    fed.bounds = {1, 10};
    CHECK(fed.feed(10ms, 10) == 10);
    fed.bounds = {15, 200};
    CHECK(fed.feed(10ms, 10) == 15);
  }

  TEST_CASE("a fine histogram gives a quantile within two percent, and gives each sample once") {
    FineHistogram histogram;
    for (int i = 1; i <= 1000; ++i) histogram.add(i * 100us);
    FineHistogram::Counts counts{};
    histogram.take_into(counts);
    CHECK(FineHistogram::quantile(counts, 0.9) == doctest::Approx(90e6).epsilon(0.02));
    CHECK(FineHistogram::quantile(counts, 0.5) == doctest::Approx(50e6).epsilon(0.02));
    CHECK(FineHistogram::quantile(counts, 0) == doctest::Approx(100e3).epsilon(0.02));
    FineHistogram::Counts none{};
    histogram.take_into(none);
    CHECK(FineHistogram::quantile(none, 0.9) == 0);
  }

  TEST_CASE("a fine histogram takes the shortest and the longest latency") {
    FineHistogram histogram;
    for (const std::int64_t us : {-1, 0, 1, 63, 64, 127, 128, 67'000'000, 2'000'000'000}) histogram.add(us * 1us);
    FineHistogram::Counts counts{};
    histogram.take_into(counts);
    std::uint32_t sum = 0;
    for (const std::uint32_t count : counts) sum += count;
    CHECK(sum == 9);
    CHECK(FineHistogram::quantile(counts, 1) == doctest::Approx(67.1e9).epsilon(0.02));
  }
}
