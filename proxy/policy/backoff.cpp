#include "proxy/policy/backoff.hpp"

#include <algorithm>

namespace outrigger::policy {
namespace {

Nanos uniform(Nanos low, Nanos high, Rng& rng) noexcept {
  if (high <= low) return low;
  return low + Nanos{static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>((high - low).count())))};
}

Nanos exponential(const BackoffConfig& config, std::uint32_t retry) noexcept {
  const auto cap = static_cast<double>(config.max.count());
  auto delay = static_cast<double>(config.initial.count());
  for (std::uint32_t i = 1; i < retry && delay < cap; ++i) {
    if (config.multiplier <= 1.0) break;
    delay *= config.multiplier;
  }
  return delay >= cap ? config.max : Nanos{static_cast<std::int64_t>(delay)};
}

}  // namespace

Nanos backoff_delay(const BackoffConfig& config, std::uint32_t retry, Nanos previous, Rng& rng) noexcept {
  if (config.jitter == Jitter::decorrelated) {
    const Nanos base = std::max(previous, config.initial);
    const Nanos high = base > config.max / 3 ? config.max : base * 3;
    return std::min(config.max, uniform(config.initial, high, rng));
  }
  const Nanos delay = exponential(config, retry);
  switch (config.jitter) {
    case Jitter::full: return uniform(Nanos{0}, delay, rng);
    case Jitter::equal: return uniform(delay / 2, delay, rng);
    default: return delay;
  }
}

Nanos lengthen_for_retry_after(Nanos delay, Nanos retry_after, Rng& rng) noexcept {
  if (retry_after <= delay) return delay;
  // A server may ask for ages; the sum must not wrap into the past.
  const Nanos spread = std::min(retry_after / 10, kForever - retry_after);
  return retry_after + Nanos{static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(spread.count()) + 1))};
}

}  // namespace outrigger::policy
