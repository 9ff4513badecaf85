// proxy/telemetry/policy_families.hpp
//
// The families of hedges, substitutes, faults, circuits, limits and throttles: what the workers counted, and the levels
// of the shared states as they are at the scrape. Their owner hands the levels over as plain numbers, so that this
// folder knows no state.
//
// Threads: the control thread.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "proxy/policy/circuit_breaker.hpp"
#include "proxy/telemetry/metric_shard.hpp"
#include "proxy/telemetry/scrape.hpp"

namespace outrigger::telemetry {

inline constexpr std::size_t kCircuitStates = 3;
/// How often a circuit went from one state (first index) to another.
using Transitions = std::array<std::array<std::uint64_t, kCircuitStates>, kCircuitStates>;

struct CircuitLevels {
  std::string circuit;
  std::string upstream;  // empty for scope `key`
  std::string endpoint;  // empty but for scope `endpoint`
  policy::CircuitState state{};
  Transitions transitions{};
};

struct HedgeLevels {
  std::string policy;
  double delay_seconds = 0;
};

struct BulkheadLevels {
  std::string name;
  std::uint32_t in_flight = 0;
  std::uint32_t capacity = 0;
  std::uint32_t queued = 0;
};

struct AdaptiveLimitLevels {
  std::string name;
  std::uint32_t limit = 0;
  std::uint32_t in_flight = 0;
  double baseline_seconds = 0;  // 0: not known yet
};

struct ThrottleLevels {
  std::string name;
  double rejection = 0;
};

struct PolicyLevels {
  std::vector<CircuitLevels> circuits;
  std::vector<HedgeLevels> hedges;  // those that have a delay
  std::vector<BulkheadLevels> bulkheads;
  std::vector<AdaptiveLimitLevels> adaptive_limits;
  std::vector<ThrottleLevels> throttles;
};

/// Transitions by circuit. A state counts its own, and goes with its endpoint or a reload; the sum over the circuits of
/// one name must not fall with it, or a rate over it would show what never happened.
class TransitionTotals {
 public:
  void add(const CircuitLevels& circuit);
  const std::map<std::string, Transitions>& by_circuit() const noexcept { return totals_; }

 private:
  using Key = std::tuple<std::string, std::string, std::string>;
  std::map<Key, Transitions> seen_;
  std::map<std::string, Transitions> totals_;
};

void add_policy_counters(Scrape& scrape, const MetricRegistry::All& all);
void add_policy_levels(Scrape& scrape, const PolicyLevels& levels, TransitionTotals& transitions);

}  // namespace outrigger::telemetry
