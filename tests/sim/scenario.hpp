// tests/sim/scenario.hpp
//
// A scenario is a way to draw a setup from a seed and a judgement on what came of it. The promises hold in all of them;
// the judgement is what is particular: how many requests must have ended well, how many attempts they may have cost.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "tests/sim/invariants.hpp"
#include "tests/sim/sidecar.hpp"

namespace outrigger::sim {

struct Scenario {
  std::string_view name;
  std::string_view what;
  Setup (*draw)(Rng& rng);
  /// Answers with what is wrong, or with nothing.
  std::string (*judge)(const Setup& setup, const Invariants& outcome);
};

std::span<const Scenario> traffic_scenarios();
std::span<const Scenario> budget_scenarios();
std::span<const Scenario> system_scenarios();
std::span<const Scenario> policy_scenarios();

/// Times and shares that setups are drawn with.
inline Nanos pick(Rng& rng, Nanos low, Nanos high) { return uniform(low, high).draw(rng); }
inline double pick(Rng& rng, double low, double high) { return low + (high - low) * rng.uniform(); }

/// At least `share` of the requests ended well.
std::string good_at_least(const Invariants& outcome, double share);
/// At most `most` attempts were made per request.
std::string attempts_at_most(const Invariants& outcome, double most);

inline std::string no_judgement(const Setup&, const Invariants&) { return {}; }

}  // namespace outrigger::sim
