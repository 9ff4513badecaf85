#include "proxy/telemetry/record.hpp"

#include <string>

#include <doctest/doctest.h>

#include "tests/unit/telemetry/sample_timeline.hpp"

using namespace outrigger;
using namespace outrigger::telemetry;

namespace {

std::size_t at(auto enumerator) { return static_cast<std::size_t>(enumerator); }

std::uint64_t total(const ByReason& counters) {
  std::uint64_t sum = 0;
  for (const Counter& counter : counters) sum += counter.value();
  return sum;
}

std::uint64_t observed(const Histogram& histogram) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < histogram.bucket_count(); ++i) sum += histogram.count(i);
  return sum;
}

struct Rows {
  Buckets buckets{{0.005, 0.01, 0.1}};
  PolicyRow policy{buckets};
  AttemptRow attempts{buckets};
  AttemptRow elsewhere{buckets};
  FallbackRow fallbacks;
  CacheRow cache;
  ChaosRow chaos;
  BudgetRow budget;
  BudgetRow hedge_budget;
  HedgeRow hedges;
  RateLimitRow by_client;
  RateLimitRow shared;
  BulkheadRow places;
  AdaptiveLimitRow limit;
  ThrottleRow throttle;

  RouteRows rows() {
    RouteRows rows{.policy = &policy,
                   .attempts = &attempts,
                   .fallback_attempts = &elsewhere,
                   .fallback_upstream = "other",
                   .budget = &budget,
                   .hedge_budget = &hedge_budget,
                   .hedges = &hedges,
                   .fallbacks = &fallbacks,
                   .cache = &cache,
                   .chaos = &chaos,
                   .adaptive_limit = &limit,
                   .throttle = &throttle};
    rows.rate_limits.push_back({"by_client", &by_client});
    rows.rate_limits.push_back({"shared", &shared});
    rows.bulkheads.push_back({"places", &places});
    return rows;
  }
  void finish(const Timeline& timeline) {
    begin(policy);
    record(timeline, rows());
  }
};

}  // namespace

TEST_SUITE("telemetry") {
  TEST_CASE("every finished request is one reason, one outcome and one duration, whatever happened to it") {
    Rows rows;
    rows.finish(SampleTimeline{}.good_attempt());
    rows.finish(SampleTimeline{}.good_attempt().ended(Reason::success, 304));
    rows.finish(retried());
    for (std::size_t i = 0; i < kReasonCount; ++i) rows.finish(SampleTimeline{}.ended(static_cast<Reason>(i), 500));
    const std::uint64_t finished = 3 + kReasonCount;
    CHECK(total(rows.policy.requests) == finished);
    std::uint64_t durations = 0;
    for (const Histogram& histogram : rows.policy.duration) durations += observed(histogram);
    CHECK(durations == finished);
    CHECK(rows.policy.in_flight.value() == 0);
  }

  TEST_CASE("a request is in flight between its begin and its record") {
    Rows rows;
    begin(rows.policy);
    CHECK(rows.policy.in_flight.value() == 1);
    record(SampleTimeline{}, rows.rows());
    CHECK(rows.policy.in_flight.value() == 0);
  }

  TEST_CASE("redirects are told apart from other successes") {
    Rows rows;
    rows.finish(SampleTimeline{}.ended(Reason::success, 299));
    rows.finish(SampleTimeline{}.ended(Reason::success, 300));
    CHECK(rows.policy.requests[at(Reason::success)].value() == 2);
    CHECK(rows.policy.redirects.value() == 1);
  }

  TEST_CASE("each attempt is counted once under its own kind, outcome and reason") {
    Rows rows;
    rows.finish(retried());
    const auto& primary = rows.attempts.attempts[at(AttemptKind::primary)];
    const auto& retry = rows.attempts.attempts[at(AttemptKind::retry)];
    CHECK(primary[at(Outcome::retryable)][at(Reason::http_503)].value() == 1);
    CHECK(retry[at(Outcome::success)][at(Reason::success)].value() == 1);
    std::uint64_t attempts = 0;
    for (const auto& kind : rows.attempts.attempts) {
      for (const ByReason& outcome : kind) attempts += total(outcome);
    }
    CHECK(attempts == 2);
    CHECK(observed(rows.attempts.duration[at(AttemptKind::retry)]) == 1);
  }

  TEST_CASE("a budget's consent is counted from the attempt it allowed and its refusal from the decision") {
    Rows rows;
    rows.finish(retried());
    rows.finish(
        SampleTimeline{}.good_attempt().ended(Reason::http_5xx, 503).stopped(Reason::budget_denied, Part::budget));
    const auto& decisions = rows.budget.decisions[at(AttemptKind::retry)];
    CHECK(decisions[true].value() == 1);
    CHECK(decisions[false].value() == 1);
    CHECK(rows.policy.retries_suppressed[at(Reason::budget_denied)].value() == 1);
  }

  TEST_CASE("a result that no retry would mend is not a suppressed retry") {
    Rows rows;
    SampleTimeline sample;
    sample.ended(Reason::http_4xx, 404);
    sample.get().stop_reason = Reason::non_retryable;
    rows.finish(sample);
    CHECK(total(rows.policy.retries_suppressed) == 0);
  }

  TEST_CASE("a deadline counts in the stage where it passed") {
    Rows rows;
    rows.finish(SampleTimeline{}.ended(Reason::deadline_too_short, 504, 'P', '3'));
    rows.finish(SampleTimeline{}.ended(Reason::overall_timeout, 504, 'P', '8'));
    rows.finish(SampleTimeline{}.ended(Reason::overall_timeout, 200, 'P', '9'));
    // The deadline ended an attempt, and the answer kept from an earlier one was sent instead.
    SampleTimeline kept;
    kept.attempt(AttemptKind::primary, Outcome::retryable, Reason::http_503, 503);
    kept.attempt(AttemptKind::retry, Outcome::abort, Reason::overall_timeout);
    rows.finish(kept.ended(Reason::http_5xx, 503));
    CHECK(rows.policy.deadline_exceeded[3].value() == 1);
    CHECK(rows.policy.deadline_exceeded[8].value() == 2);
    CHECK(rows.policy.deadline_exceeded[9].value() == 1);
  }

  TEST_CASE("a refused request is counted without ever having been in flight") {
    Rows rows;
    record_refusal(SampleTimeline{}.ended(Reason::no_route, 404, 'P', '2'), rows.policy);
    CHECK(rows.policy.requests[at(Reason::no_route)].value() == 1);
    CHECK(rows.policy.in_flight.value() == 0);
  }

  TEST_CASE("a hedge is counted once as what became of it") {
    const auto result_of = [](const Timeline& timeline) {
      Rows rows;
      rows.finish(timeline);
      std::string result;
      for (std::size_t i = 0; i < kHedgeResults; ++i) {
        if (rows.hedges.results[i].value() == 1) result += std::string_view{"wlsf"}[i];
      }
      return result;
    };
    const auto hedged = [](Outcome outcome, Reason reason, std::uint16_t status, std::uint8_t relayed = 1) {
      SampleTimeline sample = SampleTimeline{}.good_attempt();
      sample.attempt(AttemptKind::hedge, outcome, reason, status);
      sample.get().attempts[1].hedge = 1;
      sample.get().relayed = relayed;
      return sample;
    };
    CHECK(result_of(hedged(Outcome::success, Reason::success, 200)) == "w");
    CHECK(result_of(hedged(Outcome::abort, Reason::response_committed, 200)) == "w");
    CHECK(result_of(
              hedged(Outcome::non_retryable, Reason::http_non_retryable_status, 404).ended(Reason::http_4xx, 404)) ==
          "w");
    CHECK(result_of(
              hedged(Outcome::non_retryable, Reason::http_non_retryable_status, 404, 0).ended(Reason::http_4xx, 404)) ==
          "f");
    CHECK(result_of(hedged(Outcome::abort, Reason::hedge_lost, 0)) == "l");
    CHECK(result_of(hedged(Outcome::retryable, Reason::http_503, 503)) == "f");
    CHECK(result_of(hedged(Outcome::retryable, Reason::http_503, 503).ended(Reason::http_5xx, 503)) == "f");
    SampleTimeline first_head = hedged(Outcome::retryable, Reason::http_503, 503).ended(Reason::http_5xx, 503);
    first_head.get().stop_reason = Reason::response_committed;
    CHECK(result_of(first_head) == "w");
    CHECK(result_of(hedged(Outcome::abort, Reason::overall_timeout, 0, exchange::kNoAttempt)
                        .ended(Reason::overall_timeout, 504)) == "f");
    SampleTimeline suppressed;
    suppressed.get().hedges_suppressed = 1;
    CHECK(result_of(suppressed) == "s");
  }

  TEST_CASE("a hedge that found its connection dead is the same hedge as its reconnect") {
    Rows rows;
    SampleTimeline sample = SampleTimeline{}.good_attempt();
    sample.attempt(AttemptKind::hedge, Outcome::abort, Reason::reconnect);
    sample.attempt(AttemptKind::reconnect, Outcome::abort, Reason::hedge_lost);
    sample.get().attempts[1].hedge = sample.get().attempts[2].hedge = 1;
    rows.finish(sample);
    CHECK(rows.hedges.results[at(HedgeResult::lost)].value() == 1);
    CHECK(rows.hedges.results[at(HedgeResult::failed)].value() == 0);
  }

  TEST_CASE("what hedges ask of their own budget is booked there") {
    Rows rows;
    SampleTimeline sample = SampleTimeline{}.good_attempt();
    sample.attempt(AttemptKind::hedge, Outcome::abort, Reason::hedge_lost);
    sample.get().attempts[1].budget_asked = sample.get().attempts[1].budget_allowed = true;
    sample.get().decide(2ms, Part::budget, Reason::budget_denied);
    sample.ended(Reason::http_5xx, 503).stopped(Reason::budget_denied, Part::budget);
    rows.finish(sample);
    CHECK(rows.hedge_budget.decisions[at(AttemptKind::hedge)][true].value() == 1);
    CHECK(rows.hedge_budget.decisions[at(AttemptKind::hedge)][false].value() == 1);
    CHECK(rows.budget.decisions[at(AttemptKind::retry)][false].value() == 1);
    CHECK(rows.budget.decisions[at(AttemptKind::hedge)][false].value() == 0);
  }

  TEST_CASE("each answer of a rate limit is counted under its own name") {
    Rows rows;
    SampleTimeline sample;
    sample.get().note_rate_limit("by_client", true);
    sample.get().note_rate_limit("shared", false);
    sample.get().note_rate_limit("somebody else's", false);
    rows.finish(sample.ended(Reason::rate_limited, 429, 'P', '5'));
    CHECK(rows.by_client.decisions[at(RateLimitResult::allow)].value() == 1);
    CHECK(rows.by_client.decisions[at(RateLimitResult::deny)].value() == 0);
    CHECK(rows.shared.decisions[at(RateLimitResult::deny)].value() == 1);
  }

  TEST_CASE("a refusal that was only computed is observed and refuses nobody") {
    Rows rows;
    SampleTimeline sample = SampleTimeline{}.good_attempt();
    sample.get().note_rate_limit("shared", false);
    const auto would = [&](Part part, Reason why, std::string_view name) {
      sample.get().decide({.at = 1ms, .part = part, .reason = why, .would = true, .name = name});
    };
    would(Part::rate_limit, Reason::rate_limited, "shared");
    would(Part::bulkhead, Reason::bulkhead_full, "places");
    would(Part::throttle, Reason::throttled, "throttle");
    would(Part::budget, Reason::budget_denied, "shared");
    rows.finish(sample);
    CHECK(rows.shared.decisions[at(RateLimitResult::would_deny)].value() == 1);
    CHECK(rows.shared.decisions[at(RateLimitResult::deny)].value() == 0);
    CHECK(rows.policy.observed[at(Reason::rate_limited)].value() == 1);
    CHECK(rows.policy.observed[at(Reason::bulkhead_full)].value() == 1);
    CHECK(total(rows.policy.observed) == 4);
    for (const ByReason& priority : rows.places.rejected) CHECK(total(priority) == 0);
    CHECK(rows.throttle.rejected.value() == 0);
    CHECK(rows.budget.decisions[at(AttemptKind::retry)][false].value() == 0);
    CHECK(rows.hedge_budget.decisions[at(AttemptKind::hedge)][false].value() == 0);
  }

  TEST_CASE("refusals of limits are counted by the request's priority") {
    Rows rows;
    const auto refused = [&](Part part, Reason why, std::string_view name, std::string_view priority) {
      SampleTimeline sample;
      sample.get().priority = priority;
      sample.get().decide({.at = 1ms, .part = part, .reason = why, .name = name});
      rows.finish(sample.ended(why, 503, 'P', '7'));
    };
    refused(Part::bulkhead, Reason::shed_load, "places", "low");
    refused(Part::bulkhead, Reason::bulkhead_queue_timeout, "places", "critical");
    refused(Part::bulkhead, Reason::bulkhead_full, "somebody else's", "critical");
    refused(Part::adaptive_limit, Reason::concurrency_limit, "limit", "standard");
    refused(Part::throttle, Reason::throttled, "throttle", "low");
    CHECK(rows.places.rejected[index(Priority::low)][at(Reason::shed_load)].value() == 1);
    CHECK(rows.places.rejected[index(Priority::critical)][at(Reason::bulkhead_queue_timeout)].value() == 1);
    CHECK(total(rows.places.rejected[index(Priority::critical)]) == 1);
    CHECK(rows.limit.rejected[index(Priority::standard)].value() == 1);
    CHECK(rows.throttle.rejected.value() == 1);
  }

  TEST_CASE("attempts at a fallback's upstream are counted there, its reconnect too") {
    Rows rows;
    SampleTimeline sample;
    sample.attempt(AttemptKind::primary, Outcome::retryable, Reason::http_503, 503);
    sample.attempt(AttemptKind::fallback, Outcome::abort, Reason::reconnect);
    sample.attempt(AttemptKind::reconnect, Outcome::success, Reason::success, 200);
    for (std::size_t i : {1u, 2u}) sample.get().attempts[i].upstream_name = "other";
    sample.get().outcome = exchange::RequestOutcome::fallback;
    rows.finish(sample);
    const auto count = [](const AttemptRow& row, AttemptKind kind, Outcome outcome, Reason reason) {
      return row.attempts[at(kind)][at(outcome)][at(reason)].value();
    };
    CHECK(count(rows.attempts, AttemptKind::primary, Outcome::retryable, Reason::http_503) == 1);
    CHECK(count(rows.elsewhere, AttemptKind::fallback, Outcome::abort, Reason::reconnect) == 1);
    CHECK(count(rows.elsewhere, AttemptKind::reconnect, Outcome::success, Reason::success) == 1);
    CHECK(count(rows.attempts, AttemptKind::reconnect, Outcome::success, Reason::success) == 0);
    CHECK(observed(rows.elsewhere.duration[at(AttemptKind::fallback)]) == 1);
  }

  TEST_CASE("a fallback is counted once, also when its client left meanwhile") {
    Rows rows;
    SampleTimeline sent;
    sent.get().outcome = exchange::RequestOutcome::fallback;
    rows.finish(sent);
    CHECK(rows.fallbacks.sent.value() == 1);
    SampleTimeline left;
    left.get().fallback = left.get().keep("circuit_open", 40);
    left.get().outcome = exchange::RequestOutcome::client_gone;
    rows.finish(left);
    CHECK(rows.fallbacks.sent.value() == 2);
    rows.finish(SampleTimeline{});
    CHECK(rows.fallbacks.sent.value() == 2);
  }

  TEST_CASE("a lookup counts as what it found, and a request that met no cache as none") {
    Rows rows;
    rows.finish(SampleTimeline{});
    for (std::size_t i = 0; i < exchange::kCacheShown; ++i) {
      SampleTimeline sample;
      sample.get().cache = static_cast<exchange::CacheShown>(i);
      rows.finish(sample);
    }
    for (std::size_t i = 0; i < exchange::kCacheShown; ++i) CHECK(rows.cache.lookups[i].value() == (i == 0 ? 0 : 1));
  }

  TEST_CASE("each fault of each attempt is counted by its kind") {
    Rows rows;
    SampleTimeline sample = retried();
    sample.get().attempts[0].injected_delay = 3ms;
    sample.get().attempts[0].fault = exchange::Fault::status;
    sample.get().attempts[1].fault = exchange::Fault::truncate;
    rows.finish(sample);
    CHECK(rows.chaos.injected[at(ChaosKind::delay)].value() == 1);
    CHECK(rows.chaos.injected[at(ChaosKind::status)].value() == 1);
    CHECK(rows.chaos.injected[at(ChaosKind::reset)].value() == 0);
    CHECK(rows.chaos.injected[at(ChaosKind::truncate)].value() == 1);
    rows.finish(SampleTimeline{}.good_attempt());
    CHECK(rows.chaos.injected[at(ChaosKind::delay)].value() == 1);
  }

  TEST_CASE("a policy that only observes has no part in what is counted of an instance") {
    MetricRegistry registry(1, {0.01});
    const exchange::Upstream upstream{.name = "backend"};
    const policy::HedgeConfig hedge;
    exchange::Plan plan;
    plan.upstream = &upstream;
    plan.policy_key = "trial";
    plan.budget.name = plan.hedge.budget.name = "shared";
    plan.hedge.config = &hedge;
    plan.bulkheads.emplace_back().name = "places";
    plan.rate_limits.emplace_back().name = "shared";
    plan.adaptive_limit.name = "limit";
    plan.throttle.name = "throttle";
    plan.observes = true;
    const RouteRows rows = route_rows(registry, 0, plan);
    CHECK(rows.rate_limits.size() == 1);  // its series has the policy's own label
    CHECK(rows.hedges != nullptr);
    CHECK(rows.budget == nullptr);
    CHECK(rows.hedge_budget == nullptr);
    CHECK(rows.bulkheads.empty());
    CHECK(rows.adaptive_limit == nullptr);
    CHECK(rows.throttle == nullptr);
    CHECK(registry.all().budgets.empty());
    SampleTimeline sample = SampleTimeline{}.good_attempt();
    sample.get().decide({.part = Part::bulkhead, .reason = Reason::bulkhead_full, .would = true, .name = "places"});
    sample.get().decide({.part = Part::budget, .reason = Reason::budget_denied, .would = true});
    begin(*rows.policy);
    record(sample, rows);
    CHECK(rows.policy->observed[at(Reason::bulkhead_full)].value() == 1);
    CHECK(rows.policy->observed[at(Reason::budget_denied)].value() == 1);
  }

  TEST_CASE("only those that waited are in the histogram of waits") {
    Rows rows;
    rows.finish(SampleTimeline{}.good_attempt());
    SampleTimeline sample = SampleTimeline{}.good_attempt();
    sample.get().waits.bulkhead = 7ms;
    rows.finish(sample);
    CHECK(observed(rows.policy.queue_wait[at(Queue::bulkhead)]) == 1);
    CHECK(rows.policy.queue_wait[at(Queue::bulkhead)].sum() == 7ms);
    CHECK(observed(rows.policy.queue_wait[at(Queue::rate_limit)]) == 0);
  }

  TEST_CASE("answers that did not come from the upstream are counted apart, with the code that was sent") {
    Rows rows;
    SampleTimeline fallback = SampleTimeline{}.ended(Reason::circuit_open, 200);
    fallback.get().outcome = exchange::RequestOutcome::fallback;
    rows.finish(fallback);
    SampleTimeline cached = SampleTimeline{}.ended(Reason::http_4xx, 404);
    cached.get().outcome = exchange::RequestOutcome::cached;
    rows.finish(cached);
    CHECK(rows.policy.fallbacks[0][at(Reason::circuit_open)].value() == 1);
    CHECK(rows.policy.cached[2][at(Reason::http_4xx)].value() == 1);
    CHECK(total(rows.policy.requests) == 0);
    CHECK(observed(rows.policy.duration[at(exchange::RequestOutcome::fallback)]) == 1);
  }

  TEST_CASE("a route finds the rows of all that its policy refers to, and none of what it has not") {
    MetricRegistry registry(1, {0.1});
    exchange::Upstream upstream{.name = "backend"};
    exchange::Plan plan;
    plan.upstream = &upstream;
    plan.policy_key = "payments";
    const RouteRows bare = route_rows(registry, 0, plan);
    CHECK(bare.policy == registry.policy_row(0, "payments"));
    CHECK(bare.attempts == registry.attempt_row(0, "payments", "backend"));
    CHECK(bare.budget == nullptr);
    CHECK(bare.hedges == nullptr);
    CHECK(bare.bulkheads.empty());
    CHECK(bare.adaptive_limit == nullptr);
    const policy::HedgeConfig hedge;
    plan.hedge.config = &hedge;
    plan.hedge.budget.name = "hedging";
    plan.rate_limits.emplace_back().name = "shared";
    plan.bulkheads.emplace_back().name = "places";
    plan.throttle.name = "throttle";
    const RouteRows full = route_rows(registry, 0, plan);
    CHECK(full.hedge_budget == registry.budget_row(0, "hedging"));
    CHECK(full.hedges == registry.hedge_row(0, "payments"));
    CHECK(full.rate_limits[0].row == registry.rate_limit_row(0, "shared", "payments"));
    CHECK(full.bulkheads[0].row == registry.bulkhead_row(0, "places"));
    CHECK(full.throttle == registry.throttle_row(0, "throttle"));
  }
}
