// proxy/config/load_blocks.hpp
//
// One reader per root block, each beside the bounds of its keys. Order matters in one place only: `limits` before
// `listeners`, which start from it, and `budgets` before `policies`, which name them.
#pragma once

#include "proxy/config/block.hpp"
#include "proxy/config/schema.hpp"

namespace outrigger::config {

void load_process(Block& root, Config& config);    // version, instance, workers, admin, drain
void load_listeners(Block& root, Config& config);  // limits, listeners
void load_upstreams(Block& root, Config& config);  // upstreams
void load_routes(Block& root, Config& config);     // routes
void load_budgets(Block& root, Config& config);    // budgets
void load_policies(Block& root, Config& config);   // policies, and the built-in `default`
void load_telemetry(Block& root, Config& config);  // telemetry

/// Reads one budget's keys into `budget`. `cost`: where the block may say what an extra attempt takes, else nullptr.
void read_budget(Block& block, policy::BudgetConfig& budget, double* cost);

/// Reports a name that cannot be one; used as a metric label it must stay short and plain.
bool accept_name(Findings& findings, const Place& place, const std::string& path, std::string_view name);

}  // namespace outrigger::config
