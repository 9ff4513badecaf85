#include "proxy/config/load.hpp"

#include <string>

#include <doctest/doctest.h>

#include "tests/unit/config/loading.hpp"

namespace outrigger::config {
namespace {

TEST_SUITE("config") {
  TEST_CASE("the smallest configuration loads without a word") {
    const LoadResult result = load(Sample{}.text());
    CHECK(result.diagnostics.empty());
    CHECK(result.ok());
    REQUIRE(result.config.listeners.size() == 1);
    CHECK(result.config.listeners[0].name == "in");
    CHECK(result.config.listeners[0].at.line == 3);
    REQUIRE(result.config.upstreams.size() == 1);
    CHECK(result.config.upstreams[0].name == "up");
    CHECK(result.config.upstreams[0].endpoints[0].address == HostPort{"127.0.0.1", 1});
    CHECK(result.config.upstreams[0].endpoints[0].weight == 1);
    REQUIRE(result.config.routes.size() == 1);
    CHECK(result.config.routes[0].policy == "default");
    CHECK(result.config.routes[0].upstream == "up");
    CHECK(result.config.policies.contains("default"));
    CHECK_FALSE(result.config.policies.at("default").policy.retry.has_value());
    CHECK(result.config.files == Lines{"t.yaml"});
  }

  TEST_CASE("all mistakes of a file are told at once, in its order") {
    CHECK(
        findings("version: 2\n"
                 "listeners:\n"
                 "  - { name: in, listen: 127.0.0.1 }\n"
                 "  - { listen: '127.0.0.1:0', debug_headers: yes }\n"
                 "upstreams:\n"
                 "  payments:\n"
                 "    endpoint: [127.0.0.1:9001]\n"
                 "    connect_timeout: 10\n"
                 "routes:\n"
                 "  - match: { path: /x }\n"
                 "    upstream: payment\n"
                 "policies:\n"
                 "  payments.Charge:\n"
                 "    retry: { max_attempts: 42, replay_buffer: 9MiB }\n"
                 "    hedg: {}\n"
                 "limit: {}\n") ==
        Lines{
            "t.yaml:1:10: error: version: must be 1, got 2",
            "t.yaml:3:25: error: listeners[0].listen: must be host:port, [v6]:port or unix:/path, got \"127.0.0.1\" "
            "(the port is "
            "missing: 127.0.0.1:8080)",
            "t.yaml:4:5: error: listeners[1].name: required, but missing",
            "t.yaml:4:45: error: listeners[1].debug_headers: must be true or false, got \"yes\" (write true)",
            "t.yaml:7:5: error: upstreams.payments.endpoints: required, but missing",
            "t.yaml:7:5: error: upstreams.payments.endpoint: unknown key (did you mean \"endpoints\"?)",
            "t.yaml:8:22: error: upstreams.payments.connect_timeout: must be a duration, got \"10\" (a duration needs "
            "a unit: 10ms, 10s)",
            "t.yaml:10:12: error: routes[0].match.listener: required, but missing: there is more than one listener "
            "(the name of one, or any)",
            "t.yaml:11:15: error: routes[0].upstream: no upstream of the name \"payment\" (did you mean "
            "\"payments\"?)",
            "t.yaml:14:28: error: policies.payments.Charge.retry.max_attempts: must be between 1 and 10, got 42",
            "t.yaml:14:47: error: policies.payments.Charge.retry.replay_buffer: must be between 0 and 8MiB, got 9MiB",
            "t.yaml:15:5: error: policies.payments.Charge.hedg: unknown key (did you mean \"hedge\"?)",
            "t.yaml:16:1: error: limit: unknown key (did you mean \"limits\"?)",
        });
  }

  TEST_CASE("what must be there and is not is named") {
    CHECK(findings("x-empty: 1\n") == Lines{"t.yaml:1:1: error: version: required, but missing",
                                            "t.yaml:1:1: error: listeners: required, but missing",
                                            "t.yaml:1:1: error: upstreams: required, but missing",
                                            "t.yaml:1:1: warning: routes: no routes: every request is answered with "
                                            "404"});
    CHECK(findings("version: 1\nlisteners: []\nupstreams: {}\nroutes: []\n") ==
          Lines{"t.yaml:2:12: error: listeners: must have at least one listener",
                "t.yaml:3:12: error: upstreams: must have at least one upstream",
                "t.yaml:4:9: warning: routes: no routes: every request is answered with 404"});
    CHECK(
        findings("version:\nlisteners:\nupstreams: ~\nroutes: null\n") ==
        Lines{"t.yaml:1:1: error: version: the value is missing", "t.yaml:2:1: error: listeners: the value is missing",
              "t.yaml:3:1: error: upstreams: the value is missing", "t.yaml:4:1: error: routes: the value is missing"});
  }

  TEST_CASE("a value of the wrong kind says what it should be and what it is") {
    CHECK(
        findings_in("workers: '4'\ndrain: 5s\nlimits: {max_headers: [1]}\ntelemetry: {timelines: {sample: {}}}\n"
                    "admin: {allowed_hosts: localhost}\ninstance: [a]\n") ==
        Lines{"t.yaml:8:10: error: workers: must be a whole number, got text in quotes (remove the quotes)",
              "t.yaml:9:8: error: drain: must be a map, got text",
              "t.yaml:10:23: error: limits.max_headers: must be a whole number, got a list (a value that begins with [ "
              "must be quoted: \"[1]...\")",
              "t.yaml:11:33: error: telemetry.timelines.sample: must be a fraction, got a map",
              "t.yaml:12:24: error: admin.allowed_hosts: must be a list, got text (write [localhost])",
              "t.yaml:13:11: error: instance: must be text, got a list (a value that begins with [ must be quoted: "
              "\"[a]...\")"});
  }

  TEST_CASE("an address whose brackets YAML took for a list is recognised") {
    CHECK(findings("version: 1\nlisteners: [{name: in, listen: [::1]}]\nupstreams: {up: {endpoints: ['h:1']}}\n"
                   "routes: [{upstream: up}]\n") == Lines{"t.yaml:2:32: error: listeners[0].listen: must be host:port, "
                                                          "[v6]:port or unix:/path, got a list (a value that "
                                                          "begins with [ must be quoted: \"[::1]...\")"});
  }

  TEST_CASE("a key without a blank after its colon, and the rest of a value with a comma, are recognised") {
    CHECK(findings_in("policies: {default: {id:x}}\n") ==
          Lines{"t.yaml:8:22: error: policies.default.id:x: unknown key (a blank must follow the colon: id: x)"});
    CHECK(findings_in("policies: {default: {id: a,b}}\n") ==
          Lines{"t.yaml:8:28: error: policies.default.b: unknown key (if this is the rest of a value that holds a "
                "comma, quote the value)"});
    CHECK(findings_in("policies: {default: {id: a, bcdefg}}\n") ==
          Lines{"t.yaml:8:29: error: policies.default.bcdefg: unknown key (if this is the rest of a value that holds a "
                "comma, quote the value)"});
  }

  TEST_CASE("a chaos block by itself is read as if it stood in its policy") {
    const Config config = load(Sample{}.text()).config;
    const auto read = load_chaos("seed: 7\ndelay: {probability: 10%, fixed: 5ms}\nmatch: {listener: in}\n", "body",
                                 "default", config);
    REQUIRE(std::holds_alternative<ChaosBlock>(read));
    const ChaosBlock& chaos = std::get<ChaosBlock>(read);
    CHECK(chaos.chaos.seed == 7);
    CHECK(chaos.chaos.delay->min == std::chrono::milliseconds{5});
    CHECK(chaos.match.listeners == std::vector<std::string>{"in"});
    CHECK(std::holds_alternative<ChaosBlock>(
        load_chaos(R"({"abort": {"probability": 1, "kind": "reset"}})", "body", "default", config)));
  }

  TEST_CASE("a wrong chaos block by itself is told with the words of the file") {
    const Config config = load(Sample{}.text()).config;
    const auto wrong = [&](std::string_view text) {
      const auto read = load_chaos(text, "body", "p.Key", config);
      Lines lines;
      if (const auto* found = std::get_if<Diagnostics>(&read)) {
        for (const Diagnostic& diagnostic : *found) lines.push_back(to_string(diagnostic));
      }
      return lines;
    };
    const std::string block = "abort: {probability: 2, status: 99}\nmatch: {listener: inn, path_regex: '('}\nsed: 1\n";
    Lines in_file;
    for (std::string line : findings_in("policies:\n  p.Key:\n    chaos:\n      " + [&] {
           std::string indented = block;
           for (std::size_t at = 0; (at = indented.find('\n', at)) != indented.size() - 1; ++at) {
             indented.insert(at + 1, "      ");
           }
           return indented;
         }())) {
      if (line.find("warning") == std::string::npos) in_file.push_back(line.substr(line.find(" error: ")));
    }
    Lines by_itself;
    for (const std::string& line : wrong(block)) by_itself.push_back(line.substr(line.find(" error: ")));
    CHECK(by_itself.size() == 5);
    CHECK(by_itself == in_file);
    CHECK(wrong(block)[0].starts_with("body:1:22: error: policies.p.Key.chaos.abort.probability: "));
    CHECK(wrong("") == Lines{"body:1:1: error: the file is empty"});
    CHECK(wrong("delay").size() == 1);
    CHECK(wrong("- a").size() == 1);
    CHECK(wrong("a: b: c").size() == 1);
    CHECK(wrong("match: {path: '${HOME}'}").size() == 1);
  }

  TEST_CASE("what the language knows and this version does not do is refused by name") {
    const auto refuses = [](const Sample& sample, const std::string& path) {
      const Lines lines = findings(sample.text());
      CAPTURE(path);
      REQUIRE(lines.size() == 1);
      CHECK(lines[0].find(" error: " + path + ": not supported yet") != std::string::npos);
    };
    refuses({"", "", "", "config_source: {}\n"}, "config_source");
    refuses({"", "", "", "admin: {token_file: x}\n"}, "admin.token_file");
    refuses({"", "", "", "admin: {metrics_listen: x}\n"}, "admin.metrics_listen");
    refuses({"", "", "", "telemetry: {traces: {}}\n"}, "telemetry.traces");
  }

  TEST_CASE("the admin API has a TCP address") {
    CHECK(findings_in("admin: {listen: 'unix:/run/a.sock'}\n") ==
          Lines{"t.yaml:8:17: error: admin.listen: must be host:port: the admin API listens on TCP (127.0.0.1:9901)"});
  }

  TEST_CASE("endpoints are balanced by a word, or by hash of something that a request has") {
    const auto balance_of = [](const std::string& text) {
      const LoadResult result = load(Sample{"", ", balance: " + text, "", ""}.text());
      REQUIRE(result.ok());
      return result.config.upstreams[0];
    };
    CHECK(balance_of("random").balance == policy::Balance::random);
    CHECK(balance_of("{hash: client_ip}").balance == policy::Balance::hash);
    CHECK(balance_of("{hash: client_ip}").hash.client_ip);
    CHECK(balance_of("{hash: {header: X-Customer}}").hash.header == "X-Customer");
    const std::string wrong = "t.yaml:5:45: error: upstreams.up.balance: must be ";
    const std::string words = "least_request, round_robin, random or {hash: client_ip} or {hash: {header: NAME}}";
    CHECK(findings(Sample{"", ", balance: least_requests", "", ""}.text()) ==
          Lines{wrong + words + ", got \"least_requests\" (did you mean \"least_request\"?)"});
    CHECK(findings(Sample{"", ", balance: hash", "", ""}.text()) == Lines{wrong + words + ", got \"hash\""});
    for (const std::string other : {"[hash]", "{}", "{header: a}"}) {
      const Lines lines = findings(Sample{"", ", balance: " + other, "", ""}.text());
      REQUIRE(lines.size() == 1);
      CHECK(lines[0].starts_with(wrong + words + ", got a "));
    }
    CHECK(findings(Sample{"", ", balance: {hash: path}", "", ""}.text()) ==
          Lines{"t.yaml:5:52: error: upstreams.up.balance.hash: must be client_ip or {header: NAME}, got \"path\""});
    CHECK(findings(Sample{"", ", balance: {hash: {header: 'a b'}}", "", ""}.text()).size() == 1);
    CHECK(findings(Sample{"", ", balance: {hash: {}}", "", ""}.text()).size() == 1);
  }

  TEST_CASE("an ejection's limit is not below what it begins with") {
    const auto lines = [](const std::string& block) {
      return findings(Sample{"", ", outlier_detection: " + block, "", ""}.text());
    };
    CHECK(lines("{}").empty());
    CHECK(lines("{base_ejection: 5m, max_ejection: 5m}").empty());
    REQUIRE(lines("{base_ejection: 10m}").size() == 1);
    CHECK(
        lines("{base_ejection: 10m}")[0].ends_with("upstreams.up.outlier_detection.base_ejection: max_ejection (5m) "
                                                   "must not be below base_ejection (10m)"));
    CHECK(lines("{max_ejection: 10s}")[0].find("outlier_detection.max_ejection: max_ejection (10s)") !=
          std::string::npos);
  }

  TEST_CASE("the admin address is of this host only") {
    CHECK(findings_in("admin: {listen: '0.0.0.0:9901'}\n") ==
          Lines{"t.yaml:8:17: error: admin.listen: must be a loopback address: others need a token, which is not "
                "supported yet (127.0.0.1:9901)"});
    CHECK(findings_in("admin: {listen: '127.0.0.1:9901', allowed_hosts: ['a:80', 'b c']}\n") ==
          Lines{"t.yaml:8:51: error: admin.allowed_hosts[0]: must be a host name without a port, got \"a:80\"",
                "t.yaml:8:59: error: admin.allowed_hosts[1]: must be a host name without a port, got \"b c\""});
  }

  TEST_CASE("standard output is not a place for logs") {
    CHECK(findings_in("telemetry: {log: {file: stdout}}\n") ==
          Lines{"t.yaml:8:25: error: telemetry.log.file: must be stderr or a file, got stdout (standard output carries "
                "only the ready line)"});
  }

  TEST_CASE("histogram buckets ascend") {
    CHECK(findings_in("telemetry: {histogram_buckets: [1, 1, 10ms, 2]}\n") ==
          Lines{"t.yaml:8:36: error: telemetry.histogram_buckets[1]: must be larger than the one before it",
                "t.yaml:8:39: error: telemetry.histogram_buckets[2]: must be a number, got \"10ms\""});
    CHECK(findings_in("telemetry: {histogram_buckets: []}\n") ==
          Lines{"t.yaml:8:32: error: telemetry.histogram_buckets: must have between 1 and 32 bounds, got 0"});
  }

  TEST_CASE("endpoints are addresses, or addresses with a weight") {
    const LoadResult result = load(
        "version: 1\nlisteners: [{name: in, listen: '127.0.0.1:0'}]\nroutes: [{upstream: up}]\nupstreams:\n"
        "  up: {endpoints: [a:1, {address: '[::1]:2', weight: 100}, {address: b:3}]}\n");
    REQUIRE(result.diagnostics.empty());
    const auto& endpoints = result.config.upstreams[0].endpoints;
    REQUIRE(endpoints.size() == 3);
    CHECK(endpoints[1].address == HostPort{"::1", 2});
    CHECK(endpoints[1].weight == 100);
    CHECK(endpoints[2].weight == 1);
    CHECK(findings("version: 1\nlisteners: [{name: in, listen: '127.0.0.1:0'}]\nroutes: [{upstream: up}]\nupstreams:\n"
                   "  up: {endpoints: [a:0, {weight: 101}, a:1, a:1, ~]}\n  none: {endpoints: []}\n"
                   "  scalar: {endpoints: a:1}\n") ==
          Lines{"t.yaml:5:20: error: upstreams.up.endpoints[0]: must end in a port from 1 to 65535, got \"a:0\"",
                "t.yaml:5:25: error: upstreams.up.endpoints[1].address: required, but missing",
                "t.yaml:5:34: error: upstreams.up.endpoints[1].weight: must be between 1 and 100, got 101",
                "t.yaml:5:45: warning: upstreams.up.endpoints[3]: a:1 is listed twice (use its weight)",
                "t.yaml:5:50: error: upstreams.up.endpoints[4]: the value is missing",
                "t.yaml:6:9: warning: upstreams.none: no route uses this upstream",
                "t.yaml:6:21: error: upstreams.none.endpoints: must have between 1 and 1000 endpoints, got 0",
                "t.yaml:7:11: warning: upstreams.scalar: no route uses this upstream",
                "t.yaml:7:23: error: upstreams.scalar.endpoints: must be a list, got text (write [a:1])"});
  }

  TEST_CASE("names are checked where they are given") {
    CHECK(
        findings("version: 1\nlisteners: [{name: 'a b', listen: '127.0.0.1:0'}]\nupstreams: {a/b: {endpoints: "
                 "['h:1']}}\nroutes: [{upstream: a/b}]\nbudgets: {9: {type: window}, default: {type: window}}\n"
                 "policies: {9.x: {}, default: {retry: {budget: 9}}}\n") ==
        Lines{"t.yaml:2:20: error: listeners[0].name: is not a name: \"a b\" (a letter, then letters, digits, - _ and "
              "dots)",
              "t.yaml:3:13: error: upstreams.a/b: is not a name: \"a/b\" (a letter, then letters, digits, - _ and "
              "dots)",
              "t.yaml:5:11: error: budgets.9: is not a name: \"9\" (a letter, then letters, digits, - _ and dots)",
              "t.yaml:5:30: error: budgets.default: \"default\" is built in and cannot be defined (choose another "
              "name)",
              "t.yaml:6:12: error: policies.9.x: is not a policy key: \"9.x\" (words of letters, digits, - and _ that "
              "begin with a letter, joined by dots: payments.Charge)",
              "t.yaml:6:17: warning: policies.9.x: no route uses this policy"});
  }

  TEST_CASE("the process-wide limit is refused in a listener") {
    CHECK(findings(Sample{", limits: {buffer_memory: 1MiB}", "", "", ""}.text()) ==
          Lines{"t.yaml:3:61: error: listeners[0].limits.buffer_memory: belongs to the root's limits: it counts the "
                "whole process"});
  }
}

}  // namespace
}  // namespace outrigger::config
