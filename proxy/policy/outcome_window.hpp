// proxy/policy/outcome_window.hpp
//
// How the recent calls ended: what a circuit's rates are computed from. "Recent" is a stretch of time or a number of
// calls, one class each.
//
// TimeWindow cuts its length into 10 buckets on the steady clock (as failsafe-go and resile do), and every count
// carries the number of its bucket. A count of another epoch counts for nothing, whether it is met by a reader or by
// the writer that is about to take its place. So the window slides under steady traffic as well as after a pause, and
// nobody has to be idle, or to come by, for the past to go. It covers the bucket under way and the nine before it:
// between 0.9 and 1 times its length.
//
// CallWindow is a ring of the last calls, one byte each, with running sums: a call enters and the one that leaves is
// taken off the sums in the same step.
//
// A neutral result that was slow is a call for the rate of slow calls only; it must not dilute the rate of failures.
//
// Threads: any, lock-free. Cost: one compare-and-swap (time) or two adds (calls) for a success, one more for each of
// failed and slow; reading sums 64 words (time) or reads four (calls). Exactness: nothing is lost or counted twice.
// Results that enter while another thread clears or cuts anew may be kept or dropped.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "proxy/base/cache_line.hpp"
#include "proxy/base/time.hpp"

namespace outrigger::policy {

/// One ended call. `neutral` ones are recorded only when they were slow.
struct CallEnd {
  bool failed = false;
  bool slow = false;
  bool neutral = false;
};

struct OutcomeCounts {
  std::uint64_t calls = 0;     // successes and failures
  std::uint64_t failures = 0;  // of `calls`
  std::uint64_t timed = 0;     // `calls` and slow neutral ones
  std::uint64_t slow = 0;      // of `timed`

  friend bool operator==(const OutcomeCounts&, const OutcomeCounts&) = default;
};

class TimeWindow {
 public:
  static constexpr std::uint32_t kBuckets = 10;

  explicit TimeWindow(Nanos length) noexcept : width_(width_of(length)) {}

  void record(CallEnd end, TimePoint now) noexcept;
  OutcomeCounts counts(TimePoint now) const noexcept;
  /// Calls and failures alone, for half the price.
  OutcomeCounts untimed_counts(TimePoint now) const noexcept;
  void clear() noexcept;
  /// Changes the length. What was counted moves to the new buckets that its time lies in, and counts for as long as
  /// they do. By one thread at a time.
  void cut(Nanos length, TimePoint now) noexcept;

 private:
  // More than the buckets: a worker whose clock was read a little earlier still finds its own bucket, not one reused.
  static constexpr std::uint32_t kSlots = 16;
  static constexpr std::uint32_t kNearFuture = 256;  // buckets
  // A packed word each: number of the bucket in the high half, count in the low half.
  struct Slot {
    std::atomic<std::uint64_t> calls{0};
    std::atomic<std::uint64_t> failures{0};
    std::atomic<std::uint64_t> slow_neutral{0};
    std::atomic<std::uint64_t> slow{0};
  };

  static std::int64_t width_of(Nanos length) noexcept;
  static void add(std::atomic<std::uint64_t>& count, std::uint32_t current, std::uint32_t calls) noexcept;
  static std::uint64_t live(const std::atomic<std::uint64_t>& count, std::uint32_t current) noexcept;
  std::uint32_t epoch(TimePoint now) const noexcept;

  alignas(kCacheLine) std::array<Slot, kSlots> slots_{};
  alignas(kCacheLine) std::atomic<std::int64_t> width_;
};

class CallWindow {
 public:
  static constexpr std::uint32_t kMaxCalls = 10'000;

  /// `calls`: 1..kMaxCalls.
  explicit CallWindow(std::uint32_t calls) noexcept : size_(size_of(calls)) {}

  void record(CallEnd end) noexcept;
  OutcomeCounts counts() const noexcept;
  void clear() noexcept;
  /// Changes how many calls are kept: the last ones are. By one thread at a time.
  void cut(std::uint32_t calls) noexcept;

 private:
  static std::uint32_t size_of(std::uint32_t calls) noexcept;
  void put(std::uint32_t index, std::uint8_t cell) noexcept;

  alignas(kCacheLine) std::atomic<std::uint64_t> entered_{0};
  std::atomic<std::int64_t> failures_{0};
  std::atomic<std::int64_t> slow_{0};
  std::atomic<std::int64_t> neutral_{0};
  alignas(kCacheLine) std::atomic<std::uint32_t> size_;  // beside nothing that every call writes
  alignas(kCacheLine) std::array<std::atomic<std::uint8_t>, kMaxCalls> cells_{};
};

}  // namespace outrigger::policy
