// proxy/config/load_blocks.hpp
//
// One reader per block, each beside the bounds of its keys. The order of the root's matters where one refers to
// another: `limits` before `listeners`, which start from it, and all that has a name before `policies`, which name it.
#pragma once

#include "proxy/config/block.hpp"
#include "proxy/config/schema.hpp"

namespace outrigger::config {

void load_process(Block& root, Config& config);              // version, instance, workers, admin, drain, chaos_enabled
void load_listeners(Block& root, Config& config);            // limits, listeners
void load_upstreams(Block& root, Config& config);            // upstreams
void load_routes(Block& root, Config& config);               // routes
void load_budgets(Block& root, Config& config);              // budgets
void load_circuits_and_limits(Block& root, Config& config);  // circuits, rate_limits, ... adaptive_throttles
void load_classifiers(Block& root, Config& config);          // classifiers
void load_policies(Block& root, Config& config);             // policies, and the built-in `default`
void load_telemetry(Block& root, Config& config);            // telemetry

// Blocks that stand in the root under a name, or in a policy.
void read_circuit(Block& block, policy::CircuitConfig& circuit);
void read_rate_limit(Block& block, policy::RateLimitConfig& limit);
void read_bulkhead(Block& block, policy::BulkheadConfig& bulkhead);
void read_adaptive_limit(Block& block, policy::AdaptiveLimitConfig& limit);
void read_adaptive_throttle(Block& block, policy::AdaptiveThrottleConfig& throttle);

// Keys of an upstream.
void read_balance(Block& block, UpstreamConfig& upstream);
void read_pool(Block& block, UpstreamConfig& upstream);  // max_connections, max_pending, outlier_detection, panic
void read_health_check(Block& block, std::optional<policy::HealthConfig>& health_check);  // of an upstream

// The `tls` block of a listener or an upstream; nullopt where there is none.
std::optional<ListenerTlsConfig> read_listener_tls(Block& block);
std::optional<UpstreamTlsConfig> read_upstream_tls(Block& block);

// Blocks about messages (load_messages.cpp).
void read_respond(Block& block, RespondConfig& respond);
void read_route_edits(Block& block, RouteConfig& route);  // rewrite, request_headers, response_headers

// Blocks of a policy.
void read_instances(Block& block, const Config& config, PolicyConfig& policy);  // circuit ... adaptive_throttle
void read_hedge(Block& block, policy::HedgeConfig& hedge);                      // all but its budget
void read_fallback(Block& block, FallbackBlock& fallback);
void read_cache(Block& block, policy::CacheConfig& cache);
void read_chaos(Block& block, ChaosBlock& chaos);

/// Reads `budget`: a name, a name with its cost, a budget of the policy's own, which is called `own_name`, or none.
void read_budget_ref(Block& block, const Config& config, const std::string& own_name, BudgetRef& budget);

/// Reads the conditions of a route, or of anything else that picks requests.
void read_match(Block& block, http::RouteMatch& match);

/// Reads `priorities`, which must not fall from low to critical.
void read_priorities(Block& block, policy::PriorityThresholds& priorities);

/// How many may wait for one place or limit; far below what a gate can count (policy::kMaxGateQueue).
inline constexpr std::uint32_t kMaxQueue = 10'000;
/// How many places a bulkhead or an adaptive limit may have.
inline constexpr std::uint32_t kMaxPlaces = 100'000;
static_assert(kMaxQueue <= policy::kMaxGateQueue && kMaxPlaces <= policy::kMaxGateCapacity);

/// Reports a name that cannot be one; used as a metric label it must stay short and plain.
bool accept_name(Findings& findings, const Place& place, const std::string& path, std::string_view name);

}  // namespace outrigger::config
