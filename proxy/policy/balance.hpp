// proxy/policy/balance.hpp
//
// Which endpoint an attempt goes to, of those that may have it. `least_request` draws two by weight and takes the first
// unless the second, this request included, has no more for its weight: near the quality of a full scan for the price
// of two loads, and without the herd that all workers' common knowledge of "the best" would cause. With little under
// way the weights alone decide; an idle endpoint of little weight is not taken for being idle. `hash` sends what is
// alike to the same endpoint: each endpoint draws a number for a key, by a hash of both, and the best draw wins, so
// that an endpoint that goes takes no key of another with it, and one that comes takes its share from all alike.
//
// Who may have it is the caller's to say. Whoever may not is left out as if it were not in the set: the others share
// its part by their weights.
//
// Source: M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001; D. Thaler and C. Ravishankar,
// "A Name-Based Mapping Scheme for Rendezvous", 1996, with weights by exponential draws.
// Threads: any; lock-free. Cost: a few loads where all may have it; else, and by hash, a walk through the set.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "proxy/base/rng.hpp"
#include "proxy/policy/endpoint.hpp"

namespace outrigger::policy {

enum class Balance : std::uint8_t { least_request, round_robin, random, hash };

/// The position of a round-robin walk; one per worker and upstream, so that no line is shared.
struct BalanceCursor {
  std::uint32_t next = 0;
};

/// What a choice goes by.
struct Choice {
  Balance balance = Balance::least_request;
  std::optional<EndpointId> avoided;  // as long as there is another
  std::optional<std::uint64_t> key;   // by hash; without one it is random
};

/// What stands for a text when it is balanced by: the same in every process, so that many of them agree.
std::uint64_t balance_hash(std::string_view text) noexcept;

/// The draw of an endpoint for a key; the smallest wins.
double hash_draw(const Endpoint& endpoint, std::uint64_t key) noexcept;

/// One choice among those endpoints of a set that may have it.
template <class May>
class Chooser {
 public:
  Chooser(const EndpointSet& set, May may) noexcept : set_(set), may_(may) {}

  std::optional<EndpointId> least_request(Rng& rng) const noexcept {
    const auto first = draw(rng);
    if (!first || set_.endpoints.size() == 1) return first;
    const auto others = [&](EndpointId id) { return id != *first && may_(id); };
    const auto second = Chooser<decltype(others)>(set_, others).draw(rng);
    return second && is_better(of(*second), of(*first)) ? second : first;
  }
  std::optional<EndpointId> round_robin(BalanceCursor& cursor) const noexcept { return draw(cursor.next++); }
  std::optional<EndpointId> random(Rng& rng) const noexcept { return draw(rng); }
  std::optional<EndpointId> hash(std::uint64_t key) const noexcept {
    std::optional<EndpointId> best;
    double least = 0;
    each([&](EndpointId id) {
      const double drawn = hash_draw(of(id), key);
      if (best && drawn >= least) return false;
      best = id;
      least = drawn;
      return false;
    });
    return best;
  }

  std::optional<EndpointId> draw(Rng& rng) const noexcept {
    const EndpointId drawn = at_weight(rng.below(set_.total_weight));
    return may_(drawn) ? drawn : at_weight_of_those([&](std::uint64_t sum) { return rng.below(sum); });
  }

 private:
  std::optional<EndpointId> draw(std::uint32_t turn) const noexcept {
    const EndpointId drawn = at_weight(turn % set_.total_weight);
    return may_(drawn) ? drawn : at_weight_of_those([&](std::uint64_t sum) { return turn % sum; });
  }
  const Endpoint& of(EndpointId id) const noexcept { return set_.endpoints[index(id)]; }

  /// Goes through those that may have it until `visit` says enough.
  template <class Visit>
  void each(Visit visit) const noexcept {
    for (std::size_t i = 0; i < set_.endpoints.size(); ++i) {
      const auto id = static_cast<EndpointId>(i);
      if (may_(id) && visit(id)) return;
    }
  }
  EndpointId at_weight(std::uint64_t point) const noexcept {
    std::size_t i = 0;
    while (i + 1 < set_.endpoints.size() && point >= set_.endpoints[i].weight) point -= set_.endpoints[i++].weight;
    return static_cast<EndpointId>(i);
  }
  /// The same among those that may have it: `pick` a point below the sum of their weights. Who may can change while
  /// one looks, so it may be the last of them.
  template <class Pick>
  std::optional<EndpointId> at_weight_of_those(Pick pick) const noexcept {
    std::uint64_t sum = 0;
    each([&](EndpointId id) {
      sum += of(id).weight;
      return false;
    });
    if (sum == 0) return std::nullopt;
    std::uint64_t point = pick(sum);
    std::optional<EndpointId> found;
    each([&](EndpointId id) {
      found = id;
      const bool here = point < of(id).weight;
      point -= here ? 0 : of(id).weight;
      return here;
    });
    return found;
  }
  /// Load per weight, cross-multiplied: whether the second would have no more with this request than the first has
  /// without it. Between equal weights that is the plain comparison.
  static bool is_better(const Endpoint& second, const Endpoint& first) noexcept {
    const std::int64_t with_it = second.state->in_flight.load(std::memory_order_relaxed) + 1;
    const std::int64_t without = first.state->in_flight.load(std::memory_order_relaxed);
    return with_it * first.weight <= without * second.weight;
  }

  const EndpointSet& set_;
  May may_;
};

/// Chooses by weight among the endpoints that `may(EndpointId)` have it; nullopt where there is none.
template <class May>
std::optional<EndpointId> choose(const EndpointSet& set, const Choice& choice, BalanceCursor& cursor, Rng& rng,
                                 May may) noexcept {
  const auto chosen_by = [&](const auto& chooser) {
    switch (choice.balance) {
      case Balance::least_request: return chooser.least_request(rng);
      case Balance::round_robin: return chooser.round_robin(cursor);
      case Balance::hash:
        if (choice.key) return chooser.hash(*choice.key);
        break;
      case Balance::random: break;
    }
    return chooser.random(rng);
  };
  if (set.endpoints.empty()) return std::nullopt;
  if (!choice.avoided || set.endpoints.size() == 1) return chosen_by(Chooser(set, may));
  const auto other = chosen_by(Chooser(set, [&](EndpointId id) { return id != *choice.avoided && may(id); }));
  if (other || !may(*choice.avoided)) return other;
  return choice.avoided;
}

}  // namespace outrigger::policy
