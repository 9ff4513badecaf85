#include "proxy/policy/adaptive_throttle.hpp"

#include <array>

#include <doctest/doctest.h>

#include "tests/support/allocations.hpp"

using namespace outrigger;
using namespace outrigger::policy;
using namespace std::chrono_literals;

namespace {

constexpr TimePoint kStart{1h};

/// A throttle and the configuration it is asked with, which a test may change as a reload does.
struct Asked {
  explicit Asked(const AdaptiveThrottleConfig& given) : config(given), throttle(given) {}

  void settle(int successes, int failures, TimePoint now) {
    for (int i = 0; i < successes; ++i) throttle.settle(config, true, now);
    for (int i = 0; i < failures; ++i) throttle.settle(config, false, now);
  }
  bool admit(TimePoint now, Priority priority = Priority::standard) {
    const Verdict verdict = throttle.admit(config, priority, now, rng);
    CHECK((verdict.admitted() || verdict.refused == Reason::throttled));
    return verdict.admitted();
  }
  double refused_share(int requests, TimePoint now, Priority priority = Priority::standard) {
    int refused = 0;
    for (int i = 0; i < requests; ++i) refused += admit(now, priority) ? 0 : 1;
    return refused / static_cast<double>(requests);
  }
  double rejection(TimePoint now) const { return throttle.rejection(config, now); }

  AdaptiveThrottleConfig config;
  AdaptiveThrottle throttle;
  Rng rng{7};
};

/// The shares refused of low, standard and critical.
std::array<double, kPriorities> shares(double share, const std::array<std::uint64_t, kPriorities>& offered) {
  return {share_of(Priority::low, share, offered), share_of(Priority::standard, share, offered),
          share_of(Priority::critical, share, offered)};
}

}  // namespace

TEST_SUITE("policy") {
  // ---- the share --------------------------------------------------------------------------------

  TEST_CASE("a throttle's share is failsafe-go's formula") {
    const AdaptiveThrottleConfig config{.failure_rate = 0.1, .minimum_calls = 0, .max_rejection = 0.8};
    CHECK(rejection_share(config, 100, 95) == 0);
    CHECK(rejection_share(config, 100, 90) == doctest::Approx(0));
    CHECK(rejection_share(config, 120, 90) == doctest::Approx(20.0 / 121));
    CHECK(rejection_share(config, 200, 50) == doctest::Approx(0.7186).epsilon(0.0001));
    CHECK(rejection_share(config, 1000, 10) == 0.8);
    CHECK(rejection_share(config, 1, 0) == doctest::Approx(0.5));
    CHECK(rejection_share(config, 0, 0) == 0);
  }

  TEST_CASE("a throttle is silent below minimum_calls, and one failed first request refuses nothing by default") {
    Asked asked{{}};
    asked.settle(0, 1, kStart);
    CHECK(asked.rejection(kStart) == 0);
    asked.settle(0, 18, kStart);
    CHECK(asked.rejection(kStart) == 0);
    CHECK(asked.refused_share(100, kStart) == 0);
    asked.settle(0, 1, kStart);
    CHECK(asked.rejection(kStart) == 0.9);
  }

  TEST_CASE("failures at the rate are suffered, one more is answered") {
    Asked asked{{.failure_rate = 0.1}};
    asked.settle(90, 10, kStart);
    CHECK(asked.rejection(kStart) == doctest::Approx(0));
    asked.settle(0, 1, kStart);
    CHECK(asked.rejection(kStart) == doctest::Approx(1.0 / 102));
  }

  TEST_CASE("some requests always pass, even when all fail") {
    Asked asked{{}};
    asked.settle(0, 10'000, kStart);
    CHECK(asked.rejection(kStart) == 0.9);
    CHECK(asked.refused_share(100'000, kStart) == doctest::Approx(0.9).epsilon(0.01));
    asked.config.max_rejection = 1;
    CHECK(asked.refused_share(100'000, kStart) == doctest::Approx(0.9999).epsilon(0.001));
  }

  TEST_CASE("odd rates: a target of no success never refuses, one of no failure refuses by every failure") {
    Asked asked{{.failure_rate = 1}};
    asked.settle(0, 1000, kStart);
    CHECK(asked.rejection(kStart) == 0);
    asked.config.failure_rate = 0;
    asked.config.max_rejection = 1;
    CHECK(asked.rejection(kStart) == doctest::Approx(1000.0 / 1001));
    asked.config.max_rejection = 0;
    CHECK(asked.rejection(kStart) == 0);
    CHECK(asked.refused_share(1000, kStart) == 0);
  }

  TEST_CASE("what a throttle refuses is not counted as a call, so it settles instead of running away") {
    for (const auto& [failing, settles_at] : {std::pair{0.05, 0.0}, std::pair{0.2, 0.111}, std::pair{0.5, 0.444},
                                              std::pair{0.8, 0.778}, std::pair{1.0, 0.9}}) {
      CAPTURE(failing);
      Asked asked{{.window = 10s}};
      Rng upstream{3};
      int offered = 0;
      int refused = 0;
      for (TimePoint now = kStart; now < kStart + 100s; now += 1ms) {
        const bool admitted = asked.admit(now);
        if (admitted) asked.throttle.settle(asked.config, upstream.uniform() >= failing, now);
        if (now < kStart + 50s) continue;
        ++offered;
        refused += admitted ? 0 : 1;
      }
      CHECK(refused / static_cast<double>(offered) == doctest::Approx(settles_at).epsilon(0.02).scale(1));
    }
  }

  // ---- time -------------------------------------------------------------------------------------

  TEST_CASE("failures expire by time alone: after a pause nobody is judged by them") {
    Asked asked{{.window = 1min}};
    asked.settle(0, 1000, kStart);
    CHECK(asked.rejection(kStart + 54s) == 0.9);
    CHECK(asked.rejection(kStart + 60s) == 0);
    CHECK(asked.refused_share(1000, kStart + 61s) == 0);
    CHECK(asked.rejection(kStart + 24h * 365) == 0);
  }

  TEST_CASE("failures expire under steady traffic, too") {
    Asked asked{{.window = 10s}};
    for (TimePoint now = kStart; now < kStart + 30s; now += 10ms) asked.settle(0, 1, now);
    CHECK(asked.rejection(kStart + 30s) == 0.9);
    for (TimePoint now = kStart + 30s; now < kStart + 41s; now += 10ms) asked.settle(1, 0, now);
    CHECK(asked.rejection(kStart + 41s) == 0);
  }

  TEST_CASE("the share shown is the present one, not that of the last admission") {
    Asked asked{{.window = 10s}};
    CHECK(asked.admit(kStart));
    asked.settle(0, 100, kStart);
    CHECK(asked.rejection(kStart) == 0.9);
  }

  // ---- priorities -------------------------------------------------------------------------------

  TEST_CASE("the whole share is taken from the lowest that can bear it, and only the rest from the next") {
    using Shares = std::array<double, kPriorities>;
    CHECK(shares(0.05, {10, 60, 30}) == Shares{0.5, 0, 0});
    CHECK(shares(0.10, {10, 60, 30}) == Shares{1, 0, 0});
    CHECK(shares(0.40, {10, 60, 30}) == Shares{1, 0.5, 0});
    CHECK(shares(0.70, {10, 60, 30}) == Shares{1, 1, 0});
    CHECK(shares(0.85, {10, 60, 30})[2] == doctest::Approx(0.5));
    CHECK(shares(0.9, {10, 60, 30})[2] == doctest::Approx(2.0 / 3));
    CHECK(shares(0.5, {0, 100, 0})[1] == 0.5);
    CHECK(shares(0.5, {0, 0, 100})[2] == 0.5);
    CHECK(shares(0, {10, 60, 30}) == Shares{0, 0, 0});
  }

  TEST_CASE("for every mix the shares add up to the whole") {
    Rng rng{11};
    for (int i = 0; i < 10'000; ++i) {
      const std::array<std::uint64_t, kPriorities> offered{rng.below(100), rng.below(100), 1 + rng.below(100)};
      const double share = rng.uniform();
      const auto of = shares(share, offered);
      double refused = 0;
      double all = 0;
      for (std::size_t level = 0; level < kPriorities; ++level) {
        refused += of[level] * static_cast<double>(offered[level]);
        all += static_cast<double>(offered[level]);
        if (level > 0 && of[level] > 0 && offered[level - 1] > 0) CHECK(of[level - 1] == 1);
      }
      CHECK(refused / all == doctest::Approx(share));
    }
  }

  TEST_CASE("lowest first, and the refused share of all is what it is without priorities") {
    for (const bool priorities : {true, false}) {
      CAPTURE(priorities);
      Asked asked{{.priorities = priorities}};
      asked.settle(600, 400, kStart);
      const double share = asked.rejection(kStart);
      CHECK(share == doctest::Approx(0.333).epsilon(0.01));
      std::array<int, kPriorities> offered{};
      std::array<int, kPriorities> refused{};
      Rng mix{5};
      for (int i = 0; i < 100'000; ++i) {
        const std::uint64_t drawn = mix.below(10);
        const Priority priority = drawn < 1 ? Priority::low : drawn < 7 ? Priority::standard : Priority::critical;
        ++offered[index(priority)];
        refused[index(priority)] += asked.admit(kStart, priority) ? 0 : 1;
      }
      CHECK((refused[0] + refused[1] + refused[2]) / 1e5 == doctest::Approx(share).epsilon(0.02));
      const auto part = [&](std::size_t level) { return refused[level] / static_cast<double>(offered[level]); };
      if (priorities) {
        CHECK(part(0) > 0.99);
        CHECK(part(1) == doctest::Approx((share - 0.1) / 0.6).epsilon(0.03));
        CHECK(refused[2] <= 5);  // before the mix was known
      } else {
        for (std::size_t level = 0; level < kPriorities; ++level)
          CHECK(part(level) == doctest::Approx(share).epsilon(0.05));
      }
    }
  }

  TEST_CASE("where all requests have one priority they bear the share, and none escapes or is cut off by it") {
    for (const Priority only : {Priority::low, Priority::standard, Priority::critical}) {
      Asked asked{{}};
      asked.settle(500, 500, kStart);
      CHECK(asked.refused_share(50'000, kStart, only) == doctest::Approx(asked.rejection(kStart)).epsilon(0.02));
    }
  }

  TEST_CASE("the mix counts what is offered: a steady share does not compound") {
    Asked asked{{.window = 10s}};
    asked.settle(600, 400, kStart);
    double last = 0;
    for (int round = 0; round < 12; ++round) {
      last = asked.refused_share(5000, kStart + 100ms * round, Priority::standard);
      CHECK(last == doctest::Approx(asked.rejection(kStart)).epsilon(0.1));
    }
  }

  // ---- after a reload ---------------------------------------------------------------------------

  TEST_CASE("after a reload what was counted is judged by the new numbers") {
    Asked asked{{}};
    asked.settle(800, 200, kStart);
    CHECK(asked.rejection(kStart) == doctest::Approx(0.111).epsilon(0.01));
    asked.config.failure_rate = 0.2;
    CHECK(asked.rejection(kStart) == doctest::Approx(0));
    asked.config.failure_rate = 0.05;
    CHECK(asked.rejection(kStart) == doctest::Approx(0.158).epsilon(0.01));
    asked.config.max_rejection = 0.1;
    CHECK(asked.rejection(kStart) == 0.1);
    asked.config.minimum_calls = 1001;
    CHECK(asked.rejection(kStart) == 0);
  }

  TEST_CASE("another length of the window keeps what lies within it") {
    Asked asked{{}};
    asked.settle(800, 200, kStart);
    const double before = asked.rejection(kStart + 20s);
    REQUIRE(before > 0);
    asked.config.window = 59s;
    asked.throttle.reload(asked.config, kStart + 20s);
    CHECK(asked.rejection(kStart + 20s) == before);
    CHECK(asked.rejection(kStart + 60s) == 0);
    asked.config.window = 5s;
    asked.throttle.reload(asked.config, kStart + 30s);
    CHECK(asked.rejection(kStart + 30s) == 0);
  }

  TEST_CASE("decisions of a throttle do not allocate") {
    Asked asked{{}};
    const std::uint64_t before = test::allocations();
    for (int i = 0; i < 1000; ++i) {
      static_cast<void>(asked.throttle.admit(asked.config, Priority::low, kStart + i * 1ms, asked.rng));
      asked.throttle.settle(asked.config, i % 2 == 0, kStart + i * 1ms);
    }
    CHECK(test::allocations() == before);
  }
}
