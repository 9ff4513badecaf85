#include "proxy/telemetry/record.hpp"

#include <algorithm>

namespace outrigger::telemetry {
namespace {

using exchange::AttemptKind;
using exchange::AttemptRecord;
using exchange::Decision;
using exchange::Part;
using exchange::RequestOutcome;
using exchange::Timeline;

template <class E>
constexpr std::size_t at(E enumerator) noexcept {
  return static_cast<std::size_t>(enumerator);
}

constexpr std::size_t kAttemptStage = 8;

std::size_t stage_of(char digit) noexcept {
  const int stage = digit >= 'a' ? digit - 'a' + 10 : digit - '0';
  return stage >= 0 && stage < static_cast<int>(kStages) ? static_cast<std::size_t>(stage) : 0;
}

bool is_deadline(Reason reason) noexcept {
  return reason == Reason::deadline_too_short || reason == Reason::overall_timeout;
}

/// The deadline may also pass behind a response that was kept and is relayed then: only the attempts tell.
void record_deadline(const Timeline& timeline, PolicyRow& policy) noexcept {
  if (is_deadline(timeline.reason)) return policy.deadline_exceeded[stage_of(timeline.stage)].add();
  for (const AttemptRecord& attempt : timeline.attempts) {
    if (attempt.reason == Reason::overall_timeout) return policy.deadline_exceeded[kAttemptStage].add();
  }
}

std::size_t class_of(std::uint16_t status) noexcept {
  return static_cast<std::size_t>(std::clamp(status / 100, 2, 5)) - 2;
}

void record_request(const Timeline& timeline, PolicyRow& policy) noexcept {
  policy.duration[at(timeline.outcome)].observe(timeline.duration);
  const std::size_t reason = at(timeline.reason);
  if (timeline.outcome == RequestOutcome::fallback) return policy.fallbacks[class_of(timeline.status)][reason].add();
  if (timeline.outcome == RequestOutcome::cached) return policy.cached[class_of(timeline.status)][reason].add();
  policy.requests[reason].add();
  if (timeline.reason == Reason::success && timeline.status >= 300) policy.redirects.add();
}

void record_waits(const exchange::Waits& waits, PolicyRow& policy) noexcept {
  if (waits.cache > Nanos{0}) policy.queue_wait[at(Queue::cache)].observe(waits.cache);
  if (waits.rate_limit > Nanos{0}) policy.queue_wait[at(Queue::rate_limit)].observe(waits.rate_limit);
  if (waits.bulkhead > Nanos{0}) policy.queue_wait[at(Queue::bulkhead)].observe(waits.bulkhead);
  if (waits.adaptive_limit > Nanos{0}) policy.queue_wait[at(Queue::adaptive_limit)].observe(waits.adaptive_limit);
  if (waits.pool > Nanos{0}) policy.queue_wait[at(Queue::pool)].observe(waits.pool);
}

// ---- attempts ---------------------------------------------------------------------------------

/// What became of a hedge that was launched: its answer was sent to the client, another one's was, or it was no good.
/// A bad answer was chosen all the same where the first head of any kind is to win, which ended the attempts.
HedgeResult result_of(const AttemptRecord& hedge, bool relayed, bool committed) noexcept {
  if (hedge.reason == Reason::hedge_lost) return HedgeResult::lost;
  const bool failed = hedge.outcome == policy::Outcome::retryable && !committed;
  return (relayed && !failed) || hedge.outcome == policy::Outcome::success ? HedgeResult::won : HedgeResult::failed;
}

void record_faults(const AttemptRecord& attempt, ChaosRow& chaos) noexcept {
  if (attempt.injected_delay > Nanos{0}) chaos.injected[at(ChaosKind::delay)].add();
  if (attempt.fault != exchange::Fault::none) chaos.injected[at(attempt.fault)].add();
}

void record_attempts(const Timeline& timeline, const RouteRows& rows) noexcept {
  for (const AttemptRecord& attempt : timeline.attempts) {
    const bool elsewhere = rows.fallback_attempts != nullptr && attempt.upstream_name == rows.fallback_upstream;
    AttemptRow& row = elsewhere ? *rows.fallback_attempts : *rows.attempts;
    row.attempts[at(attempt.kind)][at(attempt.outcome)][at(attempt.reason)].add();
    row.duration[at(attempt.kind)].observe(attempt.duration);
    if (rows.chaos != nullptr) record_faults(attempt, *rows.chaos);
    BudgetRow* const budget = attempt.kind == AttemptKind::hedge ? rows.hedge_budget : rows.budget;
    if (budget != nullptr && attempt.budget_asked) budget->decisions[at(attempt.kind)][attempt.budget_allowed].add();
    // One that found its connection dead is the same hedge as the one that took its place.
    if (rows.hedges != nullptr && attempt.hedge != 0 && attempt.reason != Reason::reconnect) {
      const bool relayed =
          timeline.relayed < timeline.attempts.size() && &timeline.attempts[timeline.relayed] == &attempt;
      const bool committed = timeline.stop_reason == Reason::response_committed;
      rows.hedges->results[at(result_of(attempt, relayed, committed))].add();
    }
  }
  if (rows.hedges != nullptr && timeline.hedges_suppressed != 0) {
    rows.hedges->results[at(HedgeResult::suppressed)].add(timeline.hedges_suppressed);
  }
}

void record_substitutes(const Timeline& timeline, const RouteRows& rows) noexcept {
  const bool fell_back = timeline.outcome == RequestOutcome::fallback || timeline.fallback.size != 0;
  if (rows.fallbacks != nullptr && fell_back) rows.fallbacks->sent.add();
  if (rows.cache != nullptr && timeline.cache != exchange::CacheShown::none) {
    rows.cache->lookups[at(timeline.cache)].add();
  }
}

// ---- decisions --------------------------------------------------------------------------------

template <class Row>
Row* row_named(const NamedRows<Row>& rows, std::string_view name) noexcept {
  const auto found = std::ranges::find(rows, name, &NamedRow<Row>::name);
  return found == rows.end() ? nullptr : found->row;
}

bool was_only_computed(const Timeline& timeline, std::string_view rate_limit) noexcept {
  return std::ranges::any_of(timeline.decisions, [rate_limit](const Decision& decision) {
    return decision.would && decision.part == Part::rate_limit && decision.name == rate_limit;
  });
}

void record_rate_limits(const Timeline& timeline, const RouteRows& rows) noexcept {
  for (const exchange::RateLimitDecision& decision : timeline.rate_limits) {
    RateLimitRow* const row = row_named(rows.rate_limits, decision.name);
    if (row == nullptr) continue;
    const auto result = decision.allowed                             ? RateLimitResult::allow
                        : was_only_computed(timeline, decision.name) ? RateLimitResult::would_deny
                                                                     : RateLimitResult::deny;
    row->decisions[at(result)].add();
  }
}

void record_refusal_by(const Decision& decision, std::size_t priority, const RouteRows& rows) noexcept {
  if (decision.part == Part::bulkhead) {
    BulkheadRow* const row = row_named(rows.bulkheads, decision.name);
    if (row != nullptr) row->rejected[priority][at(decision.reason)].add();
  }
  if (decision.part == Part::adaptive_limit && rows.adaptive_limit != nullptr) {
    rows.adaptive_limit->rejected[priority].add();
  }
  if (decision.part == Part::throttle && rows.throttle != nullptr) rows.throttle->rejected.add();
}

void record_decisions(const Timeline& timeline, const RouteRows& rows) noexcept {
  const std::size_t priority = index(parse_priority(timeline.priority).value_or(Priority::standard));
  std::uint64_t budget_denials = 0;
  for (const Decision& decision : timeline.decisions) {
    if (decision.would) {
      rows.policy->observed[at(decision.reason)].add();
      continue;
    }
    if (decision.reason == Reason::budget_denied) ++budget_denials;
    record_refusal_by(decision, priority, rows);
  }
  if (budget_denials == 0) return;
  // Only a hedge or one last retry can be denied, and the latter is what ended the attempts.
  if (timeline.stop_reason == Reason::budget_denied) {
    --budget_denials;
    if (rows.budget != nullptr) rows.budget->decisions[at(AttemptKind::retry)][false].add();
  }
  if (rows.hedge_budget != nullptr && budget_denials != 0) {
    rows.hedge_budget->decisions[at(AttemptKind::hedge)][false].add(budget_denials);
  }
}

BudgetRow* budget_row(MetricRegistry& registry, std::uint32_t worker, std::string_view name) {
  return name.empty() ? nullptr : registry.budget_row(worker, name);
}

}  // namespace

RouteRows route_rows(MetricRegistry& registry, std::uint32_t worker, const exchange::Plan& plan) {
  const std::string_view policy = plan.policy_key;
  RouteRows rows;
  rows.policy = registry.policy_row(worker, policy);
  if (plan.upstream != nullptr) rows.attempts = registry.attempt_row(worker, policy, plan.upstream->name);
  // An answer that a cache keeps for bad times is a fallback, too.
  const bool keeps_stale = plan.cache.config != nullptr && plan.cache.config->stale_if_error > Nanos{0};
  if (plan.fallback.config != nullptr || keeps_stale) rows.fallbacks = registry.fallback_row(worker, policy);
  if (plan.fallback.upstream != nullptr) {
    rows.fallback_upstream = plan.fallback.upstream->name;
    rows.fallback_attempts = registry.fallback_attempt_row(worker, policy, rows.fallback_upstream);
  }
  if (plan.cache.config != nullptr) rows.cache = registry.cache_row(worker, policy);
  if (plan.chaos.config != nullptr) rows.chaos = registry.chaos_row(worker, policy);
  for (const exchange::RateLimitRef& limit : plan.rate_limits) {
    rows.rate_limits.push_back({limit.name, registry.rate_limit_row(worker, limit.name, policy)});
  }
  if (plan.hedge.config != nullptr) rows.hedges = registry.hedge_row(worker, policy);
  // What is only observed has no part in what is counted of an instance.
  if (plan.observes) return rows;
  rows.budget = budget_row(registry, worker, plan.budget.name);
  if (rows.hedges != nullptr) rows.hedge_budget = budget_row(registry, worker, plan.hedge.budget.name);
  for (const exchange::BulkheadRef& bulkhead : plan.bulkheads) {
    rows.bulkheads.push_back({bulkhead.name, registry.bulkhead_row(worker, bulkhead.name)});
  }
  const std::string_view limit = plan.adaptive_limit.name;
  if (!limit.empty()) rows.adaptive_limit = registry.adaptive_limit_row(worker, limit);
  if (!plan.throttle.name.empty()) rows.throttle = registry.throttle_row(worker, plan.throttle.name);
  return rows;
}

void record(const Timeline& timeline, const RouteRows& rows) noexcept {
  PolicyRow& policy = *rows.policy;
  policy.in_flight.add(-1);
  record_request(timeline, policy);
  record_deadline(timeline, policy);
  record_waits(timeline.waits, policy);
  // A result that no other attempt would have mended was not stopped by anything.
  if (timeline.stop_reason && *timeline.stop_reason != Reason::non_retryable) {
    policy.retries_suppressed[at(*timeline.stop_reason)].add();
  }
  record_attempts(timeline, rows);
  record_substitutes(timeline, rows);
  if (!timeline.rate_limits.empty()) record_rate_limits(timeline, rows);
  if (!timeline.decisions.empty()) record_decisions(timeline, rows);
}

void record_refusal(const Timeline& timeline, PolicyRow& policy) noexcept { record_request(timeline, policy); }

}  // namespace outrigger::telemetry
