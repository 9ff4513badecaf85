// proxy/policy/fine_histogram.hpp
//
// The latencies of one window, fine enough to see a change of two percent: a gradient rule compares quantiles of
// neighbouring windows, where the buckets of a hedge trigger (6 %) would hide what it looks for. 64 buckets per octave
// from a microsecond to a minute; within its bucket a quantile is interpolated.
//
// Threads: one writer, and at times one reader that takes all; both at once lose nothing. Cost: one read-modify-write
// per sample, 6.5 KiB.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "proxy/base/time.hpp"

namespace outrigger::policy {

class FineHistogram {
 public:
  static constexpr std::size_t kPerOctave = 64;
  static constexpr std::size_t kBuckets = kPerOctave * 21;  // 64 us one by one, then twenty octaves, up to 67 s
  using Counts = std::array<std::uint32_t, kBuckets>;

  void add(Nanos latency) noexcept { buckets_[bucket_of(latency)].fetch_add(1, std::memory_order_relaxed); }

  /// Moves all counts to `sums`.
  void take_into(Counts& sums) noexcept {
    for (std::size_t i = 0; i < kBuckets; ++i) {
      // Most buckets are empty, and looking is cheaper than taking.
      if (buckets_[i].load(std::memory_order_relaxed) != 0) {
        sums[i] += buckets_[i].exchange(0, std::memory_order_relaxed);
      }
    }
  }

  /// The `q` quantile in nanoseconds; q = 0: the least. 0 if there is nothing.
  static double quantile(const Counts& counts, double q) noexcept {
    double total = 0;
    for (const std::uint32_t count : counts) total += count;
    const double rank = q * total;
    double below = 0;
    for (std::size_t i = 0; i < kBuckets; ++i) {
      if (counts[i] == 0) continue;
      if (below + counts[i] >= rank) {
        const double share = (rank - below) / counts[i];
        return 1000 * (lower_us(i) + share * (lower_us(i + 1) - lower_us(i)));
      }
      below += counts[i];
    }
    return 0;
  }

 private:
  static constexpr std::size_t bucket_of(Nanos latency) noexcept {
    const auto us = static_cast<std::uint64_t>(std::max<std::int64_t>(0, latency.count() / 1000));
    if (us < kPerOctave) return us;
    const auto shift = static_cast<std::size_t>(std::bit_width(us)) - 7;
    return std::min(kBuckets - 1, shift * kPerOctave + static_cast<std::size_t>(us >> shift));
  }
  static constexpr double lower_us(std::size_t bucket) noexcept {
    if (bucket < 2 * kPerOctave) return static_cast<double>(bucket);
    const std::size_t shift = bucket / kPerOctave - 1;
    return static_cast<double>((bucket - shift * kPerOctave) << shift);
  }

  std::array<std::atomic<std::uint32_t>, kBuckets> buckets_{};
};

}  // namespace outrigger::policy
