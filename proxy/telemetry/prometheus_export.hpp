// proxy/telemetry/prometheus_export.hpp
//
// What a scrape sees: the workers' rows summed into families, and gauges that live elsewhere asked for through small
// functions. prometheus-cpp gives the model and the text format; a Collectable lets it read our shards at scrape time.
//
// A reason fixes the code and the outcome of a request, so the combinations that can occur are known: of a routed
// policy they are all present from the start with 0 (a rate over a series that appears with its first failure would
// miss that failure), and any other one as soon as it has counted something, so that sums always hold. Labels come from
// the configuration or from closed sets, never from a request.
//
// Threads: the control thread. Cost: proportional to policies x workers; no effect on workers.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include "proxy/telemetry/metric_shard.hpp"
#include "proxy/telemetry/policy_families.hpp"

namespace outrigger::telemetry {

struct BudgetLevels {
  std::string name;
  double available = 0;
  std::int64_t requests_in_flight = 0;  // in their attempt loop
  std::int64_t extras_in_flight = 0;
  std::int64_t hedges_in_flight = 0;  // of which
};

struct EndpointLevels {
  std::string upstream;
  std::string state;
  std::uint64_t count = 0;
};

struct HealthCheckTotals {
  std::string upstream;
  std::uint64_t good = 0;
  std::uint64_t bad = 0;
};

/// Of a listener or of an upstream; the other name is empty.
struct CertificateLevels {
  std::string listener;
  std::string upstream;
  double expires_unix_seconds = 0;
};

struct UpstreamLevels {
  std::string upstream;
  std::uint32_t pending = 0;               // who waits for a connection
  bool panic = false;                      // no endpoint is usable, so all are used
  std::optional<std::uint64_t> ejections;  // so far; nullopt: failures eject nobody
};

struct KindValue {
  std::string kind;
  double value = 0;
};

struct ConfigLevels {
  std::uint64_t generation = 0;
  bool last_reload_success = true;
  double last_reload_unix_seconds = 0;
  std::uint64_t reloads_succeeded = 0;
  std::uint64_t reloads_failed = 0;
};

/// Where the numbers come from that no worker counts; a source left empty leaves its families out.
struct GaugeSources {
  std::string version = {};
  std::function<std::vector<BudgetLevels>()> budgets = {};
  std::function<std::vector<EndpointLevels>()> endpoints = {};
  std::function<std::vector<HealthCheckTotals>()> health_checks = {};
  std::function<std::vector<CertificateLevels>()> certificates = {};
  std::function<std::vector<UpstreamLevels>()> upstreams = {};
  std::function<PolicyLevels()> policies = {};
  std::function<std::vector<KindValue>()> buffer_bytes = {};
  std::function<std::vector<KindValue>()> dropped = {};  // log
  std::function<bool()> draining = {};
  std::function<ConfigLevels()> config = {};
};

class PrometheusExport final : public prometheus::Collectable {
 public:
  PrometheusExport(const MetricRegistry& registry, GaugeSources sources);

  std::vector<prometheus::MetricFamily> Collect() const override;
  /// All families as Prometheus text, version 0.0.4.
  std::string text() const;

 private:
  const MetricRegistry& registry_;
  GaugeSources sources_;
  mutable TransitionTotals transitions_;
};

}  // namespace outrigger::telemetry
