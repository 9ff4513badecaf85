#include <atomic>
#include <thread>
#include <utility>

#include <doctest/doctest.h>

#include "proxy/base/rng.hpp"
#include "proxy/policy/adaptive_limit.hpp"
#include "proxy/policy/fine_histogram.hpp"
#include "tests/race/threads.hpp"

using namespace outrigger;
using namespace outrigger::policy;
using namespace outrigger::test;
using namespace std::chrono_literals;

namespace {

constexpr TimePoint kStart{1h};
constexpr int kRounds = 20'000;
using Algorithm = AdaptiveLimitConfig::Algorithm;

struct Unheard final : Wakeups {
  void wake(const Ticket&) noexcept override {}
};

}  // namespace

TEST_SUITE("race") {
  TEST_CASE("a mean taken while others count is the mean of whole samples") {
    AdaptiveLimitConfig config;
    Unheard wakeups;
    AdaptiveLimit limit{config, wakeups, kThreads};
    race([&](std::uint32_t thread) {
      Rng rng{thread};
      for (int i = 0; i < kRounds; ++i) {
        limit.on_result(config, thread, LimitSample::good, 10ms, kStart + i * 5ms, rng);
        // A sample whose count and sum were taken apart would show as another mean than that of all.
        if (const Nanos baseline = limit.baseline(); baseline != 0ns && baseline != 10ms) FAIL_CHECK(baseline.count());
      }
    });
    CHECK(limit.baseline() == 10ms);
  }

  TEST_CASE("admissions, results and decisions at once end with nothing held and the limit within its bounds") {
    for (const Algorithm algorithm : {Algorithm::aimd, Algorithm::gradient}) {
      AdaptiveLimitConfig config;
      config.algorithm = algorithm;
      config.initial = 3;
      config.min = 2;
      config.max = 6;
      config.queue = 3;
      config.priorities = {{0.5, 0.8, 1}};
      Unheard wakeups;
      AdaptiveLimit limit{config, wakeups, kThreads};
      std::atomic<int> granted{0};
      race([&](std::uint32_t thread) {
        Rng rng{thread};
        GateWaiter waiter{Ticket{.worker = thread, .slot = 0, .generation = 1}};
        for (int i = 0; i < kRounds; ++i) {
          const TimePoint now = kStart + i * 20ms;
          GateAdmission admission = limit.admit(config, static_cast<Priority>(rng.below(kPriorities)), &waiter);
          if (admission.answer == GateAnswer::waiting) {
            // Nobody leaves: one waiter who is forgotten when the limit moves would hang the test.
            while (waiter.state() == GateWaiter::State::waiting) std::this_thread::yield();
            admission.permit = limit.leave(waiter);
            if (admission.permit) granted.fetch_add(1);
          }
          if (!admission.permit) continue;
          const auto sample = rng.below(8) == 0 ? LimitSample::congestion : LimitSample::good;
          limit.on_result(config, thread, sample, Nanos{static_cast<std::int64_t>(rng.below(20'000'000))}, now, rng);
          if (rng.below(16) == 0) std::this_thread::yield();
          REQUIRE(limit.limit() <= 6);
          REQUIRE(limit.limit() >= 2);
        }
      });
      CHECK(limit.in_flight() == 0);
      CHECK(limit.queued() == 0);
    }
  }

  TEST_CASE("a histogram that is taken while others count gives each sample once") {
    FineHistogram histogram;
    std::atomic<std::uint64_t> taken{0};
    const auto take = [&] {
      FineHistogram::Counts counts{};
      histogram.take_into(counts);
      std::uint64_t sum = 0;
      for (const auto count : counts) sum += count;
      taken.fetch_add(sum);
    };
    race([&](std::uint32_t thread) {
      for (int i = 0; i < kRounds; ++i) {
        histogram.add(1ms);
        if (thread == 0) take();
      }
    });
    take();
    CHECK(taken.load() == std::uint64_t{kRounds} * kThreads);
  }
}
