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
  if (plan_.observes) {
    would({Reason::fallback, Part::fallback, {}, {}});
    return false;
  }
  const auto kind = matched ? fallback.config->answer : policy::FallbackConfig::Answer::stale;
  if (kind == policy::FallbackConfig::Answer::upstream) return fall_back_to_upstream(ending, answer);
  if (kind == policy::FallbackConfig::Answer::respond) {
    mark_fallback(ending, answer);
    drop_answers();
    source_ = Source::fallback;
    send(ending, {.status = fallback.respond.status,
                  .why = ending.why,
                  .fixed = &fallback.respond,
                  .fallback = fallback_mark()});
    return true;
  }
  if (!cache_) return false;
  cache_->hit = cache_->fill ? plan_.cache.state->stale(*plan_.cache.config, cache_->fill, now_)
                             : plan_.cache.state->stale(*plan_.cache.config, cache_->waiter, now_);
  if (!cache_->hit) return false;
  mark_fallback(ending, answer);
  drop_answers();
  timeline_.cache = CacheShown::stale;
  source_ = Source::fallback;
  serve_cached(ending);
  return true;
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
  const Upstream& upstream = *plan_.fallback.upstream;
  const policy::RetryQuestion question{
      .idempotent = idempotent_, .exposure = exposure_, .body_replayable = !has_body_ || !body_overflowed_};
  std::optional<Reason> why_not = policy::why_not_resendable(configured_retry(), question);
  if (time_left(now_, deadline_.at) <= plan_.policy->deadline.min_remaining) why_not = Reason::deadline_insufficient;
  const auto endpoint = policy::choose(*upstream.endpoints, upstream.balance, std::nullopt,
                                       local_.cursors[policy::index(upstream.id)], local_.rng);
  if (!endpoint) why_not = upstream.unresolved ? Reason::dns_failure : Reason::no_healthy_endpoint;
  if (why_not) {
    decide({*why_not, Part::fallback, {}, {}});
    return false;
  }
  mark_fallback(ending, answer);
  for (Attempt& attempt : attempts_) {
    if (&attempt != answer && is_running(attempt)) abort(attempt, Reason::hedge_lost);
  }
  if (answer != nullptr && answer->state != State::held) hold(*answer);
  give_up_fill();
  leave_loop();
  original_ = ending;
  Clearance clearance;
  clearance.upstream = &upstream;
  clearance.endpoint = *endpoint;
  want_body();
  Attempt& attempt = launch(AttemptKind::fallback, std::move(clearance), reuse_for_request(), {});
  attempt.is_fallback = true;
  begin(attempt);
  return true;
}

/// Notes what the fallback answers for, as the client is told.
void Exchange::mark_fallback(const Ending& ending, const Attempt* answer) noexcept {
  if (answer == nullptr) {
    timeline_.fallback = timeline_.keep(to_string(ending.why), 64);
    return;
  }
  std::array<char, 16> text;
  const auto digits = std::ranges::copy(kStatusPrefix, text.begin()).out;
  const auto end = std::to_chars(digits, text.end(), answer->status).ptr;
  timeline_.fallback = timeline_.keep({text.data(), static_cast<std::size_t>(end - text.data())}, text.size());
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
    settle(attempt, policy::lesson_of_answer(attempt.status, false));
    end(attempt, entry.outcome, entry.reason);
  }
}

/// The fallback's upstream has done no better.
void Exchange::stand_by_original() {
  timeline_.fallback = {};
  if (held_) return relay(attempts_[index(*held_)]);
  // An answer that was kept has died meanwhile.
  if (info(original_->why).status == 0) original_ = Ending{.why = Reason::closed_early, .who = 'U', .stage = '8'};
  reply(*original_);
}

}  // namespace outrigger::exchange
