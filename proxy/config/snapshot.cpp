#include "proxy/config/snapshot.hpp"

#include <algorithm>
#include <functional>
#include <utility>

#include "proxy/config/dump.hpp"

namespace outrigger::config {
namespace {

http::DeadlineForm form_of(policy::DeadlineHeader header) noexcept {
  switch (header) {
    case policy::DeadlineHeader::x_request_timeout: return http::DeadlineForm::x_request_timeout;
    case policy::DeadlineHeader::grpc_timeout: return http::DeadlineForm::grpc_timeout;
    case policy::DeadlineHeader::x_envoy_expected_rq_timeout_ms: break;
  }
  return http::DeadlineForm::x_envoy_expected_rq_timeout_ms;
}

http::DeadlineForms forms_of(const std::vector<policy::DeadlineHeader>& headers) noexcept {
  http::DeadlineForms forms;
  for (const policy::DeadlineHeader header : headers) forms.insert(form_of(header));
  return forms;
}

// A policy may refer to no more than a plan has room for.
static_assert(kMaxInstances <= exchange::kMaxOfAKind);

class Builder {
 public:
  Builder(Snapshot& snapshot, StateRegistry& registry) : snapshot_(snapshot), registry_(registry) {}

  /// What is wrong with a pattern.
  std::vector<std::string> chaos(const ChaosTerms& terms) {
    std::vector<std::string> errors;
    for (const auto& [key, policy] : snapshot_.config.policies) {
      const auto order = terms.orders.find(key);
      const bool ordered = order != terms.orders.end();
      if (ordered) snapshot_.chaos_orders.insert(*order);
      if (!terms.allowed || !snapshot_.config.chaos_enabled || (!ordered && !policy.chaos)) continue;
      const ChaosBlock& block = ordered ? order->second.block : *policy.chaos;
      auto match = http::build_route_table({block.match});
      if (const auto* wrong = std::get_if<std::vector<http::RouteError>>(&match)) {
        for (const http::RouteError& each : *wrong) {
          errors.push_back("policies." + key + ".chaos.match." + each.key + ": " + each.message);
        }
        continue;
      }
      snapshot_.chaos_matches.emplace(key, std::move(std::get<http::RouteTable>(match)));
      auto state = ordered ? order->second.state : registry_.chaos(state_name(policy, key), block.chaos);
      snapshot_.chaos[key] = {block.chaos, std::move(state), is_shadow(policy)};
    }
    return errors;
  }

  void upstreams(const Resolved& resolved) {
    const std::vector<UpstreamConfig>& configs = snapshot_.config.upstreams;
    snapshot_.endpoint_sets.resize(configs.size());
    for (std::size_t i = 0; i < configs.size(); ++i) {
      policy::EndpointSet& set = snapshot_.endpoint_sets[i];
      auto& hosts = snapshot_.endpoint_hosts.emplace_back();
      UpstreamState& shared = *snapshot_.upstream_states.emplace_back(registry_.upstream(configs[i].name));
      for (const ResolvedEndpoint& endpoint : resolved[i]) {
        auto state = registry_.endpoint(configs[i].name, endpoint.address);
        set.endpoints.push_back(
            {endpoint.address, endpoint.weight, state.get(), policy::balance_hash(endpoint.address)});
        set.total_weight += endpoint.weight;
        hosts.push_back(endpoint.host);
        snapshot_.endpoint_states.push_back(std::move(state));
      }
      const auto& outlier = configs[i].outlier_detection;
      snapshot_.upstreams.push_back({.name = registry_.intern(configs[i].name),
                                     .id = static_cast<policy::UpstreamId>(i),
                                     .balance = configs[i].balance,
                                     .hash_key = {configs[i].hash.client_ip, configs[i].hash.header},
                                     .connect_timeout = configs[i].connect_timeout,
                                     .endpoints = &set,
                                     .unresolved = set.endpoints.empty(),
                                     .panic = configs[i].panic,
                                     .max_connections = configs[i].max_connections,
                                     .max_pending = configs[i].max_pending,
                                     .slots = &shared.slots,
                                     .outlier = outlier ? &*outlier : nullptr,
                                     .ejections = &shared.ejections});
    }
  }

  void routes() {
    for (std::size_t i = 0; i < snapshot_.config.routes.size(); ++i) {
      snapshot_.plans.push_back(plan(snapshot_.config.routes[i], i));
    }
  }

 private:
  RoutePlan plan(const RouteConfig& route, std::size_t position) {
    const PolicyConfig& policy = snapshot_.config.policies.at(route.policy);
    RoutePlan row;
    row.plan.policy = &policy.policy;
    row.plan.policy_key = registry_.intern(route.policy);
    row.plan.policy_id = registry_.intern(policy.policy.id);
    row.plan.route = registry_.intern("routes[" + std::to_string(position) + "]");
    row.plan.generation = snapshot_.generation;
    row.plan.observes = is_shadow(policy);
    add_limits(row.plan, policy);
    if (route.respond) {
      row.plan.respond = response_of(*route.respond);
    } else {
      add_upstream(row, route, policy);
    }
    if (policy.fallback) add_fallback(row, *policy.fallback, route);
    add_edits(row, route);
    row.accept = forms_of(policy.policy.deadline.accept);
    row.forward = forms_of(policy.policy.deadline.forward);
    row.priority = route.priority;
    if (!route.respond) row.upgrade = route.upgrade;
    row.tunnel_idle_timeout = route.tunnel_idle_timeout;
    // Without a `retry` block there are still reconnects, which the usual key permits.
    row.idempotency_key =
        policy.policy.retry ? policy.policy.retry->idempotency_key : policy::RetryConfig{}.idempotency_key;
    return row;
  }

  /// All that has to do with attempts; a route that answers by itself makes none.
  void add_upstream(RoutePlan& row, const RouteConfig& route, const PolicyConfig& policy) {
    const std::size_t upstream = upstream_position(route.upstream);
    row.plan.upstream = &snapshot_.upstreams[upstream];
    row.host = host_at(upstream, route);
    add_states(row.plan, policy, upstream);
    add_chaos(row);
    if (route.mirror) row.mirror = mirror(*route.mirror, route, row.plan.route);
  }

  void add_edits(RoutePlan& row, const RouteConfig& route) {
    const RewriteConfig& rewrite = route.rewrite;
    if (rewrite.path) row.rewrite = {http::PathRewrite::Kind::path, {}, *rewrite.path};
    if (rewrite.prefix) row.rewrite = {http::PathRewrite::Kind::prefix, *route.match.path_prefix, *rewrite.prefix};
    row.request_edits = edits_of(route.request_headers);
    row.response_edits = edits_of(route.response_headers);
  }

  const http::HeaderEdits* edits_of(const HeaderEditsConfig& config) {
    if (config.empty()) return nullptr;
    RouteEdits& row = snapshot_.edits.emplace_back();
    for (const auto& [name, value] : config.set) row.set.push_back({name, value});
    for (const auto& [name, value] : config.add) row.add.push_back({name, value});
    row.remove.assign(config.remove.begin(), config.remove.end());
    row.edits = {row.set, row.add, row.remove};
    return &row.edits;
  }

  static exchange::StaticResponse response_of(const RespondConfig& respond) {
    return {respond.status, respond.headers, respond.body};
  }

  /// The Host that a route's requests bear at an upstream; empty: as received.
  std::string_view host_at(std::size_t upstream, const RouteConfig& route) const {
    return route.rewrite.host ? std::string_view{*route.rewrite.host} : host_of(upstream);
  }

  std::string_view host_of(std::size_t upstream) const {
    const auto& host = snapshot_.config.upstreams[upstream].host;
    return host ? std::string_view{*host} : std::string_view{};
  }

  /// Copies under way count on across a reload as long as the route keeps its place and its mirror.
  MirrorPlan mirror(const MirrorConfig& config, const RouteConfig& route, std::string_view name) {
    const std::size_t upstream = upstream_position(config.upstream);
    const policy::BulkheadConfig places{.max_concurrent = config.max_in_flight};
    return {.upstream = &snapshot_.upstreams[upstream],
            .host = host_at(upstream, route),
            .fraction = config.fraction,
            .places = places,
            .state = registry_.bulkhead("mirror:" + std::string(name) + "/" + config.upstream, places)};
  }

  exchange::BudgetRef budget(const PolicyConfig& policy, const BudgetRef& ref, const std::string& upstream) {
    if (ref.kind == BudgetRef::Kind::unlimited) return {};
    const std::string shown = ref.kind == BudgetRef::Kind::builtin ? "default/" + upstream : ref.name;
    const std::string name = state_name(policy, shown);
    const auto [entry, is_new] = snapshot_.budgets.try_emplace(name);
    auto& [config, state, shadow] = entry->second;
    if (is_new) entry->second = {ref.config, registry_.budget(name, ref.config), is_shadow(policy)};
    return {.name = registry_.intern(shown), .config = &config, .state = state.get(), .cost = ref.cost};
  }

  void add_limits(exchange::Plan& plan, const PolicyConfig& policy) {
    for (const RateLimitRef& ref : policy.rate_limits) plan.rate_limits.push_back(rate_limit(policy, ref));
    for (const BulkheadRef& ref : policy.bulkheads) {
      plan.bulkheads.push_back(
          limit<exchange::BulkheadRef>(policy, ref, snapshot_.bulkheads, &StateRegistry::bulkhead));
    }
  }

  void add_states(exchange::Plan& plan, const PolicyConfig& policy, std::size_t upstream) {
    const std::string& upstream_name = snapshot_.config.upstreams[upstream].name;
    if (policy.policy.retry) plan.budget = budget(policy, policy.retry_budget, upstream_name);
    if (policy.hedge) plan.hedge = hedge(policy, upstream_name);
    for (const CircuitRef& ref : policy.circuits) {
      // A circuit of each endpoint is none where there are no endpoints.
      exchange::CircuitRef circuit_ref = circuit(policy, ref, upstream);
      if (circuit_ref.config != nullptr) plan.circuits.push_back(std::move(circuit_ref));
    }
    if (policy.adaptive_throttle) {
      plan.throttle = limit<exchange::ThrottleRef>(policy, *policy.adaptive_throttle, snapshot_.adaptive_throttles,
                                                   &StateRegistry::adaptive_throttle);
    }
    if (policy.adaptive_limit) {
      plan.adaptive_limit = limit<exchange::AdaptiveLimitRef>(policy, *policy.adaptive_limit, snapshot_.adaptive_limits,
                                                              &StateRegistry::adaptive_limit);
    }
    if (policy.classifier != kBuiltinClassifier) {
      plan.classifier = &snapshot_.config.classifiers.at(policy.classifier);
    }
    if (policy.cache) {
      const auto& cache = of_policy(policy, *policy.cache, snapshot_.caches, &StateRegistry::cache);
      plan.cache = {plan.policy_key, &cache.config, cache.state.get()};
    }
  }

  void add_fallback(RoutePlan& row, const FallbackBlock& fallback, const RouteConfig& route) {
    exchange::FallbackRef& ref = row.plan.fallback;
    ref.config = &fallback.rule;
    ref.respond = response_of(fallback.respond);
    if (fallback.upstream.empty()) return;
    const std::size_t at = upstream_position(fallback.upstream);
    ref.upstream = &snapshot_.upstreams[at];
    row.fallback_host = host_at(at, route);
  }

  void add_chaos(RoutePlan& row) {
    const auto found = snapshot_.chaos.find(std::string(row.plan.policy_key));
    if (found == snapshot_.chaos.end()) return;
    const auto& chaos = found->second;
    row.chaos_match = &snapshot_.chaos_matches.at(found->first);
    static_cast<exchange::LimitRef<policy::ChaosConfig, policy::Chaos>&>(row.plan.chaos) = {
        row.plan.policy_key, &chaos.config, chaos.state.get()};
    if (chaos.config.abort) row.plan.chaos.answer.status = chaos.config.abort->status;
  }

  std::size_t upstream_position(const std::string& name) const {
    const auto& configs = snapshot_.config.upstreams;
    return static_cast<std::size_t>(std::ranges::find(configs, name, &UpstreamConfig::name) - configs.begin());
  }

  static bool is_shadow(const PolicyConfig& policy) { return policy.mode == Mode::observe; }
  /// A policy that only observes takes nothing from those that enforce: it asks states of its own.
  static std::string state_name(const PolicyConfig& policy, const std::string& name) {
    return is_shadow(policy) ? "observe:" + policy.policy.key + "/" + name : name;
  }

  template <class StateConfig, class State, class Get>
  const Instance<StateConfig, State>& of_policy(const PolicyConfig& policy, const StateConfig& config,
                                                std::map<std::string, Instance<StateConfig, State>>& instances,
                                                Get get) {
    const std::string& key = policy.policy.key;
    const auto [entry, is_new] = instances.try_emplace(key);
    if (is_new) entry->second = {config, (registry_.*get)(state_name(policy, key), config), is_shadow(policy)};
    return entry->second;
  }

  template <class PlanRef, class Ref, class Instances, class Get>
  PlanRef limit(const PolicyConfig& policy, const Ref& ref, Instances& instances, Get get) {
    const std::string name = state_name(policy, ref.name);
    const auto [entry, is_new] = instances.try_emplace(name);
    if (is_new) entry->second = {ref.config, (registry_.*get)(name, ref.config), is_shadow(policy)};
    return {registry_.intern(ref.name), &entry->second.config, entry->second.state.get()};
  }

  exchange::HedgeRef hedge(const PolicyConfig& policy, const std::string& upstream) {
    const auto& instance = of_policy(policy, *policy.hedge, snapshot_.hedges, &StateRegistry::hedge_trigger);
    return {&instance.config, instance.state.get(), budget(policy, policy.hedge_budget, upstream)};
  }

  exchange::RateLimitRef rate_limit(const PolicyConfig& policy, const RateLimitRef& ref) {
    const std::string name = state_name(policy, ref.name);
    const auto [entry, is_new] = snapshot_.rate_limits.try_emplace(name);
    RateLimitInstance& instance = entry->second;
    if (is_new) {
      instance.config = ref.config;
      instance.shadow = is_shadow(policy);
      if (ref.config.key == policy::RateLimitConfig::Key::policy) {
        instance.state = registry_.rate_limit(name, ref.config);
      } else {
        instance.keyed = registry_.keyed_rate_limit(name, ref.config);
      }
    }
    exchange::RateLimitRef out;
    out.name = registry_.intern(ref.name);
    out.config = &instance.config;
    out.state = instance.state.get();
    out.keyed = instance.keyed.get();
    return out;
  }

  exchange::CircuitRef circuit(const PolicyConfig& policy, const CircuitRef& ref, std::size_t upstream) {
    const std::string& of = snapshot_.config.upstreams[upstream].name;
    exchange::CircuitRef out;
    out.name = registry_.intern(ref.name);
    if (ref.config.scope != policy::CircuitScope::endpoint) {
      const bool per_upstream = ref.config.scope == policy::CircuitScope::upstream;
      const CircuitInstance& instance = circuit_state(policy, ref, per_upstream ? of : "", "");
      out.config = &instance.config;
      out.state = instance.state.get();
      return out;
    }
    for (const policy::Endpoint& endpoint : snapshot_.endpoint_sets[upstream].endpoints) {
      const CircuitInstance& instance = circuit_state(policy, ref, of, endpoint.address);
      out.config = &instance.config;
      out.by_endpoint.push_back(instance.state.get());
    }
    return out;
  }

  const CircuitInstance& circuit_state(const PolicyConfig& policy, const CircuitRef& ref, std::string_view upstream,
                                       std::string_view endpoint) {
    std::string name = state_name(policy, ref.name);
    if (!upstream.empty()) name += "/" + std::string(upstream);
    if (!endpoint.empty()) name += "/" + std::string(endpoint);
    const auto [entry, is_new] = snapshot_.circuits.try_emplace(name);
    CircuitInstance& instance = entry->second;
    if (!is_new) return instance;
    instance.config = ref.config;
    instance.state = registry_.circuit(name, ref.config);
    instance.shadow = is_shadow(policy);
    instance.name = registry_.intern(ref.name);
    instance.upstream = registry_.intern(upstream);
    instance.endpoint = registry_.intern(endpoint);
    return instance;
  }

  Snapshot& snapshot_;
  StateRegistry& registry_;
};

/// The effective configuration, with the contents of the files it names.
std::string content_of(const Config& config) {
  std::string content = dump(config);
  for (const auto& policy : config.policies) {
    if (policy.second.fallback) content += policy.second.fallback->respond.body;
  }
  const auto add = [&content](const auto& tls) {
    for (const FileConfig* file : files_of(tls)) content += file->text;
  };
  for (const ListenerConfig& listener : config.listeners) {
    if (listener.tls) add(*listener.tls);
  }
  for (const UpstreamConfig& upstream : config.upstreams) {
    if (upstream.tls) add(*upstream.tls);
  }
  for (const RouteConfig& route : config.routes) {
    if (route.respond) content += route.respond->body;
  }
  return content;
}

template <class StateConfig, class State>
const void* identity(const Instance<StateConfig, State>& instance) {
  return instance.state.get();
}
const void* identity(const RateLimitInstance& instance) {
  return instance.keyed ? static_cast<const void*>(instance.keyed.get()) : instance.state.get();
}

template <class ByName>
void add_renewed(std::string_view kind, const ByName& before, const ByName& after, std::vector<Renewed>& out) {
  for (const auto& [name, now] : after) {
    const auto was = before.find(name);
    if (was != before.end() && identity(was->second) != identity(now)) out.push_back({kind, name});
  }
}

/// The name of a circuit without what its scope has added.
std::string name_of(const std::string& key, const CircuitInstance& circuit) {
  std::size_t added = 0;
  for (const std::string_view part : {circuit.upstream, circuit.endpoint}) added += part.empty() ? 0 : part.size() + 1;
  return key.substr(0, key.size() - added);
}

using CircuitScopes = std::map<std::string, policy::CircuitScope>;

CircuitScopes scopes_of(const std::map<std::string, CircuitInstance>& circuits) {
  CircuitScopes scopes;
  for (const auto& [key, circuit] : circuits) scopes.emplace(name_of(key, circuit), circuit.config.scope);
  return scopes;
}

/// States of different scopes have different names, so that none of them is renewed.
void add_rescoped(const Snapshot& before, const Snapshot& after, std::vector<Renewed>& out) {
  const CircuitScopes scopes = scopes_of(before.circuits);
  for (const auto& [name, now] : scopes_of(after.circuits)) {
    const auto was = scopes.find(name);
    if (was != scopes.end() && was->second != now) out.push_back({"circuit", name});
  }
}

}  // namespace

std::variant<std::shared_ptr<const Snapshot>, std::vector<std::string>> build_snapshot(
    Config config, std::string instance, std::uint64_t generation, const Resolved& resolved, StateRegistry& registry,
    const ChaosTerms& chaos) {
  std::vector<http::RouteMatch> matches;
  for (const RouteConfig& route : config.routes) matches.push_back(route.match);
  auto table = http::build_route_table(matches);
  if (const auto* errors = std::get_if<std::vector<http::RouteError>>(&table)) {
    std::vector<std::string> texts;
    for (const http::RouteError& error : *errors) {
      texts.push_back("routes[" + std::to_string(error.route) + "].match." + error.key + ": " + error.message);
    }
    return texts;
  }
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->config = std::move(config);
  snapshot->generation = generation;
  snapshot->content_hash = std::to_string(std::hash<std::string>{}(content_of(snapshot->config)));
  snapshot->instance = std::move(instance);
  snapshot->routes = std::move(std::get<http::RouteTable>(table));
  for (const ListenerConfig& listener : snapshot->config.listeners) {
    snapshot->listener_names.push_back(registry.intern(listener.name));
  }
  registry.forget_the_gone();
  Builder builder(*snapshot, registry);
  builder.upstreams(resolved);
  if (auto errors = builder.chaos(chaos); !errors.empty()) return errors;
  builder.routes();
  return snapshot;
}

std::vector<Renewed> renewed_states(const Snapshot& before, const Snapshot& after) {
  std::vector<Renewed> out;
  add_renewed("budget", before.budgets, after.budgets, out);
  add_renewed("circuit", before.circuits, after.circuits, out);
  add_rescoped(before, after, out);
  add_renewed("rate_limit", before.rate_limits, after.rate_limits, out);
  add_renewed("bulkhead", before.bulkheads, after.bulkheads, out);
  add_renewed("adaptive_limit", before.adaptive_limits, after.adaptive_limits, out);
  add_renewed("adaptive_throttle", before.adaptive_throttles, after.adaptive_throttles, out);
  add_renewed("hedge", before.hedges, after.hedges, out);
  add_renewed("chaos", before.chaos, after.chaos, out);
  add_renewed("cache", before.caches, after.caches, out);
  return out;
}

void take_effect(const Snapshot& snapshot, TimePoint now) {
  for (const auto& [name, budget] : snapshot.budgets) budget.state->reload(budget.config, now);
  for (const auto& [name, throttle] : snapshot.adaptive_throttles) throttle.state->reload(throttle.config, now);
  for (const auto& [policy, hedge] : snapshot.hedges) hedge.state->reload(hedge.config);
  for (const auto& [name, limit] : snapshot.rate_limits) {
    if (limit.state) limit.state->reload(limit.config, now);
    if (limit.keyed) limit.keyed->reload(limit.config, now);
  }
  for (const auto& [name, bulkhead] : snapshot.bulkheads) bulkhead.state->raise(bulkhead.config);
  for (const auto& [name, limit] : snapshot.adaptive_limits) limit.state->reload(limit.config);
  for (const auto& [name, cache] : snapshot.caches) cache.state->trim(cache.config);
  for (const exchange::Upstream& upstream : snapshot.upstreams) {
    upstream.ejections->set_active(upstream.outlier != nullptr);
    if (upstream.outlier == nullptr) {
      for (const policy::Endpoint& endpoint : upstream.endpoints->endpoints) policy::pardon(*endpoint.state);
    }
    upstream.slots->set_limit(upstream.max_connections);
    upstream.slots->offer(*upstream.endpoints, now);
  }
}

}  // namespace outrigger::config
