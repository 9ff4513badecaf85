#include "proxy/telemetry/policy_families.hpp"

#include <utility>

#include "proxy/telemetry/known_series.hpp"

namespace outrigger::telemetry {
namespace {

using All = MetricRegistry::All;
using exchange::CacheShown;
using policy::CircuitState;

constexpr auto kAllStates = enumerators<CircuitState, kCircuitStates>();
constexpr auto kAllCacheResults = enumerators<CacheShown, exchange::kCacheShown>();
constexpr auto kAllPriorities = enumerators<Priority, kPriorities>();

constexpr std::string_view kHedgeResultNames[kHedgeResults] = {"won", "lost", "suppressed", "failed"};
constexpr std::string_view kQueueNames[kQueues] = {"cache", "rate_limit", "bulkhead", "adaptive_limit", "pool"};
constexpr std::string_view kChaosKindNames[kChaosKinds] = {"delay", "status", "reset", "truncate"};
constexpr std::string_view kRateLimitResultNames[kRateLimitResults] = {"allow", "deny", "would_deny"};

// ---- what the workers counted ---------------------------------------------------------------

void add_hedges(Scrape& scrape, const All& all) {
  Family family = scrape.counter("hedges_total", "Hedges that were due, by what became of them.");
  for (const auto& [policy, rows] : all.hedges) {
    for (std::size_t i = 0; i < kHedgeResults; ++i) {
      const auto count = sum(
          rows, [i](const HedgeRow& row) -> auto& { return row.results[i]; });
      family.add({{"policy", policy}, {"result", kHedgeResultNames[i]}}, count);
    }
  }
}

void add_fallbacks(Scrape& scrape, const All& all) {
  Family family = scrape.counter("fallbacks_total", "Answers that were replaced by a fallback.");
  for (const auto& [policy, rows] : all.fallbacks) {
    family.add({{"policy", policy}}, sum(
                                         rows, [](const FallbackRow& row) -> auto& { return row.sent; }));
  }
}

void add_cache_lookups(Scrape& scrape, const All& all) {
  Family family = scrape.counter("cache_lookups_total", "What caches had for requests.");
  for (const auto& [policy, rows] : all.caches) {
    for (const CacheShown result : kAllCacheResults) {
      if (result == CacheShown::none) continue;
      const auto count = sum(
          rows, [result](const CacheRow& row) -> auto& { return row.lookups[at(result)]; });
      family.add({{"policy", policy}, {"result", to_string(result)}}, count);
    }
  }
}

void add_chaos(Scrape& scrape, const All& all) {
  Family family = scrape.counter("chaos_injected_total", "Faults that attempts met on purpose.");
  for (const auto& [policy, rows] : all.chaos) {
    for (std::size_t i = 0; i < kChaosKinds; ++i) {
      const auto count = sum(
          rows, [i](const ChaosRow& row) -> auto& { return row.injected[i]; });
      family.add({{"policy", policy}, {"kind", kChaosKindNames[i]}}, count);
    }
  }
}

void add_observed(Scrape& scrape, const All& all) {
  Family family = scrape.counter("observed_total", "What a policy that only observes would have done.");
  for (const auto& [policy, rows] : all.policies) {
    for (const Reason reason : kAllReasons) {
      const auto count = sum(
          rows, [reason](const PolicyRow& row) -> auto& { return row.observed[at(reason)]; });
      if (count == 0) continue;
      family.add({{"policy", policy}, {"reason", "would_" + std::string{to_string(reason)}}}, count);
    }
  }
}

void add_queue_waits(Scrape& scrape, const All& all) {
  Family family = scrape.histogram("queue_wait_seconds", "How long those waited that did, by what for.");
  for (const auto& [policy, rows] : all.policies) {
    for (std::size_t i = 0; i < kQueues; ++i) {
      auto merged = merge(
          rows, all.buckets, [i](const PolicyRow& row) -> auto& { return row.queue_wait[i]; });
      if (merged.sample_count == 0) continue;
      family.add({{"policy", policy}, {"part", kQueueNames[i]}}, std::move(merged));
    }
  }
}

void add_rate_limits(Scrape& scrape, const All& all) {
  Family family = scrape.counter("rate_limit_decisions_total", "What rate limits answered.");
  for (const auto& [rate_limit, policy, rows] : all.rate_limits) {
    for (std::size_t i = 0; i < kRateLimitResults; ++i) {
      const auto count = sum(
          rows, [i](const RateLimitRow& row) -> auto& { return row.decisions[i]; });
      if (count == 0 && i == at(RateLimitResult::would_deny)) continue;
      family.add({{"rate_limit", rate_limit}, {"policy", policy}, {"decision", kRateLimitResultNames[i]}}, count);
    }
  }
}

void add_bulkhead_refusals(Scrape& scrape, const All& all) {
  Family family = scrape.counter("bulkhead_rejected_total", "Who found no place in a bulkhead.");
  for (const auto& [bulkhead, rows] : all.bulkheads) {
    for (const Priority priority : kAllPriorities) {
      for (const Reason reason : kAllReasons) {
        const auto count = sum(
            rows,
            [ priority, reason ](const BulkheadRow& row) -> auto& { return row.rejected[at(priority)][at(reason)]; });
        if (count == 0 && !contains(kBulkheadReasons, reason)) continue;
        family.add({{"bulkhead", bulkhead}, {"priority", to_string(priority)}, {"reason", to_string(reason)}}, count);
      }
    }
  }
}

void add_adaptive_refusals(Scrape& scrape, const All& all) {
  Family limits = scrape.counter("adaptive_limit_rejected_total", "Attempts beyond an adaptive limit.");
  for (const auto& [limit, rows] : all.adaptive_limits) {
    for (const Priority priority : kAllPriorities) {
      const auto count = sum(
          rows, [priority](const AdaptiveLimitRow& row) -> auto& { return row.rejected[at(priority)]; });
      limits.add({{"adaptive_limit", limit}, {"priority", to_string(priority)}}, count);
    }
  }
  Family throttles = scrape.counter("adaptive_throttle_rejected_total", "Requests that were throttled.");
  for (const auto& [throttle, rows] : all.throttles) {
    throttles.add({{"adaptive_throttle", throttle}},
                  sum(
                      rows, [](const ThrottleRow& row) -> auto& { return row.rejected; }));
  }
}

// ---- the levels of shared states --------------------------------------------------------------

void add_circuits(Scrape& scrape, const PolicyLevels& levels) {
  Family states = scrape.gauge("circuit_state", "0 closed, 1 half-open, 2 open.");
  std::map<std::pair<std::string, std::string>, std::array<std::uint64_t, kCircuitStates>> of_endpoints;
  for (const CircuitLevels& circuit : levels.circuits) {
    if (!circuit.endpoint.empty()) {
      ++of_endpoints[{circuit.circuit, circuit.upstream}][at(circuit.state)];
    } else {
      states.add({{"circuit", circuit.circuit}, {"upstream", circuit.upstream}}, at(circuit.state));
    }
  }
  Family counts = scrape.gauge("circuit_endpoints", "Circuits of single endpoints, by their state.");
  for (const auto& [of, by_state] : of_endpoints) {
    for (const CircuitState state : kAllStates) {
      counts.add({{"circuit", of.first}, {"upstream", of.second}, {"state", to_string(state)}}, by_state[at(state)]);
    }
  }
}

void add_transitions(Scrape& scrape, const PolicyLevels& levels, TransitionTotals& totals) {
  for (const CircuitLevels& circuit : levels.circuits) totals.add(circuit);
  Family family = scrape.counter("circuit_transitions_total", "How often circuits went from one state to another.");
  for (const auto& [circuit, counts] : totals.by_circuit()) {
    for (const CircuitState from : kAllStates) {
      for (const CircuitState to : kAllStates) {
        const std::uint64_t count = counts[at(from)][at(to)];
        if (count == 0 && !contains(kTransitions, std::pair{from, to})) continue;
        family.add({{"circuit", circuit}, {"from", to_string(from)}, {"to", to_string(to)}}, count);
      }
    }
  }
}

void add_limits(Scrape& scrape, const PolicyLevels& levels) {
  Family in_flight = scrape.gauge("bulkhead_in_flight", "Places of a bulkhead that are taken.");
  Family capacity = scrape.gauge("bulkhead_capacity", "Places of a bulkhead.");
  Family queued = scrape.gauge("bulkhead_queued", "Who waits for a place of a bulkhead.");
  for (const BulkheadLevels& bulkhead : levels.bulkheads) {
    in_flight.add({{"bulkhead", bulkhead.name}}, bulkhead.in_flight);
    capacity.add({{"bulkhead", bulkhead.name}}, bulkhead.capacity);
    queued.add({{"bulkhead", bulkhead.name}}, bulkhead.queued);
  }
  Family limit = scrape.gauge("adaptive_limit", "Attempts that may be in flight at present.");
  Family attempts = scrape.gauge("adaptive_limit_in_flight", "Attempts in flight under an adaptive limit.");
  Family baseline = scrape.gauge("adaptive_limit_baseline_seconds", "The latency that counts as unloaded.");
  for (const AdaptiveLimitLevels& adaptive : levels.adaptive_limits) {
    limit.add({{"adaptive_limit", adaptive.name}}, adaptive.limit);
    attempts.add({{"adaptive_limit", adaptive.name}}, adaptive.in_flight);
    if (adaptive.baseline_seconds > 0) baseline.add({{"adaptive_limit", adaptive.name}}, adaptive.baseline_seconds);
  }
  Family rejection = scrape.gauge("adaptive_throttle_rejection_ratio", "The share of requests refused at present.");
  for (const ThrottleLevels& throttle : levels.throttles) {
    rejection.add({{"adaptive_throttle", throttle.name}}, throttle.rejection);
  }
}

}  // namespace

void TransitionTotals::add(const CircuitLevels& circuit) {
  Transitions& seen = seen_[{circuit.circuit, circuit.upstream, circuit.endpoint}];
  Transitions& total = totals_[circuit.circuit];
  for (const CircuitState from : kAllStates) {
    for (const CircuitState to : kAllStates) {
      const std::uint64_t now = circuit.transitions[at(from)][at(to)];
      const std::uint64_t before = std::exchange(seen[at(from)][at(to)], now);
      total[at(from)][at(to)] += now >= before ? now - before : now;
    }
  }
}

void add_policy_counters(Scrape& scrape, const All& all) {
  add_hedges(scrape, all);
  add_fallbacks(scrape, all);
  add_cache_lookups(scrape, all);
  add_chaos(scrape, all);
  add_observed(scrape, all);
  add_queue_waits(scrape, all);
  add_rate_limits(scrape, all);
  add_bulkhead_refusals(scrape, all);
  add_adaptive_refusals(scrape, all);
}

void add_policy_levels(Scrape& scrape, const PolicyLevels& levels, TransitionTotals& transitions) {
  Family delays = scrape.gauge("hedge_delay_seconds", "How long an attempt may take before it is hedged.");
  for (const HedgeLevels& hedge : levels.hedges) delays.add({{"policy", hedge.policy}}, hedge.delay_seconds);
  add_circuits(scrape, levels);
  add_transitions(scrape, levels, transitions);
  add_limits(scrape, levels);
}

}  // namespace outrigger::telemetry
