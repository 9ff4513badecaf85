#include "proxy/policy/adaptive_throttle.hpp"

#include <algorithm>

namespace outrigger::policy {

double rejection_share(const AdaptiveThrottleConfig& config, std::uint64_t calls, std::uint64_t successes) noexcept {
  // A target of no success at all is always met.
  if (calls < config.minimum_calls || config.failure_rate >= 1) return 0;
  const auto n = static_cast<double>(calls);
  const double excess = n - static_cast<double>(successes) / (1 - config.failure_rate);
  return std::min(std::max(0.0, excess / (n + 1)), config.max_rejection);
}

double share_of(Priority priority, double share, const std::array<std::uint64_t, kPriorities>& offered) noexcept {
  std::uint64_t all = 0;
  for (const std::uint64_t count : offered) all += count;
  double rest = share * static_cast<double>(all);
  for (std::size_t i = 0; i < index(priority); ++i) rest -= static_cast<double>(offered[i]);
  const auto own = static_cast<double>(offered[index(priority)]);
  if (rest <= 0) return 0;
  return rest >= own ? 1 : rest / own;
}

AdaptiveThrottle::AdaptiveThrottle(const AdaptiveThrottleConfig& config) noexcept
    : settled_(config.window),
      offered_{TimeWindow{config.window}, TimeWindow{config.window}, TimeWindow{config.window}} {}

double AdaptiveThrottle::rejection(const AdaptiveThrottleConfig& config, TimePoint now) const noexcept {
  const OutcomeCounts counts = settled_.untimed_counts(now);
  return rejection_share(config, counts.calls, counts.calls - std::min(counts.calls, counts.failures));
}

Verdict AdaptiveThrottle::admit(const AdaptiveThrottleConfig& config, Priority priority, TimePoint now,
                                Rng& rng) noexcept {
  offered_[index(priority)].record({}, now);
  double share = rejection(config, now);
  if (share <= 0) return {};
  if (config.priorities) {
    std::array<std::uint64_t, kPriorities> offered{};
    for (std::size_t i = 0; i < kPriorities; ++i) offered[i] = offered_[i].untimed_counts(now).calls;
    share = share_of(priority, share, offered);
  }
  if (rng.uniform() >= share) return {};
  return {.refused = Reason::throttled, .retry_after = std::nullopt};
}

void AdaptiveThrottle::reload(const AdaptiveThrottleConfig& config, TimePoint now) noexcept {
  settled_.cut(config.window, now);
  for (TimeWindow& offered : offered_) offered.cut(config.window, now);
}

void AdaptiveThrottle::settle(const AdaptiveThrottleConfig&, bool success, TimePoint now) noexcept {
  settled_.record({.failed = !success}, now);
}

}  // namespace outrigger::policy
