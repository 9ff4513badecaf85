// proxy/config/snapshot.hpp
//
// A configuration as the workers use it: immutable, one row per route with everything a request needs already looked
// up. It is built beside the traffic, replaces its predecessor on each worker between two events, and lives until the
// last request that began under it has ended. It shares state with its predecessor by name (state_registry.hpp).
//
// Threads: built by the control thread; any thread may read.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "proxy/config/schema.hpp"
#include "proxy/config/state_registry.hpp"
#include "proxy/exchange/plan.hpp"
#include "proxy/http/deadline_header.hpp"
#include "proxy/http/route_table.hpp"

namespace outrigger::config {

/// An endpoint after name resolution: a numeric address with port.
struct ResolvedEndpoint {
  std::string address;
  std::uint32_t weight = 1;
};

/// What a request that matched a route goes by.
struct RoutePlan {
  exchange::Plan plan;
  std::uint32_t upstream = 0;   // index into `upstreams`
  http::DeadlineForms accept;   // deadline headers that are read
  http::DeadlineForms forward;  // and those that are written
  std::string_view host;        // sent instead of the received one; empty: as received
  std::string_view priority;    // fixed by the route; empty: the request's own
  std::string idempotency_key;  // a field that makes any method idempotent; empty: none
};

struct Snapshot {
  Config config;
  std::uint64_t generation = 0;
  std::string content_hash;  // of the effective configuration
  std::string instance;
  http::RouteTable routes;
  std::vector<RoutePlan> plans;  // by position of the route
  std::vector<exchange::Upstream> upstreams;
  std::vector<std::string_view> listener_names;  // interned, in the order of the configuration

  // What the rows above point to.
  std::vector<policy::EndpointSet> endpoint_sets;  // by upstream
  std::map<std::string, std::shared_ptr<policy::Budget>> budgets;
  std::map<std::string, policy::BudgetConfig> budget_configs;
  std::vector<std::shared_ptr<policy::EndpointState>> endpoint_states;
};

/// Builds a snapshot of a configuration that was loaded without errors. `resolved` has the endpoints of each upstream
/// in the order of the configuration. Errors: what is wrong with the routes, as text.
std::variant<std::shared_ptr<const Snapshot>, std::vector<std::string>> build_snapshot(
    Config config, std::string instance, std::uint64_t generation,
    const std::vector<std::vector<ResolvedEndpoint>>& resolved, StateRegistry& registry);

/// The names of the budgets of both snapshots that do not share a state, because what cannot change under one has.
std::vector<std::string> renewed_budgets(const Snapshot& before, const Snapshot& after);

}  // namespace outrigger::config
