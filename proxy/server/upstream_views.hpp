// proxy/server/upstream_views.hpp
//
// Upstreams and their endpoints as people and scrapes see them: who is in service, who is not and why, who waits for a
// connection. What changes about that is noticed by looking, from the control thread's tick, and told in the log: who
// ejects an endpoint is a worker in the middle of a request.
//
// Threads: the control thread; the states go on changing meanwhile.
#pragma once

#include <cstdint>
#include <map>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "proxy/base/time.hpp"
#include "proxy/config/snapshot.hpp"
#include "proxy/telemetry/log.hpp"
#include "proxy/telemetry/prometheus_export.hpp"

namespace outrigger::server {

/// An array with one object for each upstream.
nlohmann::ordered_json view_upstreams(const config::Snapshot& snapshot, TimePoint now);

/// How many endpoints of each upstream are healthy, unhealthy, ejected.
std::vector<telemetry::EndpointLevels> endpoint_levels(const config::Snapshot& snapshot, TimePoint now);
std::vector<telemetry::UpstreamLevels> upstream_levels(const config::Snapshot& snapshot, TimePoint now);

/// Whether what is in service can change without a request.
bool endpoints_come_and_go(const config::Snapshot& snapshot) noexcept;

/// Looks again and again for what has changed since.
class EndpointWatch {
 public:
  explicit EndpointWatch(telemetry::LogWriter& log) : log_(log) {}

  void look(const config::Snapshot& snapshot, TimePoint now);

 private:
  struct Seen {
    std::uint64_t ejections = 0;
    bool ejected = false;
  };

  void forget_the_gone(const config::Snapshot& snapshot);
  void look(std::string_view upstream, const policy::Endpoint& endpoint, TimePoint now);

  telemetry::LogWriter& log_;
  const config::Snapshot* last_ = nullptr;  // that was looked at; only compared
  std::map<const policy::EndpointState*, Seen> endpoints_;
  /// Who serves: the usable, all as none is usable, or nobody.
  enum class Service : std::uint8_t { usual, panic, none };
  std::map<std::string_view, Service> services_;  // by upstream; names are interned
};

}  // namespace outrigger::server
