#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "proxy/base/rng.hpp"
#include "proxy/policy/rate_limit.hpp"
#include "tests/race/threads.hpp"

using namespace outrigger;
using namespace outrigger::policy;
using namespace outrigger::test;
using namespace std::chrono_literals;

namespace {

constexpr TimePoint kStart{1h};
constexpr int kRounds = 200'000;

RateLimitConfig of(double requests, std::uint32_t burst, Nanos max_wait = 0ns) {
  RateLimitConfig config;
  config.requests = requests;
  config.burst = burst;
  config.max_wait = max_wait;
  return config;
}

int take_all(RateLimit& limit, const RateLimitConfig& config, TimePoint now) {
  int taken = 0;
  while (limit.admit(config, 0ns, now).verdict.admitted()) ++taken;
  return taken;
}

}  // namespace

TEST_SUITE("race") {
  TEST_CASE("a rate limit gives every permit of its burst once") {
    const RateLimitConfig config = of(1, 500'000);
    RateLimit limit{config};
    std::atomic<int> taken{0};
    race([&](std::uint32_t) {
      for (int i = 0; i < 200'000; ++i) {
        if (limit.admit(config, 0ns, kStart).verdict.admitted()) taken.fetch_add(1);
      }
    });
    CHECK(taken.load() == 500'000);
  }

  TEST_CASE("under time that passes, all threads together get burst and rate, exactly, whatever each clock says") {
    const RateLimitConfig config = of(333, 10);
    RateLimit limit{config};
    std::atomic<int> taken{0};
    race([&](std::uint32_t thread) {
      for (int i = 0; i < kRounds; ++i) {
        if (limit.admit(config, 0ns, kStart + i * 5us - thread * 700us).verdict.admitted()) taken.fetch_add(1);
      }
    });
    const int left = take_all(limit, config, kStart + (kRounds - 1) * 5us);
    // 10 at once and 333.7 in the 1002.05 ms from the earliest clock to the last. A late clock finds the bucket emptier
    // than it is, never fuller; only while it is full can anything be lost, and that is at most what the first 2.1 ms
    // bring.
    CHECK(taken.load() + left <= 10 + 333);
    CHECK(taken.load() + left >= 10 + 331);
  }

  TEST_CASE("permits that are given back at the moment they were taken are neither lost nor doubled") {
    const RateLimitConfig config = of(1, 100);
    RateLimit limit{config};
    std::atomic<int> used{0};
    race([&](std::uint32_t thread) {
      Rng rng{thread};
      for (int i = 0; i < kRounds; ++i) {
        RateLimitAnswer answer = limit.admit(config, 0ns, kStart);
        if (!answer.verdict.admitted()) continue;
        if (rng.below(4000) == 0) {
          used.fetch_add(1);
        } else {
          answer.place.cancel(kStart);
        }
      }
    });
    CHECK(used.load() + take_all(limit, config, kStart) == 100);
  }

  TEST_CASE("waiters that come and leave on all threads neither lose nor double a place") {
    RateLimitConfig config = of(1000, 1, 40ms);
    config.shape = RateLimitConfig::Shape::smooth;
    RateLimit limit{config};
    CHECK(limit.admit(config, 0ns, kStart).verdict.admitted());
    std::vector<std::vector<TimePoint>> used(kThreads);
    race([&](std::uint32_t thread) {
      Rng rng{thread};
      std::vector<RateLimitAnswer> held;
      for (int i = 0; i < 25'000 * kRepeats; ++i) {
        RateLimitAnswer answer = limit.admit(config, kForever, kStart);
        if (answer.verdict.admitted()) held.push_back(std::move(answer));
        if (held.size() > 5 || (!held.empty() && rng.below(2) == 0)) {
          const std::size_t which = rng.below(held.size());
          held[which].place.cancel(kStart);
          held.erase(held.begin() + static_cast<std::ptrdiff_t>(which));
        }
      }
      for (const RateLimitAnswer& answer : held) used[thread].push_back(answer.at);
    });
    std::vector<TimePoint> all;
    for (const auto& part : used) all.insert(all.end(), part.begin(), part.end());
    while (true) {
      const RateLimitAnswer answer = limit.admit(config, kForever, kStart);
      if (!answer.verdict.admitted()) break;
      all.push_back(answer.at);
    }
    std::sort(all.begin(), all.end());
    // Every place up to the longest wait is somebody's, and nobody shares one.
    REQUIRE(all.size() == 40);
    for (std::size_t i = 0; i < all.size(); ++i) CHECK(all[i] == kStart + static_cast<std::int64_t>(i + 1) * 1ms);
  }

  TEST_CASE("reloads under fire neither make nor lose permits") {
    const RateLimitConfig config = of(1, 300'000);
    RateLimit limit{config};
    std::atomic<int> taken{0};
    race([&](std::uint32_t thread) {
      RateLimitConfig mine = config;
      for (int i = 0; i < 300'000; ++i) {
        if (thread == 0) {
          mine.requests = 1 << (i % 10);
          limit.reload(mine, kStart);
        } else {
          // Half of them still have an older configuration.
          mine.requests = thread == 1 ? 1 : 512;
        }
        if (i % 3 == 0 && limit.admit(mine, 0ns, kStart).verdict.admitted()) taken.fetch_add(1);
        static_cast<void>(limit.view(mine, kStart));
      }
    });
    CHECK(taken.load() + take_all(limit, config, kStart) == 300'000);
  }
}
