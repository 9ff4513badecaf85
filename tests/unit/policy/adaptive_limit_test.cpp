#include "proxy/policy/adaptive_limit.hpp"

#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "tests/unit/policy/limited_upstream.hpp"

using namespace outrigger;
using namespace outrigger::policy;
using namespace outrigger::test;
using namespace std::chrono_literals;

namespace {

constexpr TimePoint kStart{1h};
using Algorithm = AdaptiveLimitConfig::Algorithm;

struct Woken final : Wakeups {
  void wake(const Ticket& ticket) noexcept override { slots.push_back(ticket.slot); }
  std::vector<std::uint32_t> slots;
};

AdaptiveLimitConfig starting_at(std::uint32_t initial) {
  AdaptiveLimitConfig config;
  config.initial = initial;
  return config;
}

/// A limit and what holds its places.
struct Asked {
  explicit Asked(const AdaptiveLimitConfig& given, std::uint32_t workers = 1)
      : config(given), limit(given, wakeups, workers) {}

  GateAnswer take(Priority priority = Priority::standard, GateWaiter* may_wait = nullptr) {
    GateAdmission admission = limit.admit(config, priority, may_wait);
    if (admission.permit) permits.push_back(std::move(admission.permit));
    return admission.answer;
  }
  int take_all(Priority priority = Priority::standard) {
    int taken = 0;
    while (take(priority) == GateAnswer::admitted) ++taken;
    return taken;
  }
  void report(LimitSample sample, Nanos latency, int count = 1, std::uint32_t worker = 0) {
    for (int i = 0; i < count; ++i) limit.on_result(config, worker, sample, latency, now, rng);
  }
  /// `count` windows of twenty good answers each.
  void windows(Nanos latency, int count) {
    for (int i = 0; i < count; ++i) {
      report(LimitSample::good, latency, 19);
      now += 100ms;
      report(LimitSample::good, latency);
    }
  }

  AdaptiveLimitConfig config;
  Woken wakeups;
  AdaptiveLimit limit;
  Rng rng{3};
  TimePoint now = kStart;
  std::vector<GatePermit> permits;
};

}  // namespace

TEST_SUITE("policy") {
  TEST_CASE("an adaptive limit begins with its initial limit and admits so many at once") {
    Asked asked{starting_at(20)};
    CHECK(asked.limit.limit() == 20);
    CHECK(asked.limit.baseline() == 0ns);
    CHECK(asked.take_all() == 20);
    CHECK(asked.limit.peek(asked.config, Priority::critical) == GateAnswer::full);
    asked.permits.pop_back();
    CHECK(asked.take_all() == 1);
    asked.permits.clear();
    CHECK(asked.limit.in_flight() == 0);
  }

  TEST_CASE("an initial limit outside the bounds begins at the nearer one") {
    AdaptiveLimitConfig config = starting_at(20);
    config.max = 10;
    CHECK(Asked{config}.limit.limit() == 10);
  }

  TEST_CASE("priorities are shares of the current limit, as it moves") {
    AdaptiveLimitConfig config = starting_at(10);
    config.priorities = {{0.5, 0.8, 1}};
    Asked asked{config};
    CHECK(asked.take_all(Priority::low) == 5);
    CHECK(asked.take_all(Priority::standard) == 3);
    CHECK(asked.take_all(Priority::critical) == 2);
    asked.windows(10ms, 12);
    CHECK(asked.limit.limit() == 20);
    asked.permits.clear();
    CHECK(asked.take_all(Priority::low) == 10);
    CHECK(asked.take_all(Priority::standard) == 6);
    CHECK(asked.take_all(Priority::critical) == 4);
  }

  TEST_CASE("a limit that grows admits those who wait, and hears of it at once") {
    AdaptiveLimitConfig config = starting_at(2);
    config.queue = 5;
    Asked asked{config};
    GateWaiter first{Ticket{.worker = 0, .slot = 1, .generation = 1}};
    GateWaiter second{Ticket{.worker = 0, .slot = 2, .generation = 1}};
    asked.take_all();
    CHECK(asked.take(Priority::standard, &first) == GateAnswer::waiting);
    CHECK(asked.take(Priority::critical, &second) == GateAnswer::waiting);
    CHECK(asked.limit.queued() == 2);
    CHECK(asked.limit.queued(Priority::critical) == 1);
    asked.windows(10ms, 3);
    CHECK(asked.limit.limit() == 3);
    CHECK(asked.wakeups.slots == std::vector<std::uint32_t>{2});
    const GatePermit permit = asked.limit.leave(second);
    CHECK(permit);
    CHECK_FALSE(asked.limit.leave(first));
  }

  TEST_CASE("without time to wait nobody waits for an adaptive limit") {
    AdaptiveLimitConfig config = starting_at(1);
    config.queue = 5;
    config.max_wait = 0ns;
    Asked asked{config};
    GateWaiter waiter;
    asked.take();
    CHECK(asked.take(Priority::standard, &waiter) == GateAnswer::full);
  }

  TEST_CASE("a window ends with the first result after its time, if it has ten") {
    Asked asked{starting_at(20)};
    asked.take_all();
    asked.windows(10ms, 2);
    asked.report(LimitSample::good, 10ms, 8);
    asked.now += 10s;
    asked.report(LimitSample::good, 10ms);
    CHECK(asked.limit.limit() == 20);
    asked.report(LimitSample::good, 10ms);
    CHECK(asked.limit.limit() == 21);
    asked.now += 99ms;
    asked.report(LimitSample::good, 10ms, 1000);
    CHECK(asked.limit.limit() == 21);
    asked.now += 1ms;
    asked.report(LimitSample::good, 10ms);
    CHECK(asked.limit.limit() == 22);
  }

  TEST_CASE("a window whose answers scatter goes on until its mean is known, ten times its length at most") {
    Asked asked{starting_at(20)};
    asked.windows(10ms, 3);
    const auto scattered = [&](int pairs) {
      for (int i = 0; i < pairs; ++i) {
        asked.report(LimitSample::good, 1ms);
        asked.report(LimitSample::good, 39ms);
      }
    };
    // Spread as wide as they are long: 25 of them make an error of a fifth.
    asked.now += 100ms;
    scattered(10);
    CHECK(asked.limit.baseline() == 10ms);
    asked.take_all();
    CHECK(asked.limit.limit() == 20);
    scattered(5);
    CHECK(asked.limit.limit() == 21);
    // One in twenty takes very long, and there are not many of them.
    asked.now += 100ms;
    asked.report(LimitSample::good, 1ms, 19);
    asked.report(LimitSample::good, 500ms);
    CHECK(asked.limit.limit() == 21);
    asked.now += 900ms;
    asked.report(LimitSample::good, 1ms);
    CHECK(asked.limit.limit() == 22);
  }

  TEST_CASE("neutral results end no window and teach nothing") {
    Asked asked{starting_at(20)};
    asked.take_all();
    asked.windows(10ms, 3);
    for (int i = 0; i < 1000; ++i) {
      asked.now += 100ms;
      asked.report(LimitSample::neutral, 1us);
    }
    CHECK(asked.limit.limit() == 21);
    CHECK(asked.limit.baseline() == 10ms);
  }

  TEST_CASE("one fast failure moves nothing, and many lower the limit without touching the baseline") {
    Asked asked{starting_at(20)};
    asked.windows(10ms, 3);
    asked.report(LimitSample::congestion, 50us);
    asked.windows(10ms, 1);
    CHECK(asked.limit.limit() == 20);
    CHECK(asked.limit.baseline() == 10ms);
    asked.report(LimitSample::congestion, 50us, 3);
    asked.windows(10ms, 1);
    CHECK(asked.limit.limit() == 16);
    CHECK(asked.limit.baseline() == 10ms);
  }

  TEST_CASE("a total stall, in which nothing ever succeeds, still lowers the limit") {
    for (const Algorithm algorithm : {Algorithm::aimd, Algorithm::gradient}) {
      AdaptiveLimitConfig config = starting_at(100);
      config.algorithm = algorithm;
      Asked asked{config};
      asked.take_all();
      for (int i = 0; i < 300; ++i) {
        asked.now += 1s;
        asked.report(LimitSample::congestion, 1s, 50);
      }
      CHECK(asked.limit.limit() == 1);
      CHECK(asked.limit.baseline() == 0ns);
    }
  }

  TEST_CASE("an outage over, the limit grows back from its least") {
    Asked asked{starting_at(50)};
    asked.windows(10ms, 3);
    for (int i = 0; i < 100; ++i) {
      asked.now += 100ms;
      asked.report(LimitSample::congestion, 0ns, 20);
    }
    CHECK(asked.limit.limit() == 1);
    for (int i = 0; i < 60; ++i) {
      asked.take_all();
      asked.windows(10ms, 1);
    }
    CHECK(asked.limit.limit() >= 50);
  }

  TEST_CASE("a thousand quiet answers do not raise the limit") {
    for (const Algorithm algorithm : {Algorithm::aimd, Algorithm::gradient}) {
      AdaptiveLimitConfig config = starting_at(20);
      config.algorithm = algorithm;
      Asked asked{config};
      for (int i = 0; i < 1000; ++i) {
        asked.take();
        asked.now += 100ms;
        asked.report(LimitSample::good, 10ms);
        asked.permits.clear();
        REQUIRE(asked.limit.limit() <= 20);
      }
      if (algorithm == Algorithm::aimd) CHECK(asked.limit.limit() == 20);
    }
  }

  TEST_CASE("an hour without results changes nothing, and what comes after counts as before") {
    Asked asked{starting_at(20)};
    asked.take_all();
    asked.windows(10ms, 5);
    CHECK(asked.limit.limit() == 23);
    asked.now += 1h;
    CHECK(asked.take() == GateAnswer::admitted);
    asked.report(LimitSample::good, 10ms, 10);
    CHECK(asked.limit.limit() == 24);
    CHECK(asked.limit.baseline() == 10ms);
  }

  TEST_CASE("a gradient's window is judged after its longest time even with few samples, but not with next to none") {
    AdaptiveLimitConfig config = starting_at(20);
    config.algorithm = Algorithm::gradient;
    Asked asked{config};
    asked.take_all();
    asked.report(LimitSample::good, 10ms, 49);
    asked.now += 29s;
    asked.permits.resize(10);
    CHECK(asked.limit.limit() == 20);
    asked.report(LimitSample::good, 10ms, 1);
    CHECK(asked.limit.limit() == 21);
    asked.report(LimitSample::good, 10ms, 4);
    asked.now += 30s;
    CHECK(asked.limit.limit() == 21);
    asked.report(LimitSample::good, 10ms, 1);
    CHECK(asked.limit.limit() == 22);
    asked.now += 1h;
    asked.report(LimitSample::good, 10ms, 4);
    CHECK(asked.limit.limit() == 22);
  }

  TEST_CASE("results of several workers are one window") {
    Asked asked{starting_at(20), 4};
    asked.take_all();
    for (int window = 0; window < 3; ++window) {
      for (std::uint32_t worker = 0; worker < 4; ++worker)
        asked.report(LimitSample::good, (worker + 1) * 4ms, 5, worker);
      asked.now += 100ms;
      for (std::uint32_t worker = 0; worker < 4; ++worker) {
        asked.report(LimitSample::good, (worker + 1) * 4ms, 1, worker);
      }
    }
    CHECK(asked.limit.baseline() >= 9ms);
    CHECK(asked.limit.baseline() <= 11ms);
  }

  TEST_CASE("after a reload the same state goes on with other numbers") {
    Asked asked{starting_at(20)};
    asked.take_all();
    asked.windows(10ms, 3);
    asked.config.max = 10;
    asked.config.priorities = {{0.5, 1, 1}};
    asked.limit.reload(asked.config);
    CHECK(asked.limit.limit() == 10);
    asked.windows(10ms, 1);
    CHECK(asked.limit.limit() == 10);
    CHECK(asked.limit.baseline() == 10ms);
    CHECK(asked.take() == GateAnswer::full);
    asked.permits.clear();
    CHECK(asked.take_all(Priority::low) == 5);
    CHECK(asked.take_all(Priority::standard) == 5);
  }

  TEST_CASE("a reload raises the limit to its new least at once, and results of older requests do not lower it again") {
    AdaptiveLimitConfig config = starting_at(1);
    config.max = 1;
    config.queue = 1;
    Asked asked{config};
    REQUIRE(asked.take() == GateAnswer::admitted);
    GateWaiter waiter{Ticket{.worker = 0, .slot = 7, .generation = 1}};
    REQUIRE(asked.take(Priority::standard, &waiter) == GateAnswer::waiting);
    AdaptiveLimitConfig wider = config;
    wider.min = 3;
    wider.max = 5;
    asked.limit.reload(wider);
    CHECK(asked.limit.limit() == 3);
    CHECK(asked.wakeups.slots == std::vector<std::uint32_t>{7});
    CHECK(asked.limit.leave(waiter));
    asked.windows(10ms, 3);
    CHECK(asked.limit.limit() >= 3);
  }

  TEST_CASE("a state may be kept unless the algorithm changes") {
    AdaptiveLimitConfig one;
    AdaptiveLimitConfig other;
    other.max = 7;
    other.aimd.tolerance = 2;
    CHECK(same_structure(one, other));
    other.algorithm = Algorithm::gradient;
    CHECK_FALSE(same_structure(one, other));
    one.algorithm = Algorithm::gradient;
    CHECK(same_structure(one, other));
    other.gradient.correlation_window = 10;
    CHECK(same_structure(one, other));
  }

  // ---- in a closed loop --------------------------------------------------------------------------------------------

  TEST_CASE("overloaded threefold the limit finds the capacity within 30 s and keeps to it for ten minutes") {
    for (const double sigma : {0.02, 0.3}) {
      LimitedUpstream upstream{starting_at(20), {.capacity = 50, .service = 20ms, .sigma = sigma, .load = 3}, 1};
      upstream.run(30s);
      const std::uint64_t before = upstream.served();
      const LimitedUpstream::Seen seen = upstream.run(600s);
      CAPTURE(sigma);
      CHECK(seen.seconds > 500);
      CHECK(seen.least >= 0.8);
      CHECK(seen.most <= 1.7);
      CHECK(static_cast<double>(upstream.served() - before) >= 0.97 * 600 * 50 / 0.02);
      CHECK(upstream.baseline_ratio() == doctest::Approx(1).epsilon(0.1));
    }
  }

  TEST_CASE("jitter does not shrink the limit below 80 % of the capacity, at whatever load") {
    for (const double sigma : {0.02, 0.3}) {
      for (const double load : {0.6, 1.0, 1.5}) {
        LimitedUpstream upstream{starting_at(40), {.capacity = 40, .service = 20ms, .sigma = sigma, .load = load}, 2};
        std::uint32_t least = 1000;
        upstream.run(180s, [&] {
          if (!upstream.limit().probing()) least = std::min(least, upstream.limit().limit());
        });
        CAPTURE(sigma);
        CAPTURE(load);
        CHECK(least >= 32);
      }
    }
  }

  TEST_CASE("few answers that scatter widely do not shrink a limit with room for all") {
    for (const double per_second : {20.0, 50.0, 200.0}) {
      LimitedUpstream upstream{
          starting_at(20), {.capacity = 1000, .service = 20ms, .sigma = 1, .load = per_second * 0.02 / 1000}, 9};
      std::uint32_t least = 1000;
      upstream.run(600s, [&] {
        if (!upstream.limit().probing()) least = std::min(least, upstream.limit().limit());
      });
      CAPTURE(per_second);
      CHECK(least >= 12);
    }
  }

  TEST_CASE("a standing queue does not become the baseline, not even if it was there first") {
    for (const double sigma : {0.02, 0.3}) {
      LimitedUpstream upstream{starting_at(200), {.capacity = 40, .service = 20ms, .sigma = sigma, .load = 3}, 3};
      upstream.run(60s);
      CAPTURE(sigma);
      CHECK(upstream.baseline_ratio() <= 1.2);
      CHECK(upstream.run(120s).most <= 1.7);
      CHECK(upstream.baseline_ratio() <= 1.2);
    }
  }

  TEST_CASE("a doubled service time is learnt within ten seconds, under overload and with room") {
    for (const double load : {0.8, 3.0}) {
      for (const double sigma : {0.02, 0.3}) {
        LimitedUpstream upstream{starting_at(40), {.capacity = 40, .service = 20ms, .sigma = sigma, .load = load}, 4};
        upstream.run(60s);
        upstream.shape().service = 40ms;
        upstream.shape().load = load * 2;  // the same arrivals
        upstream.run(10s);
        CAPTURE(load);
        CAPTURE(sigma);
        CHECK(upstream.baseline_ratio() >= 0.85);
        CHECK(upstream.baseline_ratio() <= 1.15);
        CHECK(upstream.run(60s).least >= 0.8);
      }
    }
  }

  TEST_CASE("a halved service time is learnt by the next probe") {
    LimitedUpstream upstream{starting_at(40), {.capacity = 40, .service = 40ms, .sigma = 0.3, .load = 3}, 5};
    upstream.run(60s);
    upstream.shape().service = 20ms;
    upstream.run(40s);
    CHECK(upstream.baseline_ratio() <= 1.35);
    upstream.run(40s);
    CHECK(upstream.baseline_ratio() <= 1.1);
    const LimitedUpstream::Seen seen = upstream.run(60s);
    CHECK(seen.least >= 0.8);
    CHECK(seen.most <= 1.7);
  }

  TEST_CASE("quick failures among the answers of a busy upstream do not move its baseline") {
    LimitedUpstream upstream{starting_at(20), {.capacity = 50, .service = 20ms, .sigma = 0.3, .load = 3}, 6};
    const LimitedUpstream::Seen seen = upstream.run(120s, [&] { upstream.report(LimitSample::congestion, 50us); });
    CHECK(seen.most <= 1.7);
    CHECK(upstream.baseline_ratio() == doctest::Approx(1).epsilon(0.1));
    CHECK(upstream.run(60s).least >= 0.8);
  }

  TEST_CASE("a limit that is hardly used stays where it is for an hour") {
    LimitedUpstream upstream{starting_at(40), {.capacity = 40, .service = 20ms, .sigma = 0.3, .load = 0.05}, 7};
    upstream.run(1h);
    CHECK(upstream.limit().limit() >= 38);
    CHECK(upstream.limit().limit() <= 40);
  }

  TEST_CASE("a gradient limit in threefold overload neither runs away nor starves the upstream") {
    for (const double sigma : {0.02, 0.3}) {
      AdaptiveLimitConfig config = starting_at(20);
      config.algorithm = Algorithm::gradient;
      LimitedUpstream upstream{config, {.capacity = 50, .service = 20ms, .sigma = sigma, .load = 3}, 8};
      upstream.run(120s);
      const std::uint64_t before = upstream.served();
      CAPTURE(sigma);
      CHECK(upstream.run(300s).most <= 2);
      CHECK(static_cast<double>(upstream.served() - before) >= 0.7 * 300 * 50 / 0.02);
    }
  }
}
