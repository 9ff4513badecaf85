// proxy/policy/cache.hpp
//
// Answers kept in memory for a short time, so that a burst of the same question costs an upstream one answer. One state
// per policy key. What may be kept and for how long is read out of the fields by proxy/http (CacheDemand, CacheTerms);
// here it is obeyed. Nothing is ever validated with the upstream: an answer is good, or it is asked for anew.
//
// Lookup. A target (scheme, authority, path and query) has variants: its answers for different values of the request
// fields that `vary` and the answers' own Vary have named so far. The names only grow, and when they do the variants
// chosen by fewer go; a response that forgets to say Vary is then kept under more fields than needed, never under less.
// HEAD is answered from what a GET stored. It stores nothing itself: its answer could serve no GET, and the next GET
// makes a better one.
//
// Coalescing. The first miss leads: it has a CacheFill, which later misses of the same variant wait for with nothing
// but a CacheWaiter, a member of their own, under their own deadline. When the answer has been stored, each waiter is
// given it and looks whether it may have it (Vary may have told them apart). As soon as it is clear that nothing will
// be stored, at the head of the response or when the fill goes for whatever reason, each goes on alone, and for `ttl`
// nobody waits for that variant: what cannot be stored would only be waited for in a row, one after the other. Nobody
// is given an answer that was not stored.
//
// A request that changes the target invalidates all its variants, and what is being fetched for it, too: an answer made
// before the change must not be stored after it.
//
// Memory. Least recently used goes first, over all shards: each shows when its oldest answer was last used. Beyond
// `max_bytes`, and when the process's memory (CacheMemory) has no room, oldest answers go until there is. What is kept
// after it is good no more is kept for `stale_if_error` and `max-stale`, until it is replaced or pushed out.
//
// Threads: any. Cost: one hash, one short lock of one of 16 shards; a hit allocates nothing, a miss keeps a copy of its
// request's fields. No lock is held while memory is asked for, waiters are woken or responses are freed.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/cache_terms.hpp"
#include "proxy/base/header_view.hpp"
#include "proxy/base/time.hpp"
#include "proxy/base/wakeups.hpp"
#include "proxy/policy/cached_response.hpp"
#include "proxy/policy/siphash.hpp"
#include "proxy/policy/status_set.hpp"

namespace outrigger::policy {

struct CacheConfig {
  Nanos ttl = std::chrono::seconds{5};  // of a response that does not say, from its arrival
  std::uint64_t max_bytes = std::uint64_t{64} * 1024 * 1024;
  std::uint64_t max_object_bytes = std::uint64_t{64} * 1024;  // of a body
  StatusSet statuses{};                                       // filled in by the loader: 200
  std::vector<std::string> methods = {"GET", "HEAD"};         // no other is ever stored
  std::vector<std::string> vary;
  bool coalesce = true;
  Nanos stale_if_error{0};
};

/// Whether a state made for one may be kept for the other: always.
constexpr bool same_structure(const CacheConfig&, const CacheConfig&) noexcept { return true; }

/// What a cache is asked with; http::read_cache_demand has found that the request takes part. Views are read during the
/// call only.
struct CacheRequest {
  std::string_view method;
  std::string_view key;  // http::write_cache_key
  HeaderView fields;     // those that the upstream is asked with
  CacheDemand demand;
};

/// The head of a response that might be stored (http::StorableResponse has all of it).
struct CacheHead {
  std::uint16_t status = 0;
  HeaderView fields;  // those to be stored
  std::span<const std::string_view> vary;
  CacheTerms terms;
  std::optional<std::uint64_t> length;  // of its body, if known
};

/// A stored answer for a request; empty: there is none.
struct CacheHit {
  CachedRef response;
  Nanos age{0};
  bool stale = false;

  explicit operator bool() const noexcept { return response != nullptr; }
};

class Cache;
struct CacheFlight;
struct CacheShard;
struct CacheTarget;
struct KeptRequest;

/// The right to store the answer to a request that missed. Gone without `finish`, nothing is stored.
class CacheFill {
 public:
  CacheFill() noexcept;
  explicit CacheFill(std::unique_ptr<CacheFlight> flight) noexcept;
  CacheFill(CacheFill&&) noexcept;
  CacheFill& operator=(CacheFill&&) noexcept;
  ~CacheFill();

  explicit operator bool() const noexcept { return flight_ != nullptr; }
  /// Whether others may be waiting for the answer.
  bool leads() const noexcept;

  /// Takes the head; false if the answer will not be stored, which is final.
  bool begin(const CacheConfig& config, const CacheHead& head, TimePoint now);
  /// Takes a part of the body; nothing happens unless `begin` was true.
  void append(const CacheConfig& config, std::string_view data, TimePoint now);
  /// Stores the answer if it is `whole`.
  void finish(const CacheConfig& config, bool whole, TimePoint now);
  /// Gives the right up; whoever waits goes on alone. Going does the same, but knows no time: the `ttl` without
  /// coalescing then begins when somebody asks next.
  void give_up(const CacheConfig& config, TimePoint now) noexcept;

 private:
  friend class Cache;
  void reset() noexcept;

  std::unique_ptr<CacheFlight> flight_;
};

/// A place among those who wait for a leader's answer, a member of the one who waits. Going leaves.
class CacheWaiter {
 public:
  enum class State : std::uint8_t {
    idle,
    waiting,
    served,  // an answer was stored: `Cache::resume` tells whether it will do
    alone,   // there will be none
  };

  CacheWaiter() noexcept;
  explicit CacheWaiter(const Ticket& to_wake) noexcept;
  CacheWaiter(const CacheWaiter&) = delete;
  CacheWaiter& operator=(const CacheWaiter&) = delete;
  ~CacheWaiter();

  State state() const noexcept { return state_.load(std::memory_order_acquire); }
  /// Stops waiting.
  void leave() noexcept;

  Ticket ticket;  // not changed while waiting

 private:
  friend class Cache;
  friend struct CacheFlight;

  std::atomic<State> state_{State::idle};
  CacheShard* shard_ = nullptr;
  CacheFlight* flight_ = nullptr;  // this and what follows: under the shard's mutex while waiting
  CacheWaiter* earlier_ = nullptr;
  CacheWaiter* later_ = nullptr;
  CachedRef served_;
  std::unique_ptr<KeptRequest> request_;
};

struct CacheAnswer {
  enum class Kind : std::uint8_t {
    bypass,         // the method takes no part
    hit,            // `hit` has it
    fetch,          // ask the upstream, and give `fill` what comes of it
    wait,           // the waiter waits; ask `resume` when it has been woken
    unsatisfiable,  // it asked for a stored answer only, and there is none (504 by RFC 9111 5.2.1.7)
  };
  Kind kind = Kind::bypass;
  CacheHit hit;
  CacheFill fill;
};

class Cache {
 public:
  /// `wakeups` and `memory` outlive the cache and its answers; the cache outlives its fills and waiters. `seed` is
  /// to be unguessable. Nothing of the config is fixed by it.
  Cache(Wakeups& wakeups, CacheMemory& memory, std::uint64_t seed);
  ~Cache();

  /// Answers a request; `may_wait` (idle; nullptr: never) may be left waiting.
  CacheAnswer lookup(const CacheConfig& config, const CacheRequest& request, CacheWaiter* may_wait, TimePoint now);
  /// Answers a waiter that was woken: hit or fetch; wait if it was woken too early. Never leads.
  CacheAnswer resume(const CacheConfig& config, CacheWaiter& waiter, TimePoint now);
  /// What may be served instead of a failure: an answer that is not older than good plus `stale_if_error`.
  CacheHit stale(const CacheConfig& config, const CacheFill& fill, TimePoint now);
  CacheHit stale(const CacheConfig& config, const CacheWaiter& waiter, TimePoint now);
  CacheHit stale(const CacheConfig& config, const CacheRequest& request, TimePoint now);

  /// What an unsafe request keeps of its key, to invalidate it should it succeed (2xx or 3xx).
  std::uint64_t target(std::string_view key) const noexcept;
  void invalidate(std::uint64_t target) noexcept;

  /// Drops the least recently used until they are no more than `config.max_bytes`.
  void trim(const CacheConfig& config) noexcept;
  /// Drops the least recently used until `bytes` were freed; how many were. Answers in use are freed when they are not.
  std::uint64_t shed(std::uint64_t bytes) noexcept;

  std::uint64_t bytes() const noexcept { return bytes_.load(std::memory_order_relaxed); }
  std::uint64_t entries() const noexcept { return entries_.load(std::memory_order_relaxed); }
  std::uint64_t waiting() const noexcept;

 private:
  friend class CacheFill;
  friend class CacheWaiter;

  static constexpr std::size_t kShards = 16;

  CacheShard& shard_of(std::uint64_t hash) const noexcept;
  CacheHit find(const CacheConfig& config, CacheShard& shard, const CacheTarget& target, HeaderView fields,
                const CacheDemand& demand, TimePoint now) noexcept;
  CacheAnswer miss(const CacheConfig& config, CacheShard& shard, CacheTarget* known, std::uint64_t hash,
                   const CacheRequest& request, CacheWaiter* may_wait, TimePoint now);
  CacheFill launch(CacheShard& shard, CacheTarget* target, std::unique_ptr<KeptRequest> request, bool open);
  bool begin(CacheFlight& flight, const CacheConfig& config, const CacheHead& head, TimePoint now);
  bool append(CacheFlight& flight, const CacheConfig& config, std::string_view data) noexcept;
  CachedRef store(CacheFlight& flight, const CacheConfig& config, TimePoint now);
  bool charge(CachedResponse& response, const CacheConfig& config, std::uint64_t bytes) noexcept;
  void end(CacheFlight& flight, const CachedRef& answer, std::int64_t alone_until_ns) noexcept;
  void widen(CacheShard& shard, CacheTarget& target, const CacheConfig& config, std::vector<CachedRef>& garbage);
  void drop_all(CacheShard& shard, CacheTarget& target, std::vector<CachedRef>& garbage) noexcept;
  std::uint64_t drop_oldest(std::size_t spared) noexcept;
  void trim(const CacheConfig& config, std::size_t spared) noexcept;

  Wakeups& wakeups_;
  CacheMemory& memory_;
  const SipHash hash_;
  std::unique_ptr<CacheShard[]> shards_;
  std::atomic<std::uint64_t> bytes_{0};
  std::atomic<std::uint64_t> entries_{0};
};

}  // namespace outrigger::policy
