// proxy/policy/limit_window.hpp
//
// What an adaptive limit's rules are told: what happened in one window, and between which bounds they may decide. The
// rules (aimd.hpp, gradient.hpp) are plain arithmetic on it; who counts, and when a window is over, is the business of
// adaptive_limit.hpp.
#pragma once

#include <cstdint>

namespace outrigger::policy {

struct LimitBounds {
  std::uint32_t min = 1;
  std::uint32_t max = 200;
};

struct LimitWindow {
  std::uint64_t good = 0;
  std::uint64_t congestion = 0;
  double mean_ns = 0;      // of the good ones' latencies, as the next two; 0 if there are none
  double quantile_ns = 0;  // gradient only
  double least_ns = 0;     // gradient only
  std::uint32_t peak = 0;  // most in flight
  bool full = false;       // no place was free at its end

  std::uint64_t results() const noexcept { return good + congestion; }
  /// So many failures that they are not chance: a tenth, and two at least.
  bool congested() const noexcept { return congestion >= 2 && congestion * 10 >= results(); }
};

}  // namespace outrigger::policy
