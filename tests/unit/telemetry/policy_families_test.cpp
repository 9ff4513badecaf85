#include "proxy/telemetry/policy_families.hpp"

#include <string>

#include <doctest/doctest.h>

#include "proxy/telemetry/prometheus_export.hpp"
#include "proxy/telemetry/record.hpp"
#include "tests/unit/telemetry/sample_timeline.hpp"

using namespace outrigger;
using namespace outrigger::telemetry;
using policy::CircuitState;

namespace {

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\noutrigger_" + line + "\n") != std::string::npos;
}

/// A process with a route that has one of everything.
struct Process {
  MetricRegistry registry{2, {0.01, 0.1}};
  PolicyLevels levels;
  PrometheusExport exported{registry, {.policies = [this] { return levels; }}};
  exchange::Upstream upstream{.name = "backend"};
  exchange::Upstream other{.name = "other"};
  policy::HedgeConfig hedge;
  policy::FallbackConfig fallback;
  policy::CacheConfig cache;
  policy::ChaosConfig chaos;
  exchange::Plan plan;

  Process() {
    plan.upstream = &upstream;
    plan.policy_key = "payments";
    plan.hedge.config = &hedge;
    plan.fallback.config = &fallback;
    plan.fallback.upstream = &other;
    plan.cache.config = &cache;
    plan.chaos.config = &chaos;
    plan.rate_limits.emplace_back().name = "shared";
    plan.bulkheads.emplace_back().name = "places";
    plan.adaptive_limit.name = "limit";
    plan.throttle.name = "throttle";
    route_rows(registry, 0, plan);
  }
  void finish(std::uint32_t worker, const Timeline& timeline) {
    const RouteRows rows = route_rows(registry, worker, plan);
    begin(*rows.policy);
    record(timeline, rows);
  }
  std::string text() const { return exported.text(); }

  void circuit(std::string upstream_name, std::string endpoint, CircuitState state, std::uint64_t opened = 0) {
    CircuitLevels circuit{"guard", std::move(upstream_name), std::move(endpoint), state, {}};
    circuit.transitions[0][2] = opened;
    levels.circuits.push_back(circuit);
  }
};

}  // namespace

TEST_SUITE("telemetry") {
  TEST_CASE("series of limits are there with 0 before anything was refused") {
    const std::string text = Process{}.text();
    CHECK(has_line(text, R"(rate_limit_decisions_total{rate_limit="shared",policy="payments",decision="allow"} 0)"));
    CHECK(has_line(text, R"(rate_limit_decisions_total{rate_limit="shared",policy="payments",decision="deny"} 0)"));
    CHECK(text.find("would_deny") == std::string::npos);
    CHECK(has_line(text, R"(bulkhead_rejected_total{bulkhead="places",priority="low",reason="shed_load"} 0)"));
    CHECK(has_line(text, R"(bulkhead_rejected_total{bulkhead="places",priority="critical",reason="bulkhead_full"} 0)"));
    CHECK(has_line(text, R"(adaptive_limit_rejected_total{adaptive_limit="limit",priority="standard"} 0)"));
    CHECK(has_line(text, R"(adaptive_throttle_rejected_total{adaptive_throttle="throttle"} 0)"));
    for (const char* result : {"won", "lost", "suppressed", "failed"}) {
      CAPTURE(result);
      CHECK(has_line(text, std::string{R"(hedges_total{policy="payments",result=")"} + result + "\"} 0"));
    }
  }

  TEST_CASE("series of fallbacks, caches and faults are there with 0 for policies that have them, and for no other") {
    Process process;
    exchange::Plan plain;
    plain.upstream = &process.upstream;
    plain.policy_key = "plain";
    route_rows(process.registry, 0, plain);
    const std::string text = process.text();
    CHECK(has_line(text, R"(fallbacks_total{policy="payments"} 0)"));
    for (const char* result : {"bypass", "hit", "miss", "coalesced", "stale", "unsatisfiable"}) {
      CAPTURE(result);
      CHECK(has_line(text, std::string{R"(cache_lookups_total{policy="payments",result=")"} + result + "\"} 0"));
    }
    CHECK(text.find(R"(result="none")") == std::string::npos);
    for (const char* kind : {"delay", "status", "reset", "truncate"}) {
      CAPTURE(kind);
      CHECK(has_line(text, std::string{R"(chaos_injected_total{policy="payments",kind=")"} + kind + "\"} 0"));
    }
    for (const char* family : {"fallbacks_total", "cache_lookups_total", "chaos_injected_total"}) {
      CAPTURE(family);
      CHECK(text.find(std::string{family} + R"({policy="plain")") == std::string::npos);
    }
    const auto requests = [](const char* policy) {
      return R"(requests_total{policy=")" + std::string{policy} +
             R"(",code="5xx",outcome="rejected",reason="not_cached"} 0)";
    };
    CHECK(has_line(text, requests("payments")));
    CHECK_FALSE(has_line(text, requests("plain")));
    CHECK(has_line(text, R"(deadline_exceeded_total{policy="payments",stage="cache"} 0)"));
    CHECK_FALSE(has_line(text, R"(deadline_exceeded_total{policy="plain",stage="cache"} 0)"));
    CHECK(has_line(text, R"(request_duration_seconds_count{policy="payments",outcome="fallback"} 0)"));
    CHECK(has_line(text, R"(request_duration_seconds_count{policy="payments",outcome="cached"} 0)"));
    CHECK_FALSE(has_line(text, R"(request_duration_seconds_count{policy="plain",outcome="cached"} 0)"));
  }

  TEST_CASE("a fallback's upstream has the series of fallbacks from the start, and none of other attempts") {
    const std::string text = Process{}.text();
    const auto attempts = [](const char* upstream, const char* kind) {
      return R"(attempts_total{policy="payments",upstream=")" + std::string{upstream} + R"(",kind=")" + kind +
             R"(",outcome="success",reason="success"} 0)";
    };
    CHECK(has_line(text, attempts("other", "fallback")));
    CHECK(has_line(text, attempts("other", "reconnect")));
    CHECK_FALSE(has_line(text, attempts("other", "primary")));
    CHECK_FALSE(has_line(text, attempts("other", "hedge")));
    CHECK(has_line(text, attempts("backend", "primary")));
    CHECK_FALSE(has_line(text, attempts("backend", "fallback")));
    CHECK(has_line(text, R"(attempt_duration_seconds_count{policy="payments",kind="fallback"} 0)"));
  }

  TEST_CASE("substitutes and faults of two workers are one number") {
    Process process;
    for (const std::uint32_t worker : {0u, 1u}) {
      SampleTimeline sample;
      sample.good_attempt();
      sample.get().attempts[0].fault = exchange::Fault::reset;
      sample.get().cache = exchange::CacheShown::coalesced;
      sample.get().waits.cache = 20ms;
      sample.get().outcome = exchange::RequestOutcome::fallback;
      process.finish(worker, sample);
    }
    const std::string text = process.text();
    CHECK(has_line(text, R"(fallbacks_total{policy="payments"} 2)"));
    CHECK(has_line(text, R"(cache_lookups_total{policy="payments",result="coalesced"} 2)"));
    CHECK(has_line(text, R"(chaos_injected_total{policy="payments",kind="reset"} 2)"));
    CHECK(has_line(text, R"(queue_wait_seconds_count{policy="payments",part="cache"} 2)"));
  }

  TEST_CASE("what two workers counted of limits is one number") {
    Process process;
    for (const std::uint32_t worker : {0u, 1u}) {
      SampleTimeline sample;
      sample.get().note_rate_limit("shared", true);
      sample.get().waits.bulkhead = 20ms;
      sample.get().hedges_suppressed = 2;
      sample.get().decide({.part = Part::bulkhead, .reason = Reason::bulkhead_queue_timeout, .name = "places"});
      process.finish(worker, sample.ended(Reason::bulkhead_queue_timeout, 503, 'P', '7'));
    }
    const std::string text = process.text();
    CHECK(has_line(text, R"(rate_limit_decisions_total{rate_limit="shared",policy="payments",decision="allow"} 2)"));
    CHECK(has_line(text, R"(bulkhead_rejected_total{bulkhead="places",priority="standard",)"
                         R"(reason="bulkhead_queue_timeout"} 2)"));
    CHECK(has_line(text, R"(queue_wait_seconds_count{policy="payments",part="bulkhead"} 2)"));
    CHECK(has_line(text, R"(queue_wait_seconds_bucket{policy="payments",part="bulkhead",le="0.01"} 0)"));
    CHECK(has_line(text, R"(hedges_total{policy="payments",result="suppressed"} 4)"));
    CHECK(text.find("part=\"rate_limit\"") == std::string::npos);
  }

  TEST_CASE("what a policy would have done is observed under its reason") {
    Process process;
    SampleTimeline sample = SampleTimeline{}.good_attempt();
    sample.get().decide({.part = Part::circuit, .reason = Reason::circuit_open, .would = true, .name = "guard"});
    process.finish(0, sample);
    CHECK(has_line(process.text(), R"(observed_total{policy="payments",reason="would_circuit_open"} 1)"));
  }

  TEST_CASE("circuits show their state, those of endpoints how many are in which") {
    Process process;
    process.circuit("", "", CircuitState::half_open);
    process.circuit("backend", "10.0.0.1:80", CircuitState::open);
    process.circuit("backend", "10.0.0.2:80", CircuitState::closed);
    process.circuit("backend", "10.0.0.3:80", CircuitState::open);
    const std::string text = process.text();
    CHECK(has_line(text, R"(circuit_state{circuit="guard",upstream=""} 1)"));
    CHECK(has_line(text, R"(circuit_endpoints{circuit="guard",upstream="backend",state="open"} 2)"));
    CHECK(has_line(text, R"(circuit_endpoints{circuit="guard",upstream="backend",state="half_open"} 0)"));
    CHECK(has_line(text, R"(circuit_endpoints{circuit="guard",upstream="backend",state="closed"} 1)"));
    CHECK(text.find("10.0.0.1") == std::string::npos);
    CHECK(has_line(text, R"(circuit_transitions_total{circuit="guard",from="half_open",to="closed"} 0)"));
    CHECK(text.find(R"(from="closed",to="half_open")") == std::string::npos);
  }

  TEST_CASE("the sum of transitions does not fall when a circuit goes or begins anew") {
    Process process;
    process.circuit("a", "", CircuitState::open, 5);
    process.circuit("b", "", CircuitState::open, 3);
    const auto opened = [](int times) {
      return R"(circuit_transitions_total{circuit="guard",from="closed",to="open"} )" + std::to_string(times);
    };
    CHECK(has_line(process.text(), opened(8)));
    CHECK(has_line(process.text(), opened(8)));
    process.levels.circuits.pop_back();
    CHECK(has_line(process.text(), opened(8)));
    process.levels.circuits[0].transitions[0][2] = 1;  // another state under the same name
    CHECK(has_line(process.text(), opened(9)));
    process.levels.circuits[0].transitions[0][2] = 4;
    CHECK(has_line(process.text(), opened(12)));
  }

  TEST_CASE("levels of limits and hedges are asked for at scrape time, and what is not known is left out") {
    Process process;
    process.levels.hedges.push_back({"payments", 0.025});
    process.levels.bulkheads.push_back({"places", 7, 20, 3});
    process.levels.adaptive_limits.push_back({"limit", 30, 12, 0});
    process.levels.throttles.push_back({"throttle", 0.25});
    std::string text = process.text();
    CHECK(has_line(text, R"(hedge_delay_seconds{policy="payments"} 0.025)"));
    CHECK(has_line(text, R"(bulkhead_in_flight{bulkhead="places"} 7)"));
    CHECK(has_line(text, R"(bulkhead_capacity{bulkhead="places"} 20)"));
    CHECK(has_line(text, R"(bulkhead_queued{bulkhead="places"} 3)"));
    CHECK(has_line(text, R"(adaptive_limit{adaptive_limit="limit"} 30)"));
    CHECK(has_line(text, R"(adaptive_limit_in_flight{adaptive_limit="limit"} 12)"));
    CHECK(text.find("adaptive_limit_baseline_seconds{") == std::string::npos);
    CHECK(has_line(text, R"(adaptive_throttle_rejection_ratio{adaptive_throttle="throttle"} 0.25)"));
    process.levels.adaptive_limits[0].baseline_seconds = 0.5;
    text = process.text();
    CHECK(has_line(text, R"(adaptive_limit_baseline_seconds{adaptive_limit="limit"} 0.5)"));
  }
}
