#include <algorithm>
#include <chrono>
#include <string>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "proxy/config/dump.hpp"
#include "tests/unit/config/loading.hpp"

namespace outrigger::config {
namespace {

using namespace std::chrono_literals;
using Kind = BudgetRef::Kind;

/// Policies and budgets of a text, with a route for each policy so that nothing is unused.
LoadResult load_policies(const std::string& policies, const std::vector<std::string>& routed) {
  std::string text =
      "version: 1\nlisteners: [{name: in, listen: '127.0.0.1:0'}]\nupstreams: {up: {endpoints: ['127.0.0.1:1']}}\n"
      "routes:\n";
  for (const std::string& key : routed) {
    text += "- {upstream: up, policy: " + key + ", match: {path: /" + key + "}}\n";
  }
  text += "- {upstream: up}\n";
  return load(text + policies);
}

TEST_SUITE("config") {
  TEST_CASE("extends copies a policy, and a block given again replaces it key by key") {
    const LoadResult result = load_policies(
        "policies:\n"
        "  base:\n"
        "    id: team\n"
        "    overall_timeout: 9s\n"
        "    deadline: {margin: 7ms, accept: [Grpc-Timeout]}\n"
        "    retry: {max_attempts: 4, jitter: none, retry_after: {honor: false, max: 1s}}\n"
        "  child:\n"
        "    extends: base\n"
        "    retry: {max_attempts: 2, retry_after: {max: 3s}}\n"
        "  grandchild: {extends: child, overall_timeout: 8s}\n",
        {"base", "child", "grandchild"});
    REQUIRE(result.diagnostics.empty());
    const policy::Policy& child = result.config.policies.at("child").policy;
    CHECK(child.key == "child");
    CHECK(child.id == "team");
    CHECK(child.overall_timeout == 9s);
    CHECK(child.deadline.margin == 7ms);
    CHECK(child.deadline.accept.size() == 1);
    REQUIRE(child.retry.has_value());
    CHECK(child.retry->max_attempts == 2);
    CHECK(child.retry->backoff.jitter == policy::Jitter::none);
    CHECK(child.retry->retry_after.max == 3s);
    CHECK(child.retry->retry_after.honor);
    CHECK(result.config.policies.at("child").extends == "base");
    const policy::Policy& grandchild = result.config.policies.at("grandchild").policy;
    CHECK(grandchild.overall_timeout == 8s);
    CHECK(grandchild.retry->max_attempts == 2);
  }

  TEST_CASE("the order in which parents and children are written does not matter") {
    const LoadResult result = load_policies(
        "policies:\n  a: {extends: b}\n  b: {extends: c, id: from-b}\n  c: {overall_timeout: 3s}\n", {"a", "b", "c"});
    REQUIRE(result.diagnostics.empty());
    CHECK(result.config.policies.at("a").policy.overall_timeout == 3s);
    CHECK(result.config.policies.at("a").policy.id == "from-b");
  }

  TEST_CASE("null takes an inherited block or key away") {
    const LoadResult result = load_policies(
        "policies:\n"
        "  base: {retry: {max_attempts: 5, jitter: none}, deadline: {margin: 9ms}, id: x}\n"
        "  no_retry: {extends: base, retry: null, deadline: ~, hedge: null}\n"
        "  plain_attempts: {extends: base, retry: {max_attempts: null}, id: null}\n"
        "  again: {extends: no_retry, retry: {}}\n",
        {"base", "no_retry", "plain_attempts", "again"});
    REQUIRE(result.diagnostics.empty());
    CHECK_FALSE(result.config.policies.at("no_retry").policy.retry.has_value());
    CHECK(result.config.policies.at("no_retry").policy.deadline.margin == 0ms);
    const policy::Policy& plain = result.config.policies.at("plain_attempts").policy;
    CHECK(plain.retry->max_attempts == 3);
    CHECK(plain.retry->backoff.jitter == policy::Jitter::none);
    CHECK(plain.id.empty());
    CHECK(result.config.policies.at("again").policy.retry->backoff.jitter == policy::Jitter::full);
  }

  TEST_CASE("null where nothing is inherited is an error") {
    CHECK(findings_in("policies:\n  default:\n    retry:\n") ==
          Lines{"t.yaml:10:5: error: policies.default.retry: the value is missing"});
    CHECK(findings_in("policies:\n  default:\n") ==
          Lines{"t.yaml:9:3: error: policies.default: must be a map, got nothing (an empty one is written {})"});
    CHECK(findings_in("policies: {default: {extends: , retry: {}}}\n") ==
          Lines{"t.yaml:8:22: error: policies.default.extends: the value is missing"});
  }

  TEST_CASE("presets are what the contract says") {
    const LoadResult result = load_policies(
        "policies:\n  h: {extends: preset/http}\n  b: {extends: preset/background}\n  n: {extends: preset/none}\n",
        {"h", "b", "n"});
    REQUIRE(result.diagnostics.empty());
    const policy::Policy& http = result.config.policies.at("h").policy;
    CHECK(http.overall_timeout == 30s);
    CHECK(http.retry->max_attempts == 3);
    CHECK(http.retry->timeout_per_attempt == 10s);
    CHECK(http.retry->backoff.initial == 100ms);
    CHECK(http.retry->backoff.max == 2s);
    const policy::Policy& background = result.config.policies.at("b").policy;
    CHECK(background.overall_timeout == 5min);
    CHECK(background.retry->max_attempts == 5);
    CHECK(background.retry->timeout_per_attempt == 0s);
    CHECK(background.retry->backoff.initial == 1s);
    CHECK(background.retry->backoff.max == 30s);
    CHECK_FALSE(result.config.policies.at("n").policy.retry.has_value());
  }

  TEST_CASE("the preset for low latency hedges at p95") {
    const LoadResult result = load(
        "version: 1\nlisteners: [{name: in, listen: '127.0.0.1:0'}]\n"
        "upstreams: {up: {endpoints: ['127.0.0.1:1', '127.0.0.1:2']}}\nroutes: [{upstream: up, policy: l}]\n"
        "policies: {l: {extends: preset/low_latency}}\n");
    REQUIRE(result.diagnostics.empty());
    const PolicyConfig& fast = result.config.policies.at("l");
    CHECK(fast.policy.overall_timeout == 1s);
    CHECK(fast.policy.retry->max_attempts == 2);
    CHECK(fast.policy.retry->timeout_per_attempt == 500ms);
    CHECK(fast.policy.retry->backoff.initial == 10ms);
    CHECK(fast.policy.retry->backoff.max == 50ms);
    REQUIRE(fast.hedge.has_value());
    CHECK(fast.hedge->max_hedges == 1);
    CHECK(fast.hedge->quantile == 0.95);
    CHECK_FALSE(fast.hedge->delay.has_value());
    CHECK(fast.hedge_budget.kind == Kind::builtin);
  }

  TEST_CASE("a mistake that only a preset's hedge could point at is told at the policy that took it up") {
    const LoadResult result = load_policies("policies:\n  l: {extends: preset/low_latency}\n", {"l"});
    REQUIRE(result.diagnostics.size() == 1);
    CHECK(to_string(result.diagnostics[0]) ==
          "t.yaml:8:6: warning: policies.l.hedge: upstream up has one endpoint: a hedge goes where the first attempt "
          "waits");
  }

  TEST_CASE("the built-in default can be inherited and defined") {
    const LoadResult inherited = load_policies("policies:\n  a: {extends: default, id: x}\n", {"a"});
    CHECK(inherited.diagnostics.empty());
    const LoadResult defined =
        load_policies("policies:\n  default: {overall_timeout: 1s}\n  a: {extends: default}\n", {"a"});
    CHECK(defined.diagnostics.empty());
    CHECK(defined.config.policies.at("a").policy.overall_timeout == 1s);
  }

  TEST_CASE("circles are told once, whatever their length") {
    const auto errors = [](const std::string& policies, const std::vector<std::string>& routed) {
      Lines lines;
      for (const Diagnostic& diagnostic : load_policies(policies, routed).diagnostics) {
        lines.push_back(to_string(diagnostic));
      }
      return lines;
    };
    CHECK(errors("policies:\n  a: {extends: a}\n", {"a"}) ==
          Lines{"t.yaml:8:16: error: policies.a.extends: a circle: a -> a"});
    CHECK(errors("policies:\n  a: {extends: b}\n  b: {extends: c}\n  c: {extends: a}\n", {"a", "b", "c"}) ==
          Lines{"t.yaml:12:16: error: policies.c.extends: a circle: a -> b -> c -> a"});
    CHECK(errors("policies:\n  z: {extends: a}\n  a: {extends: b}\n  b: {extends: a}\n", {"z", "a", "b"}) ==
          Lines{"t.yaml:12:16: error: policies.b.extends: a circle: a -> b -> a"});
  }

  TEST_CASE("a chain of parents may have 32 of them, and a longer one is told once") {
    const auto chain = [](int parents, const std::string& last) {
      std::string text = "policies:\n";
      for (int i = 0; i < parents; ++i) {
        text += "  p" + std::to_string(i) + ": {extends: p" + std::to_string(i + 1) + "}\n";
      }
      return text + "  p" + std::to_string(parents) + ": {" + last + "}\n";
    };
    const LoadResult longest = load_policies(chain(32, "overall_timeout: 3s"), {"p0"});
    CHECK(longest.diagnostics.empty());
    CHECK(longest.config.policies.at("p0").policy.overall_timeout == 3s);
    const auto errors = [](const LoadResult& result) {
      Lines lines;
      for (const Diagnostic& diagnostic : result.diagnostics) {
        if (diagnostic.severity == Severity::error) lines.push_back(to_string(diagnostic));
      }
      return lines;
    };
    const std::string too_long = ".extends: a chain of parents must be no longer than 32";
    CHECK(errors(load_policies(chain(33, "overall_timeout: 3s"), {"p0"})) ==
          Lines{"t.yaml:8:17: error: policies.p0" + too_long});
    CHECK(errors(load_policies(chain(20'000, "overall_timeout: 3s"), {"p0"})) ==
          Lines{"t.yaml:19975:21: error: policies.p19967" + too_long});
    CHECK(errors(load_policies(chain(20'000, "extends: p0"), {"p0"})) ==
          Lines{"t.yaml:19975:21: error: policies.p19967" + too_long,
                "t.yaml:20008:21: error: policies.p20000.extends: a circle: p0 -> p1 -> p2 -> p3 -> p4 -> p5 -> p6 -> "
                "p7 -> ... -> p0"});
  }

  TEST_CASE("what policies inherit is bounded however they share it") {
    std::string text = "policies:\n  base: {retry: {";
    for (int i = 0; i < 2'000; ++i) text += "k" + std::to_string(i) + ": ,";
    text += "}, hedge: {}}\n";
    for (int i = 0; i < 200; ++i) {
      text += "  p" + std::to_string(i) + ": {extends: base, retry: {jitter: none}, hedge: {}}\n";
    }
    const Lines lines = findings_in(text);
    CHECK(std::count_if(lines.begin(), lines.end(), [](const std::string& line) {
            return line.ends_with(".extends: too much is inherited");
          }) == 1);
  }

  TEST_CASE("an unknown parent is an error with the nearest name") {
    CHECK(findings_in("policies: {default: {extends: preset/htp}}\n") ==
          Lines{"t.yaml:8:31: error: policies.default.extends: no policy of the key \"preset/htp\" (did you mean "
                "\"preset/http\"?)"});
  }

  TEST_CASE("a mistake in a parent is told once, at the parent") {
    const LoadResult result = load_policies(
        "policies:\n  a: {retry: {max_attempts: 11}}\n  b: {extends: a}\n  c: {extends: b, retry: {jitter: none}}\n",
        {"a", "b", "c"});
    REQUIRE(result.diagnostics.size() == 1);
    CHECK(to_string(result.diagnostics[0]) ==
          "t.yaml:10:29: error: policies.a.retry.max_attempts: must be between 1 and 10, got 11");
  }

  TEST_CASE("a budget is the built-in one, one by name, the policy's own, or none") {
    const LoadResult result = load_policies(
        "budgets:\n  shared: {type: ratio, max_rate: 10%}\n  tokens: {type: token_bucket, capacity: 50, "
        "refill_per_second: 2.5}\n"
        "policies:\n"
        "  a: {retry: {}}\n"
        "  b: {retry: {budget: default}}\n"
        "  c: {retry: {budget: shared}}\n"
        "  d: {retry: {budget: {name: tokens, cost: 3}}}\n"
        "  e: {retry: {budget: {type: token_bucket, capacity: 9, refill_per_second: 0, cost: 9}}}\n"
        "  f: {retry: {max_attempts: 1, budget: none}}\n"
        "  g: {retry: {budget: {name: shared}}}\n"
        "  h: {retry: {budget: {type: success_credit}}}\n",
        {"a", "b", "c", "d", "e", "f", "g", "h"});
    REQUIRE(result.diagnostics.empty());
    const auto budget = [&](const std::string& key) { return result.config.policies.at(key).retry_budget; };
    for (const std::string key : {"a", "b"}) {
      CHECK(budget(key).kind == Kind::builtin);
      CHECK(budget(key).config.type == policy::BudgetType::window);
      CHECK(budget(key).config.min_per_second == 3);
    }
    CHECK(budget("c").kind == Kind::named);
    CHECK(budget("c").name == "shared");
    CHECK(budget("c").config.max_rate == doctest::Approx(0.1));
    CHECK(budget("d").cost == 3);
    CHECK(budget("d").config.refill_per_second == doctest::Approx(2.5));
    CHECK(budget("e").kind == Kind::inline_);
    CHECK(budget("e").name == "e");
    CHECK(budget("e").config.capacity == 9);
    CHECK(budget("e").cost == 9);
    CHECK(budget("f").kind == Kind::unlimited);
    CHECK(budget("g").kind == Kind::named);
    CHECK(budget("h").config.min_per_second == 0);
  }

  TEST_CASE("a key of a block is replaced whole: an inherited budget leaves nothing in the own one") {
    const LoadResult result = load_policies(
        "policies:\n  a: {retry: {budget: {type: ratio, min_concurrency: 9}}}\n"
        "  b: {extends: a, retry: {budget: {type: window}}}\n  c: {extends: a}\n",
        {"a", "b", "c"});
    REQUIRE(result.diagnostics.empty());
    CHECK(result.config.policies.at("b").retry_budget.config.type == policy::BudgetType::window);
    CHECK(result.config.policies.at("b").retry_budget.name == "b");
    CHECK(result.config.policies.at("c").retry_budget.config.min_concurrency == 9);
    CHECK(result.config.policies.at("c").retry_budget.name == "c");
  }

  TEST_CASE("a wrong budget is told with what is wrong about it") {
    CHECK(
        findings_in("budgets:\n"
                    "  a: {}\n"
                    "  b: {type: token_bucket, min_concurrency: 3}\n"
                    "  c: {type: success_credit, capacity: 3}\n"
                    "  d: {type: bucket}\n"
                    "  e: {type: ratio, cost: 1}\n"
                    "policies:\n"
                    "  default: {retry: {budget: e}}\n") ==
        Lines{"t.yaml:9:6: error: budgets.a.type: required, but missing",
              "t.yaml:9:6: warning: budgets.a: no policy uses this budget",
              "t.yaml:10:6: error: budgets.b.capacity: required, but missing",
              "t.yaml:10:6: error: budgets.b.refill_per_second: required, but missing",
              "t.yaml:10:6: warning: budgets.b: no policy uses this budget",
              "t.yaml:10:27: error: budgets.b.min_concurrency: unknown key",
              "t.yaml:11:6: error: budgets.c.capacity: must not be below retry_cost, which is 5 by default (give "
              "retry_cost)",
              "t.yaml:11:6: warning: budgets.c: no policy uses this budget",
              "t.yaml:12:6: warning: budgets.d: no policy uses this budget",
              "t.yaml:12:13: error: budgets.d.type: must be ratio, window, token_bucket, success_credit or unlimited, "
              "got \"bucket\"",
              "t.yaml:13:20: error: budgets.e.cost: unknown key"});
  }

  TEST_CASE("a reference to a budget must lead somewhere and fit") {
    CHECK(findings_in("budgets: {shared: {type: ratio}, tokens: {type: token_bucket, capacity: 5, refill_per_second: "
                      "1}}\n"
                      "policies:\n"
                      "  default: {retry: {budget: share}}\n"
                      "  a: {retry: {budget: {name: shared, cost: 2}}}\n"
                      "  b: {retry: {budget: {name: tokens, cost: 6}}}\n"
                      "  c: {retry: {budget: {name: shared, type: ratio}}}\n"
                      "  d: {retry: {budget: [shared]}}\n") ==
          Lines{"t.yaml:10:29: error: policies.default.retry.budget: no budget of the name \"share\" (did you mean "
                "\"shared\"?)",
                "t.yaml:11:6: warning: policies.a: no route uses this policy",
                "t.yaml:11:44: error: policies.a.retry.budget.cost: only extra attempts of a token_bucket have a cost",
                "t.yaml:12:6: warning: policies.b: no route uses this policy",
                "t.yaml:12:44: error: policies.b.retry.budget.cost: must be between 1 and 5, got 6",
                "t.yaml:13:6: warning: policies.c: no route uses this policy",
                "t.yaml:13:38: error: policies.c.retry.budget.type: unknown key",
                "t.yaml:14:6: warning: policies.d: no route uses this policy",
                "t.yaml:14:23: error: policies.d.retry.budget: must be the name of a budget, got a list (a value that "
                "begins with [ must be quoted: \"[shared]...\")"});
  }

  TEST_CASE("a built-in budget may be named in a map, too, and has no cost") {
    const PolicyConfig policy =
        load_policies("policies: {a: {retry: {budget: {name: default}}, hedge: {budget: {name: none}}}}\n", {"a"})
            .config.policies.at("a");
    CHECK(policy.retry_budget.kind == Kind::builtin);
    CHECK(policy.hedge_budget.kind == Kind::unlimited);
    CHECK(policy.hedge_budget.config.type == policy::BudgetType::unlimited);
    CHECK(findings_in("policies: {default: {retry: {budget: {name: default}}}}\n").empty());
    CHECK(findings_in("policies:\n"
                      "  default: {retry: {budget: {name: default, cost: 2}}}\n") ==
          Lines{"t.yaml:9:51: error: policies.default.retry.budget.cost: only extra attempts of a token_bucket have a "
                "cost"});
  }

  TEST_CASE("only the three deadline headers can be named") {
    CHECK(findings_in("policies: {default: {deadline: {accept: [X-Request-Timeout, X-Timeout], forward: "
                      "Grpc-Timeout}}}\n") ==
          Lines{"t.yaml:8:61: error: policies.default.deadline.accept[1]: must be a deadline header, got \"X-Timeout\" "
                "(X-Request-Timeout, Grpc-Timeout or X-Envoy-Expected-Rq-Timeout-Ms)",
                "t.yaml:8:82: error: policies.default.deadline.forward: must be a list, got text (write "
                "[Grpc-Timeout])"});
  }
}

}  // namespace
}  // namespace outrigger::config
