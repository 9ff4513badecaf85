// proxy/policy/balance.hpp
//
// Which endpoint an attempt goes to. `least_request` takes the less loaded of two random endpoints: near the quality of
// a full scan for the price of two loads, and without the herd that all workers' common knowledge of "the best" would
// cause.
//
// Source: M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001.
// Threads: any; lock-free.
#pragma once

#include <cstdint>
#include <optional>

#include "proxy/base/rng.hpp"
#include "proxy/policy/endpoint.hpp"

namespace outrigger::policy {

enum class Balance : std::uint8_t { least_request, round_robin };

/// The position of a round-robin walk; one per worker and upstream, so that no line is shared.
struct BalanceCursor {
  std::uint32_t next = 0;
};

/// Chooses an endpoint by weight, avoiding `previous` where there is another; nullopt for an empty set.
std::optional<EndpointId> choose(const EndpointSet& set, Balance balance, std::optional<EndpointId> previous,
                                 BalanceCursor& cursor, Rng& rng) noexcept;

}  // namespace outrigger::policy
