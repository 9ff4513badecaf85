// proxy/exchange/placing.hpp
//
// Where an attempt goes, and its slot there: chosen among the endpoints in service, that will have it, and that have a
// connection to spare. Looking and taking are two steps; whoever was faster in between makes it look once more.
//
// Threads: one owner of cursor and randomness; endpoints are shared.
#pragma once

#include <cstdint>
#include <optional>

#include "proxy/base/priority.hpp"
#include "proxy/exchange/plan.hpp"
#include "proxy/exchange/request_facts.hpp"

namespace outrigger::exchange {

enum class Placing : std::uint8_t {
  placed,
  unserved,  // the upstream has no endpoint in service
  refused,   // none of those in service will have it
  full,      // of those that will, none has a connection to spare, or others wait for one already
};

/// Whether an endpoint is in service: while none is usable all are, unless that is not wanted.
inline bool in_service(const Upstream& upstream, const policy::Endpoint& endpoint, TimePoint now) noexcept {
  return policy::usable(endpoint, now) || (upstream.panic && !policy::any_usable(*upstream.endpoints, now));
}

/// What a request is balanced by; nullopt: by nothing of its own.
inline std::optional<std::uint64_t> balance_key(const Upstream* upstream, const RequestFacts& facts) noexcept {
  if (upstream == nullptr || upstream->balance != policy::Balance::hash) return std::nullopt;
  const auto text = upstream->hash_key.client_ip ? std::optional{facts.client_ip}
                                                 : find_field(facts.fields, upstream->hash_key.header);
  return text ? std::optional{policy::balance_hash(*text)} : std::nullopt;
}

/// Chooses one of the endpoints that `admits(EndpointId)`; with `placed` it and the slot are in `slot`.
template <class Admits>
Placing place(const Upstream& upstream, const policy::Choice& choice, Priority priority, WorkerLocal& local,
              TimePoint now, Admits admits, policy::Slot& slot) noexcept {
  const policy::EndpointSet& set = *upstream.endpoints;
  const bool all = !policy::any_usable(set, now);
  if (all && (!upstream.panic || set.endpoints.empty())) return Placing::unserved;
  const auto will = [&](policy::EndpointId id) {
    return (all || policy::usable(set.endpoints[policy::index(id)], now)) && admits(id);
  };
  const auto may = [&](policy::EndpointId id) {
    const policy::EndpointState& state = *set.endpoints[policy::index(id)].state;
    return state.in_flight.load(std::memory_order_relaxed) < upstream.max_connections && will(id);
  };
  const bool behind = upstream.slots != nullptr && upstream.slots->stands_back(priority);
  while (!behind) {
    const auto chosen = policy::choose(set, choice, local.cursors[policy::index(upstream.id)], local.rng, may);
    if (!chosen) break;
    slot = {*chosen, set.endpoints[policy::index(*chosen)].state->try_enter(upstream.max_connections)};
    if (slot.permit) return Placing::placed;
  }
  for (std::size_t i = 0; i < set.endpoints.size(); ++i) {
    if (will(static_cast<policy::EndpointId>(i))) return Placing::full;
  }
  return Placing::refused;
}

}  // namespace outrigger::exchange
