#include "proxy/telemetry/prometheus_export.hpp"

#include <sstream>
#include <string>

#include <doctest/doctest.h>

#include "proxy/telemetry/record.hpp"
#include "tests/unit/telemetry/sample_timeline.hpp"

using namespace outrigger;
using namespace outrigger::telemetry;

namespace {

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

/// The sum over all series of a family.
double sum_of(const std::string& text, const std::string& family) {
  std::istringstream lines(text);
  double sum = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(family + "{")) sum += std::stod(line.substr(line.rfind(' ') + 1));
  }
  return sum;
}

struct Process {
  MetricRegistry registry{2, {kDefaultBucketSeconds.begin(), kDefaultBucketSeconds.end()}};
  GaugeSources sources{.version = "1.2.3"};
  exchange::Upstream upstream{.name = "backend"};
  exchange::Plan plan;

  Process() {
    plan.upstream = &upstream;
    plan.policy_key = "payments";
    plan.budget.name = "shared";
  }

  void finish(std::uint32_t worker, const Timeline& timeline) {
    const RouteRows rows = route_rows(registry, worker, plan);
    begin(*rows.policy);
    record(timeline, rows);
  }
  std::string text() const { return PrometheusExport(registry, sources).text(); }
};

}  // namespace

TEST_SUITE("telemetry") {
  TEST_CASE("what two workers counted is one number in the export") {
    Process process;
    process.finish(0, retried());
    process.finish(1, retried());
    const std::string text = process.text();
    CHECK(has_line(text, R"(outrigger_requests_total{policy="payments",code="2xx",outcome="ok",reason="success"} 2)"));
    CHECK(has_line(text, R"(outrigger_attempts_total{policy="payments",upstream="backend",kind="primary",)"
                         R"(outcome="retryable",reason="http_503"} 2)"));
    CHECK(has_line(text, R"(outrigger_attempts_total{policy="payments",upstream="backend",kind="retry",)"
                         R"(outcome="success",reason="success"} 2)"));
    CHECK(has_line(text, R"(outrigger_budget_decisions_total{budget="shared",kind="retry",allowed="true"} 2)"));
    CHECK(has_line(text, R"(outrigger_request_duration_seconds_count{policy="payments",outcome="ok"} 2)"));
    CHECK(has_line(text, R"(outrigger_request_duration_seconds_bucket{policy="payments",outcome="ok",le="0.025"} 2)"));
    CHECK(has_line(text, R"(outrigger_request_duration_seconds_bucket{policy="payments",outcome="ok",le="0.01"} 0)"));
    CHECK(has_line(text, R"(outrigger_request_duration_seconds_bucket{policy="payments",outcome="ok",le="+Inf"} 2)"));
    CHECK(has_line(text, R"(outrigger_attempt_duration_seconds_count{policy="payments",kind="retry"} 2)"));
  }

  TEST_CASE("sums hold: requests equal their outcomes' durations, attempts equal theirs") {
    Process process;
    for (std::size_t i = 0; i < kReasonCount; ++i) {
      process.finish(static_cast<std::uint32_t>(i % 2), retried().ended(static_cast<Reason>(i), 302));
    }
    const std::string text = process.text();
    const double requests = kReasonCount;
    CHECK(sum_of(text, "outrigger_requests_total") == requests);
    CHECK(sum_of(text, "outrigger_request_duration_seconds_count") == requests);
    CHECK(sum_of(text, "outrigger_attempts_total") == 2 * requests);
    CHECK(sum_of(text, "outrigger_attempt_duration_seconds_count") == 2 * requests);
  }

  TEST_CASE("series of a routed policy are there with 0 before its first request, impossible ones are not") {
    Process process;
    process.registry.policy_row(0, "payments");
    process.registry.attempt_row(0, "payments", "backend");
    process.registry.upstream_row(0, "backend");
    const std::string text = process.text();
    CHECK(has_line(text, R"(outrigger_requests_total{policy="payments",code="2xx",outcome="ok",reason="success"} 0)"));
    CHECK(has_line(text, R"(outrigger_requests_total{policy="payments",code="3xx",outcome="ok",reason="success"} 0)"));
    CHECK(has_line(
        text,
        R"(outrigger_requests_total{policy="payments",code="5xx",outcome="timeout",reason="overall_timeout"} 0)"));
    CHECK(has_line(text, R"(outrigger_requests_total{policy="payments",code="none",outcome="client_gone",)"
                         R"(reason="client_disconnected"} 0)"));
    CHECK(has_line(text, R"(outrigger_retries_suppressed_total{policy="payments",reason="budget_denied"} 0)"));
    CHECK(has_line(text, R"(outrigger_deadline_exceeded_total{policy="payments",stage="attempts"} 0)"));
    CHECK(has_line(text, R"(outrigger_requests_in_flight{policy="payments"} 0)"));
    CHECK(has_line(text, R"(outrigger_upstream_connects_total{upstream="backend",result="connect_refused"} 0)"));
    CHECK(text.find("reason=\"no_route\"") == std::string::npos);
    CHECK(text.find("kind=\"hedge\"") == std::string::npos);
  }

  TEST_CASE("a policy that hedges has the series of hedges from the start, with its other attempts' lost races") {
    Process process;
    const policy::HedgeConfig hedge;
    process.plan.hedge.config = &hedge;
    route_rows(process.registry, 0, process.plan);
    const std::string text = process.text();
    CHECK(has_line(text, R"(outrigger_attempts_total{policy="payments",upstream="backend",kind="hedge",)"
                         R"(outcome="success",reason="success"} 0)"));
    CHECK(has_line(text, R"(outrigger_attempts_total{policy="payments",upstream="backend",kind="primary",)"
                         R"(outcome="abort",reason="hedge_lost"} 0)"));
    CHECK(has_line(text, R"(outrigger_attempt_duration_seconds_count{policy="payments",kind="hedge"} 0)"));
    CHECK(has_line(text, R"(outrigger_hedges_total{policy="payments",result="suppressed"} 0)"));
  }

  TEST_CASE("a fallback keeps the reason beneath it and shows the code that was sent, and sums still hold") {
    Process process;
    SampleTimeline sample = SampleTimeline{}.ended(Reason::circuit_open, 200);
    sample.get().outcome = exchange::RequestOutcome::fallback;
    process.finish(0, sample);
    sample.ended(Reason::success, 304).get().outcome = exchange::RequestOutcome::cached;
    process.finish(1, sample);
    const std::string text = process.text();
    CHECK(has_line(text, R"(outrigger_requests_total{policy="payments",code="2xx",outcome="fallback",)"
                         R"(reason="circuit_open"} 1)"));
    CHECK(has_line(text,
                   R"(outrigger_requests_total{policy="payments",code="3xx",outcome="cached",reason="success"} 1)"));
    CHECK(sum_of(text, "outrigger_requests_total") == 2);
    CHECK(sum_of(text, "outrigger_request_duration_seconds_count") == 2);
  }

  TEST_CASE("refusals before a route stand under _unrouted and only once they happened") {
    Process process;
    PolicyRow* unrouted = process.registry.policy_row(1, kUnrouted);
    CHECK(process.text().find("_unrouted") == std::string::npos);
    record_refusal(SampleTimeline{}.ended(Reason::no_route, 404, 'P', '2'), *unrouted);
    const std::string text = process.text();
    CHECK(has_line(
        text, R"(outrigger_requests_total{policy="_unrouted",code="4xx",outcome="rejected",reason="no_route"} 1)"));
    CHECK(sum_of(text, "outrigger_requests_total") == 1);
  }

  TEST_CASE("connections and bytes are summed over workers") {
    Process process;
    process.registry.listener_row(0, "outbound")->connections.add(3);
    process.registry.listener_row(1, "outbound")->connections.add(-1);
    process.registry.listener_row(1, "outbound")->rejected[static_cast<std::size_t>(Reason::draining)].add();
    process.registry.upstream_row(0, "backend")->idle.add(2);
    process.registry.worker_row(1)->moved(Direction::upstream_out, 512);
    process.registry.worker_row(0)->mirrors_dropped.add(1);
    process.registry.worker_row(1)->mirrors_dropped.add(2);
    const std::string text = process.text();
    CHECK(has_line(text, R"(outrigger_downstream_connections{listener="outbound"} 2)"));
    CHECK(has_line(text, R"(outrigger_downstream_rejected_total{listener="outbound",reason="draining"} 1)"));
    CHECK(has_line(text, R"(outrigger_upstream_connections{upstream="backend",state="idle"} 2)"));
    CHECK(has_line(text, R"(outrigger_upstream_connections{upstream="backend",state="active"} 0)"));
    CHECK(has_line(text, R"(outrigger_bytes_total{direction="upstream_out"} 512)"));
    CHECK(has_line(text, R"(outrigger_dropped_total{kind="mirror"} 3)"));
  }

  TEST_CASE("gauges of other parts are asked for at scrape time") {
    Process process;
    bool draining = false;
    process.sources.budgets = [] { return std::vector{BudgetLevels{"shared", 2.5, 7, 3, 1}}; };
    process.sources.endpoints = [] { return std::vector{EndpointLevels{"backend", "healthy", 2}}; };
    process.sources.buffer_bytes = [] { return std::vector{KindValue{"replay", 4096}}; };
    process.sources.dropped = [] { return std::vector{KindValue{"log", 3}}; };
    process.sources.draining = [&] { return draining; };
    process.sources.config = [] { return ConfigLevels{4, false, 1.5e9, 3, 1}; };
    CHECK(has_line(process.text(), "outrigger_draining 0"));
    draining = true;
    const std::string text = process.text();
    CHECK(has_line(text, "outrigger_draining 1"));
    CHECK(has_line(text, R"(outrigger_budget_available{budget="shared"} 2.5)"));
    CHECK(has_line(text, R"(outrigger_budget_in_flight{budget="shared",kind="primary"} 7)"));
    CHECK(has_line(text, R"(outrigger_budget_in_flight{budget="shared",kind="retry"} 2)"));
    CHECK(has_line(text, R"(outrigger_budget_in_flight{budget="shared",kind="hedge"} 1)"));
    CHECK(has_line(text, R"(outrigger_upstream_endpoints{upstream="backend",state="healthy"} 2)"));
    CHECK(has_line(text, R"(outrigger_buffer_bytes{kind="replay"} 4096)"));
    CHECK(has_line(text, R"(outrigger_dropped_total{kind="log"} 3)"));
    CHECK(has_line(text, "outrigger_config_generation 4"));
    CHECK(has_line(text, "outrigger_config_last_reload_success 0"));
    CHECK(has_line(text, R"(outrigger_config_reloads_total{result="failure"} 1)"));
    CHECK(has_line(text, R"(outrigger_build_info{version="1.2.3"} 1)"));
  }

  TEST_CASE("the process families carry what the kernel knows and no prefix") {
    const std::string text = Process{}.text();
    for (const char* family : {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds",
                               "process_max_fds", "process_start_time_seconds"}) {
      CAPTURE(family);
      const std::size_t line = text.find("\n" + std::string{family} + " ");
      REQUIRE(line != std::string::npos);
      CHECK(std::stod(text.substr(line + std::string{family}.size() + 2)) > 0);
    }
  }
}
