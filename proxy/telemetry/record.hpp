// proxy/telemetry/record.hpp
//
// How a finished request gets into the metrics: its timeline is read once, and every counter follows from it. Nothing
// is counted while a request is under way (but that it is), so a number in /metrics cannot disagree with the timelines
// it sums up.
//
// A route finds its rows when a snapshot becomes a worker's view. What several of its limits did is told apart by name
// among the few that the route has.
//
// Threads: the rows are the worker's own. Cost: a plain request touches about ten cells; no lock, no allocation.
#pragma once

#include <cstdint>
#include <string_view>

#include "proxy/base/bounded_vec.hpp"
#include "proxy/exchange/plan.hpp"
#include "proxy/exchange/timeline.hpp"
#include "proxy/telemetry/metric_shard.hpp"

namespace outrigger::telemetry {

/// The rows of one kind of limit that a route has, by the limit's name.
template <class Row>
struct NamedRow {
  std::string_view name;
  Row* row = nullptr;
};
template <class Row>
using NamedRows = BoundedVec<NamedRow<Row>, exchange::kMaxOfAKind>;

/// What one worker counts the requests of one route in; a null pointer: the policy has no such thing.
struct RouteRows {
  PolicyRow* policy = nullptr;
  AttemptRow* attempts = nullptr;           // at the route's upstream
  AttemptRow* fallback_attempts = nullptr;  // at the fallback's
  std::string_view fallback_upstream;
  BudgetRow* budget = nullptr;  // of retries
  BudgetRow* hedge_budget = nullptr;
  HedgeRow* hedges = nullptr;
  FallbackRow* fallbacks = nullptr;
  CacheRow* cache = nullptr;
  ChaosRow* chaos = nullptr;
  NamedRows<RateLimitRow> rate_limits;
  NamedRows<BulkheadRow> bulkheads;
  AdaptiveLimitRow* adaptive_limit = nullptr;
  ThrottleRow* throttle = nullptr;
};

/// The rows of a route for that worker, made where there are none yet.
RouteRows route_rows(MetricRegistry& registry, std::uint32_t worker, const exchange::Plan& plan);

/// Counts a request that was given its policy; `record` of its timeline takes it back out of flight.
inline void begin(PolicyRow& policy) noexcept { policy.in_flight.add(1); }

/// Counts a finished request with all that happened to it.
void record(const exchange::Timeline& timeline, const RouteRows& rows) noexcept;

/// Counts a request that was refused before it had a policy; `policy` is the row `kUnrouted`.
void record_refusal(const exchange::Timeline& timeline, PolicyRow& policy) noexcept;

}  // namespace outrigger::telemetry
