// proxy/policy/gradient.hpp
//
// The gradient rule of an adaptive limit: how much of the limit seems to stand in a queue, judged by how far a recent
// quantile of latency lies above a slow average of itself, and checked against how concurrency moved together with
// throughput and with latency.
//
// Source: failsafe-go's adaptive limiter (0.9.7), after Netflix' concurrency-limits and TCP Vegas. Ours differs where
// that one fails in service: failures are congestion (a fifth less at once) and never samples, so that quick errors do
// not look like a quick upstream and slow ones do not starve the rule; the baseline is not raised while the rule lowers
// the limit, or it would follow the overload; the cap looks at the most in flight of the last five minutes, so that a
// quiet minute does not shrink the limit below the next burst; and a window that has lasted `window_max` is judged by
// what it has.
//
// Threads: one at a time (AdaptiveLimit elects). Cost: once per window, some hundred floating point operations.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "proxy/base/time.hpp"
#include "proxy/policy/limit_window.hpp"

namespace outrigger::policy {

struct GradientConfig {
  double quantile = 0.9;
  Nanos window_min = std::chrono::seconds{1};
  Nanos window_max = std::chrono::seconds{30};
  std::uint32_t min_samples = 50;
  std::uint32_t baseline_age = 10;
  std::uint32_t correlation_window = 50;
  double max_factor = 5;
};

/// The plain average of the first ten values, then an exponential one of that age.
class WarmAverage {
 public:
  /// What the average would be after `value`.
  double with(double value, std::uint32_t age) const noexcept;
  void set(double average) noexcept;
  double value() const noexcept { return value_; }

 private:
  double value_ = 0;
  std::uint32_t count_ = 0;
};

/// How two series of the last updates moved together.
class Correlation {
 public:
  static constexpr std::size_t kMost = 1000;

  /// `window`: 1..kMost, the number of updates.
  explicit Correlation(std::size_t window);

  /// Another number of them: the last ones stay. Allocates nothing.
  void resize(std::size_t window) noexcept;

  /// Values that are not finite or not above 0 are left out, both of the pair.
  void add(double x, double y) noexcept;
  /// Pearson's, -1..1; 0 below ten pairs, or where either hardly varies.
  double coefficient() const noexcept;
  /// Standard deviation over mean of y; 0 below ten pairs.
  double variation_of_y() const noexcept;

 private:
  struct Pair {
    double x = 0;
    double y = 0;
  };
  struct Moments {
    double variation_x = 0;
    double variation_y = 0;
    double coefficient = 0;
  };

  Moments moments() const noexcept;

  std::vector<Pair> pairs_;
  std::size_t next_ = 0;
  std::size_t size_ = 0;
};

/// What a decision looks at.
struct GradientSigns {
  double baseline_ns = 0;
  double recent_ns = 0;
  bool full = false;
  double throughput_correlation = 0;  // of concurrency with throughput
  double throughput_variation = 0;
  double latency_correlation = 0;  // of concurrency with latency
};

/// -1, 0 or 1: whether a limit should fall, hold or rise.
int gradient_direction(std::uint32_t limit, const GradientSigns& signs) noexcept;
/// By how much a limit moves: 1 below 1000, then the order of magnitude.
std::uint32_t gradient_step(std::uint32_t limit) noexcept;

class Gradient {
 public:
  Gradient(const GradientConfig& config, std::uint32_t initial)
      : limit_(initial), throughput_(config.correlation_window), latency_(config.correlation_window) {}

  /// Takes what happened in a window that is over, and decides the limit for the next.
  std::uint32_t on_window(const GradientConfig& config, const LimitBounds& bounds, const LimitWindow& window,
                          TimePoint now) noexcept;

  /// How long the next window is, at least.
  Nanos window_length(const GradientConfig& config) const noexcept;
  double baseline_ns() const noexcept { return baseline_.value(); }

 private:
  GradientSigns learn(const GradientConfig& config, const LimitWindow& window) noexcept;
  double filtered(double quantile_ns) noexcept;
  std::uint32_t capped(const GradientConfig& config, std::uint32_t wanted) const noexcept;

  /// The most in flight of the last five minutes, in slots of half a minute.
  class LongPeak {
   public:
    void add(std::uint32_t peak, TimePoint now) noexcept;
    std::uint32_t value() const noexcept;

   private:
    static constexpr std::size_t kSlots = 10;
    static constexpr Nanos kSlotLength = std::chrono::seconds{30};
    std::array<std::uint32_t, kSlots> slots_{};
    std::int64_t epoch_ = 0;
  };

  std::uint32_t limit_;
  double least_ns_ = 0;
  std::array<double, 5> quantiles_{};
  std::size_t updates_ = 0;
  WarmAverage recent_;
  WarmAverage baseline_;
  Correlation throughput_;
  Correlation latency_;
  LongPeak peak_;
};

}  // namespace outrigger::policy
