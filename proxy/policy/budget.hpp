// proxy/policy/budget.hpp
//
// How many extra attempts (retries and hedges) a fleet of requests may cause. The first attempt of a request is always
// free; a denial suppresses only the new attempt and never touches one in flight. Without a budget, three attempts per
// request turn an outage into three times the load.
//
// Four rules, one state each, chosen by the config's `type`:
//   ratio           extras in flight / all in flight, with a floor (failsafe-go's budget)
//   window          extras started in a sliding window against requests in it, with a floor per second
//   token_bucket    each extra takes `cost` tokens, refilled by time (recourse's budget)
//   success_credit  a success earns, an extra pays (the AWS SDK's and resile's adaptive bucket)
//
// What every request must report (`enter_loop`, `leave_loop`) is relaxed stores to the worker's own cache line; only an
// extra attempt, which is rare, sums over workers and does compare-and-swap on shared words.
//
// Exactness: `window` keeps 64 slots per window. Extras are counted over 65 slots and requests over the 64 that lie
// wholly inside, so the rule always holds for the exact window that ends at the decision, too; it can only be stricter,
// by at most 1/64 of the window. Two workers asking in the same instant may both be admitted by the last place. A
// worker whose `now` is older than another's counts what that one did in its future. `token_bucket` counts whole
// milliseconds and sixteenths of a token: over any interval it may give one millisecond's refill more than an ideal
// bucket.
//
// Threads: any, each passing its own worker index.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "proxy/base/cache_line.hpp"
#include "proxy/base/time.hpp"
#include "proxy/policy/permit.hpp"

namespace outrigger::policy {

enum class BudgetType : std::uint8_t { ratio, window, token_bucket, success_credit, unlimited };

struct BudgetConfig {
  BudgetType type = BudgetType::window;
  double max_rate = 0.2;              // ratio, window
  std::uint32_t min_concurrency = 3;  // ratio
  double min_per_second = 3;          // window (default 3), success_credit (default 0)
  Nanos window = std::chrono::seconds{10};
  double capacity = 500;         // token_bucket, success_credit
  double refill_per_second = 0;  // token_bucket
  double retry_cost = 5;         // success_credit
  double success_credit = 1;     // success_credit
};

class Budget;

enum class Extra : std::uint8_t { retry, hedge };

/// Only to be shown: the rules count all extra attempts alike.
struct HedgesInFlight {
  void take_back() noexcept { count.fetch_sub(1, std::memory_order_relaxed); }
  std::atomic<std::int64_t> count{0};
};

/// An extra attempt that was admitted; it counts as in flight until this goes.
class BudgetPermit {
 public:
  BudgetPermit() noexcept = default;
  explicit operator bool() const noexcept { return static_cast<bool>(extra_); }

 private:
  friend Budget;

  Permit<Budget> extra_;
  Permit<HedgesInFlight> hedge_;  // if it is one
};

class Budget {
 public:
  /// `workers`: how many worker indexes will be used. The length of the window is that of the last `reload`; all other
  /// numbers are those of the config it is asked with.
  Budget(const BudgetConfig& config, std::uint32_t workers);

  /// Gives the window the length of `config`; what lies within that stays counted, but for what is counted in that same
  /// instant, when nothing extra is admitted. By one thread at a time.
  void reload(const BudgetConfig& config, TimePoint now) noexcept;

  /// Counts a request that entered its attempt loop, and one that left it.
  void enter_loop(std::uint32_t worker, TimePoint now) noexcept;
  void leave_loop(std::uint32_t worker) noexcept;
  /// Counts a request that succeeded.
  void earn(const BudgetConfig& config) noexcept;

  /// Whether an extra attempt would be admitted now; takes nothing.
  bool peek(const BudgetConfig& config, double cost, TimePoint now) const noexcept;
  /// Admits an extra attempt, or answers with an empty permit.
  BudgetPermit admit(const BudgetConfig& config, double cost, TimePoint now, Extra extra = Extra::retry) noexcept;

  /// How many more extra attempts would be admitted at this instant (tokens or credits where those are the unit).
  double available(const BudgetConfig& config, TimePoint now) const noexcept;
  std::int64_t extras_in_flight() const noexcept { return extras_in_flight_.value.load(std::memory_order_relaxed); }
  /// Of which hedges.
  std::int64_t hedges_in_flight() const noexcept {
    return hedges_in_flight_.value.count.load(std::memory_order_relaxed);
  }
  std::int64_t requests_in_flight() const noexcept;

 private:
  friend Permit<Budget>;

  void take_back() noexcept { extras_in_flight_.value.fetch_sub(1, std::memory_order_relaxed); }

  static constexpr std::uint32_t kSlots = 64;      // per window
  static constexpr std::uint32_t kRingSlots = 65;  // the window and the slot it is leaving

  // One packed word per slot: epoch in the high half, count in the low half. A slot of another epoch counts for
  // nothing.
  using Ring = std::atomic<std::uint64_t>[kRingSlots];
  struct alignas(kCacheLine) WorkerShare {
    std::atomic<std::int64_t> in_loop{0};
    Ring requests{};
  };

  static Nanos slot_of(const BudgetConfig& config) noexcept;
  static void cut(Ring& ring, Nanos former, Nanos slot, TimePoint now) noexcept;
  Nanos slot() const noexcept { return Nanos{slot_ns_.load(std::memory_order_acquire)}; }
  std::uint32_t epoch(TimePoint now) const noexcept;
  std::uint64_t count(const Ring& ring, std::uint32_t now_epoch, std::uint32_t slots) const noexcept;
  double window_room(const BudgetConfig& config, TimePoint now) const noexcept;
  bool ratio_admits(const BudgetConfig& config, std::int64_t extras) const noexcept;
  bool take_ratio(const BudgetConfig& config) noexcept;
  bool take_window(const BudgetConfig& config, TimePoint now) noexcept;
  bool take_tokens(const BudgetConfig& config, double cost, TimePoint now) noexcept;
  bool take_credit(const BudgetConfig& config, TimePoint now) noexcept;
  std::uint64_t refilled(const BudgetConfig& config, std::uint64_t word, TimePoint now) const noexcept;
  double credits(const BudgetConfig& config) const noexcept;
  Nanos floor_wait(const BudgetConfig& config, TimePoint now) const noexcept;

  std::atomic<std::int64_t> slot_ns_;
  std::atomic<std::uint32_t> cuts_{0};  // of the rings; odd while one is going on
  std::uint32_t workers_;
  std::unique_ptr<WorkerShare[]> shares_;
  Padded<std::atomic<std::int64_t>> extras_in_flight_;
  Padded<HedgesInFlight> hedges_in_flight_;
  Padded<Ring> extras_;
  Padded<std::atomic<std::uint64_t>> bucket_;           // tokens: {ms of the last refill, fill}; credits: fill
  Padded<std::atomic<std::int64_t>> floor_paid_until_;  // success_credit's min_per_second, as GCRA
};

}  // namespace outrigger::policy
