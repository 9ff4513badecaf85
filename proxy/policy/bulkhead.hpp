// proxy/policy/bulkhead.hpp
//
// A fixed number of places for what is under way at once, so that one slow upstream cannot take all of a process with
// it. Less important requests get only a share of the places, so the last ones are left to those that matter; whoever
// finds none may wait, in order of priority and then of arrival.
//
// A permit is held until the body is relayed, not only until the head: slow readers would defeat it otherwise. After a
// reload what is in flight counts against the new numbers; a smaller bulkhead takes nothing back.
//
// Source: M. Nygard, "Release It!"; resile's priority bulkhead, with exact limits.
// Threads: any. Cost: that of the gate (priority_gate.hpp).
#pragma once

#include <cstdint>
#include <optional>

#include "proxy/base/reason.hpp"
#include "proxy/base/time.hpp"
#include "proxy/policy/counts.hpp"
#include "proxy/policy/priority_gate.hpp"

namespace outrigger::policy {

struct BulkheadConfig {
  std::uint32_t max_concurrent = 1;  // at most kMaxGateCapacity
  std::uint32_t max_queue = 0;       // at most kMaxGateQueue
  Nanos max_wait{0};
  PriorityThresholds priorities{};
  Counts counts = Counts::attempt;
};

/// Whether a state may be kept: all numbers may change, what is counted may not.
constexpr bool same_structure(const BulkheadConfig& a, const BulkheadConfig& b) noexcept {
  return a.counts == b.counts;
}

class Bulkhead {
 public:
  /// `wakeups` outlives the bulkhead. Everything in a config may change under a living state.
  explicit Bulkhead(Wakeups& wakeups) noexcept : gate_(wakeups) {}

  /// What `admit` would answer to somebody who does not wait; takes nothing.
  GateAnswer peek(const BulkheadConfig& config, Priority priority) const noexcept {
    return gate_.peek(levels_of(config), priority);
  }
  /// Takes a place, or lets `may_wait` (nullptr: never waits) wait for one; for how long is its owner's business.
  GateAdmission admit(const BulkheadConfig& config, Priority priority, GateWaiter* may_wait) noexcept {
    return gate_.admit(levels_of(config), priority, config.max_wait > Nanos{0} ? may_wait : nullptr);
  }
  /// Ends a wait, whatever became of it; with the permit if a place had been handed over.
  GatePermit leave(GateWaiter& waiter) noexcept { return gate_.leave(waiter); }
  /// After a reload: admits the waiters that fit now. Without it they are when the next place is given back.
  void raise(const BulkheadConfig& config) noexcept { gate_.raise(levels_of(config)); }

  std::uint32_t in_flight() const noexcept { return gate_.in_flight(); }
  std::uint32_t queued() const noexcept { return gate_.queued(); }
  std::uint32_t queued(Priority priority) const noexcept { return gate_.queued(priority); }

 private:
  static GateLevels levels_of(const BulkheadConfig& config) noexcept {
    return gate_levels(config.max_concurrent, config.priorities, config.max_queue);
  }

  PriorityGate gate_;
};

/// Why a bulkhead refused; nullopt for an answer that is none.
constexpr std::optional<Reason> bulkhead_refusal(GateAnswer answer) noexcept {
  switch (answer) {
    case GateAnswer::full: return Reason::bulkhead_full;
    case GateAnswer::shed: return Reason::shed_load;
    case GateAnswer::admitted:
    case GateAnswer::waiting: break;
  }
  return std::nullopt;
}

}  // namespace outrigger::policy
