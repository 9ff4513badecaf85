#include "proxy/policy/outlier.hpp"

#include <algorithm>

namespace outrigger::policy {
namespace {

constexpr double kJitter = 0.1;

/// How often in a row, this time included: whole quiet times since the last one ended are forgiven.
std::uint32_t times_in_a_row(const OutlierConfig& config, const EndpointState& state, TimePoint now) noexcept {
  const Nanos quiet = now - TimePoint{Nanos{state.ejected_until_ns.load(std::memory_order_relaxed)}};
  const std::uint32_t times = state.ejections_in_a_row.load(std::memory_order_relaxed);
  const auto forgiven = quiet / std::max(config.base_ejection, Nanos{1});
  return forgiven >= times ? 1 : times - static_cast<std::uint32_t>(forgiven) + 1;
}

Nanos ejection_time(const OutlierConfig& config, std::uint32_t times, Rng& rng) noexcept {
  const double grown = static_cast<double>(config.base_ejection.count()) * times;
  const double longest = static_cast<double>(std::max(config.max_ejection, config.base_ejection).count());
  return Nanos{static_cast<std::int64_t>(std::min(grown, longest) * (1 - kJitter * rng.uniform()))};
}

/// Whether one more may go.
bool may_lose(const OutlierConfig& config, const EndpointSet& set, const EndpointState& lost, TimePoint now) noexcept {
  std::size_t ejected = 1;
  bool another = false;
  for (const Endpoint& endpoint : set.endpoints) {
    if (endpoint.state == &lost) continue;
    ejected += is_ejected(*endpoint.state, now) ? 1 : 0;
    another |= usable(endpoint, now);
  }
  // Compared as a quotient: 29 of 100 are 29 %.
  return another && static_cast<double>(ejected) / static_cast<double>(set.endpoints.size()) <= config.max_ejected;
}

}  // namespace

bool OutlierDetection::on_result(const OutlierConfig& config, const EndpointSet& set, EndpointId endpoint,
                                 OutlierResult result, TimePoint now, Rng& rng) noexcept {
  EndpointState& state = *set.endpoints[index(endpoint)].state;
  if (result == OutlierResult::neutral) return false;
  if (result == OutlierResult::success) {
    if (state.failures_in_a_row.load(std::memory_order_relaxed) != 0) {
      state.failures_in_a_row.store(0, std::memory_order_relaxed);
    }
    return false;
  }
  // What was under way when it was ejected says nothing new.
  if (is_ejected(state, now)) return false;
  const std::uint32_t failures = state.failures_in_a_row.fetch_add(1, std::memory_order_relaxed) + 1;
  return failures >= config.consecutive_failures && eject(config, set, state, now, rng);
}

bool OutlierDetection::eject(const OutlierConfig& config, const EndpointSet& set, EndpointState& state, TimePoint now,
                             Rng& rng) noexcept {
  const std::lock_guard lock{mutex_};
  if (!active_) return false;
  // Somebody else's failure may have done it meanwhile.
  if (state.failures_in_a_row.load(std::memory_order_relaxed) < config.consecutive_failures) return false;
  state.failures_in_a_row.store(0, std::memory_order_relaxed);
  if (is_ejected(state, now) || !may_lose(config, set, state, now)) return false;
  const std::uint32_t times = times_in_a_row(config, state, now);
  const TimePoint until = saturating_add(now, ejection_time(config, times, rng));
  state.ejections_in_a_row.store(times, std::memory_order_relaxed);
  state.ejected_until_ns.store(until.time_since_epoch().count(), std::memory_order_relaxed);
  state.ejections.fetch_add(1, std::memory_order_relaxed);
  ejections_.fetch_add(1, std::memory_order_relaxed);
  return true;
}

void OutlierDetection::set_active(bool active) noexcept {
  const std::lock_guard lock{mutex_};
  active_ = active;
}

void pardon(EndpointState& state) noexcept {
  state.failures_in_a_row.store(0, std::memory_order_relaxed);
  state.ejections_in_a_row.store(0, std::memory_order_relaxed);
  state.ejected_until_ns.store(0, std::memory_order_relaxed);
}

}  // namespace outrigger::policy
