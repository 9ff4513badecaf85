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
#include <array>
#include <cstdint>
#include <optional>

#include "proxy/base/bounded_vec.hpp"
#include "proxy/exchange/action.hpp"
#include "proxy/exchange/admission.hpp"
#include "proxy/exchange/event.hpp"
#include "proxy/exchange/placing.hpp"
#include "proxy/exchange/plan.hpp"
#include "proxy/exchange/refusal.hpp"
#include "proxy/exchange/request_facts.hpp"
#include "proxy/exchange/timeline.hpp"
#include "proxy/policy/balance.hpp"
#include "proxy/policy/budget.hpp"
#include "proxy/policy/cache.hpp"
#include "proxy/policy/lesson.hpp"

namespace outrigger::exchange {

/// A rate limit, and what is left of it for whoever asked.
struct RateLimitShown {
  std::string_view name;
  const policy::RateLimitConfig* config = nullptr;
  policy::RateLimitView view;
};
using RateLimitsShown = BoundedVec<RateLimitShown, kMaxOfAKind>;

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
  /// Appends the rate limits that were asked about the request and whose numbers its answer is to show. Those that
  /// were not reached, because something else refused it before, say nothing.
  void rate_limits(TimePoint now, RateLimitsShown& out) const noexcept;

 private:
  enum class State : std::uint8_t { delayed, connecting, sending, awaiting, held, relaying, ended };

  using CircuitPermits = BoundedVec<policy::CircuitPermit, kMaxOfAKind>;

  /// Which stage waits, or was asked last.
  enum class Stage : std::uint8_t { cache, request, primary, slot };

  /// What an attempt was given to start with; it goes back when the attempt ends.
  struct Clearance {
    const Upstream* upstream = nullptr;
    policy::EndpointId endpoint{};
    Holdings holdings;        // of limits that count attempts
    CircuitPermits circuits;  // of circuits that do, in the plan's order
    policy::BudgetPermit budget;
    policy::EndpointPermit slot;  // until the attempt has it
  };

  /// A running try and what it holds.
  struct Attempt {
    AttemptId id{};
    AttemptKind kind{};
    State state = State::connecting;
    std::uint8_t hedge = 0;    // k of the k-th hedge; its reconnect is still that hedge
    std::uint16_t status = 0;  // of its answer; 0: none yet
    Nanos head_latency{0};     // then how long that took
    TimePoint started{};
    TimePoint begun{};           // when the edge was told, after an injected delay
    TimePoint sent = kNever;     // first byte at the earliest, then the last
    TimePoint expires = kNever;  // its delay, its connect timeout, then its own timeout
    Reuse reuse{};
    bool wholly_sent = false;
    bool is_fallback = false;     // or the reconnect of one
    bool invented = false;        // its answer was made up on purpose: the edge knows nothing of it
    bool refused = false;         // its answer is a refusal by the upstream's own sidecar
    bool judged = false;          // its endpoint has been told how it ended
    Fault fault = Fault::none;    // what is to befall it once its delay is over
    policy::EndpointPermit slot;  // for as long as it has a connection
    Clearance held;
  };

  /// What is about to be sent, and how the request ends with it.
  struct Ending {
    Reason why{};
    char who = '-';
    char stage = 'a';
    std::optional<Nanos> retry_after;
    bool exhausted = false;  // attempts ended without an acceptable answer
  };

  /// What the request has to do with the policy's cache.
  struct CacheUse {
    CacheUse(const CacheFacts& question, const Ticket& ticket) noexcept : facts(question), waiter(ticket) {}

    CacheFacts facts;  // views are good until RequestReady has been taken
    policy::CacheWaiter waiter;
    TimePoint since{};  // of a wait
    policy::CacheFill fill;
    policy::CacheHit hit;                  // that is being served
    std::optional<std::uint64_t> changes;  // the target that it changes if it succeeds
  };

  /// Who gives the answer that is sent.
  enum class Source : std::uint8_t { upstream, cache, fallback };

  /// How the attempts so far have failed, for the answer when no other comes.
  struct Failure {
    AttemptId attempt{};
    Reason reason{};
  };

  void take(const RequestReady&);
  void take(const BodyState& body) noexcept {
    body_overflowed_ |= body.overflowed;
    body_complete_ |= body.complete;
  }
  void take(const Woken&);
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

  // The cache.
  void look_up();
  policy::CacheRequest cache_request() const noexcept;
  void looked_up(policy::CacheAnswer answer);
  void end_cache_wait() noexcept;
  void serve_cached(const Ending& ending);
  void keep_or_give_up(const Attempt& answer);
  void leave_cache() noexcept;

  // Admission.
  void admit_request();
  void admit_primary();
  Admission::Answer ask(policy::Counts stage, Holdings& holdings) noexcept;
  void admitted(Admission::Answer answer);
  std::optional<Refusal> admit_now(Clearance& clearance, bool tokens_only = false) noexcept;
  std::optional<Refusal> enter_request_circuits() noexcept;
  void note_wait() noexcept;

  // The attempt loop.
  const policy::RetryConfig& retry() const noexcept;
  const policy::RetryConfig& configured_retry() const noexcept;
  /// When an answer must have begun.
  TimePoint latest_end() const noexcept { return std::min(deadline_.at, max_duration_at_); }
  std::optional<Refusal> ask_circuits(AttemptKind kind) const noexcept;
  std::optional<Refusal> ask(const CircuitRef& circuit, const policy::CircuitBreaker& state,
                             AttemptKind kind) const noexcept;
  std::optional<Refusal> ask_endpoint(policy::EndpointId endpoint, AttemptKind kind) const noexcept;
  std::optional<Refusal> ask_endpoints(AttemptKind kind) const noexcept;
  std::optional<Refusal> choose_endpoint(AttemptKind kind, Clearance& clearance) noexcept;
  std::optional<Refusal> why_no_endpoint(AttemptKind kind, Placing placing) const noexcept;
  bool admits(policy::EndpointId endpoint, AttemptKind kind) const noexcept;
  bool wait_for_slot();
  void slot_decided();
  void leave_slots() noexcept;
  bool waits_for_slot() const noexcept { return stage_ == Stage::slot; }
  static bool refuses_slot(const void* exchange, policy::EndpointId endpoint, TimePoint now) noexcept;
  std::optional<Refusal> enter_circuits(Clearance& clearance) noexcept;
  std::optional<Refusal> clear(AttemptKind kind, const BudgetRef* budget, Clearance& clearance) noexcept;
  static CircuitShown circuit_shown(const Clearance& clearance) noexcept;
  void launch_primary();
  void begin_primary();
  void launch_retry();
  void launch_hedge();
  void begin_round() noexcept;
  void arm_hedge() noexcept;
  std::optional<Refusal> why_no_hedge() const noexcept;
  std::optional<Refusal> ask_budget(const BudgetRef& budget) noexcept;
  std::optional<Refusal> why_no_retry_now() const noexcept;
  void want_body();
  Attempt& launch(AttemptKind kind, Clearance clearance, Reuse reuse, std::string_view budget, std::uint8_t hedge = 0);
  void start(Attempt& attempt);
  void begin(Attempt& attempt);
  void meet_chaos(Attempt& attempt);
  void suffer(Attempt& attempt);
  bool reconnect(Attempt& attempt, const AttemptFailed& failure);
  void answered(Attempt& attempt, policy::Classified result);
  void switched(Attempt& attempt);
  void win(Attempt& attempt, policy::Classified result);
  void lose(Attempt& attempt, policy::Classified result);
  void after_round(policy::Classified result, Attempt* answer);
  void fail(Attempt& attempt, Reason why, Exposure exposure);
  void refuse(Attempt& attempt);
  void note_failure(const Attempt& attempt, Reason why) noexcept;

  // What attempts teach.
  policy::Classified classify(Reason fault) const noexcept;
  void note(AttemptRecord& entry, const policy::Classified& result) noexcept;
  void sample(const Attempt& attempt, const policy::Lesson& lesson) noexcept;
  void settle(Attempt& attempt, const policy::Lesson& lesson) noexcept;
  void judge(Attempt& attempt, const policy::Lesson& lesson) noexcept;
  void settle_abort(Attempt& attempt, Reason why) noexcept;
  void settle_request(const policy::Lesson& lesson) noexcept;
  void settle_throttle(Reason why) noexcept;
  Nanos waited(const Attempt& attempt) const noexcept;
  void expire(Attempt& attempt);
  bool plan_retry(const policy::RetryQuestion& question);
  void note_would_time_out(Attempt& attempt);
  void note_would_retry(const policy::RetryQuestion& question) noexcept;
  policy::RetryQuestion question_about(policy::Classified result);
  void stop(const Refusal& refusal);
  void decide(const Refusal& refusal) noexcept;
  void would(const Refusal& refusal) noexcept;

  // Its ends.
  void hold(Attempt& attempt);
  void relay(Attempt& attempt);
  void give_up();
  void relay_kept_at_last();
  void allow_for_unread() noexcept;
  void refuse(const Refusal& refusal, char stage);
  void respond();
  void reply(const Ending& ending);
  void send(const Ending& ending, const Reply& what);
  void close_with(const Ending& ending, std::uint16_t status) noexcept;
  void cut(Reason why, char who);

  // What is sent instead.
  bool fall_back(const Ending& ending, Attempt* answer);
  bool fall_back_to_upstream(const Ending& ending, Attempt* answer);
  bool may_be_stale(const policy::OutgoingAnswer& what) const noexcept;
  bool find_stale();
  void mark_fallback(const Ending& ending, const Attempt* answer) noexcept;
  void answer_by_fallback() noexcept;
  /// What the answer that is sent bears, if a fallback gave it.
  std::string_view fallback_mark() const noexcept { return source_ == Source::fallback ? mark_ : std::string_view{}; }
  void drop_answers();
  void stand_by_original();
  bool settles(const Attempt& attempt, const AttemptRecord& entry) const noexcept;
  void settle_relayed(Attempt& attempt) noexcept;
  void conclude(const Ending& ending) noexcept;
  void finish(const Ending& ending) noexcept;

  // The attempt table.
  Attempt* find(AttemptId id) noexcept;
  void abort_all(Reason why);
  void stop_waiting();
  void abort_others(const Attempt& winner);
  void abort(Attempt& attempt, Reason why);
  void drop_held();
  static bool is_running(const Attempt& attempt) noexcept { return attempt.state <= State::awaiting; }
  /// Whether the edge has heard of it.
  static bool at_edge(const Attempt& attempt) noexcept { return attempt.state != State::delayed && !attempt.invented; }
  std::size_t running() const noexcept;
  void end(Attempt& attempt, policy::Outcome outcome, Reason why) noexcept;
  AttemptRecord& record(const Attempt& attempt) noexcept { return timeline_.attempts[index(attempt.id)]; }

  bool resendable_once_seen() const noexcept;
  Reuse reuse_for_request() const noexcept;
  bool hopeless() const noexcept;
  void enter_loop() noexcept;
  void leave_loop() noexcept;
  /// Of the retries, and of the hedges where that is another one: the request counts for both.
  template <class What>
  void for_each_budget(What what) const noexcept {
    const BudgetRef& retries = plan_.budget;
    const BudgetRef& hedges = plan_.hedge.budget;
    if (retries.state != nullptr) what(retries);
    if (hedges.state != nullptr && hedges.state != retries.state) what(hedges);
  }
  void expose(Exposure exposure) noexcept { exposure_ = std::max(exposure_, exposure); }
  Nanos since_start() const noexcept { return now_ - timeline_.start; }
  void order(const Action& action) { out_->push_back(action); }

  const Plan& plan_;
  WorkerLocal& local_;
  Timeline& timeline_;

  RateLimitKeys keys_{};
  std::optional<std::uint64_t> balance_key_;   // where the upstream is balanced by hash
  std::optional<std::uint64_t> fallback_key_;  // the same for the fallback's
  Admission admission_;
  std::optional<CacheUse> cache_;  // where the policy has one
  Stage stage_ = Stage::request;
  Clearance clearance_;             // of the primary, while it waits
  policy::SlotWaiter slot_waiter_;  // by which it waits for a connection
  TimePoint slot_since_{};
  Holdings request_holdings_;                   // of limits that count requests
  CircuitPermits request_circuits_;             // of circuits that do
  policy::Lesson last_lesson_{.timed = false};  // of no attempt: its own waits say nothing about the upstream
  std::optional<Nanos> answered_after_;         // from the start to the head that is relayed

  TimePoint now_{};
  Actions* out_ = nullptr;  // of the fact being taken

  policy::Deadline deadline_;
  TimePoint max_duration_at_ = kNever;
  TimePoint retry_at_ = kNever;      // end of the back-off under way
  TimePoint settle_at_ = kNever;     // when a response under way counts as a success
  TimePoint unread_until_ = kNever;  // when a response relayed at the deadline must be whole
  Nanos backoff_{0};                 // the delay drawn last
  TimePoint round_at_{};             // when the first attempt of the present round started
  TimePoint hedge_at_ = kNever;      // when the next hedge of it is due
  std::optional<Nanos> hedge_delay_;
  std::optional<Nanos> retry_after_;  // the longest that an answer of this round asked for
  std::optional<Nanos> client_deadline_;
  std::optional<policy::EndpointId> previous_endpoint_;
  std::optional<AttemptId> held_;
  bool held_is_final_ = false;                  // nothing but a success of those still running is better
  bool would_have_retried_ = false;             // after a time limit that only observes
  std::optional<Failure> last_failure_;         // of the attempt launched last
  Exposure exposure_ = Exposure::nothing_sent;  // of the request, by any attempt
  std::optional<Ending> original_;              // what is sent if the fallback's upstream does no better
  Source source_ = Source::upstream;
  std::string_view mark_;            // the reason that a fallback answers for
  std::array<char, 8> status_mark_;  // its text, where that is a status
  std::uint8_t launched_ = 0;        // attempts, without reconnects
  std::uint8_t rounds_ = 0;          // of them those that are no hedges
  std::uint8_t hedges_ = 0;          // and those that are
  std::uint8_t round_hedges_ = 0;    // due in this round so far, launched or not
  bool pushback_ = false;            // an answer of this round asked not to be tried again
  bool deadline_unreadable_ = false;
  Priority priority_ = Priority::standard;
  bool idempotent_ = false;
  bool upgrade_ = false;         // it asks to switch protocols
  bool tunnel_ = false;          // and the upstream has
  bool hedges_allowed_ = false;  // by the policy and the request's method
  bool safe_method_ = false;
  bool changes_resource_ = false;
  bool has_body_ = false;
  bool body_complete_ = false;
  bool body_fits_replay_ = true;
  bool meets_chaos_ = false;
  bool body_overflowed_ = false;
  bool body_wanted_ = false;
  bool fallback_asked_ = false;
  bool over_ = false;  // its client, its time or the process is gone: nothing may start any more
  bool waits_for_cache_ = false;
  bool reconnected_ = false;
  bool in_loop_ = false;
  bool committed_ = false;
  bool replied_ = false;
  bool finished_ = false;
  Ending end_;  // applied once the answer is delivered

  BoundedVec<Attempt, kMaxAttempts> attempts_;
};

}  // namespace outrigger::exchange
