// tests/sim/scenario_parts.hpp
//
// What several groups of scenarios are put together from.
#pragma once

#include "tests/sim/scenario.hpp"

namespace outrigger::sim {

/// Nothing but requests that may be sent again, at a steady rate.
inline Traffic plain_traffic(double rate, Nanos length) {
  return {.rate = rate, .length = length, .posts = 0, .bodies = 0};
}

/// A circuit that stays open for two seconds, and trips by failures in a row or by their rate.
inline policy::CircuitConfig circuit(Rng& rng) {
  policy::CircuitConfig config;
  config.failure_statuses.insert(500, 500);
  config.failure_statuses.insert(502, 504);
  config.cooldown = std::chrono::seconds{2};
  if (rng.below(2) == 0) {
    config.trip = policy::CircuitConfig::Trip::rate_by_time;
    config.minimum_calls = 20;
    config.window = std::chrono::seconds{1};
  }
  return config;
}

}  // namespace outrigger::sim
