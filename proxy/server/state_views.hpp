// proxy/server/state_views.hpp
//
// The shared states of a snapshot as people and scrapes see them: lists for the admin API, levels for the metrics, and
// what an operator may do to a circuit. A state is shown under the name that the configuration knows it by; that of a
// policy which only observes says whose it is, and is no part of the metrics, as nobody is refused by it.
//
// Threads: the control thread; the states go on changing meanwhile, so that numbers beside each other may be an instant
// apart.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "proxy/admin/admin_backend.hpp"
#include "proxy/base/time.hpp"
#include "proxy/config/snapshot.hpp"
#include "proxy/telemetry/policy_families.hpp"
#include "proxy/telemetry/prometheus_export.hpp"

namespace outrigger::server {

// Arrays with one object for each state of a kind.
nlohmann::ordered_json view_budgets(const config::Snapshot& snapshot, TimePoint now);
nlohmann::ordered_json view_circuits(const config::Snapshot& snapshot, TimePoint now);
nlohmann::ordered_json view_rate_limits(const config::Snapshot& snapshot, TimePoint now);
nlohmann::ordered_json view_bulkheads(const config::Snapshot& snapshot);
nlohmann::ordered_json view_adaptive_limits(const config::Snapshot& snapshot);
nlohmann::ordered_json view_adaptive_throttles(const config::Snapshot& snapshot, TimePoint now);

/// All states that requests of one policy use, by kind; an empty object for a policy that no route has.
nlohmann::ordered_json view_policy(const config::Snapshot& snapshot, std::string_view key, TimePoint now);

/// Commands all circuits of that name, whatever upstream or endpoint they are for; false: there is none.
bool command_circuits(const config::Snapshot& snapshot, std::string_view name, admin::CircuitCommand command);

telemetry::PolicyLevels levels_of(const config::Snapshot& snapshot, TimePoint now);

}  // namespace outrigger::server
