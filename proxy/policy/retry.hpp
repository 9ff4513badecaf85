// proxy/policy/retry.hpp
//
// Whether one more attempt is allowed, in one place and in the order that decides the recorded stop reason. A retry
// that is not clearly allowed does not happen: a duplicated charge costs more than a failed one. Budget and circuit are
// asked by the exchange after these rules, because they have state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "proxy/base/reason.hpp"
#include "proxy/base/time.hpp"
#include "proxy/policy/backoff.hpp"
#include "proxy/policy/classify.hpp"

namespace outrigger::policy {

struct RetryAfterConfig {
  bool honor = true;
  Nanos max = std::chrono::seconds{2};
};

struct RetryConfig {
  std::uint32_t max_attempts = 3;
  Nanos timeout_per_attempt{0};  // request sent to response head; 0 = none
  BackoffConfig backoff{};
  std::uint64_t replay_buffer_bytes = 64 * 1024;
  bool non_idempotent = false;
  std::string idempotency_key = "Idempotency-Key";
  RetryAfterConfig retry_after{};
  bool avoid_previous_endpoint = true;
};

/// How much of the request the upstream may have seen.
enum class Exposure : std::uint8_t { nothing_sent, partly_sent, fully_sent };

/// What the rules need to know about the attempt that ended and about its request.
struct RetryQuestion {
  bool committed = false;
  Outcome outcome = Outcome::retryable;
  Reason reason = Reason::success;
  bool by_rule = false;   // a classifier's own rule said so: a 429 then needs no Retry-After
  bool pushback = false;  // the upstream asked not to be tried again
  bool idempotent = false;
  bool once = false;  // whatever its method and the configuration say, it is not sent again once any of it was
  Exposure exposure = Exposure::fully_sent;
  bool body_replayable = true;
  std::uint32_t attempts = 1;          // launched so far, reconnects not counted
  Nanos delay{0};                      // before the next attempt, Retry-After included
  std::optional<Nanos> retry_after{};  // of the response, where it had one and it is honoured
  bool server_delay = false;           // `delay` is what the response asked for, not our own back-off
  Nanos min_remaining{0};
  TimePoint deadline = kNever;
};

/// The first rule that forbids another attempt; nullopt where all allow it.
std::optional<Reason> why_no_retry(const RetryConfig& config, const RetryQuestion& question, TimePoint now) noexcept;

/// Rules 1, 3 and 4 alone: may the request be sent again at all. They also decide a reconnect.
std::optional<Reason> why_not_resendable(const RetryConfig& config, const RetryQuestion& question) noexcept;

}  // namespace outrigger::policy
