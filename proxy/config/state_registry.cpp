#include "proxy/config/state_registry.hpp"

namespace outrigger::config {

std::string_view StateRegistry::intern(std::string_view name) {
  const auto found = names_.find(name);
  return found != names_.end() ? *found : *names_.emplace(name).first;
}

std::shared_ptr<policy::Budget> StateRegistry::budget(const std::string& name, const policy::BudgetConfig& config) {
  BudgetEntry& entry = budgets_[name];
  std::shared_ptr<policy::Budget> state = entry.state.lock();
  if (state && entry.type == config.type && entry.window == config.window) return state;
  state = std::make_shared<policy::Budget>(config, workers_);
  entry = {config.type, config.window, state};
  return state;
}

std::shared_ptr<policy::EndpointState> StateRegistry::endpoint(const std::string& upstream,
                                                               const std::string& address) {
  std::erase_if(endpoints_, [](const auto& entry) { return entry.second.expired(); });
  std::weak_ptr<policy::EndpointState>& entry = endpoints_[upstream + '\n' + address];
  std::shared_ptr<policy::EndpointState> state = entry.lock();
  if (!state) entry = state = std::make_shared<policy::EndpointState>();
  return state;
}

}  // namespace outrigger::config
