// proxy/policy/limit_window.hpp
//
// What an adaptive limit's rules are told: what happened in one window, and between which bounds they may decide. The
// rules (aimd.hpp, gradient.hpp) are plain arithmetic on it; who counts, and when a window is over, is the business of
// adaptive_limit.hpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace outrigger::policy {

/// Aligned so that every compiler reads and writes both at once, without a lock.
struct alignas(std::uint64_t) LimitBounds {
  std::uint32_t min = 1;
  std::uint32_t max = 200;
};

/// Samples added up as far as their mean and its error are concerned.
struct SampleSum {
  double count = 0;
  double sum = 0;
  double squares = 0;

  SampleSum& operator+=(const SampleSum& other) noexcept {
    count += other.count;
    sum += other.sum;
    squares += other.squares;
    return *this;
  }
  double mean() const noexcept { return count > 0 ? sum / count : 0; }
  double spread() const noexcept { return count > 0 ? std::sqrt(std::max(0.0, squares / count - mean() * mean())) : 0; }
  /// Whether the standard error of the mean is no larger share of it than that. Nothing is known of no samples.
  bool mean_known_within(double error) const noexcept {
    return count > 0 && spread() <= error * mean() * std::sqrt(count);
  }
};

struct LimitWindow {
  std::uint64_t good = 0;
  std::uint64_t congestion = 0;
  double mean_ns = 0;      // of the good ones' latencies, as the next three; 0 if there are none
  double spread_ns = 0;    // their standard deviation
  double quantile_ns = 0;  // gradient only
  double least_ns = 0;     // gradient only
  std::uint32_t peak = 0;  // most in flight
  bool full = false;       // no place was free at its end

  std::uint64_t results() const noexcept { return good + congestion; }
  /// So many failures that they are not chance: a tenth, and two at least.
  bool congested() const noexcept { return congestion >= 2 && congestion * 10 >= results(); }
};

}  // namespace outrigger::policy
