#include "proxy/policy/keyed_rate_limit.hpp"

#include <algorithm>
#include <bit>
#include <utility>

#include "proxy/base/rng.hpp"

namespace outrigger::policy {

KeyedRateLimit::KeyedRateLimit(const RateLimitConfig& config, std::uint64_t seed)
    : hash_(Rng{seed}.next(), Rng{~seed}.next()),
      max_keys_(keys_of(config)),
      shard_count_((keys_of(config) - 1) / kKeysPerShard + 1),
      shards_(new Shard[shard_count_]),
      without_key_(config) {
  for (std::uint32_t i = 0; i < shard_count_; ++i) {
    Shard& shard = shards_[i];
    shard.resize(capacity_of(i));
    shard.scale = RateScale{config.requests, config.per, burst_of(config), TimePoint{}, 0};
  }
}

std::uint32_t KeyedRateLimit::keys_of(const RateLimitConfig& config) noexcept {
  return std::max<std::uint32_t>(1, config.max_keys);
}

std::uint32_t KeyedRateLimit::capacity_of(std::uint32_t shard) const noexcept {
  return max_keys() / shard_count_ + (shard < max_keys() % shard_count_ ? 1 : 0);
}

std::uint32_t KeyedRateLimit::shard_of(std::uint64_t hash) const noexcept {
  // By the high bits; a shard's chains go by the low ones.
  return static_cast<std::uint32_t>(((hash >> 32) * in_use()) >> 32);
}

std::uint32_t KeyedRateLimit::Shard::find(std::uint64_t hash) const noexcept {
  std::uint32_t index = chains[hash & (chains.size() - 1)];
  while (index != kNone && buckets[index].hash != hash) index = buckets[index].chained;
  return index;
}

void KeyedRateLimit::Shard::unchain(std::uint32_t index) noexcept {
  std::uint32_t* link = &chain(buckets[index].hash);
  while (*link != index) link = &buckets[*link].chained;
  *link = buckets[index].chained;
}

void KeyedRateLimit::Shard::unlink(std::uint32_t index) noexcept {
  const Bucket& bucket = buckets[index];
  (bucket.newer == kNone ? newest : buckets[bucket.newer].older) = bucket.older;
  (bucket.older == kNone ? oldest : buckets[bucket.older].newer) = bucket.newer;
}

void KeyedRateLimit::Shard::link_newest(std::uint32_t index) noexcept {
  buckets[index].newer = kNone;
  buckets[index].older = newest;
  (newest == kNone ? oldest : buckets[newest].newer) = index;
  newest = index;
}

std::uint32_t KeyedRateLimit::Shard::claim(std::uint64_t hash, bool& evicted) {
  std::uint32_t index = find(hash);
  if (index != kNone) {
    if (index != newest) {
      unlink(index);
      link_newest(index);
    }
    return index;
  }
  evicted = buckets.size() == capacity;
  if (evicted) {
    index = oldest;
    unchain(index);
    unlink(index);
    parked.forget(index);
  } else {
    index = static_cast<std::uint32_t>(buckets.size());
    buckets.emplace_back();
  }
  const std::uint32_t tenancy = buckets[index].tenancy + 1;
  buckets[index] = Bucket{.hash = hash, .chained = chain(hash), .tenancy = tenancy};
  chain(hash) = index;
  link_newest(index);
  return index;
}

void KeyedRateLimit::Shard::follow(const RateLimitConfig& config, TimePoint now) noexcept {
  const std::uint32_t burst = burst_of(config);
  if (!scale.fits(config.requests, config.per, burst, now)) renumber(config, now);
}

/// With another serial number all places that are out are void.
void KeyedRateLimit::Shard::renumber(const RateLimitConfig& config, TimePoint now) noexcept {
  const RateScale next{config.requests, config.per, burst_of(config), now, scale.serial() + 1};
  for (Bucket& bucket : buckets) bucket.empty_since = next.carried_over(scale, bucket.empty_since, now);
  scale = next;
  parked.clear();
}

/// Those keys stay that came last; all get another index.
void KeyedRateLimit::Shard::resize(std::uint32_t keys) {
  std::vector<Bucket> kept;
  kept.reserve(std::min<std::size_t>(keys, buckets.size()));
  for (std::uint32_t i = newest; i != kNone && kept.size() < keys; i = buckets[i].older) kept.push_back(buckets[i]);
  std::vector<std::uint32_t> empty(std::bit_ceil(std::max(1u, keys)), kNone);
  capacity = keys;
  chains.swap(empty);
  buckets.clear();
  newest = oldest = kNone;
  buckets.swap(kept);
  for (std::uint32_t i = static_cast<std::uint32_t>(buckets.size()); i-- > 0;) {
    buckets[i].chained = std::exchange(chain(buckets[i].hash), i);
    link_newest(i);
  }
}

RateLimitAnswer KeyedRateLimit::admit(const RateLimitConfig& config, std::optional<std::string_view> key,
                                      Nanos longest_wait, TimePoint now) {
  return admit_hashed(config, key ? std::optional{hash_(*key)} : std::nullopt, longest_wait, now);
}

RateLimitAnswer KeyedRateLimit::admit_hashed(const RateLimitConfig& config, std::optional<std::uint64_t> hash,
                                             Nanos longest_wait, TimePoint now) {
  if (!hash) return without_key_.admit(config, longest_wait, now);
  std::uint32_t shard_index = shard_of(*hash);
  std::unique_lock lock{shards_[shard_index].mutex};
  while (shards_[shard_index].capacity == 0) {  // it has just gone out of use
    lock.unlock();
    shard_index = shard_of(*hash);
    lock = std::unique_lock{shards_[shard_index].mutex};
  }
  Shard& shard = shards_[shard_index];
  shard.follow(config, now);
  bool evicted = false;
  const std::uint32_t index = shard.claim(*hash, evicted);
  if (evicted) evictions_.fetch_add(1, std::memory_order_relaxed);
  Bucket& bucket = shard.buckets[index];
  const RateScale& scale = shard.scale;
  const std::int64_t now_units = scale.units(now);
  RatePlace place = scale.next(bucket.empty_since, now_units);
  Nanos wait = place.after > now_units ? scale.wait(place.after, now) : Nanos{0};
  bool taken_over = false;
  if (wait.count() > 0) {
    const Nanos limit = wait_limit(config, longest_wait);
    if (const auto parked = shard.parked.first(index, now_units); parked && *parked < place.after) {
      taken_over = scale.wait(*parked, now) <= limit && shard.parked.take(index, *parked);
      if (taken_over) place = scale.place_at(*parked);
    }
    if (!taken_over && (wait > limit || scale.beyond_reach(place.after, now_units))) {
      return {Verdict{Reason::rate_limited, wait}};
    }
    if (taken_over) wait = scale.wait(place.after, now);
  }
  if (!taken_over) bucket.empty_since = place.after;
  place.returned = bucket.returned;
  return {Verdict{}, now + wait, RateLimitPlace{*this, place, index * shard_count_ + shard_index, bucket.tenancy}};
}

void KeyedRateLimit::take_back(const RatePlace& place, std::uint32_t bucket_index, std::uint32_t tenancy,
                               TimePoint now) noexcept {
  Shard& shard = shards_[bucket_index % shard_count_];
  const std::uint32_t index = bucket_index / shard_count_;
  const std::lock_guard lock{shard.mutex};
  if (shard.scale.serial() != place.serial) return;  // which goes with the indexes, too
  Bucket& bucket = shard.buckets[index];
  if (bucket.tenancy != tenancy) return;
  const bool last = bucket.empty_since == place.after;
  if (!last && shard.scale.wait(place.after, now).count() > 0) return shard.parked.put(index, place.after);
  bucket.empty_since = shard.scale.without(place, bucket.empty_since, bucket.returned, shard.scale.units(now));
  if (!last) ++bucket.returned;
  while (shard.parked.take(index, bucket.empty_since)) bucket.empty_since -= shard.scale.permit();
}

RateLimitView KeyedRateLimit::view(const RateLimitConfig& config, std::optional<std::string_view> key,
                                   TimePoint now) const noexcept {
  return view_hashed(config, key ? std::optional{hash_(*key)} : std::nullopt, now);
}

RateLimitView KeyedRateLimit::view_hashed(const RateLimitConfig& config, std::optional<std::uint64_t> hash,
                                          TimePoint now) const noexcept {
  if (!hash) return without_key_.view(config, now);
  const Shard& shard = shards_[shard_of(*hash)];
  const std::lock_guard lock{shard.mutex};
  const std::uint32_t index = shard.find(*hash);
  return view_of(config, shard.scale, index == kNone ? RateScale::kFull : shard.buckets[index].empty_since, now);
}

void KeyedRateLimit::reload(const RateLimitConfig& config, TimePoint now) {
  const std::uint32_t used = in_use();
  const bool other_size = keys_of(config) != max_keys();
  max_keys_.store(keys_of(config), std::memory_order_relaxed);
  for (std::uint32_t i = 0; i < shard_count_; ++i) {
    Shard& shard = shards_[i];
    const std::lock_guard lock{shard.mutex};
    if (!other_size) {
      shard.follow(config, now);
      continue;
    }
    if (used != in_use()) shard.resize(0);  // its keys may belong to another shard now
    shard.resize(capacity_of(i));
    shard.renumber(config, now);
  }
  without_key_.reload(config, now);
}

std::uint32_t KeyedRateLimit::keys() const noexcept {
  std::size_t sum = 0;
  for (std::uint32_t i = 0; i < shard_count_; ++i) {
    const std::lock_guard lock{shards_[i].mutex};
    sum += shards_[i].buckets.size();
  }
  return static_cast<std::uint32_t>(sum);
}

}  // namespace outrigger::policy
