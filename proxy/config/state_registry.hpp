// proxy/config/state_registry.hpp
//
// State by name, so that a reload is "same state, new numbers": whoever builds a snapshot asks here for the state of
// each thing it names and gets the one that already lives, unless what cannot change under a living state (a budget's
// type, what a circuit counts, whom a rate limit tells apart) has changed. A state lives as long as a snapshot that
// names it; names are interned for the life of the process, because timelines outlive snapshots.
//
// Threads: the control thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "proxy/base/wakeups.hpp"
#include "proxy/policy/adaptive_limit.hpp"
#include "proxy/policy/adaptive_throttle.hpp"
#include "proxy/policy/balance.hpp"
#include "proxy/policy/budget.hpp"
#include "proxy/policy/bulkhead.hpp"
#include "proxy/policy/cache.hpp"
#include "proxy/policy/chaos.hpp"
#include "proxy/policy/circuit_breaker.hpp"
#include "proxy/policy/connection_slots.hpp"
#include "proxy/policy/hedge.hpp"
#include "proxy/policy/keyed_rate_limit.hpp"
#include "proxy/policy/outlier.hpp"
#include "proxy/policy/rate_limit.hpp"

namespace outrigger::config {

/// Whether a state made for one config may serve the other: what it counts stays the same, and so does whatever its
/// mechanism fixes for life.
template <class StateConfig>
bool may_keep(const StateConfig& was, const StateConfig& now) noexcept {
  if constexpr (requires { was.counts; }) {
    if (was.counts != now.counts) return false;
  }
  if constexpr (requires { same_structure(was, now); }) {
    return same_structure(was, now);
  } else {
    return true;
  }
}
inline bool may_keep(const policy::BudgetConfig& was, const policy::BudgetConfig& now) noexcept {
  return was.type == now.type;
}

/// The states of one kind.
template <class StateConfig, class State>
class StatesByName {
 public:
  /// The living state of that name, or what `make` makes where there is none or it cannot be kept.
  template <class Make>
  std::shared_ptr<State> get(const std::string& name, const StateConfig& config, Make&& make) {
    Entry& entry = entries_[name];
    std::shared_ptr<State> state = entry.state.lock();
    if (!state || !may_keep(entry.config, config)) entry.state = state = make();
    entry.config = config;
    return state;
  }

  void forget_the_gone() {
    std::erase_if(entries_, [](const auto& entry) { return entry.second.state.expired(); });
  }

 private:
  struct Entry {
    StateConfig config;
    std::weak_ptr<State> state;
  };
  std::map<std::string, Entry> entries_;
};

/// What states need of the process.
struct StateServices {
  Wakeups& wakeups;                       // of those who wait for a place or an answer
  policy::CacheMemory& memory;            // of cached answers
  std::function<std::uint64_t()> random;  // unguessable
};

/// What all endpoints of one upstream share.
struct UpstreamState {
  explicit UpstreamState(Wakeups& wakeups) noexcept : slots(wakeups) {}

  policy::ConnectionSlots slots;
  policy::OutlierDetection ejections;
};

class StateRegistry {
 public:
  /// For snapshots that no request will go by, or none that waits: nobody is woken, memory is not bounded.
  explicit StateRegistry(std::uint32_t workers);
  /// The services outlive the registry and all states.
  StateRegistry(std::uint32_t workers, StateServices services) : workers_(workers), services_(std::move(services)) {}

  std::uint32_t workers() const noexcept { return workers_; }
  std::string_view intern(std::string_view name);

  /// The state of that name, or a new one where there is none or its structure differs.
  std::shared_ptr<policy::Budget> budget(const std::string& name, const policy::BudgetConfig& config);
  std::shared_ptr<policy::CircuitBreaker> circuit(const std::string& name, const policy::CircuitConfig& config);
  std::shared_ptr<policy::RateLimit> rate_limit(const std::string& name, const policy::RateLimitConfig& config);
  std::shared_ptr<policy::KeyedRateLimit> keyed_rate_limit(const std::string& name,
                                                           const policy::RateLimitConfig& config);
  std::shared_ptr<policy::Bulkhead> bulkhead(const std::string& name, const policy::BulkheadConfig& config);
  std::shared_ptr<policy::AdaptiveLimit> adaptive_limit(const std::string& name,
                                                        const policy::AdaptiveLimitConfig& config);
  std::shared_ptr<policy::AdaptiveThrottle> adaptive_throttle(const std::string& name,
                                                              const policy::AdaptiveThrottleConfig& config);
  std::shared_ptr<policy::HedgeTrigger> hedge_trigger(const std::string& policy, const policy::HedgeConfig& config);
  std::shared_ptr<policy::Chaos> chaos(const std::string& policy, const policy::ChaosConfig& config);
  std::shared_ptr<policy::Cache> cache(const std::string& policy, const policy::CacheConfig& config);
  std::shared_ptr<UpstreamState> upstream(const std::string& name);
  /// Whoever keeps it keeps the state of its upstream, too.
  std::shared_ptr<policy::EndpointState> endpoint(const std::string& upstream, const std::string& address);

  /// Drops the names of states that live no more.
  void forget_the_gone();

 private:
  std::uint32_t workers_;
  StateServices services_;
  std::set<std::string, std::less<>> names_;
  StatesByName<policy::BudgetConfig, policy::Budget> budgets_;
  StatesByName<policy::CircuitConfig, policy::CircuitBreaker> circuits_;
  StatesByName<policy::RateLimitConfig, policy::RateLimit> rate_limits_;
  StatesByName<policy::RateLimitConfig, policy::KeyedRateLimit> keyed_rate_limits_;
  StatesByName<policy::BulkheadConfig, policy::Bulkhead> bulkheads_;
  StatesByName<policy::AdaptiveLimitConfig, policy::AdaptiveLimit> adaptive_limits_;
  StatesByName<policy::AdaptiveThrottleConfig, policy::AdaptiveThrottle> adaptive_throttles_;
  StatesByName<policy::HedgeConfig, policy::HedgeTrigger> hedge_triggers_;
  StatesByName<policy::ChaosConfig, policy::Chaos> chaos_;
  StatesByName<policy::CacheConfig, policy::Cache> caches_;
  std::map<std::string, std::weak_ptr<UpstreamState>> upstreams_;
  std::map<std::string, std::weak_ptr<policy::EndpointState>> endpoints_;
};

}  // namespace outrigger::config
