#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/unit/config/keys.hpp"

// Circuits, limits and throttles: by name, of a policy's own, several at once, inherited.
namespace outrigger::config {
namespace {

/// Policies of a text, each with a route of its own so that nothing is unused; the first line of `rest` is line 4.
std::string with_policies(const std::string& rest, const std::vector<std::string>& routed) {
  std::string routes;
  for (const std::string& key : routed) routes += "{match: {path: /" + key + "}, policy: " + key + ", upstream: up}, ";
  return "version: 1\nlisteners: [{name: in, listen: '127.0.0.1:0'}]\nupstreams: {up: {endpoints: ['127.0.0.1:1', "
         "'127.0.0.1:2']}}\n" +
         rest + "routes: [" + routes + "{upstream: up}]\n";
}

LoadResult load_policies(const std::string& rest, const std::vector<std::string>& routed) {
  return load(with_policies(rest, routed));
}

template <class Refs>
std::vector<std::string> names(const Refs& refs) {
  std::vector<std::string> out;
  for (const auto& ref : refs) out.push_back(ref.name);
  return out;
}

using Names = std::vector<std::string>;

TEST_SUITE("config") {
  TEST_CASE("a policy names an instance, or writes one that bears the policy's key") {
    const LoadResult result = load_policies(
        "circuits: {shared: {consecutive_failures: 9}}\n"
        "rate_limits: {shared: {requests: 7}}\n"
        "bulkheads: {shared: {max_concurrent: 3}}\n"
        "adaptive_limits: {shared: {initial: 5}}\n"
        "adaptive_throttles: {shared: {minimum_calls: 4}}\n"
        "policies:\n"
        "  named: {circuit: shared, rate_limit: shared, bulkhead: shared, adaptive_limit: shared, adaptive_throttle: "
        "shared}\n"
        "  own: {circuit: {consecutive_failures: 2}, rate_limit: {requests: 8}, bulkhead: {max_concurrent: 4}, "
        "adaptive_limit: {initial: 6}, adaptive_throttle: {minimum_calls: 5}}\n",
        {"named", "own"});
    REQUIRE(all(result).empty());
    const PolicyConfig& named = result.config.policies.at("named");
    CHECK(names(named.circuits) == Names{"shared"});
    CHECK(named.circuits[0].kind == CircuitRef::Kind::named);
    CHECK(named.circuits[0].config.consecutive_failures == 9);
    CHECK(named.rate_limits[0].config.requests == 7);
    CHECK(named.bulkheads[0].config.max_concurrent == 3);
    CHECK(named.adaptive_limit->config.initial == 5);
    CHECK(named.adaptive_throttle->config.minimum_calls == 4);
    CHECK(named.adaptive_throttle->name == "shared");
    const PolicyConfig& own = result.config.policies.at("own");
    CHECK(names(own.circuits) == Names{"own"});
    CHECK(own.circuits[0].kind == CircuitRef::Kind::inline_);
    CHECK(own.circuits[0].config.consecutive_failures == 2);
    CHECK(own.rate_limits[0].config.requests == 8);
    CHECK(own.rate_limits[0].config.burst == 8);
    CHECK(own.bulkheads[0].config.max_concurrent == 4);
    CHECK(own.adaptive_limit->name == "own");
    CHECK(own.adaptive_throttle->kind == AdaptiveThrottleRef::Kind::inline_);
  }

  TEST_CASE("several of a kind are in the order of their names, and the second own one is told apart") {
    const LoadResult result = load_policies(
        "circuits: {z: {}, b: {}}\nrate_limits: {per_client: {key: client_ip}}\n"
        "policies:\n"
        "  p.Key: {circuit: [z, {scope: endpoint}, b, {scope: upstream}], rate_limit: [per_client, {requests: 5}]}\n",
        {"p.Key"});
    REQUIRE(all(result).empty());
    const PolicyConfig& policy = result.config.policies.at("p.Key");
    CHECK(names(policy.circuits) == Names{"b", "p.Key", "p.Key.2", "z"});
    CHECK(policy.circuits[1].config.scope == policy::CircuitScope::endpoint);
    CHECK(policy.circuits[1].path == "policies.p.Key.circuit[1]");
    CHECK(policy.circuits[2].config.scope == policy::CircuitScope::upstream);
    CHECK(names(policy.rate_limits) == Names{"p.Key", "per_client"});
    CHECK(effective(result.config, "policies").find(R"("rate_limit":[{"requests":5.0)") != std::string::npos);
  }

  TEST_CASE("at most four of a kind, none twice, and only one adaptive limit") {
    CHECK(findings(with_policies("circuits: {a: {}, b: {}}\npolicies:\n"
                                 "  default: {circuit: [], bulkhead: {max_concurrent: 1}}\n"
                                 "  p: {circuit: [a, b, {}, {}, {}]}\n"
                                 "  q: {circuit: [a, b, a]}\n"
                                 "  r: {adaptive_limit: [{}], adaptive_throttle: [a]}\n",
                                 {"p", "q", "r"})) ==
          Lines{"t.yaml:6:22: error: policies.default.circuit: must have between 1 and 4 circuits, got 0",
                "t.yaml:7:16: error: policies.p.circuit: must have between 1 and 4 circuits, got 5",
                "t.yaml:8:23: error: policies.q.circuit[2]: \"a\" is listed twice",
                "t.yaml:9:23: error: policies.r.adaptive_limit: must be the name of an adaptive limit, or a map, got a "
                "list",
                "t.yaml:9:48: error: policies.r.adaptive_throttle: must be the name of an adaptive throttle, or a map, "
                "got a list (a value that begins with [ must be quoted: \"[a]...\")"});
  }

  TEST_CASE("a name that leads nowhere is told with the nearest one") {
    CHECK(findings(with_policies("circuits: {payments: {}}\npolicies:\n"
                                 "  default: {circuit: [payments, payment], bulkhead: none}\n",
                                 {})) ==
          Lines{"t.yaml:6:33: error: policies.default.circuit[1]: no circuit of the name \"payment\" (did you mean "
                "\"payments\"?)",
                "t.yaml:6:53: error: policies.default.bulkhead: no bulkhead of the name \"none\""});
  }

  TEST_CASE("an own instance clashes with a named one of its kind, not with one of another") {
    CHECK(findings(with_policies("circuits: {p: {}, p.2: {}}\nbulkheads: {q: {max_concurrent: 1}}\npolicies:\n"
                                 "  p: {circuit: [{}, {scope: upstream}]}\n"
                                 "  q: {circuit: {}, bulkhead: q}\n"
                                 "  default: {circuit: [p, p.2]}\n",
                                 {"p", "q"})) ==
          Lines{"t.yaml:7:17: error: policies.p.circuit[0]: a circuit in circuits has the name of this policy, which "
                "is that of its own circuit, too (defined at t.yaml:4:15)",
                "t.yaml:7:21: error: policies.p.circuit[1]: a circuit in circuits has the name \"p.2\", which is that "
                "of its own circuit, too (defined at t.yaml:4:24)"});
  }

  TEST_CASE("names in the root are checked, and an instance that nobody uses is told") {
    CHECK(findings(with_policies("circuits: {a/b: {}}\nrate_limits: {a: {}}\nbulkheads: {b: {max_concurrent: 1}}\n"
                                 "adaptive_limits: {c: {}}\nadaptive_throttles: {d: {}}\nclassifiers: {e: [{when: "
                                 "{status: 409}, outcome: retryable}]}\n",
                                 {})) ==
          Lines{"t.yaml:4:12: error: circuits.a/b: is not a name: \"a/b\" (a letter, then letters, digits, - _ and "
                "dots)",
                "t.yaml:4:17: warning: circuits.a/b: no policy uses this circuit",
                "t.yaml:5:18: warning: rate_limits.a: no policy uses this rate limit",
                "t.yaml:6:16: warning: bulkheads.b: no policy uses this bulkhead",
                "t.yaml:7:22: warning: adaptive_limits.c: no policy uses this adaptive limit",
                "t.yaml:8:25: warning: adaptive_throttles.d: no policy uses this adaptive throttle",
                "t.yaml:9:18: warning: classifiers.e: no policy uses this classifier"});
  }

  TEST_CASE("an inherited block is replaced key by key, and its copy is the heir's own") {
    const LoadResult result = load_policies(
        "circuits: {shared: {}}\n"
        "policies:\n"
        "  base:\n"
        "    hedge: {delay: 50ms, max_hedges: 2, methods: [GET]}\n"
        "    circuit: {failure_rate: 40%, minimum_calls: 30, half_open: {max_probes: 2, successes: 3}}\n"
        "    rate_limit: {requests: 7, per: 1m}\n"
        "    bulkhead: {max_concurrent: 9, priorities: {low: 10%, standard: 20%}}\n"
        "    adaptive_limit: {initial: 10}\n"
        "    adaptive_throttle: {minimum_calls: 5}\n"
        "    fallback: {when: [5xx], respond: {status: 200, body: base}}\n"
        "    cache: {ttl: 1s, vary: [Accept]}\n"
        "    chaos: {seed: 3, abort: {probability: 1%}}\n"
        "    mode: observe\n"
        "  heir:\n"
        "    extends: base\n"
        "    hedge: {delay: null}\n"
        "    circuit: {minimum_calls: 20, half_open: {successes: 2}}\n"
        "    rate_limit: {per: 1s}\n"
        "    bulkhead: {priorities: {low: 50%}}\n"
        "    fallback: {when: [shed]}\n"
        "    cache: {ttl: 2s}\n"
        "    mode: enforce\n"
        "  named: {extends: base, circuit: shared, rate_limit: [{requests: 1}, {requests: 2, per: 2s}]}\n"
        "  own: {extends: named, circuit: {cooldown: 1s}}\n"
        "  none: {extends: base, hedge: null, circuit: null, rate_limit: null, bulkhead: ~, adaptive_limit: null, "
        "adaptive_throttle: null, fallback: null, cache: null, chaos: null, mode: null}\n",
        {"base", "heir", "named", "own", "none"});
    REQUIRE(all(result).empty());
    const auto& policies = result.config.policies;

    const PolicyConfig& heir = policies.at("heir");
    CHECK_FALSE(heir.hedge->delay.has_value());
    CHECK(heir.hedge->quantile == 0.95);
    CHECK(heir.hedge->max_hedges == 2);
    CHECK(names(heir.circuits) == Names{"heir"});
    CHECK(heir.circuits[0].config.failure_rate == doctest::Approx(0.4));
    CHECK(heir.circuits[0].config.minimum_calls == 20);
    CHECK(heir.circuits[0].config.successes == 2);
    // A block within a block is a key of it: replaced whole.
    CHECK(heir.circuits[0].config.max_probes == 1);
    CHECK(heir.rate_limits[0].config.requests == 7);
    CHECK(heir.rate_limits[0].config.per == std::chrono::seconds{1});
    CHECK(heir.bulkheads[0].config.max_concurrent == 9);
    CHECK(heir.bulkheads[0].config.priorities.fraction == std::array<double, 3>{0.5, 1, 1});
    CHECK(heir.adaptive_limit->name == "heir");
    CHECK(heir.adaptive_limit->config.initial == 10);
    CHECK(heir.fallback->rule.reasons.contains(Reason::throttled));
    CHECK(heir.fallback->rule.statuses.empty());
    CHECK(heir.fallback->respond.body == "base");
    CHECK(heir.cache->ttl == std::chrono::seconds{2});
    CHECK(heir.cache->vary == Names{"Accept"});
    CHECK(heir.chaos->chaos.seed == 3);
    CHECK(heir.mode == Mode::enforce);

    CHECK(names(policies.at("named").circuits) == Names{"shared"});
    CHECK(names(policies.at("named").rate_limits) == Names{"named", "named.2"});
    CHECK(policies.at("named").mode == Mode::observe);
    // What was a name has no keys to merge with.
    CHECK(names(policies.at("own").circuits) == Names{"own"});
    CHECK(policies.at("own").circuits[0].config.trip == policy::CircuitConfig::Trip::consecutive);

    const PolicyConfig& none = policies.at("none");
    CHECK_FALSE(none.hedge.has_value());
    CHECK(none.circuits.empty());
    CHECK(none.rate_limits.empty());
    CHECK(none.bulkheads.empty());
    CHECK_FALSE(none.adaptive_limit.has_value());
    CHECK_FALSE(none.adaptive_throttle.has_value());
    CHECK_FALSE(none.fallback.has_value());
    CHECK_FALSE(none.cache.has_value());
    CHECK_FALSE(none.chaos.has_value());
    CHECK(none.mode == Mode::enforce);
  }

  TEST_CASE("an heir that needs the other of two keys is told how to be rid of the one it inherits") {
    CHECK(findings(with_policies(
              "policies:\n"
              "  base: {circuit: {consecutive_failures: 3}, fallback: {when: [5xx], stale: true}, cache: "
              "{stale_if_error: 1s}, rate_limit: {burst: 5}}\n"
              "  heir: {extends: base, circuit: {failure_rate: 50%}, fallback: {respond: {status: 200}}, rate_limit: "
              "{shape: smooth}}\n"
              "  good: {extends: base, circuit: {failure_rate: 50%, consecutive_failures: null}, fallback: {respond: "
              "{status: 200}, stale: null}, rate_limit: {shape: smooth, burst: null}}\n",
              {"base", "heir", "good"})) ==
          Lines{"t.yaml:5:42: error: policies.heir.circuit.consecutive_failures: a circuit has one rule: "
                "consecutive_failures or failure_rate (null removes an inherited one)",
                "t.yaml:5:133: error: policies.heir.rate_limit.burst: must be 1 with shape: smooth, which spaces "
                "requests evenly (null removes an inherited one)",
                "t.yaml:6:65: error: policies.heir.fallback: must have exactly one of respond, upstream, stale (null "
                "removes an inherited one)"});
  }

  TEST_CASE("a circuit has one rule and one window") {
    CHECK(findings_in("policies: {default: {circuit: {consecutive_failures: 1, failure_rate: 50%, window: 1s, "
                      "window_calls: 10}}}\n") ==
          Lines{"t.yaml:8:54: error: policies.default.circuit.consecutive_failures: a circuit has one rule: "
                "consecutive_failures or failure_rate",
                "t.yaml:8:102: error: policies.default.circuit.window_calls: a rate has one window: window or "
                "window_calls"});
    CHECK(findings_in("policies: {default: {circuit: {slow_call: {rate: 10%}}}}\n") ==
          Lines{"t.yaml:8:43: error: policies.default.circuit.slow_call.threshold: required, but missing"});
  }

  TEST_CASE("what a circuit counts is a list of failures, groups and statuses, and replaces the default") {
    const auto circuit = [](const std::string& list) {
      const LoadResult result =
          load(Sample{"", "", "", "policies: {default: {circuit: {failure_on: " + list + "}}}\n"}.text());
      REQUIRE(result.ok());
      return result.config.policies.at("default").circuits[0].config;
    };
    const policy::CircuitConfig by_default = circuit(
        "[connect_failure, reset, closed_early, attempt_timeout, overall_timeout, protocol_error, 500, 502-504]");
    policy::CircuitConfig unwritten;
    unwritten.failure_statuses.insert(500, 500);
    unwritten.failure_statuses.insert(502, 504);
    CHECK(by_default.failure_reasons == unwritten.failure_reasons);
    CHECK(by_default.failure_statuses == unwritten.failure_statuses);
    const policy::CircuitConfig own = circuit("[reset, dns_failure, '5xx']");
    CHECK(own.failure_reasons == policy::ReasonSet{Reason::reset, Reason::dns_failure});
    CHECK(own.failure_statuses.contains(501));
    CHECK_FALSE(own.failure_statuses.contains(499));
    CHECK(
        findings_in("policies: {default: {circuit: {failure_on: [resett, timeout, rate_limited, 429, 6xx, {}]}}}\n") ==
        Lines{"t.yaml:8:45: error: policies.default.circuit.failure_on[0]: must be a failure of an attempt, "
              "connect_failure or a status, got \"resett\" (did you mean \"reset\"?)",
              "t.yaml:8:53: error: policies.default.circuit.failure_on[1]: must be a failure of an attempt, "
              "connect_failure or a status, got \"timeout\"",
              "t.yaml:8:62: error: policies.default.circuit.failure_on[2]: must be a failure of an attempt, "
              "connect_failure or a status, got \"rate_limited\"",
              "t.yaml:8:76: warning: policies.default.circuit.failure_on[3]: statuses below 500 are not the "
              "upstream's failure: what clients do wrong opens the circuit",
              "t.yaml:8:81: error: policies.default.circuit.failure_on[4]: must be a status, a class or a range, got "
              "\"6xx\" (write 503, 5xx or 502-504)",
              "t.yaml:8:86: error: policies.default.circuit.failure_on[5]: must be a reason or a status, got a map"});
    CHECK(findings_in("policies: {default: {circuit: {failure_on: []}}}\n") ==
          Lines{"t.yaml:8:44: error: policies.default.circuit.failure_on: must have at least one reason or status"});
  }

  TEST_CASE("a burst is as large as the rate unless it is given, and at least 1") {
    const auto burst = [](const std::string& keys) {
      const LoadResult result = load(Sample{"", "", "", "policies: {default: {rate_limit: {" + keys + "}}}\n"}.text());
      CHECK(all(result).empty());
      return result.config.policies.at("default").rate_limits[0].config.burst;
    };
    CHECK(burst("") == 100);
    CHECK(burst("requests: 500") == 500);
    CHECK(burst("requests: 2.9") == 2);
    CHECK(burst("requests: 0.5") == 1);
    CHECK(burst("requests: 500, burst: 50") == 50);
    CHECK(burst("requests: 500, shape: smooth") == 1);
    CHECK(burst("requests: 500, shape: smooth, burst: 1") == 1);
  }

  TEST_CASE("a rate that is none, and a burst that is never repaid, are errors") {
    CHECK(
        findings_in("policies: {default: {rate_limit: {requests: 1001, per: 1ms}}}\n") ==
        Lines{"t.yaml:8:45: error: policies.default.rate_limit.requests: more than 1000000 requests per second are as "
              "good as no limit"});
    CHECK(findings_in("policies: {default: {rate_limit: {requests: 1000, per: 1ms}}}\n").empty());
    CHECK(findings_in("policies: {default: {rate_limit: {requests: 1, per: 24h, burst: 367}}}\n") ==
          Lines{"t.yaml:8:65: error: policies.default.rate_limit.burst: a burst of 367 takes more than a year to "
                "refill"});
    CHECK(findings_in("policies: {default: {rate_limit: {requests: 1, per: 24h, burst: 366}}}\n").empty());
    CHECK(findings_in("policies: {default: {rate_limit: {requests: 0.001, per: 24h}}}\n") ==
          Lines{"t.yaml:8:45: error: policies.default.rate_limit.requests: a burst of 1 takes more than a year to "
                "refill"});
  }

  TEST_CASE("requests are told apart by nothing, by their client or by a header") {
    const LoadResult result =
        load(Sample{"", "", "", "policies: {default: {rate_limit: {key: {header: X-Tenant}, max_keys: 5}}}\n"}.text());
    REQUIRE(all(result).empty());
    const policy::RateLimitConfig& limit = result.config.policies.at("default").rate_limits[0].config;
    CHECK(limit.key == policy::RateLimitConfig::Key::header);
    CHECK(limit.header == "X-Tenant");
    CHECK(effective(result.config, "policies.default.rate_limit.key") == R"({"header":"X-Tenant"})");
    CHECK(findings_in("policies: {default: {rate_limit: {key: client}}}\n") ==
          Lines{"t.yaml:8:40: error: policies.default.rate_limit.key: must be policy, client_ip or {header: NAME}, got "
                "\"client\" (did you mean \"client_ip\"?)"});
    CHECK(findings_in("policies: {default: {rate_limit: {key: {headers: X}}}}\n") ==
          Lines{"t.yaml:8:40: error: policies.default.rate_limit.key.header: required, but missing",
                "t.yaml:8:41: error: policies.default.rate_limit.key.headers: unknown key (did you mean \"header\"?)"});
    CHECK(findings_in("policies: {default: {rate_limit: {key: {header: 'a b'}}}}\n") ==
          Lines{"t.yaml:8:49: error: policies.default.rate_limit.key.header: must be a header name, got \"a b\""});
  }

  TEST_CASE("the shares of priorities do not fall from low to critical, and critical has everything") {
    const auto about = [](const std::string& levels) {
      return findings_in("policies: {default: {bulkhead: {max_concurrent: 10, priorities: {" + levels + "}}}}\n");
    };
    CHECK(about("low: 50%, standard: 80%, critical: 100%").empty());
    CHECK(about("low: 50%, standard: 50%").empty());
    CHECK(about("low: 50%").empty());
    CHECK(about("").empty());
    CHECK(about("low: 81%, standard: 80%") ==
          Lines{"t.yaml:8:86: error: policies.default.bulkhead.priorities.standard: must not be below low"});
    CHECK(
        about("standard: 80%") ==
        Lines{"t.yaml:8:76: error: policies.default.bulkhead.priorities.standard: must not be below low (a level left "
              "out is 100%: give low, too)"});
    CHECK(about("low: 50%, standard: 80%, critical: 99%") ==
          Lines{"t.yaml:8:101: error: policies.default.bulkhead.priorities.critical: must be 100%: critical requests "
                "may use everything"});
    CHECK(about("lo: 50%") ==
          Lines{"t.yaml:8:66: error: policies.default.bulkhead.priorities.lo: unknown key (did you mean \"low\"?)"});
  }

  TEST_CASE("hedges share the budget of retries unless they have another") {
    const LoadResult result = load_policies(
        "budgets: {shared: {type: ratio}}\n"
        "policies:\n"
        "  a: {hedge: {}}\n"
        "  b: {hedge: {}, retry: {budget: shared}}\n"
        "  c: {hedge: {budget: shared}, retry: {}}\n"
        "  d: {hedge: {}, retry: {budget: {type: window}}}\n"
        "  e: {hedge: {budget: {type: ratio}}, retry: {budget: {type: window}}}\n"
        "  f: {hedge: {budget: {type: ratio}}}\n"
        "  g: {hedge: {budget: default}, retry: {budget: shared}}\n",
        {"a", "b", "c", "d", "e", "f", "g"});
    REQUIRE(all(result).empty());
    const auto budget = [&](const std::string& key) { return result.config.policies.at(key).hedge_budget; };
    CHECK(budget("a").kind == BudgetRef::Kind::builtin);
    CHECK(budget("b").name == "shared");
    CHECK(budget("c").name == "shared");
    CHECK(budget("d").kind == BudgetRef::Kind::inline_);
    CHECK(budget("d").name == "d");
    CHECK(budget("d").config.type == policy::BudgetType::window);
    CHECK(budget("e").name == "e.2");
    CHECK(budget("e").config.type == policy::BudgetType::ratio);
    CHECK(budget("f").name == "f");
    CHECK(budget("g").kind == BudgetRef::Kind::builtin);
    CHECK(budget("g").name == "default");
  }
}

}  // namespace
}  // namespace outrigger::config
