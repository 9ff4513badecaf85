#include "proxy/policy/hedge.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <vector>

#include <doctest/doctest.h>

#include "proxy/base/rng.hpp"
#include "tests/support/allocations.hpp"

using namespace outrigger;
using namespace outrigger::policy;
using namespace std::chrono_literals;

namespace {

constexpr TimePoint kStart{1h};

HedgeConfig fixed(Nanos delay) {
  HedgeConfig config;
  config.delay = delay;
  return config;
}

HedgeConfig at(double quantile) {
  HedgeConfig config;
  config.quantile = quantile;
  return config;
}

Nanos edge(Nanos latency) { return LatencyWindow::upper_edge(LatencyWindow::bucket_of(latency)); }

/// A trigger and the configuration it is asked with, which a test may change as a reload does.
struct Asked {
  explicit Asked(const HedgeConfig& given) : config(given), trigger(given, 2) {}

  void record(Nanos latency, int count, TimePoint now) {
    for (int i = 0; i < count; ++i) trigger.record(static_cast<std::uint32_t>(i % 2), latency, now);
  }
  std::optional<Nanos> delay(TimePoint now) { return trigger.delay(config, now); }

  HedgeConfig config;
  HedgeTrigger trigger;
};

// A model of hedged traffic: requests arrive at random, each is hedged once it has waited the trigger's delay, the
// first answer wins and the other attempt is cut off. Samples are taken when they would be.
struct Traffic {
  using Latency = std::function<Nanos(Rng&, TimePoint)>;

  HedgeConfig config = at(0.95);
  Latency primary;
  Latency hedge;  // as `primary` if empty
  Nanos timeout = kForever;
  double per_second = 200;
  Nanos length = 120s;
  Nanos warm_up = 10s;

  struct Seen {
    double hedged = 0;  // share of the requests
    Nanos p50{}, p99{};
    Nanos least_delay = kForever, most_delay{};
  };

  Seen run(std::uint64_t seed = 1) {
    Rng rng{seed};
    HedgeTrigger trigger{config, 1};
    std::multimap<TimePoint, std::pair<Nanos, bool>> ends;  // when, how long, answered
    std::vector<Nanos> waits;
    int hedges = 0;
    Seen seen;
    for (TimePoint now = kStart; now < kStart + length;) {
      now += Nanos{static_cast<std::int64_t>(-std::log(1 - rng.uniform()) * 1e9 / per_second)};
      for (; !ends.empty() && ends.begin()->first <= now; ends.erase(ends.begin())) {
        const auto& [when, sample] = *ends.begin();
        sample.second ? trigger.record(0, sample.first, when) : trigger.record_at_least(0, sample.first, when);
      }
      const auto end = [&](Nanos after, Nanos sample, bool answered) {
        ends.emplace(now + after, std::pair{sample, answered});
      };
      const Nanos first = primary(rng, now);
      const Nanos delay = trigger.delay(config, now).value_or(kForever);
      Nanos wait = std::min(first, timeout);
      const bool hedged = wait >= delay;
      if (!hedged) {
        end(wait, wait, first < timeout);
      } else {
        const Nanos second = std::min(hedge ? hedge(rng, now + delay) : primary(rng, now + delay), timeout);
        const bool first_wins = wait <= delay + second;
        wait = std::min(wait, delay + second);
        end(wait, wait, first_wins && first < timeout);
        end(wait, first_wins ? wait - delay : second, !first_wins && second < timeout);
      }
      if (now < kStart + warm_up) continue;
      waits.push_back(wait);
      hedges += hedged;
      seen.least_delay = std::min(seen.least_delay, delay);
      seen.most_delay = std::max(seen.most_delay, delay);
    }
    std::sort(waits.begin(), waits.end());
    seen.hedged = hedges / static_cast<double>(waits.size());
    seen.p50 = waits[waits.size() / 2];
    seen.p99 = waits[waits.size() * 99 / 100];
    return seen;
  }
};

/// Lognormal around `median`.
Nanos spread(Rng& rng, Nanos median, double sigma) {
  const double normal = std::sqrt(-2 * std::log(1 - rng.uniform())) * std::cos(6.283185307179586 * rng.uniform());
  return Nanos{static_cast<std::int64_t>(static_cast<double>(median.count()) * std::exp(sigma * normal))};
}

Traffic::Latency lognormal(Nanos median, double sigma) {
  return [=](Rng& rng, TimePoint) { return spread(rng, median, sigma); };
}

/// Ten milliseconds, and twenty times that for a share of the answers.
Traffic::Latency sometimes_slow(double share) {
  return [=](Rng& rng, TimePoint) { return spread(rng, rng.uniform() < share ? 200ms : 10ms, 0.1); };
}

}  // namespace

TEST_SUITE("policy") {
  TEST_CASE("a fixed delay is the delay, whatever was seen") {
    Asked asked{fixed(80ms)};
    CHECK(asked.delay(kStart) == 80ms);
    asked.record(500ms, 1000, kStart);
    CHECK(asked.delay(kStart + 10s) == 80ms);
    CHECK(asked.trigger.samples() == 0);
  }

  TEST_CASE("a trigger without a delay does not hedge before it has enough samples") {
    Asked asked{at(0.95)};
    CHECK(asked.delay(kStart) == std::nullopt);
    asked.record(10ms, 99, kStart);
    CHECK(asked.delay(kStart + 1s) == std::nullopt);
    asked.record(10ms, 1, kStart + 1s);
    CHECK(asked.delay(kStart + 2s) == edge(10ms));
  }

  TEST_CASE("one first sample is no threshold") {
    Asked asked{at(0.95)};
    asked.config.min_samples = 2;
    asked.record(500ms, 1, kStart);
    CHECK(asked.delay(kStart) == std::nullopt);
    asked.config.min_samples = 0;
    CHECK(Asked{asked.config}.delay(kStart) == std::nullopt);
  }

  TEST_CASE("with a delay and a trigger the delay serves until there are samples, and again when they are gone") {
    Asked asked{at(0.95)};
    asked.config.delay = 50ms;
    CHECK(asked.delay(kStart) == 50ms);
    asked.record(10ms, 100, kStart);
    CHECK(asked.delay(kStart + 1s) == edge(10ms));
    CHECK(asked.delay(kStart + 26s) == edge(10ms));
    CHECK(asked.delay(kStart + 31s) == 50ms);
    CHECK(asked.delay(kStart + 100h) == 50ms);
  }

  TEST_CASE("with neither given it is p95") {
    Asked asked{HedgeConfig{}};
    asked.record(10ms, 95, kStart);
    asked.record(1s, 5, kStart);
    CHECK(asked.delay(kStart) == edge(10ms));
  }

  TEST_CASE("a trigger stays between min_delay and max_delay") {
    Asked asked{at(0.95)};
    asked.record(100us, 1000, kStart);
    CHECK(asked.delay(kStart) == 1ms);
    asked.config.min_delay = 5ms;
    CHECK(asked.delay(kStart) == 5ms);
    asked.config.max_delay = 20ms;
    asked.record(1s, 1000, kStart + 1s);
    CHECK(asked.delay(kStart + 2s) == 20ms);
  }

  TEST_CASE("attempts that were never answered do not make a trigger shorter than their waits") {
    Asked asked{at(0.95)};
    for (int i = 0; i < 100; ++i) asked.trigger.record_at_least(0, 30s, kStart);
    CHECK(asked.delay(kStart) == 10s);
  }

  TEST_CASE("the quantile is worked out once per period") {
    Asked asked{at(0.95)};
    const Nanos period = Nanos{30s} / 80;
    asked.record(10ms, 100, kStart);
    CHECK(asked.delay(kStart) == edge(10ms));
    asked.record(100ms, 100, kStart);
    CHECK(asked.delay(kStart + period - 1ns) == edge(10ms));
    CHECK(asked.delay(kStart + period) == edge(100ms));
    CHECK(asked.trigger.samples() == 200);
  }

  TEST_CASE("after a reload the same samples serve the new numbers") {
    Asked asked{at(0.95)};
    asked.record(10ms, 94, kStart);
    asked.record(200ms, 6, kStart);
    CHECK(asked.delay(kStart) == edge(200ms));
    asked.config.max_delay = 100ms;
    CHECK(asked.delay(kStart) == 100ms);
    asked.config.min_samples = 101;
    CHECK(asked.delay(kStart) == std::nullopt);
    asked.config.min_samples = 100;
    asked.config.quantile = 0.9;
    CHECK(same_structure(asked.config, at(0.95)));
    CHECK(asked.delay(kStart + 1s) == edge(10ms));
  }

  TEST_CASE("another window keeps the samples that lie within it") {
    for (const Nanos window : {Nanos{29s}, Nanos{31s}, Nanos{5min}}) {
      Asked asked{at(0.95)};
      for (int i = 0; i < 20; ++i) asked.record(10ms, 10, kStart + i * 1s);
      CHECK(asked.delay(kStart + 20s) == edge(10ms));
      asked.config.window = window;
      asked.trigger.reload(asked.config);
      CHECK(asked.delay(kStart + 22s) == edge(10ms));
      CHECK(asked.trigger.samples() == 200);
      CHECK(asked.delay(kStart + 22s + window) == std::nullopt);
      for (int i = 0; i < 20; ++i) asked.record(20ms, 10, kStart + window + i * 1s);
      CHECK(asked.delay(kStart + window + 24s) == edge(20ms));
    }
    Asked asked{at(0.95)};
    for (int i = 0; i < 20; ++i) asked.record(10ms, 10, kStart + i * 1s);
    asked.config.window = 5s;
    asked.trigger.reload(asked.config);
    asked.config.min_samples = 10;
    REQUIRE(asked.delay(kStart + 20s) == edge(10ms));
    CHECK(asked.trigger.samples() < 100);
  }

  TEST_CASE("a fixed delay instead of a trigger needs another state") {
    CHECK_FALSE(same_structure(at(0.95), fixed(10ms)));
    CHECK(same_structure(fixed(10ms), fixed(20ms)));
    CHECK(same_structure(at(0.95), HedgeConfig{}));
    // A request that began before such a reload may still ask the wrong state; it gets what is safe.
    HedgeTrigger without{fixed(10ms), 1};
    CHECK(without.delay(at(0.95), kStart) == std::nullopt);
    HedgeTrigger with{at(0.95), 1};
    CHECK(with.delay(fixed(10ms), kStart) == 10ms);
  }

  TEST_CASE("hedges of one round are due one after the other, not all at once") {
    CHECK(hedge_due(kStart, 50ms, 1) == kStart + 50ms);
    CHECK(hedge_due(kStart, 50ms, 2) == kStart + 100ms);
    CHECK(hedge_due(kStart, 50ms, 3) == kStart + 150ms);
    CHECK(hedge_due(kStart, kForever, 1) == kNever);
    CHECK(hedge_due(kStart, kForever, 3) == kNever);
  }

  TEST_CASE("only the methods that are listed are hedged, as they are spelled") {
    const HedgeConfig config;
    for (const char* method : {"GET", "HEAD", "OPTIONS"}) CHECK(hedges_method(config, method));
    for (const char* method : {"POST", "PUT", "DELETE", "PATCH", "get", "", "GETX"}) {
      CHECK_FALSE(hedges_method(config, method));
    }
    HedgeConfig other;
    other.methods = {"PUT"};
    CHECK(hedges_method(other, "PUT"));
    CHECK_FALSE(hedges_method(other, "GET"));
  }

  TEST_CASE("steady latency hedges nobody: rounding is up") {
    Traffic traffic;
    traffic.primary = [](Rng&, TimePoint) { return Nanos{10ms}; };
    CHECK(traffic.run().hedged == 0);
    for (const double sigma : {0.005, 0.02}) {
      traffic.primary = lognormal(10ms, sigma);
      CHECK(traffic.run().hedged < 0.05);
    }
  }

  TEST_CASE("p95 hedges about one request in twenty, whatever the distribution, and losers do not shift it") {
    struct Named {
      const char* name;
      Traffic::Latency latency;
    };
    for (const Named& each : {Named{"2 % slow", sometimes_slow(0.02)}, Named{"4.5 % slow", sometimes_slow(0.045)},
                              Named{"10 % slow", sometimes_slow(0.1)}, Named{"sigma 0.1", lognormal(10ms, 0.1)},
                              Named{"sigma 0.3", lognormal(10ms, 0.3)}, Named{"sigma 1", lognormal(10ms, 1)},
                              Named{"sigma 2", lognormal(10ms, 2)}}) {
      for (std::uint64_t seed = 1; seed <= 5; ++seed) {
        Traffic traffic;
        traffic.primary = each.latency;
        const double hedged = traffic.run(seed).hedged;
        CAPTURE(each.name);
        CAPTURE(seed);
        CAPTURE(hedged);
        CHECK(hedged > 0.025);
        CHECK(hedged < 0.055);
      }
    }
  }

  TEST_CASE("p99 and p90 hedge their own share") {
    Traffic traffic;
    traffic.primary = lognormal(10ms, 1);
    traffic.config = at(0.99);
    CHECK(traffic.run().hedged == doctest::Approx(0.01).epsilon(0.25));
    traffic.config = at(0.9);
    CHECK(traffic.run().hedged == doctest::Approx(0.1).epsilon(0.1));
  }

  TEST_CASE("2 % of answers twenty times slower: p99 falls to less than a fifth for less than 6 % more attempts") {
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
      Traffic traffic;
      traffic.primary = sometimes_slow(0.02);
      const Traffic::Seen hedged = traffic.run(seed);
      traffic.config = fixed(1h);
      const Traffic::Seen plain = traffic.run(seed);
      CAPTURE(seed);
      CHECK(plain.hedged == 0);
      CHECK(hedged.hedged < 0.06);
      CHECK(hedged.p99 * 5 < plain.p99);
    }
  }

  TEST_CASE("hedges that win every race against slow primaries do not pull the trigger down to their own delay") {
    // Half of the primaries meet a slow endpoint, every hedge the fast one; only hedges end those requests.
    Traffic traffic;
    traffic.config.delay = 20ms;
    traffic.primary = sometimes_slow(0.5);
    traffic.hedge = lognormal(10ms, 0.1);
    const Traffic::Seen seen = traffic.run();
    CHECK(seen.least_delay > 150ms);
    CHECK(seen.hedged < 0.055);
  }

  TEST_CASE("a trigger learns a new latency within seconds and then hedges its share again") {
    Traffic traffic;
    traffic.length = 90s;
    traffic.warm_up = 35s;
    traffic.primary = [](Rng& rng, TimePoint now) { return spread(rng, now < kStart + 30s ? 10ms : 30ms, 0.1); };
    const Traffic::Seen seen = traffic.run();
    CHECK(seen.least_delay > 30ms);
    CHECK(seen.most_delay < 40ms);
    CHECK(seen.hedged < 0.06);
    traffic.primary = [](Rng& rng, TimePoint now) { return spread(rng, now < kStart + 30s ? 30ms : 10ms, 0.1); };
    traffic.warm_up = 62s;
    CHECK(traffic.run().most_delay < 15ms);
  }

  TEST_CASE("an outage of silence does not end in a trigger that hedges everything") {
    Traffic traffic;
    traffic.timeout = 1s;
    traffic.warm_up = 12s;
    traffic.primary = [](Rng& rng, TimePoint now) {
      return now > kStart + 10s && now < kStart + 40s ? Nanos{1h} : spread(rng, 10ms, 0.1);
    };
    const Traffic::Seen seen = traffic.run();
    CHECK(seen.hedged < 0.06);
    CHECK(seen.p50 < 12ms);
  }

  TEST_CASE("asking and telling take no memory") {
    Asked asked{at(0.95)};
    const std::uint64_t before = test::allocations();
    for (TimePoint now = kStart; now < kStart + 10s; now += 10ms) {
      asked.trigger.record(0, 10ms, now);
      asked.trigger.record_at_least(1, 20ms, now);
      static_cast<void>(asked.delay(now));
      static_cast<void>(hedges_method(asked.config, "POST"));
    }
    CHECK(test::allocations() == before);
  }
}
