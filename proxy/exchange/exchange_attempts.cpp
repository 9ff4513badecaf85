#include <algorithm>
#include <utility>

#include "proxy/exchange/exchange.hpp"

namespace outrigger::exchange {
namespace {

using policy::Classified;
using policy::Outcome;

constexpr Nanos kReconnectWindow = std::chrono::seconds{1};

/// What a policy without a `retry` block retries by: nothing. Its replay limit still serves reconnects.
const policy::RetryConfig& no_retries() noexcept {
  static const policy::RetryConfig none{.max_attempts = 1, .idempotency_key = {}};
  return none;
}

Fault fault_of(policy::ChaosAbort::Kind kind) noexcept {
  switch (kind) {
    case policy::ChaosAbort::Kind::status: return Fault::status;
    case policy::ChaosAbort::Kind::reset: return Fault::reset;
    case policy::ChaosAbort::Kind::truncate: break;
  }
  return Fault::truncate;
}

}  // namespace

const policy::RetryConfig& Exchange::configured_retry() const noexcept {
  return plan_.policy->retry ? *plan_.policy->retry : no_retries();
}

/// What is acted by; a policy that only observes does not act.
const policy::RetryConfig& Exchange::retry() const noexcept {
  return plan_.observes ? no_retries() : configured_retry();
}

// ---- admission ------------------------------------------------------------------------------

void Exchange::admit_request() {
  stage_ = Stage::request;
  admitted(ask(policy::Counts::request, request_holdings_));
}

/// Asks all limits of a stage; who only observes does not wait.
Admission::Answer Exchange::ask(policy::Counts stage, Holdings& holdings) noexcept {
  return admission_.begin({.stage = stage,
                           .priority = priority_,
                           .deadline = deadline_.at,
                           .may_wait = !plan_.observes,
                           .observes = plan_.observes},
                          keys_, holdings, now_, local_.rng);
}

/// Only the first attempt waits for limits; an open circuit spares it that.
void Exchange::admit_primary() {
  const auto refused = plan_.observes ? std::nullopt : ask_circuits(AttemptKind::primary);
  if (refused) return refuse(*refused, '8');
  stage_ = Stage::primary;
  admitted(ask(policy::Counts::attempt, clearance_.holdings));
}

void Exchange::admitted(Admission::Answer answer) {
  note_wait();
  if (answer == Admission::Answer::waiting) return;
  if (answer == Admission::Answer::refused) {
    const Refusal& refusal = admission_.refusal();
    const char early = refusal.part == Part::rate_limit ? '5' : refusal.part == Part::throttle ? '6' : '7';
    return refuse(refusal, stage_ == Stage::request ? early : '8');
  }
  // The place came in the very moment in which there was no more time for it.
  const char stage = stage_ == Stage::request ? '7' : '8';
  if (now_ >= deadline_.at) return refuse({Reason::overall_timeout, admission_.waited_for(), {}, {}}, stage);
  if (stage_ == Stage::primary) return launch_primary();
  if (plan_.upstream == nullptr) return respond();
  if (const auto refused = enter_request_circuits()) return refuse(*refused, '8');
  admit_primary();
}

/// What other attempts must be admitted by at once, or not at all.
std::optional<Refusal> Exchange::admit_now(Clearance& clearance, bool tokens_only) noexcept {
  const auto answer =
      admission_.begin({.stage = policy::Counts::attempt, .priority = priority_, .tokens_only = tokens_only}, keys_,
                       clearance.holdings, now_, local_.rng);
  if (answer == Admission::Answer::refused) return admission_.refusal();
  return std::nullopt;
}

std::optional<Refusal> Exchange::enter_request_circuits() noexcept {
  for (const CircuitRef& circuit : plan_.circuits) {
    if (circuit.config->counts != policy::Counts::request) continue;
    auto answer = circuit.state->admit(*circuit.config, plan_.policy->overall_timeout, now_, local_.rng);
    if (!answer.verdict.admitted()) {
      const Refusal refusal{*answer.verdict.refused, Part::circuit, answer.verdict.retry_after, circuit.name};
      if (!plan_.observes) {
        request_circuits_.clear();
        return refusal;
      }
      would(refusal);
    }
    request_circuits_.push_back(std::move(answer.permit));
  }
  return std::nullopt;
}

void Exchange::note_wait() noexcept {
  const Nanos waited = admission_.take_waited();
  if (waited == Nanos{0}) return;
  timeline_.queued += waited;
  Nanos& part = admission_.waited_for() == Part::rate_limit ? timeline_.waits.rate_limit
                : admission_.waited_for() == Part::bulkhead ? timeline_.waits.bulkhead
                                                            : timeline_.waits.adaptive_limit;
  part += waited;
}

// ---- what an attempt needs before it starts ---------------------------------------------------

/// Asks the circuits, takes nothing; those of endpoints refuse if every endpoint's do. While one is half-open there is
/// no hedge.
std::optional<Refusal> Exchange::ask_circuits(AttemptKind kind) const noexcept {
  for (const CircuitRef& circuit : plan_.circuits) {
    if (circuit.config->counts != policy::Counts::attempt || circuit.per_endpoint()) continue;
    if (auto refused = ask(circuit, *circuit.state, kind)) return refused;
  }
  return ask_endpoints(kind);
}

std::optional<Refusal> Exchange::ask(const CircuitRef& circuit, const policy::CircuitBreaker& state,
                                     AttemptKind kind) const noexcept {
  const Verdict verdict = state.peek(*circuit.config, now_);
  if (!verdict.admitted()) return Refusal{*verdict.refused, Part::circuit, verdict.retry_after, circuit.name};
  // Where a cooldown is over the next to come is a probe.
  if (kind == AttemptKind::hedge && state.state() != policy::CircuitState::closed) {
    return Refusal{Reason::circuit_half_open_probe_limit, Part::circuit, std::nullopt, circuit.name};
  }
  return std::nullopt;
}

/// The first refusal of the circuits of one endpoint.
std::optional<Refusal> Exchange::ask_endpoint(policy::EndpointId endpoint, AttemptKind kind) const noexcept {
  for (const CircuitRef& circuit : plan_.circuits) {
    if (circuit.config->counts != policy::Counts::attempt || !circuit.per_endpoint()) continue;
    if (auto refused = ask(circuit, *circuit.by_endpoint[policy::index(endpoint)], kind)) return refused;
  }
  return std::nullopt;
}

/// The refusal that ends first if the circuits of every endpoint in service refuse.
std::optional<Refusal> Exchange::ask_endpoints(AttemptKind kind) const noexcept {
  std::optional<Refusal> soonest;
  if (std::ranges::none_of(plan_.circuits, &CircuitRef::per_endpoint)) return soonest;
  const std::vector<policy::Endpoint>& endpoints = plan_.upstream->endpoints->endpoints;
  for (std::size_t i = 0; i < endpoints.size(); ++i) {
    if (!in_service(*plan_.upstream, endpoints[i], now_)) continue;
    auto refused = ask_endpoint(static_cast<policy::EndpointId>(i), kind);
    if (!refused) return std::nullopt;
    if (!soonest || refused->retry_after < soonest->retry_after) soonest = refused;
  }
  return soonest;
}

/// Whether the circuits of an endpoint let an attempt through.
bool Exchange::admits(policy::EndpointId endpoint, AttemptKind kind) const noexcept {
  return plan_.observes || !ask_endpoint(endpoint, kind);
}

/// Chooses among those whose own circuits admit it, and takes a slot there.
std::optional<Refusal> Exchange::choose_endpoint(AttemptKind kind, Clearance& clearance) noexcept {
  const policy::Choice choice{
      .balance = plan_.upstream->balance,
      .avoided = kind == AttemptKind::hedge || retry().avoid_previous_endpoint ? previous_endpoint_ : std::nullopt,
      .key = balance_key_};
  clearance.upstream = plan_.upstream;
  policy::Slot slot;
  const Placing placing = place(
      *plan_.upstream, choice, priority_, local_, now_, [&](policy::EndpointId id) { return admits(id, kind); }, slot);
  if (placing != Placing::placed) return why_no_endpoint(kind, placing);
  clearance.endpoint = slot.endpoint;
  clearance.slot = std::move(slot.permit);
  return std::nullopt;
}

std::optional<Refusal> Exchange::why_no_endpoint(AttemptKind kind, Placing placing) const noexcept {
  if (placing == Placing::refused) {
    if (auto refused = ask_endpoints(kind)) return refused;
  }
  const Upstream& upstream = *plan_.upstream;
  if (placing != Placing::unserved) return Refusal{Reason::pool_full, Part::pool, {}, upstream.name};
  return Refusal{upstream.unresolved ? Reason::dns_failure : Reason::no_healthy_endpoint, Part::balance, {}, {}};
}

/// Takes a permit of every circuit that counts attempts. Others may have been faster since they were asked.
std::optional<Refusal> Exchange::enter_circuits(Clearance& clearance) noexcept {
  for (const CircuitRef& circuit : plan_.circuits) {
    if (circuit.config->counts != policy::Counts::attempt) continue;
    policy::CircuitBreaker& state =
        circuit.per_endpoint() ? *circuit.by_endpoint[policy::index(clearance.endpoint)] : *circuit.state;
    auto answer = state.admit(*circuit.config, retry().timeout_per_attempt, now_, local_.rng);
    if (!answer.verdict.admitted()) {
      const Refusal refusal{*answer.verdict.refused, Part::circuit, answer.verdict.retry_after, circuit.name};
      if (!plan_.observes) return refusal;
      would(refusal);
    }
    // Where it only observes, what was refused keeps its place in the order.
    clearance.circuits.push_back(std::move(answer.permit));
  }
  return std::nullopt;
}

/// All that follows the last wait: where to, through which circuits, on whose budget (nullptr: the first is free).
std::optional<Refusal> Exchange::clear(AttemptKind kind, const BudgetRef* budget, Clearance& clearance) noexcept {
  if (auto refused = choose_endpoint(kind, clearance)) return refused;
  if (auto refused = enter_circuits(clearance)) return refused;
  if (budget == nullptr || budget->state == nullptr) return std::nullopt;
  const policy::Extra extra = kind == AttemptKind::hedge ? policy::Extra::hedge : policy::Extra::retry;
  clearance.budget = budget->state->admit(*budget->config, budget->cost, now_, extra);
  if (!clearance.budget) return Refusal{Reason::budget_denied, Part::budget, {}, budget->name};
  return std::nullopt;
}

// ---- the attempt loop -----------------------------------------------------------------------

/// Its limits have admitted it; only it waits for a connection, too.
void Exchange::launch_primary() {
  const auto refused = choose_endpoint(AttemptKind::primary, clearance_);
  if (!refused) return begin_primary();
  if (refused->why != Reason::pool_full || !wait_for_slot()) refuse(*refused, '8');
}

/// Nothing else is taken before there is a slot; false: there is no room to wait for one.
bool Exchange::wait_for_slot() {
  const Upstream& upstream = *plan_.upstream;
  if (upstream.slots == nullptr || now_ >= deadline_.at) return false;
  const policy::SlotQuestion question{.set = upstream.endpoints,
                                      .max_pending = upstream.max_pending,
                                      .panic = upstream.panic,
                                      .priority = priority_,
                                      .refuses = &refuses_slot,
                                      .who = this};
  if (upstream.slots->wait(slot_waiter_, question, now_) == policy::SlotWaiter::State::idle) return false;
  stage_ = Stage::slot;
  slot_since_ = now_;
  slot_decided();
  return true;
}

/// What the wait has come to, if it is over.
void Exchange::slot_decided() {
  const policy::SlotWaiter::State state = slot_waiter_.state();
  if (state == policy::SlotWaiter::State::waiting && now_ < deadline_.at) return;
  std::optional<policy::Slot> slot = plan_.upstream->slots->leave(slot_waiter_);
  leave_slots();
  if (now_ >= deadline_.at) return refuse({Reason::overall_timeout, Part::pool, {}, plan_.upstream->name}, '8');
  if (!slot) return refuse({Reason::pool_full, Part::pool, {}, plan_.upstream->name}, '8');
  clearance_.endpoint = slot->endpoint;
  clearance_.slot = std::move(slot->permit);
  begin_primary();
}

/// The wait is over, or of no use any more: what was given meanwhile goes back.
void Exchange::leave_slots() noexcept {
  if (!waits_for_slot()) return;
  static_cast<void>(plan_.upstream->slots->leave(slot_waiter_));
  stage_ = Stage::primary;
  timeline_.queued += now_ - slot_since_;
  timeline_.waits.pool += now_ - slot_since_;
}

/// Asked by whoever has a slot to give while this request waits.
bool Exchange::refuses_slot(const void* exchange, policy::EndpointId endpoint, TimePoint now) noexcept {
  const Plan& plan = static_cast<const Exchange*>(exchange)->plan_;
  return !plan.observes && std::ranges::any_of(plan.circuits, [endpoint, now](const CircuitRef& circuit) {
    return circuit.per_endpoint() &&
           !circuit.by_endpoint[policy::index(endpoint)]->peek(*circuit.config, now).admitted();
  });
}

/// There is a slot. Where somebody else became the probe of its endpoint's circuit first, another endpoint may do, or
/// the same one later.
void Exchange::begin_primary() {
  if (enter_circuits(clearance_)) {
    clearance_.circuits.clear();
    clearance_.slot.release();
    const auto refused = ask_circuits(AttemptKind::primary);
    return refused ? refuse(*refused, '8') : launch_primary();
  }
  enter_loop();
  want_body();
  begin_round();
  begin(launch(AttemptKind::primary, std::move(clearance_), reuse_for_request(), plan_.budget.name));
}

/// The body may come, now that somebody will take it.
void Exchange::want_body() {
  if (!has_body_ || std::exchange(body_wanted_, true)) return;
  const bool resendable = idempotent_ || configured_retry().non_idempotent;
  if (!resendable && !hedges_allowed_) order(DropReplay{});
  order(ReadBody{});
}

/// Rounds begin with a primary or a retry; hedges are counted from there.
void Exchange::begin_round() noexcept {
  ++rounds_;
  round_at_ = now_;
  round_hedges_ = 0;
  pushback_ = false;
  retry_after_.reset();
  hedge_delay_ = hedges_allowed_ ? plan_.hedge.trigger->delay(*plan_.hedge.config, now_) : std::nullopt;
  arm_hedge();
}

/// The k-th hedge of a round is due k delays after its first attempt.
void Exchange::arm_hedge() noexcept {
  hedge_at_ = kNever;
  if (!hedge_delay_ || hedges_ >= plan_.hedge.config->max_hedges) return;
  if (round_hedges_ >= plan_.hedge.config->max_hedges || attempts_.size() >= kMaxAttempts - 1) return;
  hedge_at_ = policy::hedge_due(round_at_, *hedge_delay_, round_hedges_ + 1u);
}

/// The first rule that forbids a hedge now; an idempotency key or `non_idempotent` never permits one.
std::optional<Refusal> Exchange::why_no_hedge() const noexcept {
  if (has_body_ && (!body_complete_ || body_overflowed_))
    return Refusal{Reason::body_not_replayable, Part::hedge, {}, {}};
  if (time_left(now_, latest_end()) <= plan_.policy->deadline.min_remaining) {
    return Refusal{Reason::deadline_insufficient, Part::hedge, {}, {}};
  }
  return std::nullopt;
}

void Exchange::launch_hedge() {
  ++round_hedges_;
  arm_hedge();
  Clearance clearance;
  auto refused = why_no_hedge();
  if (!refused) refused = ask_circuits(AttemptKind::hedge);
  if (!refused) refused = admit_now(clearance);
  if (plan_.observes) {
    if (!refused) refused = ask_budget(plan_.hedge.budget);
    if (refused) clearance.holdings.give_back(now_);
    return would(refused.value_or(Refusal{Reason::hedge, Part::hedge, {}, {}}));
  }
  if (!refused) refused = clear(AttemptKind::hedge, &plan_.hedge.budget, clearance);
  if (refused) {
    clearance.holdings.give_back(now_);
    ++timeline_.hedges_suppressed;
    return decide(*refused);
  }
  ++hedges_;
  arm_hedge();
  begin(launch(AttemptKind::hedge, std::move(clearance), reuse_for_request(), plan_.hedge.budget.name, hedges_));
}

/// Asks a budget for an extra attempt that will not be made.
std::optional<Refusal> Exchange::ask_budget(const BudgetRef& budget) noexcept {
  if (budget.state == nullptr || budget.state->admit(*budget.config, budget.cost, now_)) return std::nullopt;
  return Refusal{Reason::budget_denied, Part::budget, {}, budget.name};
}

void Exchange::launch_retry() {
  retry_at_ = kNever;
  Clearance clearance;
  auto refused = why_no_retry_now();
  if (!refused) refused = ask_circuits(AttemptKind::retry);
  if (!refused) refused = admit_now(clearance);
  if (!refused) refused = clear(AttemptKind::retry, &plan_.budget, clearance);
  if (refused) {
    clearance.holdings.give_back(now_);
    clearance = {};  // a fallback may need what it had taken
    stop(*refused);
    return give_up();
  }
  begin_round();
  begin(launch(AttemptKind::retry, std::move(clearance), reuse_for_request(), plan_.budget.name));
}

/// What may have changed during the back-off.
std::optional<Refusal> Exchange::why_no_retry_now() const noexcept {
  if (has_body_ && body_overflowed_ && exposure_ != Exposure::nothing_sent) {
    return Refusal{Reason::body_not_replayable, Part::retry, {}, {}};
  }
  if (time_left(now_, latest_end()) <= plan_.policy->deadline.min_remaining) {
    return Refusal{Reason::deadline_insufficient, Part::retry, {}, {}};
  }
  return std::nullopt;
}

/// Enters an attempt into the table; `begin` or `start` it.
Exchange::Attempt& Exchange::launch(AttemptKind kind, Clearance clearance, Reuse reuse, std::string_view budget,
                                    std::uint8_t hedge) {
  const Upstream& upstream = *clearance.upstream;
  const policy::Endpoint& target = upstream.endpoints->endpoints[policy::index(clearance.endpoint)];
  const auto id = static_cast<AttemptId>(attempts_.size());
  const bool asked = static_cast<bool>(clearance.budget) && kind != AttemptKind::reconnect;
  if (kind != AttemptKind::reconnect) ++launched_;
  Attempt& attempt = attempts_.emplace_back();
  attempt.id = id;
  attempt.kind = kind;
  attempt.hedge = hedge;
  attempt.started = now_;
  attempt.reuse = reuse;
  attempt.slot = std::move(clearance.slot);
  timeline_.attempts.push_back(AttemptRecord{.kind = kind,
                                             .n = launched_,
                                             .hedge = hedge,
                                             .budget_asked = asked,
                                             .budget_allowed = asked,
                                             .circuit = circuit_shown(clearance),
                                             .upstream = upstream.id,
                                             .upstream_name = upstream.name,
                                             .budget_name = budget,
                                             .endpoint = timeline_.keep(target.address, 64),
                                             .start = since_start(),
                                             .backoff = kind == AttemptKind::retry ? backoff_ : Nanos{0}});
  previous_endpoint_ = clearance.endpoint;
  attempt.held = std::move(clearance);
  return attempt;
}

/// Sends an attempt on its way, unless something is to befall it on purpose.
void Exchange::begin(Attempt& attempt) { meets_chaos_ ? meet_chaos(attempt) : start(attempt); }

void Exchange::start(Attempt& attempt) {
  const Upstream& upstream = *attempt.held.upstream;
  attempt.state = State::connecting;
  attempt.wholly_sent = false;
  attempt.begun = now_;
  attempt.expires = saturating_add(now_, upstream.connect_timeout);
  order(StartAttempt{
      .id = attempt.id,
      .kind = attempt.kind,
      .upstream = upstream.id,
      .endpoint = attempt.held.endpoint,
      .reuse = attempt.reuse,
      .n = record(attempt).n,
      .hedge = attempt.hedge,
      .forward = policy::forwarded_deadline(plan_.policy->deadline, deadline_.at, retry().timeout_per_attempt, now_)});
}

/// Rolls for a fault. A delay is time that the upstream seems to take: it counts for all that measures or limits it.
void Exchange::meet_chaos(Attempt& attempt) {
  const std::int64_t wall_us =
      timeline_.wall_start_us + std::chrono::duration_cast<std::chrono::microseconds>(since_start()).count();
  const policy::ChaosRoll roll = plan_.chaos.state->roll(*plan_.chaos.config, wall_us);
  if (roll.acts() && plan_.observes) would({Reason::chaos, Part::chaos, {}, {}});
  if (!roll.acts() || plan_.observes) return start(attempt);
  AttemptRecord& entry = record(attempt);
  if (roll.abort) attempt.fault = fault_of(roll.abort->kind);
  if (!roll.delay) return suffer(attempt);
  entry.injected_delay = *roll.delay;
  attempt.state = State::delayed;
  attempt.wholly_sent = !has_body_ || body_complete_;
  const Nanos limit = retry().timeout_per_attempt;
  attempt.expires = saturating_add(now_, limit.count() != 0 ? std::min(*roll.delay, limit) : *roll.delay);
}

/// What follows the delay: the fault, or the attempt after all.
void Exchange::suffer(Attempt& attempt) {
  record(attempt).fault = attempt.fault;
  switch (attempt.fault) {
    case Fault::status:
      attempt.invented = true;
      attempt.state = State::awaiting;
      return take(
          ResponseHead{.id = attempt.id, .status = plan_.chaos.answer.status, .headers = {}, .retry_after = {}});
    case Fault::reset: return fail(attempt, Reason::reset, Exposure::fully_sent);
    case Fault::none:
    case Fault::truncate: break;
  }
  start(attempt);
}

/// As what the circuits let it through: one that is a probe of any is a probe.
CircuitShown Exchange::circuit_shown(const Clearance& clearance) noexcept {
  if (std::ranges::none_of(clearance.circuits, &policy::CircuitPermit::operator bool)) return CircuitShown::none;
  const bool probe = std::ranges::any_of(clearance.circuits, &policy::CircuitPermit::probe);
  return probe ? CircuitShown::half_open : CircuitShown::closed;
}

bool Exchange::reconnect(Attempt& attempt, const AttemptFailed& failure) {
  const bool died_idle = failure.reused && (failure.why == Reason::reset || failure.why == Reason::closed_early);
  if (!died_idle || reconnected_ || now_ - attempt.sent > kReconnectWindow || now_ >= deadline_.at) return false;
  const policy::RetryQuestion question{.idempotent = idempotent_,
                                       .once = upgrade_,
                                       .exposure = std::max(exposure_, failure.exposure),
                                       .body_replayable = !has_body_ || !body_overflowed_};
  if (policy::why_not_resendable(retry(), question)) return false;
  expose(failure.exposure);
  reconnected_ = true;
  Clearance clearance = std::move(attempt.held);  // unseen by all that let the attempt through
  clearance.slot = std::move(attempt.slot);
  end(attempt, Outcome::abort, Reason::reconnect);
  const BudgetRef& from = attempt.hedge != 0 ? plan_.hedge.budget : plan_.budget;
  Attempt& again = launch(AttemptKind::reconnect, std::move(clearance), Reuse::none, from.name, attempt.hedge);
  again.is_fallback = attempt.is_fallback;
  record(again).fault = std::exchange(record(attempt).fault, Fault::none);
  start(again);
  return true;
}

/// A head has come: it wins, or waits for those still running, or for another try.
void Exchange::answered(Attempt& attempt, Classified result) {
  if (running() == 1) {  // itself
    if (held_is_final_ && result.result.outcome == Outcome::retryable) return lose(attempt, result);
    return result.result.outcome == Outcome::retryable ? after_round(result, &attempt) : win(attempt, result);
  }
  const bool wins = result.result.outcome == Outcome::success || plan_.hedge.config->cancel_on_first_terminal ||
                    (result.result.outcome != Outcome::retryable && safe_method_);
  if (wins) return win(attempt, result);
  if (held_is_final_) return lose(attempt, result);
  hold(attempt);
  held_is_final_ = held_ && result.result.outcome != Outcome::retryable;
  if (held_is_final_) hedge_at_ = kNever;  // nobody is sent after an answer that stands
}

/// The upgrade is the request's success, whatever becomes of the tunnel: neither what limits the wait for an answer nor
/// what learns from one has to do with that.
void Exchange::switched(Attempt& attempt) {
  tunnel_ = true;
  deadline_.client = kNever;
  note(record(attempt), {.result = {Outcome::success, Reason::success}});
  relay(attempt);
  settle_relayed(attempt);
}

void Exchange::win(Attempt& attempt, Classified result) {
  const Outcome outcome = result.result.outcome;
  // The first head of any kind is to win: that commits.
  if (outcome == Outcome::retryable) stop({Reason::response_committed, Part::hedge, {}, {}});
  if (outcome == Outcome::non_retryable || outcome == Outcome::abort) timeline_.stop_reason = Reason::non_retryable;
  relay(attempt);
}

/// A head that is no better than the one that is kept.
void Exchange::lose(Attempt& attempt, Classified result) {
  if (at_edge(attempt)) order(DiscardResponse{attempt.id});
  end(attempt, result.result.outcome, result.result.reason);
  if (attempt.is_fallback) return stand_by_original();
  if (running() == 0) after_round(result, nullptr);
}

void Exchange::fail(Attempt& attempt, Reason why, Exposure exposure) {
  if (why == Reason::pool_full) return refuse(attempt);
  expose(exposure);
  const Classified result = classify(why);
  settle(attempt, policy::lesson_of_fault(why, exposure));
  note(record(attempt), result);
  end(attempt, result.result.outcome, result.result.reason);
  if (attempt.is_fallback) return stand_by_original();
  note_failure(attempt, why);
  if (running() == 0) after_round(result, nullptr);
}

/// Nobody of this round is running any more: one more try, or the best answer there is. `answer`: the attempt whose
/// head is at hand.
void Exchange::after_round(Classified result, Attempt* answer) {
  hedge_at_ = kNever;
  if (held_is_final_) {
    timeline_.stop_reason = Reason::non_retryable;
    return give_up();
  }
  const bool again = plan_retry(question_about(result));
  if (answer != nullptr && !again) return relay(*answer);
  if (answer != nullptr) hold(*answer);
  if (!again) return give_up();
  if (backoff_ <= Nanos{0}) launch_retry();
}

void Exchange::note_failure(const Attempt& attempt, Reason why) noexcept {
  if (!last_failure_ || last_failure_->attempt < attempt.id) last_failure_ = Failure{attempt.id, why};
}

void Exchange::expire(Attempt& attempt) {
  if (attempt.state == State::delayed && now_ - attempt.started >= record(attempt).injected_delay) {
    return suffer(attempt);
  }
  if (plan_.observes && attempt.state == State::awaiting) return note_would_time_out(attempt);
  const bool connecting = attempt.state == State::connecting;
  const Reason why = connecting ? Reason::connect_timeout : Reason::attempt_timeout;
  if (at_edge(attempt)) order(AbortAttempt{attempt.id, why});
  fail(attempt, why, connecting ? Exposure::nothing_sent : Exposure::fully_sent);
}

policy::RetryQuestion Exchange::question_about(Classified result) {
  const policy::RetryConfig& config = configured_retry();
  const auto retry_after = config.retry_after.honor ? retry_after_ : std::nullopt;
  backoff_ = policy::backoff_delay(config.backoff, rounds_, backoff_, local_.rng);
  const bool server_delay = retry_after && *retry_after > backoff_;
  if (retry_after) backoff_ = policy::lengthen_for_retry_after(backoff_, *retry_after, local_.rng);
  return {.committed = committed_,
          .outcome = result.result.outcome,
          .reason = result.result.reason,
          .by_rule = result.by_rule,
          .pushback = pushback_,
          .idempotent = idempotent_,
          .once = upgrade_,
          .exposure = exposure_,
          .body_replayable = !has_body_ || !body_overflowed_,
          .attempts = rounds_,
          .delay = backoff_,
          .retry_after = retry_after,
          .server_delay = server_delay,
          .min_remaining = plan_.policy->deadline.min_remaining,
          .deadline = latest_end()};
}

/// Schedules the next attempt, or records why there is none.
bool Exchange::plan_retry(const policy::RetryQuestion& question) {
  if (plan_.observes && plan_.policy->retry && !would_have_retried_) note_would_retry(question);
  if (const auto why = policy::why_no_retry(retry(), question, now_)) {
    stop({*why, Part::retry, {}, {}});
    return false;
  }
  if (const auto refused = ask_circuits(AttemptKind::retry)) {
    stop(*refused);
    return false;
  }
  const BudgetRef& budget = plan_.budget;
  if (budget.state != nullptr && !budget.state->peek(*budget.config, budget.cost, now_)) {
    stop({Reason::budget_denied, Part::budget, {}, budget.name});
    return false;
  }
  retry_at_ = saturating_add(now_, question.delay);
  return true;
}

/// A policy that only observes lets an attempt run on.
void Exchange::note_would_time_out(Attempt& attempt) {
  attempt.expires = kNever;
  would({Reason::attempt_timeout, Part::retry, {}, {}});
  note_would_retry(question_about(classify(Reason::attempt_timeout)));
  would_have_retried_ = true;
}

void Exchange::note_would_retry(const policy::RetryQuestion& question) noexcept {
  const auto why = policy::why_no_retry(configured_retry(), question, now_);
  if (why == Reason::non_retryable) return;
  auto refused = why ? std::optional{Refusal{*why, Part::retry, {}, {}}} : ask_circuits(AttemptKind::retry);
  Clearance clearance;
  if (!refused) refused = admit_now(clearance, true);
  if (!refused) refused = ask_budget(plan_.budget);
  if (refused) clearance.holdings.give_back(now_);
  would(refused.value_or(Refusal{Reason::retry, Part::retry, {}, {}}));
}

void Exchange::stop(const Refusal& refusal) {
  timeline_.stop_reason = refusal.why;
  // What a policy that only observes would have done is told instead.
  if (refusal.why != Reason::non_retryable && !plan_.observes) decide(refusal);
}

void Exchange::decide(const Refusal& refusal) noexcept {
  timeline_.decide({.at = since_start(), .part = refusal.part, .reason = refusal.why, .name = refusal.name});
}

/// Notes what is only computed.
void Exchange::would(const Refusal& refusal) noexcept {
  timeline_.decide(
      {.at = since_start(), .part = refusal.part, .reason = refusal.why, .would = true, .name = refusal.name});
}

// ---- what attempts teach ----------------------------------------------------------------------

Classified Exchange::classify(Reason fault) const noexcept {
  if (plan_.classifier == nullptr) return {.result = policy::classify_fault(fault)};
  return policy::classify(*plan_.classifier, timeline_.text(timeline_.method), fault);
}

void Exchange::note(AttemptRecord& entry, const Classified& result) noexcept {
  entry.outcome = result.result.outcome;
  entry.reason = result.result.reason;
  if (!result.reason_text.empty()) entry.reason_text = timeline_.keep(result.reason_text, 40);
}

/// How long the upstream has been, or was, waited for.
Nanos Exchange::waited(const Attempt& attempt) const noexcept {
  if (attempt.status != 0) return attempt.head_latency;
  if (attempt.sent == kNever) return now_ - attempt.started;
  return now_ - attempt.sent + timeline_.attempts[index(attempt.id)].injected_delay;
}

/// What the time it took tells; known at the head at the latest.
void Exchange::sample(const Attempt& attempt, const policy::Lesson& lesson) noexcept {
  if (attempt.is_fallback) return;
  if (attempt.held.holdings.adaptive) {
    plan_.adaptive_limit.state->on_result(*plan_.adaptive_limit.config, local_.worker, lesson.limit, waited(attempt),
                                          now_, local_.rng);
  }
  if (plan_.hedge.trigger == nullptr) return;
  // From where the hedge's own clock runs, or a slow connect would look like more hedges than were asked for.
  if (lesson.latency == policy::LatencySample::exact) {
    plan_.hedge.trigger->record(local_.worker, now_ - attempt.started, now_);
  }
  if (lesson.latency == policy::LatencySample::at_least) {
    plan_.hedge.trigger->record_at_least(local_.worker, now_ - attempt.started, now_);
  }
}

/// Tells the circuits how it ended, once.
void Exchange::settle(Attempt& attempt, const policy::Lesson& lesson) noexcept {
  if (attempt.status == 0) sample(attempt, lesson);
  judge(attempt, lesson);
  if (!attempt.is_fallback) last_lesson_ = lesson;
  const Nanos took = lesson.timed ? waited(attempt) : Nanos{0};
  std::size_t i = 0;
  for (const CircuitRef& circuit : plan_.circuits) {
    if (i == attempt.held.circuits.size()) break;
    if (circuit.config->counts != policy::Counts::attempt) continue;
    attempt.held.circuits[i++].settle(*circuit.config, policy::result_of(*circuit.config, lesson), took, now_,
                                      local_.rng);
  }
  attempt.held.circuits.clear();
}

/// Tells the endpoint's upstream how it ended, once, unless that was arranged.
void Exchange::judge(Attempt& attempt, const policy::Lesson& lesson) noexcept {
  const Upstream* upstream = attempt.held.upstream;
  if (upstream == nullptr || upstream->outlier == nullptr || std::exchange(attempt.judged, true)) return;
  const AttemptRecord& entry = record(attempt);
  if (entry.fault != Fault::none || entry.injected_delay > Nanos{0}) return;
  upstream->ejections->on_result(*upstream->outlier, *upstream->endpoints, attempt.held.endpoint,
                                 policy::outlier_result(lesson), now_, local_.rng);
}

/// The same for the circuits that count requests.
void Exchange::settle_request(const policy::Lesson& lesson) noexcept {
  std::size_t i = 0;
  for (const CircuitRef& circuit : plan_.circuits) {
    if (i == request_circuits_.size()) break;
    if (circuit.config->counts != policy::Counts::request) continue;
    const Nanos took = lesson.timed ? answered_after_.value_or(since_start()) : Nanos{0};
    request_circuits_[i++].settle(*circuit.config, policy::result_of(*circuit.config, lesson), took, now_, local_.rng);
  }
  request_circuits_.clear();
}

/// Tells the throttle how the request ended, unless the upstream had no part in that.
void Exchange::settle_throttle(Reason why) noexcept {
  const bool asked = !attempts_.empty() && !attempts_[0].is_fallback;
  if (plan_.throttle.state == nullptr || !asked) return;
  // What came of the fallback says nothing about the upstream that it stood in for.
  const RequestOutcome outcome = outcome_of(original_ ? original_->why : why);
  const bool failed =
      outcome == RequestOutcome::upstream_error || (outcome == RequestOutcome::timeout && !last_lesson_.blameless);
  if (!failed && outcome != RequestOutcome::ok) return;
  plan_.throttle.state->settle(*plan_.throttle.config, !failed, now_);
}

/// We end it ourselves, before it had an answer or while that is under way.
void Exchange::settle_abort(Attempt& attempt, Reason why) noexcept {
  const Nanos own = retry().timeout_per_attempt;
  const Nanos overall = plan_.policy->overall_timeout;
  const Nanos limit = own.count() != 0 ? own / 2 : overall.count() != 0 ? overall / 2 : Nanos{std::chrono::seconds{1}};
  settle(attempt, policy::lesson_of_abort(why, attempt.wholly_sent, waited(attempt), limit));
}

}  // namespace outrigger::exchange
