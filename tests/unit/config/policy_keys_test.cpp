#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "tests/unit/config/keys.hpp"

// Every key of a policy's blocks: its default, its value at each bound, and what is said beyond; for what may have a
// name, in the root as well.
namespace outrigger::config {
namespace {

/// Keys of one block. `beside` is what the block must have as well, so that the value alone is judged.
struct PolicyKey {
  const char* block;
  const char* beside;
  Key key;  // its path is the one within the block
};

const PolicyKey kPolicyKeys[] = {
    {"hedge", "", {"max_hedges", "1", "1", "3", "0", "4", "between 1 and 3"}},
    {"hedge", "", {"delay", "absent", "1ms", "1h", "999us", "61m", "between 1ms and 1h"}},
    {"hedge", "", {"trigger", "p95", "p50", "p99.9", "p49.9", "p99.91", "between p50 and p99.9"}},
    {"hedge", "", {"min_samples", "100", "1", "1000000", "0", "1000001", "between 1 and 1000000"}},
    {"hedge", "", {"window", "30s", "1s", "1h", "999ms", "61m", "between 1s and 1h"}},
    {"hedge", "", {"min_delay", "1ms", "1ms", "10s", "999us", "61m", "between 1ms and 1h"}},
    {"hedge", "", {"max_delay", "10s", "1ms", "1h", "0", "61m", "between 1ms and 1h"}},

    {"circuit", "", {"consecutive_failures", "5", "1", "100000", "0", "100001", "between 1 and 100000"}},
    {"circuit", "minimum_calls: 1", {"failure_rate", "absent", "0.001", "1.0", "0", "1.1", "between 0.001 and 1"}},
    {"circuit", "failure_rate: 50%", {"minimum_calls", "10", "1", "10000", "0", "10001", "between 1 and 10000"}},
    {"circuit", "failure_rate: 50%", {"window", "30s", "100ms", "1h", "99ms", "61m", "between 100ms and 1h"}},
    {"circuit",
     "failure_rate: 50%, minimum_calls: 1",
     {"window_calls", "absent", "1", "10000", "0", "10001", "between 1 and 10000"}},
    {"circuit", "", {"slow_call.threshold", "absent", "1ms", "1h", "0", "61m", "between 1ms and 1h"}},
    {"circuit", "max_cooldown: 24h", {"cooldown", "10s", "100ms", "1h", "99ms", "61m", "between 100ms and 1h"}},
    {"circuit", "", {"cooldown_jitter", "0.1", "0.0", "0.5", "", "51%", "between 0 and 0.5"}},
    {"circuit", "", {"cooldown_multiplier", "1.0", "1.0", "10.0", "0.9", "10.1", "between 1 and 10"}},
    {"circuit", "cooldown: 100ms", {"max_cooldown", "5m", "100ms", "24h", "99ms", "25h", "between 100ms and 24h"}},
    {"circuit", "", {"half_open.max_probes", "1", "1", "64", "0", "65", "between 1 and 64"}},
    {"circuit", "", {"half_open.successes", "1", "1", "1000", "0", "1001", "between 1 and 1000"}},
    {"circuit", "", {"half_open.probe_timeout", "absent", "1ms", "1h", "0", "61m", "between 1ms and 1h"}},

    {"rate_limit",
     "burst: 1, per: 1m",
     {"requests", "100.0", "0.001", "1000000.0", "0", "1000001", "between 0.001 and 1000000"}},
    {"rate_limit", "", {"per", "1s", "1ms", "24h", "999us", "25h", "between 1ms and 24h"}},
    {"rate_limit", "", {"burst", "100", "1", "1000000", "0", "1000001", "between 1 and 1000000"}},
    {"rate_limit", "", {"max_wait", "0", "0", "1h", "", "61m", "between 0 and 1h"}},
    {"rate_limit", "", {"max_keys", "10000", "1", "1000000", "0", "1000001", "between 1 and 1000000"}},

    {"bulkhead",
     "max_wait: 1s, max_concurrent: 1",
     {"max_queue", "0", "1", "10000", "", "10001", "between 0 and 10000"}},
    {"bulkhead", "max_queue: 1, max_concurrent: 1", {"max_wait", "0", "1ms", "1h", "", "61m", "between 0 and 1h"}},
    {"bulkhead", "max_concurrent: 1", {"priorities.low", "1.0", "0.001", "1.0", "0", "1.1", "between 0.001 and 1"}},
    {"bulkhead", "max_concurrent: 1", {"priorities.critical", "1.0", "1.0", "1.0", "0", "1.1", "between 0.001 and 1"}},

    {"adaptive_limit", "max: 100000", {"initial", "20", "1", "100000", "0", "100001", "between 1 and 100000"}},
    {"adaptive_limit",
     "initial: 100000, max: 100000",
     {"min", "1", "1", "100000", "0", "100001", "between 1 and 100000"}},
    {"adaptive_limit", "initial: 1", {"max", "200", "1", "100000", "0", "100001", "between 1 and 100000"}},
    {"adaptive_limit", "", {"queue", "0", "0", "10000", "", "10001", "between 0 and 10000"}},
    {"adaptive_limit", "queue: 1", {"max_wait", "100ms", "1us", "1h", "", "61m", "between 0 and 1h"}},
    {"adaptive_limit", "", {"priorities.low", "1.0", "0.001", "1.0", "0", "1.1", "between 0.001 and 1"}},
    {"adaptive_limit", "", {"aimd.tolerance", "1.5", "1.01", "10.0", "1", "11", "between 1.01 and 10"}},
    {"adaptive_limit", "", {"aimd.decrease", "0.8", "0.1", "0.99", "0.09", "1", "between 0.1 and 0.99"}},
    {"adaptive_limit", "", {"aimd.increase", "1", "1", "1000", "0", "1001", "between 1 and 1000"}},
    {"adaptive_limit", "", {"aimd.smoothing", "0.1", "0.001", "1.0", "0", "1.1", "between 0.001 and 1"}},
    {"adaptive_limit", "", {"aimd.baseline_window", "30s", "1s", "1h", "999ms", "61m", "between 1s and 1h"}},
    {"adaptive_limit",
     "algorithm: gradient",
     {"gradient.quantile", "0.9", "0.01", "0.999", "0", "1", "between 0.01 and 0.999"}},
    {"adaptive_limit",
     "algorithm: gradient",
     {"gradient.window.min", "1s", "10ms", "30s", "9ms", "61m", "between 10ms and 1h"}},
    {"adaptive_limit",
     "algorithm: gradient",
     {"gradient.window.max", "30s", "1s", "1h", "9ms", "61m", "between 10ms and 1h"}},
    {"adaptive_limit",
     "algorithm: gradient",
     {"gradient.window.min_samples", "50", "1", "100000", "0", "100001", "between 1 and 100000"}},
    {"adaptive_limit",
     "algorithm: gradient",
     {"gradient.baseline_age", "10", "1", "1000", "0", "1001", "between 1 and 1000"}},
    {"adaptive_limit",
     "algorithm: gradient",
     {"gradient.correlation_window", "50", "10", "1000", "9", "1001", "between 10 and 1000"}},
    {"adaptive_limit",
     "algorithm: gradient",
     {"gradient.max_factor", "5.0", "1.0", "100.0", "0.9", "101", "between 1 and 100"}},

    {"adaptive_throttle", "", {"failure_rate", "0.1", "0.0", "0.99", "", "1", "between 0 and 0.99"}},
    {"adaptive_throttle", "", {"minimum_calls", "20", "1", "100000", "0", "100001", "between 1 and 100000"}},
    {"adaptive_throttle", "", {"window", "1m", "1s", "1h", "999ms", "61m", "between 1s and 1h"}},
    {"adaptive_throttle", "", {"max_rejection", "0.9", "0.01", "1.0", "0", "1.1", "between 0.01 and 1"}},

    {"cache", "", {"ttl", "5s", "0", "24h", "", "25h", "between 0 and 24h"}},
    {"cache", "", {"max_bytes", "64MiB", "64KiB", "256MiB", "63KiB", "1025GiB", "between 64KiB and 1024GiB"}},
    {"cache", "", {"max_object", "64KiB", "1KiB", "16MiB", "1023B", "17MiB", "between 1KiB and 16MiB"}},
    {"cache", "", {"stale_if_error", "0", "0", "24h", "", "25h", "between 0 and 24h"}},
};

/// The same keys in the root, where they may have a name.
constexpr std::pair<std::string_view, std::string_view> kMaps[] = {
    {"circuit", "circuits"},
    {"rate_limit", "rate_limits"},
    {"bulkhead", "bulkheads"},
    {"adaptive_limit", "adaptive_limits"},
    {"adaptive_throttle", "adaptive_throttles"},
};

std::string map_of(std::string_view block) {
  for (const auto& [key, map] : kMaps) {
    if (key == block) return std::string(map);
  }
  return "";
}

/// Two endpoints and no time limit, so that no hedge and no wait is suspicious.
const std::string kRest =
    "version: 1\nlisteners: [{name: in, listen: '127.0.0.1:0'}]\n"
    "upstreams: {up: {endpoints: ['127.0.0.1:1', '127.0.0.1:2']}}\nroutes: [{upstream: up}]\n";

std::string in_policy(std::string_view block, const std::string& content) {
  return kRest + "policies: {default: {overall_timeout: 0, " + std::string(block) + ": {" + content + "}}}\n";
}

std::string in_root(std::string_view block, const std::string& content) {
  return kRest + map_of(block) + ": {n: {" + content + "}}\npolicies: {default: {overall_timeout: 0, " +
         std::string(block) + ": n}}\n";
}

void check_everywhere(const PolicyKey& key,
                      const std::function<std::string(std::string_view block, const std::string& content)>& place,
                      const std::string& path_of_block) {
  const std::string beside = key.beside;
  const LoadResult defaults = load(place(key.block, beside));
  CAPTURE(key.block);
  CHECK(defaults.ok());
  check_key(key.key, path_of_block + "." + key.key.path, defaults.config,
            [&](std::string_view path, const std::string& value) {
              return place(key.block, beside + (beside.empty() ? "" : ", ") + nested(path, value));
            });
}

/// Words: the default, and all that may be said.
struct PolicyWord {
  const char* block;
  const char* beside;
  const char* path;
  const char* by_default;
  std::vector<const char*> words;
};

const PolicyWord kPolicyWords[] = {
    {"hedge", "", "cancel_on_first_terminal", "false", {"true", "false"}},
    {"circuit", "", "scope", "key", {"key", "upstream", "endpoint"}},
    {"circuit", "", "counts", "attempt", {"attempt", "request"}},
    {"rate_limit", "burst: 1", "shape", "bursty", {"bursty", "smooth"}},
    {"rate_limit", "", "counts", "request", {"request", "attempt"}},
    {"rate_limit", "", "key", "policy", {"policy", "client_ip"}},
    {"rate_limit", "", "headers", "none", {"none", "ietf", "legacy"}},
    {"bulkhead", "max_concurrent: 9", "counts", "attempt", {"attempt", "request"}},
    {"adaptive_limit", "", "algorithm", "aimd", {"aimd", "gradient"}},
    {"adaptive_throttle", "", "priorities", "true", {"true", "false"}},
    {"cache", "", "coalesce", "true", {"true", "false"}},
};

TEST_SUITE("config") {
  TEST_CASE("every key of a policy's block has its default, takes its bounds and refuses what lies beyond") {
    for (const PolicyKey& key : kPolicyKeys) {
      check_everywhere(key, in_policy, "policies.default." + std::string(key.block));
    }
  }

  TEST_CASE("so has every key of what has a name in the root") {
    for (const PolicyKey& key : kPolicyKeys) {
      if (!map_of(key.block).empty()) check_everywhere(key, in_root, map_of(key.block) + ".n");
    }
  }

  TEST_CASE("every word of a policy's block is taken, and another is refused") {
    for (const PolicyWord& key : kPolicyWords) {
      CAPTURE(key.block);
      CAPTURE(key.path);
      const std::string path = "policies.default." + std::string(key.block) + "." + key.path;
      const std::string beside = key.beside;
      CHECK(effective(load(in_policy(key.block, beside)).config, path) == key.by_default);
      const auto text = [&](const std::string& value) {
        return in_policy(key.block, beside + (beside.empty() ? "" : ", ") + nested(key.path, value));
      };
      for (const std::string word : key.words) {
        CAPTURE(word);
        const LoadResult result = load(text(word));
        CHECK(all(result).empty());
        CHECK(effective(result.config, path) == word);
      }
      for (const std::string word : {"[]", "nothing", "''"}) {
        CAPTURE(word);
        const LoadResult result = load(text(word));
        REQUIRE(!result.diagnostics.empty());
        CHECK(result.diagnostics[0].path == path);
        CHECK_FALSE(result.ok());
      }
    }
  }

  TEST_CASE("an empty block has every default") {
    const LoadResult result =
        load(kRest +
             "policies: {default: {hedge: {}, circuit: {}, rate_limit: {}, bulkhead: {max_concurrent: 10}, "
             "adaptive_limit: {}, adaptive_throttle: {}, cache: {}}}\n");
    REQUIRE(all(result).empty());
    const nlohmann::ordered_json policy = to_json(result.config)["policies"]["default"];
    CHECK(policy["hedge"].dump() ==
          R"({"max_hedges":1,"trigger":"p95","min_samples":100,"window":"30s","min_delay":"1ms","max_delay":"10s",)"
          R"("methods":["GET","HEAD","OPTIONS"],"cancel_on_first_terminal":false,"budget":"default"})");
    CHECK(policy["circuit"].dump() ==
          R"({"consecutive_failures":5,"cooldown":"10s","cooldown_jitter":0.1,"cooldown_multiplier":1.0,)"
          R"("max_cooldown":"5m","half_open":{"max_probes":1,"successes":1},"scope":"key","counts":"attempt",)"
          R"("failure_on":["connect_failure","overall_timeout","attempt_timeout","reset","closed_early",)"
          R"("protocol_error","response_head_too_large","500","502-504"]})");
    CHECK(policy["rate_limit"].dump() ==
          R"({"requests":100.0,"per":"1s","burst":100,"shape":"bursty","max_wait":"0","counts":"request",)"
          R"("key":"policy","max_keys":10000,"headers":"none"})");
    CHECK(policy["bulkhead"].dump() == R"({"max_concurrent":10,"max_queue":0,"max_wait":"0",)"
                                       R"("priorities":{"low":1.0,"standard":1.0,"critical":1.0},"counts":"attempt"})");
    CHECK(policy["adaptive_limit"].dump() ==
          R"({"algorithm":"aimd","initial":20,"min":1,"max":200,"queue":0,"max_wait":"100ms",)"
          R"("priorities":{"low":1.0,"standard":1.0,"critical":1.0},)"
          R"("aimd":{"tolerance":1.5,"decrease":0.8,"increase":1,"smoothing":0.1,"baseline_window":"30s"}})");
    CHECK(policy["adaptive_throttle"].dump() ==
          R"({"failure_rate":0.1,"minimum_calls":20,"window":"1m","max_rejection":0.9,"priorities":true})");
    CHECK(policy["cache"].dump() ==
          R"({"ttl":"5s","max_bytes":"64MiB","max_object":"64KiB","statuses":["200"],"methods":["GET","HEAD"],)"
          R"("vary":[],"coalesce":true,"stale_if_error":"0"})");
  }

  TEST_CASE("rates say what they go by: only the keys of the rule and the algorithm are shown") {
    const auto circuit = [](const std::string& keys) {
      const LoadResult result = load(in_policy("circuit", keys));
      CHECK(all(result).empty());
      nlohmann::ordered_json shown = to_json(result.config)["policies"]["default"]["circuit"];
      std::string out;
      for (const auto& [key, value] : shown.items()) {
        if (key == "cooldown") break;
        out += key + " " + value.dump() + "; ";
      }
      return out;
    };
    CHECK(circuit("failure_rate: 25%") == "failure_rate 0.25; minimum_calls 10; window \"30s\"; ");
    CHECK(circuit("failure_rate: 25%, window_calls: 50") == "failure_rate 0.25; minimum_calls 10; window_calls 50; ");
    CHECK(circuit("slow_call: {threshold: 1s}") ==
          "consecutive_failures 5; minimum_calls 10; window \"30s\"; slow_call {\"threshold\":\"1s\",\"rate\":0.5}; ");
    CHECK(circuit("failure_rate: 1, window_calls: 20, slow_call: {threshold: 1s, rate: 30%}") ==
          "failure_rate 1.0; minimum_calls 10; window_calls 20; slow_call {\"threshold\":\"1s\",\"rate\":0.3}; ");
    const LoadResult gradient = load(in_policy("adaptive_limit", "algorithm: gradient"));
    CHECK(to_json(gradient.config)["policies"]["default"]["adaptive_limit"]["gradient"].dump() ==
          R"({"quantile":0.9,"window":{"min":"1s","max":"30s","min_samples":50},"baseline_age":10,)"
          R"("correlation_window":50,"max_factor":5.0})");
  }

  TEST_CASE("max_concurrent has no default, and is bounded") {
    CHECK(findings(in_policy("bulkhead", "")) ==
          Lines{"t.yaml:5:52: error: policies.default.bulkhead.max_concurrent: required, but missing"});
    CHECK(load(in_policy("bulkhead", "max_concurrent: 1")).ok());
    CHECK(load(in_policy("bulkhead", "max_concurrent: 100000")).ok());
    for (const std::string value : {"0", "100001"}) {
      CHECK(findings(in_policy("bulkhead", "max_concurrent: " + value)) ==
            Lines{"t.yaml:5:69: error: policies.default.bulkhead.max_concurrent: must be between 1 and 100000, got " +
                  value});
    }
  }

  TEST_CASE("a route allows upgrades to WebSocket unless it names others or none, and bounds how long they idle") {
    const auto route = [](const std::string& keys) {
      return load(
          "version: 1\nlisteners: [{name: main, listen: '127.0.0.1:0'}]\nupstreams: {a: {endpoints: ['127.0.0.1:1']}}\n"
          "routes: [{upstream: a" +
          keys + "}]\n");
    };
    const LoadResult defaults = route("");
    CHECK(defaults.config.routes[0].upgrade == std::vector<std::string>{"websocket"});
    CHECK(effective(defaults.config, "routes[0].upgrade") == "[\"websocket\"]");
    CHECK(effective(defaults.config, "routes[0].tunnel_idle_timeout") == "1h");
    const LoadResult other = route(", upgrade: [chat, websocket], tunnel_idle_timeout: 24h");
    REQUIRE(other.ok());
    CHECK(other.config.routes[0].upgrade == std::vector<std::string>{"chat", "websocket"});
    CHECK(effective(other.config, "routes[0].tunnel_idle_timeout") == "24h");
    CHECK(route(", upgrade: []").config.routes[0].upgrade.empty());
    CHECK(route(", tunnel_idle_timeout: 10ms").ok());
    for (const std::string wrong : {"upgrade: websocket", "upgrade: ['web socket']", "upgrade: [{}]",
                                    "tunnel_idle_timeout: 9ms", "tunnel_idle_timeout: 25h", "tunnel_idle_timeout: 0"}) {
      CAPTURE(wrong);
      CHECK_FALSE(route(", " + wrong).ok());
    }
  }

  TEST_CASE("a mirror takes all requests unless it says less, and at most so many at once") {
    const auto mirror = [](const std::string& keys) {
      return load(
          "version: 1\nlisteners: [{name: in, listen: '127.0.0.1:0'}]\nupstreams: {a: {endpoints: ['127.0.0.1:1']}, "
          "b: {endpoints: ['127.0.0.1:2']}}\nroutes: [{upstream: a, mirror: {" +
          keys + "}}]\n");
    };
    const LoadResult defaults = mirror("upstream: b");
    CHECK(all(defaults).empty());
    REQUIRE(defaults.config.routes[0].mirror.has_value());
    CHECK(defaults.config.routes[0].mirror->upstream == "b");
    CHECK(effective(defaults.config, "routes[0].mirror.fraction") == "1.0");
    CHECK(effective(defaults.config, "routes[0].mirror.max_in_flight") == "100");
    CHECK(effective(mirror("upstream: b, fraction: 5%, max_in_flight: 100000").config, "routes[0].mirror") ==
          R"({"upstream":"b","fraction":0.05,"max_in_flight":100000})");
    CHECK(all(mirror("upstream: b, max_in_flight: 0")).find("must be between 1 and 100000, got 0") !=
          std::string::npos);
    CHECK(all(mirror("upstream: b, fraction: 101%")).find("must be between 0 and 1, got 101%") != std::string::npos);
    CHECK(all(mirror("")).find("routes[0].mirror.upstream: required, but missing") != std::string::npos);
    CHECK(all(mirror("upstream: c")).find("routes[0].mirror.upstream: no upstream of the name \"c\"") !=
          std::string::npos);
  }
}

}  // namespace
}  // namespace outrigger::config
