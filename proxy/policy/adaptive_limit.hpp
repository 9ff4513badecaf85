// proxy/policy/adaptive_limit.hpp
//
// How many attempts an upstream may have at once, found out by watching it. A fixed bulkhead needs a number that nobody
// knows and that changes with every release; here latency and failures move it. Admission, priorities and waiting are
// those of a bulkhead of the current limit (priority_gate.hpp); the rules that move it are aimd.hpp and gradient.hpp.
//
// Each worker counts into cells of its own: an answer's latency, from request sent to response head, or a sign of
// congestion. Failures never are samples: a refused connection is quick. The result that crosses a window's end takes
// all cells and decides, elected by a compare-and-swap on that end; it works alone, while others count into the next
// window. Nothing is decided from less than ten results however long it takes, so an idle limit stands still. Ten are
// enough where answers take alike; where they scatter, the aimd rule's windows go on until their mean is known well
// enough, or until they have lasted ten times as long as they had to.
//
// A decision and an admission in the same instant may miss each other: the admission then was the last by the former
// limit. A waiter never misses one.
//
// Threads: any, each passing its own worker index. Cost: that of the gate; per result two read-modify-writes on the
// worker's own line, and once per window a few microseconds.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <variant>

#include "proxy/base/cache_line.hpp"
#include "proxy/base/rng.hpp"
#include "proxy/base/time.hpp"
#include "proxy/policy/aimd.hpp"
#include "proxy/policy/fine_histogram.hpp"
#include "proxy/policy/gradient.hpp"
#include "proxy/policy/priority_gate.hpp"

namespace outrigger::policy {

/// What an attempt tells about the upstream's load.
enum class LimitSample : std::uint8_t { good, congestion, neutral };

struct AdaptiveLimitConfig {
  enum class Algorithm : std::uint8_t { aimd, gradient };

  Algorithm algorithm = Algorithm::aimd;
  std::uint32_t initial = 20;
  std::uint32_t min = 1;
  std::uint32_t max = 200;  // at most kMaxGateCapacity
  std::uint32_t queue = 0;  // at most kMaxGateQueue
  Nanos max_wait = std::chrono::milliseconds{100};
  PriorityThresholds priorities{};
  AimdConfig aimd{};
  GradientConfig gradient{};
};

/// Whether a state made for one may go on with the other.
constexpr bool same_structure(const AdaptiveLimitConfig& a, const AdaptiveLimitConfig& b) noexcept {
  return a.algorithm == b.algorithm;
}

class AdaptiveLimit {
 public:
  /// `wakeups` outlives the limit; `workers`: how many worker indexes will be used. The algorithm is fixed for the life
  /// of the state; `min` and `max` are those of `reload`, all other numbers those of the config it is asked with.
  AdaptiveLimit(const AdaptiveLimitConfig& config, Wakeups& wakeups, std::uint32_t workers);

  /// What `admit` would answer to somebody who does not wait; takes nothing.
  GateAnswer peek(const AdaptiveLimitConfig& config, Priority priority) const noexcept;
  /// Takes a place, or lets `may_wait` (nullptr: never waits) wait for one; for how long is its owner's business. Every
  /// refusal is a `concurrency_limit`.
  GateAdmission admit(const AdaptiveLimitConfig& config, Priority priority, GateWaiter* may_wait) noexcept;
  /// Ends a wait, whatever became of it; with the permit if a place had been handed over.
  GatePermit leave(GateWaiter& waiter) noexcept { return gate_.leave(waiter); }

  /// After a reload: brings the limit between the new bounds, whatever config the results of older requests still come
  /// with, and admits the waiters that fit now.
  void reload(const AdaptiveLimitConfig& config) noexcept;

  /// Counts what became of an attempt that still holds its place. `head_latency`: from request sent to response head,
  /// of a good one.
  void on_result(const AdaptiveLimitConfig& config, std::uint32_t worker, LimitSample sample, Nanos head_latency,
                 TimePoint now, Rng& rng) noexcept;

  std::uint32_t limit() const noexcept { return limit_.load(std::memory_order_relaxed); }
  /// The latency that counts as unloaded; 0: not known yet.
  Nanos baseline() const noexcept { return Nanos{baseline_ns_.load(std::memory_order_relaxed)}; }
  /// Whether the limit is lowered for a moment to see the upstream without a queue (aimd).
  bool probing() const noexcept { return probing_.load(std::memory_order_relaxed); }
  std::uint32_t in_flight() const noexcept { return gate_.in_flight(); }
  std::uint32_t queued() const noexcept { return gate_.queued(); }
  std::uint32_t queued(Priority priority) const noexcept { return gate_.queued(priority); }

 private:
  // One packed word holds count and sum, so that they are taken together. The squares may be a sample off.
  struct alignas(kCacheLine) Cell {
    std::atomic<std::uint64_t> good{0};  // how many above, sum of their microseconds in the low 40 bits
    std::atomic<double> squares{0};      // of those microseconds
    std::atomic<std::uint32_t> congestion{0};
    std::atomic<std::uint32_t> peak{0};

    void add(Nanos latency) noexcept;
    SampleSum samples() const noexcept;  // in microseconds
    SampleSum take() noexcept;
    void note_peak(std::uint32_t in_flight) noexcept;
  };

  void keep_within_bounds() noexcept;
  GateLevels levels_of(const AdaptiveLimitConfig& config) const noexcept;
  bool elected(const AdaptiveLimitConfig& config, TimePoint now) noexcept;
  bool enough(const AdaptiveLimitConfig& config, std::int64_t now_ns) const noexcept;
  LimitWindow take_window(const AdaptiveLimitConfig& config) noexcept;
  void decide(const AdaptiveLimitConfig& config, TimePoint now, Rng& rng) noexcept;
  std::uint32_t decided(const AdaptiveLimitConfig& config, const LimitWindow& window, TimePoint now, Rng& rng) noexcept;
  Nanos next_window_length(const AdaptiveLimitConfig& config) const noexcept;
  Nanos longest_window(const AdaptiveLimitConfig& config, Nanos length) const noexcept;

  PriorityGate gate_;
  alignas(kCacheLine) std::atomic<std::uint32_t> limit_;
  std::atomic<LimitBounds> bounds_;
  static_assert(std::atomic<LimitBounds>::is_always_lock_free);
  std::atomic<bool> probing_{false};
  std::atomic<bool> measuring_{false};  // a baseline will be made of the present window's mean alone
  std::atomic<std::int64_t> baseline_ns_{0};
  std::atomic<std::int64_t> window_end_ns_;     // publishes rule_ from one elected thread to the next
  std::atomic<std::int64_t> window_forced_ns_;  // from when on what there is must be enough
  std::uint32_t workers_;
  std::unique_ptr<Cell[]> cells_;
  std::unique_ptr<FineHistogram[]> histograms_;  // gradient only
  // The elected thread's:
  std::variant<Aimd, Gradient> rule_;
  bool begun_ = false;
};

}  // namespace outrigger::policy
