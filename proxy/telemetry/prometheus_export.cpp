#include "proxy/telemetry/prometheus_export.hpp"

#include <algorithm>
#include <sstream>
#include <string_view>
#include <utility>

#include <prometheus/text_serializer.h>

#include "proxy/telemetry/known_series.hpp"
#include "proxy/telemetry/process_stats.hpp"
#include "proxy/telemetry/scrape.hpp"

namespace outrigger::telemetry {
namespace {

template <class List, class Value>
constexpr bool contains(const List& list, Value value) noexcept {
  for (const auto& element : list) {
    if (element == value) return true;
  }
  return false;
}
template <class E>
constexpr std::size_t at(E enumerator) noexcept {
  return static_cast<std::size_t>(enumerator);
}

/// Calls `visit` for every reason; which of them matter is the caller's to say.
template <class Visit>
void for_each_reason(Visit visit) {
  for (std::size_t i = 0; i < kReasonCount; ++i) visit(static_cast<Reason>(i));
}
template <class Visit>
void for_each_kind(Visit visit) {
  for (std::size_t i = 0; i < exchange::kAttemptKinds; ++i) visit(static_cast<AttemptKind>(i));
}

std::string_view code_of(Reason reason) noexcept {
  switch (reason) {
    case Reason::success: return "2xx";
    case Reason::http_4xx: return "4xx";
    case Reason::http_5xx: return "5xx";
    default: break;
  }
  switch (info(reason).status / 100) {
    case 4: return "4xx";
    case 5: return "5xx";
    default: return "none";
  }
}

// ---- families of the workers' rows ----------------------------------------------------------

void add_requests(Scrape& scrape, const MetricRegistry& registry) {
  Family total = scrape.counter("requests_total", "Finished requests.");
  for (const auto& [policy, rows] : registry.policies()) {
    const auto add = [&, &policy_name = policy](std::string_view code, Reason reason, std::uint64_t count) {
      total.add({{"policy", policy_name},
                 {"code", code},
                 {"outcome", to_string(exchange::outcome_of(reason))},
                 {"reason", to_string(reason)}},
                count);
    };
    const bool routed = policy != kUnrouted;
    for_each_reason([&, &policy_rows = rows](Reason reason) {
      std::uint64_t count = sum(
          policy_rows, [&](const PolicyRow& row) -> auto& { return row.requests[at(reason)]; });
      if (count == 0 && !(routed && contains(kRoutedReasons, reason))) return;
      if (reason == Reason::success) {
        // Read after the sum it is part of, so it may be ahead of it for an instant.
        const auto redirects =
            std::min(count, sum(
                                policy_rows, [](const PolicyRow& row) -> auto& { return row.redirects; }));
        add("3xx", reason, redirects);
        count -= redirects;
      }
      add(code_of(reason), reason, count);
    });
  }
}

void add_request_durations(Scrape& scrape, const MetricRegistry& registry) {
  Family family =
      scrape.histogram("request_duration_seconds", "From the end of the request head to the end of the request.");
  for (const auto& [policy, rows] : registry.policies()) {
    for (std::size_t i = 0; i < exchange::kRequestOutcomes; ++i) {
      const auto outcome = static_cast<RequestOutcome>(i);
      auto merged = merge(
          rows, registry.buckets(), [&](const PolicyRow& row) -> auto& { return row.duration[i]; });
      if (merged.sample_count == 0 && (policy == kUnrouted || !contains(kOutcomesNow, outcome))) continue;
      family.add({{"policy", policy}, {"outcome", to_string(outcome)}}, std::move(merged));
    }
  }
}

void add_requests_in_flight(Scrape& scrape, const MetricRegistry& registry) {
  Family family = scrape.gauge("requests_in_flight", "Requests under way.");
  for (const auto& [policy, rows] : registry.policies()) {
    if (policy == kUnrouted) continue;
    const std::int64_t count = sum(
        rows, [](const PolicyRow& row) -> auto& { return row.in_flight; });
    family.add({{"policy", policy}}, static_cast<double>(count));
  }
}

void add_attempts(Scrape& scrape, const MetricRegistry& registry) {
  Family family = scrape.counter("attempts_total", "Ended attempts at an upstream.");
  for (const auto& [key, rows] : registry.attempts()) {
    for_each_kind([&, &names = key, &upstream_rows = rows](AttemptKind kind) {
      for (std::size_t i = 0; i < kOutcomes; ++i) {
        const auto outcome = static_cast<Outcome>(i);
        for_each_reason([&](Reason reason) {
          const std::uint64_t count = sum(
              upstream_rows, [&](const AttemptRow& row) -> auto& { return row.attempts[at(kind)][i][at(reason)]; });
          const bool expected = contains(kKindsNow, kind) && contains(kAttemptResults, AttemptResult{outcome, reason});
          if (count == 0 && !expected) return;
          family.add({{"policy", names.first},
                      {"upstream", names.second},
                      {"kind", to_string(kind)},
                      {"outcome", to_string(outcome)},
                      {"reason", to_string(reason)}},
                     count);
        });
      }
    });
  }
}

/// The rows of one policy at all its upstreams, taken together.
using AttemptHistograms = std::map<std::string, std::vector<ClientMetric::Histogram>, std::less<>>;

void add_to(ClientMetric::Histogram& total, const ClientMetric::Histogram& part) {
  if (total.bucket.empty()) {
    total = part;
    return;
  }
  total.sample_count += part.sample_count;
  total.sample_sum += part.sample_sum;
  for (std::size_t i = 0; i < total.bucket.size(); ++i)
    total.bucket[i].cumulative_count += part.bucket[i].cumulative_count;
}

void add_attempt_durations(Scrape& scrape, const MetricRegistry& registry) {
  AttemptHistograms totals;
  for (const auto& [key, rows] : registry.attempts()) {
    auto& by_kind = totals[key.first];
    by_kind.resize(exchange::kAttemptKinds);
    for_each_kind([&, &upstream_rows = rows](AttemptKind kind) {
      add_to(by_kind[at(kind)], merge(
                                    upstream_rows, registry.buckets(), [&](const AttemptRow& row) -> auto& {
                                      return row.duration[at(kind)];
                                    }));
    });
  }
  Family family = scrape.histogram("attempt_duration_seconds", "From the start of an attempt to its end.");
  for (auto& [policy, by_kind] : totals) {
    for_each_kind([&, &policy_name = policy, &histograms = by_kind](AttemptKind kind) {
      ClientMetric::Histogram& merged = histograms[at(kind)];
      if (merged.sample_count == 0 && !contains(kKindsNow, kind)) return;
      family.add({{"policy", policy_name}, {"kind", to_string(kind)}}, std::move(merged));
    });
  }
}

void add_suppressed(Scrape& scrape, const MetricRegistry& registry) {
  Family family = scrape.counter("retries_suppressed_total", "Retryable results that were not retried, by why not.");
  for (const auto& [policy, rows] : registry.policies()) {
    for_each_reason([&, &policy_name = policy, &policy_rows = rows](Reason reason) {
      const auto count = sum(
          policy_rows, [&](const PolicyRow& row) -> auto& { return row.retries_suppressed[at(reason)]; });
      if (count == 0 && (policy_name == kUnrouted || !contains(kStopReasons, reason))) return;
      family.add({{"policy", policy_name}, {"reason", to_string(reason)}}, count);
    });
  }
}

void add_deadlines(Scrape& scrape, const MetricRegistry& registry) {
  Family family =
      scrape.counter("deadline_exceeded_total", "Requests whose deadline passed, by the stage they were in.");
  for (const auto& [policy, rows] : registry.policies()) {
    for (std::size_t stage = 1; stage < kStages; ++stage) {
      const auto count = sum(
          rows, [&](const PolicyRow& row) -> auto& { return row.deadline_exceeded[stage]; });
      if (count == 0 && (policy == kUnrouted || !contains(kStagesNow, stage))) continue;
      family.add({{"policy", policy}, {"stage", kStageNames[stage]}}, count);
    }
  }
}

void add_budget_decisions(Scrape& scrape, const MetricRegistry& registry) {
  Family family = scrape.counter("budget_decisions_total", "Extra attempts that were asked for.");
  for (const auto& [budget, rows] : registry.budgets()) {
    for_each_kind([&, &budget_name = budget, &budget_rows = rows](AttemptKind kind) {
      for (const bool allowed : {false, true}) {
        const auto count = sum(
            budget_rows, [&](const BudgetRow& row) -> auto& { return row.decisions[at(kind)][allowed]; });
        if (count == 0 && kind != AttemptKind::retry) continue;
        family.add({{"budget", budget_name}, {"kind", to_string(kind)}, {"allowed", allowed ? "true" : "false"}},
                   count);
      }
    });
  }
}

void add_listeners(Scrape& scrape, const MetricRegistry& registry) {
  Family open = scrape.gauge("downstream_connections", "Open client connections.");
  for (const auto& [listener, rows] : registry.listeners()) {
    const std::int64_t count = sum(
        rows, [](const ListenerRow& row) -> auto& { return row.connections; });
    open.add({{"listener", listener}}, static_cast<double>(count));
  }
  Family total = scrape.counter("downstream_connections_total", "Accepted client connections.");
  for (const auto& [listener, rows] : registry.listeners()) {
    total.add({{"listener", listener}},
              sum(
                  rows, [](const ListenerRow& row) -> auto& { return row.connections_total; }));
  }
  Family rejected = scrape.counter("downstream_rejected_total", "Client connections that were turned away.");
  for (const auto& [listener, rows] : registry.listeners()) {
    for_each_reason([&, &listener_name = listener, &listener_rows = rows](Reason reason) {
      const auto count = sum(
          listener_rows, [&](const ListenerRow& row) -> auto& { return row.rejected[at(reason)]; });
      if (count != 0) rejected.add({{"listener", listener_name}, {"reason", to_string(reason)}}, count);
    });
  }
}

void add_upstreams(Scrape& scrape, const MetricRegistry& registry) {
  Family open = scrape.gauge("upstream_connections", "Open connections to an upstream.");
  for (const auto& [upstream, rows] : registry.upstreams()) {
    const std::int64_t active = sum(
        rows, [](const UpstreamRow& row) -> auto& { return row.active; });
    const std::int64_t idle = sum(
        rows, [](const UpstreamRow& row) -> auto& { return row.idle; });
    open.add({{"upstream", upstream}, {"state", "active"}}, static_cast<double>(active));
    open.add({{"upstream", upstream}, {"state", "idle"}}, static_cast<double>(idle));
  }
  Family connects = scrape.counter("upstream_connects_total", "Connections made to an upstream, or not.");
  for (const auto& [upstream, rows] : registry.upstreams()) {
    for_each_reason([&, &upstream_name = upstream, &upstream_rows = rows](Reason reason) {
      const auto count = sum(
          upstream_rows, [&](const UpstreamRow& row) -> auto& { return row.connects[at(reason)]; });
      if (count == 0 && !contains(kConnectResults, reason)) return;
      connects.add({{"upstream", upstream_name}, {"result", to_string(reason)}}, count);
    });
  }
}

void add_bytes(Scrape& scrape, const MetricRegistry& registry) {
  constexpr std::string_view kNames[kDirections] = {"downstream_in", "downstream_out", "upstream_in", "upstream_out"};
  Family family = scrape.counter("bytes_total", "Bytes received and sent.");
  for (std::size_t i = 0; i < kDirections; ++i) {
    family.add({{"direction", kNames[i]}},
               sum(
                   registry.workers(), [&](const WorkerRow& row) -> auto& { return row.bytes[i]; }));
  }
}

// ---- families of other parts ----------------------------------------------------------------

void add_budgets(Scrape& scrape, const GaugeSources& sources) {
  if (!sources.budgets) return;
  const std::vector<BudgetLevels> budgets = sources.budgets();
  Family available = scrape.gauge("budget_available", "Extra attempts that would be admitted at this instant.");
  for (const BudgetLevels& budget : budgets) available.add({{"budget", budget.name}}, budget.available);
  Family in_flight = scrape.gauge("budget_in_flight", "Requests in their attempt loop, and extra attempts under way.");
  for (const BudgetLevels& budget : budgets) {
    in_flight.add({{"budget", budget.name}, {"kind", "primary"}}, static_cast<double>(budget.requests_in_flight));
    in_flight.add({{"budget", budget.name}, {"kind", "retry"}}, static_cast<double>(budget.extras_in_flight));
  }
}

void add_endpoints(Scrape& scrape, const GaugeSources& sources) {
  if (!sources.endpoints) return;
  Family family = scrape.gauge("upstream_endpoints", "Endpoints of an upstream by state.");
  for (const EndpointLevels& level : sources.endpoints()) {
    family.add({{"upstream", level.upstream}, {"state", level.state}}, level.count);
  }
}

void add_by_kind(Family family, const std::function<std::vector<KindValue>()>& source) {
  for (const KindValue& entry : source()) family.add({{"kind", entry.kind}}, entry.value);
}

void add_config(Scrape& scrape, const GaugeSources& sources) {
  if (!sources.config) return;
  const ConfigLevels config = sources.config();
  scrape.gauge("config_generation", "Generation of the configuration in force.").add({}, config.generation);
  scrape.gauge("config_last_reload_success", "Whether the last reload was accepted.")
      .add({}, config.last_reload_success ? 1.0 : 0.0);
  scrape.gauge("config_last_reload_timestamp_seconds", "When the configuration was last loaded.")
      .add({}, config.last_reload_unix_seconds);
  Family reloads = scrape.counter("config_reloads_total", "Reloads of the configuration.");
  reloads.add({{"result", "success"}}, config.reloads_succeeded);
  reloads.add({{"result", "failure"}}, config.reloads_failed);
}

void add_process(Scrape& scrape) {
  const ProcessStats stats = read_process_stats();
  scrape.process("process_cpu_seconds_total", "User and system CPU time.", MetricType::Counter)
      .add({}, stats.cpu_seconds);
  scrape.process("process_resident_memory_bytes", "Resident memory.", MetricType::Gauge).add({}, stats.resident_bytes);
  scrape.process("process_open_fds", "Open file descriptors.", MetricType::Gauge).add({}, stats.open_fds);
  scrape.process("process_max_fds", "Most file descriptors allowed.", MetricType::Gauge).add({}, stats.max_fds);
  scrape.process("process_start_time_seconds", "When the process started, Unix time.", MetricType::Gauge)
      .add({}, stats.start_unix_seconds);
}

}  // namespace

PrometheusExport::PrometheusExport(const MetricRegistry& registry, GaugeSources sources)
    : registry_(registry), sources_(std::move(sources)) {}

std::vector<MetricFamily> PrometheusExport::Collect() const {
  Scrape scrape;
  {
    const auto held = registry_.hold();
    add_requests(scrape, registry_);
    add_request_durations(scrape, registry_);
    add_requests_in_flight(scrape, registry_);
    add_attempts(scrape, registry_);
    add_attempt_durations(scrape, registry_);
    add_suppressed(scrape, registry_);
    add_deadlines(scrape, registry_);
    add_budget_decisions(scrape, registry_);
    add_listeners(scrape, registry_);
    add_upstreams(scrape, registry_);
    add_bytes(scrape, registry_);
  }
  add_budgets(scrape, sources_);
  add_endpoints(scrape, sources_);
  if (sources_.buffer_bytes) {
    add_by_kind(scrape.gauge("buffer_bytes", "Memory held in buffers."), sources_.buffer_bytes);
  }
  if (sources_.dropped) {
    add_by_kind(scrape.counter("dropped_total", "Records that were given up to stay bounded."), sources_.dropped);
  }
  if (sources_.draining) {
    scrape.gauge("draining", "Whether the process is shutting down.").add({}, sources_.draining() ? 1.0 : 0.0);
  }
  add_config(scrape, sources_);
  scrape.gauge("build_info", "The program that is running.").add({{"version", sources_.version}}, 1.0);
  add_process(scrape);
  return std::move(scrape).take();
}

std::string PrometheusExport::text() const {
  std::ostringstream out;
  prometheus::TextSerializer{}.Serialize(out, Collect());
  return std::move(out).str();
}

}  // namespace outrigger::telemetry
