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

std::string_view text_of(Priority priority) noexcept {
  switch (priority) {
    case Priority::low: return "low";
    case Priority::standard: return "standard";
    case Priority::critical: break;
  }
  return "critical";
}

class Builder {
 public:
  Builder(Snapshot& snapshot, StateRegistry& registry) : snapshot_(snapshot), registry_(registry) {}

  void upstreams(const std::vector<std::vector<ResolvedEndpoint>>& resolved) {
    const std::vector<UpstreamConfig>& configs = snapshot_.config.upstreams;
    snapshot_.endpoint_sets.resize(configs.size());
    for (std::size_t i = 0; i < configs.size(); ++i) {
      policy::EndpointSet& set = snapshot_.endpoint_sets[i];
      for (const ResolvedEndpoint& endpoint : resolved[i]) {
        auto state = registry_.endpoint(configs[i].name, endpoint.address);
        set.endpoints.push_back({endpoint.address, endpoint.weight, state.get()});
        set.total_weight += endpoint.weight;
        snapshot_.endpoint_states.push_back(std::move(state));
      }
      snapshot_.upstreams.push_back({.name = registry_.intern(configs[i].name),
                                     .id = static_cast<policy::UpstreamId>(i),
                                     .balance = configs[i].balance,
                                     .connect_timeout = configs[i].connect_timeout,
                                     .endpoints = &set,
                                     .unresolved = set.endpoints.empty()});
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
    const auto& configs = snapshot_.config.upstreams;
    const auto upstream =
        static_cast<std::size_t>(std::ranges::find(configs, route.upstream, &UpstreamConfig::name) - configs.begin());
    RoutePlan row;
    row.plan = {.policy = &policy.policy,
                .upstream = &snapshot_.upstreams[upstream],
                .budget = policy.policy.retry ? budget(policy.retry_budget, route.upstream) : exchange::BudgetRef{},
                .policy_key = registry_.intern(route.policy),
                .policy_id = registry_.intern(policy.policy.id),
                .route = registry_.intern("routes[" + std::to_string(position) + "]"),
                .generation = snapshot_.generation};
    row.upstream = static_cast<std::uint32_t>(upstream);
    row.accept = forms_of(policy.policy.deadline.accept);
    row.forward = forms_of(policy.policy.deadline.forward);
    if (configs[upstream].host) row.host = *configs[upstream].host;
    if (route.priority) row.priority = text_of(*route.priority);
    // Without a `retry` block there are still reconnects, which the usual key permits.
    row.idempotency_key =
        policy.policy.retry ? policy.policy.retry->idempotency_key : policy::RetryConfig{}.idempotency_key;
    return row;
  }

  exchange::BudgetRef budget(const BudgetRef& ref, const std::string& upstream) {
    if (ref.kind == BudgetRef::Kind::unlimited) return {};
    const std::string name = ref.kind == BudgetRef::Kind::builtin ? "default/" + upstream : ref.name;
    auto [config, added] = snapshot_.budget_configs.try_emplace(name, ref.config);
    auto& state = snapshot_.budgets[name];
    if (!state) state = registry_.budget(name, ref.config);
    return {.name = registry_.intern(name), .config = &config->second, .state = state.get(), .cost = ref.cost};
  }

  Snapshot& snapshot_;
  StateRegistry& registry_;
};

}  // namespace

std::variant<std::shared_ptr<const Snapshot>, std::vector<std::string>> build_snapshot(
    Config config, std::string instance, std::uint64_t generation,
    const std::vector<std::vector<ResolvedEndpoint>>& resolved, StateRegistry& registry) {
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
  snapshot->content_hash = std::to_string(std::hash<std::string>{}(dump(snapshot->config)));
  snapshot->instance = std::move(instance);
  snapshot->routes = std::move(std::get<http::RouteTable>(table));
  for (const ListenerConfig& listener : snapshot->config.listeners) {
    snapshot->listener_names.push_back(registry.intern(listener.name));
  }
  Builder builder(*snapshot, registry);
  builder.upstreams(resolved);
  builder.routes();
  return snapshot;
}

std::vector<std::string> renewed_budgets(const Snapshot& before, const Snapshot& after) {
  std::vector<std::string> names;
  for (const auto& [name, state] : after.budgets) {
    const auto old = before.budgets.find(name);
    if (old != before.budgets.end() && old->second != state) names.push_back(name);
  }
  return names;
}

}  // namespace outrigger::config
