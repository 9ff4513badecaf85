#include "proxy/exchange/exchange.hpp"

#include <utility>

namespace outrigger::exchange {
namespace {

using policy::Classification;
using policy::Outcome;

constexpr Nanos kReconnectWindow = std::chrono::seconds{1};
constexpr Nanos kSettleAfterHead = std::chrono::seconds{5};
constexpr Nanos kUnreadAfterDeadline = std::chrono::seconds{5};

/// What a policy without a `retry` block retries by: nothing. Its replay limit still serves reconnects.
const policy::RetryConfig& no_retry() noexcept {
  static const policy::RetryConfig config{.max_attempts = 1, .idempotency_key = {}};
  return config;
}

const policy::RetryConfig& retry_of(const Plan& plan) noexcept {
  return plan.policy->retry ? *plan.policy->retry : no_retry();
}

/// Whether the upstream asked not to be tried again.
bool pushes_back(HeaderView headers) noexcept {
  if (const auto value = find_field(headers, "X-Should-Retry"); value && iequals(*value, "false")) return true;
  const auto delay = find_field(headers, "grpc-retry-pushback-ms");
  return delay && delay->starts_with('-');
}

bool is_no_reply(Reason why) noexcept {
  return why == Reason::client_disconnected || why == Reason::client_not_reading;
}

}  // namespace

Exchange::Exchange(const Plan& plan, const RequestFacts& facts, WorkerLocal& local, Timeline& timeline) noexcept
    : plan_(plan),
      local_(local),
      timeline_(timeline),
      client_deadline_(facts.client_deadline),
      deadline_unreadable_(facts.deadline_unreadable),
      idempotent_(facts.idempotent),
      has_body_(facts.has_body),
      body_fits_replay_(facts.body_fits_replay) {
  record_request(timeline_, TimePoint{}, facts);
  timeline_.policy_key = plan.policy_key;
  timeline_.policy_id = plan.policy_id;
  timeline_.route = plan.route;
  timeline_.generation = plan.generation;
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
  TimePoint at = std::min({max_duration_at_, deadline_.at, retry_at_});
  for (const Attempt& attempt : attempts_) at = std::min(at, attempt.expires);
  return at;
}

// ---- facts ----------------------------------------------------------------------------------

void Exchange::take(const RequestReady&) {
  const policy::Policy& policy = *plan_.policy;
  timeline_.start = now_;
  deadline_ = policy::effective_deadline(policy.overall_timeout, client_deadline_, now_);
  if (policy.max_duration.count() != 0) max_duration_at_ = saturating_add(now_, policy.max_duration);
  const Nanos allowed = time_left(now_, deadline_.at);
  if (allowed != kForever) timeline_.deadline = allowed;
  if (deadline_unreadable_ && policy.deadline.reject_invalid) {
    timeline_.decide(since_start(), Part::deadline, Reason::bad_request);
    return reply(Reason::bad_request, 'D', '3');
  }
  if (allowed <= policy.deadline.min_remaining) {
    timeline_.decide(since_start(), Part::deadline, Reason::deadline_too_short);
    return reply(Reason::deadline_too_short, 'P', '3');
  }
  if (plan_.budget.state != nullptr) {
    plan_.budget.state->enter_loop(local_.worker, now_);
    in_loop_ = true;
  }
  launch_primary();
}

void Exchange::take(const Connected& fact) {
  Attempt* attempt = find(fact.id);
  if (attempt == nullptr || attempt->state != State::connecting) return;
  attempt->state = State::sending;
  attempt->sent = now_;
  attempt->expires = kNever;
  if (!fact.reused) record(*attempt).connect = now_ - attempt->started;
}

void Exchange::take(const RequestSent& fact) {
  Attempt* attempt = find(fact.id);
  if (attempt == nullptr) return;
  expose(Exposure::fully_sent);
  if (attempt->state != State::sending) return;
  attempt->state = State::awaiting;
  attempt->sent = now_;
  const Nanos limit = retry_of(plan_).timeout_per_attempt;
  if (limit.count() != 0) attempt->expires = saturating_add(now_, limit);
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
  expose(Exposure::partly_sent);
  attempt->expires = kNever;
  AttemptRecord& entry = record(*attempt);
  entry.status = head.status;
  entry.ttfb = now_ - attempt->started;

  const Classification result = policy::classify_status(head.status);
  entry.outcome = result.outcome;
  entry.reason = result.reason;
  if (result.outcome != Outcome::retryable) {
    if (result.outcome == Outcome::non_retryable) timeline_.stop_reason = Reason::non_retryable;
    return relay(*attempt);
  }
  const bool says_when = head.status == 429 || head.status == 503;
  policy::RetryQuestion question = question_about(result, says_when ? head.retry_after : std::nullopt);
  question.pushback = pushes_back(head.headers);
  if (plan_retry(question)) {
    hold(*attempt);
    if (backoff_ <= Nanos{0}) launch_retry();
  } else {
    relay(*attempt);
  }
}

void Exchange::take(const HeldState& state) {
  if (!state.lost) return;
  Attempt* attempt = find(state.id);
  if (attempt != nullptr && attempt->state == State::relaying) {
    // It died while the order to relay it was on its way.
    return take(AttemptFailed{.id = state.id, .why = Reason::closed_early});
  }
  if (held_ != state.id) return;
  held_.reset();
  note_failure(state.id, Reason::closed_early);
  timeline_.decide(since_start(), Part::edge, Reason::closed_early, static_cast<std::uint8_t>(index(state.id)));
}

void Exchange::take(const ResponseDone& fact) {
  Attempt* attempt = find(fact.id);
  if (attempt == nullptr || attempt->state != State::relaying) return;
  unread_until_ = kNever;
  const AttemptRecord entry = record(*attempt);
  if (entry.outcome == Outcome::success) settle_success();
  end(*attempt, entry.outcome, entry.reason);
}

void Exchange::take(const Delivered&) {
  for (Attempt& attempt : attempts_) {
    if (attempt.state == State::relaying) take(ResponseDone{attempt.id});
  }
  if (committed_ || replied_) finish(end_reason_, end_who_, end_stage_);
}

void Exchange::take(const AttemptFailed& failure) {
  Attempt* attempt = find(failure.id);
  if (attempt == nullptr || attempt->state == State::held) return;
  if (attempt->state == State::relaying) {
    end(*attempt, Outcome::abort, Reason::response_committed);
    return cut(failure.why, 'U');
  }
  if (!reconnect(*attempt, failure)) fail(*attempt, failure.why, failure.exposure);
}

void Exchange::take(const DownstreamFailed& failure) {
  if (replied_) return finish(end_reason_, end_who_, end_stage_);
  if (committed_) return cut(failure.why, 'D');
  abort_all(failure.why);
  if (!is_no_reply(failure.why)) return reply(failure.why, 'D', '8');
  timeline_.status = 499;
  finish(failure.why, 'D', '8');
}

void Exchange::take(const Cancelled& fact) {
  if (replied_) return finish(end_reason_, end_who_, end_stage_);
  if (committed_) return cut(fact.why, 'P');
  abort_all(fact.why);
  reply(Reason::draining, 'P', '8');
}

void Exchange::take(const Tick&) {
  if (replied_) return;
  if (now_ >= max_duration_at_) {
    if (committed_) return cut(Reason::max_duration, 'P');
    abort_all(Reason::max_duration);
    return reply(Reason::max_duration, 'P', '8');
  }
  if (committed_) {
    if (now_ >= std::min(deadline_.client, unread_until_)) return cut(Reason::overall_timeout, 'P');
    if (now_ >= settle_at_) settle_success();
    return;
  }
  if (now_ >= deadline_.at) return give_up();
  for (Attempt& attempt : attempts_) {
    if (now_ >= attempt.expires) expire(attempt);
    if (finished_ || replied_ || committed_) return;
  }
  if (now_ >= retry_at_) launch_retry();
}

// ---- the attempt loop -----------------------------------------------------------------------

std::optional<policy::EndpointId> Exchange::choose_endpoint() {
  const Upstream& upstream = *plan_.upstream;
  const auto avoided = retry_of(plan_).avoid_previous_endpoint ? previous_endpoint_ : std::nullopt;
  policy::BalanceCursor& cursor = local_.cursors[policy::index(upstream.id)];
  return policy::choose(*upstream.endpoints, upstream.balance, avoided, cursor, local_.rng);
}

void Exchange::launch_primary() {
  const auto endpoint = choose_endpoint();
  if (!endpoint) {
    const Reason why = plan_.upstream->unresolved ? Reason::dns_failure : Reason::no_healthy_endpoint;
    timeline_.decide(since_start(), Part::balance, why);
    return reply(why, 'P', '8');
  }
  if (has_body_) {
    if (!resendable_once_seen()) order(DropReplay{});
    order(ReadBody{});
  }
  ++launched_;
  launch(AttemptKind::primary, *endpoint, reuse_for_request(), {});
}

void Exchange::launch_retry() {
  retry_at_ = kNever;
  const bool body_gone = has_body_ && body_overflowed_ && exposure_ != Exposure::nothing_sent;
  if (body_gone) {
    stop(Reason::body_not_replayable, Part::retry);
    return give_up();
  }
  if (time_left(now_, deadline_.at) <= plan_.policy->deadline.min_remaining) {
    stop(Reason::deadline_insufficient, Part::retry);
    return give_up();
  }
  const auto endpoint = choose_endpoint();
  policy::BudgetPermit permit;
  if (plan_.budget.state != nullptr) {
    permit = plan_.budget.state->admit(*plan_.budget.config, plan_.budget.cost, now_);
    if (!permit) {
      stop(Reason::budget_denied, Part::budget);
      return give_up();
    }
  }
  ++launched_;
  launch(AttemptKind::retry, *endpoint, reuse_for_request(), std::move(permit));
}

void Exchange::launch(AttemptKind kind, policy::EndpointId endpoint, Reuse reuse, policy::BudgetPermit permit) {
  const policy::Endpoint& target = plan_.upstream->endpoints->endpoints[policy::index(endpoint)];
  const auto id = static_cast<AttemptId>(attempts_.size());
  const bool asked = static_cast<bool>(permit) && kind != AttemptKind::reconnect;
  attempts_.push_back(Attempt{.id = id,
                              .kind = kind,
                              .endpoint = endpoint,
                              .started = now_,
                              .expires = saturating_add(now_, plan_.upstream->connect_timeout),
                              .budget = std::move(permit),
                              .place = policy::EndpointPermit{*target.state}});
  timeline_.attempts.push_back(AttemptRecord{.kind = kind,
                                             .n = launched_,
                                             .budget_asked = asked,
                                             .budget_allowed = asked,
                                             .upstream = plan_.upstream->id,
                                             .upstream_name = plan_.upstream->name,
                                             .budget_name = plan_.budget.name,
                                             .endpoint = timeline_.keep(target.address, 64),
                                             .start = since_start(),
                                             .backoff = kind == AttemptKind::retry ? backoff_ : Nanos{0}});
  previous_endpoint_ = endpoint;
  order(StartAttempt{.id = id,
                     .kind = kind,
                     .upstream = plan_.upstream->id,
                     .endpoint = endpoint,
                     .reuse = reuse,
                     .n = launched_,
                     .forward = policy::forwarded_deadline(plan_.policy->deadline, deadline_.at,
                                                           retry_of(plan_).timeout_per_attempt, now_)});
}

bool Exchange::reconnect(Attempt& attempt, const AttemptFailed& failure) {
  const bool died_idle = failure.reused && (failure.why == Reason::reset || failure.why == Reason::closed_early);
  if (!died_idle || reconnected_ || now_ - attempt.sent > kReconnectWindow || now_ >= deadline_.at) return false;
  const policy::RetryQuestion question{.idempotent = idempotent_,
                                       .exposure = std::max(exposure_, failure.exposure),
                                       .body_replayable = !has_body_ || !body_overflowed_};
  if (policy::why_not_resendable(retry_of(plan_), question)) return false;
  expose(failure.exposure);
  reconnected_ = true;
  policy::BudgetPermit permit = std::move(attempt.budget);
  const policy::EndpointId endpoint = attempt.endpoint;
  end(attempt, Outcome::abort, Reason::reconnect);
  launch(AttemptKind::reconnect, endpoint, Reuse::none, std::move(permit));
  return true;
}

void Exchange::fail(Attempt& attempt, Reason why, Exposure exposure) {
  expose(exposure);
  const Classification result = policy::classify_fault(why);
  end(attempt, result.outcome, result.reason);
  note_failure(attempt.id, why);
  if (!plan_retry(question_about(result, std::nullopt))) return give_up();
  if (backoff_ <= Nanos{0}) launch_retry();
}

void Exchange::note_failure(AttemptId attempt, Reason why) noexcept {
  if (!last_failure_ || last_failure_->attempt < attempt) last_failure_ = Failure{attempt, why};
}

void Exchange::expire(Attempt& attempt) {
  const bool connecting = attempt.state == State::connecting;
  const Reason why = connecting ? Reason::connect_timeout : Reason::attempt_timeout;
  order(AbortAttempt{attempt.id, why});
  fail(attempt, why, connecting ? Exposure::nothing_sent : Exposure::fully_sent);
}

policy::RetryQuestion Exchange::question_about(Classification result, std::optional<Nanos> retry_after) {
  const policy::RetryConfig& config = retry_of(plan_);
  if (!config.retry_after.honor) retry_after.reset();
  backoff_ = policy::backoff_delay(config.backoff, launched_, backoff_, local_.rng);
  const bool server_delay = retry_after && *retry_after > backoff_;
  if (retry_after) backoff_ = policy::lengthen_for_retry_after(backoff_, *retry_after, local_.rng);
  return {.committed = committed_,
          .outcome = result.outcome,
          .reason = result.reason,
          .idempotent = idempotent_,
          .exposure = exposure_,
          .body_replayable = !has_body_ || !body_overflowed_,
          .attempts = launched_,
          .delay = backoff_,
          .retry_after = retry_after,
          .server_delay = server_delay,
          .min_remaining = plan_.policy->deadline.min_remaining,
          .deadline = deadline_.at};
}

/// Schedules the next attempt, or records why there is none.
bool Exchange::plan_retry(const policy::RetryQuestion& question) {
  if (const auto why = policy::why_no_retry(retry_of(plan_), question, now_)) {
    stop(*why, Part::retry);
    return false;
  }
  const BudgetRef& budget = plan_.budget;
  if (budget.state != nullptr && !budget.state->peek(*budget.config, budget.cost, now_)) {
    stop(Reason::budget_denied, Part::budget);
    return false;
  }
  retry_at_ = saturating_add(now_, question.delay);
  return true;
}

void Exchange::stop(Reason why, Part part) {
  timeline_.stop_reason = why;
  if (why != Reason::non_retryable) timeline_.decide(since_start(), part, why);
}

// ---- its ends -------------------------------------------------------------------------------

void Exchange::hold(Attempt& attempt) {
  if (held_) order(DropHeld{*held_});
  held_ = attempt.id;
  order(HoldResponse{attempt.id});
  const AttemptRecord entry = record(attempt);
  end(attempt, entry.outcome, entry.reason);
  attempt.state = State::held;
}

void Exchange::relay(Attempt& attempt) {
  if (held_ && held_ != attempt.id) order(DropHeld{*held_});
  held_.reset();
  committed_ = true;
  retry_at_ = kNever;
  leave_loop();
  const AttemptRecord& entry = record(attempt);
  attempt.state = State::relaying;
  if (entry.outcome == Outcome::success && plan_.budget.state != nullptr &&
      plan_.budget.config->type == policy::BudgetType::success_credit) {
    settle_at_ = saturating_add(now_, kSettleAfterHead);
  }
  if (has_body_) order(DropReplay{});
  timeline_.status = entry.status;
  end_reason_ = policy::request_reason(entry.status);
  const bool failure = entry.outcome == Outcome::retryable || entry.status >= 500;
  conclude(end_reason_, end_who_, end_stage_);
  order(RelayResponse{attempt.id, failure && hopeless()});
}

/// No attempt is left and none may follow: the best answer there is.
void Exchange::give_up() {
  const bool out_of_time = now_ >= deadline_.at;
  if (out_of_time) {
    for (Attempt& attempt : attempts_) {
      if (attempt.state == State::ended || attempt.state == State::held) continue;
      order(AbortAttempt{attempt.id, Reason::overall_timeout});
      end(attempt, Outcome::abort, Reason::overall_timeout);
      last_failure_ = Failure{attempt.id, Reason::overall_timeout};
    }
    if (!timeline_.stop_reason) timeline_.stop_reason = Reason::deadline_insufficient;
  }
  retry_at_ = kNever;
  if (held_) {
    if (out_of_time) allow_for_unread();
    return relay(attempts_[index(*held_)]);
  }
  const Reason why = last_failure_ ? last_failure_->reason : Reason::overall_timeout;
  reply(why, why == Reason::overall_timeout ? 'P' : 'U', '8');
}

/// A kept answer is sent though the deadline has passed; what of it is still unread gets a little time.
void Exchange::allow_for_unread() noexcept {
  unread_until_ = saturating_add(now_, kUnreadAfterDeadline);
  if (now_ >= deadline_.client) deadline_.client = kNever;
}

void Exchange::reply(Reason why, char who, char stage) {
  replied_ = true;
  retry_at_ = kNever;
  leave_loop();
  timeline_.status = info(why).status;
  end_reason_ = why;
  end_who_ = who;
  end_stage_ = stage;
  conclude(why, who, stage);
  const bool own_refusal = info(why).proxy_status_error == "connection_limit_reached";
  order(Reply{.status = info(why).status,
              .why = why,
              .retry_after = own_refusal ? std::optional<Nanos>{std::chrono::seconds{1}} : std::nullopt,
              .should_not_retry = why == Reason::deadline_too_short || why == Reason::overall_timeout || hopeless()});
}

void Exchange::cut(Reason why, char who) {
  abort_all(why);
  order(CloseDownstream{});
  finish(why, who, '9');
}

void Exchange::settle_success() noexcept {
  if (settle_at_ == kNever) return;
  settle_at_ = kNever;
  plan_.budget.state->earn(*plan_.budget.config);
}

void Exchange::finish(Reason why, char who, char stage) noexcept {
  leave_loop();
  finished_ = true;
  conclude(why, who, stage);
}

/// Writes how the request ends, or will have ended if nothing interferes any more.
void Exchange::conclude(Reason why, char who, char stage) noexcept {
  timeline_.reason = why;
  timeline_.outcome = outcome_of(why);
  timeline_.who = who;
  timeline_.stage = stage;
  timeline_.duration = since_start();
}

// ---- the attempt table ----------------------------------------------------------------------

Exchange::Attempt* Exchange::find(AttemptId id) noexcept {
  if (index(id) >= attempts_.size()) return nullptr;
  Attempt& attempt = attempts_[index(id)];
  return attempt.state == State::ended ? nullptr : &attempt;
}

void Exchange::abort_all(Reason why) {
  retry_at_ = kNever;
  if (held_) order(DropHeld{*held_});
  held_.reset();
  for (Attempt& attempt : attempts_) {
    if (attempt.state == State::ended) continue;
    if (attempt.state != State::held) {
      order(AbortAttempt{attempt.id, why});
      end(attempt, Outcome::abort, why);
    }
    attempt.state = State::ended;
  }
}

/// Records how an attempt ended, once, and gives back what it held. A held response was settled at its head.
void Exchange::end(Attempt& attempt, Outcome outcome, Reason why) noexcept {
  attempt.state = State::ended;
  attempt.expires = kNever;
  attempt.budget.release();
  attempt.place.release();
  AttemptRecord& entry = record(attempt);
  if (entry.ended) return;
  entry.ended = true;
  entry.outcome = outcome;
  entry.reason = why;
  entry.duration = now_ - attempt.started;
}

bool Exchange::resendable_once_seen() const noexcept { return idempotent_ || retry_of(plan_).non_idempotent; }

/// A request that could not be sent again must not meet a connection that may have died while idle.
Reuse Exchange::reuse_for_request() const noexcept {
  const bool body_kept = !has_body_ || (body_fits_replay_ && !body_overflowed_);
  return resendable_once_seen() && body_kept && !reconnected_ ? Reuse::any : Reuse::recent;
}

/// Whether the next hop out should not try again either: here more than one attempt failed, or none was affordable.
bool Exchange::hopeless() const noexcept { return launched_ > 1 || timeline_.stop_reason == Reason::budget_denied; }

void Exchange::leave_loop() noexcept {
  if (!in_loop_) return;
  in_loop_ = false;
  plan_.budget.state->leave_loop(local_.worker);
}

}  // namespace outrigger::exchange
