#include "proxy/policy/gradient.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace outrigger::policy {
namespace {

constexpr std::uint32_t kWarmup = 10;
constexpr std::size_t kLeastPairs = 10;
constexpr double kLeastVariation = 0.01;
constexpr std::uint32_t kRecentAge = 5;
constexpr double kCongestionDecrease = 0.8;

/// 1 below 100, 2 below 1000, then the order of magnitude.
double magnitude(std::uint32_t limit) noexcept {
  if (limit < 100) return 1;
  return limit < 1000 ? 2 : std::floor(std::log10(limit));
}

}  // namespace

double WarmAverage::with(double value, std::uint32_t age) const noexcept {
  if (count_ < kWarmup) return (value_ * count_ + value) / (count_ + 1);
  return value_ + 2.0 / (age + 1.0) * (value - value_);
}

void WarmAverage::set(double average) noexcept {
  value_ = average;
  count_ = std::min(count_ + 1, kWarmup);
}

Correlation::Correlation(std::size_t window) {
  pairs_.reserve(kMost);
  pairs_.resize(std::clamp<std::size_t>(window, 1, kMost));
}

void Correlation::resize(std::size_t window) noexcept {
  window = std::clamp<std::size_t>(window, 1, kMost);
  if (window == pairs_.size()) return;
  // The oldest first, then without those for which there is no room.
  if (size_ == pairs_.size()) {
    std::rotate(pairs_.begin(), pairs_.begin() + static_cast<std::ptrdiff_t>(next_), pairs_.end());
  }
  const std::size_t gone = size_ - std::min(size_, window);
  std::move(pairs_.begin() + static_cast<std::ptrdiff_t>(gone), pairs_.begin() + static_cast<std::ptrdiff_t>(size_),
            pairs_.begin());
  size_ -= gone;
  pairs_.resize(window);
  next_ = size_ % window;
}

void Correlation::add(double x, double y) noexcept {
  if (!std::isfinite(x) || !std::isfinite(y) || x <= 0 || y <= 0) return;
  pairs_[next_] = {x, y};
  next_ = (next_ + 1) % pairs_.size();
  size_ = std::min(size_ + 1, pairs_.size());
}

Correlation::Moments Correlation::moments() const noexcept {
  if (size_ < kLeastPairs) return {};
  const auto n = static_cast<double>(size_);
  Pair mean;
  for (std::size_t i = 0; i < size_; ++i) {
    mean.x += pairs_[i].x / n;
    mean.y += pairs_[i].y / n;
  }
  double xx = 0;
  double yy = 0;
  double xy = 0;
  for (std::size_t i = 0; i < size_; ++i) {
    const double dx = pairs_[i].x - mean.x;
    const double dy = pairs_[i].y - mean.y;
    xx += dx * dx / n;
    yy += dy * dy / n;
    xy += dx * dy / n;
  }
  Moments moments{.variation_x = std::sqrt(xx) / mean.x, .variation_y = std::sqrt(yy) / mean.y};
  if (moments.variation_x >= kLeastVariation && moments.variation_y >= kLeastVariation) {
    moments.coefficient = xy / std::sqrt(xx * yy);
  }
  return moments;
}

double Correlation::coefficient() const noexcept { return moments().coefficient; }
double Correlation::variation_of_y() const noexcept { return moments().variation_y; }

std::uint32_t gradient_step(std::uint32_t limit) noexcept { return static_cast<std::uint32_t>(magnitude(limit)); }

int gradient_direction(std::uint32_t limit, const GradientSigns& signs) noexcept {
  const double queue = std::ceil(limit * (1 - signs.baseline_ns / signs.recent_ns));
  if (queue > 6 * magnitude(limit)) return -1;
  const bool latency_follows = signs.latency_correlation > 0.5;
  if (signs.full && signs.throughput_correlation < 0) return -1;
  if (signs.full && signs.throughput_correlation < 0.3 && latency_follows) return -1;
  if (signs.full && signs.throughput_variation < 0.2 && latency_follows) return -1;
  return queue < 3 * magnitude(limit) ? 1 : 0;
}

void Gradient::LongPeak::add(std::uint32_t peak, TimePoint now) noexcept {
  const std::int64_t epoch = now.time_since_epoch() / kSlotLength;
  const auto stale = static_cast<std::size_t>(std::clamp<std::int64_t>(epoch - epoch_, 0, kSlots));
  for (std::size_t i = 0; i < stale; ++i)
    slots_[static_cast<std::size_t>(epoch - static_cast<std::int64_t>(i)) % kSlots] = 0;
  epoch_ = std::max(epoch_, epoch);
  std::uint32_t& slot = slots_[static_cast<std::size_t>(epoch_) % kSlots];
  slot = std::max(slot, peak);
}

std::uint32_t Gradient::LongPeak::value() const noexcept { return *std::max_element(slots_.begin(), slots_.end()); }

Nanos Gradient::window_length(const GradientConfig& config) const noexcept {
  const Nanos twice{static_cast<std::int64_t>(2 * least_ns_)};
  return std::min(std::max(twice, config.window_min), config.window_max);
}

double Gradient::filtered(double quantile_ns) noexcept {
  quantiles_[updates_++ % quantiles_.size()] = quantile_ns;
  if (updates_ < quantiles_.size()) return quantile_ns;
  std::array<double, 5> sorted = quantiles_;
  std::nth_element(sorted.begin(), sorted.begin() + 2, sorted.end());
  return sorted[2];
}

GradientSigns Gradient::learn(const GradientConfig& config, const LimitWindow& window) noexcept {
  least_ns_ = window.least_ns;
  recent_.set(recent_.with(filtered(window.quantile_ns), kRecentAge));
  throughput_.resize(config.correlation_window);
  latency_.resize(config.correlation_window);
  throughput_.add(window.peak, window.peak / recent_.value());
  latency_.add(window.peak, recent_.value());
  return {.baseline_ns = baseline_.with(recent_.value(), config.baseline_age),
          .recent_ns = recent_.value(),
          .full = window.full,
          .throughput_correlation = throughput_.coefficient(),
          .throughput_variation = throughput_.variation_of_y(),
          .latency_correlation = latency_.coefficient()};
}

std::uint32_t Gradient::capped(const GradientConfig& config, std::uint32_t wanted) const noexcept {
  const auto cap = static_cast<std::uint32_t>(peak_.value() * config.max_factor);
  if (wanted <= cap) return wanted;
  if (limit_ > cap) return limit_ - std::min(limit_, gradient_step(limit_));
  return cap;
}

std::uint32_t Gradient::on_window(const GradientConfig& config, const LimitBounds& bounds, const LimitWindow& window,
                                  TimePoint now) noexcept {
  peak_.add(window.peak, now);
  int direction = 0;
  if (window.good > 0) {
    const GradientSigns signs = learn(config, window);
    direction = gradient_direction(limit_, signs);
    const bool rises = baseline_.value() > 0 && signs.baseline_ns > baseline_.value();
    if (!rises || (direction >= 0 && !window.congested())) baseline_.set(signs.baseline_ns);
  }
  const std::uint32_t step = gradient_step(limit_);
  std::uint32_t wanted = limit_;
  if (direction > 0) wanted = limit_ + step;
  if (direction < 0) wanted = limit_ - std::min(limit_, step);
  if (window.congested()) wanted = static_cast<std::uint32_t>(limit_ * kCongestionDecrease);
  limit_ = std::clamp(capped(config, wanted), bounds.min, bounds.max);
  return limit_;
}

}  // namespace outrigger::policy
