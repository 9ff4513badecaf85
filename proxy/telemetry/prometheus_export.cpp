#include "proxy/telemetry/prometheus_export.hpp"

#include <algorithm>
#include <array>
#include <sstream>
#include <string_view>
#include <utility>

#include <prometheus/text_serializer.h>

#include "proxy/telemetry/known_series.hpp"
#include "proxy/telemetry/policy_families.hpp"
#include "proxy/telemetry/process_stats.hpp"
#include "proxy/telemetry/scrape.hpp"

namespace outrigger::telemetry {
namespace {

constexpr auto kAllKinds = enumerators<AttemptKind, exchange::kAttemptKinds>();
constexpr auto kAllOutcomes = enumerators<Outcome, kOutcomes>();
constexpr auto kAllRequestOutcomes = enumerators<RequestOutcome, exchange::kRequestOutcomes>();

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

using All = MetricRegistry::All;

/// Answers that did not come from the upstream.
void add_substitutes(Family& family, std::string_view policy, const MetricRegistry::PerWorker<PolicyRow>& rows,
                     RequestOutcome outcome, ByClass PolicyRow::*counters) {
  constexpr std::string_view kCodes[kCodeClasses] = {"2xx", "3xx", "4xx", "5xx"};
  for (std::size_t code = 0; code < kCodeClasses; ++code) {
    for (const Reason reason : kAllReasons) {
      const auto count = sum(
          rows, [=](const PolicyRow& row) -> auto& { return (row.*counters)[code][at(reason)]; });
      if (count == 0) continue;
      family.add(
          {{"policy", policy}, {"code", kCodes[code]}, {"outcome", to_string(outcome)}, {"reason", to_string(reason)}},
          count);
    }
  }
}

template <class Rows>
bool has_name(const Rows& rows, std::string_view name) {
  return std::ranges::any_of(rows, [name](const auto& each) { return each.name == name; });
}

void add_requests(Scrape& scrape, const All& all) {
  Family family = scrape.counter("requests_total", "Finished requests.");
  for (const auto& [policy, rows] : all.policies) {
    for (const Reason reason : kAllReasons) {
      std::uint64_t count = sum(
          rows, [reason](const PolicyRow& row) -> auto& { return row.requests[at(reason)]; });
      const bool caches = contains(kCacheReasons, reason) && has_name(all.caches, policy);
      if (count == 0 && !caches && (policy == kUnrouted || !contains(kRoutedReasons, reason))) continue;
      const std::string_view outcome = to_string(exchange::outcome_of(reason));
      const std::string_view name = to_string(reason);
      if (reason == Reason::success) {
        // Read after the sum it is part of, so it may be ahead of it for an instant.
        std::uint64_t redirects = sum(
            rows, [](const PolicyRow& row) -> auto& { return row.redirects; });
        redirects = std::min(redirects, count);
        count -= redirects;
        family.add({{"policy", policy}, {"code", "3xx"}, {"outcome", outcome}, {"reason", name}}, redirects);
      }
      family.add({{"policy", policy}, {"code", code_of(reason)}, {"outcome", outcome}, {"reason", name}}, count);
    }
    add_substitutes(family, policy, rows, RequestOutcome::fallback, &PolicyRow::fallbacks);
    add_substitutes(family, policy, rows, RequestOutcome::cached, &PolicyRow::cached);
  }
}

/// Whether a policy has what makes answers of that outcome.
bool is_substitute(const All& all, std::string_view policy, RequestOutcome outcome) {
  if (outcome == RequestOutcome::fallback) return has_name(all.fallbacks, policy);
  return outcome == RequestOutcome::cached && has_name(all.caches, policy);
}

void add_request_durations(Scrape& scrape, const All& all) {
  Family family = scrape.histogram("request_duration_seconds", "From the end of the request's head to its end.");
  for (const auto& [policy, rows] : all.policies) {
    for (const RequestOutcome outcome : kAllRequestOutcomes) {
      auto merged = merge(
          rows, all.buckets, [outcome](const PolicyRow& row) -> auto& { return row.duration[at(outcome)]; });
      const bool usual = policy != kUnrouted && contains(kUsualOutcomes, outcome);
      if (merged.sample_count == 0 && !usual && !is_substitute(all, policy, outcome)) continue;
      family.add({{"policy", policy}, {"outcome", to_string(outcome)}}, std::move(merged));
    }
  }
}

void add_requests_in_flight(Scrape& scrape, const All& all) {
  Family family = scrape.gauge("requests_in_flight", "Requests under way.");
  for (const auto& [policy, rows] : all.policies) {
    if (policy == kUnrouted) continue;
    family.add({{"policy", policy}}, sum(
                                         rows, [](const PolicyRow& row) -> auto& { return row.in_flight; }));
  }
}

using AttemptsAt = MetricRegistry::NamedAttempts;

bool is_expected(const AttemptsAt& at, AttemptKind kind, bool hedges) noexcept {
  if (at.of_fallbacks && contains(kFallbackKinds, kind)) return true;
  return at.of_routes && (contains(kRouteKinds, kind) || (hedges && kind == AttemptKind::hedge));
}

bool is_expected(const AttemptsAt& at, AttemptKind kind, AttemptResult result, bool hedges) noexcept {
  if (hedges && result == kLostHedge) return at.of_routes && kind != AttemptKind::reconnect;
  return is_expected(at, kind, hedges) && contains(kAttemptResults, result);
}

void add_attempts(Scrape& scrape, const All& all) {
  Family family = scrape.counter("attempts_total", "Ended attempts at an upstream.");
  for (const AttemptsAt& at_upstream : all.attempts) {
    const auto& [policy, upstream, rows, of_routes, of_fallbacks] = at_upstream;
    const bool hedges = has_name(all.hedges, policy);
    for (const AttemptKind kind : kAllKinds) {
      for (const Outcome outcome : kAllOutcomes) {
        for (const Reason reason : kAllReasons) {
          const std::uint64_t count = sum(
              rows, [ kind, outcome, reason ](const AttemptRow& row) -> auto& {
                return row.attempts[at(kind)][at(outcome)][at(reason)];
              });
          if (count == 0 && !is_expected(at_upstream, kind, {outcome, reason}, hedges)) continue;
          family.add({{"policy", policy},
                      {"upstream", upstream},
                      {"kind", to_string(kind)},
                      {"outcome", to_string(outcome)},
                      {"reason", to_string(reason)}},
                     count);
        }
      }
    }
  }
}

void add_to(ClientMetric::Histogram& total, const ClientMetric::Histogram& part) {
  total.sample_count += part.sample_count;
  total.sample_sum += part.sample_sum;
  for (std::size_t i = 0; i < total.bucket.size(); ++i) {
    total.bucket[i].cumulative_count += part.bucket[i].cumulative_count;
  }
}

/// The rows of one policy at its upstreams stand beside each other and become one series per kind.
void add_attempt_durations(Scrape& scrape, const All& all) {
  Family family = scrape.histogram("attempt_duration_seconds", "From the start of an attempt to its end.");
  for (auto first = all.attempts.begin(); first != all.attempts.end();) {
    const std::string_view policy = first->policy;
    const bool hedges = has_name(all.hedges, policy);
    const auto end =
        std::find_if(first, all.attempts.end(), [policy](const auto& each) { return each.policy != policy; });
    for (const AttemptKind kind : kAllKinds) {
      const auto pick = [kind](const AttemptRow& row) -> auto& { return row.duration[at(kind)]; };
      ClientMetric::Histogram merged = merge(first->rows, all.buckets, pick);
      for (auto next = first + 1; next != end; ++next) add_to(merged, merge(next->rows, all.buckets, pick));
      const bool expected = std::any_of(first, end, [&](const auto& each) { return is_expected(each, kind, hedges); });
      if (merged.sample_count == 0 && !expected) continue;
      family.add({{"policy", policy}, {"kind", to_string(kind)}}, std::move(merged));
    }
    first = end;
  }
}

void add_suppressed(Scrape& scrape, const All& all) {
  Family family = scrape.counter("retries_suppressed_total", "Retryable results that were not retried, by why not.");
  for (const auto& [policy, rows] : all.policies) {
    for (const Reason reason : kAllReasons) {
      const auto count = sum(
          rows, [reason](const PolicyRow& row) -> auto& { return row.retries_suppressed[at(reason)]; });
      if (count == 0 && (policy == kUnrouted || !contains(kStopReasons, reason))) continue;
      family.add({{"policy", policy}, {"reason", to_string(reason)}}, count);
    }
  }
}

void add_deadlines(Scrape& scrape, const All& all) {
  Family family =
      scrape.counter("deadline_exceeded_total", "Requests whose deadline passed, by the stage they were in.");
  for (const auto& [policy, rows] : all.policies) {
    for (std::size_t stage = 0; stage < kStages; ++stage) {
      const auto count = sum(
          rows, [stage](const PolicyRow& row) -> auto& { return row.deadline_exceeded[stage]; });
      const bool usual = policy != kUnrouted && contains(kWaitingStages, stage);
      const bool caches = stage == kCacheStage && has_name(all.caches, policy);
      if (count == 0 && !usual && !caches) continue;
      family.add({{"policy", policy}, {"stage", kStageNames[stage]}}, count);
    }
  }
}

void add_budget_decisions(Scrape& scrape, const All& all) {
  Family family = scrape.counter("budget_decisions_total", "Extra attempts that were asked for.");
  for (const auto& [budget, rows] : all.budgets) {
    for (const AttemptKind kind : kAllKinds) {
      for (const bool allowed : {false, true}) {
        const auto count = sum(
            rows, [ kind, allowed ](const BudgetRow& row) -> auto& { return row.decisions[at(kind)][allowed]; });
        if (count == 0 && kind != AttemptKind::retry) continue;
        family.add({{"budget", budget}, {"kind", to_string(kind)}, {"allowed", allowed ? "true" : "false"}}, count);
      }
    }
  }
}

void add_listeners(Scrape& scrape, const All& all) {
  Family open = scrape.gauge("downstream_connections", "Open client connections.");
  Family total = scrape.counter("downstream_connections_total", "Accepted client connections.");
  Family rejected =
      scrape.counter("downstream_rejected_total", "What a listener turned away before there was a policy.");
  for (const auto& [listener, rows] : all.listeners) {
    open.add({{"listener", listener}}, sum(
                                           rows, [](const ListenerRow& row) -> auto& { return row.connections; }));
    total.add({{"listener", listener}},
              sum(
                  rows, [](const ListenerRow& row) -> auto& { return row.connections_total; }));
    for (const Reason reason : kAllReasons) {
      const auto count = sum(
          rows, [reason](const ListenerRow& row) -> auto& { return row.rejected[at(reason)]; });
      if (count != 0) rejected.add({{"listener", listener}, {"reason", to_string(reason)}}, count);
    }
  }
}

void add_upstreams(Scrape& scrape, const All& all) {
  Family open = scrape.gauge("upstream_connections", "Open connections to an upstream.");
  Family connects = scrape.counter("upstream_connects_total", "Connections made to an upstream, or not.");
  for (const auto& [upstream, rows] : all.upstreams) {
    open.add({{"upstream", upstream}, {"state", "active"}},
             sum(
                 rows, [](const UpstreamRow& row) -> auto& { return row.active; }));
    open.add({{"upstream", upstream}, {"state", "idle"}},
             sum(
                 rows, [](const UpstreamRow& row) -> auto& { return row.idle; }));
    for (const Reason reason : kAllReasons) {
      const auto count = sum(
          rows, [reason](const UpstreamRow& row) -> auto& { return row.connects[at(reason)]; });
      if (count == 0 && !contains(kConnectResults, reason)) continue;
      connects.add({{"upstream", upstream}, {"result", to_string(reason)}}, count);
    }
  }
}

void add_bytes(Scrape& scrape, const All& all) {
  constexpr std::string_view kNames[kDirections] = {"downstream_in", "downstream_out", "upstream_in", "upstream_out"};
  Family family = scrape.counter("bytes_total", "Bytes received and sent.");
  for (std::size_t i = 0; i < kDirections; ++i) {
    family.add({{"direction", kNames[i]}},
               sum(
                   all.workers, [i](const WorkerRow& row) -> auto& { return row.bytes[i]; }));
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
    in_flight.add({{"budget", budget.name}, {"kind", "primary"}}, budget.requests_in_flight);
    // Read one after the other, the two may not fit for a moment.
    const std::int64_t retries = std::max(std::int64_t{0}, budget.extras_in_flight - budget.hedges_in_flight);
    in_flight.add({{"budget", budget.name}, {"kind", "retry"}}, retries);
    in_flight.add({{"budget", budget.name}, {"kind", "hedge"}}, budget.hedges_in_flight);
  }
}

void add_endpoints(Scrape& scrape, const GaugeSources& sources) {
  if (!sources.endpoints) return;
  Family family = scrape.gauge("upstream_endpoints", "Endpoints of an upstream by state.");
  for (const EndpointLevels& level : sources.endpoints()) {
    family.add({{"upstream", level.upstream}, {"state", level.state}}, level.count);
  }
}

void add_health_checks(Scrape& scrape, const GaugeSources& sources) {
  if (!sources.health_checks) return;
  Family family = scrape.counter("health_checks_total", "Health checks of endpoints by result.");
  for (const HealthCheckTotals& totals : sources.health_checks()) {
    family.add({{"upstream", totals.upstream}, {"result", "success"}}, totals.good);
    family.add({{"upstream", totals.upstream}, {"result", "failure"}}, totals.bad);
  }
}

void add_certificates(Scrape& scrape, const GaugeSources& sources) {
  if (!sources.certificates) return;
  Family family = scrape.gauge("tls_certificate_expiry_timestamp_seconds",
                               "When the first certificate of a chain that is shown expires.");
  for (const CertificateLevels& level : sources.certificates()) {
    const bool of_listener = !level.listener.empty();
    family.add({{of_listener ? "listener" : "upstream", of_listener ? level.listener : level.upstream}},
               level.expires_unix_seconds);
  }
}

void add_upstream_levels(Scrape& scrape, const GaugeSources& sources) {
  if (!sources.upstreams) return;
  Family pending = scrape.gauge("upstream_pending", "Requests that wait for a connection to an upstream.");
  Family panic = scrape.gauge("upstream_panic", "Whether all endpoints of an upstream are used as none is usable.");
  Family ejections = scrape.counter("outlier_ejections_total", "Endpoints put out of service by their failures.");
  for (const UpstreamLevels& level : sources.upstreams()) {
    pending.add({{"upstream", level.upstream}}, level.pending);
    panic.add({{"upstream", level.upstream}}, level.panic ? 1.0 : 0.0);
    if (level.ejections) ejections.add({{"upstream", level.upstream}}, *level.ejections);
  }
}

void add_by_kind(Family family, const std::function<std::vector<KindValue>()>& source) {
  for (const KindValue& entry : source()) family.add({{"kind", entry.kind}}, entry.value);
}

void add_dropped(Scrape& scrape, const All& all, const GaugeSources& sources) {
  Family family = scrape.counter("dropped_total", "What was given up to stay bounded.");
  if (sources.dropped) add_by_kind(family, sources.dropped);
  family.add({{"kind", "mirror"}}, sum(
                                       all.workers, [](const WorkerRow& row) -> auto& { return row.mirrors_dropped; }));
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
  const All all = registry_.all();
  add_requests(scrape, all);
  add_request_durations(scrape, all);
  add_requests_in_flight(scrape, all);
  add_attempts(scrape, all);
  add_attempt_durations(scrape, all);
  add_suppressed(scrape, all);
  add_deadlines(scrape, all);
  add_budget_decisions(scrape, all);
  add_policy_counters(scrape, all);
  add_listeners(scrape, all);
  add_upstreams(scrape, all);
  add_bytes(scrape, all);
  add_budgets(scrape, sources_);
  add_endpoints(scrape, sources_);
  add_health_checks(scrape, sources_);
  add_certificates(scrape, sources_);
  add_upstream_levels(scrape, sources_);
  if (sources_.policies) add_policy_levels(scrape, sources_.policies(), transitions_);
  if (sources_.buffer_bytes) {
    add_by_kind(scrape.gauge("buffer_bytes", "Memory held in buffers."), sources_.buffer_bytes);
  }
  add_dropped(scrape, all, sources_);
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
