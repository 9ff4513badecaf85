// proxy/net/buffer_account.hpp
//
// How much memory bodies may take in the whole process: replay copies, kept responses, caches and mirrored requests
// together stay below `limits.buffer_memory`. Beyond it nothing fails: a new body streams without being replayable, a
// response is left unread instead of kept. One shared counter per kind, touched only by requests that keep bytes.
//
// Requests under way come before what is kept for later ones: an eighth is theirs alone, and what others hold of it is
// asked back (`excess`).
//
// Threads: any. A charge may overshoot the limit by what other workers charge in the same instant.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>

#include "proxy/base/cache_line.hpp"

namespace outrigger::net {

enum class BufferKind : std::uint8_t { replay, held, cache, mirror };

class BufferAccount {
 public:
  static constexpr std::size_t kKinds = 4;
  static constexpr const char* kNames[kKinds] = {"replay", "held", "cache", "mirror"};

  explicit BufferAccount(std::uint64_t limit) noexcept : limit_(limit) {}

  void set_limit(std::uint64_t limit) noexcept { limit_.store(limit, std::memory_order_relaxed); }

  /// Charges `bytes` if they fit below the limit with all that is charged; a cache's also leave the reserve free.
  bool charge(BufferKind kind, std::uint64_t bytes) noexcept {
    const std::int64_t most = kind == BufferKind::cache ? limit() - reserve() : limit();
    if (used() + static_cast<std::int64_t>(bytes) > most) return false;
    add(kind, static_cast<std::int64_t>(bytes));
    return true;
  }
  /// By how much all that is charged reaches into the reserve; what caches hold of that is to go.
  std::uint64_t excess() const noexcept {
    return static_cast<std::uint64_t>(std::max<std::int64_t>(used() - (limit() - reserve()), 0));
  }
  /// Whether anything more may be kept.
  bool room() const noexcept { return used() < limit(); }
  /// Counts bytes that have to be kept whatever the limit (and negative ones that are kept no longer).
  void add(BufferKind kind, std::int64_t bytes) noexcept {
    used_[static_cast<std::size_t>(kind)].value.fetch_add(bytes, std::memory_order_relaxed);
  }
  std::int64_t used(BufferKind kind) const noexcept {
    return used_[static_cast<std::size_t>(kind)].value.load(std::memory_order_relaxed);
  }

 private:
  std::int64_t reserve() const noexcept { return limit() / 8; }
  std::int64_t limit() const noexcept { return static_cast<std::int64_t>(limit_.load(std::memory_order_relaxed)); }
  std::int64_t used() const noexcept {
    std::int64_t sum = 0;
    for (const auto& kind : used_) sum += kind.value.load(std::memory_order_relaxed);
    return sum;
  }

  std::atomic<std::uint64_t> limit_;
  std::array<Padded<std::atomic<std::int64_t>>, kKinds> used_;
};

/// What one owner has charged; gives it back when it goes.
class BufferCharge {
 public:
  BufferCharge(BufferAccount& account, BufferKind kind) noexcept : account_(account), kind_(kind) {}
  BufferCharge(const BufferCharge&) = delete;
  BufferCharge& operator=(const BufferCharge&) = delete;
  ~BufferCharge() { set(0); }

  /// Makes the charge `bytes`; false, and nothing changed, where more would not fit.
  bool try_set(std::uint64_t bytes) noexcept {
    if (bytes > bytes_ && !account_.charge(kind_, bytes - bytes_)) return false;
    if (bytes < bytes_) account_.add(kind_, -static_cast<std::int64_t>(bytes_ - bytes));
    bytes_ = bytes;
    return true;
  }
  void set(std::uint64_t bytes) noexcept {
    if (bytes != bytes_) account_.add(kind_, static_cast<std::int64_t>(bytes) - static_cast<std::int64_t>(bytes_));
    bytes_ = bytes;
  }

 private:
  BufferAccount& account_;
  BufferKind kind_;
  std::uint64_t bytes_ = 0;
};

}  // namespace outrigger::net
