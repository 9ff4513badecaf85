// tests/support/exchange_check.hpp
//
// The promises of one exchange, checked from outside after every fact. It sees what the edge sees, facts and orders,
// and keeps its own small account of each attempt; scripts, the simulator and the fuzzer all run it, so a promise that
// holds in one of them is the same promise in the others.
//
//   I1 it ends once, and not after its deadline unless committed    I2 attempts within the limit, one reconnect
//   I3 each extra attempt was within its budget's rule               I4 permits held are those of the live attempts
//   I5 nothing starts at or after the deadline                       I6 no attempt through an open circuit
//   I7 what may not be sent twice is not                             I8 nothing starts after the commit
//   I9 the timeline is complete and says what happened
//
// The timeline is held to I9 while it is written: what stands in it once is not changed any more.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "proxy/base/bounded_vec.hpp"
#include "proxy/exchange/exchange.hpp"
#include "tests/support/ledger.hpp"

namespace outrigger::test {

class ExchangeCheck {
 public:
  /// All of them must outlive it.
  ExchangeCheck(const exchange::Plan& plan, const exchange::RequestFacts& facts, const exchange::Timeline& timeline,
                Ledger& ledger);

  /// Takes note of one call of `on`; answers with the first promise it broke ("I5 ..."), or with nothing.
  std::string observe(TimePoint now, const exchange::Event& fact, const exchange::Actions& orders,
                      const exchange::Exchange& exchange);

  /// The attempts that have begun and are not over; held responses are over.
  std::size_t live_attempts() const;
  /// Those that have their permits; a response that was kept has not, even when it is relayed.
  std::size_t placed_attempts() const {
    const auto holds = [](const Attempt& attempt) { return attempt.placed && !attempt.settled; };
    return static_cast<std::size_t>(std::ranges::count_if(attempts_, holds));
  }
  /// By an injected fault: no edge has heard of that attempt.
  bool kept_back(exchange::AttemptId id) const {
    return exchange::index(id) < attempts_.size() && attempts_[exchange::index(id)].kept_back;
  }
  TimePoint deadline() const { return deadline_; }
  bool answered() const { return committed_ || replied_; }
  bool finished() const { return finished_; }
  /// It was let in: it has what counts requests.
  bool inside() const { return !attempts_.empty() && !attempts_[0].is_fallback() && !finished_; }
  /// It is neither let in nor sent away, and may have a part of what it needs.
  bool undecided() const { return attempts_.empty() && !answered() && !finished_; }

 private:
  enum class State : std::uint8_t { connecting, sending, awaiting, held, relaying, over };

  struct Attempt {
    exchange::AttemptKind kind{};
    State state = State::connecting;
    policy::EndpointId endpoint{};
    const policy::Budget* extra = nullptr;  // whose permit it holds
    TimePoint started{};
    bool placed = true;       // has a connection, and counts on its endpoint
    bool settled = false;     // how it ended is fixed
    bool success = false;     // by its answer, as the policy classifies it
    bool noted = false;       // its end stood in the timeline
    bool elsewhere = false;   // at the fallback's upstream, which no ledger counts
    bool kept_back = false;   // by an injected fault: the edge has not heard of it
    bool delay_over = false;  // and now its start is ordered
    std::uint8_t n = 0;
    std::uint16_t status = 0;
    std::optional<Reason> reason;  // how it ended, as far as facts and orders tell
    policy::Outcome outcome{};     // as the timeline had it when it ended
    Nanos duration{0};

    bool is_fallback() const { return kind == exchange::AttemptKind::fallback; }
  };

  void take(const exchange::RequestReady&);
  void take(const exchange::Tick&);
  void take(const exchange::BodyState& fact) {
    overflowed_ |= fact.overflowed;
    complete_ |= fact.complete;
  }
  void take(const exchange::Woken&) {}
  void take(const exchange::Connected& fact);
  void take(const exchange::RequestSent& fact);
  void take(const exchange::InterimHead&) {}
  void take(const exchange::ResponseHead& fact);
  void take(const exchange::HeldState& fact);
  void take(const exchange::ResponseDone& fact);
  void take(const exchange::Delivered&);
  void take(const exchange::AttemptFailed& fact);
  void take(const exchange::DownstreamFailed& fact) { downstream_ = fact.why; }
  void take(const exchange::Cancelled& fact) { downstream_ = fact.why; }

  void perform(const exchange::ReadBody&);
  void perform(const exchange::StartAttempt& order);
  void perform(const exchange::AbortAttempt& order);
  void perform(const exchange::HoldResponse& order);
  void perform(const exchange::DropHeld& order);
  void perform(const exchange::DropReplay&) {}
  void perform(const exchange::RelayInterim& order);
  void perform(const exchange::RelayResponse& order);
  void perform(const exchange::DiscardResponse& order);
  void perform(const exchange::CloseDownstream&);
  void perform(const exchange::Reply& order);
  void perform(const exchange::ServeCached& order);
  void perform(const exchange::StoreResponse& order);

  void note_delay_over(const exchange::Action& order);
  void follow_faults(std::size_t end);
  bool is_inventing() const;
  bool is_kept_back(const exchange::AttemptRecord& entry) const;
  void follow_fault(std::size_t i);
  policy::EndpointId endpoint_of(const exchange::AttemptRecord& entry) const;
  void check_start(const exchange::StartAttempt& order);
  void check_resend(const exchange::StartAttempt& order);
  void check_circuits(const exchange::StartAttempt& order);
  void check_tick(TimePoint wakeup);
  void check_end();
  void check_timeline();
  void check_record(const exchange::AttemptRecord& entry, const Attempt& attempt);
  void check_ending(const exchange::AttemptRecord& entry);
  void note_ending(const exchange::AttemptRecord& entry, Attempt& attempt);
  void earn_if_due(bool closing);

  void broken(std::string what);
  void require(bool holds, const char* what) {
    if (!holds) broken(what);
  }
  Attempt* live(exchange::AttemptId id);
  void over(Attempt& attempt, std::optional<Reason> reason);
  void settle(Attempt& attempt, std::optional<Reason> reason);
  void give_back(Attempt& attempt);
  void vacate(Attempt& attempt);
  void enter_loop();
  void leave_loop();
  std::vector<exchange::BudgetRef> budgets() const;
  std::optional<Reason> abort_reason(const Attempt& attempt, const exchange::AbortAttempt& order) const;
  const policy::RetryConfig* retry() const { return plan_.policy->retry ? &*plan_.policy->retry : nullptr; }
  bool resendable() const { return idempotent_ || (retry() != nullptr && retry()->non_idempotent); }

  const exchange::Plan& plan_;
  const exchange::Timeline& timeline_;
  Ledger& ledger_;
  bool idempotent_;
  bool has_body_;
  bool complete_;  // the body
  std::string method_;
  std::optional<Nanos> client_deadline_;

  TimePoint now_{};
  std::string broken_;
  TimePoint start_{};
  TimePoint deadline_ = kNever;
  TimePoint client_until_ = kNever;
  TimePoint max_duration_at_ = kNever;
  TimePoint earn_at_ = kNever;  // a success under way counts from then on
  std::optional<Reason> downstream_;
  std::optional<Attempt> reconnecting_;  // failed in this fact and may be followed by its reconnect
  exchange::Exposure exposure_ = exchange::Exposure::nothing_sent;
  std::size_t reconnecting_from_ = 0;
  unsigned counted_ = 0;  // attempts that count
  unsigned hedges_ = 0;   // of them
  unsigned fallbacks_ = 0;
  unsigned reconnects_ = 0;
  unsigned late_ticks_ = 0;   // in a row that were not the last for their instant
  std::uint16_t status_ = 0;  // relayed or replied
  bool tick_ = false;
  bool answering_ = false;  // the fact is a response head
  bool inventing_ = false;  // an injected fault is one
  bool overflowed_ = false;
  bool read_body_ = false;
  bool in_loop_ = false;
  bool committed_ = false;
  bool from_account_ = false;  // an attempt that no order told of is being entered
  bool replied_ = false;
  bool replaced_ = false;  // by a fallback or a cache
  bool closed_ = false;
  bool finished_ = false;
  BoundedVec<Attempt, exchange::kMaxAttempts> attempts_;
};

}  // namespace outrigger::test
