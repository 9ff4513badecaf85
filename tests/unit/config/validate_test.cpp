#include "proxy/config/validate.hpp"

#include <string>

#include <doctest/doctest.h>

#include "tests/unit/config/loading.hpp"

namespace outrigger::config {
namespace {

Lines about_default(const std::string& policy) { return findings_in("policies: {default: " + policy + "}\n"); }

TEST_SUITE("config") {
  TEST_CASE("names and addresses of listeners are unique") {
    CHECK(findings("version: 1\nlisteners:\n- {name: a, listen: '127.0.0.1:80'}\n- {name: a, listen: '127.0.0.1:80'}\n"
                   "- {name: b, listen: '127.0.0.1:9901'}\n- {name: c, listen: '127.0.0.1:0'}\n"
                   "- {name: d, listen: '127.0.0.1:0'}\nupstreams: {up: {endpoints: ['127.0.0.1:1']}}\n"
                   "routes: [{match: {listener: any}, upstream: up}]\n") ==
          Lines{"t.yaml:4:10: error: listeners[1].name: the name is taken: a (first at t.yaml:3:10)",
                "t.yaml:4:21: error: listeners[1].listen: the address is taken: 127.0.0.1:80 (first at t.yaml:3:21)",
                "t.yaml:5:21: error: listeners[2].listen: the address is taken: 127.0.0.1:9901 (by the default of "
                "admin.listen)"});
  }

  TEST_CASE("the longest back-off is not below the first") {
    CHECK(about_default("{retry: {initial_backoff: 250ms}}").empty());
    CHECK(about_default("{retry: {initial_backoff: 251ms}}") ==
          Lines{"t.yaml:8:47: error: policies.default.retry.initial_backoff: max_backoff (250ms) must not be below "
                "initial_backoff (251ms)"});
    CHECK(about_default("{retry: {initial_backoff: 1s, max_backoff: 999ms}}") ==
          Lines{"t.yaml:8:64: error: policies.default.retry.max_backoff: max_backoff (999ms) must not be below "
                "initial_backoff (1s)"});
  }

  TEST_CASE("an attempt that may take the whole time is suspicious") {
    CHECK(about_default("{overall_timeout: 2s, retry: {timeout_per_attempt: 666ms}}").empty());
    CHECK(about_default("{overall_timeout: 2s, retry: {timeout_per_attempt: 667ms}}") ==
          Lines{"t.yaml:8:72: warning: policies.default.retry.timeout_per_attempt: 3 attempts of 667ms do not fit "
                "overall_timeout (2s): not all may happen"});
    CHECK(about_default("{overall_timeout: 2s, retry: {timeout_per_attempt: 2s}}") ==
          Lines{"t.yaml:8:72: warning: policies.default.retry.timeout_per_attempt: not below overall_timeout (2s): a "
                "slow first attempt leaves no time for another"});
    CHECK(about_default("{overall_timeout: 0, retry: {timeout_per_attempt: 1h}}").empty());
    CHECK(about_default("{overall_timeout: 1h, retry: {max_attempts: 10, timeout_per_attempt: 6m}}").empty());
  }

  TEST_CASE("a budget switched off is suspicious") {
    CHECK(
        about_default("{retry: {budget: none}}") ==
        Lines{"t.yaml:8:38: warning: policies.default.retry.budget: the budget is switched off: an outage is answered "
              "with 3 times the load"});
    CHECK(
        about_default("{retry: {budget: {type: unlimited}}}") ==
        Lines{"t.yaml:8:38: warning: policies.default.retry.budget: the budget is switched off: an outage is answered "
              "with 3 times the load"});
    CHECK(about_default("{retry: {budget: none, max_attempts: 1}}").empty());
  }

  TEST_CASE("times that never act are suspicious") {
    CHECK(about_default("{overall_timeout: 5ms}") ==
          Lines{"t.yaml:8:21: warning: policies.default.deadline.min_remaining: not below overall_timeout (5ms): every "
                "request is refused"});
    CHECK(about_default("{overall_timeout: 6ms}").empty());
    CHECK(about_default("{max_duration: 14s}") ==
          Lines{"t.yaml:8:36: warning: policies.default.max_duration: below overall_timeout (15s), which never acts"});
    CHECK(about_default("{max_duration: 15s}").empty());
  }

  TEST_CASE("what nothing uses is told") {
    CHECK(findings_in("policies: {a.B: {}, base: {}, default: {extends: base}}\nbudgets: {b: {type: window}}\n") ==
          Lines{"t.yaml:8:17: warning: policies.a.B: no route uses this policy",
                "t.yaml:9:14: warning: budgets.b: no policy uses this budget"});
  }

  TEST_CASE("a policy's own budget has the policy's name, which must be free") {
    CHECK(findings_in("budgets: {default_: {type: window}}\npolicies:\n  default: {retry: {budget: default_}}\n"
                      "  default_: {retry: {budget: {type: window}}}\n") ==
          Lines{"t.yaml:11:13: warning: policies.default_: no route uses this policy",
                "t.yaml:11:30: error: policies.default_.retry.budget: a budget in budgets has the name of this policy, "
                "which is that of its own budget, too (defined at t.yaml:8:21)"});
  }

  TEST_CASE("warnings do not stop a configuration") {
    const LoadResult result = load(Sample{"", "", "", "policies: {default: {retry: {budget: none}}}\n"}.text());
    CHECK(result.diagnostics.size() == 1);
    CHECK(result.ok());
  }
}

}  // namespace
}  // namespace outrigger::config
