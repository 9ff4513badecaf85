#include "proxy/telemetry/metric_shard.hpp"

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
  BudgetRow budget;

  void finish(const Timeline& timeline) {
    begin(policy);
    record(timeline, policy, attempts, &budget);
  }
};

}  // namespace

TEST_SUITE("telemetry") {
  TEST_CASE("a duration on a bucket's bound belongs to that bucket and one past it to the next") {
    const Buckets buckets{{0.005, 0.01}};
    Histogram histogram{buckets};
    histogram.observe(5ms);
    histogram.observe(5ms + 1ns);
    histogram.observe(1h);
    CHECK(histogram.count(0) == 1);
    CHECK(histogram.count(1) == 1);
    CHECK(histogram.count(2) == 1);
    CHECK(histogram.sum() == 1h + 10ms + 1ns);
  }

  TEST_CASE("a duration that was never measured counts as zero and does not spoil the sum") {
    const Buckets buckets{{0.005}};
    Histogram histogram{buckets};
    histogram.observe(exchange::kAbsent);
    CHECK(histogram.count(0) == 1);
    CHECK(histogram.sum() == 0ns);
  }

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
    record(SampleTimeline{}, rows.policy, rows.attempts, nullptr);
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

  TEST_CASE("a row is the same for the same name and another for another worker") {
    MetricRegistry registry(2, {0.1});
    PolicyRow* row = registry.policy_row(0, "payments");
    CHECK(registry.policy_row(0, "payments") == row);
    CHECK(registry.policy_row(1, "payments") != row);
    CHECK(registry.policy_row(0, "users") != row);
    CHECK(registry.attempt_row(0, "payments", "a") != registry.attempt_row(0, "payments", "b"));
  }
}
