// proxy/base/time.hpp
//
// The one idea of time below the edge: nanoseconds on the steady clock, always passed in as `now`. Nothing here reads a
// clock (proxy/net/clock.hpp does), so tests and the simulator own time. Sums saturate: "never" plus a second is still
// never, and no configured duration can wrap a deadline into the past.
#pragma once

#include <chrono>
#include <cstdint>

namespace outrigger {

using Nanos = std::chrono::nanoseconds;
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Nanos>;

/// Later than every instant that will be reached.
inline constexpr TimePoint kNever = TimePoint::max();
/// Longer than every duration that will be waited.
inline constexpr Nanos kForever = Nanos::max();

/// `at + by`, or kNever where that would overflow. `by` may be negative.
constexpr TimePoint saturating_add(TimePoint at, Nanos by) noexcept {
  std::int64_t sum = 0;
  if (__builtin_add_overflow(at.time_since_epoch().count(), by.count(), &sum)) {
    return by.count() > 0 ? kNever : TimePoint::min();
  }
  return TimePoint{Nanos{sum}};
}

/// How long until `until`: negative once it has passed, kForever when it is kNever.
constexpr Nanos time_left(TimePoint now, TimePoint until) noexcept {
  if (until == kNever) return kForever;
  std::int64_t difference = 0;
  if (__builtin_sub_overflow(until.time_since_epoch().count(), now.time_since_epoch().count(), &difference)) {
    return until > now ? kForever : Nanos::min();
  }
  return Nanos{difference};
}

/// Milliseconds with fraction, for people.
constexpr double to_ms(Nanos duration) noexcept { return static_cast<double>(duration.count()) / 1e6; }

}  // namespace outrigger
