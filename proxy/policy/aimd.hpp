// proxy/policy/aimd.hpp
//
// The latency rule of an adaptive limit: additive increase while answers come as fast as ever and places are used,
// multiplicative decrease when they come late or fail.
//
// How fast is "as ever" is the whole difficulty. A least-ever-seen baseline collapses on the first odd sample, and any
// statistic of recent latency takes a standing queue for the normal state. So means of whole windows are compared with
// means of whole windows, which jitter cannot pull apart; the baseline may fall at any time, to the p10 of the recent
// means, and rises only by a probe: for four windows the limit is halved, long enough for a queue to drain (two
// windows) and to see the upstream without one (two more, of which the smaller mean counts). That mean then stands for
// every window of the past, so neither what was before pulls it down again nor the next odd window.
//
// Answers scatter, and a mean of ten of them is off by a third where their times are spread as wide as they are long.
// The lowest tenth of such means would be a baseline that ordinary answers are late by. So a mean that the baseline is
// made of is one of as many windows as it takes to know it: of one where answers take alike, of several where they do
// not (adaptive_limit.hpp lengthens windows for the same reason). A probe that ends before its mean is known raises the
// baseline only: it would find an upstream quick for having missed its slow answers, and what has become quicker indeed
// is seen without a probe.
//
// Whenever the limit jumps up, at the start and after a probe, the next two windows are not learnt from: of many
// attempts that begin at once, the quick ones are answered first, and a window that holds only those is too fast by a
// fifth. Failures are signs of congestion and never samples.
//
// Source: resile's latency AIMD, with a measured baseline as in Envoy's gradient controller.
// Threads: one at a time (AdaptiveLimit elects). Cost: once per window, some microseconds for the p10 of 300.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "proxy/base/rng.hpp"
#include "proxy/base/time.hpp"
#include "proxy/policy/limit_window.hpp"

namespace outrigger::policy {

struct AimdConfig {
  double tolerance = 1.5;
  double decrease = 0.8;
  std::uint32_t increase = 1;
  double smoothing = 0.1;
  Nanos baseline_window = std::chrono::seconds{30};
};

/// The p10 of means over the last while. A mean is that of one window, or of several in a row until its standard error
/// is 3.5 % or they have lasted half of the while; there are 300 at most, in which windows are put together if need be.
class MeanHistory {
 public:
  void add(Nanos length, const LimitWindow& window, TimePoint now) noexcept;
  /// As if every window of the past had had this mean.
  void replace_all(double mean_ns) noexcept;
  /// The nearest-rank p10 of what is not older than `length`, without the last mean if that is not yet known and there
  /// is any other; 0 if there is nothing.
  double p10(Nanos length, TimePoint now) const noexcept;
  /// Whether there is a mean that is known.
  bool known() const noexcept { return known_; }

 private:
  static constexpr std::size_t kSlots = 300;
  struct Slot {
    TimePoint began{};
    SampleSum samples;
    bool closed = false;
  };

  Slot& latest() noexcept { return slots_[(next_ + kSlots - 1) % kSlots]; }

  std::array<Slot, kSlots> slots_{};
  std::size_t next_ = 0;
  std::size_t size_ = 0;
  bool known_ = false;
};

class Aimd {
 public:
  // The standard error, as a share of the mean, within which a window's mean is known, and one that a probe measures.
  static constexpr double kKnown = 0.2;
  static constexpr double kKnownToMeasure = 0.05;

  explicit Aimd(std::uint32_t initial) noexcept : limit_(initial) {}

  /// Takes what happened in a window that is over, and decides the limit for the next.
  std::uint32_t on_window(const AimdConfig& config, const LimitBounds& bounds, const LimitWindow& window, TimePoint now,
                          Rng& rng) noexcept;

  /// How long the next window is.
  Nanos window_length(const AimdConfig& config) const noexcept;
  double baseline_ns() const noexcept { return baseline_ns_; }
  double smoothed_ns() const noexcept { return smoothed_ns_; }
  bool probing() const noexcept { return probe_windows_left_ > 0; }
  /// Whether the next window is one from whose mean alone a baseline will be made.
  bool measuring() const noexcept;

 private:
  void learn(const AimdConfig& config, const LimitWindow& window, TimePoint now) noexcept;
  void decide(const AimdConfig& config, const LimitWindow& window) noexcept;
  bool probe_due(const AimdConfig& config, TimePoint now, Rng& rng) noexcept;
  void start_probe() noexcept;
  void probe_window(const LimitWindow& window) noexcept;

  static constexpr int kUnsettledWindows = 2;  // not learnt from, after the limit has jumped up

  std::uint32_t limit_;
  double last_mean_ns_ = 0;
  double smoothed_ns_ = 0;  // 0: begins with the next mean
  double baseline_ns_ = 0;  // 0: nothing learnt yet
  MeanHistory history_;

  std::uint32_t decreases_ = 0;              // in a row
  bool used_ = false;                        // half the limit was in flight since the last probe was due
  TimePoint next_probe_ = TimePoint::min();  // long missed: the first window only sets it
  int unsettled_windows_ = kUnsettledWindows;
  int probe_windows_left_ = 0;
  std::uint32_t former_limit_ = 0;
  double probe_mean_ns_ = 0;
  bool probe_known_ = true;
};

}  // namespace outrigger::policy
