// proxy/policy/keyed_rate_limit.hpp
//
// One rate limit for each client address or header value, in a table that never has more than `max_keys` of them. The
// numbers are rate_limit.hpp's; here is only who has which bucket.
//
// A full table forgets the key that has been silent for longest, in its shard. Forgetting never grants more than a
// fresh bucket does: the key's next request finds one that is full, as every new key's does. Whoever can make up keys
// at will is limited by nothing but `burst` per key; where that matters, limit by policy as well (a policy may have
// several limits).
//
// Keys are kept as 64-bit SipHash values with a secret seed, never as text: a hit compares one number, the table's size
// does not depend on what clients send, and nobody can aim two keys at one bucket or many at one chain. Two keys share
// a bucket by chance with probability keys^2 / 2^65 (1 in 10^11 for 10 000). Requests without the header share a bucket
// beside the table, so that no number of made-up keys refreshes it.
//
// One shard per 1,024 keys: a mutex, chains of indexes, a list by last use. Cost: hashing, one lock, one probe, one
// splice; no allocation once the table has grown, and never on a hit.
//
// Source: SipHash-2-4, J.-P. Aumasson and D. J. Bernstein, 2012.
// Threads: any. Limits: 64 places at a time that were given back are kept for others, per shard.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <vector>

#include "proxy/policy/rate_limit.hpp"
#include "proxy/policy/siphash.hpp"

namespace outrigger::policy {

class KeyedRateLimit final : public RatePlaceKeeper {
 public:
  /// An empty table. `config.max_keys` is that of the last `reload`; `seed` is to be unguessable.
  KeyedRateLimit(const RateLimitConfig& config, std::uint64_t seed);

  /// Admits one request of that key, at once or at a time at most `longest_wait` and `max_wait` away; nullopt: it has
  /// none.
  RateLimitAnswer admit(const RateLimitConfig& config, std::optional<std::string_view> key, Nanos longest_wait,
                        TimePoint now);
  /// The same for a key that was hashed when its text was at hand.
  RateLimitAnswer admit_hashed(const RateLimitConfig& config, std::optional<std::uint64_t> hash, Nanos longest_wait,
                               TimePoint now);
  std::uint64_t hashed(std::string_view key) const noexcept { return hash_(key); }
  /// A key that is not in the table has a full bucket.
  RateLimitView view(const RateLimitConfig& config, std::optional<std::string_view> key, TimePoint now) const noexcept;
  RateLimitView view_hashed(const RateLimitConfig& config, std::optional<std::uint64_t> hash,
                            TimePoint now) const noexcept;
  /// Makes `config` the numbers that all buckets are refilled by from `now` on. In a smaller table those keys stay that
  /// came last; with fewer keys than there are shards, none. By one thread at a time.
  void reload(const RateLimitConfig& config, TimePoint now);

  std::uint32_t max_keys() const noexcept { return max_keys_.load(std::memory_order_relaxed); }
  std::uint32_t keys() const noexcept;
  /// Keys that were forgotten for others.
  std::uint64_t evictions() const noexcept { return evictions_.load(std::memory_order_relaxed); }

  void take_back(const RatePlace& place, std::uint32_t bucket, std::uint32_t tenancy, TimePoint now) noexcept override;

 private:
  static constexpr std::uint32_t kKeysPerShard = 1024;
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

  struct Bucket {
    std::uint64_t hash = 0;
    std::int64_t empty_since = RateScale::kFull;
    std::uint32_t chained = kNone;  // the next in its chain
    std::uint32_t newer = kNone;
    std::uint32_t older = kNone;
    std::uint32_t tenancy = 0;   // how many keys had it before
    std::uint32_t returned = 0;  // places given back
  };
  struct alignas(kCacheLine) Shard {
    mutable std::mutex mutex;
    RateScale scale;
    std::uint32_t capacity = 0;
    std::vector<std::uint32_t> chains;  // index of the first bucket of each
    std::vector<Bucket> buckets;
    std::uint32_t newest = kNone;
    std::uint32_t oldest = kNone;
    ReturnedPlaces parked;

    std::uint32_t find(std::uint64_t hash) const noexcept;
    std::uint32_t claim(std::uint64_t hash, bool& evicted);
    void unchain(std::uint32_t index) noexcept;
    void unlink(std::uint32_t index) noexcept;
    void link_newest(std::uint32_t index) noexcept;
    void follow(const RateLimitConfig& config, TimePoint now) noexcept;
    void renumber(const RateLimitConfig& config, TimePoint now) noexcept;
    void resize(std::uint32_t keys);
    std::uint32_t& chain(std::uint64_t hash) noexcept { return chains[hash & (chains.size() - 1)]; }
  };

  static std::uint32_t keys_of(const RateLimitConfig& config) noexcept;
  /// Which shards are in use: all, unless there are fewer keys.
  std::uint32_t in_use() const noexcept { return std::min(max_keys(), shard_count_); }
  std::uint32_t shard_of(std::uint64_t hash) const noexcept;
  std::uint32_t capacity_of(std::uint32_t shard) const noexcept;

  SipHash hash_;
  std::atomic<std::uint32_t> max_keys_;
  const std::uint32_t shard_count_;
  std::unique_ptr<Shard[]> shards_;
  std::atomic<std::uint64_t> evictions_{0};
  RateLimit without_key_;
};

}  // namespace outrigger::policy
