#include "proxy/exchange/exchange.hpp"

#include <algorithm>
#include <utility>

#include "proxy/policy/pushback.hpp"

namespace outrigger::exchange {
namespace {

using policy::Classification;
using policy::Outcome;

constexpr Nanos kSettleAfterHead = std::chrono::seconds{5};
constexpr Nanos kUnreadAfterDeadline = std::chrono::seconds{5};

/// Whether any answer that another attempt would not mend is as good as the next.
bool is_safe(std::string_view method) noexcept { return method == "GET" || method == "HEAD" || method == "OPTIONS"; }

/// Whether a success changes what was stored for its target.
bool changes_resource(std::string_view method) noexcept { return !is_safe(method) && method != "TRACE"; }

bool is_circuit(Reason why) noexcept {
  return why == Reason::circuit_open || why == Reason::circuit_half_open_probe_limit;
}

/// Refusals that the next hop out would only multiply by trying again.
bool is_final(Reason why) noexcept {
  return why == Reason::deadline_too_short || why == Reason::overall_timeout || why == Reason::rate_limited ||
         why == Reason::throttled || is_circuit(why);
}

/// When it makes sense to come back after a reply of our own: what the mechanism knows, else a second.
std::optional<Nanos> retry_after_of(Reason why, std::optional<Nanos> known) noexcept {
  constexpr Nanos kAtLeast = std::chrono::seconds{1};
  const bool own_refusal = info(why).proxy_status_error == "connection_limit_reached";
  if (own_refusal) return kAtLeast;
  if (is_circuit(why) || why == Reason::rate_limited) return std::max(known.value_or(kAtLeast), kAtLeast);
  return std::nullopt;
}

bool is_no_reply(Reason why) noexcept {
  return why == Reason::client_disconnected || why == Reason::client_not_reading;
}

}  // namespace

Exchange::Exchange(const Plan& plan, const RequestFacts& facts, WorkerLocal& local, Timeline& timeline) noexcept
    : plan_(plan),
      local_(local),
      timeline_(timeline),
      balance_key_(balance_key(plan.upstream, facts)),
      fallback_key_(balance_key(plan.fallback.upstream, facts)),
      admission_(plan, facts.ticket, timeline),
      slot_waiter_(facts.ticket),
      client_deadline_(facts.client_deadline),
      deadline_unreadable_(facts.deadline_unreadable),
      priority_(facts.priority),
      idempotent_(facts.idempotent),
      upgrade_(facts.upgrade),
      hedges_allowed_(plan.hedge.config != nullptr && !facts.upgrade &&
                      policy::hedges_method(*plan.hedge.config, facts.method)),
      safe_method_(is_safe(facts.method)),
      changes_resource_(changes_resource(facts.method)),
      has_body_(facts.has_body),
      body_complete_(facts.body_complete),
      body_fits_replay_(facts.body_fits_replay),
      meets_chaos_(facts.chaos && plan.chaos.state != nullptr) {
  if (facts.cache && plan.cache.state != nullptr) cache_.emplace(*facts.cache, facts.ticket);
  record_request(timeline_, TimePoint{}, facts);
  timeline_.policy_key = plan.policy_key;
  timeline_.policy_id = plan.policy_id;
  timeline_.route = plan.route;
  timeline_.generation = plan.generation;
  for (std::size_t i = 0; i < plan.rate_limits.size(); ++i) {
    const RateLimitRef& limit = plan.rate_limits[i];
    if (limit.keyed == nullptr) continue;
    const bool by_address = limit.config->key == policy::RateLimitConfig::Key::client_ip;
    const auto text = by_address ? std::optional{facts.client_ip} : find_field(facts.fields, limit.config->header);
    if (text) keys_[i] = limit.keyed->hashed(*text);
  }
}

Exchange::~Exchange() { leave_loop(); }

void Exchange::on(TimePoint now, const Event& event, Actions& out) {
  if (finished_) return;
  now_ = now;
  out_ = &out;
  std::visit([this](const auto& fact) { take(fact); }, event);
  out_ = nullptr;
}

TimePoint Exchange::wakeup() const noexcept {
  if (finished_ || replied_) return kNever;
  if (committed_) return std::min({max_duration_at_, deadline_.client, unread_until_, settle_at_});
  TimePoint at = std::min({max_duration_at_, deadline_.at, retry_at_, hedge_at_, admission_.wakeup()});
  for (const Attempt& attempt : attempts_) at = std::min(at, attempt.expires);
  return at;
}

void Exchange::rate_limits(TimePoint now, RateLimitsShown& out) const noexcept {
  if (plan_.observes) return;
  for (std::size_t i = 0; i < plan_.rate_limits.size(); ++i) {
    const RateLimitRef& limit = plan_.rate_limits[i];
    if (limit.config->headers == policy::RateLimitConfig::Headers::none || !admission_.asked(i)) continue;
    out.push_back({limit.name, limit.config,
                   limit.keyed != nullptr ? limit.keyed->view_hashed(*limit.config, keys_[i], now)
                                          : limit.state->view(*limit.config, now)});
  }
}

// ---- facts ----------------------------------------------------------------------------------

void Exchange::take(const RequestReady&) {
  const policy::Policy& policy = *plan_.policy;
  timeline_.start = now_;
  deadline_ = policy::effective_deadline(policy.overall_timeout, client_deadline_, now_);
  if (policy.max_duration.count() != 0 && !plan_.observes) max_duration_at_ = saturating_add(now_, policy.max_duration);
  const Nanos allowed = time_left(now_, deadline_.at);
  if (allowed != kForever) timeline_.deadline = allowed;
  if (deadline_unreadable_ && policy.deadline.reject_invalid) {
    const Refusal refusal{Reason::bad_request, Part::deadline, {}, {}};
    if (!plan_.observes) {
      decide(refusal);
      return reply({.why = refusal.why, .who = 'D', .stage = '3'});
    }
    would(refusal);
  }
  if (allowed <= policy.deadline.min_remaining) {
    const Refusal refusal{Reason::deadline_too_short, Part::deadline, {}, {}};
    if (!plan_.observes || allowed == Nanos{0}) return refuse(refusal, '3');
    would(refusal);
  }
  look_up();
}

void Exchange::take(const Woken&) {
  if (waits_for_cache_) {
    if (cache_->waiter.state() == policy::CacheWaiter::State::waiting) return;
    return looked_up(plan_.cache.state->resume(*plan_.cache.config, cache_->waiter, now_));
  }
  if (waits_for_slot()) return slot_decided();
  if (!admission_.waiting()) return;
  Holdings& holdings = stage_ == Stage::request ? request_holdings_ : clearance_.holdings;
  admitted(admission_.proceed(keys_, holdings, now_, local_.rng));
}

void Exchange::take(const Connected& fact) {
  Attempt* attempt = find(fact.id);
  if (attempt == nullptr || attempt->state != State::connecting) return;
  attempt->state = State::sending;
  attempt->sent = now_;
  attempt->expires = kNever;
  if (!fact.reused) record(*attempt).connect = now_ - attempt->begun;
}

void Exchange::take(const RequestSent& fact) {
  Attempt* attempt = find(fact.id);
  if (attempt == nullptr) return;
  expose(Exposure::fully_sent);
  if (attempt->state != State::sending) return;
  attempt->state = State::awaiting;
  attempt->sent = now_;
  attempt->wholly_sent = true;
  const Nanos limit = configured_retry().timeout_per_attempt;
  if (limit.count() != 0) attempt->expires = saturating_add(now_, limit - record(*attempt).injected_delay);
}

void Exchange::take(const InterimHead& fact) {
  const Attempt* attempt = find(fact.id);
  if (attempt == nullptr || (attempt->state != State::sending && attempt->state != State::awaiting)) return;
  const bool first_and_alone = index(fact.id) == 0 && attempts_.size() == 1;
  if (fact.status == 103 && first_and_alone) order(RelayInterim{fact.id});
}

void Exchange::take(const ResponseHead& head) {
  Attempt* attempt = find(head.id);
  if (attempt == nullptr || (attempt->state != State::sending && attempt->state != State::awaiting)) return;
  if (!attempt->is_fallback) expose(Exposure::partly_sent);
  attempt->expires = kNever;
  AttemptRecord& entry = record(*attempt);
  entry.status = head.status;
  entry.ttfb = now_ - attempt->started;

  attempt->head_latency = waited(*attempt);
  attempt->status = head.status;
  const bool refuses = head.status == 429 || head.status == 503;
  attempt->refused = refuses && find_field(head.headers, "X-Outrigger-Reason");
  const policy::Lesson lesson = policy::lesson_of_answer(head.status, attempt->refused);
  sample(*attempt, lesson);
  // A good answer is only known to be one when it is whole, or has been coming for a while.
  if (head.status >= 500) settle(*attempt, lesson);

  if (head.status == 101) return switched(*attempt);

  policy::Classified result{.result = policy::classify_status(head.status)};
  if (plan_.classifier != nullptr) {
    result = policy::classify(*plan_.classifier, timeline_.text(timeline_.method), head.status, head.headers);
  }
  note(entry, result);
  if (attempt->is_fallback) return head.status >= 500 ? lose(*attempt, result) : relay(*attempt);
  pushback_ |= policy::pushes_back(head.headers);
  const bool says_when = head.status == 429 || head.status == 503;
  if (says_when && head.retry_after) retry_after_ = std::max(retry_after_.value_or(Nanos{0}), *head.retry_after);
  answered(*attempt, result);
}

void Exchange::take(const HeldState& state) {
  Attempt* attempt = find(state.id);
  if (!state.lost) {
    // All of it is in memory: its connection is free.
    if (attempt != nullptr && attempt->state == State::held) attempt->slot.release();
    return;
  }
  if (attempt != nullptr && attempt->state == State::relaying) {
    // It died while the order to relay it was on its way.
    return take(AttemptFailed{.id = state.id, .why = Reason::closed_early});
  }
  if (held_ != state.id) return;
  held_.reset();
  held_is_final_ = false;
  attempts_[index(state.id)].slot.release();
  note_failure(attempts_[index(state.id)], Reason::closed_early);
  timeline_.decide(since_start(), Part::edge, Reason::closed_early, static_cast<std::uint8_t>(index(state.id)));
}

void Exchange::take(const ResponseDone& fact) {
  Attempt* attempt = find(fact.id);
  if (attempt == nullptr || attempt->state != State::relaying) return;
  unread_until_ = kNever;
  const AttemptRecord entry = record(*attempt);
  settle_relayed(*attempt);
  end(*attempt, entry.outcome, entry.reason);
}

void Exchange::take(const Delivered&) {
  for (Attempt& attempt : attempts_) {
    if (attempt.state == State::relaying) take(ResponseDone{attempt.id});
  }
  if (committed_ || replied_) finish(end_);
}

void Exchange::take(const AttemptFailed& failure) {
  Attempt* attempt = find(failure.id);
  if (attempt == nullptr || attempt->state == State::held) return;
  if (attempt->state == State::relaying) {
    settle(*attempt, policy::lesson_of_broken_answer(failure.why));
    end(*attempt, Outcome::abort, Reason::response_committed);
    if (!timeline_.stop_reason) stop({Reason::response_committed, Part::retry, {}, {}});
    return cut(failure.why, 'U');
  }
  if (!reconnect(*attempt, failure)) fail(*attempt, failure.why, failure.exposure);
}

void Exchange::take(const DownstreamFailed& failure) {
  if (replied_) return finish(end_);
  if (committed_) return cut(failure.why, 'D');
  abort_all(failure.why);
  if (!is_no_reply(failure.why)) return reply({.why = failure.why, .who = 'D', .stage = '8'});
  timeline_.status = 499;
  finish({.why = failure.why, .who = 'D', .stage = '8'});
}

void Exchange::take(const Cancelled& fact) {
  if (replied_) return finish(end_);
  if (committed_) return cut(fact.why, 'P');
  abort_all(fact.why);
  reply({.why = Reason::draining, .who = 'P', .stage = '8'});
}

void Exchange::take(const Tick&) {
  if (replied_) return;
  if (now_ >= max_duration_at_) {
    if (committed_) return cut(Reason::max_duration, 'P');
    if (held_) return relay_kept_at_last();
    const char stage = waits_for_cache_ ? '4' : '8';
    abort_all(Reason::max_duration);
    return reply({.why = Reason::max_duration, .who = 'P', .stage = stage});
  }
  if (committed_) {
    if (now_ >= std::min(deadline_.client, unread_until_)) return cut(Reason::overall_timeout, 'P');
    if (now_ >= settle_at_) {
      for (Attempt& attempt : attempts_) {
        if (attempt.state == State::relaying) settle_relayed(attempt);
      }
    }
    return;
  }
  if (waits_for_cache_) {
    take(Woken{});
    if (!waits_for_cache_ || now_ < deadline_.at) return;
    end_cache_wait();
    return refuse({Reason::overall_timeout, Part::cache, {}, {}}, '4');
  }
  if (now_ >= admission_.wakeup() || waits_for_slot()) return take(Woken{});
  if (now_ >= deadline_.at) return give_up();
  for (Attempt& attempt : attempts_) {
    if (now_ >= attempt.expires) expire(attempt);
    if (finished_ || replied_ || committed_) return;
  }
  if (now_ >= retry_at_) return launch_retry();
  if (now_ >= hedge_at_) launch_hedge();
}

// ---- its ends -------------------------------------------------------------------------------

void Exchange::hold(Attempt& attempt) {
  drop_held();
  settle(attempt, policy::lesson_of_answer(attempt.status, attempt.refused));
  const AttemptRecord entry = record(attempt);
  if (entry.fault == Fault::truncate) {
    // What is cut short on purpose would not have stayed whole.
    order(DiscardResponse{attempt.id});
    note_failure(attempt, Reason::closed_early);
    return end(attempt, entry.outcome, entry.reason);
  }
  held_ = attempt.id;
  // What it was given goes back; its connection is in use until all of it has been read.
  policy::EndpointPermit slot = std::move(attempt.slot);
  if (!attempt.invented) order(HoldResponse{attempt.id});
  end(attempt, entry.outcome, entry.reason);
  attempt.state = State::held;
  if (!attempt.invented) attempt.slot = std::move(slot);
}

void Exchange::relay(Attempt& attempt) {
  const AttemptRecord& entry = record(attempt);
  const bool failure =
      entry.outcome == Outcome::retryable || (entry.outcome != Outcome::success && entry.status >= 500);
  const Ending ending{.why = policy::request_reason(entry.status), .exhausted = failure};
  if (fall_back(ending, &attempt)) return;
  timeline_.relayed = static_cast<std::uint8_t>(index(attempt.id));
  if (held_ != attempt.id) drop_held();
  held_.reset();
  keep_or_give_up(attempt);
  committed_ = true;
  answered_after_ = since_start();
  retry_at_ = hedge_at_ = kNever;
  abort_others(attempt);
  leave_loop();
  attempt.state = State::relaying;
  if (entry.status >= 500) settle_request(policy::lesson_of_answer(entry.status, attempt.refused));
  settle_at_ = settles(attempt, entry) ? saturating_add(now_, kSettleAfterHead) : kNever;
  if (has_body_) order(DropReplay{});
  timeline_.status = entry.status;
  if (attempt.is_fallback) answer_by_fallback();
  // A fallback does not hide what it answers for.
  end_ = Ending{.why = attempt.is_fallback ? original_->why : ending.why};
  conclude(end_);
  const bool should_not_retry = !attempt.is_fallback && failure && hopeless();
  if (attempt.invented) {
    return order(Reply{.status = entry.status,
                       .why = ending.why,
                       .should_not_retry = should_not_retry,
                       .fixed = &plan_.chaos.answer,
                       .fallback = fallback_mark()});
  }
  order(RelayResponse{.id = attempt.id,
                      .should_not_retry = should_not_retry,
                      .truncate = entry.fault == Fault::truncate,
                      .fallback = fallback_mark()});
}

/// No attempt is left and none may follow: the best answer there is.
void Exchange::give_up() {
  const bool out_of_time = now_ >= deadline_.at;
  if (out_of_time) {
    std::optional<policy::Lesson> blame;
    const bool cut = running() != 0;
    for (Attempt& attempt : attempts_) {
      if (!is_running(attempt)) continue;
      abort(attempt, Reason::overall_timeout);
      if (attempt.is_fallback) continue;
      if (!last_lesson_.blameless) blame = last_lesson_;
      last_failure_ = Failure{attempt.id, Reason::overall_timeout};
    }
    if (blame) last_lesson_ = *blame;
    // An attempt that the deadline cuts is not to be retried; a failure that stands because of it might have been.
    if (!timeline_.stop_reason && !original_) {
      stop({cut && !held_ ? Reason::non_retryable : Reason::deadline_insufficient, Part::retry, {}, {}});
    }
  }
  retry_at_ = hedge_at_ = kNever;
  if (held_ && out_of_time) allow_for_unread();
  if (original_) return stand_by_original();
  if (held_) return relay(attempts_[index(*held_)]);
  const Reason why = last_failure_ ? last_failure_->reason : Reason::overall_timeout;
  const bool ours = why == Reason::overall_timeout || why == Reason::pool_full;
  reply({.why = why, .who = ours ? 'P' : 'U', .stage = '8', .exhausted = launched_ != 0});
}

/// The whole request has had its time. An upstream's answer that is kept is still better than one of our own.
void Exchange::relay_kept_at_last() {
  stop_waiting();
  for (Attempt& attempt : attempts_) {
    if (is_running(attempt)) abort(attempt, Reason::max_duration);
  }
  if (!timeline_.stop_reason && !original_) stop({Reason::deadline_insufficient, Part::retry, {}, {}});
  max_duration_at_ = kNever;
  allow_for_unread();
  relay(attempts_[index(*held_)]);
}

/// A kept answer is sent though its time is over; what of it is still unread gets a little more.
void Exchange::allow_for_unread() noexcept {
  unread_until_ = saturating_add(now_, kUnreadAfterDeadline);
  if (now_ >= deadline_.client) deadline_.client = kNever;
}

/// Something of our own did not let the request through: all it had been given goes back.
void Exchange::refuse(const Refusal& refusal, char stage) {
  clearance_.holdings.give_back(now_);
  clearance_ = {};
  request_holdings_.give_back(now_);
  request_circuits_.clear();
  decide(refusal);
  reply({.why = refusal.why, .who = 'P', .stage = stage, .retry_after = refusal.retry_after});
}

/// We had not the means to connect it: a refusal like that of a full pool. It is not tried again, and stands neither
/// for what failed before it nor for anything that an upstream did.
void Exchange::refuse(Attempt& attempt) {
  const policy::Lesson known = last_lesson_;
  settle(attempt, policy::lesson_of_fault(Reason::pool_full, Exposure::nothing_sent));
  last_lesson_ = known;
  attempt.held.holdings.give_back(now_);
  end(attempt, Outcome::abort, Reason::pool_full);
  if (attempt.is_fallback) return stand_by_original();
  const Refusal refusal{Reason::pool_full, Part::pool, {}, plan_.upstream->name};
  if (running() != 0) return decide(refusal);
  if (!held_ && !last_failure_) {
    decide(refusal);
    return reply({.why = refusal.why, .who = 'P', .stage = '8'});
  }
  if (held_is_final_) {
    timeline_.stop_reason = Reason::non_retryable;
  } else {
    stop(refusal);
  }
  give_up();
}

/// The answer of a route that has one of its own. It is what the route says, so nothing is sent instead of it.
void Exchange::respond() {
  const std::uint16_t status = plan_.respond.status;
  const Reason why = policy::request_reason(status);
  send({.why = why}, {.status = status, .why = why, .fixed = &plan_.respond});
}

void Exchange::reply(const Ending& ending) {
  if (fall_back(ending, nullptr)) return;
  send(ending, {.status = info(ending.why).status,
                .why = ending.why,
                .retry_after = retry_after_of(ending.why, ending.retry_after),
                .should_not_retry = is_final(ending.why) || hopeless()});
}

void Exchange::send(const Ending& ending, const Reply& what) {
  close_with(ending, what.status);
  order(what);
}

/// An answer is sent that is there as a whole, and no upstream's.
void Exchange::close_with(const Ending& ending, std::uint16_t status) noexcept {
  replied_ = true;
  answered_after_ = since_start();
  retry_at_ = hedge_at_ = kNever;
  leave_cache();
  leave_loop();
  timeline_.status = status;
  end_ = ending;
  conclude(ending);
  settle_request(last_lesson_);
}

void Exchange::cut(Reason why, char who) {
  abort_all(why);
  order(CloseDownstream{});
  finish({.why = why, .who = who, .stage = '9'});
}

/// Whether anybody wants to know when an answer is whole.
bool Exchange::settles(const Attempt& attempt, const AttemptRecord& entry) const noexcept {
  bool earns = false;
  for_each_budget([&](const BudgetRef& each) { earns |= each.config->type == policy::BudgetType::success_credit; });
  earns = earns && entry.outcome == Outcome::success && !attempt.is_fallback;
  const bool judges = attempt.held.upstream != nullptr && attempt.held.upstream->outlier != nullptr && !attempt.judged;
  return earns || judges || !attempt.held.circuits.empty() || !request_circuits_.empty();
}

/// An answer is whole, or has been coming for so long that it counts as whole.
void Exchange::settle_relayed(Attempt& attempt) noexcept {
  if (settle_at_ == kNever) return;
  settle_at_ = kNever;
  settle(attempt, policy::lesson_of_answer(attempt.status, attempt.refused));
  settle_request(last_lesson_);
  if (record(attempt).outcome != Outcome::success || attempt.is_fallback) return;
  for_each_budget([](const BudgetRef& each) { each.state->earn(*each.config); });
}

void Exchange::finish(const Ending& ending) noexcept {
  leave_loop();
  leave_cache();
  settle_request(last_lesson_);
  settle_throttle(tunnel_ ? Reason::success : ending.why);
  request_holdings_ = {};
  finished_ = true;
  conclude(ending);
}

/// Writes how the request ends, or will have ended if nothing interferes any more.
void Exchange::conclude(const Ending& ending) noexcept {
  timeline_.reason = ending.why;
  timeline_.outcome = outcome_of(ending.why);
  const bool was_cut = ending.stage == '9';
  if (!was_cut && source_ == Source::cache) timeline_.outcome = RequestOutcome::cached;
  if (!was_cut && source_ == Source::fallback) timeline_.outcome = RequestOutcome::fallback;
  timeline_.who = ending.who;
  timeline_.stage = ending.stage;
  timeline_.duration = since_start();
}

// ---- the attempt table ----------------------------------------------------------------------

Exchange::Attempt* Exchange::find(AttemptId id) noexcept {
  if (index(id) >= attempts_.size()) return nullptr;
  Attempt& attempt = attempts_[index(id)];
  return attempt.state == State::ended ? nullptr : &attempt;
}

/// The losers of the race close their connections at once.
void Exchange::abort_others(const Attempt& winner) {
  for (Attempt& attempt : attempts_) {
    if (attempt.id == winner.id || !is_running(attempt)) continue;
    abort(attempt, Reason::hedge_lost);
  }
}

void Exchange::abort(Attempt& attempt, Reason why) {
  if (at_edge(attempt)) order(AbortAttempt{attempt.id, why});
  settle_abort(attempt, why);
  end(attempt, Outcome::abort, why);
}

void Exchange::drop_held() {
  if (!held_) return;
  Attempt& attempt = attempts_[index(*held_)];
  if (at_edge(attempt)) order(DropHeld{*held_});
  attempt.slot.release();
  held_.reset();
}

std::size_t Exchange::running() const noexcept {
  return static_cast<std::size_t>(std::ranges::count_if(attempts_, is_running));
}

void Exchange::abort_all(Reason why) {
  stop_waiting();
  drop_held();
  for (Attempt& attempt : attempts_) {
    if (is_running(attempt) || attempt.state == State::relaying) abort(attempt, why);
    attempt.state = State::ended;
    attempt.slot.release();
  }
}

/// Nothing more is begun, and nothing is waited for.
void Exchange::stop_waiting() {
  over_ = true;
  retry_at_ = hedge_at_ = kNever;
  if (admission_.waiting() || waits_for_slot()) {
    leave_slots();
    admission_.leave(now_);
    note_wait();
    clearance_.holdings.give_back(now_);
    request_holdings_.give_back(now_);
    request_circuits_.clear();
  }
  end_cache_wait();
}

/// Records how an attempt ended, once, and gives back what it held. A held response was settled at its head.
void Exchange::end(Attempt& attempt, Outcome outcome, Reason why) noexcept {
  attempt.state = State::ended;
  attempt.expires = kNever;
  attempt.held = {};
  attempt.slot.release();
  AttemptRecord& entry = record(attempt);
  if (entry.ended) return;
  entry.ended = true;
  entry.outcome = outcome;
  entry.reason = why;
  entry.duration = now_ - attempt.started;
}

bool Exchange::resendable_once_seen() const noexcept { return !upgrade_ && (idempotent_ || retry().non_idempotent); }

/// A request that could not be sent again must not meet a connection that may have died while idle.
Reuse Exchange::reuse_for_request() const noexcept {
  const bool body_kept = !has_body_ || (body_fits_replay_ && !body_overflowed_);
  return resendable_once_seen() && body_kept && !reconnected_ ? Reuse::any : Reuse::recent;
}

/// Whether the next hop out should not try again either: here more than one attempt failed, or none was affordable.
bool Exchange::hopeless() const noexcept { return launched_ > 1 || timeline_.stop_reason == Reason::budget_denied; }

void Exchange::enter_loop() noexcept {
  in_loop_ = true;
  for_each_budget([this](const BudgetRef& each) { each.state->enter_loop(local_.worker, now_); });
}

void Exchange::leave_loop() noexcept {
  if (!std::exchange(in_loop_, false)) return;
  for_each_budget([this](const BudgetRef& each) { each.state->leave_loop(local_.worker); });
}

}  // namespace outrigger::exchange
