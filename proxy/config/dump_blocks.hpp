// proxy/config/dump_blocks.hpp
//
// The blocks that stand in several places of the effective configuration, each written by one function.
#pragma once

#include <nlohmann/json.hpp>

#include "proxy/config/schema.hpp"

namespace outrigger::config {

nlohmann::ordered_json to_json(const http::RouteMatch& match);
nlohmann::ordered_json to_json(const RespondConfig& respond);
nlohmann::ordered_json to_json(const policy::BudgetConfig& budget);
nlohmann::ordered_json to_json(const policy::CircuitConfig& circuit);
nlohmann::ordered_json to_json(const policy::RateLimitConfig& limit);
nlohmann::ordered_json to_json(const policy::BulkheadConfig& bulkhead);
nlohmann::ordered_json to_json(const policy::AdaptiveLimitConfig& limit);
nlohmann::ordered_json to_json(const policy::AdaptiveThrottleConfig& throttle);
nlohmann::ordered_json to_json(const policy::Classifier& classifier);
nlohmann::ordered_json to_json(const ChaosBlock& chaos);
nlohmann::ordered_json to_json(const PolicyConfig& policy);

}  // namespace outrigger::config
