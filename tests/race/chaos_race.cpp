#include <atomic>

#include <doctest/doctest.h>

#include "proxy/policy/chaos.hpp"
#include "tests/race/threads.hpp"

using namespace outrigger;
using namespace outrigger::policy;
using namespace outrigger::test;
using namespace std::chrono_literals;

TEST_SUITE("race") {
  TEST_CASE("workers share one sequence: together they meet exactly the faults that one would have met alone") {
    constexpr std::uint64_t kRounds = 20'000;
    ChaosConfig config;
    config.seed = 7;
    config.delay = ChaosDelay{.probability = 0.3, .min = 1ms, .max = 9ms};
    config.abort = ChaosAbort{.probability = 0.1};

    Chaos state;
    std::atomic<std::uint64_t> aborts{0};
    std::atomic<std::int64_t> delayed_ns{0};
    race([&](std::uint32_t) {
      for (std::uint64_t i = 0; i < kRounds; ++i) {
        const ChaosRoll roll = state.roll(config, 0);
        aborts += roll.abort.has_value();
        delayed_ns += roll.delay.value_or(Nanos{0}).count();
      }
    });

    std::uint64_t aborts_alone = 0;
    std::int64_t delayed_alone_ns = 0;
    for (std::uint64_t n = 0; n < kThreads * kRounds; ++n) {
      const ChaosRoll roll = chaos_roll(config, n);
      aborts_alone += roll.abort.has_value();
      delayed_alone_ns += roll.delay.value_or(Nanos{0}).count();
    }
    CHECK(state.rolls() == kThreads * kRounds);
    CHECK(aborts == aborts_alone);
    CHECK(delayed_ns == delayed_alone_ns);
  }
}
