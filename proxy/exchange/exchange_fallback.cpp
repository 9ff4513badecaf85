#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "proxy/exchange/exchange.hpp"

namespace outrigger::exchange {
namespace {

constexpr std::string_view kStatusPrefix = "http_";

}  // namespace

/// Sends something else than what is about to be sent, if the policy has it; false: nothing was done. `answer`: the
/// attempt whose answer it is.
bool Exchange::fall_back(const Ending& ending, Attempt* answer) {
  if (fallback_asked_) return false;
  const FallbackRef& fallback = plan_.fallback;
  const policy::OutgoingAnswer what{.reason = ending.why,
                                    .attempt = answer != nullptr ? std::optional{record(*answer).reason} : std::nullopt,
                                    .status = answer != nullptr ? answer->status : info(ending.why).status,
                                    .exhausted = ending.exhausted};
  const bool matched = fallback.config != nullptr && policy::matches(*fallback.config, what);
  if (!matched && !may_be_stale(what)) return false;
  fallback_asked_ = true;
  const auto kind = matched ? fallback.config->answer : policy::FallbackConfig::Answer::stale;
  if (kind == policy::FallbackConfig::Answer::upstream) return fall_back_to_upstream(ending, answer);
  const bool stale = kind == policy::FallbackConfig::Answer::stale;
  if (stale && !find_stale()) return false;
  if (plan_.observes) {
    would({Reason::fallback, Part::fallback, {}, {}});
    return false;
  }
  mark_fallback(ending, answer);
  drop_answers();
  answer_by_fallback();
  if (stale) {
    timeline_.cache = CacheShown::stale;
    serve_cached(ending);
    return true;
  }
  send(ending,
       {.status = fallback.respond.status, .why = ending.why, .fixed = &fallback.respond, .fallback = fallback_mark()});
  return true;
}

/// Looks for an answer that is good no more, but good enough now.
bool Exchange::find_stale() {
  if (!cache_) return false;
  policy::Cache& cache = *plan_.cache.state;
  const bool asked = timeline_.cache != CacheShown::none;
  if (!asked && cache_->facts.demand) {
    // Refused before it came that far; what it would have asked with is still at hand.
    cache_->hit = cache.stale(*plan_.cache.config, cache_request(), now_);
  } else if (cache_->fill) {
    cache_->hit = cache.stale(*plan_.cache.config, cache_->fill, now_);
  } else {
    cache_->hit = cache.stale(*plan_.cache.config, cache_->waiter, now_);
  }
  return static_cast<bool>(cache_->hit);
}

/// Without a `fallback` block `stale_if_error` acts as its RFC says: on what would be sent as a failure of the server.
///
/// Source: RFC 5861 4.
bool Exchange::may_be_stale(const policy::OutgoingAnswer& what) const noexcept {
  if (!cache_ || plan_.fallback.config != nullptr || plan_.cache.config->stale_if_error <= Nanos{0}) return false;
  return what.status == 500 || what.status == 502 || what.status == 503 || what.status == 504;
}

/// One last attempt elsewhere; until it has done better the answer at hand is kept.
bool Exchange::fall_back_to_upstream(const Ending& ending, Attempt* answer) {
  if (over_) return false;
  const Upstream& upstream = *plan_.fallback.upstream;
  const policy::RetryQuestion question{.idempotent = idempotent_,
                                       .once = upgrade_,
                                       .exposure = exposure_,
                                       .body_replayable = !has_body_ || !body_overflowed_};
  std::optional<Reason> why_not = policy::why_not_resendable(configured_retry(), question);
  if (time_left(now_, latest_end()) <= plan_.policy->deadline.min_remaining) why_not = Reason::deadline_insufficient;
  if (plan_.observes) {
    would({why_not.value_or(Reason::fallback), Part::fallback, {}, {}});
    return false;
  }
  policy::Slot slot;
  if (!why_not) {
    const policy::Choice choice{.balance = upstream.balance, .avoided = {}, .key = fallback_key_};
    const auto anywhere = [](policy::EndpointId) { return true; };
    const Placing placing = place(upstream, choice, priority_, local_, now_, anywhere, slot);
    if (placing == Placing::full) why_not = Reason::pool_full;
    if (placing == Placing::unserved) {
      why_not = upstream.unresolved ? Reason::dns_failure : Reason::no_healthy_endpoint;
    }
  }
  if (why_not) {
    decide({*why_not, Part::fallback, {}, {}});
    return false;
  }
  mark_fallback(ending, answer);
  for (Attempt& attempt : attempts_) {
    if (&attempt != answer && is_running(attempt)) abort(attempt, Reason::hedge_lost);
  }
  if (answer != nullptr && answer->state != State::held) hold(*answer);
  // What is known now is all that is learnt of the request.
  settle_request(last_lesson_);
  retry_at_ = hedge_at_ = kNever;
  leave_cache();
  leave_loop();
  original_ = ending;
  Clearance clearance;
  clearance.upstream = &upstream;
  clearance.endpoint = slot.endpoint;
  clearance.slot = std::move(slot.permit);
  want_body();
  Attempt& attempt = launch(AttemptKind::fallback, std::move(clearance), reuse_for_request(), {});
  attempt.is_fallback = true;
  begin(attempt);
  return true;
}

/// Keeps what the fallback answers for, as the client is told.
void Exchange::mark_fallback(const Ending& ending, const Attempt* answer) noexcept {
  mark_ = to_string(ending.why);
  if (answer == nullptr) return;
  const auto digits = std::ranges::copy(kStatusPrefix, status_mark_.begin()).out;
  const auto end = std::to_chars(digits, status_mark_.end(), answer->status).ptr;
  mark_ = {status_mark_.data(), static_cast<std::size_t>(end - status_mark_.data())};
}

/// From here on what is sent is the fallback's.
void Exchange::answer_by_fallback() noexcept {
  source_ = Source::fallback;
  timeline_.fallback = timeline_.keep(mark_, mark_.size());
}

/// No answer of an upstream will be sent.
void Exchange::drop_answers() {
  drop_held();
  for (Attempt& attempt : attempts_) {
    if (!is_running(attempt)) continue;
    if (attempt.status == 0) {
      abort(attempt, Reason::hedge_lost);
      continue;
    }
    const AttemptRecord entry = record(attempt);
    if (at_edge(attempt)) order(DiscardResponse{attempt.id});
    settle(attempt, policy::lesson_of_answer(attempt.status, attempt.refused));
    end(attempt, entry.outcome, entry.reason);
  }
}

/// The fallback's upstream has done no better.
void Exchange::stand_by_original() {
  if (held_) return relay(attempts_[index(*held_)]);
  // An answer that was kept has died meanwhile.
  if (info(original_->why).status == 0) original_ = Ending{.why = Reason::closed_early, .who = 'U', .stage = '8'};
  reply(*original_);
}

}  // namespace outrigger::exchange
