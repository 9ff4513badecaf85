#include <atomic>

#include <doctest/doctest.h>

#include "proxy/policy/adaptive_throttle.hpp"
#include "tests/race/threads.hpp"

using namespace outrigger;
using namespace outrigger::policy;
using namespace outrigger::test;
using namespace std::chrono_literals;

namespace {

constexpr TimePoint kStart{1h};

}  // namespace

TEST_SUITE("race") {
  TEST_CASE("no settled request is lost: the share is that of all threads together") {
    const AdaptiveThrottleConfig config{.max_rejection = 1};
    AdaptiveThrottle throttle{config};
    race([&](std::uint32_t) {
      for (int i = 0; i < 10'000; ++i) throttle.settle(config, i % 2 == 0, kStart + i * 1us);
    });
    CHECK(throttle.rejection(config, kStart) == rejection_share(config, 40'000, 20'000));
  }

  TEST_CASE("threads that settle and ask at once refuse the share of all, lowest first") {
    const AdaptiveThrottleConfig config{};
    AdaptiveThrottle throttle{config};
    for (int i = 0; i < 1000; ++i) throttle.settle(config, i % 2 == 0, kStart);
    std::atomic<int> refused{0};
    std::atomic<int> critical_refused{0};
    race([&](std::uint32_t thread) {
      Rng rng{thread};
      for (int i = 0; i < 5000; ++i) {
        const Priority priority = i % 2 == 0 ? Priority::low : Priority::critical;
        if (throttle.admit(config, priority, kStart, rng).admitted()) {
          throttle.settle(config, i % 4 < 2, kStart);
        } else {
          refused.fetch_add(1);
          if (priority == Priority::critical) critical_refused.fetch_add(1);
        }
      }
    });
    CHECK(refused.load() / 20'000.0 == doctest::Approx(0.444).epsilon(0.05));
    CHECK(critical_refused.load() <= 20);
  }
}
