// proxy/policy/balance.hpp
//
// Which endpoint an attempt goes to. An endpoint set is immutable and pinned with the configuration snapshot; what
// changes about an endpoint (how many attempts are on it) lives in a shared EndpointState that survives reloads by
// address. `least_request` takes the less loaded of two random endpoints: near the quality of a full scan for the price
// of two loads, and without the herd that all workers' common knowledge of "the best" would cause.
//
// Source: M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001.
// Threads: any; lock-free.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "proxy/base/cache_line.hpp"
#include "proxy/base/rng.hpp"
#include "proxy/policy/permit.hpp"

namespace outrigger::policy {

enum class UpstreamId : std::uint16_t {};
enum class EndpointId : std::uint16_t {};

constexpr std::size_t index(UpstreamId id) noexcept { return static_cast<std::size_t>(id); }
constexpr std::size_t index(EndpointId id) noexcept { return static_cast<std::size_t>(id); }

enum class Balance : std::uint8_t { least_request, round_robin };

/// What all workers share about one address.
struct alignas(kCacheLine) EndpointState {
  /// Counts one attempt on it until the permit goes.
  Permit<EndpointState> enter() noexcept {
    in_flight.fetch_add(1, std::memory_order_relaxed);
    return Permit{*this};
  }
  void take_back() noexcept { in_flight.fetch_sub(1, std::memory_order_relaxed); }

  std::atomic<std::int64_t> in_flight{0};
};
using EndpointPermit = Permit<EndpointState>;

struct Endpoint {
  std::string address;
  std::uint32_t weight = 1;
  EndpointState* state = nullptr;
};

struct EndpointSet {
  std::vector<Endpoint> endpoints;
  std::uint32_t total_weight = 0;
};

/// The position of a round-robin walk; one per worker and upstream, so that no line is shared.
struct BalanceCursor {
  std::uint32_t next = 0;
};

/// Chooses an endpoint by weight, avoiding `previous` where there is another; nullopt for an empty set.
std::optional<EndpointId> choose(const EndpointSet& set, Balance balance, std::optional<EndpointId> previous,
                                 BalanceCursor& cursor, Rng& rng) noexcept;

}  // namespace outrigger::policy
