#include "proxy/policy/rate_limit.hpp"

#include <algorithm>
#include <cmath>
#include <deque>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "proxy/base/rng.hpp"
#include "tests/support/allocations.hpp"

using namespace outrigger;
using namespace outrigger::policy;
using namespace std::chrono_literals;

namespace {

constexpr TimePoint kStart{1h};

RateLimitConfig bursty(double requests, Nanos per, std::uint32_t burst, Nanos max_wait = 0ns) {
  RateLimitConfig config;
  config.requests = requests;
  config.per = per;
  config.burst = burst;
  config.max_wait = max_wait;
  return config;
}

RateLimitConfig smooth(double requests, Nanos per, Nanos max_wait = 0ns) {
  RateLimitConfig config = bursty(requests, per, 100, max_wait);
  config.shape = RateLimitConfig::Shape::smooth;
  return config;
}

/// A limit and the configuration it is asked with, which a test may change as a reload does.
struct Asked {
  explicit Asked(const RateLimitConfig& given) : config(given), limit(given) {}

  RateLimitAnswer ask(TimePoint now, Nanos longest_wait = kForever) { return limit.admit(config, longest_wait, now); }
  bool take(TimePoint now) {
    const RateLimitAnswer answer = ask(now);
    CHECK((!answer.verdict.admitted() || answer.at == now));
    return answer.verdict.admitted();
  }
  int take_all(TimePoint now) {
    int taken = 0;
    while (taken < 100'000 && ask(now, 0ns).verdict.admitted()) ++taken;
    return taken;
  }
  /// How long the next one has to wait, who then waits.
  Nanos wait(TimePoint now) {
    const RateLimitAnswer answer = ask(now);
    return answer.verdict.admitted() ? answer.at - now : -1ns;
  }
  Nanos refusal(TimePoint now, Nanos longest_wait = kForever) {
    const RateLimitAnswer answer = ask(now, longest_wait);
    CHECK(answer.verdict.refused == Reason::rate_limited);
    return answer.verdict.retry_after.value_or(-1ns);
  }
  RateLimitView view(TimePoint now) const { return limit.view(config, now); }

  RateLimitConfig config;
  RateLimit limit;
};

/// Whether the limit could have let all of these through one by one: no stretch of time holds more than
/// burst + time x rate.
bool conforms(std::vector<TimePoint> used, const RateLimitConfig& config) {
  std::sort(used.begin(), used.end());
  const double interval = static_cast<double>(config.per.count()) / config.requests;
  double paid_until = -1e18;
  for (const TimePoint at : used) {
    const auto now = static_cast<double>((at - kStart).count());
    paid_until = std::max(paid_until, now - interval * burst_of(config)) + interval;
    if (paid_until > now + 4) return false;
  }
  return true;
}

}  // namespace

TEST_SUITE("policy") {
  // ---- bursty ---------------------------------------------------------------------------------

  TEST_CASE("a rate limit admits its burst at once and then one per interval") {
    Asked asked{bursty(100, 1s, 5)};
    CHECK(asked.take_all(kStart) == 5);
    CHECK(asked.refusal(kStart) == 10ms);
    CHECK_FALSE(asked.take(kStart + 10ms - 1ns));
    CHECK(asked.take(kStart + 10ms));
    CHECK_FALSE(asked.take(kStart + 20ms - 1ns));
    CHECK(asked.take_all(kStart + 30ms) == 2);
  }

  TEST_CASE("a refusal says to the nanosecond when the next permit is there, and takes nothing") {
    for (const double rate : {0.5, 3.0, 7.0, 100.0, 333'333.0, 3e6}) {
      CAPTURE(rate);
      Asked asked{bursty(rate, 1s, 4)};
      CHECK(asked.take_all(kStart) == 4);
      for (int i = 0; i < 100; ++i) CHECK_FALSE(asked.take(kStart));
      const Nanos wait = asked.refusal(kStart);
      CHECK(wait.count() == static_cast<std::int64_t>(std::ceil(1e9 / rate - 0.125)));
      CHECK_FALSE(asked.take(kStart + wait - 1ns));
      CHECK(asked.take(kStart + wait));
      CHECK_FALSE(asked.take(kStart + wait));
    }
  }

  TEST_CASE("after the longest pause there is one burst and not more, as in a bucket that was never in debt") {
    Asked asked{bursty(100, 1s, 100, 5s)};
    for (int i = 0; i < 101; ++i) CHECK(asked.ask(kStart).verdict.admitted());
    asked.config.max_wait = 0ns;
    for (const Nanos pause : std::vector<Nanos>{1min, 1h, 24h, 24h * 365, 24h * 365 * 20}) {
      CHECK(asked.take_all(kStart + 1h + pause) == 100);
    }
  }

  TEST_CASE("around no edge in time do twice the requests pass") {
    Asked asked{bursty(100, 1s, 10)};
    std::vector<TimePoint> used;
    for (TimePoint now = kStart; now < kStart + 3s; now += 100us) {
      if (asked.take(now)) used.push_back(now);
    }
    CHECK(used.size() == 10 + 299);
    CHECK(conforms(used, asked.config));
    // A burst as large as the rate is chosen by whoever leaves `burst` out: then a bucket and what refills it pass.
    Asked whole{bursty(100, 1s, 100)};
    CHECK(whole.take_all(kStart + 990ms) == 100);
    CHECK(whole.take_all(kStart + 1010ms) == 2);
  }

  TEST_CASE("less than one request per second is served in its turn") {
    Asked asked{bursty(0.5, 1s, 1)};
    CHECK(asked.take(kStart));
    CHECK(asked.refusal(kStart) == 2s);
    CHECK_FALSE(asked.take(kStart + 2s - 1ns));
    CHECK(asked.take(kStart + 2s));
    CHECK(asked.refusal(kStart + 2s) == 2s);
  }

  TEST_CASE("one per ten milliseconds: now, not again, again after twenty") {
    Asked asked{bursty(1, 10ms, 1)};
    CHECK(asked.take(kStart));
    CHECK_FALSE(asked.take(kStart));
    CHECK(asked.take(kStart + 20ms));
  }

  TEST_CASE("the long-run rate is exact, whatever fraction of a nanosecond the interval is") {
    for (const double rate : {1.0 / 3, 3.0, 7.0, 17.0, 333.333, 99'991.0, 333'333.0, 2'999'999.0, 700'000'000.0}) {
      CAPTURE(rate);
      Asked asked{bursty(rate, 1s, 1)};
      const std::int64_t permits = 200'000;
      CHECK(asked.take(kStart));
      TimePoint now = kStart;
      for (std::int64_t i = 0; i < permits; ++i) {
        now += asked.refusal(now);
        REQUIRE(asked.take(now));
      }
      // Asked at the first nanosecond of each permit: up to one is lost to the clock's own steps, every time.
      const double ideal = static_cast<double>(permits) / rate * 1e9;
      CHECK(static_cast<double>((now - kStart).count()) >= ideal - 1);
      CHECK(static_cast<double>((now - kStart).count()) <= ideal + static_cast<double>(permits));
      Asked pressed{bursty(rate, 1s, 1'000'000)};
      CHECK(pressed.take_all(kStart) == 100'000);
      while (pressed.ask(kStart).verdict.admitted()) {
      }
      // In a large bucket nothing is lost: what came in an uneven time is the rate's share of it, to one permit.
      const Nanos odd{1'234'567'891};
      CHECK(pressed.view(kStart + odd).remaining ==
            static_cast<std::uint32_t>(std::min(1e6, std::floor(rate * 1.234567891))));
    }
  }

  TEST_CASE("no drift in months: the bucket's level follows the clock to one permit") {
    Asked asked{bursty(333'333, 1s, 1000)};
    TimePoint now = kStart;
    std::uint64_t taken = static_cast<std::uint64_t>(asked.take_all(now));
    Rng rng{1};
    for (int i = 0; i < 3000; ++i) {
      // Never long enough for a full bucket, so that every permit is counted.
      now += Nanos{static_cast<std::int64_t>(rng.below(2'900'000))};
      taken += static_cast<std::uint64_t>(asked.take_all(now));
    }
    const long double ideal = 1000 + static_cast<long double>((now - kStart).count()) * 333'333 / 1'000'000'000;
    CHECK(static_cast<long double>(taken) <= ideal + 1e-6L);
    CHECK(static_cast<long double>(taken) > ideal - 1);
  }

  TEST_CASE("decisions are those of a bucket counted in exact fractions, to a quarter of a nanosecond") {
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
      CAPTURE(seed);
      Rng rng{seed};
      const auto requests = static_cast<std::int64_t>(1 + rng.below(seed % 3 == 0 ? 400'000 : 1000));
      const std::int64_t per = std::vector<std::int64_t>{1'000'000, 777'777'777, 1'000'000'000, 60'000'000'000,
                                                         86'400'000'000'000}[rng.below(5)];
      const auto burst = static_cast<std::uint32_t>(1 + rng.below(20));
      Asked asked{bursty(static_cast<double>(requests), Nanos{per}, burst)};
      TimePoint now{Nanos{static_cast<std::int64_t>(rng.below(std::uint64_t{1} << 55))}};
      __int128 paid_until = 0;  // in units of which a nanosecond has `requests`
      for (int i = 0; i < 1000; ++i) {
        now += Nanos{static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(2 * per / requests + 1)))};
        const __int128 at = static_cast<__int128>(now.time_since_epoch().count()) * requests;
        const __int128 next = std::max(paid_until, at - static_cast<__int128>(per) * burst) + per;
        const bool admitted = asked.take(now);
        if (admitted != (next <= at)) REQUIRE((admitted && 4 * (next - at) <= requests));
        if (admitted) paid_until = next;
      }
    }
  }

  TEST_CASE("very low and very high rates neither overflow nor divide by nothing") {
    Asked yearly{bursty(1, 24h * 365, 1)};
    CHECK(yearly.take(kStart));
    CHECK(yearly.refusal(kStart) == 24h * 365);
    CHECK_FALSE(yearly.take(kStart + 24h * 365 - 1ns));
    CHECK(yearly.take(kStart + 24h * 365));

    Asked hoard{bursty(1000, 24h * 30, 4'000'000'000u)};
    CHECK(hoard.take_all(kStart) == 100'000);
    CHECK(hoard.view(kStart).remaining == 3'999'900'000u);

    Asked fastest{bursty(1e12, 1s, 1)};
    CHECK(fastest.take(kStart));
    CHECK_FALSE(fastest.take(kStart));
    CHECK(fastest.take(kStart + 1ns));

    for (const RateLimitConfig& odd : {bursty(0, 1s, 1), bursty(-1, 1s, 1), bursty(std::nan(""), 1s, 1),
                                       bursty(1, 0s, 1), bursty(1e300, 1s, 1), bursty(1e-300, 1s, 1)}) {
      Asked asked{odd};
      CHECK(asked.take(kStart));
      CHECK_FALSE(asked.take(kStart));
    }
    Asked burstless{bursty(10, 1s, 0)};
    CHECK(burstless.take_all(kStart) == 1);
  }

  TEST_CASE("a clock that lags behind another worker's is given nothing twice") {
    Asked asked{bursty(10, 1s, 10)};
    CHECK(asked.take_all(kStart) == 10);
    CHECK(asked.take_all(kStart + 500ms) == 5);
    CHECK(asked.take_all(kStart + 100ms) == 0);
    CHECK(asked.take_all(kStart - 1h) == 0);
    CHECK(asked.take_all(kStart + 500ms) == 0);
    CHECK(asked.take_all(kStart + 600ms) == 1);
  }

  // ---- smooth ---------------------------------------------------------------------------------

  TEST_CASE("a smooth limit spaces evenly and saves nothing up, whatever burst was written") {
    Asked asked{smooth(10, 1s)};
    CHECK(asked.take_all(kStart) == 1);
    CHECK(asked.take_all(kStart + 1h) == 1);
    CHECK(asked.refusal(kStart + 1h) == 100ms);
    CHECK(asked.take(kStart + 1h + 150ms));
    // On a grid the next would be due at 200 ms; evenly spaced it is due a whole interval after the last.
    CHECK(asked.refusal(kStart + 1h + 200ms) == 50ms);
    CHECK(asked.take(kStart + 1h + 250ms));
  }

  TEST_CASE("smooth waits are those of failsafe-go wherever its grid is not seen") {
    Asked asked{smooth(2, 1s, 1h)};
    for (int i = 0; i < 7; ++i) CHECK(asked.wait(kStart) == i * 500ms);
    const auto last_of_three = [&](TimePoint now) {
      static_cast<void>(asked.wait(now));
      static_cast<void>(asked.wait(now));
      return asked.wait(now);
    };
    CHECK(last_of_three(kStart + 800ms) == 3700ms);
    CHECK(asked.wait(kStart + 2300ms) == 2700ms);
    CHECK(last_of_three(kStart + 3500ms) == 3000ms);
    CHECK(last_of_three(kStart + 9100ms) == 1000ms);  // its grid says 900
    CHECK(asked.wait(kStart + 11s) == 0ms);
  }

  // ---- max_wait -------------------------------------------------------------------------------

  TEST_CASE("a wait of exactly max_wait is waited, a longer one is refused and takes nothing") {
    Asked asked{bursty(10, 1s, 1, 300ms)};
    CHECK(asked.wait(kStart) == 0ms);
    CHECK(asked.wait(kStart) == 100ms);
    CHECK(asked.wait(kStart) == 200ms);
    CHECK(asked.wait(kStart) == 300ms);
    CHECK(asked.refusal(kStart) == 400ms);
    CHECK(asked.refusal(kStart) == 400ms);
    CHECK(asked.refusal(kStart + 100ms - 1ns) == 300ms + 1ns);
    CHECK(asked.wait(kStart + 100ms) == 300ms);
  }

  TEST_CASE("a wait that cannot end in the time left is refused at once and takes nothing") {
    Asked asked{bursty(10, 1s, 1, 1h)};
    CHECK(asked.ask(kStart, 0ns).verdict.admitted());
    CHECK(asked.refusal(kStart, 100ms - 1ns) == 100ms);
    CHECK(asked.ask(kStart, 100ms).at == kStart + 100ms);
    CHECK(asked.refusal(kStart, -1ns) == 200ms);
    CHECK(asked.wait(kStart) == 200ms);
  }

  TEST_CASE("a queue never grows beyond what can be counted") {
    Asked asked{bursty(1, 24h * 400, 1, kForever)};
    int waiting = 0;
    while (waiting < 1000 && asked.ask(kStart).verdict.admitted()) ++waiting;
    CHECK(waiting < 1000);
    CHECK(asked.ask(kStart).verdict.refused == Reason::rate_limited);
  }

  // ---- places given back ----------------------------------------------------------------------

  TEST_CASE("a place that was refused elsewhere in the same moment is as if it had never been taken") {
    Asked asked{bursty(10, 1s, 5)};
    std::vector<RateLimitAnswer> held;
    for (int i = 0; i < 5; ++i) held.push_back(asked.ask(kStart));
    CHECK_FALSE(asked.take(kStart));
    for (RateLimitAnswer& answer : held) answer.place.cancel(kStart);
    CHECK(asked.take_all(kStart) == 5);
    CHECK(asked.refusal(kStart) == 100ms);
  }

  TEST_CASE("a place is given back once, by whoever holds it last") {
    Asked asked{bursty(10, 1s, 5)};
    CHECK(asked.take(kStart));
    RateLimitAnswer answer = asked.ask(kStart);
    RateLimitPlace place = std::move(answer.place);
    CHECK_FALSE(answer.place);
    answer.place.cancel(kStart);
    CHECK(asked.view(kStart).remaining == 3);
    CHECK(place);
    place.cancel(kStart);
    CHECK_FALSE(place);
    place.cancel(kStart);
    CHECK(asked.view(kStart).remaining == 4);
    CHECK(RateLimitPlace{asked.ask(kStart).place});  // spent, as it goes without being cancelled
    CHECK(asked.view(kStart).remaining == 3);
  }

  TEST_CASE("tokens are not lost to waiters that leave, in whatever order they do") {
    for (const bool is_smooth : {true, false}) {
      for (const bool first_come : {true, false}) {
        CAPTURE(is_smooth);
        CAPTURE(first_come);
        Asked asked{is_smooth ? smooth(10, 1s, 1h) : bursty(10, 1s, 3, 1h)};
        while (asked.ask(kStart, 0ns).verdict.admitted()) {
        }
        std::deque<RateLimitAnswer> waiting;
        for (int i = 0; i < 20; ++i) waiting.push_back(asked.ask(kStart));
        CHECK(waiting.back().at == kStart + 2s);
        while (!waiting.empty()) {
          RateLimitAnswer& leaver = first_come ? waiting.front() : waiting.back();
          leaver.place.cancel(kStart + 50ms);
          first_come ? waiting.pop_front() : waiting.pop_back();
        }
        CHECK(asked.wait(kStart + 50ms) == 50ms);
        CHECK(asked.wait(kStart + 50ms) == 150ms);
      }
    }
  }

  TEST_CASE("the place of one who left the middle of a queue goes to the next who would have to wait") {
    Asked asked{smooth(10, 1s, 400ms)};
    CHECK(asked.wait(kStart) == 0ms);
    std::vector<RateLimitAnswer> waiting;
    for (int i = 0; i < 4; ++i) waiting.push_back(asked.ask(kStart));
    CHECK(asked.refusal(kStart) == 500ms);
    waiting[2].place.cancel(kStart + 10ms);
    waiting[0].place.cancel(kStart + 10ms);
    CHECK(asked.wait(kStart + 20ms) == 80ms);
    CHECK(asked.refusal(kStart + 20ms, 200ms) == 480ms);
    RateLimitAnswer third = asked.ask(kStart + 20ms);
    CHECK(third.at == kStart + 300ms);
    CHECK(asked.refusal(kStart + 20ms) == 480ms);
    third.place.cancel(kStart + 30ms);
    CHECK(asked.ask(kStart + 30ms).at == kStart + 300ms);
  }

  TEST_CASE("a place whose time has passed in a queue serves nobody a second time") {
    Asked asked{smooth(10, 1s, 1h)};
    CHECK(asked.wait(kStart) == 0ms);
    std::vector<RateLimitAnswer> waiting;
    for (int i = 0; i < 4; ++i) waiting.push_back(asked.ask(kStart));
    waiting[0].place.cancel(kStart + 10ms);
    CHECK(asked.ask(kStart + 101ms).at == kStart + 500ms);
    waiting[1].place.cancel(kStart + 250ms);  // it was due, and evenly spaced is lost
    CHECK(asked.ask(kStart + 250ms).at == kStart + 600ms);
  }

  TEST_CASE("a place held while the bucket filled up is not granted on top of a full bucket") {
    Asked asked{bursty(1, 1s, 1)};
    RateLimitAnswer held = asked.ask(kStart);
    CHECK(asked.take(kStart + 1s));
    held.place.cancel(kStart + 1s);
    CHECK_FALSE(asked.take(kStart + 1s));

    Asked large{bursty(10, 1s, 100)};
    CHECK(large.take_all(kStart) == 100);
    std::vector<RateLimitAnswer> places;
    for (int i = 0; i < 10; ++i) places.push_back(large.ask(kStart + 1s));
    CHECK(large.take_all(kStart + 2s) == 10);
    // The bucket was nearly empty all the time: nothing can have been lost in it.
    for (RateLimitAnswer& answer : places) answer.place.cancel(kStart + 2s);
    CHECK(large.take_all(kStart + 2s) == 10);
  }

  TEST_CASE("whatever is taken, waited for and given back, no stretch of time holds more than the limit's") {
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
      CAPTURE(seed);
      Rng rng{seed};
      const std::uint32_t burst = static_cast<std::uint32_t>(rng.below(6));
      const Nanos max_wait{static_cast<std::int64_t>(rng.below(3)) * 40'000'000};
      Asked asked{burst == 0 ? smooth(100, 1s, max_wait) : bursty(100, 1s, burst, max_wait)};
      std::vector<RateLimitAnswer> held;
      std::vector<TimePoint> used;
      TimePoint now = kStart;
      int asks = 0;
      for (int i = 0; i < 600; ++i) {
        now += Nanos{static_cast<std::int64_t>(rng.below(4) * rng.below(6'000'000))};
        if (rng.below(3) != 0) {
          ++asks;
          RateLimitAnswer answer = asked.ask(now);
          if (answer.verdict.admitted()) held.push_back(std::move(answer));
        }
        if (!held.empty() && rng.below(3) == 0) {
          const std::size_t which = rng.below(held.size());
          if (rng.below(2) == 0) {
            held[which].place.cancel(now);
          } else {
            used.push_back(held[which].at);
          }
          held.erase(held.begin() + static_cast<std::ptrdiff_t>(which));
        }
      }
      for (const RateLimitAnswer& answer : held) used.push_back(answer.at);
      CHECK(conforms(used, asked.config));
      CHECK(static_cast<int>(used.size()) <= asks);
    }
  }

  // ---- what is shown --------------------------------------------------------------------------

  TEST_CASE("the view tells what is left and when there is one more") {
    Asked asked{bursty(10, 1s, 3)};
    CHECK(asked.view(kStart) == RateLimitView{3, 3, 0ns});
    CHECK(asked.take(kStart));
    CHECK(asked.view(kStart) == RateLimitView{3, 2, 100ms});
    CHECK(asked.take_all(kStart) == 2);
    CHECK(asked.view(kStart + 30ms) == RateLimitView{3, 0, 70ms});
    CHECK(asked.view(kStart + 100ms) == RateLimitView{3, 1, 100ms});
    CHECK(asked.view(kStart + 300ms) == RateLimitView{3, 3, 0ns});
    CHECK(asked.view(kStart + 24h) == RateLimitView{3, 3, 0ns});
  }

  TEST_CASE("the view of a queue agrees with its refusals") {
    Asked asked{bursty(10, 1s, 1, 300ms)};
    for (int i = 0; i < 4; ++i) static_cast<void>(asked.ask(kStart));
    CHECK(asked.view(kStart) == RateLimitView{1, 0, 400ms});
    CHECK(asked.refusal(kStart) == 400ms);
  }

  // ---- after a reload -------------------------------------------------------------------------

  TEST_CASE("after a reload a bucket keeps its permits, up to the new burst") {
    for (const auto& [new_burst, left] :
         std::vector<std::pair<std::uint32_t, int>>{{500, 40}, {100, 40}, {40, 40}, {30, 30}, {1, 1}}) {
      CAPTURE(new_burst);
      Asked asked{bursty(10, 1s, 100)};
      for (int i = 0; i < 60; ++i) CHECK(asked.take(kStart));
      asked.config.burst = new_burst;
      CHECK(asked.view(kStart).remaining == static_cast<std::uint32_t>(left));
      CHECK(asked.take_all(kStart) == left);
      CHECK(asked.refusal(kStart) == 100ms);
      CHECK(asked.take_all(kStart + 1h) == static_cast<int>(new_burst));
    }
  }

  TEST_CASE("after a reload an empty bucket is empty, and is refilled at the new rate") {
    Asked faster{bursty(1, 1s, 100)};
    CHECK(faster.take_all(kStart) == 100);
    faster.config.requests = 1000;
    CHECK(faster.refusal(kStart) == 1ms);
    CHECK(faster.take_all(kStart + 50ms) == 50);

    Asked slower{bursty(1000, 1s, 100)};
    CHECK(slower.take_all(kStart) == 100);
    slower.config.requests = 1;
    CHECK(slower.refusal(kStart) == 1s);
    CHECK(slower.take_all(kStart + 3s) == 3);

    Asked other_time{bursty(60, 1min, 10)};
    CHECK(other_time.take_all(kStart) == 10);
    other_time.config.per = 1s;
    other_time.limit.reload(other_time.config, kStart);
    CHECK(other_time.take_all(kStart + 50ms) == 3);
  }

  TEST_CASE("a reload that is told counts from then on, not from the next request") {
    Asked asked{bursty(1, 1s, 10)};
    CHECK(asked.take_all(kStart) == 10);
    asked.config = bursty(100, 1s, 1000);
    asked.limit.reload(asked.config, kStart + 2s);
    CHECK(asked.take_all(kStart + 5s) == 302);
    asked.limit.reload(asked.config, kStart + 6s);
    CHECK(asked.take_all(kStart + 6s) == 100);
  }

  TEST_CASE("requests of an old and a new configuration may alternate, and no permit is granted twice") {
    Asked asked{bursty(10, 1s, 50)};
    const RateLimitConfig old_config = asked.config;
    const RateLimitConfig new_config = bursty(333, 1s, 20);
    int taken = 0;
    for (int i = 0; i < 1000; ++i) {
      asked.config = i % 2 == 0 ? old_config : new_config;
      taken += asked.take(kStart) ? 1 : 0;
    }
    CHECK(taken <= 21);  // one at 50, then capped to 20
    CHECK(taken >= 20);
    for (int i = 0; i < 1000; ++i) {
      asked.config = i % 2 == 0 ? old_config : new_config;
      CHECK_FALSE(asked.take(kStart));
    }
  }

  TEST_CASE("many reloads neither lose nor make permits") {
    Asked asked{bursty(7, 1s, 100)};
    for (int i = 0; i < 60; ++i) CHECK(asked.take(kStart));
    for (int i = 0; i < 500; ++i) {
      asked.config =
          bursty(1 + i * 13 % 977, i % 2 == 0 ? Nanos{1s} : Nanos{1min}, 100 + static_cast<std::uint32_t>(i));
      asked.limit.reload(asked.config, kStart);
      CHECK(asked.view(kStart).remaining >= 39);
      CHECK(asked.view(kStart).remaining <= 40);
    }
  }

  TEST_CASE("who waits when the limit is changed keeps the time he has, and others stand behind him") {
    Asked asked{smooth(10, 1s, 1h)};
    CHECK(asked.wait(kStart) == 0ms);
    RateLimitAnswer waiting = asked.ask(kStart);
    CHECK(waiting.at == kStart + 100ms);
    asked.config.requests = 100;
    CHECK(asked.ask(kStart).at == kStart + 20ms);
    waiting.place.cancel(kStart);  // counted by other numbers: lost
    CHECK(asked.ask(kStart).at == kStart + 30ms);
  }

  TEST_CASE("a limit serves on when its process is older than what it can count at once") {
    Asked asked{bursty(10, 1s, 5)};
    TimePoint now = kStart;
    for (int month = 0; month < 240; ++month) {
      now += 24h * 30;
      CHECK(asked.take_all(now) == 5);
      CHECK(asked.refusal(now) == 100ms);
    }
    CHECK(asked.take_all(TimePoint{24h * 365 * 200}) == 5);
  }

  TEST_CASE("what tells keys apart is structure, numbers are not") {
    const RateLimitConfig base = bursty(10, 1s, 5);
    RateLimitConfig other = smooth(99, 1h, 1s);
    CHECK(same_structure(base, other));
    other.max_keys = 7;
    CHECK(same_structure(base, other));
    other.key = RateLimitConfig::Key::header;
    CHECK_FALSE(same_structure(base, other));
    RateLimitConfig third = other;
    third.header = "x-tenant";
    CHECK_FALSE(same_structure(other, third));
    third = other;
    third.max_keys = 8;
    CHECK(same_structure(other, third));
    third = other;
    third.burst = 9;
    CHECK(same_structure(other, third));
  }

  TEST_CASE("decisions of a rate limit do not allocate") {
    Asked asked{bursty(10, 1s, 2, 1s)};
    const std::uint64_t before = test::allocations();
    for (int i = 0; i < 100; ++i) {
      RateLimitAnswer answer = asked.ask(kStart + i * 30ms);
      if (i % 3 == 0) answer.place.cancel(kStart + i * 30ms);
      asked.config.requests = 10 + i / 10;
    }
    CHECK(test::allocations() == before);
  }
}
