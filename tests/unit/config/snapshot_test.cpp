#include "proxy/config/snapshot.hpp"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <doctest/doctest.h>

#include "tests/unit/config/loading.hpp"

namespace outrigger::config {
namespace {

using namespace std::chrono_literals;
using policy::BudgetType;
using SnapshotPtr = std::shared_ptr<const Snapshot>;

constexpr TimePoint kNow{1h};

/// A process that reloads: each text becomes the snapshot after the one before it.
class Reloads {
 public:
  /// Endpoints are taken as written.
  SnapshotPtr load_text(const std::string& text) {
    const LoadResult result = load(text);
    for (const Diagnostic& diagnostic : result.diagnostics) CAPTURE(to_string(diagnostic));
    REQUIRE(result.ok());
    std::vector<std::vector<ResolvedEndpoint>> resolved;
    for (const UpstreamConfig& upstream : result.config.upstreams) {
      auto& endpoints = resolved.emplace_back();
      for (const EndpointConfig& endpoint : upstream.endpoints) {
        endpoints.push_back({to_string(endpoint.address), endpoint.weight});
      }
    }
    return build(result.config, resolved);
  }
  SnapshotPtr build(const Config& config, const std::vector<std::vector<ResolvedEndpoint>>& resolved) {
    auto built = build_snapshot(config, "me", ++generation_, resolved, registry_, chaos);
    REQUIRE(std::holds_alternative<SnapshotPtr>(built));
    return std::get<SnapshotPtr>(built);
  }
  /// The smallest text with these upstreams, routes and further lines.
  SnapshotPtr load_parts(const std::string& upstreams, const std::string& routes, const std::string& rest = "") {
    return load_text("version: 1\nlisteners: [{name: in, listen: '127.0.0.1:0'}]\nupstreams: {" + upstreams +
                     "}\nroutes: [" + routes + "]\n" + rest);
  }
  /// One upstream `up`, one route to it by the policy `p.Key`, which has this retry budget.
  SnapshotPtr load_budget(const std::string& budget, const std::string& rest = "") {
    return load_parts("up: {endpoints: ['127.0.0.1:1']}", "{policy: p.Key, upstream: up}",
                      "policies: {p.Key: {retry: {budget: " + budget + "}}}\n" + rest);
  }

  ChaosTerms chaos;

 private:
  StateRegistry registry_{2};
  std::uint64_t generation_ = 0;
};

const exchange::BudgetRef& budget_of(const Snapshot& snapshot, std::size_t route = 0) {
  return snapshot.plans[route].plan.budget;
}

std::vector<std::string> budget_names(const Snapshot& snapshot) {
  std::vector<std::string> names;
  for (const auto& [name, state] : snapshot.budgets) names.push_back(name);
  return names;
}

/// What began anew, as "kind name".
std::vector<std::string> renewed(const Snapshot& before, const Snapshot& after) {
  std::vector<std::string> out;
  for (const Renewed& state : renewed_states(before, after)) out.push_back(std::string(state.kind) + " " + state.name);
  return out;
}

const policy::Endpoint& endpoint(const Snapshot& snapshot, std::size_t upstream, std::size_t position) {
  return snapshot.endpoint_sets[upstream].endpoints[position];
}

TEST_SUITE("config") {
  TEST_CASE("a row has everything that a request of its route goes by") {
    Reloads process;
    const SnapshotPtr snapshot = process.load_parts(
        "one: {endpoints: ['127.0.0.1:1']}, two: {endpoints: ['127.0.0.1:2', {address: '127.0.0.1:3', weight: 4}], "
        "host: api.test, balance: round_robin, connect_timeout: 7ms}",
        "{match: {path: /a}, policy: p.Key, upstream: two, priority: low}, {upstream: one}",
        "policies: {p.Key: {id: label, deadline: {accept: [Grpc-Timeout], forward: [X-Request-Timeout, Grpc-Timeout]}, "
        "retry: {idempotency_key: Key}}}\n");
    REQUIRE(snapshot->plans.size() == 2);
    CHECK(snapshot->generation == 1);
    CHECK(snapshot->instance == "me");
    CHECK(snapshot->listener_names == std::vector<std::string_view>{"in"});

    const RoutePlan& row = snapshot->plans[0];
    CHECK(row.plan.policy == &snapshot->config.policies.at("p.Key").policy);
    CHECK(row.plan.policy_key == "p.Key");
    CHECK(row.plan.policy_id == "label");
    CHECK(row.plan.route == "routes[0]");
    CHECK(row.plan.generation == 1);
    CHECK(row.host == "api.test");
    CHECK(row.priority == Priority::low);
    CHECK(row.idempotency_key == "Key");
    CHECK(row.accept.has(http::DeadlineForm::grpc_timeout));
    CHECK_FALSE(row.accept.has(http::DeadlineForm::x_request_timeout));
    CHECK(row.forward.has(http::DeadlineForm::x_request_timeout));
    CHECK(row.forward.has(http::DeadlineForm::grpc_timeout));

    const exchange::Upstream& upstream = *row.plan.upstream;
    CHECK(upstream.name == "two");
    CHECK(policy::index(upstream.id) == 1);
    CHECK(upstream.balance == policy::Balance::round_robin);
    CHECK(upstream.connect_timeout == 7ms);
    CHECK_FALSE(upstream.unresolved);
    CHECK(upstream.endpoints->total_weight == 5);
    CHECK(upstream.endpoints->endpoints[1].address == "127.0.0.1:3");

    const RoutePlan& plain = snapshot->plans[1];
    CHECK(plain.plan.route == "routes[1]");
    CHECK(plain.plan.policy_key == "default");
    CHECK(plain.host.empty());
    CHECK_FALSE(plain.priority.has_value());
    CHECK(plain.idempotency_key == "Idempotency-Key");
  }

  TEST_CASE("a name that resolves to nothing leaves its upstream without endpoints, and it says so") {
    Reloads process;
    const LoadResult result = load(Sample{}.text());
    const SnapshotPtr snapshot = process.build(result.config, {{}});
    CHECK(snapshot->upstreams[0].unresolved);
    CHECK(snapshot->upstreams[0].endpoints->endpoints.empty());
  }

  TEST_CASE("a route that cannot be matched is an error that names its place, and nothing is built") {
    LoadResult result = load(Sample{}.text());
    REQUIRE(result.ok());
    const RouteConfig good = result.config.routes.front();
    for (const char* regex : {"(", "a{2,1}"}) {
      RouteConfig bad = good;
      bad.match.path_regex = regex;
      result.config.routes.push_back(bad);
    }
    StateRegistry registry(1);
    const auto built = build_snapshot(result.config, "me", 2, {{}}, registry);
    const auto* errors = std::get_if<std::vector<std::string>>(&built);
    REQUIRE(errors != nullptr);
    REQUIRE(errors->size() == 2);
    CHECK((*errors)[0].starts_with("routes[1].match.path_regex: "));
    CHECK((*errors)[1].starts_with("routes[2].match.path_regex: "));
  }

  // ---- budgets ------------------------------------------------------------------------------

  TEST_CASE("the default budget is one per upstream and shared by all policies that use it there") {
    Reloads process;
    const SnapshotPtr snapshot = process.load_parts(
        "one: {endpoints: ['127.0.0.1:1']}, two: {endpoints: ['127.0.0.1:1']}",
        "{match: {path: /a}, policy: a.A, upstream: one}, {match: {path: /b}, policy: b.B, upstream: one}, "
        "{policy: a.A, upstream: two}",
        "policies: {a.A: {retry: {}}, b.B: {retry: {budget: default}}}\n");
    CHECK(budget_names(*snapshot) == std::vector<std::string>{"default/one", "default/two"});
    CHECK(budget_of(*snapshot, 0).name == "default/one");
    CHECK(budget_of(*snapshot, 0).state == budget_of(*snapshot, 1).state);
    CHECK(budget_of(*snapshot, 2).name == "default/two");
    CHECK(budget_of(*snapshot, 2).state != budget_of(*snapshot, 0).state);
    CHECK(budget_of(*snapshot, 0).config->type == BudgetType::window);
    CHECK(budget_of(*snapshot, 0).config->window == 10s);
  }

  TEST_CASE("a named budget is one instance for all that name it, whatever it costs each of them") {
    Reloads process;
    const SnapshotPtr snapshot = process.load_parts(
        "one: {endpoints: ['127.0.0.1:1']}, two: {endpoints: ['127.0.0.1:1']}",
        "{match: {path: /a}, policy: a.A, upstream: one}, {policy: b.B, upstream: two}",
        "budgets: {shared: {type: token_bucket, capacity: 9, refill_per_second: 1}, unused: {type: ratio}}\n"
        "policies: {a.A: {retry: {budget: shared}}, b.B: {retry: {budget: {name: shared, cost: 3}}}}\n");
    CHECK(budget_names(*snapshot) == std::vector<std::string>{"shared"});
    CHECK(budget_of(*snapshot, 0).state == budget_of(*snapshot, 1).state);
    CHECK(budget_of(*snapshot, 0).config == budget_of(*snapshot, 1).config);
    CHECK(budget_of(*snapshot, 0).config->capacity == 9);
    CHECK(budget_of(*snapshot, 0).cost == 1);
    CHECK(budget_of(*snapshot, 1).cost == 3);
  }

  TEST_CASE("a budget written in a policy is its own and bears its key; who inherits it has one of its own") {
    Reloads process;
    const SnapshotPtr snapshot = process.load_parts(
        "one: {endpoints: ['127.0.0.1:1']}, two: {endpoints: ['127.0.0.1:1']}",
        "{match: {path: /a}, policy: a.A, upstream: one}, {match: {path: /b}, policy: a.A, upstream: two}, "
        "{policy: b.B, upstream: one}",
        "policies: {a.A: {retry: {budget: {type: ratio, min_concurrency: 9}}}, b.B: {extends: a.A}}\n");
    CHECK(budget_names(*snapshot) == std::vector<std::string>{"a.A", "b.B"});
    CHECK(budget_of(*snapshot, 0).name == "a.A");
    CHECK(budget_of(*snapshot, 0).state == budget_of(*snapshot, 1).state);
    CHECK(budget_of(*snapshot, 2).name == "b.B");
    CHECK(budget_of(*snapshot, 2).state != budget_of(*snapshot, 0).state);
    CHECK(budget_of(*snapshot, 2).config->min_concurrency == 9);
  }

  TEST_CASE("without retries, and with retries that nothing limits, there is no budget") {
    Reloads process;
    const SnapshotPtr snapshot = process.load_parts("up: {endpoints: ['127.0.0.1:1']}",
                                                    "{match: {path: /a}, policy: a.A, upstream: up}, {upstream: up}",
                                                    "policies: {a.A: {retry: {budget: none}}, default: {}}\n");
    CHECK(snapshot->budgets.empty());
    CHECK(budget_of(*snapshot, 0).state == nullptr);
    CHECK(budget_of(*snapshot, 1).state == nullptr);
  }

  // ---- reload -------------------------------------------------------------------------------

  TEST_CASE("a reload of other numbers keeps what a budget has counted") {
    const std::string rest = "budgets: {shared: {type: token_bucket, capacity: 10, refill_per_second: 0}}\n";
    Reloads process;
    const SnapshotPtr before = process.load_budget("shared", rest);
    const exchange::BudgetRef& old = budget_of(*before);
    const auto permit = old.state->admit(*old.config, 6, kNow);
    REQUIRE(permit);

    const SnapshotPtr after =
        process.load_budget("shared", "budgets: {shared: {type: token_bucket, capacity: 20, refill_per_second: 0}}\n");
    CHECK(after->generation == 2);
    const exchange::BudgetRef& fresh = budget_of(*after);
    CHECK(fresh.state == old.state);
    CHECK(fresh.state->extras_in_flight() == 1);
    CHECK(fresh.state->available(*fresh.config, kNow) == 4);
    // Requests that began before it go by the numbers of their own snapshot.
    CHECK(fresh.config->capacity == 20);
    CHECK(old.config->capacity == 10);
    CHECK(renewed(*before, *after).empty());
  }

  TEST_CASE("a reload with another type begins anew, while requests that began before keep theirs") {
    Reloads process;
    const SnapshotPtr before = process.load_budget("{type: token_bucket, capacity: 10, refill_per_second: 0}");
    const exchange::BudgetRef& old = budget_of(*before);
    const auto permit = old.state->admit(*old.config, 10, kNow);
    REQUIRE(permit);

    const SnapshotPtr after = process.load_budget("{type: success_credit, capacity: 10}");
    const exchange::BudgetRef& fresh = budget_of(*after);
    CHECK(fresh.name == old.name);
    CHECK(fresh.state != old.state);
    CHECK(fresh.state->available(*fresh.config, kNow) == 10);
    CHECK(old.state->extras_in_flight() == 1);
    CHECK(renewed(*before, *after) == std::vector<std::string>{"budget p.Key"});
  }

  TEST_CASE("only budgets that were there before and are new now have begun anew") {
    Reloads process;
    const SnapshotPtr before = process.load_budget("{type: ratio}");
    const SnapshotPtr elsewhere = process.load_budget("default");
    CHECK(renewed(*before, *elsewhere).empty());
    const SnapshotPtr wider = process.load_budget("{type: window, window: 1m}");
    CHECK(renewed(*before, *wider) == std::vector<std::string>{"budget p.Key"});
    CHECK(renewed(*elsewhere, *wider).empty());
  }

  TEST_CASE("the default budget keeps its state when the order of upstreams and the policies change") {
    const std::string one = "one: {endpoints: ['127.0.0.1:1']}";
    const std::string two = "two: {endpoints: ['127.0.0.1:2']}";
    Reloads process;
    const SnapshotPtr before = process.load_parts(
        one + ", " + two, "{match: {path: /a}, policy: a.A, upstream: one}, {policy: a.A, upstream: two}",
        "policies: {a.A: {retry: {}}}\n");
    const SnapshotPtr after = process.load_parts(two + ", " + one, "{policy: b.B, upstream: one}",
                                                 "policies: {b.B: {retry: {max_attempts: 5}}}\n");
    CHECK(budget_of(*after).state == budget_of(*before, 0).state);
    CHECK(endpoint(*after, 0, 0).state == endpoint(*before, 1, 0).state);
    CHECK(endpoint(*after, 1, 0).state == endpoint(*before, 0, 0).state);
  }

  TEST_CASE("an endpoint keeps its state over a reload by its address, whatever else changes") {
    Reloads process;
    const SnapshotPtr before = process.load_parts("up: {endpoints: ['127.0.0.1:1', '127.0.0.1:2']}", "{upstream: up}");
    endpoint(*before, 0, 1).state->in_flight = 3;
    const SnapshotPtr after = process.load_parts(
        "up: {endpoints: ['127.0.0.1:3', {address: '127.0.0.1:2', weight: 7}], balance: round_robin}",
        "{upstream: up}");
    CHECK(endpoint(*after, 0, 1).state == endpoint(*before, 0, 1).state);
    CHECK(endpoint(*after, 0, 1).state->in_flight == 3);
    CHECK(endpoint(*after, 0, 1).weight == 7);
    CHECK(endpoint(*after, 0, 0).state != endpoint(*before, 0, 0).state);
  }

  TEST_CASE("the same address of two upstreams is counted for each of them; of one, once") {
    Reloads process;
    const LoadResult result = load(
        "version: 1\nlisteners: [{name: in, listen: '127.0.0.1:0'}]\nupstreams: {one: {endpoints: ['127.0.0.1:1']}, "
        "two: {endpoints: ['127.0.0.1:1']}}\nroutes: [{match: {path: /}, upstream: one}, {upstream: two}]\n");
    REQUIRE(result.ok());
    const SnapshotPtr snapshot = process.build(
        result.config, {{{.address = "127.0.0.1:1"}}, {{.address = "127.0.0.1:1"}, {.address = "127.0.0.1:1"}}});
    CHECK(endpoint(*snapshot, 0, 0).state != endpoint(*snapshot, 1, 0).state);
    CHECK(endpoint(*snapshot, 1, 0).state == endpoint(*snapshot, 1, 1).state);
  }

  TEST_CASE("states that no snapshot names are let go with the last snapshot that did") {
    Reloads process;
    SnapshotPtr before = process.load_budget("{type: ratio}");
    const std::weak_ptr<policy::Budget> budget = before->budgets.at("p.Key").state;
    const std::weak_ptr<policy::EndpointState> address = before->endpoint_states.front();
    SnapshotPtr pinned = before;  // by a request under way
    const SnapshotPtr after = process.load_parts("up: {endpoints: ['127.0.0.1:9']}", "{upstream: up}");
    before.reset();
    CHECK_FALSE(budget.expired());
    pinned.reset();
    CHECK(budget.expired());
    CHECK(address.expired());
  }

  TEST_CASE("the hash is that of what is in force, not of how it was written or of its generation") {
    Reloads process;
    const SnapshotPtr first = process.load_budget("{type: ratio}");
    CHECK(process.load_budget("{max_rate: 20%, type: ratio}")->content_hash == first->content_hash);
    CHECK(process.load_budget("{max_rate: 21%, type: ratio}")->content_hash != first->content_hash);
  }

  // ---- hedges, circuits and limits ---------------------------------------------------------

  TEST_CASE("a row has all that its policy refers to, in the order of the names") {
    Reloads process;
    const SnapshotPtr snapshot = process.load_parts(
        "up: {endpoints: ['127.0.0.1:1', '127.0.0.1:2']}",
        "{policy: p.Key, upstream: up}, {match: {path: /}, upstream: up}",
        "circuits: {z: {}}\nclassifiers: {own: [{when: {status: 409}, outcome: retryable}]}\n"
        "policies: {p.Key: {retry: {classifier: own}, hedge: {budget: {type: ratio}}, circuit: [z, {cooldown: 1s}], "
        "rate_limit: [{requests: 5}, {key: client_ip}], bulkhead: {max_concurrent: 3}, adaptive_limit: {}, "
        "adaptive_throttle: {}}}\n");
    const exchange::Plan& plan = snapshot->plans[0].plan;
    REQUIRE(plan.hedge.config != nullptr);
    CHECK(plan.hedge.config->quantile == 0.95);
    CHECK(plan.hedge.trigger == snapshot->hedges.at("p.Key").state.get());
    CHECK(plan.hedge.budget.name == "p.Key");
    CHECK(plan.hedge.budget.config->type == BudgetType::ratio);
    CHECK(plan.budget.name == "default/up");
    REQUIRE(plan.circuits.size() == 2);
    CHECK(plan.circuits[0].name == "p.Key");
    CHECK(plan.circuits[0].config->cooldown == 1s);
    CHECK(plan.circuits[1].name == "z");
    CHECK(plan.circuits[1].state == snapshot->circuits.at("z").state.get());
    REQUIRE(plan.rate_limits.size() == 2);
    CHECK(plan.rate_limits[0].name == "p.Key");
    CHECK(plan.rate_limits[0].state != nullptr);
    CHECK(plan.rate_limits[0].keyed == nullptr);
    CHECK(plan.rate_limits[1].name == "p.Key.2");
    CHECK(plan.rate_limits[1].state == nullptr);
    CHECK(plan.rate_limits[1].keyed != nullptr);
    REQUIRE(plan.bulkheads.size() == 1);
    CHECK(plan.bulkheads[0].config->max_concurrent == 3);
    CHECK(plan.adaptive_limit.state->limit() == 20);
    CHECK(plan.throttle.state != nullptr);
    CHECK(plan.classifier == &snapshot->config.classifiers.at("own"));

    const exchange::Plan& plain = snapshot->plans[1].plan;
    CHECK(plain.hedge.config == nullptr);
    CHECK(plain.circuits.empty());
    CHECK(plain.rate_limits.empty());
    CHECK(plain.bulkheads.empty());
    CHECK(plain.adaptive_limit.state == nullptr);
    CHECK(plain.throttle.state == nullptr);
    CHECK(plain.classifier == nullptr);
  }

  TEST_CASE("a circuit is one by name, one per upstream, or one per endpoint of it") {
    const auto circuits = [](const std::string& scope) {
      Reloads process;
      const SnapshotPtr snapshot = process.load_parts(
          "one: {endpoints: ['127.0.0.1:1']}, two: {endpoints: ['127.0.0.1:1', '127.0.0.1:2']}",
          "{match: {path: /a}, policy: a, upstream: one}, {match: {path: /b}, policy: b, upstream: one}, {policy: a, "
          "upstream: two}",
          "circuits: {c: {scope: " + scope + "}}\npolicies: {a: {circuit: c}, b: {circuit: c}}\n");
      std::vector<std::string> names;
      for (const auto& [name, circuit] : snapshot->circuits) {
        names.push_back(name);
        CHECK(circuit.name == "c");
        CHECK_FALSE(circuit.shadow);
      }
      const auto& ones = snapshot->plans[0].plan.circuits[0];
      const auto& others = snapshot->plans[1].plan.circuits[0];
      const auto& twos = snapshot->plans[2].plan.circuits[0];
      // Policies that name one share it where they meet.
      CHECK(ones.state == others.state);
      CHECK(ones.by_endpoint == others.by_endpoint);
      CHECK((ones.state == twos.state) == (scope != "upstream"));
      CHECK(twos.by_endpoint.size() == (scope == "endpoint" ? 2 : 0));
      CHECK(twos.per_endpoint() == (scope == "endpoint"));
      CHECK(twos.config != nullptr);
      return names;
    };
    CHECK(circuits("key") == std::vector<std::string>{"c"});
    CHECK(circuits("upstream") == std::vector<std::string>{"c/one", "c/two"});
    CHECK(circuits("endpoint") ==
          std::vector<std::string>{"c/one/127.0.0.1:1", "c/two/127.0.0.1:1", "c/two/127.0.0.1:2"});
  }

  TEST_CASE("where an upstream has no endpoints its endpoints have no circuits") {
    Reloads process;
    const LoadResult result =
        load(Sample{"", "", "", "policies: {default: {circuit: [{scope: endpoint}, {}]}}\n"}.text());
    const SnapshotPtr snapshot = process.build(result.config, {{}});
    REQUIRE(snapshot->plans[0].plan.circuits.size() == 1);
    CHECK(snapshot->plans[0].plan.circuits[0].name == "default.2");
  }

  TEST_CASE("an own instance that is inherited is one for each policy; a named one is shared") {
    Reloads process;
    const SnapshotPtr snapshot =
        process.load_parts("up: {endpoints: ['127.0.0.1:1']}",
                           "{match: {path: /a}, policy: a, upstream: up}, {match: {path: /b}, policy: b, upstream: "
                           "up}, {match: {path: /c}, "
                           "policy: a, upstream: up}",
                           "bulkheads: {shared: {max_concurrent: 1}}\n"
                           "policies: {a: {bulkhead: [shared, {max_concurrent: 2}]}, b: {extends: a}}\n");
    const auto bulkhead = [&](std::size_t route, std::size_t position) {
      return snapshot->plans[route].plan.bulkheads[position].state;
    };
    CHECK(bulkhead(0, 0) != bulkhead(1, 0));
    CHECK(bulkhead(0, 0) == bulkhead(2, 0));
    CHECK(bulkhead(0, 1) == bulkhead(1, 1));
    CHECK(snapshot->bulkheads.size() == 3);
  }

  TEST_CASE("a policy that only observes asks states of its own, under the names that it was given") {
    Reloads process;
    const SnapshotPtr snapshot = process.load_parts(
        "up: {endpoints: ['127.0.0.1:1']}", "{match: {path: /a}, policy: a, upstream: up}, {policy: b, upstream: up}",
        "bulkheads: {shared: {max_concurrent: 1}}\ncircuits: {c: {}}\nrate_limits: {r: {}}\n"
        "budgets: {extra: {type: ratio}}\npolicies: {a: {bulkhead: shared, circuit: c, rate_limit: r, retry: {budget: "
        "extra}, "
        "cache: {}, hedge: {budget: {type: ratio}}}, b: {extends: a, mode: observe}}\n");
    const exchange::Plan& enforcing = snapshot->plans[0].plan;
    const exchange::Plan& observing = snapshot->plans[1].plan;
    CHECK(observing.bulkheads[0].name == "shared");
    CHECK(observing.bulkheads[0].state != enforcing.bulkheads[0].state);
    CHECK(observing.circuits[0].name == "c");
    CHECK(observing.circuits[0].state != enforcing.circuits[0].state);
    CHECK(observing.rate_limits[0].state != enforcing.rate_limits[0].state);
    CHECK_FALSE(snapshot->bulkheads.at("shared").shadow);
    CHECK(snapshot->bulkheads.at("observe:b/shared").shadow);
    CHECK(snapshot->circuits.at("observe:b/c").shadow);
    CHECK(snapshot->rate_limits.at("observe:b/r").shadow);
    CHECK(observing.observes);
    CHECK_FALSE(enforcing.observes);
    CHECK(observing.budget.name == "extra");
    CHECK(observing.budget.state != enforcing.budget.state);
    CHECK(observing.hedge.budget.state != enforcing.hedge.budget.state);
    CHECK(observing.cache.state != enforcing.cache.state);
    CHECK_FALSE(snapshot->budgets.at("extra").shadow);
    CHECK(snapshot->budgets.at("observe:b/extra").shadow);
  }

  // ---- fallback, cache and chaos -----------------------------------------------------------

  const std::string kTwo = "one: {endpoints: ['127.0.0.1:1']}, two: {endpoints: ['127.0.0.1:2'], host: two.test}";
  const std::string kThreeRoutes =
      "{match: {path: /a}, policy: a, upstream: one}, {match: {path: /b}, policy: a, upstream: two}, {upstream: one}";

  TEST_CASE("a cache is one for each policy, whatever its routes") {
    Reloads process;
    const SnapshotPtr snapshot = process.load_parts(kTwo, kThreeRoutes, "policies: {a: {cache: {ttl: 1s}}}\n");
    CHECK(snapshot->caches.size() == 1);
    const exchange::CacheRef& cache = snapshot->plans[0].plan.cache;
    REQUIRE(cache.config != nullptr);
    CHECK(cache.name == "a");
    CHECK(cache.config->ttl == 1s);
    CHECK(cache.state == snapshot->caches.at("a").state.get());
    CHECK(snapshot->plans[1].plan.cache.state == cache.state);
    CHECK(snapshot->plans[2].plan.cache.state == nullptr);
    CHECK(process.load_parts(kTwo, kThreeRoutes, "policies: {a: {cache: {ttl: 2s}}}\n")->plans[0].plan.cache.state ==
          cache.state);
  }

  TEST_CASE("a row knows what is sent instead: an answer as it is written, or an upstream with its own Host") {
    Reloads process;
    const SnapshotPtr written = process.load_parts(
        kTwo, kThreeRoutes,
        "policies: {a: {fallback: {when: [5xx], respond: {status: 203, headers: {X-A: b}, body: text}}}}\n");
    const exchange::FallbackRef& fixed = written->plans[0].plan.fallback;
    REQUIRE(fixed.config != nullptr);
    CHECK(fixed.config->statuses.contains(503));
    CHECK(fixed.respond.status == 203);
    REQUIRE(fixed.respond.headers.size() == 1);
    CHECK(fixed.respond.headers[0].second == "b");
    CHECK(fixed.respond.body == "text");
    CHECK(fixed.upstream == nullptr);
    CHECK(written->plans[2].plan.fallback.config == nullptr);

    const SnapshotPtr elsewhere =
        process.load_parts(kTwo, kThreeRoutes, "policies: {a: {fallback: {when: [exhausted], upstream: two}}}\n");
    CHECK(elsewhere->plans[0].plan.fallback.upstream == &elsewhere->upstreams[1]);
    CHECK(elsewhere->plans[0].fallback_host == "two.test");
    CHECK(elsewhere->plans[0].host.empty());
  }

  const std::string kFaults =
      "policies: {a: {chaos: {match: {headers: [{name: X-Chaos, present: true}]}, "
      "abort: {probability: 1, status: 418}}}}\n";

  TEST_CASE("faults act only with both switches on") {
    const std::string enabled = "chaos_enabled: true\n";
    for (const bool in_file : {false, true}) {
      for (const bool on_command_line : {false, true}) {
        CAPTURE(in_file);
        CAPTURE(on_command_line);
        Reloads process;
        process.chaos.allowed = on_command_line;
        const SnapshotPtr snapshot = process.load_parts(kTwo, kThreeRoutes, (in_file ? enabled : "") + kFaults);
        const RoutePlan& row = snapshot->plans[0];
        const bool acts = in_file && on_command_line;
        CHECK((row.chaos_match != nullptr) == acts);
        CHECK((row.plan.chaos.state != nullptr) == acts);
        CHECK(snapshot->chaos.contains("a") == acts);
        CHECK(snapshot->plans[2].chaos_match == nullptr);
        if (!acts) continue;
        CHECK(row.plan.chaos.answer.status == 418);
        CHECK(row.plan.chaos.answer.body.empty());
        const Field marked[] = {{"X-Chaos", "1"}};
        CHECK(row.chaos_match->find({.path = "/a", .method = "GET", .fields = marked}).has_value());
        CHECK_FALSE(row.chaos_match->find({.path = "/a", .method = "GET"}).has_value());
        CHECK(snapshot->plans[1].plan.chaos.state == row.plan.chaos.state);
      }
    }
  }

  TEST_CASE("what an operator ordered comes in the place of the policy's own faults and is not part of the hash") {
    Reloads process;
    process.chaos.allowed = true;
    const std::string text = "chaos_enabled: true\n" + kFaults;
    const SnapshotPtr before = process.load_parts(kTwo, kThreeRoutes, text);
    ChaosOrder order;
    order.block.chaos.seed = 9;
    order.block.chaos.delay = policy::ChaosDelay{1, 5ms, 5ms};
    process.chaos.orders = {{"a", order}, {"gone", order}};
    const SnapshotPtr ordered = process.load_parts(kTwo, kThreeRoutes, text);
    CHECK(ordered->content_hash == before->content_hash);
    CHECK(ordered->plans[0].plan.chaos.config->seed == 9);
    CHECK(ordered->plans[0].plan.chaos.state == order.state.get());
    CHECK(ordered->plans[0].chaos_match->find({.path = "/a", .method = "GET"}).has_value());
    CHECK(ordered->chaos_orders.size() == 1);
    CHECK(ordered->config.policies.at("a").chaos->chaos.seed == 0);
    process.chaos.orders = {{"default", order}};
    CHECK(process.load_parts(kTwo, kThreeRoutes, text)->plans[2].plan.chaos.state == order.state.get());
  }

  TEST_CASE("a reload keeps circuits, limits and the rest by name, and tells what began anew") {
    const auto load_policy = [](Reloads& process, const std::string& counts, const std::string& algorithm,
                                const std::string& key) {
      return process.load_parts("up: {endpoints: ['127.0.0.1:1']}", "{policy: p, upstream: up}",
                                "circuits: {c: {consecutive_failures: 3, counts: " + counts + "}}\n" +
                                    "policies: {p: {circuit: c, adaptive_limit: {algorithm: " + algorithm +
                                    "}, rate_limit: {key: " + key +
                                    "}, bulkhead: {max_concurrent: 5}, adaptive_throttle: {}, hedge: {delay: 1s}, "
                                    "cache: {}, chaos: {abort: {probability: 1}}}}\n");
    };
    Reloads process;
    const SnapshotPtr before = load_policy(process, "attempt", "aimd", "policy");
    const SnapshotPtr same = load_policy(process, "attempt", "aimd", "policy");
    CHECK(renewed(*before, *same).empty());
    CHECK(same->circuits.at("c").state == before->circuits.at("c").state);
    CHECK(same->caches.at("p").state == before->caches.at("p").state);
    const SnapshotPtr other = load_policy(process, "request", "gradient", "client_ip");
    CHECK(renewed(*before, *other) == std::vector<std::string>{"circuit c", "rate_limit p", "adaptive_limit p"});
    CHECK(other->bulkheads.at("p").state == before->bulkheads.at("p").state);
    CHECK(other->hedges.at("p").state == before->hedges.at("p").state);
  }

  TEST_CASE("a reload of other numbers keeps what windows and tables hold, and nothing is said to begin anew") {
    const auto load_window = [](Reloads& process, const std::string& window, const std::string& keys) {
      return process.load_parts(
          "up: {endpoints: ['127.0.0.1:1']}", "{policy: p, upstream: up}",
          "policies: {p: {adaptive_throttle: {window: " + window + "}, hedge: {trigger: p95, window: " + window +
              "}, retry: {budget: {type: window, max_rate: 0%, min_per_second: 1, window: " + window +
              "}}, circuit: {failure_rate: 50%, window: " + window +
              "}, rate_limit: {requests: 1, per: 60s, burst: 5, key: client_ip, max_keys: " + keys + "}}}\n");
    };
    Reloads process;
    const SnapshotPtr before = load_window(process, "60s", "100");
    config::take_effect(*before, kNow);
    const auto& throttle = before->adaptive_throttles.at("p");
    for (int i = 0; i < 100; ++i) throttle.state->settle(throttle.config, false, kNow);
    const auto& limit = before->rate_limits.at("p");
    REQUIRE(limit.keyed->admit(limit.config, "a", Nanos{0}, kNow).verdict.admitted());
    const auto permit = budget_of(*before).state->admit(*budget_of(*before).config, 1, kNow);
    REQUIRE(permit);

    const SnapshotPtr after = load_window(process, "59s", "101");
    CHECK(renewed(*before, *after).empty());
    config::take_effect(*after, kNow);
    CHECK(throttle.state->rejection(after->adaptive_throttles.at("p").config, kNow) > 0.8);
    CHECK(after->rate_limits.at("p").keyed == limit.keyed);
    CHECK(limit.keyed->max_keys() == 101);
    CHECK(limit.keyed->view(limit.config, "a", kNow).remaining == 4);
    CHECK(budget_of(*after).state->available(*budget_of(*after).config, kNow) == 58);
  }

  TEST_CASE("a circuit of another scope begins anew, and that is told once whatever it is a circuit of") {
    const auto load_scope = [](Reloads& process, const std::string& scope, const std::string& mode) {
      return process.load_parts("a: {endpoints: ['127.0.0.1:1', '127.0.0.1:2']}, b: {endpoints: ['127.0.0.1:3']}",
                                "{match: {path: /a}, policy: p, upstream: a}, {policy: p, upstream: b}",
                                "circuits: {c: {consecutive_failures: 3, scope: " + scope +
                                    "}}\npolicies: {p: {mode: " + mode + ", circuit: c}}\n");
    };
    for (const std::string was : {"key", "upstream", "endpoint"}) {
      for (const std::string now : {"key", "upstream", "endpoint"}) {
        CAPTURE(was);
        CAPTURE(now);
        Reloads process;
        const auto told = [&](const std::string& mode) {
          const SnapshotPtr before = load_scope(process, was, mode);
          return renewed(*before, *load_scope(process, now, mode));
        };
        const bool anew = was != now;
        CHECK(told("enforce") == (anew ? std::vector<std::string>{"circuit c"} : std::vector<std::string>{}));
        CHECK(told("observe") == (anew ? std::vector<std::string>{"circuit observe:p/c"} : std::vector<std::string>{}));
      }
    }
  }

  TEST_CASE("a mirror is the route's own, and its copies under way count on over a reload of its numbers") {
    Reloads reloads;
    const auto with = [&](const std::string& first, const std::string& second) {
      return reloads.load_parts("up: {endpoints: ['127.0.0.1:1'], host: up.test}, copy: {endpoints: ['127.0.0.1:2']}",
                                "{upstream: up" + first + "}, {upstream: up" + second + "}");
    };
    const SnapshotPtr before = with(", mirror: {upstream: copy}", ", mirror: {upstream: up, fraction: 5%}");
    const MirrorPlan& plan = *before->plans[0].mirror;
    CHECK(plan.upstream == &before->upstreams[1]);
    CHECK(plan.upstream->name == "copy");
    CHECK(plan.host.empty());
    CHECK(plan.places.max_concurrent == 100);
    CHECK(before->plans[1].mirror->host == "up.test");
    CHECK(before->plans[1].mirror->fraction == 0.05);
    CHECK(before->plans[1].mirror->state != plan.state);
    CHECK(before->bulkheads.empty());
    const SnapshotPtr after = with(", mirror: {upstream: copy, max_in_flight: 1}", "");
    CHECK(after->plans[0].mirror->state == plan.state);
    CHECK(after->plans[0].mirror->places.max_concurrent == 1);
    CHECK_FALSE(after->plans[1].mirror.has_value());
    CHECK(with(", mirror: {upstream: up}", "")->plans[0].mirror->state != plan.state);
    CHECK(renewed_states(*before, *after).empty());
  }

  TEST_CASE("an open circuit stays open over a reload of its numbers") {
    const std::string routes = "{policy: p, upstream: up}";
    const std::string upstream = "up: {endpoints: ['127.0.0.1:1']}";
    Reloads process;
    const SnapshotPtr before =
        process.load_parts(upstream, routes, "policies: {p: {circuit: {consecutive_failures: 1}}}\n");
    const exchange::CircuitRef& old = before->plans[0].plan.circuits[0];
    Rng rng(1);
    auto answer = old.state->admit(*old.config, Nanos{0}, kNow, rng);
    answer.permit.settle(*old.config, policy::CircuitResult::failure, 1ms, kNow, rng);
    REQUIRE(old.state->state() == policy::CircuitState::open);
    const SnapshotPtr after =
        process.load_parts(upstream, routes, "policies: {p: {circuit: {consecutive_failures: 7, cooldown: 1m}}}\n");
    const exchange::CircuitRef& fresh = after->plans[0].plan.circuits[0];
    CHECK(fresh.state->state() == policy::CircuitState::open);
    CHECK(fresh.config->consecutive_failures == 7);
  }

  TEST_CASE("who waits for a place has one when a larger bulkhead takes effect, and a bucket its new rate") {
    const auto load_policy = [](Reloads& process, const std::string& places, const std::string& rate) {
      return process.load_parts("up: {endpoints: ['127.0.0.1:1']}", "{policy: p, upstream: up}",
                                "policies: {p: {bulkhead: {max_queue: 1, max_wait: 1s, max_concurrent: " + places +
                                    "}, rate_limit: {burst: 1, requests: " + rate + "}}}\n");
    };
    Reloads process;
    const SnapshotPtr before = load_policy(process, "1", "1");
    const exchange::BulkheadRef& bulkhead = before->plans[0].plan.bulkheads[0];
    const auto taken = bulkhead.state->admit(*bulkhead.config, Priority::standard, nullptr);
    policy::GateWaiter waiter(Ticket{});
    REQUIRE(bulkhead.state->admit(*bulkhead.config, Priority::standard, &waiter).answer == policy::GateAnswer::waiting);
    const exchange::RateLimitRef& limit = before->plans[0].plan.rate_limits[0];
    REQUIRE(limit.state->admit(*limit.config, 0s, kNow).verdict.admitted());
    const SnapshotPtr after = load_policy(process, "2", "1000");
    take_effect(*after, kNow);
    CHECK(waiter.state() == policy::GateWaiter::State::granted);
    const auto granted = bulkhead.state->leave(waiter);
    CHECK(granted);
    const exchange::RateLimitRef& faster = after->plans[0].plan.rate_limits[0];
    CHECK(faster.state->view(*faster.config, kNow + 2ms).remaining == 1);
  }

  TEST_CASE("an adaptive limit is between its new bounds when they take effect, and who waits has a place") {
    const auto load_policy = [](Reloads& process, const std::string& bounds) {
      return process.load_parts("up: {endpoints: ['127.0.0.1:1']}", "{policy: p, upstream: up}",
                                "policies: {p: {adaptive_limit: {queue: 1, " + bounds + "}}}\n");
    };
    Reloads process;
    const SnapshotPtr before = load_policy(process, "initial: 1, max: 1");
    const exchange::AdaptiveLimitRef& limit = before->plans[0].plan.adaptive_limit;
    const auto taken = limit.state->admit(*limit.config, Priority::standard, nullptr);
    policy::GateWaiter waiter(Ticket{});
    REQUIRE(limit.state->admit(*limit.config, Priority::standard, &waiter).answer == policy::GateAnswer::waiting);
    const SnapshotPtr after = load_policy(process, "initial: 3, min: 3, max: 5");
    take_effect(*after, kNow);
    CHECK(limit.state->limit() == 3);
    CHECK(waiter.state() == policy::GateWaiter::State::granted);
    CHECK(limit.state->leave(waiter));
  }

  TEST_CASE("the names in a row outlive its snapshot, since timelines do") {
    Reloads process;
    SnapshotPtr snapshot = process.load_budget("{type: ratio}");
    const std::string_view key = snapshot->plans[0].plan.policy_key;
    const std::string_view route = snapshot->plans[0].plan.route;
    const std::string_view budget = budget_of(*snapshot).name;
    const std::string_view upstream = snapshot->upstreams[0].name;
    snapshot.reset();
    CHECK(key == "p.Key");
    CHECK(route == "routes[0]");
    CHECK(budget == "p.Key");
    CHECK(upstream == "up");
  }
}

}  // namespace
}  // namespace outrigger::config
