#include "proxy/server/state_views.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <set>
#include <utility>

namespace outrigger::server {
namespace {

using config::Snapshot;
using nlohmann::ordered_json;
using policy::CircuitState;

double ms(Nanos duration) { return std::chrono::duration<double, std::milli>(duration).count(); }
double seconds(Nanos duration) { return std::chrono::duration<double>(duration).count(); }

/// The object of a state with its name. That of a shadow is `observe:<policy>/<name>`.
ordered_json named(std::string_view key, bool shadow) {
  if (!shadow) return {{"name", key}};
  const std::size_t colon = key.find(':');
  const std::size_t slash = key.find('/');
  return {{"name", key.substr(slash + 1)}, {"observed_by", key.substr(colon + 1, slash - colon - 1)}};
}

template <class Map, class View>
ordered_json list(const Map& states, View view) {
  ordered_json all = ordered_json::array();
  for (const auto& [key, instance] : states) {
    ordered_json object = named(key, instance.shadow);
    view(instance, object);
    all.push_back(std::move(object));
  }
  return all;
}

template <class State>
ordered_json queued_by_priority(const State& state) {
  ordered_json queued = ordered_json::object();
  for (const Priority priority : {Priority::low, Priority::standard, Priority::critical}) {
    queued[std::string{to_string(priority)}] = state.queued(priority);
  }
  return queued;
}

std::string_view forced(policy::CircuitForce force) { return force == policy::CircuitForce::open ? "open" : "closed"; }

void view_circuit(const config::CircuitInstance& instance, TimePoint now, ordered_json& object) {
  constexpr std::array kScopes = {"key", "upstream", "endpoint"};
  const policy::CircuitBreaker& state = *instance.state;
  const policy::OutcomeCounts counts = state.counts(now);
  object["name"] = instance.name;  // without what tells the circuits of one name apart
  object["scope"] = kScopes[static_cast<std::size_t>(instance.config.scope)];
  if (!instance.upstream.empty()) object["upstream"] = instance.upstream;
  if (!instance.endpoint.empty()) object["endpoint"] = instance.endpoint;
  object["state"] = to_string(state.state());
  object["forced"] =
      state.force() == policy::CircuitForce::none ? ordered_json(nullptr) : ordered_json(forced(state.force()));
  object["cooldown_left_ms"] = ms(state.cooldown_left(now));
  object["probes_in_flight"] = state.probes_out();
  object["failures_in_a_row"] = state.failures_in_a_row();
  object["window"] = {{"calls", counts.calls}, {"failures", counts.failures}, {"slow", counts.slow}};
}

void view_rate_limit(const config::RateLimitInstance& instance, TimePoint now, ordered_json& object) {
  constexpr std::array kKeys = {"policy", "client_ip", "header"};
  object["key"] = kKeys[static_cast<std::size_t>(instance.config.key)];
  if (instance.keyed) {
    object["limit"] = burst_of(instance.config);
    object["keys"] = instance.keyed->keys();
    object["max_keys"] = instance.keyed->max_keys();
    object["evictions"] = instance.keyed->evictions();
    return;
  }
  const policy::RateLimitView view = instance.state->view(instance.config, now);
  object["limit"] = view.limit;
  object["remaining"] = view.remaining;
  object["reset_ms"] = ms(view.reset);
}

ordered_json view_hedge(const policy::HedgeConfig& config, policy::HedgeTrigger& trigger, TimePoint now) {
  const auto delay = trigger.delay(config, now);
  return {{"delay_ms", delay ? ordered_json(ms(*delay)) : ordered_json(nullptr)}, {"samples", trigger.samples()}};
}

// ---- of one policy ------------------------------------------------------------------------------

using Names = std::set<std::string_view>;

/// The states of a list that a policy uses: by name, and its own shadows if it only observes.
void add_used(ordered_json& out, const char* kind, const ordered_json& all, const Names& names,
              const std::string& observer) {
  ordered_json used = ordered_json::array();
  for (const ordered_json& object : all) {
    const bool same_owner = object.value("observed_by", std::string{}) == observer;
    if (same_owner && names.contains(object["name"].get_ref<const std::string&>())) used.push_back(object);
  }
  if (!used.empty()) out[kind] = std::move(used);
}

template <class Refs>
void add_names(Names& names, const Refs& refs) {
  for (const auto& ref : refs) names.insert(ref.name);
}

}  // namespace

ordered_json view_budgets(const Snapshot& snapshot, TimePoint now) {
  return list(snapshot.budgets, [now](const auto& instance, ordered_json& object) {
    constexpr std::array kTypes = {"ratio", "window", "token_bucket", "success_credit", "unlimited"};
    const policy::BudgetConfig& config = instance.config;
    const policy::Budget& state = *instance.state;
    const bool limited = config.type != policy::BudgetType::unlimited;
    object["type"] = kTypes[static_cast<std::size_t>(config.type)];
    object["available"] = limited ? ordered_json(state.available(config, now)) : ordered_json(nullptr);
    object["requests_in_flight"] = state.requests_in_flight();
    object["extras_in_flight"] = state.extras_in_flight();
  });
}

ordered_json view_circuits(const Snapshot& snapshot, TimePoint now) {
  return list(snapshot.circuits,
              [now](const auto& instance, ordered_json& object) { view_circuit(instance, now, object); });
}

ordered_json view_rate_limits(const Snapshot& snapshot, TimePoint now) {
  return list(snapshot.rate_limits,
              [now](const auto& instance, ordered_json& object) { view_rate_limit(instance, now, object); });
}

ordered_json view_bulkheads(const Snapshot& snapshot) {
  return list(snapshot.bulkheads, [](const auto& instance, ordered_json& object) {
    object["in_flight"] = instance.state->in_flight();
    object["capacity"] = instance.config.max_concurrent;
    object["queued"] = instance.state->queued();
    object["max_queue"] = instance.config.max_queue;
    object["queued_by_priority"] = queued_by_priority(*instance.state);
  });
}

ordered_json view_adaptive_limits(const Snapshot& snapshot) {
  return list(snapshot.adaptive_limits, [](const auto& instance, ordered_json& object) {
    constexpr std::array kAlgorithms = {"aimd", "gradient"};
    const policy::AdaptiveLimit& state = *instance.state;
    object["algorithm"] = kAlgorithms[static_cast<std::size_t>(instance.config.algorithm)];
    object["limit"] = state.limit();
    object["in_flight"] = state.in_flight();
    object["baseline_ms"] = state.baseline() > Nanos{0} ? ordered_json(ms(state.baseline())) : ordered_json(nullptr);
    object["probing"] = state.probing();
    object["queued"] = state.queued();
    object["queued_by_priority"] = queued_by_priority(state);
  });
}

ordered_json view_adaptive_throttles(const Snapshot& snapshot, TimePoint now) {
  return list(snapshot.adaptive_throttles, [now](const auto& instance, ordered_json& object) {
    object["rejection_ratio"] = instance.state->rejection(instance.config, now);
  });
}

ordered_json view_policy(const Snapshot& snapshot, std::string_view key, TimePoint now) {
  Names budgets, circuits, rate_limits, bulkheads, adaptive_limits, throttles;
  for (const config::RoutePlan& row : snapshot.plans) {
    const exchange::Plan& plan = row.plan;
    if (plan.policy_key != key) continue;
    budgets.insert({plan.budget.name, plan.hedge.budget.name});
    add_names(circuits, plan.circuits);
    add_names(rate_limits, plan.rate_limits);
    add_names(bulkheads, plan.bulkheads);
    adaptive_limits.insert(plan.adaptive_limit.name);
    throttles.insert(plan.throttle.name);
  }
  const auto policy = snapshot.config.policies.find(std::string{key});
  const bool observes = policy != snapshot.config.policies.end() && policy->second.mode == config::Mode::observe;
  const std::string observer{observes ? key : std::string_view{}};
  ordered_json out = ordered_json::object();
  add_used(out, "budgets", view_budgets(snapshot, now), budgets, observer);
  add_used(out, "circuits", view_circuits(snapshot, now), circuits, observer);
  add_used(out, "rate_limits", view_rate_limits(snapshot, now), rate_limits, observer);
  add_used(out, "bulkheads", view_bulkheads(snapshot), bulkheads, observer);
  add_used(out, "adaptive_limits", view_adaptive_limits(snapshot), adaptive_limits, observer);
  add_used(out, "adaptive_throttles", view_adaptive_throttles(snapshot, now), throttles, observer);
  const std::string name{key};
  if (const auto found = snapshot.hedges.find(name); found != snapshot.hedges.end()) {
    out["hedge"] = view_hedge(found->second.config, *found->second.state, now);
  }
  if (const auto found = snapshot.caches.find(name); found != snapshot.caches.end()) {
    const policy::Cache& cache = *found->second.state;
    out["cache"] = {{"entries", cache.entries()}, {"bytes", cache.bytes()}, {"waiting", cache.waiting()}};
  }
  if (const auto found = snapshot.chaos.find(name); found != snapshot.chaos.end()) {
    out["chaos"] = {{"rolls", found->second.state->rolls()}, {"ordered", snapshot.chaos_orders.contains(name)}};
  }
  return out;
}

bool command_circuits(const Snapshot& snapshot, std::string_view name, admin::CircuitCommand command) {
  bool found = false;
  for (const auto& [key, instance] : snapshot.circuits) {
    if (instance.name != name) continue;
    found = true;
    switch (command) {
      case admin::CircuitCommand::reset: instance.state->reset(); break;
      case admin::CircuitCommand::force_open: instance.state->force_open(); break;
      case admin::CircuitCommand::force_close: instance.state->force_close(); break;
      case admin::CircuitCommand::automatic: instance.state->automatic(); break;
    }
  }
  return found;
}

telemetry::PolicyLevels levels_of(const Snapshot& snapshot, TimePoint now) {
  telemetry::PolicyLevels levels;
  for (const auto& [key, instance] : snapshot.circuits) {
    if (instance.shadow) continue;
    telemetry::CircuitLevels& circuit = levels.circuits.emplace_back();
    circuit.circuit = instance.name;
    circuit.upstream = instance.upstream;
    circuit.endpoint = instance.endpoint;
    circuit.state = instance.state->state();
    for (std::size_t from = 0; from < telemetry::kCircuitStates; ++from) {
      for (std::size_t to = 0; to < telemetry::kCircuitStates; ++to) {
        circuit.transitions[from][to] =
            instance.state->transitions(static_cast<CircuitState>(from), static_cast<CircuitState>(to));
      }
    }
  }
  for (const auto& [key, instance] : snapshot.hedges) {
    const auto delay = instance.state->delay(instance.config, now);
    if (delay && !instance.shadow) levels.hedges.push_back({key, seconds(*delay)});
  }
  for (const auto& [name, instance] : snapshot.bulkheads) {
    if (instance.shadow) continue;
    const policy::Bulkhead& state = *instance.state;
    levels.bulkheads.push_back({name, state.in_flight(), instance.config.max_concurrent, state.queued()});
  }
  for (const auto& [name, instance] : snapshot.adaptive_limits) {
    if (instance.shadow) continue;
    const policy::AdaptiveLimit& state = *instance.state;
    levels.adaptive_limits.push_back({name, state.limit(), state.in_flight(), seconds(state.baseline())});
  }
  for (const auto& [name, instance] : snapshot.adaptive_throttles) {
    if (!instance.shadow) levels.throttles.push_back({name, instance.state->rejection(instance.config, now)});
  }
  return levels;
}

}  // namespace outrigger::server
