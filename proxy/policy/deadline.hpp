// proxy/policy/deadline.hpp
//
// One instant by which a request must have its answer: what the policy allows, shortened but never extended by what the
// client said it will wait. Work that cannot be finished in time is refused before it costs anything; what is left is
// told to the upstream anew for each attempt, as a duration, because clocks of hosts differ.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "proxy/base/time.hpp"

namespace outrigger::policy {

/// The header forms in which a deadline travels.
enum class DeadlineHeader : std::uint8_t { x_request_timeout, grpc_timeout, x_envoy_expected_rq_timeout_ms };

struct DeadlineConfig {
  std::vector<DeadlineHeader> accept = {DeadlineHeader::x_request_timeout, DeadlineHeader::grpc_timeout,
                                        DeadlineHeader::x_envoy_expected_rq_timeout_ms};
  std::vector<DeadlineHeader> forward = {DeadlineHeader::x_request_timeout};
  Nanos min_remaining = std::chrono::milliseconds{5};
  Nanos margin{0};
  bool reject_invalid = false;
};

struct Deadline {
  TimePoint at = kNever;      // until the response begins
  TimePoint client = kNever;  // what the client sent; it also cuts a response under way
};

/// The earlier of the policy's limit (0 = none) and the client's (absent = none), counted from `start`.
constexpr Deadline effective_deadline(Nanos overall_timeout, std::optional<Nanos> client, TimePoint start) noexcept {
  const TimePoint own = overall_timeout.count() == 0 ? kNever : saturating_add(start, overall_timeout);
  const TimePoint theirs = client ? saturating_add(start, *client) : kNever;
  return {std::min(own, theirs), theirs};
}

/// What an attempt starting now may tell its upstream: min(remaining, timeout_per_attempt) - margin, above 0;
/// nullopt where nothing limits it.
constexpr std::optional<Nanos> forwarded_deadline(const DeadlineConfig& config, TimePoint deadline,
                                                  Nanos timeout_per_attempt, TimePoint now) noexcept {
  Nanos left = time_left(now, deadline);
  if (timeout_per_attempt.count() != 0) left = std::min(left, timeout_per_attempt);
  if (left == kForever) return std::nullopt;
  return std::max(left - config.margin, Nanos{1});
}

}  // namespace outrigger::policy
