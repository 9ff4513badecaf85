// proxy/policy/latency_window.hpp
//
// How long answers took within the last `window`, as quantiles. Per worker a ring of log-linear histograms that only
// that worker writes, so that recording shares nothing; whoever asks for a quantile adds them up.
//
// Two kinds of samples. An attempt that was answered took exactly so long. One that was cut off before (it lost a race,
// ran into a timeout, its client left) would have taken at least so long. To leave the second kind out, or to take its
// wait for its latency, is survivorship bias: hedges cut off exactly the slow attempts, the quantile sinks, more is
// hedged. Here a cut attempt counts among those still running up to its bucket, and from there on its weight goes to
// those that took longer (the product-limit estimate). Where too many were cut for the quantile to be reached, nobody
// knows more than that it lies beyond the longest wait; then twice that wait is given, so that hedging goes on and the
// next samples reach further.
//
// A quantile is the upper edge of its bucket: whatever falls into a bucket ends before that edge. Rounded down, steady
// latency would put half of all answers behind the quantile. Sixteen buckets per octave bound the rounding by 6.25 %;
// below 16 us all are 1 us wide. What takes longer than 73 minutes, more than any configured time, is in the last one,
// whose edge is kForever.
//
// Source: G. Tene, HdrHistogram (buckets); E. Kaplan and P. Meier, 1958, with B. Efron's reading of it, 1967.
// Threads: record by one thread per worker index; quantile by any. A reader whose `now` is behind another worker's may
// miss a part of the oldest tenth, and nothing else.
// Cost: a sample is two loads and a store. A quantile reads the octaves in use of ten slots per worker, one to two
// microseconds each, so its result is to be kept (hedge.hpp). Memory: 37 KiB per worker.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>

#include "proxy/base/cache_line.hpp"
#include "proxy/base/time.hpp"

namespace outrigger::policy {

class LatencyWindow {
 public:
  static constexpr std::uint32_t kOctaveBits = 4;
  static constexpr std::uint32_t kPerOctave = 1u << kOctaveBits;
  static constexpr std::uint32_t kBuckets = 465;

  struct Quantile {
    std::uint32_t bucket = 0;
    std::uint64_t samples = 0;  // of both kinds, in the window; 0: there is no quantile
  };

  /// `workers`: how many worker indexes will be used, for the life of the state.
  LatencyWindow(Nanos window, std::uint32_t workers);

  /// Another length: samples count as long as they lie within it. A longer one fills up by and by, since no more slots
  /// are kept than before. Any thread.
  void resize(Nanos window) noexcept { width_ns_.store(width_of(window), std::memory_order_relaxed); }

  /// Counts an attempt that was answered `latency` after it was sent.
  void record(std::uint32_t worker, Nanos latency, TimePoint now) noexcept;
  /// Counts an attempt that was cut off after it had waited `waited`.
  void record_at_least(std::uint32_t worker, Nanos waited, TimePoint now) noexcept;

  /// The first bucket by whose upper edge at least `q` of the attempts (0..1) are over.
  Quantile quantile(double q, TimePoint now) const noexcept;

  /// Which bucket a latency falls into.
  static constexpr std::uint32_t bucket_of(Nanos latency) noexcept {
    if (latency >= kBeyond) return kBuckets - 1;
    const auto unit = latency.count() <= 0 ? 0u : static_cast<std::uint32_t>(latency.count() >> kUnitBits);
    if (unit < kPerOctave) return unit;
    const auto shift = static_cast<std::uint32_t>(std::bit_width(unit)) - kOctaveBits - 1;
    return shift * kPerOctave + (unit >> shift);
  }
  /// The least latency that is too long for a bucket.
  static constexpr Nanos upper_edge(std::uint32_t bucket) noexcept {
    if (bucket >= kBuckets - 1) return kForever;
    const std::uint32_t octave = bucket / kPerOctave;
    const std::uint32_t shift = octave > 1 ? octave - 1 : 0;
    const std::int64_t next = std::int64_t{bucket} + 1 - std::int64_t{shift} * kPerOctave;
    return Nanos{(next << shift) << kUnitBits};
  }

 private:
  static constexpr std::uint32_t kUnitBits = 10;  // buckets are whole units of 1.024 us
  static constexpr Nanos kBeyond{std::int64_t{1} << 42};
  static constexpr std::int64_t kSlots = 10;  // per window, the one under way included
  static constexpr std::int64_t kNeverUsed = std::numeric_limits<std::int64_t>::min();

  using Cells = std::atomic<std::uint32_t>[kBuckets];
  struct alignas(kCacheLine) Slot {
    std::atomic<std::int64_t> begin_ns{kNeverUsed};
    std::atomic<std::uint32_t> octaves{0};  // a bit for each in which a cell is not 0
    Cells answered{};
    Cells cut{};

    void clear() noexcept;
    void count(Cells& cells, std::uint32_t bucket) noexcept;
  };
  struct Sum;

  static std::int64_t width_of(Nanos window) noexcept { return std::max<std::int64_t>(1, window.count() / kSlots); }
  std::int64_t width() const noexcept { return width_ns_.load(std::memory_order_relaxed); }
  Slot& current(std::uint32_t worker, TimePoint now) noexcept;
  Sum sum(TimePoint now) const noexcept;

  // The slots of one worker, used in turn.
  struct Ring {
    Slot slots[kSlots];
    std::uint32_t current = 0;  // its own worker's alone
  };

  std::atomic<std::int64_t> width_ns_;  // of a slot
  std::uint32_t workers_;
  std::unique_ptr<Ring[]> rings_;
};

static_assert(LatencyWindow::bucket_of(LatencyWindow::upper_edge(LatencyWindow::kBuckets - 2)) ==
              LatencyWindow::kBuckets - 1);

}  // namespace outrigger::policy
