// proxy/server/health_checks.hpp
//
// Checks the endpoints of every upstream that asks for it, beside the traffic: when (each at its own point of the
// interval, so that neither a fleet's probes nor those of one process come at once), what came of it
// (policy/health.hpp), and where that is told: to the workers by EndpointState::healthy, to people by a log line for
// each change.
//
// What is known of an endpoint outlives reloads and refreshes of names, by upstream and address. One that is no longer
// checked is in service.
//
// Threads: the control thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proxy/base/rng.hpp"
#include "proxy/config/snapshot.hpp"
#include "proxy/http/h1_head.hpp"
#include "proxy/net/asio.hpp"
#include "proxy/net/tls_context.hpp"
#include "proxy/policy/health.hpp"
#include "proxy/telemetry/log.hpp"
#include "proxy/telemetry/prometheus_export.hpp"

namespace outrigger::server {

class HealthChecks {
 public:
  HealthChecks(net::IoContext& io, telemetry::LogWriter& log, std::uint64_t seed);
  ~HealthChecks();

  /// Checks the endpoints of this snapshot from now on, and no others; `tls`: of its configuration.
  void follow(const config::Snapshot& snapshot, const net::TlsContexts& tls);
  void stop() { checks_.clear(); }

  /// By upstream that is or was checked.
  std::vector<telemetry::HealthCheckTotals> totals() const;

 private:
  struct Check;
  struct Counts {
    std::uint64_t good = 0;
    std::uint64_t bad = 0;
  };
  using Key = std::pair<std::string, std::string>;  // upstream, address

  void schedule(Check& check, Nanos earliest, Nanos latest);
  void begin(Check& check);
  void end(Check& check, const std::string& why);

  net::IoContext& io_;
  telemetry::LogWriter& log_;
  Rng rng_;
  http::HeadParser parser_;
  std::map<Key, std::shared_ptr<Check>> checks_;
  std::map<std::string, Counts> counts_;
};

}  // namespace outrigger::server
