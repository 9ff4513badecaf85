// proxy/exchange/plan.hpp
//
// One row of the configuration snapshot, as a request that matched its route needs it: immutable numbers beside the
// shared states they are applied to. An exchange keeps the plan it began with for its whole life.
#pragma once

#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "proxy/base/rng.hpp"
#include "proxy/exchange/static_response.hpp"
#include "proxy/policy/adaptive_limit.hpp"
#include "proxy/policy/adaptive_throttle.hpp"
#include "proxy/policy/balance.hpp"
#include "proxy/policy/budget.hpp"
#include "proxy/policy/bulkhead.hpp"
#include "proxy/policy/cache.hpp"
#include "proxy/policy/chaos.hpp"
#include "proxy/policy/circuit_breaker.hpp"
#include "proxy/policy/classifier.hpp"
#include "proxy/policy/connection_slots.hpp"
#include "proxy/policy/fallback.hpp"
#include "proxy/policy/hedge.hpp"
#include "proxy/policy/keyed_rate_limit.hpp"
#include "proxy/policy/outlier.hpp"
#include "proxy/policy/policy.hpp"
#include "proxy/policy/rate_limit.hpp"

namespace outrigger::exchange {

/// The most instances of one mechanism that a policy may refer to.
inline constexpr std::size_t kMaxOfAKind = 4;

/// What requests are told apart by where they are balanced by hash.
struct HashKey {
  bool client_ip = false;
  std::string_view header;  // else
};

struct Upstream {
  std::string_view name;
  policy::UpstreamId id{};
  policy::Balance balance = policy::Balance::least_request;
  HashKey hash_key;
  Nanos connect_timeout = std::chrono::seconds{1};
  const policy::EndpointSet* endpoints = nullptr;
  bool unresolved = false;  // its names gave no address: an empty set means dns_failure
  bool panic = true;        // with no usable endpoint, all are used
  std::int64_t max_connections = std::numeric_limits<std::int64_t>::max();  // at each endpoint
  std::uint32_t max_pending = 0;
  policy::ConnectionSlots* slots = nullptr;        // without one nobody waits
  const policy::OutlierConfig* outlier = nullptr;  // nullptr: failures eject nobody
  policy::OutlierDetection* ejections = nullptr;
};

/// A budget as a policy refers to it. Without a state, extra attempts are not limited.
struct BudgetRef {
  std::string_view name;
  const policy::BudgetConfig* config = nullptr;
  policy::Budget* state = nullptr;
  double cost = 1;
};

/// Whether and when a policy sends the request once more before the first answer.
struct HedgeRef {
  const policy::HedgeConfig* config = nullptr;  // nullptr: it does not
  policy::HedgeTrigger* trigger = nullptr;
  BudgetRef budget;
};

/// A circuit as a policy refers to it; with a scope of endpoints there is one for each.
struct CircuitRef {
  std::string_view name;
  const policy::CircuitConfig* config = nullptr;
  policy::CircuitBreaker* state = nullptr;
  std::vector<policy::CircuitBreaker*> by_endpoint;  // by EndpointId of the route's upstream

  bool per_endpoint() const noexcept { return !by_endpoint.empty(); }
};

/// A limit as a policy refers to it: numbers of this snapshot, a state that outlives it.
template <class Config, class State>
struct LimitRef {
  std::string_view name;
  const Config* config = nullptr;
  State* state = nullptr;
};
using ThrottleRef = LimitRef<policy::AdaptiveThrottleConfig, policy::AdaptiveThrottle>;
using BulkheadRef = LimitRef<policy::BulkheadConfig, policy::Bulkhead>;
using AdaptiveLimitRef = LimitRef<policy::AdaptiveLimitConfig, policy::AdaptiveLimit>;
struct RateLimitRef : LimitRef<policy::RateLimitConfig, policy::RateLimit> {
  policy::KeyedRateLimit* keyed = nullptr;  // instead of `state`, where requests are told apart
};
using CacheRef = LimitRef<policy::CacheConfig, policy::Cache>;

/// Faults on purpose; without a config there are none. Whether a request meets them is in its facts.
struct ChaosRef : LimitRef<policy::ChaosConfig, policy::Chaos> {
  StaticResponse answer;  // with an abort that is a status: that status, and no body
};

/// What is sent instead of an answer that matches; without a config nothing is.
struct FallbackRef {
  const policy::FallbackConfig* config = nullptr;
  StaticResponse respond;              // with Answer::respond
  const Upstream* upstream = nullptr;  // with Answer::upstream
};

/// Names are interned for the life of the process, so that a timeline may outlive the snapshot.
struct Plan {
  const policy::Policy* policy = nullptr;
  const Upstream* upstream = nullptr;  // nullptr: the route answers by itself, with `respond`
  StaticResponse respond;
  BudgetRef budget;
  HedgeRef hedge;
  // Several of a kind are in the order of their names, whatever the file's order.
  std::vector<CircuitRef> circuits;
  std::vector<RateLimitRef> rate_limits;
  std::vector<BulkheadRef> bulkheads;
  ThrottleRef throttle;
  AdaptiveLimitRef adaptive_limit;
  const policy::Classifier* classifier = nullptr;  // nullptr: the built-in one
  FallbackRef fallback;
  CacheRef cache;  // without a state there is none
  ChaosRef chaos;
  bool observes = false;  // all of the above is computed and recorded, and does not act
  std::string_view policy_key;
  std::string_view policy_id;
  std::string_view route;
  std::uint64_t generation = 0;
};

/// What belongs to the worker that runs an exchange: its index, its randomness, its round-robin positions by upstream.
struct WorkerLocal {
  std::uint32_t worker = 0;
  Rng rng{0};
  std::vector<policy::BalanceCursor> cursors;
};

}  // namespace outrigger::exchange
