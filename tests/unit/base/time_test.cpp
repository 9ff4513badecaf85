#include "proxy/base/time.hpp"

#include <doctest/doctest.h>

using namespace outrigger;
using namespace std::chrono_literals;

TEST_SUITE("base") {
  TEST_CASE("a sum of time saturates instead of wrapping") {
    CHECK(saturating_add(TimePoint{1h}, 5ms) == TimePoint{1h + 5ms});
    CHECK(saturating_add(TimePoint{1h}, -5ms) == TimePoint{1h - 5ms});
    CHECK(saturating_add(TimePoint{1h}, kForever) == kNever);
    CHECK(saturating_add(kNever, 1ns) == kNever);
    CHECK(saturating_add(kNever - 5ns, 5ns) == kNever);
    CHECK(saturating_add(TimePoint::min(), -1ns) == TimePoint::min());
  }

  TEST_CASE("time left is negative once it has passed and for ever until never") {
    CHECK(time_left(TimePoint{1h}, TimePoint{1h + 3ms}) == 3ms);
    CHECK(time_left(TimePoint{1h}, TimePoint{1h}) == 0ms);
    CHECK(time_left(TimePoint{1h}, TimePoint{1h - 3ms}) == -3ms);
    CHECK(time_left(TimePoint{1h}, kNever) == kForever);
    CHECK(time_left(TimePoint::min(), TimePoint{1h}) == kForever);
    CHECK(time_left(kNever, TimePoint::min()) == Nanos::min());
  }

  TEST_CASE("milliseconds for people keep their fraction") { CHECK(to_ms(1500us) == doctest::Approx(1.5)); }
}
