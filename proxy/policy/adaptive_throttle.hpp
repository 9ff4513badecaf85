// proxy/policy/adaptive_throttle.hpp
//
// Refuses a share of requests that grows with the share that recently failed, so that an upstream in trouble is asked
// less, but always something. A circuit cuts everything or nothing; this one gives way.
//
//   p = min(max(0, (n - s / (1 - failure_rate)) / (n + 1)), max_rejection)
//
// over the window of settled requests, n in all, s of them successes; 0 below `minimum_calls`. What was refused here is
// not in n: with it, and a target as near to 1 as 0.9, a failure rate a little above the target would feed on itself
// until everything is refused. So p settles where the share of admitted requests that fail says it should: at 20 %
// failures 11 %, at 50 % 44 %, at 100 % `max_rejection`.
//
// With `priorities`, the share p of all requests is taken from `low` first, and only what `low` cannot bear is taken
// from `standard`, then from `critical`. With o the share of each among the requests offered in the window, refused
// ones included:
//
//   p(low) = min(1, p / o(low)),  rest = p - o(low) p(low),  p(standard) = min(1, rest / o(standard)), and so on
//
// so that o(low) p(low) + o(standard) p(standard) + o(critical) p(critical) = p. Counting what is offered, and not what
// is admitted, keeps the mix from shifting by what is refused. Each level is refused at random within its share: one
// that bears a part is not cut off.
//
// The window slides by time (outcome_window.hpp): after a pause old failures count for nothing, whether or not anything
// was settled since.
//
// Source: adaptive throttling of failsafe-go, after "Handling Overload" in Site Reliability Engineering (2016), with
// its recorded calls as n; the division among priorities is ours.
// Threads: any; lock-free. Cost: a compare-and-swap and 32 loads per admission, 96 more where p > 0 and priorities
// count; a compare-and-swap or two per settled request.
#pragma once

#include <array>
#include <cstdint>

#include "proxy/base/priority.hpp"
#include "proxy/base/rng.hpp"
#include "proxy/base/time.hpp"
#include "proxy/base/verdict.hpp"
#include "proxy/policy/outcome_window.hpp"

namespace outrigger::policy {

struct AdaptiveThrottleConfig {
  double failure_rate = 0.1;
  std::uint32_t minimum_calls = 20;
  Nanos window = std::chrono::minutes{1};
  double max_rejection = 0.9;
  bool priorities = true;
};

/// The share to be refused when of `calls` settled requests `successes` were successes: 0..max_rejection.
double rejection_share(const AdaptiveThrottleConfig& config, std::uint64_t calls, std::uint64_t successes) noexcept;

/// The share of the requests of that priority to be refused so that `share` of all are, lowest first.
double share_of(Priority priority, double share, const std::array<std::uint64_t, kPriorities>& offered) noexcept;

class AdaptiveThrottle {
 public:
  /// The length of the window is that of the last `reload`; all other numbers are those of the config it is asked with.
  explicit AdaptiveThrottle(const AdaptiveThrottleConfig& config) noexcept;

  /// Admits a request, or refuses it as `throttled`.
  Verdict admit(const AdaptiveThrottleConfig& config, Priority priority, TimePoint now, Rng& rng) noexcept;
  /// Counts an admitted request that has ended. One that says nothing about the upstream (its client left, it was
  /// refused elsewhere) is not to be settled.
  void settle(const AdaptiveThrottleConfig& config, bool success, TimePoint now) noexcept;

  /// Gives the window the length of `config`; what lies within that stays counted. By one thread at a time.
  void reload(const AdaptiveThrottleConfig& config, TimePoint now) noexcept;

  /// The share of all requests that is refused at present.
  double rejection(const AdaptiveThrottleConfig& config, TimePoint now) const noexcept;

 private:
  TimeWindow settled_;
  std::array<TimeWindow, kPriorities> offered_;
};

}  // namespace outrigger::policy
