// proxy/policy/backoff.hpp
//
// How long to wait before a retry. Exponential with jitter, because synchronised retries are a second outage; the
// multiplication saturates, so a large attempt number can neither overflow nor wait beyond the cap.
//
// Source: M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015 (full, equal, decorrelated).
#pragma once

#include <cstdint>
#include <optional>

#include "proxy/base/rng.hpp"
#include "proxy/base/time.hpp"

namespace outrigger::policy {

enum class Jitter : std::uint8_t { full, equal, decorrelated, none };

struct BackoffConfig {
  Nanos initial = std::chrono::milliseconds{25};
  Nanos max = std::chrono::milliseconds{250};
  double multiplier = 2.0;
  Jitter jitter = Jitter::full;
};

/// Delay before retry number `retry` (1 = the first): b = min(max, initial x multiplier^(retry-1)), then jitter: `full`
/// uniform in [0, b), `equal` uniform in [b/2, b), `decorrelated` uniform in [initial, 3 x previous) capped at max,
/// `none` b itself. `previous` is the delay before the retry before this one, 0 for the first.
Nanos backoff_delay(const BackoffConfig& config, std::uint32_t retry, Nanos previous, Rng& rng) noexcept;

/// The delay that honours a server's Retry-After: the larger of both, never less than asked, plus up to 10 % so that
/// clients told the same second do not return together.
Nanos lengthen_for_retry_after(Nanos delay, Nanos retry_after, Rng& rng) noexcept;

}  // namespace outrigger::policy
