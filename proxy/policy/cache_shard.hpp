// proxy/policy/cache_shard.hpp
//
// The inside of a cache (proxy/policy/cache.hpp): a sixteenth of its targets behind one mutex, with their stored
// variants, the fetches under way for them, and the order of use. Everything here is done under that mutex; what is
// dropped is handed out, to be freed when it has been let go of.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "proxy/base/cache_line.hpp"
#include "proxy/policy/cache.hpp"
#include "proxy/policy/siphash.hpp"

namespace outrigger::policy {

/// A request as it is needed after its own bytes have gone.
struct KeptRequest {
  std::uint64_t hash = 0;
  std::string key;
  FieldCopy fields;
  CacheDemand demand;
  bool stores = false;     // a GET whose answer may be kept
  std::uint64_t mark = 0;  // the variant, as far as it was known

  CacheRequest question() const noexcept {
    return {.method = {}, .key = key, .fields = fields.view(), .demand = demand};
  }
};

struct CacheTarget;

/// One request to the upstream whose answer may be stored.
struct CacheFlight {
  CacheFlight(Cache& of, CacheShard& in, std::unique_ptr<KeptRequest> for_request, bool is_open) noexcept
      : cache(of), shard(in), request(std::move(for_request)), open(is_open) {}

  void link(CacheWaiter& waiter) noexcept;
  void unlink(CacheWaiter& waiter) noexcept;
  /// Ends all waits, with the answer or without one; adds who is to be woken.
  void release_waiters(const CachedRef& answer, std::vector<Ticket>& to_wake);

  Cache& cache;
  CacheShard& shard;
  std::unique_ptr<KeptRequest> request;
  CacheTarget* target = nullptr;  // nullptr: invalidated or over
  const bool open;                // others may wait for it
  CacheWaiter* first = nullptr;
  CacheWaiter* last = nullptr;
  std::shared_ptr<CachedResponse> response;  // while it arrives; touched by the owner alone
};

struct CacheEntry {
  CachedRef response;
  CacheTarget* target = nullptr;
  TimePoint used;
};

using CacheEntries = std::list<CacheEntry>;

struct CacheTarget {
  struct Variant {
    std::uint64_t selection_hash;
    CacheEntries::iterator entry;
  };

  const std::string* key = nullptr;
  std::uint64_t hash = 0;
  FieldNames names;  // that its variants are chosen by
  std::vector<Variant> variants;
  std::vector<CacheFlight*> flights;
};

/// A variant that nobody waits for until then.
struct CacheMark {
  static constexpr std::int64_t kNotYet = std::numeric_limits<std::int64_t>::max();  // `ttl` from the next look at it
  std::uint64_t variant = 0;
  std::int64_t until_ns = 0;
};

struct alignas(kCacheLine) CacheShard {
  struct Key {
    std::uint64_t hash;
    std::string text;
  };
  struct KeyView {
    std::uint64_t hash;
    std::string_view text;
  };
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(const Key& key) const noexcept { return key.hash; }
    std::size_t operator()(const KeyView& key) const noexcept { return key.hash; }
  };
  struct Equal {
    using is_transparent = void;
    template <class A, class B>
    bool operator()(const A& a, const B& b) const noexcept {
      return a.hash == b.hash && a.text == b.text;
    }
  };

  static constexpr std::int64_t kEmpty = std::numeric_limits<std::int64_t>::max();
  static constexpr std::size_t kMarks = 256;

  std::mutex mutex;
  std::atomic<std::int64_t> oldest_ns{
      kEmpty};  // when the least recently used was used; for who looks without the mutex
  std::atomic<std::uint64_t> waiting{0};
  std::unordered_map<Key, CacheTarget, Hash, Equal> targets;
  CacheEntries by_use;  // least recently used last
  std::array<CacheMark, kMarks> marks;

  CacheTarget* find(std::uint64_t hash, std::string_view key) noexcept;
  /// A new target is chosen by the fields `vary`.
  CacheTarget& find_or_add(std::uint64_t hash, std::string_view key, const std::vector<std::string>& vary);
  /// Forgets a target of which nothing is left.
  void forget_if_idle(CacheTarget& target) noexcept;

  /// The answer for these fields; by_use.end() where there is none.
  CacheEntries::iterator variant(const CacheTarget& target, HeaderView fields) noexcept;
  void touch(CacheEntries::iterator entry, TimePoint now) noexcept;
  void add(CacheTarget& target, CachedRef response, std::uint64_t selection_hash, TimePoint now);
  /// Unlinks an entry, not its target; what it held is the caller's to free.
  CachedRef drop(CacheEntries::iterator entry) noexcept;

  /// A fetch of that variant which may be waited for.
  CacheFlight* joinable(const CacheTarget& target, HeaderView fields) const;
  void detach(CacheFlight& flight) noexcept;

  void mark(std::uint64_t variant, std::int64_t until_ns) noexcept { slot(variant) = {variant, until_ns}; }
  bool is_marked(std::uint64_t variant, Nanos ttl, TimePoint now) noexcept;

 private:
  // The lowest bits have chosen the shard.
  CacheMark& slot(std::uint64_t variant) noexcept { return marks[(variant >> 8) % kMarks]; }
  void show_oldest() noexcept;
};

/// The hash of a text that comes in pieces, however it is cut.
class PiecesHash {
 public:
  explicit PiecesHash(std::uint64_t key) noexcept : key_(key) {}

  void add(std::string_view piece) noexcept {
    while (!piece.empty()) {
      const std::size_t taken = piece.copy(text_.data() + size_, text_.size() - size_);
      piece.remove_prefix(taken);
      size_ += taken;
      if (size_ == text_.size()) fold();
    }
  }
  std::uint64_t value() noexcept {
    fold();
    return so_far_;
  }

 private:
  void fold() noexcept {
    so_far_ = SipHash{key_, so_far_}({text_.data(), size_});
    size_ = 0;
  }

  std::uint64_t key_;
  std::uint64_t so_far_ = 0;
  std::size_t size_ = 0;
  std::array<char, 128> text_;
};

/// The hash of a variant of the target with that hash, which nobody outside knows.
inline std::uint64_t selection_hash(std::uint64_t target, const FieldNames& names, HeaderView fields) noexcept {
  PiecesHash hash{target};
  select_fields(names, fields, [&](std::string_view piece) { hash.add(piece); });
  return hash.value();
}

}  // namespace outrigger::policy
