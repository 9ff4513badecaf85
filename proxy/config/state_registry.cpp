#include "proxy/config/state_registry.hpp"

namespace outrigger::config {
namespace {

class NobodyWaits final : public Wakeups {
 public:
  void wake(const Ticket&) noexcept override {}
};

class Unbounded final : public policy::CacheMemory {
 public:
  bool take(std::uint64_t) noexcept override { return true; }
  void give_back(std::uint64_t) noexcept override {}
};

StateServices no_services() {
  static NobodyWaits wakeups;
  static Unbounded memory;
  return {wakeups, memory, [] { return std::uint64_t{0}; }};
}

}  // namespace

StateRegistry::StateRegistry(std::uint32_t workers) : StateRegistry(workers, no_services()) {}

std::string_view StateRegistry::intern(std::string_view name) {
  const auto found = names_.find(name);
  return found != names_.end() ? *found : *names_.emplace(name).first;
}

std::shared_ptr<policy::Budget> StateRegistry::budget(const std::string& name, const policy::BudgetConfig& config) {
  return budgets_.get(name, config, [&] { return std::make_shared<policy::Budget>(config, workers_); });
}

std::shared_ptr<policy::CircuitBreaker> StateRegistry::circuit(const std::string& name,
                                                               const policy::CircuitConfig& config) {
  return circuits_.get(name, config, [&] { return std::make_shared<policy::CircuitBreaker>(config); });
}

std::shared_ptr<policy::RateLimit> StateRegistry::rate_limit(const std::string& name,
                                                             const policy::RateLimitConfig& config) {
  return rate_limits_.get(name, config, [&] { return std::make_shared<policy::RateLimit>(config); });
}

std::shared_ptr<policy::KeyedRateLimit> StateRegistry::keyed_rate_limit(const std::string& name,
                                                                        const policy::RateLimitConfig& config) {
  return keyed_rate_limits_.get(name, config,
                                [&] { return std::make_shared<policy::KeyedRateLimit>(config, services_.random()); });
}

std::shared_ptr<policy::Bulkhead> StateRegistry::bulkhead(const std::string& name,
                                                          const policy::BulkheadConfig& config) {
  return bulkheads_.get(name, config, [&] { return std::make_shared<policy::Bulkhead>(services_.wakeups); });
}

std::shared_ptr<policy::AdaptiveLimit> StateRegistry::adaptive_limit(const std::string& name,
                                                                     const policy::AdaptiveLimitConfig& config) {
  return adaptive_limits_.get(
      name, config, [&] { return std::make_shared<policy::AdaptiveLimit>(config, services_.wakeups, workers_); });
}

std::shared_ptr<policy::AdaptiveThrottle> StateRegistry::adaptive_throttle(
    const std::string& name, const policy::AdaptiveThrottleConfig& config) {
  return adaptive_throttles_.get(name, config, [&] { return std::make_shared<policy::AdaptiveThrottle>(config); });
}

std::shared_ptr<policy::HedgeTrigger> StateRegistry::hedge_trigger(const std::string& policy,
                                                                   const policy::HedgeConfig& config) {
  return hedge_triggers_.get(policy, config, [&] { return std::make_shared<policy::HedgeTrigger>(config, workers_); });
}

std::shared_ptr<policy::Chaos> StateRegistry::chaos(const std::string& policy, const policy::ChaosConfig& config) {
  return chaos_.get(policy, config, [] { return std::make_shared<policy::Chaos>(); });
}

std::shared_ptr<policy::Cache> StateRegistry::cache(const std::string& policy, const policy::CacheConfig& config) {
  return caches_.get(policy, config, [&] {
    return std::make_shared<policy::Cache>(services_.wakeups, services_.memory, services_.random());
  });
}

std::shared_ptr<UpstreamState> StateRegistry::upstream(const std::string& name) {
  std::weak_ptr<UpstreamState>& entry = upstreams_[name];
  std::shared_ptr<UpstreamState> state = entry.lock();
  if (!state) entry = state = std::make_shared<UpstreamState>(services_.wakeups);
  return state;
}

std::shared_ptr<policy::EndpointState> StateRegistry::endpoint(const std::string& upstream,
                                                               const std::string& address) {
  std::weak_ptr<policy::EndpointState>& entry = endpoints_[upstream + '\n' + address];
  std::shared_ptr<policy::EndpointState> state = entry.lock();
  if (state) return state;
  struct Kept {
    std::shared_ptr<UpstreamState> upstream;
    policy::EndpointState state;
  };
  const auto kept = std::make_shared<Kept>();
  kept->upstream = this->upstream(upstream);
  kept->state.slots = &kept->upstream->slots;
  entry = state = {kept, &kept->state};
  return state;
}

void StateRegistry::forget_the_gone() {
  budgets_.forget_the_gone();
  circuits_.forget_the_gone();
  rate_limits_.forget_the_gone();
  keyed_rate_limits_.forget_the_gone();
  bulkheads_.forget_the_gone();
  adaptive_limits_.forget_the_gone();
  adaptive_throttles_.forget_the_gone();
  hedge_triggers_.forget_the_gone();
  chaos_.forget_the_gone();
  caches_.forget_the_gone();
  std::erase_if(upstreams_, [](const auto& entry) { return entry.second.expired(); });
  std::erase_if(endpoints_, [](const auto& entry) { return entry.second.expired(); });
}

}  // namespace outrigger::config
