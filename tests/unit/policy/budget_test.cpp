#include "proxy/policy/budget.hpp"

#include <algorithm>
#include <deque>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "proxy/base/rng.hpp"

using namespace outrigger;
using namespace outrigger::policy;
using namespace std::chrono_literals;

namespace {

constexpr TimePoint kStart{1h};

/// A budget state and the configuration it is asked with, which a test may change as a reload does.
struct Asked {
  explicit Asked(const BudgetConfig& given, std::uint32_t workers = 1) : config(given), budget(given, workers) {}

  bool take(TimePoint now, double cost = 1) {
    BudgetPermit permit = budget.admit(config, cost, now);
    if (!permit) return false;
    permits.push_back(std::move(permit));
    return true;
  }
  int take_all(TimePoint now, double cost = 1) {
    int taken = 0;
    while (taken < 10'000 && take(now, cost)) ++taken;
    return taken;
  }
  bool peek(TimePoint now, double cost = 1) const { return budget.peek(config, cost, now); }
  double available(TimePoint now) const { return budget.available(config, now); }
  void request(TimePoint now, int count = 1, std::uint32_t worker = 0) {
    for (int i = 0; i < count; ++i) budget.enter_loop(worker, now);
  }
  void earn(int count) {
    for (int i = 0; i < count; ++i) budget.earn(config);
  }

  BudgetConfig config;
  Budget budget;
  std::vector<BudgetPermit> permits;
};

BudgetConfig window(double max_rate, double min_per_second, Nanos length = 10s) {
  BudgetConfig config;
  config.max_rate = max_rate;
  config.min_per_second = min_per_second;
  config.window = length;
  return config;
}

BudgetConfig ratio(double max_rate, std::uint32_t min_concurrency) {
  BudgetConfig config;
  config.type = BudgetType::ratio;
  config.max_rate = max_rate;
  config.min_concurrency = min_concurrency;
  return config;
}

BudgetConfig tokens(double capacity, double refill_per_second) {
  BudgetConfig config;
  config.type = BudgetType::token_bucket;
  config.capacity = capacity;
  config.refill_per_second = refill_per_second;
  return config;
}

BudgetConfig credit(double capacity, double retry_cost, double success_credit, double min_per_second = 0) {
  BudgetConfig config;
  config.type = BudgetType::success_credit;
  config.capacity = capacity;
  config.retry_cost = retry_cost;
  config.success_credit = success_credit;
  config.min_per_second = min_per_second;
  return config;
}

}  // namespace

TEST_SUITE("policy") {
  TEST_CASE("a permit is counted until it goes, once, wherever it is moved") {
    Asked asked{BudgetConfig{.type = BudgetType::unlimited}};
    {
      BudgetPermit permit = asked.budget.admit(asked.config, 1, kStart);
      CHECK(permit);
      BudgetPermit moved = std::move(permit);
      CHECK_FALSE(permit);
      CHECK(asked.budget.extras_in_flight() == 1);
      moved = asked.budget.admit(asked.config, 1, kStart);
      CHECK(asked.budget.extras_in_flight() == 1);
      moved = {};
      moved = {};
      CHECK(asked.budget.extras_in_flight() == 0);
      moved = asked.budget.admit(asked.config, 1, kStart);
    }
    CHECK(asked.budget.extras_in_flight() == 0);
    CHECK_FALSE(BudgetPermit{});
  }

  TEST_CASE("hedges are extra attempts like retries, and can be told from them") {
    for (const BudgetType type : {BudgetType::ratio, BudgetType::window, BudgetType::token_bucket,
                                  BudgetType::success_credit, BudgetType::unlimited}) {
      CAPTURE(static_cast<int>(type));
      Asked asked{BudgetConfig{.type = type}};
      const BudgetPermit retry = asked.budget.admit(asked.config, 1, kStart);
      {
        const BudgetPermit hedge = asked.budget.admit(asked.config, 1, kStart, Extra::hedge);
        REQUIRE(hedge);
        CHECK(asked.budget.extras_in_flight() == 2);
        CHECK(asked.budget.hedges_in_flight() == 1);
      }
      CHECK(asked.budget.extras_in_flight() == 1);
      CHECK(asked.budget.hedges_in_flight() == 0);
    }
  }

  TEST_CASE("requests in their loop are summed over all workers") {
    Asked asked{ratio(0.2, 3), 3};
    asked.request(kStart, 2, 0);
    asked.request(kStart, 3, 2);
    CHECK(asked.budget.requests_in_flight() == 5);
    asked.budget.leave_loop(2);
    CHECK(asked.budget.requests_in_flight() == 4);
  }

  TEST_CASE("an unlimited budget admits everything and counts it") {
    Asked asked{BudgetConfig{.type = BudgetType::unlimited}};
    CHECK(asked.take_all(kStart) == 10'000);
    CHECK(asked.peek(kStart));
    CHECK(asked.budget.extras_in_flight() == 10'000);
  }

  // ---- window ---------------------------------------------------------------------------------

  TEST_CASE("a window admits its share of the requests in it, equality included") {
    Asked asked{window(0.2, 0)};
    asked.request(kStart, 9);
    CHECK(asked.take_all(kStart) == 1);
    asked.request(kStart);
    CHECK(asked.take_all(kStart) == 1);
    CHECK_FALSE(asked.peek(kStart));
    CHECK(asked.available(kStart) == 0);
  }

  TEST_CASE("equality admits for shares that have no exact binary form, too") {
    for (int percent = 1; percent <= 100; ++percent) {
      CAPTURE(percent);
      Asked by_window{window(percent / 100.0, 0)};
      by_window.request(kStart, 100);
      CHECK(by_window.available(kStart) == percent);
      CHECK(by_window.take_all(kStart) == percent);
      // Of 100 in flight so many are extras: one more is admitted, and then no more.
      if (percent == 100) continue;
      Asked by_ratio{ratio(1, 0)};
      by_ratio.request(kStart, 100 - percent);
      for (int i = 0; i < percent; ++i) REQUIRE(by_ratio.take(kStart));
      by_ratio.config.max_rate = percent / 100.0;
      CHECK(by_ratio.available(kStart) == 1);
      CHECK(by_ratio.take_all(kStart) == 1);
    }
  }

  TEST_CASE("a window's floor admits extras without any request") {
    Asked asked{window(0.2, 3)};
    CHECK(asked.available(kStart) == 30);
    CHECK(asked.take_all(kStart) == 30);
  }

  TEST_CASE("a fractional floor and a rate of nothing are exact") {
    CHECK(Asked{window(0, 0.25)}.take_all(kStart) == 2);
    CHECK(Asked{window(0, 0)}.take_all(kStart) == 0);
    Asked asked{window(0, 0)};
    asked.request(kStart, 1000);
    CHECK_FALSE(asked.take(kStart));
  }

  TEST_CASE("a denial takes nothing and a permit given back makes no room: attempts started are what counts") {
    Asked asked{window(0, 0.2)};
    CHECK(asked.take_all(kStart) == 2);
    asked.permits.clear();
    CHECK(asked.budget.extras_in_flight() == 0);
    CHECK_FALSE(asked.take(kStart + 9s));
  }

  TEST_CASE("extras leave the window after its length and not before") {
    Asked asked{window(0, 0.1)};
    CHECK(asked.take(kStart));
    CHECK_FALSE(asked.take(kStart + 10s - 1ns));
    CHECK_FALSE(asked.take(kStart + 10s));
    CHECK_FALSE(asked.take(kStart + 10s + Nanos{10s} / 64 - 1ns));
    // One slot of a 64th later at the latest.
    CHECK(asked.take(kStart + 10s + Nanos{10s} / 64));
  }

  TEST_CASE("requests are forgotten after a long idle time, and nothing old is ever counted again") {
    Asked asked{window(0.5, 0)};
    asked.request(kStart, 100);
    CHECK(asked.take_all(kStart) == 50);
    for (const Nanos idle : {Nanos{11s}, Nanos{1h}, Nanos{24h * 40}, Nanos{24h * 400}}) {
      CAPTURE(to_ms(idle));
      CHECK(asked.take_all(kStart + idle) == 0);
      asked.request(kStart + idle, 4);
      CHECK(asked.take_all(kStart + idle) == 2);
    }
  }

  TEST_CASE("another length of the window keeps what lies within it") {
    for (const Nanos length : {Nanos{9s}, Nanos{11s}, Nanos{1min}}) {
      Asked asked{window(0.5, 0), 2};
      asked.request(kStart, 60);
      asked.request(kStart + 5s, 40, 1);
      CHECK(asked.take_all(kStart + 5s) == 50);
      asked.request(kStart + 6s, 20);
      asked.config.window = length;
      asked.budget.reload(asked.config, kStart + 6s);
      CHECK(asked.take_all(kStart + 6s) == 10);
      CHECK(asked.available(kStart + 6s + length + length / 32) == 0);
      asked.request(kStart + 6s + length + length / 32, 2);
      CHECK(asked.take_all(kStart + 6s + length + length / 32) == 1);
    }
    Asked asked{window(0, 10, 1min)};
    CHECK(asked.take_all(kStart) == 600);
    asked.config.window = 10s;
    asked.budget.reload(asked.config, kStart + 20s);
    CHECK(asked.take_all(kStart + 20s) == 100);
  }

  TEST_CASE("steady traffic keeps a steady share") {
    Asked asked{window(0.2, 0)};
    int taken = 0;
    for (int i = 0; i < 10'000; ++i) {
      const TimePoint now = kStart + i * 10ms;
      asked.request(now);
      if (asked.take(now)) ++taken;
    }
    CHECK(taken == doctest::Approx(2000).epsilon(0.03));
  }

  TEST_CASE("the rule holds in every exact window, and the budget is at most a 64th too strict") {
    for (const Nanos length : {Nanos{1s}, Nanos{10s}}) {
      const BudgetConfig config = window(0.25, 2, length);
      Asked asked{config};
      Rng rng{17};
      std::deque<TimePoint> requests;
      std::deque<TimePoint> extras;
      TimePoint now = kStart;
      for (int i = 0; i < 20'000; ++i) {
        now += Nanos{static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(length.count() / 100)))};
        if (rng.below(3) != 0) {
          asked.request(now);
          requests.push_back(now);
        }
        const bool admitted = asked.take(now);
        if (admitted) extras.push_back(now);
        while (!requests.empty() && requests.front() <= now - length) requests.pop_front();
        while (!extras.empty() && extras.front() < now - length - length / 64) extras.pop_front();
        const auto since = [](const std::deque<TimePoint>& times, TimePoint from) {
          return static_cast<double>(times.end() - std::lower_bound(times.begin(), times.end(), from));
        };
        const double floor = 2 * static_cast<double>(length.count()) / 1e9;
        if (admitted) {
          REQUIRE(since(extras, now - length) <= 0.25 * static_cast<double>(requests.size()) + floor);
        } else {
          const double fewer = since(requests, now - length + length / 64);
          REQUIRE(static_cast<double>(extras.size()) + 1 > 0.25 * fewer + floor);
        }
      }
    }
  }

  TEST_CASE("after a reload a window's new numbers count against what was already spent") {
    Asked asked{window(0, 1)};
    CHECK(asked.take_all(kStart) == 10);
    asked.config.min_per_second = 2;
    CHECK(asked.take_all(kStart) == 10);
    asked.config.min_per_second = 0.5;
    CHECK(asked.take_all(kStart) == 0);
    CHECK(asked.take_all(kStart + 11s) == 5);
  }

  TEST_CASE("a state keeps the window it was made with") {
    Asked asked{window(0, 1, 10s)};
    asked.config.window = 100s;
    CHECK(asked.take_all(kStart) == 10);
  }

  TEST_CASE("a worker whose clock is a little behind sees what the others did in its future") {
    for (const Nanos behind : {Nanos{1ns}, Nanos{10ms}, Nanos{10s} / 64, Nanos{500ms}, Nanos{3s}}) {
      CAPTURE(to_ms(behind));
      Asked asked{window(0.2, 0.1), 2};
      asked.request(kStart, 50, 0);
      CHECK(asked.take_all(kStart) == 11);
      CHECK(asked.take_all(kStart - behind) == 0);
      CHECK_FALSE(asked.peek(kStart - behind));
      asked.request(kStart - behind, 5, 1);
      CHECK(asked.take_all(kStart - behind) == 1);
      CHECK(asked.take_all(kStart) == 0);
    }
  }

  // ---- ratio ----------------------------------------------------------------------------------

  TEST_CASE("a ratio denies at its floor when the share of extras in flight is above the rate") {
    // One request and one extra: half of what is in flight, and half is allowed.
    Asked half{ratio(0.5, 1)};
    half.request(kStart);
    CHECK(half.take(kStart));
    CHECK(half.take(kStart));
    CHECK_FALSE(half.take(kStart));
    half.permits.pop_back();
    CHECK(half.take(kStart));
    CHECK_FALSE(half.take(kStart));
  }

  TEST_CASE("a ratio's floor is free whatever the share") {
    Asked asked{ratio(0.5, 2)};
    CHECK(asked.take_all(kStart) == 2);
    CHECK(Asked{ratio(0, 3)}.take_all(kStart) == 3);
  }

  TEST_CASE("a ratio of a fifth caps the extras in flight at a fifth of all, and one") {
    for (const auto& [requests, most] :
         std::vector<std::pair<int, int>>{{0, 3}, {10, 3}, {20, 6}, {50, 13}, {100, 26}, {1000, 251}}) {
      CAPTURE(requests);
      Asked asked{ratio(0.2, 3)};
      asked.request(kStart, requests);
      CHECK(asked.available(kStart) == most);
      CHECK(asked.take_all(kStart) == most);
      CHECK(asked.available(kStart) == 0);
      CHECK_FALSE(asked.peek(kStart));
    }
  }

  TEST_CASE("a ratio knows no time: idling changes nothing, giving back does") {
    Asked asked{ratio(0.2, 3)};
    CHECK(asked.take_all(kStart) == 3);
    CHECK(asked.take_all(kStart + 24h) == 0);
    asked.permits.clear();
    CHECK(asked.take_all(kStart - 1s) == 3);
  }

  TEST_CASE("after a reload a ratio's permits in flight count against the new numbers") {
    Asked asked{ratio(0.2, 5)};
    CHECK(asked.take_all(kStart) == 5);
    asked.config.min_concurrency = 2;
    CHECK_FALSE(asked.take(kStart));
    asked.permits.resize(2);
    CHECK_FALSE(asked.take(kStart));
    asked.permits.resize(1);
    CHECK(asked.take_all(kStart) == 1);
    asked.config.max_rate = 1;
    CHECK(asked.peek(kStart));
  }

  // ---- token bucket ---------------------------------------------------------------------------

  TEST_CASE("a token bucket starts full, gives all or nothing, and is empty then") {
    Asked asked{tokens(1000, 0)};
    CHECK(asked.available(kStart) == 1000);
    CHECK(asked.take_all(kStart) == 1000);
    CHECK(asked.available(kStart) == 0);
    CHECK_FALSE(asked.take(kStart + 24h));
    Asked dear{tokens(10, 0)};
    CHECK(dear.take(kStart, 7));
    CHECK_FALSE(dear.take(kStart, 4));
    CHECK(dear.available(kStart) == 3);
    CHECK(dear.take(kStart, 3));
  }

  TEST_CASE("a bucket without capacity gives nothing, and one of a million gives a million") {
    CHECK_FALSE(Asked{tokens(0, 0)}.take(kStart));
    CHECK(Asked{tokens(1'000'000, 0)}.available(kStart) == 1'000'000);
    CHECK(Asked{tokens(1'000'000, 0)}.take(kStart, 1'000'000));
  }

  TEST_CASE("tokens come back with time and no more than fit") {
    Asked asked{tokens(10, 5)};
    CHECK(asked.take_all(kStart) == 10);
    CHECK_FALSE(asked.peek(kStart + 199ms));
    CHECK(asked.peek(kStart + 200ms));
    CHECK(asked.take_all(kStart + 1s) == 5);
    CHECK(asked.take_all(kStart + 1h) == 10);
  }

  TEST_CASE("slow and odd refill rates are kept in the long run, however often the bucket is asked") {
    for (const double rate : {0.1, 1.0, 3.7, 43.75, 333.3, 950.0}) {
      CAPTURE(rate);
      Asked asked{tokens(5, rate)};
      CHECK(asked.take_all(kStart) == 5);
      std::int64_t taken = 0;
      const int steps = 200'000;
      for (int i = 1; i <= steps; ++i) taken += asked.take(kStart + i * 1ms) ? 1 : 0;
      CHECK(static_cast<double>(taken) <= rate * steps / 1000 + 1);
      CHECK(static_cast<double>(taken) >= 0.93 * rate * steps / 1000 - 1);
    }
  }

  TEST_CASE("a refill is never given twice to workers whose clocks differ") {
    Asked asked{tokens(10, 10), 2};
    CHECK(asked.take_all(kStart) == 10);
    CHECK(asked.take_all(kStart + 500ms) == 5);
    CHECK(asked.take_all(kStart + 100ms) == 0);
    CHECK(asked.take_all(kStart - 1h) == 0);
    CHECK(asked.take_all(kStart + 500ms) == 0);
    CHECK(asked.take_all(kStart + 600ms) == 1);
  }

  TEST_CASE("after a reload a bucket keeps its fill up to the new capacity") {
    Asked asked{tokens(100, 10)};
    CHECK(asked.take(kStart, 60));
    asked.config.capacity = 500;
    CHECK(asked.available(kStart) == 40);
    asked.config.capacity = 30;
    CHECK(asked.available(kStart) == 30);
    CHECK(asked.take_all(kStart) == 30);
    asked.config.refill_per_second = 20;
    CHECK(asked.take_all(kStart + 1s) == 20);
  }

  // ---- success credit -------------------------------------------------------------------------

  TEST_CASE("a credit bucket pays for extras and earns by successes only") {
    Asked asked{credit(10, 5, 2)};
    CHECK(asked.take(kStart));
    CHECK(asked.take(kStart));
    CHECK_FALSE(asked.take(kStart));
    asked.earn(2);
    CHECK_FALSE(asked.take(kStart + 24h));
    asked.earn(1);
    CHECK(asked.available(kStart) == 6);
    CHECK(asked.take(kStart));
    CHECK(asked.available(kStart) == 1);
  }

  TEST_CASE("from full, the default credit bucket pays for a hundred extras and then for one in five successes") {
    Asked asked{credit(500, 5, 1)};
    CHECK(asked.take_all(kStart) == 100);
    int taken = 0;
    for (int i = 0; i < 1000; ++i) {
      asked.earn(1);
      taken += asked.take(kStart) ? 1 : 0;
    }
    CHECK(taken == 200);
  }

  TEST_CASE("credit earned on a full bucket is lost, and time alone brings none") {
    Asked asked{credit(10, 5, 5)};
    asked.earn(100);
    CHECK(asked.available(kStart) == 10);
    CHECK(asked.take(kStart));
    asked.earn(1);
    CHECK(asked.available(kStart + 24h) == 10);
    CHECK(asked.take_all(kStart + 24h) == 2);
    CHECK_FALSE(asked.take(kStart + 48h));
  }

  TEST_CASE("a credit bucket's floor admits one extra per interval once it is empty") {
    Asked asked{credit(5, 5, 1, 2)};
    CHECK(asked.take(kStart));
    CHECK(asked.peek(kStart));
    CHECK(asked.take(kStart));
    CHECK_FALSE(asked.peek(kStart));
    CHECK_FALSE(asked.take(kStart + 499ms));
    CHECK(asked.take(kStart + 500ms));
    CHECK(asked.take_all(kStart + 24h) == 1);
  }

  TEST_CASE("a credit bucket's floor is not given twice to workers whose clocks differ") {
    Asked asked{credit(0, 1, 1, 2), 2};
    CHECK(asked.take(kStart));
    CHECK_FALSE(asked.take(kStart - 1ms));
    CHECK_FALSE(asked.take(kStart - 24h + 1ms));
    CHECK(asked.take(kStart + 500ms));
  }

  TEST_CASE("after a reload a credit bucket keeps its fill up to the new capacity") {
    Asked asked{credit(100, 5, 1)};
    CHECK(asked.take_all(kStart) == 20);
    asked.config.capacity = 500;
    CHECK_FALSE(asked.take(kStart));
    asked.earn(500);
    CHECK(asked.available(kStart) == 500);
    asked.config.capacity = 50;
    CHECK(asked.available(kStart) == 50);
    CHECK(asked.take_all(kStart) == 10);
    asked.config.success_credit = 5;
    asked.earn(1);
    CHECK(asked.take(kStart));
  }
}
