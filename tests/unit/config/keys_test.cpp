#include "tests/unit/config/keys.hpp"

#include <string>
#include <string_view>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

// Every key with a range: its default, its value at each bound, and what is said beyond.
namespace outrigger::config {
namespace {

/// A text in which the key of that path has that value. Paths as in diagnostics; below listeners[0], upstreams.up and
/// routes[0] the key stands in the sample's own element.
std::string text_with(std::string_view path, const std::string& value) {
  Sample sample;
  constexpr std::string_view kListener = "listeners[0].";
  constexpr std::string_view kUpstream = "upstreams.up.";
  constexpr std::string_view kRoute = "routes[0].";
  if (path.starts_with(kListener)) {
    sample.listener = ", " + nested(path.substr(kListener.size()), value);
  } else if (path.starts_with(kUpstream)) {
    sample.upstream = ", " + nested(path.substr(kUpstream.size()), value);
  } else if (path.starts_with(kRoute)) {
    sample.route = ", " + nested(path.substr(kRoute.size()), value);
  } else {
    sample.rest = nested(path, value) + "\n";
  }
  return sample.text();
}

constexpr Key kKeys[] = {
    {"workers", "auto", "1", "256", "0", "257", "between 1 and 256"},
    {"drain.delay", "5s", "0", "10m", "", "10.1m", "between 0 and 10m"},
    {"drain.grace", "20s", "0", "1h", "", "61m", "between 0 and 1h"},
    {"limits.max_request_head", "32KiB", "1KiB", "1MiB", "1023B", "1025KiB", "between 1KiB and 1MiB"},
    {"limits.max_headers", "100", "1", "256", "0", "257", "between 1 and 256"},
    {"limits.max_request_body", "0", "1B", "1024GiB", "", "1025GiB", "0 or between 1B and 1024GiB"},
    {"limits.max_response_head", "64KiB", "1KiB", "1MiB", "1023B", "2MiB", "between 1KiB and 1MiB"},
    {"limits.head_timeout", "10s", "10ms", "1h", "9ms", "2h", "between 10ms and 1h"},
    {"limits.body_idle_timeout", "30s", "10ms", "24h", "0", "25h", "between 10ms and 24h"},
    {"limits.idle_timeout", "75s", "10ms", "24h", "0", "25h", "between 10ms and 24h"},
    {"limits.write_idle_timeout", "30s", "10ms", "24h", "0", "25h", "between 10ms and 24h"},
    {"limits.max_connections", "10000", "1", "1000000", "0", "1000001", "between 1 and 1000000"},
    {"limits.max_requests_per_connection", "0", "0", "1000000000", "", "1000000001", "0 or between 1 and 1000000000"},
    {"limits.relay_buffer", "64KiB", "4KiB", "16MiB", "4095B", "17MiB", "between 4KiB and 16MiB"},
    {"limits.buffer_memory", "256MiB", "1MiB", "1024GiB", "1023KiB", "1025GiB", "between 1MiB and 1024GiB"},
    {"listeners[0].trusted_hops", "0", "0", "100", "", "101", "between 0 and 100"},
    {"listeners[0].limits.max_headers", "100", "1", "256", "0", "257", "between 1 and 256"},
    {"upstreams.up.connect_timeout", "1s", "1ms", "5m", "0", "6m", "between 1ms and 5m"},
    {"upstreams.up.read_idle_timeout", "1m", "10ms", "24h", "9ms", "25h", "between 10ms and 24h"},
    {"upstreams.up.idle_timeout", "4s", "10ms", "1h", "9ms", "2h", "between 10ms and 1h"},
    {"upstreams.up.max_requests_per_connection", "0", "0", "1000000000", "", "1000000001",
     "0 or between 1 and 1000000000"},
    {"upstreams.up.max_connections", "1024", "1", "1000000", "0", "1000001", "between 1 and 1000000"},
    {"upstreams.up.max_pending", "1024", "0", "100000", "", "100001", "between 0 and 100000"},
    {"upstreams.up.outlier_detection.consecutive_failures", "absent", "1", "1000", "0", "1001", "between 1 and 1000"},
    {"upstreams.up.outlier_detection.base_ejection", "absent", "10ms", "5m", "9ms", "25h", "between 10ms and 24h"},
    {"upstreams.up.outlier_detection.max_ejection", "absent", "30s", "24h", "9ms", "25h", "between 10ms and 24h"},
    {"upstreams.up.outlier_detection.max_ejected", "absent", "0.0", "1.0", "", "1.01", "between 0 and 1"},
    {"policies.default.overall_timeout", "15s", "6ms", "1h", "999us", "61m", "0 or between 1ms and 1h"},
    {"policies.default.max_duration", "0", "15s", "24h", "999us", "25h", "0 or between 1ms and 24h"},
    {"policies.default.deadline.min_remaining", "5ms", "0", "14s", "", "61s", "between 0 and 1m"},
    {"policies.default.deadline.margin", "0", "0", "1m", "", "61s", "between 0 and 1m"},
    {"policies.default.retry.max_attempts", "absent", "1", "10", "0", "11", "between 1 and 10"},
    {"policies.default.retry.timeout_per_attempt", "absent", "1ms", "5s", "999us", "61m", "0 or between 1ms and 1h"},
    {"policies.default.retry.initial_backoff", "absent", "1ms", "250ms", "0", "31s", "between 1ms and 30s"},
    {"policies.default.retry.max_backoff", "absent", "25ms", "30s", "0", "31s", "between 1ms and 30s"},
    {"policies.default.retry.backoff_multiplier", "absent", "1.0", "10.0", "0.99", "10.01", "between 1 and 10"},
    {"policies.default.retry.replay_buffer", "absent", "0", "8MiB", "", "8193KiB", "between 0 and 8MiB"},
    {"policies.default.retry.retry_after.max", "absent", "0", "1h", "", "61m", "between 0 and 1h"},
    {"telemetry.timelines.keep", "2048", "1", "100000", "0", "100001", "between 1 and 100000"},
    {"telemetry.timelines.sample", "0.01", "0.0", "1.0", "", "1.01", "between 0 and 1"},
};

constexpr Key kBudgetKeys[] = {
    {"window.max_rate", "0.2", "0.0", "1.0", "", "1.1", "between 0 and 1"},
    {"window.min_per_second", "3.0", "0.0", "1000000.0", "", "1000001", "between 0 and 1000000"},
    {"window.window", "10s", "1s", "1h", "999ms", "2h", "between 1s and 1h"},
    {"ratio.max_rate", "0.2", "0.0", "1.0", "", "1.1", "between 0 and 1"},
    {"ratio.min_concurrency", "3", "0", "100000", "", "100001", "between 0 and 100000"},
    {"success_credit.capacity", "500.0", "5.0", "1000000.0", "0.5", "1000001", "between 1 and 1000000"},
    {"success_credit.retry_cost", "5.0", "1.0", "500.0", "0.5", "501", "between 1 and 500"},
    {"success_credit.success_credit", "1.0", "0.0", "500.0", "", "501", "between 0 and 500"},
    {"success_credit.min_per_second", "0.0", "0.0", "1000000.0", "", "1000001", "between 0 and 1000000"},
};

/// Words: the default, and all that may be said.
struct Word {
  const char* path;
  const char* by_default;
  std::vector<const char*> words;
};

const Word kWords[] = {
    {"admin.listen", "127.0.0.1:9901", {"127.0.0.1:0", "\"[::1]:9901\"", "localhost:1"}},
    {"limits.escaped_slashes", "keep", {"keep", "reject"}},
    {"listeners[0].trust_priority", "true", {"true", "false"}},
    {"listeners[0].debug_headers", "false", {"true", "false"}},
    {"upstreams.up.balance", "least_request", {"least_request", "round_robin", "random"}},
    {"upstreams.up.panic", "true", {"true", "false"}},
    {"upstreams.up.host", "absent", {"api.example.com", "api.example.com:8443"}},
    {"routes[0].priority", "absent", {"low", "standard", "critical"}},
    {"routes[0].policy", "default", {"default"}},
    {"policies.default.mode", "enforce", {"enforce", "observe"}},
    {"chaos_enabled", "false", {"true", "false"}},
    {"policies.default.id", "absent", {"anything at all"}},
    {"policies.default.deadline.on_invalid", "ignore", {"ignore", "reject"}},
    {"policies.default.retry.jitter", "absent", {"full", "equal", "decorrelated", "none"}},
    {"policies.default.retry.classifier", "absent", {"http"}},
    {"policies.default.retry.non_idempotent", "absent", {"true", "false"}},
    {"policies.default.retry.idempotency_key", "absent", {"X-Key"}},
    {"policies.default.retry.avoid_previous_endpoint", "absent", {"true", "false"}},
    {"policies.default.retry.retry_after.honor", "absent", {"true", "false"}},
    {"telemetry.log.level", "info", {"debug", "info", "warn", "error"}},
    {"telemetry.log.format", "json", {"json", "text"}},
    {"telemetry.log.file", "stderr", {"stderr", "a.log"}},
    {"telemetry.access_log.file", "none", {"none", "stderr", "a.log"}},
    {"telemetry.timelines.log_query", "false", {"true", "false"}},
    {"instance", "absent", {"edge-1"}},
};

std::string budget_text(std::string_view path, const std::string& value) {
  const std::size_t dot = path.find('.');
  const std::string type(path.substr(0, dot));
  return Sample{"", "", "",
                "budgets: {b: {type: " + type + ", " + std::string(path.substr(dot + 1)) + ": " + value +
                    "}}\npolicies: {default: {retry: {budget: b}}}\n"}
      .text();
}

TEST_SUITE("config") {
  TEST_CASE("every key with a range has its default, takes its bounds and refuses what lies beyond") {
    const LoadResult defaults = load(Sample{}.text());
    REQUIRE(all(defaults).empty());
    for (const Key& key : kKeys) check_key(key, key.path, defaults.config, text_with);
  }

  TEST_CASE("every key of a budget has its default, takes its bounds and refuses what lies beyond") {
    for (const Key& key : kBudgetKeys) {
      const std::string path = key.path;
      const std::string type = path.substr(0, path.find('.'));
      const LoadResult defaults = load(
          Sample{"", "", "", "budgets: {b: {type: " + type + "}}\npolicies: {default: {retry: {budget: b}}}\n"}.text());
      REQUIRE(all(defaults).empty());
      check_key(key, "budgets.b" + path.substr(path.find('.')), defaults.config, budget_text);
    }
  }

  TEST_CASE("every key with words has its default, takes each of them and refuses another") {
    const LoadResult defaults = load(Sample{}.text());
    for (const Word& key : kWords) {
      CAPTURE(key.path);
      CHECK(effective(defaults.config, key.path) == key.by_default);
      for (const std::string value : key.words) {
        CAPTURE(value);
        const LoadResult result = load(text_with(key.path, value));
        CHECK(all(result).empty());
        const std::string plain = value[0] == '"' ? value.substr(1, value.size() - 2) : value;
        CHECK(effective(result.config, key.path) == plain);
      }
      for (const std::string value : {"[]", "{}", "''"}) {
        CAPTURE(value);
        const LoadResult result = load(text_with(key.path, value));
        REQUIRE(!result.diagnostics.empty());
        CHECK(result.diagnostics[0].path == key.path);
        CHECK_FALSE(result.ok());
      }
    }
  }

  TEST_CASE("a retry block that is empty has every default") {
    const LoadResult result = load(Sample{"", "", "", "policies: {default: {retry: {}}}\n"}.text());
    REQUIRE(all(result).empty());
    CHECK(to_json(result.config)["policies"]["default"]["retry"].dump() ==
          R"({"max_attempts":3,"timeout_per_attempt":"0","initial_backoff":"25ms","max_backoff":"250ms",)"
          R"("backoff_multiplier":2.0,"jitter":"full","classifier":"http","budget":"default","replay_buffer":"64KiB",)"
          R"("non_idempotent":false,"idempotency_key":"Idempotency-Key","retry_after":{"honor":true,"max":"2s"},)"
          R"("avoid_previous_endpoint":true})");
  }

  TEST_CASE("lists have their defaults and are replaced whole") {
    const Config defaults = load(Sample{}.text()).config;
    CHECK(effective(defaults, "policies.default.deadline.accept") ==
          R"(["X-Request-Timeout","Grpc-Timeout","X-Envoy-Expected-Rq-Timeout-Ms"])");
    CHECK(effective(defaults, "policies.default.deadline.forward") == R"(["X-Request-Timeout"])");
    CHECK(effective(defaults, "telemetry.access_log.headers") == "[]");
    CHECK(effective(defaults, "admin.allowed_hosts") == "[]");
    CHECK(defaults.telemetry.histogram_buckets_s.size() == 17);
    const LoadResult result = load(
        Sample{"", "", "",
               "policies: {default: {deadline: {accept: [grpc-timeout], forward: []}}}\n"
               "telemetry: {access_log: {headers: [A, B]}, histogram_buckets: [0.1, 2]}\nadmin: {allowed_hosts: [h]}\n"}
            .text());
    REQUIRE(all(result).empty());
    CHECK(effective(result.config, "policies.default.deadline.accept") == R"(["Grpc-Timeout"])");
    CHECK(effective(result.config, "policies.default.deadline.forward") == "[]");
    CHECK(effective(result.config, "telemetry.access_log.headers") == R"(["A","B"])");
    CHECK(effective(result.config, "telemetry.histogram_buckets") == "[0.1,2.0]");
    CHECK(effective(result.config, "admin.allowed_hosts") == R"(["h"])");
  }

  TEST_CASE("priority is trusted by default on loopback alone") {
    const auto trusts = [](const std::string& listen) {
      const LoadResult result = load("version: 1\nlisteners: [{name: in, listen: '" + listen +
                                     "'}]\nupstreams: {up: {endpoints: ['127.0.0.1:1']}}\nroutes: [{upstream: up}]\n");
      REQUIRE(all(result).empty());
      return result.config.listeners[0].trust_priority;
    };
    CHECK(trusts("127.0.0.1:0"));
    CHECK(trusts("[::1]:0"));
    CHECK(trusts("localhost:0"));
    CHECK_FALSE(trusts("0.0.0.0:0"));
    CHECK_FALSE(trusts("10.1.2.3:80"));
  }

  TEST_CASE("a listener starts from the root's limits and changes its own") {
    const LoadResult result =
        load(Sample{", limits: {max_headers: 7}", "", "", "limits: {max_headers: 50, idle_timeout: 3s}\n"}.text());
    REQUIRE(all(result).empty());
    CHECK(result.config.limits.max_headers == 50);
    CHECK(result.config.listeners[0].limits.max_headers == 7);
    CHECK(result.config.listeners[0].limits.idle_timeout == std::chrono::seconds{3});
  }
}

}  // namespace
}  // namespace outrigger::config
