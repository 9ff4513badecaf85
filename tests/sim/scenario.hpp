// tests/sim/scenario.hpp
//
// A scenario is a way to draw a setup from a seed, and the figures that say what came of it. The promises hold in all
// of them; a figure is what is particular: how many requests ended well, how many attempts they cost. One that has a
// bound is a promise, too; one without is only shown.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "tests/sim/account.hpp"
#include "tests/sim/sidecar.hpp"

namespace outrigger::sim {

struct Figure {
  static constexpr double kNoBound = std::numeric_limits<double>::infinity();

  std::string_view name;
  double value = 0;
  double least = -kNoBound;
  double most = kNoBound;

  // A budget may be spent to the last attempt, where both sides are the same number rounded differently.
  bool holds() const { return value >= least - 1e-9 && value <= most + 1e-9; }
};
/// Every seed of a scenario gives the same ones in the same order.
using Figures = std::vector<Figure>;

struct Scenario {
  std::string_view name;
  std::string_view what;
  Setup (*draw)(Rng& rng);
  Figures (*measure)(const Setup& setup, const Account& account);
  /// Where one seed is a minute or more of full load it is run once: that a seed gives the same run again is shown by
  /// the others.
  enum class Length { usual, long_once } length = Length::usual;
  /// How many seeds a plain run takes; a soak takes twenty times as many.
  std::uint32_t seeds = 50;

  bool run_twice() const { return length == Length::usual; }
};

std::span<const Scenario> traffic_scenarios();
std::span<const Scenario> budget_scenarios();
std::span<const Scenario> system_scenarios();
std::span<const Scenario> load_scenarios();
std::span<const Scenario> mixture_scenarios();

/// Times and shares that setups are drawn with.
inline Nanos pick(Rng& rng, Nanos low, Nanos high) { return uniform(low, high).draw(rng); }
inline double pick(Rng& rng, double low, double high) { return low + (high - low) * rng.uniform(); }
inline std::uint32_t pick_below(Rng& rng, std::uint32_t bound) { return static_cast<std::uint32_t>(rng.below(bound)); }

}  // namespace outrigger::sim
