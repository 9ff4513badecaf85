#include "proxy/config/load_instances.hpp"

namespace outrigger::config {

void load_circuits_and_limits(Block& root, Config& config) {
  load_instances(root, kCircuitKind, config.circuits);
  load_instances(root, kRateLimitKind, config.rate_limits);
  load_instances(root, kBulkheadKind, config.bulkheads);
  load_instances(root, kAdaptiveLimitKind, config.adaptive_limits);
  load_instances(root, kAdaptiveThrottleKind, config.adaptive_throttles);
}

void read_instances(Block& block, const Config& config, PolicyConfig& policy) {
  const std::string& key = policy.policy.key;
  InstanceReader(block, kCircuitKind, config.circuits, key).read(policy.circuits);
  InstanceReader(block, kRateLimitKind, config.rate_limits, key).read(policy.rate_limits);
  InstanceReader(block, kBulkheadKind, config.bulkheads, key).read(policy.bulkheads);
  InstanceReader(block, kAdaptiveLimitKind, config.adaptive_limits, key).read(policy.adaptive_limit);
  InstanceReader(block, kAdaptiveThrottleKind, config.adaptive_throttles, key).read(policy.adaptive_throttle);
}

}  // namespace outrigger::config
