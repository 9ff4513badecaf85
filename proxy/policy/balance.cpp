#include "proxy/policy/balance.hpp"

namespace outrigger::policy {
namespace {

EndpointId at_weight(const EndpointSet& set, std::uint64_t point) noexcept {
  std::size_t i = 0;
  while (i + 1 < set.endpoints.size() && point >= set.endpoints[i].weight) point -= set.endpoints[i++].weight;
  return static_cast<EndpointId>(i);
}

std::size_t after(const EndpointSet& set, EndpointId id) noexcept { return (index(id) + 1) % set.endpoints.size(); }

/// Load per weight, cross-multiplied: a beats b when a.load/a.weight < b.load/b.weight.
bool less_loaded(const Endpoint& a, const Endpoint& b) noexcept {
  const std::int64_t load_a = a.state->in_flight.load(std::memory_order_relaxed) + 1;
  const std::int64_t load_b = b.state->in_flight.load(std::memory_order_relaxed) + 1;
  return load_a * b.weight < load_b * a.weight;
}

EndpointId draw(const EndpointSet& set, std::optional<EndpointId> avoided, Rng& rng) noexcept {
  const EndpointId drawn = at_weight(set, rng.below(set.total_weight));
  return drawn == avoided ? static_cast<EndpointId>(after(set, drawn)) : drawn;
}

EndpointId least_of_two(const EndpointSet& set, std::optional<EndpointId> previous, Rng& rng) noexcept {
  const EndpointId first = draw(set, previous, rng);
  EndpointId second = draw(set, first, rng);
  if (second == previous) second = first;
  return less_loaded(set.endpoints[index(second)], set.endpoints[index(first)]) ? second : first;
}

EndpointId in_turn(const EndpointSet& set, std::optional<EndpointId> previous, BalanceCursor& cursor) noexcept {
  const EndpointId turn = at_weight(set, cursor.next++ % set.total_weight);
  return turn == previous ? static_cast<EndpointId>(after(set, turn)) : turn;
}

}  // namespace

std::optional<EndpointId> choose(const EndpointSet& set, Balance balance, std::optional<EndpointId> previous,
                                 BalanceCursor& cursor, Rng& rng) noexcept {
  if (set.endpoints.empty()) return std::nullopt;
  if (set.endpoints.size() == 1) return EndpointId{0};
  return balance == Balance::round_robin ? in_turn(set, previous, cursor) : least_of_two(set, previous, rng);
}

}  // namespace outrigger::policy
