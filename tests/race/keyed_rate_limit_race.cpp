#include <array>
#include <atomic>
#include <string>

#include <doctest/doctest.h>

#include "proxy/base/rng.hpp"
#include "proxy/policy/keyed_rate_limit.hpp"
#include "tests/race/threads.hpp"

using namespace outrigger;
using namespace outrigger::policy;
using namespace outrigger::test;
using namespace std::chrono_literals;

namespace {

constexpr TimePoint kStart{1h};

RateLimitConfig of(double requests, std::uint32_t burst, std::uint32_t max_keys) {
  RateLimitConfig config;
  config.requests = requests;
  config.burst = burst;
  config.max_keys = max_keys;
  config.key = RateLimitConfig::Key::client_ip;
  return config;
}

}  // namespace

TEST_SUITE("race") {
  TEST_CASE("every key gives every permit of its burst once") {
    constexpr std::size_t kKeys = 50;
    const RateLimitConfig config = of(1, 100, 2000);
    KeyedRateLimit limit{config, 1};
    std::array<std::atomic<int>, kKeys> used{};
    race([&](std::uint32_t thread) {
      Rng rng{thread};
      for (int i = 0; i < 20'000; ++i) {
        const std::size_t key = rng.below(kKeys);
        RateLimitAnswer answer = limit.admit(config, "client " + std::to_string(key), 0ns, kStart);
        if (!answer.verdict.admitted()) continue;
        if (rng.below(4) == 0) {
          answer.place.cancel(kStart);
        } else {
          used[key].fetch_add(1);
        }
      }
    });
    for (const auto& count : used) CHECK(count.load() == 100);
    CHECK(limit.keys() == kKeys);
  }

  TEST_CASE("a small table under many keys and reloads stays bounded, and its places find their way back") {
    const RateLimitConfig config = of(1, 3, 64);
    KeyedRateLimit limit{config, 1};
    std::atomic<std::uint64_t> used{0};
    race([&](std::uint32_t thread) {
      Rng rng{thread};
      RateLimitConfig mine = config;
      for (int i = 0; i < 10'000; ++i) {
        if (i % 100 == 0) mine.requests = 1 + static_cast<double>(rng.below(3));
        RateLimitAnswer answer = limit.admit(mine, std::to_string(rng.below(200)), 1s, kStart);
        if (rng.below(2) == 0) {
          answer.place.cancel(kStart);
        } else if (answer.verdict.admitted()) {
          used.fetch_add(1);
        }
        if (i % 64 == 0) static_cast<void>(limit.view(mine, "1", kStart));
      }
    });
    CHECK(limit.keys() == 64);
    CHECK(used.load() <= 3 * (limit.evictions() + 64));  // what that many fresh buckets hold
  }

  TEST_CASE("a table whose size is changed under traffic stays bounded, and no key has more than its burst") {
    const RateLimitConfig config = of(1, 3, 3000);
    KeyedRateLimit limit{config, 1};
    race([&](std::uint32_t thread) {
      Rng rng{thread};
      RateLimitConfig mine = config;
      for (int i = 0; i < 4000; ++i) {
        if (thread == 0 && i % 20 == 0) {
          mine.max_keys = std::array{3000u, 2u, 1500u, 1u}[rng.below(4)];
          limit.reload(mine, kStart);
          CHECK(limit.max_keys() == mine.max_keys);
        }
        RateLimitAnswer answer = limit.admit(config, std::to_string(rng.below(4000)), 1s, kStart);
        if (rng.below(2) == 0) answer.place.cancel(kStart);
        if (i % 64 == 0) static_cast<void>(limit.view(config, "1", kStart));
      }
    });
    RateLimitConfig last = config;
    last.max_keys = 100;
    limit.reload(last, kStart);
    CHECK(limit.keys() <= 100);
    for (int key = 0; key < 4000; ++key) {
      int taken = 0;
      while (taken < 10 && limit.admit(last, std::to_string(key), 0ns, kStart).verdict.admitted()) ++taken;
      REQUIRE(taken <= 3);
    }
    CHECK(limit.keys() == 100);
  }

  TEST_CASE("every key that came is in the table or counted as forgotten, over all shards") {
    constexpr std::uint32_t kEach = 3000;
    RateLimitConfig config;
    config.key = RateLimitConfig::Key::header;
    config.max_keys = 2048;
    KeyedRateLimit limit{config, 1};
    race([&](std::uint32_t thread) {
      for (std::uint32_t i = 0; i < kEach; ++i) {
        static_cast<void>(limit.admit(config, std::to_string(thread * kEach + i), 0ns, TimePoint{1h}));
      }
    });
    CHECK(limit.keys() <= config.max_keys);
    CHECK(limit.keys() + limit.evictions() == kEach * kThreads);
  }
}
