#include "proxy/policy/backoff.hpp"

#include <algorithm>

#include <doctest/doctest.h>

using namespace outrigger;
using namespace outrigger::policy;
using namespace std::chrono_literals;

namespace {

BackoffConfig backoff(Jitter jitter, Nanos initial = 100ms, Nanos max = 1s, double multiplier = 2) {
  return {.initial = initial, .max = max, .multiplier = multiplier, .jitter = jitter};
}

}  // namespace

TEST_SUITE("policy") {
  TEST_CASE("without jitter the delay doubles until the cap and stays there") {
    Rng rng{1};
    const BackoffConfig config = backoff(Jitter::none);
    CHECK(backoff_delay(config, 1, 0ms, rng) == 100ms);
    CHECK(backoff_delay(config, 2, 0ms, rng) == 200ms);
    CHECK(backoff_delay(config, 3, 0ms, rng) == 400ms);
    CHECK(backoff_delay(config, 4, 0ms, rng) == 800ms);
    CHECK(backoff_delay(config, 5, 0ms, rng) == 1s);
    CHECK(backoff_delay(config, 6, 0ms, rng) == 1s);
  }

  TEST_CASE("a multiplier of one never grows, and a huge retry number cannot overflow") {
    Rng rng{1};
    CHECK(backoff_delay(backoff(Jitter::none, 100ms, 1s, 1), 1'000'000'000, 0ms, rng) == 100ms);
    CHECK(backoff_delay(backoff(Jitter::none, 30s, 30s, 10), 4'000'000'000, 0ms, rng) == 30s);
    CHECK(backoff_delay(backoff(Jitter::none, 1ms, 30s, 10), 4'000'000'000, 0ms, rng) == 30s);
  }

  TEST_CASE("full jitter draws from nothing up to the delay, and equal jitter from its half") {
    Rng rng{5};
    Nanos least_full = 1h;
    Nanos most_full = 0ms;
    Nanos sum = 0ms;
    for (int i = 0; i < 10'000; ++i) {
      const Nanos full = backoff_delay(backoff(Jitter::full), 2, 0ms, rng);
      REQUIRE((full >= 0ms && full < 200ms));
      least_full = std::min(least_full, full);
      most_full = std::max(most_full, full);
      sum += full;
      const Nanos equal = backoff_delay(backoff(Jitter::equal), 2, 0ms, rng);
      REQUIRE((equal >= 100ms && equal < 200ms));
    }
    CHECK(least_full < 1ms);
    CHECK(most_full > 199ms);
    CHECK(to_ms(sum / 10'000) == doctest::Approx(100).epsilon(0.03));
  }

  TEST_CASE("decorrelated jitter wanders between the initial delay and three times the last one, within the cap") {
    Rng rng{5};
    const BackoffConfig config = backoff(Jitter::decorrelated, 50ms, 400ms);
    Nanos previous = 0ms;
    Nanos most = 0ms;
    for (std::uint32_t i = 1; i <= 10'000; ++i) {
      const Nanos delay = backoff_delay(config, i, previous, rng);
      REQUIRE(delay >= 50ms);
      REQUIRE(delay <= std::min<Nanos>(400ms, 3 * std::max<Nanos>(previous, 50ms)));
      previous = delay;
      most = std::max(most, delay);
    }
    CHECK(most > 350ms);
  }

  TEST_CASE("the same seed draws the same delays") {
    Rng a{9};
    Rng b{9};
    for (std::uint32_t i = 1; i < 20; ++i) {
      CHECK(backoff_delay(backoff(Jitter::full), i, 0ms, a) == backoff_delay(backoff(Jitter::full), i, 0ms, b));
    }
  }

  TEST_CASE("a Retry-After is never cut short and is spread by at most a tenth") {
    Rng rng{5};
    Nanos most = 0ms;
    for (int i = 0; i < 10'000; ++i) {
      const Nanos delay = lengthen_for_retry_after(25ms, 1s, rng);
      REQUIRE((delay >= 1s && delay <= 1100ms));
      most = std::max(most, delay);
    }
    CHECK(most > 1090ms);
    CHECK(lengthen_for_retry_after(25ms, 25ms, rng) == 25ms);
    CHECK(lengthen_for_retry_after(25ms, 0ms, rng) == 25ms);
    CHECK(lengthen_for_retry_after(0ms, 0ms, rng) == 0ms);
  }

  TEST_CASE("a Retry-After of ages does not overflow") {
    Rng rng{5};
    for (int i = 0; i < 100; ++i) REQUIRE(lengthen_for_retry_after(25ms, kForever, rng) == kForever);
    for (int i = 0; i < 100; ++i) REQUIRE(lengthen_for_retry_after(25ms, kForever - 1s, rng) >= kForever - 1s);
  }
}
