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

  // ---- hedges ------------------------------------------------------------------------------

  TEST_CASE("hedging one endpoint is suspicious; a host name may be several") {
    const auto about = [](const std::string& endpoints, const std::string& routes = "{upstream: up}") {
      return findings("version: 1\nlisteners: [{name: in, listen: '127.0.0.1:0'}]\nupstreams: {up: {endpoints: [" +
                      endpoints + "]}, two: {endpoints: ['127.0.0.1:2', '127.0.0.1:3']}}\nroutes: [" + routes +
                      ", {match: {path: /two}, upstream: two}]\npolicies: {default: {hedge: {}}, p: {}}\n");
    };
    const std::string routes = "{match: {path: /a}, upstream: up}, {match: {path: /p}, policy: p, upstream: up}";
    const Lines lines{
        "t.yaml:5:29: warning: policies.default.hedge: upstream up has one endpoint: a hedge goes where the first "
        "attempt waits"};
    CHECK(about("'127.0.0.1:1'", routes) == lines);
    CHECK(about("'[::1]:1'", routes) == lines);
    CHECK(about("'127.0.0.1:1', '127.0.0.1:2'", routes).empty());
    CHECK(about("'service.internal:1'", routes).empty());
    CHECK(about("'localhost:1'", routes).empty());
    CHECK(about("'127.0.0.1:1'", "{match: {path: /p}, policy: p, upstream: up}").empty());
  }

  TEST_CASE("a hedge that is executed twice, comes too late or has no say is suspicious") {
    const auto about = [](const std::string& hedge) {
      return findings(
          "version: 1\nlisteners: [{name: in, listen: '127.0.0.1:0'}]\nupstreams: {up: {endpoints: "
          "['a:1']}}\nroutes: [{upstream: up}]\npolicies: {default: {hedge: {" +
          hedge + "}}}\n");
    };
    CHECK(about("methods: [GET, HEAD, OPTIONS]").empty());
    CHECK(about("methods: [GET, PUT, POST]") ==
          Lines{"t.yaml:5:45: warning: policies.default.hedge.methods[1]: a hedged PUT is executed twice",
                "t.yaml:5:50: warning: policies.default.hedge.methods[2]: a hedged POST is executed twice"});
    CHECK(about("methods: []") ==
          Lines{"t.yaml:5:39: warning: policies.default.hedge.methods: no methods: nothing is hedged"});
    CHECK(about("methods: [get, 'a b']") ==
          Lines{"t.yaml:5:40: error: policies.default.hedge.methods[0]: never matches: methods are case-sensitive, got "
                "\"get\" (write GET)",
                "t.yaml:5:45: error: policies.default.hedge.methods[1]: must be a method, got \"a b\""});
    CHECK(about("delay: 14s").empty());
    CHECK(about("delay: 15s") ==
          Lines{"t.yaml:5:37: warning: policies.default.hedge.delay: not below overall_timeout (15s): no hedge is ever "
                "sent"});
    CHECK(about("delay: 1s, trigger: p90, min_samples: 5").empty());
    CHECK(about("delay: 1s, min_samples: 5, window: 5s") ==
          Lines{"t.yaml:5:54: warning: policies.default.hedge.min_samples: has no effect without trigger: the delay is "
                "fixed",
                "t.yaml:5:65: warning: policies.default.hedge.window: has no effect without trigger: the delay is "
                "fixed"});
    CHECK(
        about("min_delay: 2s, max_delay: 1s") ==
        Lines{"t.yaml:5:56: error: policies.default.hedge.max_delay: max_delay (1s) must not be below min_delay (2s)"});
    CHECK(about("min_delay: 11s") ==
          Lines{"t.yaml:5:41: error: policies.default.hedge.min_delay: max_delay (10s) must not be below min_delay "
                "(11s)"});
    CHECK(about("budget: none, max_hedges: 2") ==
          Lines{"t.yaml:5:38: warning: policies.default.hedge.budget: the budget is switched off: a slow upstream is "
                "answered with 3 times the load"});
    CHECK(about("trigger: 95") ==
          Lines{"t.yaml:5:39: error: policies.default.hedge.trigger: must be a percentile, got \"95\" (write p95)"});
  }

  // ---- circuits and limits -----------------------------------------------------------------

  TEST_CASE("the numbers of a circuit fit each other") {
    const auto about = [](const std::string& circuit) { return about_default("{circuit: {" + circuit + "}}"); };
    CHECK(about("cooldown: 5m").empty());
    CHECK(about("cooldown: 6m") ==
          Lines{"t.yaml:8:42: error: policies.default.circuit.cooldown: max_cooldown (5m) must not be below cooldown "
                "(6m)"});
    CHECK(about("cooldown: 2s, max_cooldown: 1s") ==
          Lines{"t.yaml:8:60: error: policies.default.circuit.max_cooldown: max_cooldown (1s) must not be below "
                "cooldown (2s)"});
    CHECK(about("failure_rate: 50%, window_calls: 10").empty());
    CHECK(about("failure_rate: 50%, window_calls: 9") ==
          Lines{"t.yaml:8:65: error: policies.default.circuit.window_calls: minimum_calls (10) must not be above "
                "window_calls (9)"});
    CHECK(about("failure_rate: 50%, window_calls: 9, minimum_calls: 9").empty());
    CHECK(about("scope: endpoint, counts: request") ==
          Lines{"t.yaml:8:39: error: policies.default.circuit.scope: a circuit of endpoints counts attempts: a request "
                "has no endpoint yet"});
    CHECK(about("scope: upstream, counts: request").empty());
  }

  TEST_CASE("what a circuit's rule does not look at is suspicious") {
    const auto about = [](const std::string& circuit) { return about_default("{circuit: {" + circuit + "}}"); };
    CHECK(about("minimum_calls: 5, window: 1s") ==
          Lines{"t.yaml:8:47: warning: policies.default.circuit.minimum_calls: has no effect without failure_rate or "
                "slow_call",
                "t.yaml:8:58: warning: policies.default.circuit.window: has no effect without failure_rate or "
                "slow_call"});
    CHECK(about("minimum_calls: 5, window: 1s, slow_call: {threshold: 1s}").empty());
    CHECK(about("window_calls: 50, slow_call: {threshold: 1s}") ==
          Lines{"t.yaml:8:46: warning: policies.default.circuit.window_calls: has no effect: beside "
                "consecutive_failures slow calls are counted over window"});
  }

  TEST_CASE("probes and slow calls have the time that an attempt has") {
    const auto about = [](const std::string& circuit) {
      return about_default("{retry: {timeout_per_attempt: 2s}, circuit: {" + circuit + "}}");
    };
    CHECK(about("half_open: {probe_timeout: 2s}, slow_call: {threshold: 1s}").empty());
    CHECK(
        about("half_open: {probe_timeout: 1s}") ==
        Lines{"t.yaml:8:93: warning: policies.default.circuit.half_open.probe_timeout: below timeout_per_attempt (2s) "
              "of default: a probe fails before its attempt does"});
    CHECK(
        about("slow_call: {threshold: 2s}") ==
        Lines{"t.yaml:8:89: warning: policies.default.circuit.slow_call.threshold: not below timeout_per_attempt (2s) "
              "of default: an attempt is given up before it is slow"});
    CHECK(about("counts: request, slow_call: {threshold: 2s}").empty());
    CHECK(
        findings_in("circuits: {c: {half_open: {probe_timeout: 1s}}}\npolicies: {default: {retry: "
                    "{timeout_per_attempt: 2s}, circuit: c}}\n") ==
        Lines{"t.yaml:8:43: warning: circuits.c.half_open.probe_timeout: below timeout_per_attempt (2s) of default: a "
              "probe fails before its attempt does"});
  }

  TEST_CASE("a queue without time, time without a queue, and a wait beyond the request's own time are suspicious") {
    CHECK(about_default("{bulkhead: {max_concurrent: 1, max_queue: 5, max_wait: 1s}}").empty());
    CHECK(about_default("{bulkhead: {max_concurrent: 1, max_queue: 5}}") ==
          Lines{"t.yaml:8:63: warning: policies.default.bulkhead.max_queue: nobody waits: max_wait is 0"});
    CHECK(about_default("{bulkhead: {max_concurrent: 1, max_wait: 1s}}") ==
          Lines{"t.yaml:8:62: warning: policies.default.bulkhead.max_wait: nobody waits: max_queue is 0"});
    CHECK(about_default("{bulkhead: {max_concurrent: 1, max_queue: 5, max_wait: 15s}}") ==
          Lines{"t.yaml:8:76: warning: policies.default.bulkhead.max_wait: not below overall_timeout (15s) of default, "
                "which ends the wait first"});
    CHECK(
        about_default("{rate_limit: {max_wait: 15s}}") ==
        Lines{"t.yaml:8:45: warning: policies.default.rate_limit.max_wait: not below overall_timeout (15s) of default, "
              "which ends the wait first"});
    CHECK(about_default("{overall_timeout: 0, rate_limit: {max_wait: 15s}}").empty());
    CHECK(about_default("{adaptive_limit: {queue: 5}}").empty());
    CHECK(about_default("{adaptive_limit: {max_wait: 1s}}") ==
          Lines{"t.yaml:8:49: warning: policies.default.adaptive_limit.max_wait: nobody waits: queue is 0"});
    CHECK(about_default("{adaptive_limit: {queue: 1, max_wait: 0}}") ==
          Lines{"t.yaml:8:46: warning: policies.default.adaptive_limit.queue: nobody waits: max_wait is 0"});
    CHECK(findings_in("rate_limits: {r: {max_wait: 15s}}\npolicies: {default: {rate_limit: r}}\n") ==
          Lines{"t.yaml:8:29: warning: rate_limits.r.max_wait: not below overall_timeout (15s) of default, which ends "
                "the wait first"});
  }

  TEST_CASE("an adaptive limit begins between its bounds") {
    const auto about = [](const std::string& keys) { return about_default("{adaptive_limit: {" + keys + "}}"); };
    CHECK(about("min: 20, max: 20").empty());
    CHECK(about("min: 21") ==
          Lines{"t.yaml:8:44: error: policies.default.adaptive_limit.min: initial (20) must not be below min (21)"});
    CHECK(about("max: 19") ==
          Lines{"t.yaml:8:44: error: policies.default.adaptive_limit.max: max (19) must not be below initial (20)"});
    CHECK(about("min: 5, initial: 4") ==
          Lines{"t.yaml:8:56: error: policies.default.adaptive_limit.initial: initial (4) must not be below min (5)"});
    CHECK(about("algorithm: gradient, gradient: {window: {min: 31s}}") ==
          Lines{"t.yaml:8:79: error: policies.default.adaptive_limit.gradient.window: max (30s) must not be below min "
                "(31s)"});
    CHECK(
        about("gradient: {}") ==
        Lines{"t.yaml:8:49: warning: policies.default.adaptive_limit.gradient: has no effect: the algorithm is aimd"});
    CHECK(about("algorithm: gradient, aimd: {}") ==
          Lines{"t.yaml:8:66: warning: policies.default.adaptive_limit.aimd: has no effect: the algorithm is "
                "gradient"});
  }

  TEST_CASE("rules hold for what has a name as for what has none") {
    CHECK(findings_in("circuits: {c: {cooldown: 6m}}\nbulkheads: {b: {max_concurrent: 1, max_queue: 1}}\n"
                      "adaptive_limits: {a: {min: 21}}\n"
                      "policies: {default: {circuit: c, bulkhead: b, adaptive_limit: a}}\n") ==
          Lines{"t.yaml:8:26: error: circuits.c.cooldown: max_cooldown (5m) must not be below cooldown (6m)",
                "t.yaml:9:47: warning: bulkheads.b.max_queue: nobody waits: max_wait is 0",
                "t.yaml:10:28: error: adaptive_limits.a.min: initial (20) must not be below min (21)"});
  }

  TEST_CASE("warnings do not stop a configuration") {
    const LoadResult result = load(Sample{"", "", "", "policies: {default: {retry: {budget: none}}}\n"}.text());
    CHECK(result.diagnostics.size() == 1);
    CHECK(result.ok());
  }
}

}  // namespace
}  // namespace outrigger::config
