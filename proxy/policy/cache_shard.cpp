#include "proxy/policy/cache_shard.hpp"

namespace outrigger::policy {

// ---- waiters ----------------------------------------------------------------------------------

void CacheFlight::link(CacheWaiter& waiter) noexcept {
  waiter.earlier_ = last;
  waiter.later_ = nullptr;
  (last != nullptr ? last->later_ : first) = &waiter;
  last = &waiter;
  waiter.flight_ = this;
  waiter.shard_ = &shard;
  shard.waiting.fetch_add(1, std::memory_order_relaxed);
}

void CacheFlight::unlink(CacheWaiter& waiter) noexcept {
  (waiter.earlier_ != nullptr ? waiter.earlier_->later_ : first) = waiter.later_;
  (waiter.later_ != nullptr ? waiter.later_->earlier_ : last) = waiter.earlier_;
  waiter.flight_ = nullptr;
  shard.waiting.fetch_sub(1, std::memory_order_relaxed);
}

void CacheFlight::release_waiters(const CachedRef& answer, std::vector<Ticket>& to_wake) {
  while (first != nullptr) {
    CacheWaiter& waiter = *first;
    unlink(waiter);
    to_wake.push_back(waiter.ticket);
    waiter.served_ = answer;
    // The last touch: whoever sees it may be gone the moment after.
    waiter.state_.store(answer ? CacheWaiter::State::served : CacheWaiter::State::alone, std::memory_order_release);
  }
}

// ---- targets ----------------------------------------------------------------------------------

CacheTarget* CacheShard::find(std::uint64_t hash, std::string_view key) noexcept {
  const auto found = targets.find(KeyView{hash, key});
  return found == targets.end() ? nullptr : &found->second;
}

CacheTarget& CacheShard::find_or_add(std::uint64_t hash, std::string_view key, const std::vector<std::string>& vary) {
  if (CacheTarget* known = find(hash, key)) return *known;
  const auto added = targets.try_emplace(Key{hash, std::string{key}}).first;
  CacheTarget& target = added->second;
  target.key = &added->first.text;
  target.hash = hash;
  for (const std::string& name : vary) target.names.add(name);
  return target;
}

void CacheShard::forget_if_idle(CacheTarget& target) noexcept {
  if (!target.variants.empty() || !target.flights.empty()) return;
  targets.erase(targets.find(KeyView{target.hash, *target.key}));
}

// ---- what is stored ---------------------------------------------------------------------------

CacheEntries::iterator CacheShard::variant(const CacheTarget& target, HeaderView fields) noexcept {
  if (target.variants.empty()) return by_use.end();
  const std::uint64_t hash = selection_hash(target.hash, target.names, fields);
  for (const CacheTarget::Variant& each : target.variants) {
    if (each.selection_hash == hash && each.entry->response->is_for(fields)) return each.entry;
  }
  return by_use.end();
}

void CacheShard::touch(CacheEntries::iterator entry, TimePoint now) noexcept {
  entry->used = now;
  by_use.splice(by_use.begin(), by_use, entry);
  show_oldest();
}

void CacheShard::add(CacheTarget& target, CachedRef response, std::uint64_t hash, TimePoint now) {
  by_use.push_front({std::move(response), &target, now});
  target.variants.push_back({hash, by_use.begin()});
  show_oldest();
}

CachedRef CacheShard::drop(CacheEntries::iterator entry) noexcept {
  std::erase_if(entry->target->variants, [&](const CacheTarget::Variant& each) { return each.entry == entry; });
  CachedRef response = std::move(entry->response);
  by_use.erase(entry);
  show_oldest();
  return response;
}

void CacheShard::show_oldest() noexcept {
  const std::int64_t ns = by_use.empty() ? kEmpty : by_use.back().used.time_since_epoch().count();
  oldest_ns.store(ns, std::memory_order_relaxed);
}

// ---- what is fetched --------------------------------------------------------------------------

CacheFlight* CacheShard::joinable(const CacheTarget& target, HeaderView fields) const {
  for (CacheFlight* flight : target.flights) {
    if (flight->open && same_selection(target.names, flight->request->fields.view(), fields)) return flight;
  }
  return nullptr;
}

void CacheShard::detach(CacheFlight& flight) noexcept {
  CacheTarget* target = std::exchange(flight.target, nullptr);
  if (target == nullptr) return;
  std::erase(target->flights, &flight);
  forget_if_idle(*target);
}

bool CacheShard::is_marked(std::uint64_t variant, Nanos ttl, TimePoint now) noexcept {
  CacheMark& mark = slot(variant);
  if (mark.variant != variant) return false;
  if (mark.until_ns == CacheMark::kNotYet) mark.until_ns = saturating_add(now, ttl).time_since_epoch().count();
  return now.time_since_epoch().count() < mark.until_ns;
}

}  // namespace outrigger::policy
