// proxy/policy/lesson.hpp
//
// What the end of an attempt teaches: the columns of the truth table behind "may another attempt help" (classify.hpp).
// Each mechanism reads its own column, and all read the same row, so that a circuit, a limit and a hedge trigger cannot
// disagree about what happened. What was nobody's fault teaches nobody anything: a client that left, an attempt that
// lost its race, a refusal that the upstream's own sidecar gave, a connection that we had no means to make.
#pragma once

#include <cstdint>

#include "proxy/base/reason.hpp"
#include "proxy/base/time.hpp"
#include "proxy/policy/adaptive_limit.hpp"
#include "proxy/policy/circuit_breaker.hpp"
#include "proxy/policy/outlier.hpp"
#include "proxy/policy/retry.hpp"

namespace outrigger::policy {

/// What a latency window may make of the time an attempt took.
enum class LatencySample : std::uint8_t { none, exact, at_least };

struct Lesson {
  std::uint16_t status = 0;  // of its answer; 0: it had none
  Reason reason{};           // else how it ended
  bool blameless = false;    // a circuit learns nothing from it
  bool timed = true;         // but for this: that it was slow
  LimitSample limit = LimitSample::neutral;
  LatencySample latency = LatencySample::none;
};

/// `refused`: the answer is a refusal by a proxy of our own kind in front of the upstream, which did not see the
/// request.
constexpr Lesson lesson_of_answer(std::uint16_t status, bool refused) noexcept {
  Lesson lesson{.status = status, .blameless = refused};
  const bool waits_or_pushes = status == 408 || status == 425 || status == 429;
  lesson.timed = !waits_or_pushes && !refused;
  if (status < 500 && !waits_or_pushes) {
    lesson.limit = LimitSample::good;
    lesson.latency = LatencySample::exact;
  }
  if (status == 429 || status == 503 || status == 504) lesson.limit = LimitSample::congestion;
  return lesson;
}

/// Of an attempt that failed before an answer. `exposure`: what the upstream may have seen of it. For want of
/// descriptors of our own it never got as far as the upstream.
constexpr Lesson lesson_of_fault(Reason fault, Exposure exposure) noexcept {
  const bool ours = fault == Reason::pool_full;
  Lesson lesson{.reason = fault, .blameless = ours, .timed = !ours};
  const bool died = fault == Reason::reset || fault == Reason::closed_early;
  if ((died && exposure != Exposure::nothing_sent) || fault == Reason::attempt_timeout) {
    lesson.limit = LimitSample::congestion;
  }
  if (fault == Reason::attempt_timeout) lesson.latency = LatencySample::at_least;
  return lesson;
}

/// Of an attempt that we ended: at the deadline it is the upstream's fault only if it had the whole request for at
/// least `patience`.
constexpr Lesson lesson_of_abort(Reason why, bool wholly_sent, Nanos waited, Nanos patience) noexcept {
  Lesson lesson{.reason = why, .blameless = true};
  lesson.timed = why != Reason::hedge_lost && why != Reason::overall_timeout;
  // A race is lost, and time runs out, by waiting; whoever left early may not have waited for the upstream at all.
  const bool by_waiting = why == Reason::hedge_lost || why == Reason::overall_timeout;
  if (wholly_sent || by_waiting) lesson.latency = LatencySample::at_least;
  if (why == Reason::overall_timeout && wholly_sent && waited >= patience) {
    lesson.blameless = false;
    lesson.timed = true;
    lesson.limit = LimitSample::congestion;
  }
  return lesson;
}

/// Of an answer that broke off after it had been passed on in part.
constexpr Lesson lesson_of_broken_answer(Reason fault) noexcept { return {.reason = fault}; }

/// How a circuit counts it.
inline CircuitResult result_of(const CircuitConfig& config, const Lesson& lesson) noexcept {
  if (lesson.blameless) return CircuitResult::neutral;
  return lesson.status != 0 ? circuit_result(config, lesson.status) : circuit_result(config, lesson.reason);
}

/// How outlier detection counts it: as a circuit does whose rules nobody has changed.
inline OutlierResult outlier_result(const Lesson& lesson) noexcept {
  static const CircuitConfig usual = [] {
    CircuitConfig config;
    config.failure_statuses.insert(500, 500);
    config.failure_statuses.insert(502, 504);
    return config;
  }();
  switch (result_of(usual, lesson)) {
    case CircuitResult::success: return OutlierResult::success;
    case CircuitResult::failure: return OutlierResult::failure;
    case CircuitResult::neutral: break;
  }
  return OutlierResult::neutral;
}

}  // namespace outrigger::policy
