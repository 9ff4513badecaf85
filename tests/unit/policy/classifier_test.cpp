#include "proxy/policy/classifier.hpp"

#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/support/allocations.hpp"

using namespace outrigger;
using namespace outrigger::policy;

namespace {

StatusSet statuses(std::uint16_t first, std::uint16_t last) {
  StatusSet set;
  set.insert(first, last);
  return set;
}

ClassifierRule when_status(std::uint16_t status, Outcome outcome) {
  return {.status = statuses(status, status), .outcome = outcome};
}

ClassifierRule when_failure(Reason failure, Outcome outcome) { return {.failure = failure, .outcome = outcome}; }

Classified answer(const Classifier& rules, std::uint16_t status, std::vector<Field> fields = {},
                  std::string_view method = "GET") {
  return classify(rules, method, status, fields);
}

}  // namespace

TEST_SUITE("policy") {
  TEST_CASE("a classifier without rules is http") {
    for (std::uint16_t status = 200; status < 600; ++status) {
      const Classified classified = answer({}, status);
      CHECK(classified.result.outcome == classify_status(status).outcome);
      CHECK(classified.result.reason == classify_status(status).reason);
      CHECK_FALSE(classified.by_rule);
      CHECK(classified.reason_text.empty());
    }
    CHECK(classify({}, "GET", Reason::reset).result.outcome == Outcome::retryable);
    CHECK(classify({}, "GET", Reason::protocol_error).result.outcome == Outcome::non_retryable);
  }

  TEST_CASE("what no rule applies to is decided by http") {
    const Classifier rules = {when_status(409, Outcome::retryable)};
    CHECK(answer(rules, 404).result.outcome == Outcome::non_retryable);
    CHECK(answer(rules, 503).result.outcome == Outcome::retryable);
    CHECK(answer(rules, 501).result.outcome == Outcome::non_retryable);
    CHECK_FALSE(answer(rules, 503).by_rule);
    CHECK(answer(rules, 409).by_rule);
  }

  TEST_CASE("the first rule that applies decides") {
    Classifier rules = {when_status(503, Outcome::non_retryable), {.status = statuses(500, 599)}};
    rules[1].outcome = Outcome::abort;
    CHECK(answer(rules, 503).result.outcome == Outcome::non_retryable);
    CHECK(answer(rules, 501).result.outcome == Outcome::abort);
    std::swap(rules[0], rules[1]);
    CHECK(answer(rules, 503).result.outcome == Outcome::abort);
  }

  TEST_CASE("a rule changes the outcome and not the reason that is counted; its own is for reading") {
    Classifier rules = {when_status(409, Outcome::retryable), when_status(200, Outcome::non_retryable),
                        when_status(503, Outcome::success)};
    rules[0].reason = "conflict_again";
    const Classified conflict = answer(rules, 409);
    CHECK(conflict.result.outcome == Outcome::retryable);
    CHECK(conflict.result.reason == Reason::http_non_retryable_status);
    CHECK(conflict.reason_text == "conflict_again");
    CHECK(answer(rules, 200).result.reason == Reason::success);
    CHECK(answer(rules, 503).result.reason == Reason::http_503);
    CHECK(answer(rules, 503).reason_text.empty());
  }

  TEST_CASE("all conditions of a rule must hold") {
    const Classifier rules = {{.status = statuses(409, 409),
                               .method = "PUT",
                               .header = HeaderEquals{"X-Retryable", "true"},
                               .outcome = Outcome::retryable}};
    const auto applies = [&](std::uint16_t status, std::string_view method, std::vector<Field> fields) {
      return answer(rules, status, std::move(fields), method).by_rule;
    };
    CHECK(applies(409, "PUT", {{"X-Retryable", "true"}}));
    CHECK_FALSE(applies(408, "PUT", {{"X-Retryable", "true"}}));
    CHECK_FALSE(applies(410, "PUT", {{"X-Retryable", "true"}}));
    CHECK_FALSE(applies(409, "GET", {{"X-Retryable", "true"}}));
    CHECK_FALSE(applies(409, "put", {{"X-Retryable", "true"}}));
    CHECK_FALSE(applies(409, "PUT", {{"X-Retryable", "false"}}));
    CHECK_FALSE(applies(409, "PUT", {}));
  }

  TEST_CASE("a header's name ignores case, its value does not, and any field of that name will do") {
    const Classifier rules = {{.header = HeaderEquals{"X-Retryable", "true"}}};
    CHECK(answer(rules, 404, {{"x-retryable", "true"}}).by_rule);
    CHECK(answer(rules, 404, {{"X-RETRYABLE", "no"}, {"X-Retryable", "true"}}).by_rule);
    CHECK_FALSE(answer(rules, 404, {{"X-Retryable", "True"}}).by_rule);
    CHECK_FALSE(answer(rules, 404, {{"X-Retryable", "true "}}).by_rule);
    CHECK_FALSE(answer(rules, 404, {{"X-Retryable2", "true"}}).by_rule);
  }

  TEST_CASE("a grpc status is a number and nothing around it") {
    const Classifier rules = {{.grpc_status = 14}};
    CHECK(answer(rules, 200, {{"grpc-status", "14"}}).result.outcome == Outcome::retryable);
    CHECK(answer(rules, 200, {{"Grpc-Status", "014"}}).by_rule);
    for (const char* other : {"", "1", "141", "14 ", " 14", "+14", "-14", "0x0e", "4294967310", "UNAVAILABLE"}) {
      CAPTURE(other);
      CHECK_FALSE(answer(rules, 200, {{"grpc-status", other}}).by_rule);
    }
    CHECK_FALSE(answer(rules, 200).by_rule);
    const Classifier zero = {{.grpc_status = 0}};
    CHECK_FALSE(answer(zero, 200).by_rule);
    CHECK(answer(zero, 200, {{"grpc-status", "0"}}).by_rule);
  }

  TEST_CASE("a failure is judged by rules about failures, an answer by rules about answers") {
    const Classifier rules = {when_failure(Reason::attempt_timeout, Outcome::non_retryable),
                              when_status(504, Outcome::abort)};
    CHECK(classify(rules, "GET", Reason::attempt_timeout).result.outcome == Outcome::non_retryable);
    CHECK(classify(rules, "GET", Reason::attempt_timeout).result.reason == Reason::attempt_timeout);
    CHECK(classify(rules, "GET", Reason::reset).result.outcome == Outcome::retryable);
    CHECK(answer(rules, 504).result.outcome == Outcome::abort);
    CHECK(answer(rules, 200).result.outcome == Outcome::success);
    for (const ClassifierRule& about_answers :
         {when_status(200, Outcome::abort), ClassifierRule{.header = HeaderEquals{"a", "b"}},
          ClassifierRule{.grpc_status = 14}}) {
      CHECK_FALSE(classify({about_answers}, "GET", Reason::reset).by_rule);
    }
  }

  TEST_CASE("a rule about a method alone, or about nothing, is for answers and failures") {
    const Classifier rules = {{.method = "DELETE", .outcome = Outcome::abort}, {.outcome = Outcome::non_retryable}};
    CHECK(classify(rules, "DELETE", Reason::reset).result.outcome == Outcome::abort);
    CHECK(classify(rules, "GET", Reason::reset).result.outcome == Outcome::non_retryable);
    CHECK(answer(rules, 503, {}, "DELETE").result.outcome == Outcome::abort);
    CHECK(answer(rules, 200).result.outcome == Outcome::non_retryable);
  }

  TEST_CASE("no rule makes a success of an attempt without an answer") {
    const Classifier rules = {{.outcome = Outcome::success}};
    CHECK(answer(rules, 500).result.outcome == Outcome::success);
    CHECK(classify(rules, "GET", Reason::connect_refused).result.outcome == Outcome::retryable);
  }

  TEST_CASE("the contract's example does what it says") {
    const Classifier strict = {{.status = statuses(409, 409), .header = HeaderEquals{"X-Retryable", "true"}},
                               {.status = statuses(503, 503), .grpc_status = 14},
                               when_failure(Reason::attempt_timeout, Outcome::non_retryable)};
    CHECK(answer(strict, 409, {{"x-retryable", "true"}}).result.outcome == Outcome::retryable);
    CHECK(answer(strict, 409).result.outcome == Outcome::non_retryable);
    CHECK(answer(strict, 503, {{"grpc-status", "14"}}).by_rule);
    CHECK(answer(strict, 503).result.outcome == Outcome::retryable);
    CHECK(classify(strict, "GET", Reason::attempt_timeout).result.outcome == Outcome::non_retryable);
    for (const ClassifierRule& rule : strict) CHECK(contradiction_in(rule) == std::nullopt);
  }

  TEST_CASE("a rule that can never apply is found when it is loaded") {
    CHECK(contradiction_in({}) == std::nullopt);
    CHECK(contradiction_in(when_failure(Reason::reset, Outcome::abort)) == std::nullopt);
    CHECK(contradiction_in({.status = StatusSet{}}).has_value());
    CHECK(contradiction_in(when_failure(Reason::circuit_open, Outcome::abort)).has_value());
    CHECK(contradiction_in(when_failure(Reason::overall_timeout, Outcome::abort)).has_value());
    CHECK(contradiction_in(when_failure(Reason::reset, Outcome::success)).has_value());
    CHECK(contradiction_in({.status = statuses(503, 503), .failure = Reason::reset}).has_value());
    CHECK(contradiction_in({.header = HeaderEquals{"a", "b"}, .failure = Reason::reset}).has_value());
    CHECK(contradiction_in({.grpc_status = 14, .failure = Reason::reset}).has_value());
  }

  TEST_CASE("a reason's name is short, lower case and begins with a letter") {
    CHECK(is_reason_name("a"));
    CHECK(is_reason_name("conflict_2"));
    CHECK(is_reason_name(std::string(40, 'x')));
    CHECK_FALSE(is_reason_name(std::string(41, 'x')));
    for (const char* name : {"", "2a", "_a", "A", "a-b", "a b", "\xc3\xa4"}) CHECK_FALSE(is_reason_name(name));
  }

  TEST_CASE("classifying takes no memory") {
    Classifier rules = {{.status = statuses(409, 409), .method = "PUT", .header = HeaderEquals{"X-Retryable", "true"}}};
    rules[0].reason = "a_reason_too_long_for_a_short_string_xx";
    const std::vector<Field> fields = {{"x-retryable", "true"}};
    const std::uint64_t before = test::allocations();
    const Classified classified = classify(rules, "PUT", 409, fields);
    CHECK(test::allocations() == before);
    CHECK(classified.by_rule);
  }
}
