#include "proxy/policy/retry.hpp"

#include <doctest/doctest.h>

using namespace outrigger;
using namespace outrigger::policy;
using namespace std::chrono_literals;

namespace {

constexpr TimePoint kNow{1h};

/// A GET whose first attempt got 503, with everything in favour of a retry.
RetryQuestion retryable_get() {
  RetryQuestion question;
  question.reason = Reason::http_503;
  question.idempotent = true;
  question.delay = 100ms;
  question.min_remaining = 5ms;
  question.deadline = kNow + 1s;
  return question;
}

/// Everything against it at once.
RetryQuestion hopeless() {
  RetryQuestion question = retryable_get();
  question.committed = true;
  question.outcome = Outcome::non_retryable;
  question.pushback = true;
  question.idempotent = false;
  question.body_replayable = false;
  question.attempts = 3;
  question.deadline = kNow;
  return question;
}

}  // namespace

TEST_SUITE("policy") {
  TEST_CASE("a retry that nothing forbids is allowed") {
    CHECK(why_no_retry({}, retryable_get(), kNow) == std::nullopt);
    CHECK(why_not_resendable({}, retryable_get()) == std::nullopt);
  }

  TEST_CASE("the first rule that fails is the one that is recorded") {
    RetryQuestion question = hopeless();
    CHECK(why_no_retry({}, question, kNow) == Reason::response_committed);
    question.committed = false;
    CHECK(why_no_retry({}, question, kNow) == Reason::non_retryable);
    question.outcome = Outcome::retryable;
    CHECK(why_no_retry({}, question, kNow) == Reason::pushback);
    question.pushback = false;
    CHECK(why_no_retry({}, question, kNow) == Reason::http_non_idempotent);
    question.idempotent = true;
    CHECK(why_no_retry({}, question, kNow) == Reason::body_not_replayable);
    question.body_replayable = true;
    CHECK(why_no_retry({}, question, kNow) == Reason::attempts_exhausted);
    question.attempts = 2;
    CHECK(why_no_retry({}, question, kNow) == Reason::deadline_insufficient);
    question.deadline = kNow + 1s;
    CHECK(why_no_retry({}, question, kNow) == std::nullopt);
  }

  TEST_CASE("attempts are counted with the first") {
    RetryQuestion question = retryable_get();
    for (question.attempts = 1; question.attempts < 3; ++question.attempts) {
      CHECK(why_no_retry({.max_attempts = 3}, question, kNow) == std::nullopt);
    }
    CHECK(why_no_retry({.max_attempts = 3}, question, kNow) == Reason::attempts_exhausted);
    question.attempts = 1;
    CHECK(why_no_retry({.max_attempts = 1}, question, kNow) == Reason::attempts_exhausted);
  }

  TEST_CASE("the delay and what must remain after it have to end before the deadline, not at it") {
    RetryQuestion question = retryable_get();
    question.deadline = kNow + 105ms;
    CHECK(why_no_retry({}, question, kNow) == Reason::deadline_insufficient);
    question.deadline = kNow + 105ms + 1ns;
    CHECK(why_no_retry({}, question, kNow) == std::nullopt);
    question.deadline = kNever;
    question.delay = 1h;
    CHECK(why_no_retry({}, question, kNow) == std::nullopt);
  }

  TEST_CASE("a method that is not idempotent is sent again only when nothing of it was sent, or when told to") {
    RetryQuestion question = retryable_get();
    question.idempotent = false;
    CHECK(why_no_retry({}, question, kNow) == Reason::http_non_idempotent);
    question.exposure = Exposure::partly_sent;
    CHECK(why_no_retry({}, question, kNow) == Reason::http_non_idempotent);
    question.exposure = Exposure::nothing_sent;
    CHECK(why_no_retry({}, question, kNow) == std::nullopt);
    question.exposure = Exposure::fully_sent;
    CHECK(why_no_retry({.non_idempotent = true}, question, kNow) == std::nullopt);
  }

  TEST_CASE("a body that is gone forbids a retry unless nothing of it was sent") {
    RetryQuestion question = retryable_get();
    question.body_replayable = false;
    CHECK(why_no_retry({}, question, kNow) == Reason::body_not_replayable);
    CHECK(why_not_resendable({}, question) == Reason::body_not_replayable);
    question.exposure = Exposure::nothing_sent;
    CHECK(why_no_retry({}, question, kNow) == std::nullopt);
  }

  TEST_CASE("a 429 is tried again only when it says when, and only when that is honoured") {
    RetryQuestion question = retryable_get();
    question.reason = Reason::http_429;
    CHECK(why_no_retry({}, question, kNow) == Reason::non_retryable);
    question.retry_after = 50ms;
    CHECK(why_no_retry({}, question, kNow) == std::nullopt);
    RetryConfig deaf;
    deaf.retry_after.honor = false;
    CHECK(why_no_retry(deaf, question, kNow) == Reason::non_retryable);
  }

  TEST_CASE("a Retry-After at its limit is waited for, and one beyond it is not") {
    RetryQuestion question = retryable_get();
    question.deadline = kNow + 10s;
    question.retry_after = 2s;
    question.delay = 2100ms;
    question.server_delay = true;
    CHECK(why_no_retry({}, question, kNow) == std::nullopt);
    question.retry_after = 2s + 1ns;
    CHECK(why_no_retry({}, question, kNow) == Reason::retry_after_too_long);
  }

  TEST_CASE("a delay that does not fit is the server's fault only where the server asked for it") {
    RetryQuestion question = retryable_get();
    question.deadline = kNow + 500ms;
    question.retry_after = 600ms;
    question.delay = 600ms;
    question.server_delay = true;
    CHECK(why_no_retry({}, question, kNow) == Reason::retry_after_too_long);
    question.retry_after = 0ms;
    question.server_delay = false;
    CHECK(why_no_retry({}, question, kNow) == Reason::deadline_insufficient);
  }

  TEST_CASE("a reconnect asks only whether the request may be sent again") {
    RetryQuestion question = hopeless();
    question.committed = false;
    question.idempotent = true;
    question.body_replayable = true;
    CHECK(why_not_resendable({}, question) == std::nullopt);
    question.committed = true;
    CHECK(why_not_resendable({}, question) == Reason::response_committed);
    question.committed = false;
    question.idempotent = false;
    CHECK(why_not_resendable({}, question) == Reason::http_non_idempotent);
    CHECK(why_not_resendable({.non_idempotent = true}, question) == std::nullopt);
  }
}
