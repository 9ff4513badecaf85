// proxy/policy/endpoint.hpp
//
// The endpoints of an upstream. A set is immutable and pinned with the configuration snapshot; what changes about an
// endpoint (how many attempts are on it, whether it is any good) lives in a shared EndpointState that survives reloads
// by upstream and address.
//
// What every attempt writes and what every choice reads lie on lines of their own: the health of an endpoint changes
// rarely, so all workers read it from their own caches.
//
// Threads: any; lock-free.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "proxy/base/cache_line.hpp"
#include "proxy/base/time.hpp"
#include "proxy/policy/permit.hpp"

namespace outrigger::policy {

enum class UpstreamId : std::uint16_t {};
enum class EndpointId : std::uint16_t {};

constexpr std::size_t index(UpstreamId id) noexcept { return static_cast<std::size_t>(id); }
constexpr std::size_t index(EndpointId id) noexcept { return static_cast<std::size_t>(id); }

class ConnectionSlots;

/// What all workers share about one address of one upstream. An attempt on it is a connection in use.
struct EndpointState {
  /// Counts one attempt on it until the permit goes, however many there are.
  Permit<EndpointState> enter() noexcept {
    in_flight.fetch_add(1, std::memory_order_relaxed);
    return Permit{*this};
  }
  /// The same if that makes no more than `limit`; else the permit is empty.
  Permit<EndpointState> try_enter(std::int64_t limit) noexcept {
    std::int64_t now = in_flight.load();
    while (now < limit) {
      if (in_flight.compare_exchange_weak(now, now + 1)) return Permit{*this};
    }
    return {};
  }
  /// Whoever waits for a connection looks at this number after having counted himself, so one of the two sees the
  /// other: hence the strict order here and above.
  void take_back() noexcept;

  alignas(kCacheLine) std::atomic<std::int64_t> in_flight{0};

  /// What health checks say; without any it is taken for healthy.
  alignas(kCacheLine) std::atomic<bool> healthy{true};
  std::atomic<std::uint32_t> failures_in_a_row{0};  // of outlier detection (outlier.hpp), as the next two
  std::atomic<std::int64_t> ejected_until_ns{0};    // over by itself once that has come
  std::atomic<std::uint32_t> ejections_in_a_row{0};
  std::atomic<std::uint64_t> ejections{0};
  ConnectionSlots* slots = nullptr;  // of its upstream; where nobody waits there are none
};
using EndpointPermit = Permit<EndpointState>;

struct Endpoint {
  std::string address;
  std::uint32_t weight = 1;
  EndpointState* state = nullptr;
  std::uint64_t hash = 0;  // of the address; only balancing by hash reads it
};

struct EndpointSet {
  std::vector<Endpoint> endpoints;
  std::uint32_t total_weight = 0;
};

/// Whether its failures have taken it out of service for the time being.
inline bool is_ejected(const EndpointState& state, TimePoint now) noexcept {
  return now.time_since_epoch().count() < state.ejected_until_ns.load(std::memory_order_relaxed);
}

/// Whether it should be chosen, as long as any endpoint should.
inline bool usable(const Endpoint& endpoint, TimePoint now) noexcept {
  return endpoint.state->healthy.load(std::memory_order_relaxed) && !is_ejected(*endpoint.state, now);
}

/// Whether any endpoint is. With none, all of them are used rather than none (panic), unless that is not wanted.
inline bool any_usable(const EndpointSet& set, TimePoint now) noexcept {
  for (const Endpoint& endpoint : set.endpoints) {
    if (usable(endpoint, now)) return true;
  }
  return false;
}

}  // namespace outrigger::policy
