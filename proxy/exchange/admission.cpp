#include "proxy/exchange/admission.hpp"

#include <algorithm>
#include <utility>

namespace outrigger::exchange {

using policy::Counts;
using policy::GateAnswer;
using policy::GateWaiter;

void Holdings::give_back(TimePoint now) noexcept {
  for (policy::RateLimitPlace& token : tokens) token.cancel(now);
  tokens.clear();
  places.clear();
  adaptive = false;
}

Admission::~Admission() { leave(since_); }

Admission::Answer Admission::begin(const Question& question, const RateLimitKeys& keys, Holdings& holdings,
                                   TimePoint now, Rng& rng) noexcept {
  question_ = question;
  next_ = 0;
  return run(keys, holdings, now, rng);
}

Admission::Answer Admission::proceed(const RateLimitKeys& keys, Holdings& holdings, TimePoint now, Rng& rng) noexcept {
  waited_for_ = part_;
  switch (end_wait(holdings, now)) {
    case Step::taken: return run(keys, holdings, now, rng);
    case Step::waits: return Answer::waiting;
    case Step::refused: break;
  }
  holdings.give_back(now);
  return Answer::refused;
}

Admission::Answer Admission::run(const RateLimitKeys& keys, Holdings& holdings, TimePoint now, Rng& rng) noexcept {
  // Rate limits, the throttle, bulkheads, the adaptive limit: positions count through all four.
  const std::size_t places = question_.tokens_only ? 0 : 1 + plan_.bulkheads.size() + 1;
  const std::size_t steps = plan_.rate_limits.size() + places;
  while (next_ < steps) {
    switch (take(next_++, keys, holdings, now, rng)) {
      case Step::taken: break;
      case Step::waits: return Answer::waiting;
      case Step::refused:
        if (question_.observes) {
          timeline_.decide({.at = now - timeline_.start,
                            .part = refusal_.part,
                            .reason = refusal_.why,
                            .would = true,
                            .name = refusal_.name});
          break;
        }
        holdings.give_back(now);
        return Answer::refused;
    }
  }
  return Answer::admitted;
}

Admission::Step Admission::take(std::size_t step, const RateLimitKeys& keys, Holdings& holdings, TimePoint now,
                                Rng& rng) noexcept {
  const Counts stage = question_.stage;
  if (step < plan_.rate_limits.size()) {
    const RateLimitRef& limit = plan_.rate_limits[step];
    if (limit.config->counts != stage) return Step::taken;
    asked_ = static_cast<std::uint8_t>(asked_ | 1u << step);
    return take_token(limit, keys[step], holdings, now);
  }
  step -= plan_.rate_limits.size();
  if (step == 0) {
    const ThrottleRef& throttle = plan_.throttle;
    if (throttle.state == nullptr || stage != Counts::request) return Step::taken;
    const Verdict verdict = throttle.state->admit(*throttle.config, question_.priority, now, rng);
    return verdict.admitted() ? Step::taken : refuse(*verdict.refused, Part::throttle, throttle.name);
  }
  --step;
  if (step < plan_.bulkheads.size()) {
    const BulkheadRef& bulkhead = plan_.bulkheads[step];
    if (bulkhead.config->counts != stage) return Step::taken;
    bulkhead_ = &bulkhead;
    return take_place(bulkhead.state->admit(*bulkhead.config, question_.priority, waiter(now)),
                      bulkhead.config->max_wait, Part::bulkhead, holdings, now);
  }
  const AdaptiveLimitRef& limit = plan_.adaptive_limit;
  if (limit.state == nullptr || stage != Counts::attempt) return Step::taken;
  return take_place(limit.state->admit(*limit.config, question_.priority, waiter(now)), limit.config->max_wait,
                    Part::adaptive_limit, holdings, now);
}

Admission::Step Admission::take_token(const RateLimitRef& limit, std::optional<std::uint64_t> key, Holdings& holdings,
                                      TimePoint now) noexcept {
  const bool may_wait = question_.may_wait || question_.observes;
  const Nanos longest = may_wait ? time_left(now, question_.deadline) : Nanos{0};
  policy::RateLimitAnswer answer = limit.keyed != nullptr ? limit.keyed->admit_hashed(*limit.config, key, longest, now)
                                                          : limit.state->admit(*limit.config, longest, now);
  timeline_.note_rate_limit(limit.name, answer.verdict.admitted());
  if (!answer.verdict.admitted()) {
    return refuse(*answer.verdict.refused, Part::rate_limit, limit.name, answer.verdict.retry_after);
  }
  if (answer.at > now && !question_.observes) {
    token_ = std::move(answer.place);
    return wait(Waits::for_token, Part::rate_limit, answer.at, now);
  }
  holdings.tokens.push_back(std::move(answer.place));
  return Step::taken;
}

Admission::Step Admission::take_place(policy::GateAdmission answer, Nanos max_wait, Part part, Holdings& holdings,
                                      TimePoint now) noexcept {
  const bool adaptive = part == Part::adaptive_limit;
  const std::string_view name = adaptive ? plan_.adaptive_limit.name : bulkhead_->name;
  switch (answer.answer) {
    case GateAnswer::admitted:
      holdings.places.push_back(std::move(answer.permit));
      holdings.adaptive |= adaptive;
      return Step::taken;
    case GateAnswer::waiting:
      return wait(adaptive ? Waits::for_adaptive : Waits::for_place, part,
                  std::min(saturating_add(now, max_wait), question_.deadline), now);
    case GateAnswer::full: return refuse(adaptive ? Reason::concurrency_limit : Reason::bulkhead_full, part, name);
    case GateAnswer::shed: break;
  }
  return refuse(adaptive ? Reason::concurrency_limit : Reason::shed_load, part, name);
}

/// What a wait has come to, if it is over.
Admission::Step Admission::end_wait(Holdings& holdings, TimePoint now) noexcept {
  if (waits_ == Waits::for_token) {
    if (now < until_) return Step::waits;
    waits_ = Waits::no;
    waited_ = now - since_;
    holdings.tokens.push_back(std::move(token_));
    return Step::taken;
  }
  const GateWaiter::State state = waiter_.state();
  if (state == GateWaiter::State::waiting && now < until_) return Step::waits;
  const bool adaptive = waits_ == Waits::for_adaptive;
  const std::string_view name = adaptive ? plan_.adaptive_limit.name : bulkhead_->name;
  policy::GatePermit permit = leave_gate();
  waits_ = Waits::no;
  waited_ = now - since_;
  if (permit) {
    holdings.places.push_back(std::move(permit));
    holdings.adaptive |= adaptive;
    return Step::taken;
  }
  if (state != GateWaiter::State::dropped && now >= question_.deadline)
    return refuse(Reason::overall_timeout, part_, name);
  if (adaptive) return refuse(Reason::concurrency_limit, part_, name);
  return refuse(state == GateWaiter::State::dropped ? Reason::shed_load : Reason::bulkhead_queue_timeout, part_, name);
}

Admission::Step Admission::wait(Waits what, Part part, TimePoint until, TimePoint now) noexcept {
  waits_ = what;
  part_ = part;
  since_ = now;
  until_ = until;
  return Step::waits;
}

Admission::Step Admission::refuse(Reason why, Part part, std::string_view name,
                                  std::optional<Nanos> retry_after) noexcept {
  refusal_ = {why, part, retry_after, name};
  return Step::refused;
}

policy::GatePermit Admission::leave_gate() noexcept {
  if (waits_ == Waits::for_adaptive) return plan_.adaptive_limit.state->leave(waiter_);
  return bulkhead_->state->leave(waiter_);
}

void Admission::leave(TimePoint now) noexcept {
  if (waits_ == Waits::no) return;
  if (waits_ == Waits::for_token) {
    token_.cancel(now);
  } else {
    leave_gate();
  }
  waited_ = now - since_;
  waited_for_ = part_;
  waits_ = Waits::no;
}

}  // namespace outrigger::exchange
