// proxy/exchange/exchange.hpp
//
// One request from admission to its single outcome, as a state machine without I/O: facts go in with a time, orders
// come out, `wakeup` says when to call again. It is the only place that knows the order of the mechanisms, what is
// retried, and when a response is committed. No socket, no clock, no randomness of its own, so that the same code runs
// in unit scripts, in the simulator, under the fuzzer and in production.
//
// Promises, held by the simulator and the fuzzer:
//   - it ends exactly once: a response relayed to its end, a reply of our own, the client gone, or a response cut;
//   - every StartAttempt ends once, by a fact or by our AbortAttempt, and that gives back whatever the attempt held;
//   - facts about unknown or ended attempts are ignored; nothing starts after the commit or after the deadline;
//   - the timeline is written here and nowhere else, so what is recorded is what was decided.
//
// Source: the shape of ngtcp2's connection (read, get_expiry, handle_expiry), with time always an argument.
// Threads: one owner. Cost: no allocation; a plain request is six facts.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "proxy/base/bounded_vec.hpp"
#include "proxy/exchange/action.hpp"
#include "proxy/exchange/event.hpp"
#include "proxy/exchange/plan.hpp"
#include "proxy/exchange/request_facts.hpp"
#include "proxy/exchange/timeline.hpp"
#include "proxy/policy/balance.hpp"
#include "proxy/policy/budget.hpp"

namespace outrigger::exchange {

class Exchange {
 public:
  /// `plan`, `local` and `timeline` must outlive it; views in `facts` are copied where they are kept.
  Exchange(const Plan& plan, const RequestFacts& facts, WorkerLocal& local, Timeline& timeline) noexcept;
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  /// Takes one fact and appends the orders it causes. `now` never goes backwards.
  void on(TimePoint now, const Event& event, Actions& out);

  /// When to deliver `Tick` if nothing else happens first; kNever: not before the next fact.
  TimePoint wakeup() const noexcept;

  /// True once it has ended; later facts are ignored.
  bool finished() const noexcept { return finished_; }
  bool committed() const noexcept { return committed_; }
  /// By when a response must have begun.
  TimePoint deadline() const noexcept { return deadline_.at; }

 private:
  enum class State : std::uint8_t { connecting, sending, awaiting, held, relaying, ended };

  /// A running try and what it holds.
  struct Attempt {
    AttemptId id{};
    AttemptKind kind{};
    State state = State::connecting;
    bool reused = false;
    policy::EndpointId endpoint{};
    TimePoint started{};
    TimePoint sent = kNever;     // first byte at the earliest, then the last
    TimePoint expires = kNever;  // its connect timeout, then its own timeout
    policy::BudgetPermit budget;
    policy::EndpointPermit place;
  };

  /// How the attempts so far have failed, for the answer when no other comes.
  struct Failure {
    AttemptId attempt{};
    Reason reason{};
  };

  void take(const RequestReady&);
  void take(const BodyState& body) noexcept { body_overflowed_ |= body.overflowed; }
  void take(const Woken&) noexcept {}
  void take(const Connected& fact);
  void take(const RequestSent& fact);
  void take(const InterimHead& fact);
  void take(const ResponseHead& head);
  void take(const HeldState& state);
  void take(const ResponseDone& fact);
  void take(const Delivered&);
  void take(const AttemptFailed& failure);
  void take(const DownstreamFailed& failure);
  void take(const Cancelled& fact);
  void take(const Tick&);

  // The attempt loop.
  std::optional<policy::EndpointId> choose_endpoint();
  void launch_primary();
  void launch_retry();
  void launch(AttemptKind kind, policy::EndpointId endpoint, Reuse reuse, policy::BudgetPermit permit);
  bool reconnect(Attempt& attempt, const AttemptFailed& failure);
  void fail(Attempt& attempt, Reason why, Exposure exposure);
  void note_failure(AttemptId attempt, Reason why) noexcept;
  void expire(Attempt& attempt);
  bool plan_retry(const policy::RetryQuestion& question);
  policy::RetryQuestion question_about(policy::Classification result, std::optional<Nanos> retry_after);
  void stop(Reason why, Part part);

  // Its ends.
  void hold(Attempt& attempt);
  void relay(Attempt& attempt);
  void give_up();
  void allow_for_unread() noexcept;
  void reply(Reason why, char who, char stage);
  void cut(Reason why, char who);
  void settle_success() noexcept;
  void conclude(Reason why, char who, char stage) noexcept;
  void finish(Reason why, char who, char stage) noexcept;

  // The attempt table.
  Attempt* find(AttemptId id) noexcept;
  void abort_all(Reason why);
  void end(Attempt& attempt, policy::Outcome outcome, Reason why) noexcept;
  AttemptRecord& record(const Attempt& attempt) noexcept { return timeline_.attempts[index(attempt.id)]; }

  bool resendable_once_seen() const noexcept;
  Reuse reuse_for_request() const noexcept;
  bool hopeless() const noexcept;
  void leave_loop() noexcept;
  void expose(Exposure exposure) noexcept { exposure_ = std::max(exposure_, exposure); }
  Nanos since_start() const noexcept { return now_ - timeline_.start; }
  void order(const Action& action) { out_->push_back(action); }

  const Plan& plan_;
  WorkerLocal& local_;
  Timeline& timeline_;

  TimePoint now_{};
  Actions* out_ = nullptr;  // of the fact being taken

  policy::Deadline deadline_;
  TimePoint max_duration_at_ = kNever;
  TimePoint retry_at_ = kNever;      // end of the back-off under way
  TimePoint settle_at_ = kNever;     // when a response under way counts as a success
  TimePoint unread_until_ = kNever;  // when a response relayed at the deadline must be whole
  Nanos backoff_{0};                 // the delay drawn last
  std::optional<Nanos> client_deadline_;
  std::optional<policy::EndpointId> previous_endpoint_;
  std::optional<AttemptId> held_;
  std::optional<Failure> last_failure_;         // of the attempt launched last
  Exposure exposure_ = Exposure::nothing_sent;  // of the request, by any attempt
  std::uint8_t launched_ = 0;                   // attempts that count; reconnects do not
  bool deadline_unreadable_ = false;
  bool idempotent_ = false;
  bool has_body_ = false;
  bool body_fits_replay_ = true;
  bool body_overflowed_ = false;
  bool reconnected_ = false;
  bool in_loop_ = false;
  bool committed_ = false;
  bool replied_ = false;
  bool finished_ = false;
  Reason end_reason_ = Reason::success;  // applied once the answer is delivered
  char end_who_ = '-';
  char end_stage_ = 'a';

  BoundedVec<Attempt, kMaxAttempts> attempts_;
};

}  // namespace outrigger::exchange
