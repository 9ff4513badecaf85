#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "proxy/policy/budget.hpp"
#include "tests/race/crowd.hpp"
#include "tests/race/threads.hpp"

using namespace outrigger;
using namespace outrigger::policy;
using namespace outrigger::test;
using namespace std::chrono_literals;

namespace {

constexpr TimePoint kStart{1h};
constexpr int kRounds = 50'000;

BudgetConfig of(BudgetType type) {
  BudgetConfig config;
  config.type = type;
  return config;
}

}  // namespace

TEST_SUITE("race") {
  TEST_CASE("a token bucket gives every token once") {
    BudgetConfig config = of(BudgetType::token_bucket);
    config.capacity = 1'000'000;  // so many that the threads are sure to meet
    for (int round = 0; round < kRepeats; ++round) {
      Budget budget{config, kThreads};
      std::atomic<int> taken{0};
      race([&](std::uint32_t) {
        for (int i = 0; i < 600'000; ++i) {
          if (budget.admit(config, 1, kStart)) taken.fetch_add(1);
        }
      });
      CHECK(taken.load() == 1'000'000);
      CHECK(budget.extras_in_flight() == 0);
    }
  }

  TEST_CASE("a window whose length is changed under traffic forgets at most what is counted in that instant") {
    BudgetConfig config = of(BudgetType::window);
    config.max_rate = 0;
    config.min_per_second = 10;
    Budget budget{config, kThreads};
    std::atomic<int> taken{0};
    constexpr int kReloads = 200;
    race([&](std::uint32_t thread) {
      for (int i = 0; i < kRounds; ++i) {
        if (thread == 0 && i % (kRounds / kReloads) == 0) {
          BudgetConfig other = config;
          other.window = i / (kRounds / kReloads) % 2 == 0 ? 9s : 10s;
          budget.reload(other, kStart);
        }
        budget.enter_loop(thread, kStart);
        if (budget.admit(config, 1, kStart)) taken.fetch_add(1);
        budget.leave_loop(thread);
      }
    });
    CHECK(taken.load() >= 90);
    CHECK(taken.load() <= 100 + static_cast<int>(kThreads) * (kReloads + 1));
    CHECK(budget.extras_in_flight() == 0);
    CHECK(budget.requests_in_flight() == 0);
    CHECK(budget.available(config, kStart + 1min) == budget.available(config, kStart + 2min));
  }

  TEST_CASE("a token bucket that is refilled gives no more than capacity and time, whatever each clock says") {
    BudgetConfig config = of(BudgetType::token_bucket);
    config.capacity = 10;
    config.refill_per_second = 1000;
    Budget budget{config, kThreads};
    std::atomic<int> taken{0};
    race([&](std::uint32_t thread) {
      for (int i = 0; i < 1'000'000 * kRepeats; ++i) {
        // Each clock is late by its own amount; together they see 1002 milliseconds begin.
        const TimePoint now = kStart + i * (1000ns / kRepeats) - thread * 700us;
        if (budget.admit(config, 1, now)) taken.fetch_add(1);
      }
    });
    CHECK(taken.load() <= 10 + 1002);
    CHECK(taken.load() >= 900);
  }

  TEST_CASE("credit is neither lost nor made: what was earned and had is what was spent and is left") {
    for (const double level :
         {2'000'000.0, 0.0}) {  // so much that all can be spent, and what is earned is spent at once
      BudgetConfig config = of(BudgetType::success_credit);
      config.capacity = 4'000'000;  // never full again, so that no credit is lost at the brim
      config.min_per_second = 0;
      Budget budget{config, kThreads};
      while (budget.available(config, kStart) > level) static_cast<void>(budget.admit(config, 1, kStart));
      const double before = budget.available(config, kStart);
      std::atomic<int> taken{0};
      race([&](std::uint32_t) {
        for (int i = 0; i < 10 * kRounds; ++i) {
          budget.earn(config);
          if (i % 3 == 0 && budget.admit(config, 1, kStart)) taken.fetch_add(1);
        }
      });
      CHECK(budget.available(config, kStart) == before + 10 * kThreads * kRounds - 5 * taken);
    }
  }

  TEST_CASE("credit earned at the brim by all at once is lost, not kept above it") {
    BudgetConfig config = of(BudgetType::success_credit);
    config.capacity = 5;
    config.min_per_second = 0;
    BudgetConfig larger = config;  // one that shows what is above the brim of the other
    larger.capacity = 1000;
    Budget budget{config, kThreads};
    std::atomic<int> too_much{0};
    race([&](std::uint32_t) {
      for (int i = 0; i < 8 * kRepeats * kRounds; ++i) {
        if (i % 6 == 0) static_cast<void>(budget.admit(config, 1, kStart));
        budget.earn(config);
        if (budget.available(larger, kStart) > 5) too_much.fetch_add(1);
      }
    });
    CHECK(too_much == 0);
  }

  TEST_CASE("an empty credit bucket's floor is given once per interval") {
    BudgetConfig config = of(BudgetType::success_credit);
    config.capacity = 0;
    config.min_per_second = 50'000;
    Budget budget{config, kThreads};
    std::atomic<int> taken{0};
    // Who is ahead finds the next interval begun, and the others catch up with him: they meet at every one.
    race([&](std::uint32_t) {
      for (int i = 0; i < 5 * kRepeats * kRounds; ++i) {
        if (budget.admit(config, 1, kStart + i * 20us)) taken.fetch_add(1);
      }
    });
    CHECK(taken.load() == 5 * kRepeats * kRounds);
  }

  TEST_CASE("a ratio never has more extras in flight than its requests allow") {
    BudgetConfig config = of(BudgetType::ratio);
    config.max_rate = 0.2;
    config.min_concurrency = 3;
    Budget budget{config, kThreads};
    for (int i = 0; i < 25; ++i) {
      for (std::uint32_t worker = 0; worker < kThreads; ++worker) budget.enter_loop(worker, kStart);
    }
    Crowd crowd;
    race([&](std::uint32_t) {
      std::vector<BudgetPermit> held;
      for (int i = 0; i < 4 * kRepeats * kRounds; ++i) {
        if (BudgetPermit permit = budget.admit(config, 1, kStart)) {
          crowd.enter();
          held.push_back(std::move(permit));
        }
        if (held.size() > 9 || (!held.empty() && i % 3 == 0)) {
          crowd.leave();
          held.pop_back();
        }
      }
      for (std::size_t i = 0; i < held.size(); ++i) crowd.leave();
    });
    CHECK(crowd.most <= 26);  // of 100 requests: 25 of 125, and one
    CHECK(budget.extras_in_flight() == 0);
    CHECK(budget.requests_in_flight() == 100);
  }

  TEST_CASE("a window admits at most one extra too many per thread that asks at the same time") {
    for (const double floor : {100.0, 3750.0 * kRepeats}) {
      BudgetConfig config = of(BudgetType::window);
      config.max_rate = 0;
      config.min_per_second = floor;
      Budget budget{config, kThreads};
      std::atomic<int> taken{0};
      race([&](std::uint32_t) {
        for (int i = 0; i < 11'250 * kRepeats; ++i) {
          if (budget.admit(config, 1, kStart)) taken.fetch_add(1);
        }
      });
      CHECK(taken.load() >= static_cast<int>(10 * floor));
      CHECK(taken.load() < static_cast<int>(10 * floor) + static_cast<int>(kThreads));
    }
  }

  TEST_CASE("requests of all workers are counted, each by its own worker, while others sum them up") {
    BudgetConfig config = of(BudgetType::window);
    config.max_rate = 0.5;
    config.min_per_second = 0;
    Budget budget{config, kThreads};
    std::atomic<int> taken{0};
    race([&](std::uint32_t thread) {
      for (int i = 0; i < 5000; ++i) {
        const TimePoint now = kStart + i * 1ms;
        budget.enter_loop(thread, now);
        if (budget.peek(config, 1, now) && budget.admit(config, 1, now)) taken.fetch_add(1);
        static_cast<void>(budget.available(config, now));
        budget.leave_loop(thread);
      }
    });
    CHECK(budget.requests_in_flight() == 0);
    CHECK(taken.load() <= 10'000 + static_cast<int>(kThreads));
    CHECK(taken.load() >= 9'900);
  }

  TEST_CASE("permits that go back on another thread than they came from are counted once") {
    const BudgetConfig config = of(BudgetType::unlimited);
    Budget budget{config, kThreads};
    std::vector<std::vector<BudgetPermit>> taken(kThreads);
    race([&](std::uint32_t thread) {
      for (int i = 0; i < 50'000; ++i) taken[thread].push_back(budget.admit(config, 1, kStart));
    });
    CHECK(budget.extras_in_flight() == 50'000 * static_cast<int>(kThreads));
    race([&](std::uint32_t thread) { taken[(thread + 1) % kThreads].clear(); });
    CHECK(budget.extras_in_flight() == 0);
  }
}
