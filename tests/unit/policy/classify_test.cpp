#include "proxy/policy/classify.hpp"

#include <map>

#include <doctest/doctest.h>

using namespace outrigger;
using namespace outrigger::policy;

TEST_SUITE("policy") {
  TEST_CASE("the truth table holds for every status") {
    const std::map<std::uint16_t, Reason> retryable = {
        {408, Reason::http_408}, {425, Reason::http_425}, {429, Reason::http_429}, {500, Reason::http_500},
        {502, Reason::http_502}, {503, Reason::http_503}, {504, Reason::http_504}};
    for (std::uint16_t status = 100; status < 1000; ++status) {
      CAPTURE(status);
      const Classification result = classify_status(status);
      if (const auto entry = retryable.find(status); entry != retryable.end()) {
        CHECK(result.outcome == Outcome::retryable);
        CHECK(result.reason == entry->second);
      } else if (status < 400) {
        CHECK(result.outcome == Outcome::success);
        CHECK(result.reason == Reason::success);
      } else {
        CHECK(result.outcome == Outcome::non_retryable);
        CHECK(result.reason == Reason::http_non_retryable_status);
      }
    }
  }

  TEST_CASE("a connection that failed may work the next time, a broken answer will not") {
    for (const Reason why :
         {Reason::connect_refused, Reason::connect_timeout, Reason::connect_error, Reason::dns_failure,
          Reason::tls_failure, Reason::reset, Reason::closed_early, Reason::attempt_timeout}) {
      CAPTURE(to_string(why));
      CHECK(classify_fault(why).outcome == Outcome::retryable);
      CHECK(classify_fault(why).reason == why);
    }
    for (const Reason why : {Reason::protocol_error, Reason::response_head_too_large}) {
      CHECK(classify_fault(why).outcome == Outcome::non_retryable);
      CHECK(classify_fault(why).reason == why);
    }
  }

  TEST_CASE("an answer names the request by its class") {
    CHECK(request_reason(200) == Reason::success);
    CHECK(request_reason(304) == Reason::success);
    CHECK(request_reason(399) == Reason::success);
    CHECK(request_reason(400) == Reason::http_4xx);
    CHECK(request_reason(499) == Reason::http_4xx);
    CHECK(request_reason(500) == Reason::http_5xx);
    CHECK(request_reason(999) == Reason::http_5xx);
  }

  TEST_CASE("outcomes are spelled as metrics show them") {
    CHECK(to_string(Outcome::success) == "success");
    CHECK(to_string(Outcome::retryable) == "retryable");
    CHECK(to_string(Outcome::non_retryable) == "non_retryable");
    CHECK(to_string(Outcome::abort) == "abort");
  }
}
