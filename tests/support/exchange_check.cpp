#include "tests/support/exchange_check.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

#include "tests/support/show.hpp"

namespace outrigger::test {

using namespace exchange;

namespace {

constexpr Nanos kSettleAfterHead = std::chrono::seconds{5};
// Several hedges, time limits and a back-off may all be overdue when a timer is late.
constexpr unsigned kTicksForOneInstant = kMaxAttempts;

/// How an attempt ends that we end ourselves.
bool is_abort(Reason why) {
  switch (why) {
    case Reason::overall_timeout:
    case Reason::max_duration:
    case Reason::client_disconnected:
    case Reason::client_not_reading:
    case Reason::tunnel_idle:
    case Reason::body_timeout:
    case Reason::body_too_large:
    case Reason::bad_request:
    case Reason::drained:
    case Reason::hedge_lost:
    case Reason::reconnect:
    case Reason::pool_full:
    case Reason::response_committed: return true;
    default: return false;
  }
}

bool is_stop_reason(Reason why) {
  switch (why) {
    case Reason::response_committed:
    case Reason::non_retryable:
    case Reason::pushback:
    case Reason::http_non_idempotent:
    case Reason::body_not_replayable:
    case Reason::attempts_exhausted:
    case Reason::deadline_insufficient:
    case Reason::retry_after_too_long:
    case Reason::circuit_open:
    case Reason::circuit_half_open_probe_limit:
    case Reason::budget_denied:
    case Reason::rate_limited:
    case Reason::pool_full:
    case Reason::no_healthy_endpoint:
    case Reason::bulkhead_full:
    case Reason::shed_load:
    case Reason::concurrency_limit: return true;
    default: return false;
  }
}

}  // namespace

ExchangeCheck::ExchangeCheck(const Plan& plan, const RequestFacts& facts, const Timeline& timeline, Ledger& ledger)
    : plan_(plan),
      timeline_(timeline),
      ledger_(ledger),
      idempotent_(facts.idempotent && !facts.upgrade),
      has_body_(facts.has_body),
      complete_(facts.body_complete),
      method_(facts.method),
      client_deadline_(facts.client_deadline) {}

std::string ExchangeCheck::observe(TimePoint now, const Event& fact, const Actions& orders, const Exchange& exchange) {
  broken_.clear();
  if (finished_) {
    require(orders.empty() && exchange.finished(), "I1 something happened after the end");
    return broken_;
  }
  now_ = now;
  tick_ = std::holds_alternative<Tick>(fact);
  answering_ = std::holds_alternative<ResponseHead>(fact);
  inventing_ = is_inventing();
  reconnecting_.reset();
  std::visit([this](const auto& each) { take(each); }, fact);
  for (const Action& order : orders) note_delay_over(order);
  follow_faults(attempts_.size());
  for (const Action& order : orders) std::visit([this](const auto& each) { perform(each); }, order);
  follow_faults(timeline_.attempts.size());
  if (reconnecting_) give_back(*reconnecting_);
  earn_if_due(closed_);
  finished_ = exchange.finished();
  if (finished_ || answered()) leave_loop();
  check_timeline();
  if (finished_) check_end();
  require(committed_ == exchange.committed(), "I8 committed() disagrees with the orders");
  if (!finished_ && !answered()) require(exchange.wakeup() <= deadline_, "I1 would sleep past its deadline");
  if (tick_ && !finished_) check_tick(exchange.wakeup());
  return broken_;
}

void ExchangeCheck::check_tick(TimePoint wakeup) {
  late_ticks_ = wakeup > now_ ? 0 : late_ticks_ + 1;
  require(late_ticks_ <= kTicksForOneInstant, "I1 asks without end to be woken in the past");
  require(now_ < deadline_ || answered(), "I1 still undecided after its deadline");
}

std::size_t ExchangeCheck::live_attempts() const {
  return static_cast<std::size_t>(std::count_if(attempts_.begin(), attempts_.end(), [](const Attempt& attempt) {
    return attempt.state != State::held && attempt.state != State::over;
  }));
}

/// What is kept from the edge on purpose shows in the timeline alone; it began behind the orders so far and in front of
/// the attempt `end`.
void ExchangeCheck::follow_faults(std::size_t end) {
  if (plan_.chaos.state == nullptr) return;
  for (std::size_t i = attempts_.size(); i < end; ++i) {
    const AttemptRecord& entry = timeline_.attempts[i];
    if (!is_kept_back(entry)) return;
    from_account_ = true;
    perform(StartAttempt{.id = static_cast<AttemptId>(i),
                         .kind = entry.kind,
                         .upstream = entry.upstream,
                         .endpoint = endpoint_of(entry),
                         .n = entry.n,
                         .hedge = entry.hedge});
    from_account_ = false;
    attempts_[i].kept_back = true;
    follow_fault(i);
  }
  for (std::size_t i = 0; i < attempts_.size(); ++i) follow_fault(i);
}

/// From its start on an attempt shows in orders, be it that it ends in the same call.
void ExchangeCheck::note_delay_over(const Action& order) {
  const auto* start = std::get_if<StartAttempt>(&order);
  if (start == nullptr || index(start->id) >= attempts_.size()) return;
  Attempt& attempt = attempts_[index(start->id)];
  attempt.delay_over = std::exchange(attempt.kept_back, false);
}

/// Whether an injected fault has answered in this call.
bool ExchangeCheck::is_inventing() const {
  for (std::size_t i = 0; i < timeline_.attempts.size(); ++i) {
    const AttemptRecord& entry = timeline_.attempts[i];
    const bool is_new = i >= attempts_.size() || attempts_[i].status == 0;
    if (is_new && entry.fault == Fault::status && entry.status != 0) return true;
  }
  return false;
}

/// Whether its order is not still to come. A delay of no length leaves no other trace.
bool ExchangeCheck::is_kept_back(const AttemptRecord& entry) const {
  const auto& delay = plan_.chaos.config->delay;
  const bool delayed = entry.injected_delay != Nanos{0} || (delay && delay->min == Nanos{0});
  return delayed || entry.fault == Fault::status || entry.fault == Fault::reset;
}

void ExchangeCheck::follow_fault(std::size_t i) {
  Attempt& attempt = attempts_[i];
  if (!attempt.kept_back) return;
  attempt.status = timeline_.attempts[i].status;
  if (attempt.status != 0) exposure_ = std::max(exposure_, Exposure::partly_sent);
  if (timeline_.attempts[i].ended && attempt.state != State::over) over(attempt, timeline_.attempts[i].reason);
}

policy::EndpointId ExchangeCheck::endpoint_of(const AttemptRecord& entry) const {
  const bool usual = entry.upstream == plan_.upstream->id;
  const auto& endpoints = (usual ? plan_.upstream : plan_.fallback.upstream)->endpoints->endpoints;
  for (std::size_t i = 0; i < endpoints.size(); ++i) {
    if (endpoints[i].address == timeline_.text(entry.endpoint)) return static_cast<policy::EndpointId>(i);
  }
  return {};
}

// ---- facts ----------------------------------------------------------------------------------

void ExchangeCheck::take(const RequestReady&) {
  const policy::Policy& policy = *plan_.policy;
  start_ = now_;
  if (client_deadline_) client_until_ = saturating_add(now_, *client_deadline_);
  if (policy.overall_timeout != Nanos{0}) deadline_ = saturating_add(now_, policy.overall_timeout);
  deadline_ = std::min(deadline_, client_until_);
  if (policy.max_duration != Nanos{0} && !plan_.observes) max_duration_at_ = saturating_add(now_, policy.max_duration);
}

void ExchangeCheck::take(const Tick&) {}

void ExchangeCheck::take(const Connected& fact) {
  Attempt* attempt = live(fact.id);
  if (attempt != nullptr && attempt->state == State::connecting) attempt->state = State::sending;
}

void ExchangeCheck::take(const RequestSent& fact) {
  Attempt* attempt = live(fact.id);
  if (attempt == nullptr) return;
  exposure_ = Exposure::fully_sent;
  if (attempt->state == State::sending) attempt->state = State::awaiting;
}

void ExchangeCheck::take(const ResponseHead& fact) {
  Attempt* attempt = live(fact.id);
  if (attempt == nullptr || (attempt->state != State::sending && attempt->state != State::awaiting)) return;
  exposure_ = std::max(exposure_, Exposure::partly_sent);
  attempt->status = fact.status;
  attempt->reason = policy::classify_status(fact.status).reason;
  const policy::Outcome outcome =
      plan_.classifier != nullptr
          ? policy::classify(*plan_.classifier, method_, fact.status, fact.headers).result.outcome
          : policy::classify_status(fact.status).outcome;
  attempt->success = outcome == policy::Outcome::success || fact.status == 101;
}

void ExchangeCheck::take(const HeldState& fact) {
  if (index(fact.id) >= attempts_.size()) return;
  Attempt& attempt = attempts_[index(fact.id)];
  if (attempt.state == State::held) vacate(attempt);
  if (!fact.lost) return;
  if (attempt.state == State::held) attempt.state = State::over;
  if (attempt.state == State::relaying) over(attempt, Reason::response_committed);
}

void ExchangeCheck::take(const ResponseDone& fact) {
  Attempt* attempt = live(fact.id);
  if (attempt == nullptr || attempt->state != State::relaying) return;
  over(*attempt, std::nullopt);
  if (earn_at_ != kNever) earn_at_ = now_;
}

void ExchangeCheck::take(const Delivered&) {
  for (std::size_t i = 0; i < attempts_.size(); ++i) take(ResponseDone{static_cast<AttemptId>(i)});
}

void ExchangeCheck::take(const AttemptFailed& fact) {
  Attempt* attempt = live(fact.id);
  if (attempt == nullptr) return;
  if (attempt->state == State::relaying) return over(*attempt, Reason::response_committed);
  exposure_ = std::max(exposure_, fact.exposure);
  reconnecting_ = *attempt;
  reconnecting_from_ = index(fact.id);
  reconnecting_->placed = false;
  attempt->extra = nullptr;  // its permit may pass to a reconnect
  over(*attempt, fact.why);
}

// ---- orders ---------------------------------------------------------------------------------

void ExchangeCheck::perform(const ReadBody&) {
  require(has_body_ && !read_body_, "the body is read twice, or there is none");
  read_body_ = true;
}

void ExchangeCheck::check_start(const StartAttempt& order) {
  require(index(order.id) == attempts_.size(), "attempts are not numbered in order");
  const bool is_fallback = order.kind == AttemptKind::fallback;
  if (attempts_.full()) return broken("I2 more attempts than there may ever be");
  require(!answered(), "I8 an attempt starts after the answer");
  require(now_ < deadline_, "I5 an attempt starts after the deadline");
  const bool beside = order.kind == AttemptKind::hedge || order.kind == AttemptKind::reconnect;
  require(beside || live_attempts() == 0, "two attempts at once");
  require(!order.forward || *order.forward <= time_left(now_, deadline_), "I5 an upstream is told a later deadline");
  const bool has_rules = order.kind == AttemptKind::hedge || order.kind == AttemptKind::retry;
  require(!has_rules || time_left(now_, deadline_) > plan_.policy->deadline.min_remaining,
          "I5 an attempt starts with too little time left");
  // Of one that was kept from the edge its own end may already show in the circuit.
  const bool asks_circuits = order.kind != AttemptKind::reconnect && !is_fallback && !plan_.observes;
  if (asks_circuits && !from_account_) check_circuits(order);
  require(!attempts_.empty() || order.kind == AttemptKind::primary || is_fallback,
          "the first attempt is not a primary");
  require(attempts_.empty() || order.kind != AttemptKind::primary, "a second primary");
  check_resend(order);
}

/// Nothing starts through an open circuit, and a probe is never a hedge.
void ExchangeCheck::check_circuits(const StartAttempt& order) {
  for (const CircuitRef& circuit : plan_.circuits) {
    if (circuit.config->counts != policy::Counts::attempt) continue;
    const policy::CircuitBreaker& state =
        circuit.per_endpoint() ? *circuit.by_endpoint[policy::index(order.endpoint)] : *circuit.state;
    require(state.state() != policy::CircuitState::open, "I6 an attempt starts through an open circuit");
    const bool probing = state.state() == policy::CircuitState::half_open;
    require(!probing || order.kind != AttemptKind::hedge, "I6 a hedge starts through a half-open circuit");
  }
}

void ExchangeCheck::check_resend(const StartAttempt& order) {
  if (order.kind == AttemptKind::primary) return;
  if (order.hedge != 0) {
    if (plan_.hedge.config == nullptr) return broken("a hedge that is not configured");
    const auto& methods = plan_.hedge.config->methods;
    require(std::ranges::find(methods, method_) != methods.end(), "I7 a method is hedged that may not be");
    return require(!has_body_ || (complete_ && !overflowed_), "I7 a body is hedged that is not whole");
  }
  if (exposure_ == Exposure::nothing_sent) return;
  require(resendable(), "I7 a request that is not idempotent is sent again");
  require(!has_body_ || !overflowed_, "I7 a body that is gone is sent again");
}

void ExchangeCheck::perform(const StartAttempt& order) {
  if (!from_account_) follow_faults(std::min(index(order.id), timeline_.attempts.size()));
  if (index(order.id) < attempts_.size() && std::exchange(attempts_[index(order.id)].delay_over, false)) {
    require(!answered(), "I8 an attempt starts after the answer");
    return require(now_ < deadline_, "I5 an attempt starts after the deadline");
  }
  check_start(order);
  const bool is_fallback = order.kind == AttemptKind::fallback;
  if (is_fallback) leave_loop();
  if (attempts_.empty() && !is_fallback) enter_loop();
  const bool is_reconnect = order.kind == AttemptKind::reconnect;
  const bool is_hedge = order.kind == AttemptKind::hedge;
  const BudgetRef& budget = is_hedge ? plan_.hedge.budget : plan_.budget;
  const policy::Budget* extra = order.kind != AttemptKind::primary && !is_fallback ? budget.state : nullptr;
  bool elsewhere = is_fallback;
  if (is_reconnect) {
    require(++reconnects_ == 1, "I2 a second reconnect");
    require(order.reuse == Reuse::none, "a reconnect on a pooled connection");
    require(reconnecting_ && reconnecting_->endpoint == order.endpoint, "a reconnect to another endpoint");
    attempts_[reconnecting_from_].reason = Reason::reconnect;
    elsewhere = attempts_[reconnecting_from_].elsewhere;
    extra = reconnecting_ ? std::exchange(reconnecting_, std::nullopt)->extra : nullptr;
  } else {
    if (reconnecting_) give_back(*reconnecting_);
    reconnecting_.reset();
    ++counted_;
    hedges_ += is_hedge ? 1 : 0;
    fallbacks_ += is_fallback ? 1 : 0;
    require(fallbacks_ == 0 || (fallbacks_ == 1 && is_fallback), "I2 an attempt after the fallback's");
    const bool retries = retry() != nullptr && !plan_.observes;
    require(counted_ - hedges_ - fallbacks_ <= (retries ? retry()->max_attempts : 1), "I2 too many attempts");
    require(!is_hedge || !plan_.observes, "I2 a hedge by a policy that only observes");
    require(!is_hedge || hedges_ <= plan_.hedge.config->max_hedges, "I2 too many hedges");
    if (extra != nullptr) {
      const std::string why = ledger_.of(*extra).extra_began(*budget.config, budget.cost, now_);
      if (!why.empty()) broken("I3 " + why);
    }
  }
  require(order.n == counted_, "an attempt bears the wrong number");
  if (!elsewhere) ledger_.attempt_began(order.endpoint);
  attempts_.push_back({.kind = order.kind,
                       .endpoint = order.endpoint,
                       .extra = extra,
                       .started = now_,
                       .placed = !elsewhere,
                       .elsewhere = elsewhere,
                       .n = static_cast<std::uint8_t>(counted_),
                       .reason = std::nullopt});
}

void ExchangeCheck::perform(const AbortAttempt& order) {
  Attempt* attempt = live(order.id);
  if (attempt == nullptr) return broken("an attempt is aborted that is not running");
  over(*attempt, abort_reason(*attempt, order));
}

void ExchangeCheck::perform(const HoldResponse& order) {
  Attempt* attempt = live(order.id);
  if (attempt == nullptr || attempt->status == 0) return broken("a response is held that there is not");
  settle(*attempt, std::nullopt);
  attempt->state = State::held;
}

void ExchangeCheck::perform(const DiscardResponse& order) {
  Attempt* attempt = live(order.id);
  if (attempt == nullptr || attempt->status == 0) return broken("a response is discarded that there is not");
  over(*attempt, std::nullopt);
}

void ExchangeCheck::perform(const DropHeld& order) {
  if (index(order.id) >= attempts_.size() || attempts_[index(order.id)].state != State::held) {
    return broken("a response is dropped that is not held");
  }
  attempts_[index(order.id)].state = State::over;
  vacate(attempts_[index(order.id)]);
}

void ExchangeCheck::perform(const RelayInterim& order) {
  require(index(order.id) == 0 && attempts_.size() == 1 && !answered(), "an interim response comes too late");
}

void ExchangeCheck::perform(const RelayResponse& order) {
  follow_faults(timeline_.attempts.size());
  require(!answered(), "I1 two answers");
  if (index(order.id) >= attempts_.size()) return broken("a response is relayed of an unknown attempt");
  Attempt& attempt = attempts_[index(order.id)];
  require(attempt.status != 0 && attempt.state != State::over, "a response is relayed that there is not");
  for (const Attempt& other : attempts_) {
    require(&other == &attempt || other.state == State::over, "something is left beside the relayed response");
  }
  attempt.state = State::relaying;
  committed_ = true;
  replaced_ = attempt.elsewhere;
  require(attempt.elsewhere == !order.fallback.empty(), "a response is marked wrongly");
  status_ = attempt.status;
  const bool switched = attempt.status == 101;
  if (attempt.success && !attempt.elsewhere) earn_at_ = switched ? now_ : saturating_add(now_, kSettleAfterHead);
}

void ExchangeCheck::perform(const CloseDownstream&) {
  require(committed_, "the downstream is closed before the commit");
  closed_ = true;
}

void ExchangeCheck::perform(const Reply& order) {
  follow_faults(timeline_.attempts.size());
  require(!answered(), "I1 two answers");
  const bool invented = order.fixed != nullptr && order.fixed == &plan_.chaos.answer;
  const bool invented_elsewhere =
      invented && !attempts_.empty() && attempts_.back().elsewhere && attempts_.back().state != State::over;
  replaced_ = (order.fixed != nullptr && order.fixed == &plan_.fallback.respond) || invented_elsewhere;
  const bool own = order.fixed == &plan_.respond;
  require(order.status != 0 && (invented || replaced_ || own || order.status == info(order.why).status),
          "a reply bears the wrong status");
  require(replaced_ == !order.fallback.empty(), "a reply is marked wrongly");
  require(!own || (plan_.upstream == nullptr && attempts_.empty()), "a route answers by itself that does not");
  for (const Attempt& attempt : attempts_) {
    require(attempt.state == State::over || (invented && attempt.kept_back), "a reply with something left");
  }
  invented ? committed_ = true : replied_ = true;
  for (std::size_t i = 0; invented && i < attempts_.size(); ++i) {
    Attempt& attempt = attempts_[i];
    if (!attempt.kept_back || attempt.state == State::over) continue;
    // It looks like an answer of the upstream's to all that learn from one.
    attempt.state = State::relaying;
    const bool success = timeline_.attempts[i].outcome == policy::Outcome::success;
    if (success && !attempt.elsewhere) earn_at_ = saturating_add(now_, kSettleAfterHead);
  }
  status_ = order.status;
}

void ExchangeCheck::perform(const ServeCached& order) {
  follow_faults(timeline_.attempts.size());
  require(!answered(), "I1 two answers");
  if (order.hit == nullptr || !*order.hit) return broken("a stored answer that there is not");
  for (const Attempt& attempt : attempts_) require(attempt.state == State::over, "a stored answer with something left");
  replied_ = replaced_ = true;
  status_ = order.hit->response->status();
}

void ExchangeCheck::perform(const StoreResponse& order) {
  const Attempt* attempt = live(order.id);
  require(attempt != nullptr && attempt->status != 0 && !attempt->elsewhere, "an answer is stored that there is not");
  require(order.fill != nullptr && order.config != nullptr, "an answer is stored by nobody");
}

// ---- the end --------------------------------------------------------------------------------

void ExchangeCheck::check_end() {
  require(answered() || downstream_.has_value(), "I1 it ended without an answer and nobody had left");
  for (const Attempt& attempt : attempts_) require(attempt.state == State::over, "I4 it ended with an attempt left");
  for (const AttemptRecord& entry : timeline_.attempts)
    require(entry.ended, "I9 an attempt has no end in the timeline");
  require(timeline_.duration == now_ - start_, "I9 the duration is wrong");
  require(timeline_.outcome == outcome_of(timeline_.reason) || replaced_, "I9 reason and outcome disagree");
  if (answered()) require(timeline_.status == status_, "I9 the status is not what the client got");
  const Waits& waits = timeline_.waits;
  require(timeline_.queued == waits.cache + waits.rate_limit + waits.bulkhead + waits.adaptive_limit + waits.pool,
          "I9 waits do not add up");
  require(timeline_.queued <= timeline_.duration, "I9 it waited longer than it took");
  require(std::string_view{"DUP-"}.find(timeline_.who) != std::string_view::npos, "I9 nobody can have ended it");
  if (!timeline_.stop_reason) return;
  require(is_stop_reason(*timeline_.stop_reason), "I9 no reason for which another attempt is not made");
  const bool good = plan_.classifier == nullptr && timeline_.reason == Reason::success;
  require(!good, "I9 a success does not say why there was no further attempt");
}

void ExchangeCheck::check_timeline() {
  if (timeline_.attempts.size() != attempts_.size()) return broken("I9 attempts are missing in the timeline");
  for (std::size_t i = 0; i < attempts_.size(); ++i) {
    check_record(timeline_.attempts[i], attempts_[i]);
    if (timeline_.attempts[i].ended) note_ending(timeline_.attempts[i], attempts_[i]);
  }
  Nanos last{0};
  for (const Decision& entry : timeline_.decisions) {
    require(entry.at >= last && entry.at <= now_ - start_, "I9 decisions are out of order");
    last = entry.at;
  }
}

void ExchangeCheck::check_record(const AttemptRecord& entry, const Attempt& attempt) {
  require(entry.ended == attempt.settled, "I9 an attempt's end is not in the timeline when it ends");
  require(entry.kind == attempt.kind && entry.n == attempt.n, "I9 an attempt is recorded as another");
  require(entry.start == attempt.started - start_, "I9 an attempt's start is wrong");
  require(entry.status == attempt.status, "I9 an attempt's status is wrong");
  if (!entry.ended) return;
  require(entry.duration >= Nanos{0} && entry.start + entry.duration <= now_ - start_, "I9 an end is too late");
  require(entry.connect == kAbsent || entry.connect <= entry.duration, "I9 it connected after its end");
  require(entry.ttfb == kAbsent || entry.ttfb <= entry.duration, "I9 the first byte is too late");
  if (attempt.reason && entry.reason != *attempt.reason) {
    broken("I9 an attempt ended by " + std::string{to_string(*attempt.reason)} + " and is recorded as " +
           std::string{to_string(entry.reason)});
  }
}

/// The outcome is the truth table's where no rule of the configuration's may have changed it.
void ExchangeCheck::check_ending(const AttemptRecord& entry) {
  if (is_abort(entry.reason)) return require(entry.outcome == policy::Outcome::abort, "I9 an abort is not one");
  if (plan_.classifier != nullptr) return;
  const policy::Classification usual =
      entry.status != 0 ? policy::classify_status(entry.status) : policy::classify_fault(entry.reason);
  require(entry.outcome == usual.outcome && entry.reason == usual.reason, "I9 an outcome is not that of its reason");
}

/// An attempt ends once.
void ExchangeCheck::note_ending(const AttemptRecord& entry, Attempt& attempt) {
  if (!std::exchange(attempt.noted, true)) {
    check_ending(entry);
    attempt.reason = entry.reason;
    attempt.outcome = entry.outcome;
    attempt.duration = entry.duration;
  }
  require(entry.reason == *attempt.reason && entry.outcome == attempt.outcome && entry.duration == attempt.duration,
          "I9 an attempt ends twice");
}

/// A success counts when its body is complete, or five seconds after its head, unless it was cut at that very instant;
/// a 101 is one at once.
void ExchangeCheck::earn_if_due(bool closing) {
  if (now_ < earn_at_ || closing) return;
  const bool told = tick_ || live_attempts() == 0 || status_ == 101;
  if (!told) return;
  earn_at_ = kNever;
  for (const BudgetRef& budget : budgets()) {
    if (budget.config->type == policy::BudgetType::success_credit) {
      ledger_.of(*budget.state).request_succeeded(*budget.config);
    }
  }
}

void ExchangeCheck::broken(std::string what) {
  if (broken_.empty()) broken_ = std::move(what);
}

ExchangeCheck::Attempt* ExchangeCheck::live(AttemptId id) {
  if (index(id) >= attempts_.size()) return nullptr;
  Attempt& attempt = attempts_[index(id)];
  return attempt.state == State::held || attempt.state == State::over ? nullptr : &attempt;
}

void ExchangeCheck::over(Attempt& attempt, std::optional<Reason> reason) {
  settle(attempt, reason);
  vacate(attempt);
  attempt.state = State::over;
}

void ExchangeCheck::settle(Attempt& attempt, std::optional<Reason> reason) {
  if (reason && !attempt.settled) attempt.reason = reason;
  attempt.settled = true;
  give_back(attempt);
}

/// It has no connection any more.
void ExchangeCheck::vacate(Attempt& attempt) {
  if (std::exchange(attempt.placed, false)) ledger_.attempt_over(attempt.endpoint);
}

void ExchangeCheck::give_back(Attempt& attempt) {
  if (const auto* budget = std::exchange(attempt.extra, nullptr)) ledger_.of(*budget).extra_over();
}

/// Those that the request counts for: the one of its retries and that of its hedges, which may be the same.
std::vector<BudgetRef> ExchangeCheck::budgets() const {
  std::vector<BudgetRef> all;
  if (plan_.budget.state != nullptr) all.push_back(plan_.budget);
  const BudgetRef& hedges = plan_.hedge.budget;
  if (hedges.state != nullptr && hedges.state != plan_.budget.state) all.push_back(hedges);
  return all;
}

void ExchangeCheck::enter_loop() {
  in_loop_ = true;
  for (const BudgetRef& budget : budgets()) ledger_.of(*budget.state).request_entered(now_);
}

void ExchangeCheck::leave_loop() {
  if (!std::exchange(in_loop_, false)) return;
  for (const BudgetRef& budget : budgets()) ledger_.of(*budget.state).request_left();
}

/// Why the exchange aborts an attempt now, as far as the fact tells.
std::optional<Reason> ExchangeCheck::abort_reason(const Attempt& attempt, const AbortAttempt& order) const {
  if (downstream_) return downstream_;
  // An answer that is invented on a tick comes among the time limits of the others.
  if (inventing_ && order.why == Reason::hedge_lost) return order.why;
  // An answer that comes after the deadline and before the tick that tells of it may win or come to nothing.
  if (answering_ && now_ >= deadline_) return order.why;
  if (answering_) return Reason::hedge_lost;
  if (now_ >= max_duration_at_) return Reason::max_duration;
  if (now_ >= deadline_) return Reason::overall_timeout;
  return attempt.state == State::connecting ? Reason::connect_timeout : Reason::attempt_timeout;
}

}  // namespace outrigger::test
