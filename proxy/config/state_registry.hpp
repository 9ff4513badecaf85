// proxy/config/state_registry.hpp
//
// State by name, so that a reload is "same state, new numbers": whoever builds a snapshot asks here for the state of
// each thing it names and gets the one that already lives, unless what cannot change under a living state (a budget's
// type, the width of its window) has changed. A state lives as long as a snapshot that names it; names are interned for
// the life of the process, because timelines outlive snapshots.
//
// Threads: the control thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "proxy/policy/balance.hpp"
#include "proxy/policy/budget.hpp"

namespace outrigger::config {

class StateRegistry {
 public:
  explicit StateRegistry(std::uint32_t workers) : workers_(workers) {}

  std::uint32_t workers() const noexcept { return workers_; }
  std::string_view intern(std::string_view name);

  /// The budget of that name, or a new one where there is none or its structure differs.
  std::shared_ptr<policy::Budget> budget(const std::string& name, const policy::BudgetConfig& config);
  std::shared_ptr<policy::EndpointState> endpoint(const std::string& upstream, const std::string& address);

 private:
  struct BudgetEntry {
    policy::BudgetType type{};
    Nanos window{};
    std::weak_ptr<policy::Budget> state;
  };

  std::uint32_t workers_;
  std::set<std::string, std::less<>> names_;
  std::map<std::string, BudgetEntry> budgets_;
  std::map<std::string, std::weak_ptr<policy::EndpointState>> endpoints_;
};

}  // namespace outrigger::config
