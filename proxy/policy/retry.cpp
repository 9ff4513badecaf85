#include "proxy/policy/retry.hpp"

namespace outrigger::policy {
namespace {

bool retryable(const RetryConfig& config, const RetryQuestion& question) noexcept {
  if (question.outcome != Outcome::retryable) return false;
  // 429 says "not now": without a time to come back at, another attempt is only more load.
  return question.by_rule || question.reason != Reason::http_429 ||
         (config.retry_after.honor && question.retry_after.has_value());
}

bool body_allows(const RetryQuestion& question) noexcept {
  return question.body_replayable || question.exposure == Exposure::nothing_sent;
}

bool method_allows(const RetryConfig& config, const RetryQuestion& question) noexcept {
  if (question.exposure == Exposure::nothing_sent) return true;
  return !question.once && (question.idempotent || config.non_idempotent);
}

}  // namespace

std::optional<Reason> why_not_resendable(const RetryConfig& config, const RetryQuestion& question) noexcept {
  if (question.committed) return Reason::response_committed;
  if (!method_allows(config, question)) return Reason::http_non_idempotent;
  if (!body_allows(question)) return Reason::body_not_replayable;
  return std::nullopt;
}

std::optional<Reason> why_no_retry(const RetryConfig& config, const RetryQuestion& question, TimePoint now) noexcept {
  if (question.committed) return Reason::response_committed;
  if (!retryable(config, question)) return Reason::non_retryable;
  if (question.pushback) return Reason::pushback;
  if (const auto stop = why_not_resendable(config, question)) return stop;
  if (question.attempts >= config.max_attempts) return Reason::attempts_exhausted;
  if (question.retry_after && *question.retry_after > config.retry_after.max) return Reason::retry_after_too_long;
  if (saturating_add(saturating_add(now, question.delay), question.min_remaining) >= question.deadline) {
    return question.server_delay ? Reason::retry_after_too_long : Reason::deadline_insufficient;
  }
  return std::nullopt;
}

}  // namespace outrigger::policy
