#include "proxy/policy/adaptive_limit.hpp"

#include <algorithm>
#include <limits>
#include <utility>

namespace outrigger::policy {
namespace {

constexpr std::int64_t kNotBegun = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t kDeciding = std::numeric_limits<std::int64_t>::max();
constexpr std::uint64_t kLeastResults = 10;       // aimd
constexpr std::int64_t kLongestFactor = 10;       // aimd: a window that has lasted so many times its length is over
constexpr std::uint64_t kLeastForcedResults = 5;  // gradient, once a window has lasted its longest

constexpr int kSumBits = 40;
constexpr std::uint64_t kSumMask = (std::uint64_t{1} << kSumBits) - 1;
constexpr std::uint64_t kOneGood = kSumMask + 1;

SampleSum unpacked(std::uint64_t good, double squares) noexcept {
  return {
      .count = static_cast<double>(good >> kSumBits), .sum = static_cast<double>(good & kSumMask), .squares = squares};
}

std::variant<Aimd, Gradient> rule_for(const AdaptiveLimitConfig& config, std::uint32_t initial) {
  if (config.algorithm == AdaptiveLimitConfig::Algorithm::aimd) return Aimd{initial};
  return Gradient{config.gradient, initial};
}

std::uint32_t initial_limit(const AdaptiveLimitConfig& config) noexcept {
  return std::clamp(config.initial, config.min, config.max);
}

}  // namespace

void AdaptiveLimit::Cell::add(Nanos latency) noexcept {
  const auto us = static_cast<std::uint64_t>(std::max<std::int64_t>(0, latency.count() / 1000));
  std::uint64_t word = good.load(std::memory_order_relaxed);
  do {
    // A cell that is full (twelve days of latency, or 16 million answers, in one window) takes no more.
    if ((word & kSumMask) + us > kSumMask || word > ~kOneGood) return;
  } while (!good.compare_exchange_weak(word, word + kOneGood + us, std::memory_order_relaxed));
  squares.fetch_add(static_cast<double>(us) * static_cast<double>(us), std::memory_order_relaxed);
}

SampleSum AdaptiveLimit::Cell::samples() const noexcept {
  return unpacked(good.load(std::memory_order_relaxed), squares.load(std::memory_order_relaxed));
}

SampleSum AdaptiveLimit::Cell::take() noexcept {
  return unpacked(good.exchange(0, std::memory_order_relaxed), squares.exchange(0, std::memory_order_relaxed));
}

void AdaptiveLimit::Cell::note_peak(std::uint32_t in_flight) noexcept {
  if (peak.load(std::memory_order_relaxed) < in_flight) peak.store(in_flight, std::memory_order_relaxed);
}

AdaptiveLimit::AdaptiveLimit(const AdaptiveLimitConfig& config, Wakeups& wakeups, std::uint32_t workers)
    : gate_(wakeups),
      limit_(initial_limit(config)),
      bounds_({config.min, config.max}),
      window_end_ns_(kNotBegun),
      window_forced_ns_(kDeciding),
      workers_(workers),
      cells_(new Cell[workers]),
      rule_(rule_for(config, initial_limit(config))) {
  if (config.algorithm == AdaptiveLimitConfig::Algorithm::gradient) histograms_.reset(new FineHistogram[workers]);
}

GateLevels AdaptiveLimit::levels_of(const AdaptiveLimitConfig& config) const noexcept {
  return gate_levels(limit(), config.priorities, config.queue);
}

GateAnswer AdaptiveLimit::peek(const AdaptiveLimitConfig& config, Priority priority) const noexcept {
  return gate_.peek(levels_of(config), priority);
}

GateAdmission AdaptiveLimit::admit(const AdaptiveLimitConfig& config, Priority priority,
                                   GateWaiter* may_wait) noexcept {
  const GateLevels levels = levels_of(config);
  GateAdmission admission = gate_.admit(levels, priority, config.max_wait > Nanos{0} ? may_wait : nullptr);
  // A decision between the two lines above has raised before this one came to wait, by levels that are past.
  if (admission.answer == GateAnswer::waiting && limit() != levels.capacity) gate_.raise(levels_of(config));
  return admission;
}

void AdaptiveLimit::reload(const AdaptiveLimitConfig& config) noexcept {
  bounds_.store({config.min, config.max}, std::memory_order_seq_cst);
  keep_within_bounds();
  gate_.raise(levels_of(config));
}

/// Either a decision sees the bounds of a reload in the same instant, or the reload sees its limit.
void AdaptiveLimit::keep_within_bounds() noexcept {
  std::uint32_t limit = limit_.load(std::memory_order_seq_cst);
  for (;;) {
    const LimitBounds bounds = bounds_.load(std::memory_order_seq_cst);
    const std::uint32_t within = std::clamp(limit, bounds.min, bounds.max);
    if (within == limit || limit_.compare_exchange_weak(limit, within, std::memory_order_seq_cst)) return;
  }
}

void AdaptiveLimit::on_result(const AdaptiveLimitConfig& config, std::uint32_t worker, LimitSample sample,
                              Nanos head_latency, TimePoint now, Rng& rng) noexcept {
  Cell& cell = cells_[worker];
  cell.note_peak(gate_.in_flight());
  if (sample == LimitSample::neutral) return;
  if (sample == LimitSample::congestion) {
    cell.congestion.fetch_add(1, std::memory_order_relaxed);
  } else {
    cell.add(head_latency);
    if (histograms_) histograms_[worker].add(head_latency);
  }
  if (elected(config, now)) decide(config, now, rng);
}

bool AdaptiveLimit::elected(const AdaptiveLimitConfig& config, TimePoint now) noexcept {
  const std::int64_t now_ns = now.time_since_epoch().count();
  std::int64_t end = window_end_ns_.load(std::memory_order_relaxed);
  if (now_ns < end || (end != kNotBegun && !enough(config, now_ns))) return false;
  return window_end_ns_.compare_exchange_strong(end, kDeciding, std::memory_order_acquire, std::memory_order_relaxed);
}

bool AdaptiveLimit::enough(const AdaptiveLimitConfig& config, std::int64_t now_ns) const noexcept {
  SampleSum good;
  std::uint64_t results = 0;
  for (std::uint32_t i = 0; i < workers_; ++i) {
    const SampleSum counted = cells_[i].samples();
    good += counted;
    results += static_cast<std::uint64_t>(counted.count) + cells_[i].congestion.load(std::memory_order_relaxed);
  }
  const bool forced = now_ns >= window_forced_ns_.load(std::memory_order_relaxed);
  if (histograms_) return results >= config.gradient.min_samples || (forced && results >= kLeastForcedResults);
  const double error = measuring_.load(std::memory_order_relaxed) ? Aimd::kKnownToMeasure : Aimd::kKnown;
  return results >= kLeastResults && (forced || good.count == 0 || good.mean_known_within(error));
}

LimitWindow AdaptiveLimit::take_window(const AdaptiveLimitConfig& config) noexcept {
  LimitWindow window;
  SampleSum good;
  for (std::uint32_t i = 0; i < workers_; ++i) {
    good += cells_[i].take();
    window.congestion += cells_[i].congestion.exchange(0, std::memory_order_relaxed);
    window.peak = std::max(window.peak, cells_[i].peak.exchange(0, std::memory_order_relaxed));
  }
  window.good = static_cast<std::uint64_t>(good.count);
  window.mean_ns = 1000.0 * good.mean();
  window.spread_ns = 1000.0 * good.spread();
  window.full = gate_.in_flight() >= limit();
  if (histograms_) {
    FineHistogram::Counts counts{};
    for (std::uint32_t i = 0; i < workers_; ++i) histograms_[i].take_into(counts);
    window.quantile_ns = FineHistogram::quantile(counts, config.gradient.quantile);
    window.least_ns = FineHistogram::quantile(counts, 0);
  }
  return window;
}

void AdaptiveLimit::decide(const AdaptiveLimitConfig& config, TimePoint now, Rng& rng) noexcept {
  // The very first result only begins the first window.
  if (std::exchange(begun_, true)) {
    const std::uint32_t limit_before = limit();
    limit_.store(decided(config, take_window(config), now, rng), std::memory_order_seq_cst);
    keep_within_bounds();
    if (limit() != limit_before) gate_.raise(levels_of(config));
  }
  const Nanos length = next_window_length(config);
  window_forced_ns_.store(saturating_add(now, longest_window(config, length)).time_since_epoch().count(),
                          std::memory_order_relaxed);
  window_end_ns_.store(saturating_add(now, length).time_since_epoch().count(), std::memory_order_release);
}

std::uint32_t AdaptiveLimit::decided(const AdaptiveLimitConfig& config, const LimitWindow& window, TimePoint now,
                                     Rng& rng) noexcept {
  const LimitBounds bounds = bounds_.load(std::memory_order_relaxed);
  if (Aimd* aimd = std::get_if<Aimd>(&rule_)) {
    const std::uint32_t limit = aimd->on_window(config.aimd, bounds, window, now, rng);
    baseline_ns_.store(static_cast<std::int64_t>(aimd->baseline_ns()), std::memory_order_relaxed);
    probing_.store(aimd->probing(), std::memory_order_relaxed);
    measuring_.store(aimd->measuring(), std::memory_order_relaxed);
    return limit;
  }
  Gradient& gradient = *std::get_if<Gradient>(&rule_);
  const std::uint32_t limit = gradient.on_window(config.gradient, bounds, window, now);
  baseline_ns_.store(static_cast<std::int64_t>(gradient.baseline_ns()), std::memory_order_relaxed);
  return limit;
}

Nanos AdaptiveLimit::next_window_length(const AdaptiveLimitConfig& config) const noexcept {
  if (const Aimd* aimd = std::get_if<Aimd>(&rule_)) return aimd->window_length(config.aimd);
  return std::get_if<Gradient>(&rule_)->window_length(config.gradient);
}

Nanos AdaptiveLimit::longest_window(const AdaptiveLimitConfig& config, Nanos length) const noexcept {
  return std::holds_alternative<Aimd>(rule_) ? kLongestFactor * length : config.gradient.window_max;
}

}  // namespace outrigger::policy
