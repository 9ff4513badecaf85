#include "proxy/telemetry/timeline_json.hpp"

#include <algorithm>
#include <string>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "tests/unit/telemetry/sample_timeline.hpp"

using namespace outrigger;
using namespace outrigger::telemetry;
using nlohmann::ordered_json;

namespace {

std::string names(const ordered_json& object) {
  std::string all;
  for (const auto& [name, value] : object.items()) all += name + " ";
  return all;
}

ordered_json parsed(const Timeline& timeline) { return ordered_json::parse(timeline_json(timeline)); }

}  // namespace

TEST_SUITE("telemetry") {
  TEST_CASE("a timeline in JSON has the documented fields in the documented order") {
    const ordered_json json = parsed(retried().stopped(Reason::attempts_exhausted));
    CHECK(names(json) ==
          "request_id trace_id start duration_ms policy policy_id route listener method path priority deadline_ms "
          "queued_ms outcome status reason stop_reason termination bytes_in bytes_out config_generation attempts "
          "decisions ");
    CHECK(json["request_id"] == "id-1");
    CHECK(json["trace_id"].is_null());
    CHECK(json["start"] == "2024-05-01T12:34:56.789012Z");
    CHECK(json["duration_ms"] == 12.0);
    CHECK(json["policy"] == "payments");
    CHECK(json["deadline_ms"].is_null());
    CHECK(json["outcome"] == "ok");
    CHECK(json["status"] == 200);
    CHECK(json["stop_reason"] == "attempts_exhausted");
    CHECK(json["termination"] == "-a");
    CHECK(json["config_generation"] == 3);
  }

  TEST_CASE("attempts tell what happened to each and leave out what did not happen") {
    SampleTimeline sample = retried();
    sample.get().attempts[0].connect = 300us;
    sample.get().attempts[0].ttfb = 4ms;
    const ordered_json attempts = parsed(sample)["attempts"];
    REQUIRE(attempts.size() == 2);
    CHECK(names(attempts[0]) ==
          "n kind hedge_index upstream endpoint start_ms backoff_ms connect_ms ttfb_ms duration_ms outcome reason "
          "status ");
    CHECK(attempts[0]["n"] == 1);
    CHECK(attempts[0]["kind"] == "primary");
    CHECK(attempts[0]["upstream"] == "backend");
    CHECK(attempts[0]["endpoint"] == "127.0.0.1:9001");
    CHECK(attempts[0]["connect_ms"] == 0.3);
    CHECK(attempts[0]["outcome"] == "retryable");
    CHECK(attempts[0]["reason"] == "http_503");
    CHECK(attempts[0]["status"] == 503);
    CHECK_FALSE(attempts[1].contains("connect_ms"));
    CHECK(attempts[1]["backoff_ms"] == 25.0);
    CHECK(attempts[1]["budget"]["name"] == "shared");
    CHECK(attempts[1]["budget"]["allowed"] == true);
  }

  TEST_CASE("decisions tell when, which part, why and about which attempt") {
    SampleTimeline sample = retried();
    sample.get().decide(5ms, Part::budget, Reason::budget_denied, 1);
    sample.get().decide(6ms, Part::edge, Reason::draining);
    const ordered_json decisions = parsed(sample)["decisions"];
    REQUIRE(decisions.size() == 2);
    CHECK(decisions[0] ==
          ordered_json{{"at_ms", 5.0}, {"part", "budget"}, {"reason", "budget_denied"}, {"attempt", 2}});
    CHECK_FALSE(decisions[1].contains("attempt"));
  }

  TEST_CASE("an attempt shows its circuit and the reason that a classifier's rule gave it") {
    SampleTimeline sample = retried();
    sample.get().attempts[0].circuit = exchange::CircuitShown::closed;
    sample.get().attempts[0].reason_text = sample.get().keep("out_of_stock", 40);
    sample.get().attempts[1].circuit = exchange::CircuitShown::half_open;
    sample.get().attempts[1].hedge = 2;
    const ordered_json attempts = parsed(sample)["attempts"];
    CHECK(attempts[0]["circuit"] == "closed");
    CHECK(attempts[0]["reason"] == "out_of_stock");
    CHECK(attempts[1]["circuit"] == "half_open");
    CHECK(attempts[1]["hedge_index"] == 2);
    CHECK_FALSE(parsed(retried())["attempts"][0].contains("circuit"));
  }

  TEST_CASE("a decision names its limit, and one that was only computed says so") {
    SampleTimeline sample;
    sample.get().decide({.at = 1ms, .part = Part::rate_limit, .reason = Reason::rate_limited, .name = "shared"});
    sample.get().decide(
        {.at = 2ms, .part = Part::circuit, .reason = Reason::circuit_open, .would = true, .name = "payments"});
    const ordered_json decisions = parsed(sample)["decisions"];
    CHECK(decisions[0] ==
          ordered_json{{"at_ms", 1.0}, {"part", "rate_limit"}, {"reason", "rate_limited"}, {"name", "shared"}});
    CHECK(decisions[1]["reason"] == "would_circuit_open");
    CHECK(decisions[1]["part"] == "circuit");
  }

  TEST_CASE("an attempt tells what was done to it on purpose") {
    SampleTimeline sample = retried();
    const auto chaos = [&](std::size_t attempt) { return parsed(sample)["attempts"][attempt].value("chaos", "none"); };
    CHECK(chaos(0) == "none");
    sample.get().attempts[0].injected_delay = 5ms;
    CHECK(chaos(0) == "delay");
    CHECK(chaos(1) == "none");
    sample.get().attempts[0].fault = exchange::Fault::status;
    CHECK(chaos(0) == "delay+status");
    for (const exchange::Fault fault : {exchange::Fault::status, exchange::Fault::reset, exchange::Fault::truncate}) {
      sample.get().attempts[0].fault = sample.get().attempts[1].fault = fault;
      CHECK(chaos(0) == "delay+" + std::string{to_string(fault)});
      CHECK(chaos(1) == to_string(fault));
    }
  }

  TEST_CASE("what a cache had and what a fallback answered for are told only where there was one") {
    SampleTimeline sample;
    CHECK_FALSE(parsed(sample).contains("cache"));
    CHECK_FALSE(parsed(sample).contains("fallback"));
    sample.get().cache = exchange::CacheShown::stale;
    sample.get().fallback = sample.get().keep("circuit_open", 40);
    CHECK(parsed(sample)["cache"] == "stale");
    CHECK(parsed(sample)["fallback"] == "circuit_open");
  }

  TEST_CASE("what did not fit is marked") {
    SampleTimeline sample;
    CHECK_FALSE(parsed(sample).contains("truncated"));
    for (std::size_t i = 0; i <= Timeline::kMaxDecisions; ++i) sample.get().decide(1ms, Part::retry, Reason::pushback);
    CHECK(parsed(sample)["truncated"] == true);
  }

  TEST_CASE("a hostile path is escaped, stays on one line and in ASCII") {
    const std::string path = "/\"}\n\r\t\x01\x7f\\<script>\xff\xc3\xa9\xf0\x9f\x98\x80";
    const std::string text = timeline_json(SampleTimeline{"id", path});
    CHECK(std::ranges::all_of(text, [](char c) { return c >= 0x20 && c < 0x7f; }));
    CHECK(ordered_json::parse(text)["path"] == "/\"}\n\r\t\x01\x7f\\<script>\xef\xbf\xbd\xc3\xa9\xf0\x9f\x98\x80");
  }

  TEST_CASE("a request that got no answer has no status") {
    CHECK(parsed(SampleTimeline{}.ended(Reason::drained, 0, 'P', '8'))["status"].is_null());
  }
}
