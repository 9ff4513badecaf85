// proxy/policy/priority_gate.hpp
//
// Places that are limited, and requests that wait for one: the one mechanism behind bulkheads and adaptive limits.
//
// One 64-bit word holds everything a decision needs, {in flight:17, waiting per level: 3 x 15}, so every step is one
// compare-and-swap that saw the whole truth. A place is taken only below the limit of the request's level, and only
// if nobody of its own or a higher level waits; no thread can be a place over the limit for an instant, which
// add-then-look counters are. While nobody waits, taking and giving back never lock.
//
// Who finds no place may wait, in a list per level in order of arrival. Lists and counts change together under a
// mutex. Giving back while somebody waits takes the mutex, too, and hands the place itself on: its count never drops
// in between, so no arrival can slip past the queue. The waiter finds `granted` in its own memory; the wake-up that
// follows, after the mutex, is only a hint to look.
//
// Why no wake-up is lost. Every change of the word, under the mutex or not, keeps: if a level waits, its limit is
// reached. A take only adds to the places in flight. A give-back without the mutex needs a word without waiters.
// Whoever comes to wait is counted by the same compare-and-swap that saw its level's limit reached, or somebody of its
// level or a higher one, whose limit is not smaller, waiting. A give-back with waiters can undo the rule by the one
// place it frees, and fills that in the same step, for the highest level that its limit admits. A step that has lost a
// race begins again with the word that won. So nobody is ever left waiting beside a free place that admits him.
//
// Levels are an argument, as they change with a reload or an adaptive limit. Waiters are judged by those of the latest
// arrival that had to wait, or of the latest `raise`. Smaller levels take nothing back: what is in flight counts, and
// nothing is admitted until it has sunk below.
//
// Threads: any. Cost: one compare-and-swap to take, one to give back; a mutex only where waiting is configured and the
// limit is reached. Nothing is allocated: a waiter is a member of the one who waits.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>

#include "proxy/base/cache_line.hpp"
#include "proxy/base/priority.hpp"
#include "proxy/base/wakeups.hpp"
#include "proxy/policy/permit.hpp"

namespace outrigger::policy {

/// Up to which share of a capacity each priority is admitted, by `index(Priority)`; they do not fall from low to
/// critical.
struct PriorityThresholds {
  std::array<double, kPriorities> fraction{1, 1, 1};
};

/// More waiters than this do not fit the word.
inline constexpr std::uint32_t kMaxGateQueue = (1u << 15) - 1;
/// More places than this do not fit the word.
inline constexpr std::uint32_t kMaxGateCapacity = (1u << 17) - 1;

struct GateLevels {
  std::array<std::uint32_t, kPriorities> limits{};  // by `index(Priority)`
  std::uint32_t capacity = 0;
  std::uint32_t max_queue = 0;

  friend bool operator==(const GateLevels&, const GateLevels&) = default;
};

/// The levels of a capacity: for each priority the smallest n with n / capacity >= its fraction, found by that
/// comparison, as rounding a product up gives 8 for 7 % of 100.
GateLevels gate_levels(std::uint32_t capacity, const PriorityThresholds& thresholds, std::uint32_t max_queue) noexcept;

enum class GateAnswer : std::uint8_t {
  admitted,
  waiting,
  full,  // all places of the capacity are taken
  shed,  // places are left, but not for this priority or not before those who wait
};

class PriorityGate;

/// One place.
using GatePermit = Permit<PriorityGate>;

/// A place in a gate's queue, a member of the one who waits. Going while it still waits leaves the queue.
class GateWaiter {
 public:
  enum class State : std::uint8_t {
    idle,
    waiting,
    granted,  // a place is its own: `leave` hands out the permit
    dropped,  // thrown out by a more important arrival
  };

  GateWaiter() noexcept = default;
  explicit GateWaiter(const Ticket& to_wake) noexcept : ticket(to_wake) {}
  GateWaiter(const GateWaiter&) = delete;
  GateWaiter& operator=(const GateWaiter&) = delete;
  ~GateWaiter();

  State state() const noexcept { return state_.load(std::memory_order_acquire); }

  Ticket ticket;  // not changed while waiting

 private:
  friend class PriorityGate;

  std::atomic<State> state_{State::idle};
  Priority priority_ = Priority::standard;
  PriorityGate* gate_ = nullptr;
  GateWaiter* earlier_ = nullptr;
  GateWaiter* later_ = nullptr;
};

/// An answer and, if it is `admitted`, the place.
struct GateAdmission {
  GateAnswer answer = GateAnswer::full;
  GatePermit permit;
};

class PriorityGate {
 public:
  /// `wakeups` outlives the gate.
  explicit PriorityGate(Wakeups& wakeups) noexcept : wakeups_(wakeups) {}

  /// What `admit` would answer to somebody who does not wait; takes nothing.
  GateAnswer peek(const GateLevels& levels, Priority priority) const noexcept;
  /// Takes a place, or lets `may_wait` (idle; nullptr: never waits) wait for one if the queue has room or can drop a
  /// waiter of a lower level.
  GateAdmission admit(const GateLevels& levels, Priority priority, GateWaiter* may_wait) noexcept;
  /// Ends a wait, whatever became of it; with the permit if a place had been handed over.
  GatePermit leave(GateWaiter& waiter) noexcept;
  /// Judges the waiters by these levels from now on, and admits as many as fit.
  void raise(const GateLevels& levels) noexcept;

  std::uint32_t in_flight() const noexcept;
  std::uint32_t queued() const noexcept;
  std::uint32_t queued(Priority priority) const noexcept;

 private:
  friend GatePermit;

  struct Queue {
    GateWaiter* first = nullptr;
    GateWaiter* last = nullptr;
  };

  void take_back() noexcept;
  bool hand_on(std::uint64_t freed) noexcept;
  void hand_on_all() noexcept;
  GateAnswer wait(const GateLevels& levels, Priority priority, GateWaiter& waiter) noexcept;
  GateAnswer enqueue(Priority priority, GateWaiter& waiter, std::optional<Ticket>& dropped) noexcept;
  void link(GateWaiter& waiter) noexcept;
  Ticket unlink(GateWaiter& waiter, GateWaiter::State becomes) noexcept;

  alignas(kCacheLine) std::atomic<std::uint64_t> word_{0};
  alignas(kCacheLine) std::mutex mutex_;  // guards what follows and every waiter's links
  GateLevels levels_;
  std::array<Queue, kPriorities> queues_;
  Wakeups& wakeups_;
};

}  // namespace outrigger::policy
