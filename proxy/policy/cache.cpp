#include "proxy/policy/cache.hpp"

#include <algorithm>
#include <utility>

#include "proxy/base/rng.hpp"
#include "proxy/policy/cache_shard.hpp"

namespace outrigger::policy {
namespace {

/// What an answer costs beside its texts: nodes of list and table.
constexpr std::uint64_t kNodeBytes = 192;
/// Names of request fields beyond which a target starts anew, so that an upstream cannot make them grow for ever.
constexpr std::size_t kMostNameBytes = 1024;

/// How much longer an answer is good; not above zero when it is no more.
Nanos good_for(const CacheConfig& config, const CacheTerms& terms, Nanos age) noexcept {
  return terms.lifetime.value_or(saturating_add(TimePoint{terms.initial_age}, config.ttl).time_since_epoch()) - age;
}

bool may_serve(const CacheDemand& demand, const CacheTerms& terms, Nanos age, Nanos good) noexcept {
  if (demand.no_cache || age > demand.max_age) return false;
  if (good > Nanos{0}) return good >= demand.min_fresh;
  // Who asks for an answer that stays good has not agreed to one that is not.
  return terms.may_be_stale && demand.min_fresh == Nanos{0} && demand.max_stale > Nanos{0} && -good <= demand.max_stale;
}

bool may_store(const CacheConfig& config, const CacheHead& head) noexcept {
  if (!head.terms.storable || !config.statuses.contains(head.status)) return false;
  if (head.length && *head.length > config.max_object_bytes) return false;
  const bool good = good_for(config, head.terms, head.terms.initial_age) > Nanos{0};
  return good || (head.terms.may_be_stale && config.stale_if_error > Nanos{0});
}

bool takes_part(const CacheConfig& config, std::string_view method) noexcept {
  if (method != "GET" && method != "HEAD") return false;
  return std::find(config.methods.begin(), config.methods.end(), method) != config.methods.end();
}

std::string selection_text(const FieldNames& names, HeaderView fields) {
  std::string text;
  select_fields(names, fields, [&](std::string_view piece) { text.append(piece); });
  return text;
}

}  // namespace

// ---- fills and waiters ------------------------------------------------------------------------

CacheFill::CacheFill() noexcept = default;
CacheFill::CacheFill(std::unique_ptr<CacheFlight> flight) noexcept : flight_(std::move(flight)) {}
CacheFill::CacheFill(CacheFill&&) noexcept = default;
CacheFill& CacheFill::operator=(CacheFill&& other) noexcept {
  if (this != &other) {
    reset();
    flight_ = std::move(other.flight_);
  }
  return *this;
}
CacheFill::~CacheFill() { reset(); }

bool CacheFill::leads() const noexcept { return flight_ != nullptr && flight_->open; }

void CacheFill::reset() noexcept {
  if (flight_ == nullptr) return;
  flight_->cache.end(*flight_, nullptr, CacheMark::kNotYet);
  flight_.reset();
}

void CacheFill::give_up(const CacheConfig& config, TimePoint now) noexcept {
  if (flight_ == nullptr) return;
  flight_->cache.end(*flight_, nullptr, saturating_add(now, config.ttl).time_since_epoch().count());
  flight_.reset();
}

bool CacheFill::begin(const CacheConfig& config, const CacheHead& head, TimePoint now) {
  if (flight_ == nullptr) return false;
  if (flight_->cache.begin(*flight_, config, head, now)) return true;
  give_up(config, now);
  return false;
}

void CacheFill::append(const CacheConfig& config, std::string_view data, TimePoint now) {
  if (flight_ == nullptr || flight_->response == nullptr) return;
  if (!flight_->cache.append(*flight_, config, data)) give_up(config, now);
}

void CacheFill::finish(const CacheConfig& config, bool whole, TimePoint now) {
  if (flight_ == nullptr) return;
  Cache& cache = flight_->cache;
  const CachedRef stored = whole && flight_->response != nullptr ? cache.store(*flight_, config, now) : nullptr;
  if (stored == nullptr) return give_up(config, now);
  // One that is kept for failures alone may not be given to anybody now.
  const bool good = good_for(config, stored->terms(), stored->age(now)) > Nanos{0};
  cache.end(*flight_, good ? stored : nullptr, saturating_add(now, config.ttl).time_since_epoch().count());
  flight_.reset();
}

CacheWaiter::CacheWaiter() noexcept = default;
CacheWaiter::CacheWaiter(const Ticket& to_wake) noexcept : ticket(to_wake) {}
CacheWaiter::~CacheWaiter() { leave(); }

void CacheWaiter::leave() noexcept {
  if (state() == State::waiting) {
    const std::lock_guard lock(shard_->mutex);
    if (flight_ != nullptr) flight_->unlink(*this);
  }
  state_.store(State::idle, std::memory_order_relaxed);
  served_.reset();
  request_.reset();
}

// ---- questions --------------------------------------------------------------------------------

Cache::Cache(Wakeups& wakeups, CacheMemory& memory, std::uint64_t seed)
    : wakeups_(wakeups),
      memory_(memory),
      hash_(Rng{seed}.next(), Rng{~seed}.next()),
      shards_(new CacheShard[kShards]) {}
Cache::~Cache() = default;

CacheShard& Cache::shard_of(std::uint64_t hash) const noexcept { return shards_[hash % kShards]; }

std::uint64_t Cache::target(std::string_view key) const noexcept { return hash_(key); }

CacheAnswer Cache::lookup(const CacheConfig& config, const CacheRequest& request, CacheWaiter* may_wait,
                          TimePoint now) {
  if (!takes_part(config, request.method)) return {};
  const std::uint64_t hash = target(request.key);
  CacheShard& shard = shard_of(hash);
  std::vector<CachedRef> garbage;
  const std::lock_guard lock(shard.mutex);
  CacheTarget* const known = shard.find(hash, request.key);
  if (known != nullptr) {
    widen(shard, *known, config, garbage);
    if (CacheHit hit = find(config, shard, *known, request.fields, request.demand, now)) {
      return {CacheAnswer::Kind::hit, std::move(hit), {}};
    }
  }
  if (request.demand.only_if_cached) {
    if (known != nullptr) shard.forget_if_idle(*known);
    return {CacheAnswer::Kind::unsatisfiable, {}, {}};
  }
  return miss(config, shard, known, hash, request, may_wait, now);
}

/// The stored answer for these fields if it meets the demand, under the shard's mutex.
CacheHit Cache::find(const CacheConfig& config, CacheShard& shard, const CacheTarget& target, HeaderView fields,
                     const CacheDemand& demand, TimePoint now) noexcept {
  const auto entry = shard.variant(target, fields);
  if (entry == shard.by_use.end() || !config.statuses.contains(entry->response->status())) return {};
  const CachedResponse& response = *entry->response;
  const Nanos age = response.age(now);
  const Nanos good = good_for(config, response.terms(), age);
  if (!may_serve(demand, response.terms(), age, good)) return {};
  shard.touch(entry, now);
  return {entry->response, age, good <= Nanos{0}};
}

CacheAnswer Cache::miss(const CacheConfig& config, CacheShard& shard, CacheTarget* known, std::uint64_t hash,
                        const CacheRequest& request, CacheWaiter* may_wait, TimePoint now) {
  auto kept = std::make_unique<KeptRequest>();
  kept->hash = hash;
  kept->key = request.key;
  kept->fields = FieldCopy{request.fields};
  kept->demand = request.demand;
  kept->stores = request.method == "GET" && !request.demand.no_store;
  if (known == nullptr && kept->stores) known = &shard.find_or_add(hash, request.key, config.vary);
  if (known == nullptr) return {CacheAnswer::Kind::fetch, {}, launch(shard, nullptr, std::move(kept), false)};
  kept->mark = selection_hash(hash, known->names, request.fields);
  const bool shared = config.coalesce && !shard.is_marked(kept->mark, config.ttl, now);
  CacheFlight* const leader = shared ? shard.joinable(*known, request.fields) : nullptr;
  const bool takes_anothers = !request.demand.no_cache && request.demand.max_age > Nanos{0};
  if (leader != nullptr && may_wait != nullptr && takes_anothers) {
    may_wait->request_ = std::move(kept);
    may_wait->state_.store(CacheWaiter::State::waiting, std::memory_order_relaxed);
    leader->link(*may_wait);
    return {CacheAnswer::Kind::wait, {}, {}};
  }
  const bool leads = shared && leader == nullptr && kept->stores;
  CacheFill fill = launch(shard, known, std::move(kept), leads);
  shard.forget_if_idle(*known);
  return {CacheAnswer::Kind::fetch, {}, std::move(fill)};
}

CacheFill Cache::launch(CacheShard& shard, CacheTarget* target, std::unique_ptr<KeptRequest> request, bool open) {
  auto flight = std::make_unique<CacheFlight>(*this, shard, std::move(request), open);
  if (flight->request->stores) {
    flight->target = target;
    target->flights.push_back(flight.get());
  }
  return CacheFill{std::move(flight)};
}

CacheAnswer Cache::resume(const CacheConfig& config, CacheWaiter& waiter, TimePoint now) {
  const CacheWaiter::State state = waiter.state();
  if (state == CacheWaiter::State::waiting) return {CacheAnswer::Kind::wait, {}, {}};
  if (state == CacheWaiter::State::idle) return {};
  std::unique_ptr<KeptRequest> request = std::move(waiter.request_);
  const CachedRef served = std::move(waiter.served_);
  waiter.state_.store(CacheWaiter::State::idle, std::memory_order_relaxed);
  if (served != nullptr && served->is_for(request->fields.view())) {
    const Nanos age = served->age(now);
    // It was good when it was handed over; how long the hint to look took is nobody's fault.
    const Nanos good = std::max(good_for(config, served->terms(), age), Nanos{1});
    if (may_serve(request->demand, served->terms(), age, good)) {
      return {CacheAnswer::Kind::hit, {served, age, false}, {}};
    }
  }
  CacheShard& shard = shard_of(request->hash);
  const std::lock_guard lock(shard.mutex);
  shard.is_marked(request->mark, config.ttl, now);  // if it is, its time begins now
  CacheTarget* const target = request->stores ? &shard.find_or_add(request->hash, request->key, config.vary) : nullptr;
  return {CacheAnswer::Kind::fetch, {}, launch(shard, target, std::move(request), false)};
}

CacheHit Cache::stale(const CacheConfig& config, const CacheFill& fill, TimePoint now) {
  return fill ? stale(config, fill.flight_->request->question(), now) : CacheHit{};
}

CacheHit Cache::stale(const CacheConfig& config, const CacheWaiter& waiter, TimePoint now) {
  return waiter.request_ != nullptr ? stale(config, waiter.request_->question(), now) : CacheHit{};
}

CacheHit Cache::stale(const CacheConfig& config, const CacheRequest& request, TimePoint now) {
  const std::uint64_t hash = target(request.key);
  CacheShard& shard = shard_of(hash);
  const std::lock_guard lock(shard.mutex);
  const CacheTarget* known = shard.find(hash, request.key);
  if (known == nullptr) return {};
  CacheDemand demand = request.demand;
  demand.max_stale = std::max(demand.max_stale, config.stale_if_error);
  return find(config, shard, *known, request.fields, demand, now);
}

// ---- storing ----------------------------------------------------------------------------------

bool Cache::begin(CacheFlight& flight, const CacheConfig& config, const CacheHead& head, TimePoint now) {
  const KeptRequest& request = *flight.request;
  if (flight.response != nullptr || !request.stores || !may_store(config, head)) return false;
  auto response = std::make_shared<CachedResponse>(head.status, head.fields, head.terms, now, memory_);
  for (const std::string& name : config.vary) response->names_.add(name);
  for (const std::string_view name : head.vary) response->names_.add(name);
  response->selection_ = selection_text(response->names_, request.fields.view());
  const std::uint64_t texts = request.key.size() + response->names_.bytes() + response->selection_.capacity();
  const std::uint64_t length = head.length.value_or(0);
  response->head_bytes_ = sizeof(CachedResponse) + kNodeBytes + response->fields_.bytes() + texts;
  if (!charge(*response, config, response->head_bytes_ + length)) return false;
  response->body_.reserve(length);
  flight.response = std::move(response);
  return true;
}

bool Cache::append(CacheFlight& flight, const CacheConfig& config, std::string_view data) noexcept {
  CachedResponse& response = *flight.response;
  const std::uint64_t size = response.body_.size() + data.size();
  const std::uint64_t room = response.bytes_ - response.head_bytes_;
  if (size > config.max_object_bytes) return false;
  if (size > room) {
    const std::uint64_t wanted = std::min(std::max(room * 2, size), config.max_object_bytes);
    if (!charge(response, config, response.head_bytes_ + wanted)) return false;
    response.body_.reserve(wanted);
  }
  response.body_.append(data);
  return true;
}

/// Makes an answer's charge `bytes`, at the cost of older ones where there is no more room.
bool Cache::charge(CachedResponse& response, const CacheConfig& config, std::uint64_t bytes) noexcept {
  if (bytes > config.max_bytes) return false;
  while (!memory_.take(bytes - response.bytes_)) {
    if (drop_oldest(kShards) == 0) return false;
  }
  response.bytes_ = bytes;
  return true;
}

CachedRef Cache::store(CacheFlight& flight, const CacheConfig& config, TimePoint now) {
  CachedResponse& response = *flight.response;
  response.body_.shrink_to_fit();
  const std::uint64_t used = response.head_bytes_ + response.body_.size();
  memory_.give_back(response.bytes_ - used);
  response.bytes_ = used;
  const CachedRef stored = flight.response;
  const HeaderView fields = flight.request->fields.view();
  std::vector<CachedRef> garbage;
  {
    const std::lock_guard lock(flight.shard.mutex);
    if (flight.target == nullptr) return nullptr;
    CacheTarget& target = *flight.target;
    bool grown = target.names.bytes() > kMostNameBytes;
    if (grown) target.names = FieldNames{};
    response.names_.each([&](std::string_view name) { grown = target.names.add(name) || grown; });
    if (grown) drop_all(flight.shard, target, garbage);
    response.names_ = target.names;
    response.selection_ = selection_text(target.names, fields);
    const auto before = flight.shard.variant(target, fields);
    if (before != flight.shard.by_use.end()) {
      bytes_.fetch_sub(before->response->bytes(), std::memory_order_relaxed);
      entries_.fetch_sub(1, std::memory_order_relaxed);
      garbage.push_back(flight.shard.drop(before));
    }
    flight.shard.add(target, stored, selection_hash(target.hash, target.names, fields), now);
    bytes_.fetch_add(stored->bytes(), std::memory_order_relaxed);
    entries_.fetch_add(1, std::memory_order_relaxed);
  }
  garbage.clear();
  trim(config, static_cast<std::size_t>(&flight.shard - shards_.get()));
  return stored;
}

void Cache::end(CacheFlight& flight, const CachedRef& answer, std::int64_t alone_until_ns) noexcept {
  std::vector<Ticket> to_wake;
  {
    const std::lock_guard lock(flight.shard.mutex);
    const bool invalidated = flight.target == nullptr;
    flight.shard.detach(flight);
    if (flight.open && answer == nullptr && !invalidated) flight.shard.mark(flight.request->mark, alone_until_ns);
    flight.release_waiters(answer, to_wake);
  }
  for (const Ticket& ticket : to_wake) wakeups_.wake(ticket);
}

// ---- forgetting -------------------------------------------------------------------------------

/// After a reload the config may know of fields that the stored answers were not chosen by.
void Cache::widen(CacheShard& shard, CacheTarget& target, const CacheConfig& config, std::vector<CachedRef>& garbage) {
  bool grown = false;
  for (const std::string& name : config.vary) grown = target.names.add(name) || grown;
  if (grown) drop_all(shard, target, garbage);
}

/// Drops all variants of a target, under the shard's mutex; the target stays.
void Cache::drop_all(CacheShard& shard, CacheTarget& target, std::vector<CachedRef>& garbage) noexcept {
  while (!target.variants.empty()) {
    garbage.push_back(shard.drop(target.variants.back().entry));
    bytes_.fetch_sub(garbage.back()->bytes(), std::memory_order_relaxed);
    entries_.fetch_sub(1, std::memory_order_relaxed);
  }
}

void Cache::invalidate(std::uint64_t hash) noexcept {
  CacheShard& shard = shard_of(hash);
  std::vector<CachedRef> garbage;
  std::vector<Ticket> to_wake;
  {
    const std::lock_guard lock(shard.mutex);
    const std::size_t bucket = shard.targets.bucket({hash, {}});
    std::vector<CacheTarget*> hit;
    for (auto each = shard.targets.begin(bucket); each != shard.targets.end(bucket); ++each) {
      if (each->first.hash == hash) hit.push_back(&each->second);
    }
    for (CacheTarget* target : hit) {
      drop_all(shard, *target, garbage);
      for (CacheFlight* flight : std::exchange(target->flights, {})) {
        flight->target = nullptr;
        flight->release_waiters(nullptr, to_wake);
      }
      shard.forget_if_idle(*target);
    }
  }
  for (const Ticket& ticket : to_wake) wakeups_.wake(ticket);
}

/// Drops the answer that was used longest ago, of all but equals not one of the shard `spared`; its bytes, 0 if there
/// is none.
std::uint64_t Cache::drop_oldest(std::size_t spared) noexcept {
  for (;;) {
    std::size_t oldest = kShards;
    std::int64_t used = CacheShard::kEmpty;
    for (std::size_t i = 0; i < kShards; ++i) {
      const std::int64_t its = shards_[i].oldest_ns.load(std::memory_order_relaxed);
      if (its < used || (its == used && its != CacheShard::kEmpty && oldest == spared)) {
        oldest = i;
        used = its;
      }
    }
    if (oldest == kShards) return 0;
    CacheShard& shard = shards_[oldest];
    CachedRef garbage;
    {
      const std::lock_guard lock(shard.mutex);
      if (shard.by_use.empty()) continue;  // another thread was quicker; what the shard shows is right again
      const auto entry = std::prev(shard.by_use.end());
      CacheTarget& target = *entry->target;
      garbage = shard.drop(entry);
      shard.forget_if_idle(target);
    }
    bytes_.fetch_sub(garbage->bytes(), std::memory_order_relaxed);
    entries_.fetch_sub(1, std::memory_order_relaxed);
    return garbage->bytes();
  }
}

void Cache::trim(const CacheConfig& config, std::size_t spared) noexcept {
  while (bytes() > config.max_bytes && drop_oldest(spared) != 0) {
  }
}

void Cache::trim(const CacheConfig& config) noexcept { trim(config, kShards); }

std::uint64_t Cache::shed(std::uint64_t wanted) noexcept {
  std::uint64_t freed = 0;
  while (freed < wanted) {
    const std::uint64_t bytes = drop_oldest(kShards);
    if (bytes == 0) break;
    freed += bytes;
  }
  return freed;
}

std::uint64_t Cache::waiting() const noexcept {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < kShards; ++i) sum += shards_[i].waiting.load(std::memory_order_relaxed);
  return sum;
}

}  // namespace outrigger::policy
