#include <utility>

#include "proxy/exchange/exchange.hpp"

namespace outrigger::exchange {

using policy::CacheAnswer;

/// Asks the cache, if the request has anything to do with one.
void Exchange::look_up() {
  if (!cache_) return admit_request();
  CacheUse& use = *cache_;
  timeline_.cache = CacheShown::bypass;
  if (!use.facts.demand) {
    if (changes_resource_) use.changes = plan_.cache.state->target(use.facts.key);
    return admit_request();
  }
  policy::CacheWaiter* const may_wait = plan_.observes ? nullptr : &use.waiter;
  looked_up(plan_.cache.state->lookup(*plan_.cache.config, cache_request(), may_wait, now_));
}

/// What a cache is asked with; only while RequestReady is being taken, and only if the request takes part.
policy::CacheRequest Exchange::cache_request() const noexcept {
  return {.method = timeline_.text(timeline_.method),
          .key = cache_->facts.key,
          .fields = cache_->facts.fields,
          .demand = *cache_->facts.demand};
}

void Exchange::looked_up(CacheAnswer answer) {
  const bool waited = waits_for_cache_;
  end_cache_wait();
  switch (answer.kind) {
    case CacheAnswer::Kind::bypass: break;
    case CacheAnswer::Kind::hit:
      if (plan_.observes) {
        would({Reason::cached, Part::cache, {}, {}});
        break;
      }
      timeline_.cache = waited ? CacheShown::coalesced : CacheShown::hit;
      cache_->hit = std::move(answer.hit);
      source_ = Source::cache;
      return serve_cached({.why = policy::request_reason(cache_->hit.response->status())});
    case CacheAnswer::Kind::fetch:
      timeline_.cache = CacheShown::miss;
      cache_->fill = std::move(answer.fill);
      break;
    case CacheAnswer::Kind::wait:
      timeline_.cache = CacheShown::miss;
      stage_ = Stage::cache;
      waits_for_cache_ = true;
      cache_->since = now_;
      return;
    case CacheAnswer::Kind::unsatisfiable:
      timeline_.cache = CacheShown::unsatisfiable;
      if (!plan_.observes) return refuse({Reason::not_cached, Part::cache, {}, {}}, '4');
      would({Reason::not_cached, Part::cache, {}, {}});
      break;
  }
  if (now_ >= deadline_.at) return refuse({Reason::overall_timeout, Part::cache, {}, {}}, '4');
  admit_request();
}

/// Notes how long another request's answer was waited for; nothing is held meanwhile.
void Exchange::end_cache_wait() noexcept {
  if (!std::exchange(waits_for_cache_, false)) return;
  timeline_.queued += now_ - cache_->since;
  timeline_.waits.cache += now_ - cache_->since;
}

void Exchange::serve_cached(const Ending& ending) {
  close_with(ending, cache_->hit.response->status());
  order(ServeCached{&cache_->hit, fallback_mark()});
}

/// Lets the cache copy an answer that is about to be relayed, or tells those who wait for it that it cannot.
void Exchange::keep_or_give_up(const Attempt& answer) {
  if (!cache_) return;
  if (cache_->changes && !answer.invented && answer.status < 400) plan_.cache.state->invalidate(*cache_->changes);
  if (!cache_->fill) return;
  const bool live = answer.state != State::held && !answer.invented;
  if (!live || record(answer).fault != Fault::none) return leave_cache();
  order(
      StoreResponse{.id = answer.id, .fill = &cache_->fill, .config = plan_.cache.config, .took = now_ - answer.sent});
}

/// Neither waits nor stores any more; whoever waits for this request's answer goes on alone.
void Exchange::leave_cache() noexcept {
  if (!cache_) return;
  cache_->waiter.leave();
  if (cache_->fill) cache_->fill.give_up(*plan_.cache.config, now_);
}

}  // namespace outrigger::exchange
