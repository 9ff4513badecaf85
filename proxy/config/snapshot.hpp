// proxy/config/snapshot.hpp
//
// A configuration as the workers use it: immutable, one row per route with everything a request needs already looked
// up. It is built beside the traffic, replaces its predecessor on each worker between two events, and lives until the
// last request that began under it has ended. It shares state with its predecessor by name (state_registry.hpp).
//
// Threads: built by the control thread; any thread may read.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "proxy/config/schema.hpp"
#include "proxy/config/state_registry.hpp"
#include "proxy/exchange/plan.hpp"
#include "proxy/http/deadline_header.hpp"
#include "proxy/http/forward.hpp"
#include "proxy/http/rewrite.hpp"
#include "proxy/http/route_table.hpp"

namespace outrigger::config {

/// An endpoint after name resolution: a numeric address with port, or a Unix socket.
struct ResolvedEndpoint {
  std::string address;
  std::uint32_t weight = 1;
  std::string host = {};  // as the configuration names it
};
/// By upstream, in the order of the configuration.
using Resolved = std::vector<std::vector<ResolvedEndpoint>>;

/// Where copies of a route's requests go. No request waits for them, so a bulkhead without a queue is all that bounds
/// them, whatever the worker.
struct MirrorPlan {
  const exchange::Upstream* upstream = nullptr;
  std::string_view host;  // sent instead of the received one; empty: as received
  double fraction = 1;
  policy::BulkheadConfig places;
  std::shared_ptr<policy::Bulkhead> state;
};

/// A route's changes of heads, in the form in which heads are written.
struct RouteEdits {
  std::vector<Field> set;
  std::vector<Field> add;
  std::vector<std::string_view> remove;
  http::HeaderEdits edits;
};

/// What a request that matched a route goes by.
struct RoutePlan {
  exchange::Plan plan;
  const http::RouteTable* chaos_match = nullptr;  // one row, which requests meet faults; nullptr: none does
  http::PathRewrite rewrite;
  const http::HeaderEdits* request_edits = nullptr;  // nullptr: none
  const http::HeaderEdits* response_edits = nullptr;
  http::DeadlineForms accept;        // deadline headers that are read
  http::DeadlineForms forward;       // and those that are written
  std::string_view host;             // sent instead of the received one; empty: as received
  std::string_view fallback_host;    // the same at the fallback's upstream
  std::optional<Priority> priority;  // fixed by the route; absent: the request's own
  std::optional<MirrorPlan> mirror;
  std::span<const std::string> upgrade;  // protocols that a request may switch to
  Nanos tunnel_idle_timeout{0};
  std::string idempotency_key;  // a field that makes any method idempotent; empty: none
};

/// Faults that an operator ordered for a while. They come in the place of the policy's own, and the sequence of their
/// rolls begins with the order.
struct ChaosOrder {
  ChaosBlock block;
  std::shared_ptr<policy::Chaos> state = std::make_shared<policy::Chaos>();
};
using ChaosOrders = std::map<std::string, ChaosOrder>;  // by policy key

/// What the process has to say about faults, beside the configuration.
struct ChaosTerms {
  bool allowed = false;  // the switch on the command line; `chaos_enabled` is the other one
  ChaosOrders orders = {};
};

/// Something that has a state: its numbers in this snapshot, and the state that outlives it.
template <class StateConfig, class State>
struct Instance {
  StateConfig config;
  std::shared_ptr<State> state;
  bool shadow = false;  // a policy that only observes asks it; it is no one else's
};

struct CircuitInstance : Instance<policy::CircuitConfig, policy::CircuitBreaker> {
  std::string_view name;      // of the circuit, interned like the rest
  std::string_view upstream;  // empty for scope `key`
  std::string_view endpoint;  // empty but for scope `endpoint`
};

struct RateLimitInstance : Instance<policy::RateLimitConfig, policy::RateLimit> {
  std::shared_ptr<policy::KeyedRateLimit> keyed;  // instead of `state`, where requests are told apart
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
  std::vector<policy::EndpointSet> endpoint_sets;        // by upstream
  std::vector<std::vector<std::string>> endpoint_hosts;  // beside them, as the configuration names each
  std::vector<std::shared_ptr<policy::EndpointState>> endpoint_states;
  std::deque<RouteEdits> edits;
  std::vector<std::shared_ptr<UpstreamState>> upstream_states;  // by upstream; endpoints point to them
  // By name of the instance; only what a route's policy refers to. A circuit of a scope has its upstream and endpoint
  // behind its name, a shadow its policy in front of it.
  std::map<std::string, Instance<policy::BudgetConfig, policy::Budget>> budgets;
  std::map<std::string, CircuitInstance> circuits;
  std::map<std::string, RateLimitInstance> rate_limits;
  std::map<std::string, Instance<policy::BulkheadConfig, policy::Bulkhead>> bulkheads;
  std::map<std::string, Instance<policy::AdaptiveLimitConfig, policy::AdaptiveLimit>> adaptive_limits;
  std::map<std::string, Instance<policy::AdaptiveThrottleConfig, policy::AdaptiveThrottle>> adaptive_throttles;
  // By policy key.
  std::map<std::string, Instance<policy::HedgeConfig, policy::HedgeTrigger>> hedges;
  std::map<std::string, Instance<policy::CacheConfig, policy::Cache>> caches;
  std::map<std::string, Instance<policy::ChaosConfig, policy::Chaos>> chaos;  // that acts: both switches are on
  std::map<std::string, http::RouteTable> chaos_matches;
  ChaosOrders chaos_orders;  // of policies that there are, whether or not they act
};

/// Builds a snapshot of a configuration that was loaded without errors. `resolved` has the endpoints of each upstream
/// in the order of the configuration. Its hash is that of the configuration alone, whatever `chaos` says. Errors: what
/// is wrong with the routes, as text.
std::variant<std::shared_ptr<const Snapshot>, std::vector<std::string>> build_snapshot(
    Config config, std::string instance, std::uint64_t generation, const Resolved& resolved, StateRegistry& registry,
    const ChaosTerms& chaos = {});

/// A state that both snapshots name and do not share, because what cannot change under one has.
struct Renewed {
  std::string_view kind;  // "budget", "circuit", ...
  std::string name;
};
std::vector<Renewed> renewed_states(const Snapshot& before, const Snapshot& after);

/// Tells the states of a snapshot that came into force that its numbers are theirs now: who waits for a place may have
/// one, buckets are filled at the new rate, and where failures eject nobody any more nobody stays ejected.
void take_effect(const Snapshot& snapshot, TimePoint now);

}  // namespace outrigger::config
