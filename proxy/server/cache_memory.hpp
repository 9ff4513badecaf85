// proxy/server/cache_memory.hpp
//
// Memory of cached answers, out of the same account as replay copies and kept responses: together they stay below
// `limits.buffer_memory`.
//
// Threads: any.
#pragma once

#include "proxy/net/buffer_account.hpp"
#include "proxy/policy/cached_response.hpp"

namespace outrigger::server {

class CacheMemory final : public policy::CacheMemory {
 public:
  explicit CacheMemory(net::BufferAccount& account) noexcept : account_(account) {}

  bool take(std::uint64_t bytes) noexcept override { return account_.charge(net::BufferKind::cache, bytes); }
  void give_back(std::uint64_t bytes) noexcept override {
    account_.add(net::BufferKind::cache, -static_cast<std::int64_t>(bytes));
  }

 private:
  net::BufferAccount& account_;
};

}  // namespace outrigger::server
