#include "proxy/telemetry/access_log.hpp"

#include <algorithm>
#include <string>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "tests/unit/telemetry/sample_timeline.hpp"

using namespace outrigger;
using namespace outrigger::telemetry;
using nlohmann::ordered_json;

namespace {

std::string line(LogFormat format, const Timeline& timeline) {
  Buffer out;
  append_access_line(out, format, timeline);
  return std::string{out.view()};
}

}  // namespace

TEST_SUITE("telemetry") {
  TEST_CASE("a JSON access line has the scalars of the timeline, compact attempts and flags") {
    const ordered_json json = ordered_json::parse(line(LogFormat::json, retried()));
    CHECK(json["request_id"] == "id-1");
    CHECK(json["status"] == 200);
    CHECK(json["bytes_out"] == 0);
    CHECK(json["attempts"] ==
          ordered_json{"primary 127.0.0.1:9001 http_503 4.000", "retry 127.0.0.1:9001 success 4.000"});
    CHECK(json["flags"] == "-");
    CHECK_FALSE(json.contains("decisions"));
  }

  TEST_CASE("a text access line can be read and split") {
    SampleTimeline sample = retried();
    sample.ended(Reason::http_5xx, 503, 'U', '8').stopped(Reason::attempts_exhausted);
    CHECK(
        line(LogFormat::text, sample) ==
        "2024-05-01T12:34:56.789012Z \"GET /v1/charges\" 503 upstream_error http_5xx 12.000ms termination=U8 flags=URX "
        "bytes_in=0 bytes_out=0 listener=\"outbound\" route=- policy=\"payments\" policy_id=- priority=\"standard\" "
        "stop_reason=\"attempts_exhausted\" cache=- fallback=- deadline_ms=- queued_ms=0.000 request_id=\"id-1\" "
        "trace_id=- config_generation=3 attempts=\"primary 127.0.0.1:9001 http_503 4.000, retry 127.0.0.1:9001 success "
        "4.000\"");
  }

  TEST_CASE("a path cannot forge a line in either format") {
    const SampleTimeline sample{"id\n", "/a\" 200 ok\n2024 \"GET /b"};
    for (const LogFormat format : {LogFormat::json, LogFormat::text}) {
      const std::string text = line(format, sample);
      CHECK(std::ranges::count(text, '\n') == 0);
      CHECK(text.find("/a\" ") == std::string::npos);
    }
  }

  TEST_CASE("flags name what Envoy would have called it") {
    const auto flags = [](Reason reason) {
      return ordered_json::parse(line(LogFormat::json, SampleTimeline{}.ended(reason, 503)))["flags"];
    };
    CHECK(flags(Reason::connect_refused) == "UF");
    CHECK(flags(Reason::overall_timeout) == "UT");
    CHECK(flags(Reason::closed_early) == "UC");
    CHECK(flags(Reason::client_disconnected) == "DC");
    CHECK(flags(Reason::no_route) == "NR");
    CHECK(flags(Reason::no_healthy_endpoint) == "UH");
    CHECK(flags(Reason::pool_full) == "UO");
    CHECK(flags(Reason::bad_request) == "DPE");
    CHECK(flags(Reason::protocol_error) == "UPE");
    CHECK(flags(Reason::max_duration) == "DT");
    CHECK(flags(Reason::circuit_open) == "UO");
    CHECK(flags(Reason::shed_load) == "UO");
    CHECK(flags(Reason::concurrency_limit) == "UO");
    CHECK(flags(Reason::rate_limited) == "RL");
    CHECK(flags(Reason::throttled) == "DO");
    CHECK(flags(Reason::http_4xx) == "-");
  }

  TEST_CASE("an answer from the cache says so, and a classifier's reason is shown as it is named") {
    SampleTimeline sample = retried();
    sample.get().outcome = exchange::RequestOutcome::cached;
    sample.get().attempts[0].reason_text = sample.get().keep("out_of_stock", 40);
    const ordered_json json = ordered_json::parse(line(LogFormat::json, sample));
    CHECK(json["flags"] == "RFCF");
    CHECK(json["attempts"][0] == "primary 127.0.0.1:9001 out_of_stock 4.000");
  }

  TEST_CASE("faults on purpose have the flags of their kind, however many attempts met them") {
    SampleTimeline sample = retried();
    const auto flags = [&] { return ordered_json::parse(line(LogFormat::json, sample))["flags"]; };
    sample.get().attempts[0].injected_delay = 5ms;
    CHECK(flags() == "DI");
    sample.get().attempts[1].fault = exchange::Fault::reset;
    CHECK(flags() == "DI,FI");
    sample.get().attempts[0].injected_delay = 0ns;
    CHECK(flags() == "FI");
  }

  TEST_CASE("both formats tell what the cache had and what a fallback answered for") {
    SampleTimeline sample = retried();
    CHECK_FALSE(ordered_json::parse(line(LogFormat::json, sample)).contains("cache"));
    sample.get().cache = exchange::CacheShown::miss;
    sample.get().fallback = sample.get().keep("http_503", 40);
    const ordered_json json = ordered_json::parse(line(LogFormat::json, sample));
    CHECK(json["cache"] == "miss");
    CHECK(json["fallback"] == "http_503");
    CHECK(line(LogFormat::text, sample).find(" cache=\"miss\" fallback=\"http_503\" ") != std::string::npos);
  }

  TEST_CASE("two flags stand beside each other") {
    const SampleTimeline sample =
        SampleTimeline{}.ended(Reason::connect_refused, 502).stopped(Reason::attempts_exhausted);
    CHECK(ordered_json::parse(line(LogFormat::json, sample))["flags"] == "UF,URX");
  }
}
