// proxy/net/response_store.hpp
//
// Copies an answer into a cache while it is relayed: reads out of its head whether it may be kept (http/cache_control),
// and hands the cache what arrives. It ends by itself where the cache does not want the answer.
//
// Threads: one worker. Cost: nothing unless an answer is being stored.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>

#include "proxy/exchange/action.hpp"
#include "proxy/http/h1_head.hpp"
#include "proxy/policy/cache.hpp"

namespace outrigger::net {

class ResponseStore {
 public:
  /// Begins with a head that arrived at `wall_seconds`; the fill must live until `end`.
  void begin(const exchange::StoreResponse& order, const http::ResponseHead& head, std::int64_t wall_seconds,
             TimePoint now);
  void append(std::string_view data, TimePoint now) {
    if (fill_ != nullptr) fill_->append(*config_, data, now);
  }
  /// `whole`: nothing of the answer is missing. Without effect where nothing is being stored.
  void end(bool whole, TimePoint now) {
    if (policy::CacheFill* fill = std::exchange(fill_, nullptr)) fill->finish(*config_, whole, now);
  }

 private:
  policy::CacheFill* fill_ = nullptr;  // nullptr: nothing is being stored
  const policy::CacheConfig* config_ = nullptr;
};

}  // namespace outrigger::net
