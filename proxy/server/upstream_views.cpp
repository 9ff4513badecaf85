#include "proxy/server/upstream_views.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <string_view>
#include <utility>

namespace outrigger::server {
namespace {

using nlohmann::ordered_json;
using policy::Endpoint;

constexpr std::array<std::string_view, 3> kStates = {"healthy", "unhealthy", "ejected"};

std::size_t state_of(const Endpoint& endpoint, TimePoint now) noexcept {
  if (!endpoint.state->healthy.load(std::memory_order_relaxed)) return 1;
  return policy::is_ejected(*endpoint.state, now) ? 2 : 0;
}

Nanos ejected_for(const Endpoint& endpoint, TimePoint now) noexcept {
  const TimePoint until{Nanos{endpoint.state->ejected_until_ns.load(std::memory_order_relaxed)}};
  return std::max(until - now, Nanos{0});
}

bool in_panic(const exchange::Upstream& upstream, TimePoint now) noexcept {
  return !upstream.endpoints->endpoints.empty() && !policy::any_usable(*upstream.endpoints, now);
}

ordered_json view(const Endpoint& endpoint, const std::string& host, TimePoint now) {
  const policy::EndpointState& state = *endpoint.state;
  ordered_json out = {{"address", endpoint.address},
                      {"host", host},
                      {"weight", endpoint.weight},
                      {"state", kStates[state_of(endpoint, now)]},
                      {"in_flight", state.in_flight.load(std::memory_order_relaxed)},
                      {"failures_in_a_row", state.failures_in_a_row.load(std::memory_order_relaxed)},
                      {"ejections", state.ejections.load(std::memory_order_relaxed)}};
  if (policy::is_ejected(state, now)) out["ejected_for_ms"] = to_ms(ejected_for(endpoint, now));
  return out;
}

}  // namespace

ordered_json view_upstreams(const config::Snapshot& snapshot, TimePoint now) {
  ordered_json list = ordered_json::array();
  for (std::size_t i = 0; i < snapshot.upstreams.size(); ++i) {
    const exchange::Upstream& upstream = snapshot.upstreams[i];
    const auto& shown = upstream.endpoints->endpoints;
    ordered_json endpoints = ordered_json::array();
    for (std::size_t j = 0; j < shown.size(); ++j) {
      endpoints.push_back(view(shown[j], snapshot.endpoint_hosts[i][j], now));
    }
    list.push_back({{"name", upstream.name},
                    {"max_connections", upstream.max_connections},
                    {"pending", upstream.slots->queued()},
                    {"max_pending", upstream.max_pending},
                    {"panic", upstream.panic && in_panic(upstream, now)},
                    {"ejections", upstream.ejections->ejections()},
                    {"endpoints", std::move(endpoints)}});
  }
  return list;
}

std::vector<telemetry::EndpointLevels> endpoint_levels(const config::Snapshot& snapshot, TimePoint now) {
  std::vector<telemetry::EndpointLevels> levels;
  for (const exchange::Upstream& upstream : snapshot.upstreams) {
    std::array<std::uint64_t, kStates.size()> counts{};
    for (const Endpoint& endpoint : upstream.endpoints->endpoints) ++counts[state_of(endpoint, now)];
    for (std::size_t i = 0; i < kStates.size(); ++i) {
      levels.push_back({.upstream = std::string{upstream.name}, .state = std::string{kStates[i]}, .count = counts[i]});
    }
  }
  return levels;
}

std::vector<telemetry::UpstreamLevels> upstream_levels(const config::Snapshot& snapshot, TimePoint now) {
  std::vector<telemetry::UpstreamLevels> levels;
  for (const exchange::Upstream& upstream : snapshot.upstreams) {
    telemetry::UpstreamLevels& level = levels.emplace_back();
    level.upstream = upstream.name;
    level.pending = upstream.slots->queued();
    level.panic = upstream.panic && in_panic(upstream, now);
    if (upstream.outlier != nullptr) level.ejections = upstream.ejections->ejections();
  }
  return levels;
}

bool endpoints_come_and_go(const config::Snapshot& snapshot) noexcept {
  return std::ranges::any_of(snapshot.config.upstreams, [](const config::UpstreamConfig& upstream) {
    return upstream.outlier_detection || upstream.health_check;
  });
}

void EndpointWatch::look(const config::Snapshot& snapshot, TimePoint now) {
  if (std::exchange(last_, &snapshot) != &snapshot) forget_the_gone(snapshot);
  for (const exchange::Upstream& upstream : snapshot.upstreams) {
    if (upstream.outlier != nullptr) {
      for (const Endpoint& endpoint : upstream.endpoints->endpoints) look(upstream.name, endpoint, now);
    }
    const Service service = !in_panic(upstream, now) ? Service::usual : upstream.panic ? Service::panic : Service::none;
    if (std::exchange(services_[upstream.name], service) == service) continue;
    constexpr std::array<std::string_view, 3> kWhat = {"an upstream has usable endpoints again",
                                                       "no endpoint is usable: all are used",
                                                       "no endpoint is usable: requests are refused"};
    log_.write(service == Service::usual ? telemetry::LogLevel::info : telemetry::LogLevel::error,
               kWhat[static_cast<std::size_t>(service)], {{"upstream", upstream.name}});
  }
}

void EndpointWatch::forget_the_gone(const config::Snapshot& snapshot) {
  std::erase_if(endpoints_, [&](const auto& entry) {
    return std::ranges::none_of(snapshot.endpoint_states,
                                [&](const auto& state) { return state.get() == entry.first; });
  });
}

/// An ejection may be over before anybody has looked.
void EndpointWatch::look(std::string_view upstream, const Endpoint& endpoint, TimePoint now) {
  Seen& seen = endpoints_[endpoint.state];
  const std::uint64_t ejections = endpoint.state->ejections.load(std::memory_order_relaxed);
  const bool again = std::exchange(seen.ejections, ejections) < ejections;
  if (again) {
    const std::uint32_t in_a_row = endpoint.state->ejections_in_a_row.load(std::memory_order_relaxed);
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(ejected_for(endpoint, now));
    log_.write(
        telemetry::LogLevel::warn, "an endpoint was ejected",
        {{"upstream", upstream}, {"endpoint", endpoint.address}, {"for_ms", left.count()}, {"in_a_row", in_a_row}});
  }
  const bool ejected = policy::is_ejected(*endpoint.state, now);
  const bool was = std::exchange(seen.ejected, ejected) || again;
  if (ejected || !was) return;
  log_.write(telemetry::LogLevel::info, "an ejected endpoint is used again",
             {{"upstream", upstream}, {"endpoint", endpoint.address}});
}

}  // namespace outrigger::server
