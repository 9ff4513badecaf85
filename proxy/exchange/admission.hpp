// proxy/exchange/admission.hpp
//
// The limits of one stage, asked one after the other in their fixed order: what a request needs before its attempt
// loop, or what an attempt needs before it starts. One of them may let it wait; then the stage goes on where it
// stopped. What was taken before a refusal is given back, so that a request that is not served costs nobody a place.
//
// A wake-up is only a hint: what a wait has come to is looked up in the waiter itself, so a late or a foreign one does
// no harm, and a place that was granted to somebody who has just given up is given back by him.
//
// Threads: one owner; the states it asks are shared.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <utility>

#include "proxy/base/bounded_vec.hpp"
#include "proxy/base/priority.hpp"
#include "proxy/base/rng.hpp"
#include "proxy/base/wakeups.hpp"
#include "proxy/exchange/plan.hpp"
#include "proxy/exchange/refusal.hpp"

namespace outrigger::exchange {

/// What is held of the limits that admitted a request or an attempt. Going gives the places back, tokens are spent.
struct Holdings {
  BoundedVec<policy::RateLimitPlace, kMaxOfAKind> tokens;
  BoundedVec<policy::GatePermit, kMaxOfAKind + 1> places;
  bool adaptive = false;  // one of the places is the adaptive limit's, which wants to hear what came of it

  /// Nothing came of it: tokens go back, too, where that is still possible.
  void give_back(TimePoint now) noexcept;
};

/// What tells requests apart for limits by key; empty: the request has none.
using RateLimitKeys = std::array<std::optional<std::uint64_t>, kMaxOfAKind>;

class Admission {
 public:
  enum class Answer : std::uint8_t { admitted, waiting, refused };

  /// Who asks, and how long it may wait.
  struct Question {
    policy::Counts stage{};
    Priority priority = Priority::standard;
    TimePoint deadline = kNever;
    bool may_wait = false;
    bool observes = false;     // refusals are recorded and do not act
    bool tokens_only = false;  // of rate limits: its place is another's that is about to go
  };

  Admission(const Plan& plan, const Ticket& ticket, Timeline& timeline) noexcept
      : plan_(plan), timeline_(timeline), waiter_(ticket) {}
  ~Admission();
  Admission(const Admission&) = delete;
  Admission& operator=(const Admission&) = delete;

  /// Asks all limits of a stage, from the first on.
  Answer begin(const Question& question, const RateLimitKeys& keys, Holdings& holdings, TimePoint now,
               Rng& rng) noexcept;
  /// Goes on after a wait, or finds that it is not over.
  Answer proceed(const RateLimitKeys& keys, Holdings& holdings, TimePoint now, Rng& rng) noexcept;
  /// Ends a wait that is of no use any more.
  void leave(TimePoint now) noexcept;

  bool waiting() const noexcept { return waits_ != Waits::no; }
  /// When a wait has to be looked at even if nobody wakes it; kNever where there is none.
  TimePoint wakeup() const noexcept { return waiting() ? until_ : kNever; }
  /// After `refused`.
  const Refusal& refusal() const noexcept { return refusal_; }
  /// How long the wait was that has ended since this was asked last, and what for.
  Nanos take_waited() noexcept { return std::exchange(waited_, Nanos{0}); }
  Part waited_for() const noexcept { return waited_for_; }
  /// Whether the plan's rate limit of that position has been asked.
  bool asked(std::size_t rate_limit) const noexcept { return (asked_ >> rate_limit & 1u) != 0; }

 private:
  enum class Waits : std::uint8_t { no, for_token, for_place, for_adaptive };
  enum class Step : std::uint8_t { taken, waits, refused };

  Answer run(const RateLimitKeys& keys, Holdings& holdings, TimePoint now, Rng& rng) noexcept;
  Step take(std::size_t step, const RateLimitKeys& keys, Holdings& holdings, TimePoint now, Rng& rng) noexcept;
  Step take_token(const RateLimitRef& limit, std::optional<std::uint64_t> key, Holdings& holdings,
                  TimePoint now) noexcept;
  Step take_place(policy::GateAdmission answer, Nanos max_wait, Part part, Holdings& holdings, TimePoint now) noexcept;
  Step end_wait(Holdings& holdings, TimePoint now) noexcept;
  Step wait(Waits what, Part part, TimePoint until, TimePoint now) noexcept;
  Step refuse(Reason why, Part part, std::string_view name, std::optional<Nanos> retry_after = std::nullopt) noexcept;
  policy::GatePermit leave_gate() noexcept;
  policy::GateWaiter* waiter(TimePoint now) noexcept {
    return question_.may_wait && now < question_.deadline ? &waiter_ : nullptr;
  }

  const Plan& plan_;
  Timeline& timeline_;  // where the answers of rate limits are noted, and refusals that do not act
  Question question_;
  std::size_t next_ = 0;  // the limit to be asked next
  Refusal refusal_;
  std::uint8_t asked_ = 0;  // rate limits, one bit each

  Waits waits_ = Waits::no;
  Part part_{};                            // that is waited for
  Part waited_for_{};                      // that was, before the next wait began
  const BulkheadRef* bulkhead_ = nullptr;  // that is waited for
  TimePoint since_{};
  TimePoint until_ = kNever;
  Nanos waited_{0};
  policy::GateWaiter waiter_;
  policy::RateLimitPlace token_;
};

}  // namespace outrigger::exchange
