#include "proxy/policy/fallback.hpp"

#include <doctest/doctest.h>

#include "proxy/policy/reason_groups.hpp"

using namespace outrigger;
using namespace outrigger::policy;

namespace {

/// A reply of our own, before any attempt.
OutgoingAnswer refusal(Reason reason) { return {.reason = reason, .status = info(reason).status}; }

/// The last answer of an upstream, passed on for want of a better one.
OutgoingAnswer last_answer(std::uint16_t status, Reason reason, Reason attempt) {
  return {.reason = reason, .attempt = attempt, .status = status, .exhausted = true};
}

}  // namespace

TEST_SUITE("policy") {
  TEST_CASE("a fallback without conditions replaces nothing") {
    CHECK_FALSE(matches({}, refusal(Reason::circuit_open)));
    CHECK_FALSE(matches({}, last_answer(503, Reason::http_5xx, Reason::http_503)));
  }

  TEST_CASE("a reason that is named is replaced, another is not") {
    FallbackConfig config;
    config.reasons = {Reason::circuit_open, Reason::rate_limited};
    CHECK(matches(config, refusal(Reason::circuit_open)));
    CHECK(matches(config, refusal(Reason::rate_limited)));
    CHECK_FALSE(matches(config, refusal(Reason::circuit_half_open_probe_limit)));
    CHECK_FALSE(matches(config, refusal(Reason::bulkhead_full)));
  }

  TEST_CASE("the reason of the attempt that decided counts as well as the request's") {
    FallbackConfig config;
    config.reasons = {Reason::http_503};
    CHECK(matches(config, last_answer(503, Reason::http_5xx, Reason::http_503)));
    CHECK_FALSE(matches(config, last_answer(500, Reason::http_5xx, Reason::http_500)));
    config.reasons = {Reason::http_5xx};
    CHECK(matches(config, last_answer(500, Reason::http_5xx, Reason::http_500)));
  }

  TEST_CASE("a status counts whoever says it") {
    FallbackConfig config;
    config.statuses.insert(500, 599);
    CHECK(matches(config, refusal(Reason::circuit_open)));
    CHECK(matches(config, last_answer(501, Reason::http_5xx, Reason::http_non_retryable_status)));
    CHECK_FALSE(matches(config, refusal(Reason::rate_limited)));
    CHECK_FALSE(matches(config, {.reason = Reason::success, .attempt = Reason::success, .status = 200}));
    CHECK_FALSE(matches(config, {.reason = Reason::client_disconnected}));
  }

  TEST_CASE("exhausted means that attempts were made and none was acceptable") {
    FallbackConfig config;
    config.exhausted = true;
    CHECK(matches(config, last_answer(429, Reason::http_4xx, Reason::http_429)));
    CHECK(matches(config, {.reason = Reason::connect_refused, .status = 502, .exhausted = true}));
    CHECK_FALSE(matches(config, refusal(Reason::circuit_open)));
    CHECK_FALSE(matches(config, {.reason = Reason::http_4xx, .status = 404}));
  }

  TEST_CASE("a group is every reason it stands for and no other") {
    struct Named {
      const char* name;
      ReasonSet reasons;
    };
    for (const Named& group :
         {Named{"shed",
                {Reason::throttled, Reason::bulkhead_full, Reason::shed_load, Reason::bulkhead_queue_timeout,
                 Reason::concurrency_limit}},
          Named{"timeout", {Reason::deadline_too_short, Reason::overall_timeout, Reason::attempt_timeout}},
          Named{"connect_failure",
                {Reason::connect_refused, Reason::connect_timeout, Reason::connect_error, Reason::dns_failure,
                 Reason::tls_failure}}}) {
      CAPTURE(group.name);
      CHECK(reason_group(group.name) == group.reasons);
    }
    CHECK(reason_group("exhausted") == std::nullopt);
    CHECK(reason_group("circuit_open") == std::nullopt);
  }
}
