#include "proxy/policy/aimd.hpp"

#include <algorithm>
#include <utility>

namespace outrigger::policy {
namespace {

constexpr Nanos kShortestWindow = std::chrono::milliseconds{100};
constexpr std::uint32_t kDecreasesBeforeProbe = 3;
constexpr int kProbeWindows = 4;
constexpr int kMeasuringWindows = 2;  // the last ones of a probe; before them the queue drains

// The baseline is the least of very many means, so each must be known far better than the tolerance is wide.
constexpr double kKnownSlot = 0.035;
constexpr std::int64_t kSlotsAtLeast = 2;  // whatever the scatter

SampleSum samples_of(const LimitWindow& window) noexcept {
  const auto count = static_cast<double>(window.good);
  const double square = window.mean_ns * window.mean_ns + window.spread_ns * window.spread_ns;
  return {.count = count, .sum = count * window.mean_ns, .squares = count * square};
}

/// The smaller of two means of which either may be missing (0).
double smaller(double a, double b) noexcept {
  if (a <= 0) return b;
  return b <= 0 ? a : std::min(a, b);
}

}  // namespace

void MeanHistory::add(Nanos length, const LimitWindow& window, TimePoint now) noexcept {
  if (size_ == 0 || (latest().closed && now - latest().began >= length / kSlots)) {
    slots_[next_] = {.began = now};
    next_ = (next_ + 1) % kSlots;
    size_ = std::min(size_ + 1, kSlots);
  }
  Slot& slot = latest();
  slot.samples += samples_of(window);
  slot.closed = slot.closed || slot.samples.mean_known_within(kKnownSlot) || now - slot.began >= length / kSlotsAtLeast;
  known_ = known_ || slot.closed;
}

double MeanHistory::p10(Nanos length, TimePoint now) const noexcept {
  std::array<double, kSlots> means;
  std::size_t count = 0;
  for (std::size_t back = 1; back <= size_; ++back) {
    const Slot& slot = slots_[(next_ + kSlots - back) % kSlots];
    if (now - slot.began > length) break;
    if (slot.closed || !known_) means[count++] = slot.samples.mean();
  }
  if (count == 0) return 0;
  const auto rank = static_cast<std::ptrdiff_t>((count + 9) / 10 - 1);
  std::nth_element(means.begin(), means.begin() + rank, means.begin() + static_cast<std::ptrdiff_t>(count));
  return means[static_cast<std::size_t>(rank)];
}

void MeanHistory::replace_all(double mean_ns) noexcept {
  for (Slot& slot : slots_) {
    slot.samples = {.count = slot.samples.count,
                    .sum = mean_ns * slot.samples.count,
                    .squares = mean_ns * mean_ns * slot.samples.count};
    slot.closed = true;  // what comes is of another time
  }
}

Nanos Aimd::window_length(const AimdConfig& config) const noexcept {
  const Nanos mean{static_cast<std::int64_t>(last_mean_ns_)};
  return std::max(kShortestWindow, std::min(mean, config.baseline_window));
}

std::uint32_t Aimd::on_window(const AimdConfig& config, const LimitBounds& bounds, const LimitWindow& window,
                              TimePoint now, Rng& rng) noexcept {
  if (window.good > 0) last_mean_ns_ = window.mean_ns;
  if (probing()) {
    probe_window(window);
  } else {
    if (unsettled_windows_ > 0) {
      --unsettled_windows_;
    } else if (window.good > 0) {
      learn(config, window, now);
    }
    used_ = used_ || window.peak * 2 >= limit_;
    decide(config, window);
    if (probe_due(config, now, rng)) start_probe();
  }
  limit_ = std::clamp(limit_, bounds.min, bounds.max);
  return limit_;
}

void Aimd::learn(const AimdConfig& config, const LimitWindow& window, TimePoint now) noexcept {
  const double mean_ns = window.mean_ns;
  smoothed_ns_ = smoothed_ns_ <= 0 ? mean_ns : smoothed_ns_ + config.smoothing * (mean_ns - smoothed_ns_);
  const bool known = history_.known();
  history_.add(config.baseline_window, window, now);
  const double p10_ns = history_.p10(config.baseline_window, now);
  // The first mean may still be on its way: what there is of it is no more than a guess, and may rise.
  baseline_ns_ = known ? smaller(baseline_ns_, p10_ns) : p10_ns;
}

void Aimd::decide(const AimdConfig& config, const LimitWindow& window) noexcept {
  const bool late = smoothed_ns_ > config.tolerance * baseline_ns_;
  if (late || window.congested()) {
    limit_ = static_cast<std::uint32_t>(static_cast<double>(limit_) * config.decrease);
    ++decreases_;
    return;
  }
  decreases_ = 0;
  const bool swift = smoothed_ns_ > 0 && smoothed_ns_ <= (1 + (config.tolerance - 1) / 2) * baseline_ns_;
  if (swift && window.peak * 2 >= limit_) limit_ += config.increase;
}

bool Aimd::probe_due(const AimdConfig& config, TimePoint now, Rng& rng) noexcept {
  if (decreases_ >= kDecreasesBeforeProbe) {
    decreases_ = 0;
    return true;
  }
  if (now < next_probe_) return false;
  // One that fell into a pause is not made up for: it would halve the limit in the burst that ends the pause.
  const bool missed = now >= saturating_add(next_probe_, config.baseline_window);
  const double length = static_cast<double>(config.baseline_window.count()) * (0.8 + 0.4 * rng.uniform());
  next_probe_ = saturating_add(now, Nanos{static_cast<std::int64_t>(length)});
  return std::exchange(used_, false) && !missed;
}

bool Aimd::measuring() const noexcept { return probing() && probe_windows_left_ <= kMeasuringWindows; }

void Aimd::start_probe() noexcept {
  former_limit_ = limit_;
  limit_ = limit_ / 2;
  probe_windows_left_ = kProbeWindows;
  probe_mean_ns_ = 0;
  probe_known_ = true;
}

void Aimd::probe_window(const LimitWindow& window) noexcept {
  if (--probe_windows_left_ < kMeasuringWindows && window.good > 0) {
    probe_mean_ns_ = smaller(probe_mean_ns_, window.mean_ns);
    probe_known_ = probe_known_ && samples_of(window).mean_known_within(kKnownToMeasure);
  }
  if (probing()) return;
  limit_ = former_limit_;
  smoothed_ns_ = 0;
  unsettled_windows_ = kUnsettledWindows;
  if (probe_mean_ns_ <= 0) return;
  baseline_ns_ = probe_known_ ? probe_mean_ns_ : std::max(probe_mean_ns_, baseline_ns_);
  history_.replace_all(baseline_ns_);
}

}  // namespace outrigger::policy
