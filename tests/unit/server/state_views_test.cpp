#include "proxy/server/state_views.hpp"

#include <memory>
#include <string>
#include <variant>
#include <vector>

#include <doctest/doctest.h>

#include "proxy/config/check.hpp"
#include "proxy/config/load.hpp"

using namespace outrigger;
using namespace outrigger::server;
using namespace std::chrono_literals;
using admin::CircuitCommand;
using nlohmann::ordered_json;

namespace {

constexpr TimePoint kNow{1h};

constexpr const char* kText = R"(version: 1
listeners: [{name: in, listen: '127.0.0.1:0'}]
upstreams:
  one: {endpoints: ['127.0.0.1:1', '127.0.0.1:2']}
  two: {endpoints: ['127.0.0.1:3']}
budgets:
  extra: {type: ratio}
circuits:
  each: {consecutive_failures: 1, scope: endpoint}
rate_limits:
  clients: {requests: 5, per: 1s, key: client_ip, max_keys: 7}
bulkheads:
  places: {max_concurrent: 4, max_queue: 2, max_wait: 1s}
policies:
  pay.Charge:
    retry: {budget: {type: ratio}}
    hedge: {delay: 25ms}
    circuit: [{consecutive_failures: 1, cooldown: 10s, cooldown_jitter: 0}, each]
    rate_limit: [{requests: 10, per: 1s, burst: 3}, clients]
    bulkhead: places
    adaptive_limit: {initial: 12}
    adaptive_throttle: {}
  pay.Trial:
    mode: observe
    retry: {budget: extra}
    circuit: {consecutive_failures: 1}
    bulkhead: places
  idle: {circuit: each}
routes:
  - {match: {path: /charge}, policy: pay.Charge, upstream: one}
  - {match: {path: /trial}, policy: pay.Trial, upstream: two}
  - {policy: default, upstream: two}
)";

struct Process {
  config::StateRegistry registry{1};
  std::shared_ptr<const config::Snapshot> snapshot;
  Rng rng{1};

  Process() {
    const config::LoadResult loaded = config::load_text(kText, "views.yaml", config::process_environment);
    for (const config::Diagnostic& diagnostic : loaded.diagnostics) CAPTURE(to_string(diagnostic));
    REQUIRE(loaded.ok());
    auto built = config::build_snapshot(loaded.config, "me", 1, {{{"127.0.0.1:1"}, {"127.0.0.1:2"}}, {{"127.0.0.1:3"}}},
                                        registry);
    snapshot = std::get<std::shared_ptr<const config::Snapshot>>(built);
  }
  const exchange::Plan& plan(std::size_t route) const { return snapshot->plans[route].plan; }
  void fail(policy::CircuitBreaker& circuit, const policy::CircuitConfig& config) {
    auto answer = circuit.admit(config, 0ns, kNow, rng);
    answer.permit.settle(config, policy::CircuitResult::failure, 0ns, kNow, rng);
  }
  const exchange::CircuitRef& circuit(std::size_t route, std::string_view name) const {
    for (const exchange::CircuitRef& ref : plan(route).circuits) {
      if (ref.name == name) return ref;
    }
    FAIL("no such circuit");
    return plan(route).circuits.front();
  }
};

/// The object of that name, of an observer or of those that act.
ordered_json find(const ordered_json& list, const std::string& name, const std::string& observer = {}) {
  for (const ordered_json& object : list) {
    if (object["name"] == name && object.value("observed_by", std::string{}) == observer) return object;
  }
  return nullptr;
}

}  // namespace

TEST_SUITE("server") {
  TEST_CASE("a circuit is shown with its state, an inline one under its policy's key") {
    Process process;
    const exchange::CircuitRef& ref = process.circuit(0, "pay.Charge");
    process.fail(*ref.state, *ref.config);
    const ordered_json circuit = find(view_circuits(*process.snapshot, kNow + 4s), "pay.Charge");
    REQUIRE(circuit.is_object());
    CHECK(circuit["scope"] == "key");
    CHECK(circuit["state"] == "open");
    CHECK(circuit["forced"].is_null());
    CHECK(circuit["cooldown_left_ms"] == 6000.0);
    CHECK_FALSE(circuit.contains("upstream"));
  }

  TEST_CASE("circuits of endpoints are shown one by one and counted by state for the metrics") {
    Process process;
    const exchange::CircuitRef& each = process.circuit(0, "each");
    REQUIRE(each.by_endpoint.size() == 2);
    process.fail(*each.by_endpoint[1], *each.config);
    std::size_t open = 0;
    for (const ordered_json& circuit : view_circuits(*process.snapshot, kNow)) {
      if (circuit["name"] != "each") continue;
      CHECK(circuit["upstream"] == "one");
      CHECK(circuit["state"] == (circuit["endpoint"] == "127.0.0.1:2" ? "open" : "closed"));
      open += circuit["state"] == "open" ? 1 : 0;
    }
    CHECK(open == 1);
    const telemetry::PolicyLevels levels = levels_of(*process.snapshot, kNow);
    std::uint64_t opened = 0;
    for (const telemetry::CircuitLevels& circuit : levels.circuits) opened += circuit.transitions[0][2];
    CHECK(opened == 1);
  }

  TEST_CASE("a command reaches all circuits of a name and no other") {
    Process process;
    CHECK_FALSE(command_circuits(*process.snapshot, "unknown", CircuitCommand::force_open));
    CHECK(command_circuits(*process.snapshot, "each", CircuitCommand::force_open));
    for (const ordered_json& circuit : view_circuits(*process.snapshot, kNow)) {
      const bool commanded = circuit["name"] == "each";
      CHECK(circuit["state"] == (commanded ? "open" : "closed"));
      CHECK(circuit["forced"] == (commanded ? ordered_json("open") : ordered_json(nullptr)));
    }
    CHECK(command_circuits(*process.snapshot, "each", CircuitCommand::force_close));
    CHECK(find(view_circuits(*process.snapshot, kNow), "each")["forced"] == "closed");
    CHECK(command_circuits(*process.snapshot, "each", CircuitCommand::automatic));
    CHECK(find(view_circuits(*process.snapshot, kNow), "each")["forced"].is_null());
    CHECK(command_circuits(*process.snapshot, "each", CircuitCommand::force_open));
    CHECK(command_circuits(*process.snapshot, "each", CircuitCommand::reset));
    CHECK(find(view_circuits(*process.snapshot, kNow), "each")["state"] == "closed");
  }

  TEST_CASE("rate limits show what is left, those by key how many keys there are and none of them") {
    Process process;
    for (const exchange::RateLimitRef& limit : process.plan(0).rate_limits) {
      if (limit.keyed != nullptr) limit.keyed->admit(*limit.config, "10.9.8.7", 0ns, kNow);
      if (limit.state != nullptr) limit.state->admit(*limit.config, 0ns, kNow);
    }
    const ordered_json list = view_rate_limits(*process.snapshot, kNow);
    const ordered_json own = find(list, "pay.Charge");
    CHECK(own["limit"] == 3);
    CHECK(own["remaining"] == 2);
    CHECK(own["reset_ms"] == 100.0);
    const ordered_json clients = find(list, "clients");
    CHECK(clients["key"] == "client_ip");
    CHECK(clients["keys"] == 1);
    CHECK(clients["max_keys"] == 7);
    CHECK(list.dump().find("10.9.8.7") == std::string::npos);
  }

  TEST_CASE("a shadow is shown with its observer and is no part of the metrics") {
    Process process;
    const exchange::BulkheadRef& shadow = process.plan(1).bulkheads.front();
    const policy::GateAdmission taken = shadow.state->admit(*shadow.config, Priority::standard, nullptr);
    REQUIRE(taken.answer == policy::GateAnswer::admitted);
    const ordered_json list = view_bulkheads(*process.snapshot);
    CHECK(find(list, "places")["in_flight"] == 0);
    CHECK(find(list, "places", "pay.Trial")["in_flight"] == 1);
    CHECK(find(view_circuits(*process.snapshot, kNow), "pay.Trial", "pay.Trial").is_object());
    CHECK(find(view_budgets(*process.snapshot, kNow), "extra", "pay.Trial").is_object());
    CHECK(find(view_budgets(*process.snapshot, kNow), "extra").is_null());
    CHECK(view_policy(*process.snapshot, "pay.Trial", kNow)["budgets"][0]["observed_by"] == "pay.Trial");
    const telemetry::PolicyLevels levels = levels_of(*process.snapshot, kNow);
    REQUIRE(levels.bulkheads.size() == 1);
    CHECK(levels.bulkheads[0].name == "places");
    CHECK(levels.bulkheads[0].in_flight == 0);
    CHECK(levels.bulkheads[0].capacity == 4);
    for (const telemetry::CircuitLevels& circuit : levels.circuits) CHECK(circuit.circuit != "pay.Trial");
  }

  TEST_CASE("limits that adapt show where they stand") {
    Process process;
    const ordered_json limit = find(view_adaptive_limits(*process.snapshot), "pay.Charge");
    CHECK(limit["algorithm"] == "aimd");
    CHECK(limit["limit"] == 12);
    CHECK(limit["baseline_ms"].is_null());
    CHECK(limit["queued_by_priority"]["critical"] == 0);
    CHECK(find(view_adaptive_throttles(*process.snapshot, kNow), "pay.Charge")["rejection_ratio"] == 0.0);
    const telemetry::PolicyLevels levels = levels_of(*process.snapshot, kNow);
    REQUIRE(levels.adaptive_limits.size() == 1);
    CHECK(levels.adaptive_limits[0].limit == 12);
    REQUIRE(levels.throttles.size() == 1);
    REQUIRE(levels.hedges.size() == 1);
    CHECK(levels.hedges[0].policy == "pay.Charge");
    CHECK(levels.hedges[0].delay_seconds == 0.025);
  }

  TEST_CASE("a policy shows the states that its requests use, an unrouted one has none") {
    Process process;
    const ordered_json state = view_policy(*process.snapshot, "pay.Charge", kNow);
    CHECK(state["budgets"].size() == 1);
    CHECK(state["circuits"].size() == 3);
    CHECK(state["rate_limits"].size() == 2);
    CHECK(state["bulkheads"].size() == 1);
    CHECK_FALSE(state["bulkheads"][0].contains("observed_by"));
    CHECK(state["adaptive_limits"][0]["name"] == "pay.Charge");
    CHECK(state["adaptive_throttles"].size() == 1);
    CHECK(state["hedge"]["delay_ms"] == 25.0);
    const ordered_json trial = view_policy(*process.snapshot, "pay.Trial", kNow);
    CHECK(trial["bulkheads"].size() == 1);
    CHECK(trial["bulkheads"][0]["observed_by"] == "pay.Trial");
    CHECK(view_policy(*process.snapshot, "idle", kNow).empty());
  }
}
