#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/unit/config/keys.hpp"

// Fallback, cache, chaos, mirror and classifiers: what a block holds, and what cannot be meant.
namespace outrigger::config {
namespace {

using Answer = policy::FallbackConfig::Answer;

/// The policy `default` with these blocks.
LoadResult load_default(const std::string& blocks) {
  return load(Sample{"", "", "", "policies: {default: {" + blocks + "}}\n"}.text());
}

/// What is wrong with them; the first stands in column 22 of line 8.
Lines about(const std::string& blocks) { return findings_in("policies: {default: {" + blocks + "}}\n"); }

const FallbackBlock& fallback_of(const LoadResult& result) { return *result.config.policies.at("default").fallback; }

TEST_SUITE("config") {
  // ---- fallback ----------------------------------------------------------------------------

  TEST_CASE("a fallback answers for reasons, groups of them and statuses") {
    const LoadResult result = load_default(
        "fallback: {when: [circuit_open, exhausted, shed, timeout, connect_failure, rate_limited, 5xx, 404], respond: "
        "{status: 200}}");
    REQUIRE(all(result).empty());
    const policy::FallbackConfig& rule = fallback_of(result).rule;
    for (const Reason reason : {Reason::circuit_open, Reason::throttled, Reason::bulkhead_full, Reason::shed_load,
                                Reason::bulkhead_queue_timeout, Reason::concurrency_limit, Reason::deadline_too_short,
                                Reason::overall_timeout, Reason::attempt_timeout, Reason::connect_refused,
                                Reason::dns_failure, Reason::rate_limited}) {
      CAPTURE(to_string(reason));
      CHECK(rule.reasons.contains(reason));
    }
    CHECK_FALSE(rule.reasons.contains(Reason::pool_full));
    CHECK_FALSE(rule.reasons.contains(Reason::circuit_half_open_probe_limit));
    CHECK(rule.exhausted);
    CHECK(rule.statuses.contains(500));
    CHECK(rule.statuses.contains(404));
    CHECK_FALSE(rule.statuses.contains(403));
    CHECK(effective(result.config, "policies.default.fallback.when") ==
          R"(["connect_failure","shed","timeout","rate_limited","circuit_open","404","5xx","exhausted"])");
  }

  TEST_CASE("a fixed answer has a status, fields and a body of any lines") {
    const LoadResult result = load(Sample{"", "", "",
                                          "policies:\n  default:\n    fallback:\n      when: [shed]\n      respond:\n"
                                          "        status: 503\n        headers: {Content-Type: text/plain, X-A: 7}\n"
                                          "        body: |\n          busy:\n          come back\n"}
                                       .text());
    REQUIRE(all(result).empty());
    const RespondConfig& respond = fallback_of(result).respond;
    CHECK(fallback_of(result).rule.answer == Answer::respond);
    CHECK(respond.status == 503);
    CHECK(respond.body == "busy:\ncome back\n");
    REQUIRE(respond.headers.size() == 2);
    CHECK(respond.headers[0] == std::pair<std::string, std::string>{"Content-Type", "text/plain"});
    CHECK(respond.headers[1] == std::pair<std::string, std::string>{"X-A", "7"});
  }

  TEST_CASE("a body may stand in a file beside the configuration") {
    namespace fs = std::filesystem;
    std::string name = (fs::temp_directory_path() / "outrigger-body-XXXXXX").string();
    const fs::path folder = ::mkdtemp(name.data());
    std::ofstream(folder / "busy.html") << "<p>\x01 busy</p>";
    std::ofstream(folder / "large") << std::string(1024 * 1024 + 1, 'x');
    const auto load_here = [&](const std::string& respond) {
      const std::string text =
          Sample{"", "", "",
                 "policies: {default: {fallback: {when: [shed], respond: {status: 200, " + respond + "}}}}\n"}
              .text();
      return load_text(text, (folder / "main.yaml").string(), process_environment);
    };
    const LoadResult result = load_here("body_file: busy.html");
    CHECK(all(result).empty());
    CHECK(fallback_of(result).respond.body == "<p>\x01 busy</p>");
    CHECK(fallback_of(result).respond.body_file == (folder / "busy.html").string());
    CHECK(result.config.files.back() == (folder / "busy.html").string());
    CHECK(effective(result.config, "policies.default.fallback.respond.body_file") == (folder / "busy.html").string());
    const auto complains = [&](const std::string& respond, const std::string& what) {
      CAPTURE(respond);
      CHECK(all(load_here(respond)).find(what) != std::string::npos);
    };
    complains("body_file: none.html", "none.html cannot be read: no such file");
    complains("body_file: /dev/null", "/dev/null cannot be read: not a regular file");
    complains("body_file: large", "large is larger than 1MiB");
    complains("body_file: busy.html, body: x", "a response has one body: body or body_file");
    complains("body_file: ''", "must not be empty");
    fs::remove_all(folder);
  }

  TEST_CASE("an answer that cannot be sent is refused") {
    CHECK(
        about("fallback: {when: [shed], respond: {status: 199, headers: {Content-Length: 1, x-outrigger-reason: a, A: "
              "1, a: 2, 'b c': 1, D: \"x\\ny\", E: ~}, body: \"\\x07\"}}") ==
        Lines{"t.yaml:8:65: error: policies.default.fallback.respond.status: must be between 200 and 599, got 199",
              "t.yaml:8:80: error: policies.default.fallback.respond.headers.Content-Length: is written by the proxy "
              "itself",
              "t.yaml:8:99: error: policies.default.fallback.respond.headers.x-outrigger-reason: is written by the "
              "proxy itself",
              "t.yaml:8:128: error: policies.default.fallback.respond.headers.a: is given twice",
              "t.yaml:8:134: error: policies.default.fallback.respond.headers.b c: must be a header name, got \"b "
              "c\"",
              "t.yaml:8:147: error: policies.default.fallback.respond.headers.D: must be one line of text",
              "t.yaml:8:155: error: policies.default.fallback.respond.headers.E: must be text, got nothing",
              "t.yaml:8:168: error: policies.default.fallback.respond.body: must not have control characters"});
    CHECK(about("fallback: {when: [shed], respond: {status: 204, body: x}}") ==
          Lines{"t.yaml:8:56: error: policies.default.fallback.respond: a response of status 204 has no body"});
    CHECK(about("fallback: {when: [shed], respond: {body: x}}") ==
          Lines{"t.yaml:8:56: error: policies.default.fallback.respond.status: required, but missing"});
  }

  TEST_CASE("a fallback has an occasion and one answer") {
    CHECK(about("fallback: {}") ==
          Lines{"t.yaml:8:32: error: policies.default.fallback.when: required, but missing",
                "t.yaml:8:32: error: policies.default.fallback: must have exactly one of respond, upstream, stale"});
    CHECK(about("fallback: {when: [], respond: {status: 200}}") ==
          Lines{"t.yaml:8:39: error: policies.default.fallback.when: must have at least one reason or status"});
    CHECK(about("fallback: {when: shed, respond: {status: 200}, upstream: up}") ==
          Lines{"t.yaml:8:32: error: policies.default.fallback: must have exactly one of respond, upstream, stale",
                "t.yaml:8:39: error: policies.default.fallback.when: must be a list, got text (write [shed])"});
    CHECK(about("fallback: {when: [shed], stale: false}") ==
          Lines{"t.yaml:8:54: error: policies.default.fallback.stale: must be true; null, or another answer, switches "
                "it off"});
  }

  TEST_CASE("an occasion that is none, or never comes, is told") {
    CHECK(about("fallback: {when: [circuit_opn, exausted, 60x, no_route, success, hedge_lost, attempts_exhausted, "
                "http_503, body_too_large], respond: {status: 200}}") ==
          Lines{"t.yaml:8:40: error: policies.default.fallback.when[0]: must be a reason, exhausted, shed, timeout, "
                "connect_failure or a status, got \"circuit_opn\" (did you mean \"circuit_open\"?)",
                "t.yaml:8:53: error: policies.default.fallback.when[1]: must be a reason, exhausted, shed, timeout, "
                "connect_failure or a status, got \"exausted\" (did you mean \"exhausted\"?)",
                "t.yaml:8:63: error: policies.default.fallback.when[2]: must be a status, a class or a range, got "
                "\"60x\" (write 503, 5xx or 502-504)",
                "t.yaml:8:68: warning: policies.default.fallback.when[3]: never happens: it is decided before the "
                "policy is known",
                "t.yaml:8:78: warning: policies.default.fallback.when[4]: never happens: a success needs no fallback",
                "t.yaml:8:87: warning: policies.default.fallback.when[5]: never happens: it is not the reason of an "
                "answer",
                "t.yaml:8:99: warning: policies.default.fallback.when[6]: never happens: it is not the reason of an "
                "answer"});
  }

  TEST_CASE("a fallback to an upstream needs one that exists, is another, and has time") {
    const auto about_upstream = [](const std::string& fallback) {
      return findings(
          "version: 1\nlisteners: [{name: in, listen: '127.0.0.1:0'}]\nupstreams: {up: {endpoints: "
          "['127.0.0.1:1']}, spare: {endpoints: ['127.0.0.1:2']}}\nroutes: [{upstream: up}, {match: {path: "
          "/}, policy: p, upstream: spare}]\npolicies: {p: {}, default: {fallback: {" +
          fallback + "}}}\n");
    };
    const std::string unreachable =
        "t.yaml:4:26: warning: routes[1]: never reached: routes[0] takes every request before it (the first match "
        "wins: move the catch-all to the end)";
    CHECK(about_upstream("when: [exhausted], upstream: spare") == Lines{unreachable});
    CHECK(
        about_upstream("when: [exhausted], upstream: spar") ==
        Lines{unreachable,
              "t.yaml:5:69: error: policies.default.fallback.upstream: no upstream of the name \"spar\" (did you mean "
              "\"spare\"?)"});
    CHECK(about_upstream("when: [exhausted], upstream: up") ==
          Lines{unreachable,
                "t.yaml:5:69: warning: policies.default.fallback.upstream: the requests of this policy go to up "
                "anyway"});
    for (const std::string when : {"[exhausted, overall_timeout]", "[timeout]"}) {
      CHECK(about_upstream("when: " + when + ", upstream: spare") ==
            Lines{unreachable,
                  "t.yaml:5:46: warning: policies.default.fallback.when: after overall_timeout no time is left for an "
                  "attempt at spare"});
    }
    CHECK(about_upstream("when: [timeout], respond: {status: 200}") == Lines{unreachable});
  }

  TEST_CASE("an upstream that only a fallback or a mirror uses is used") {
    CHECK(findings("version: 1\nlisteners: [{name: in, listen: '127.0.0.1:0'}]\nupstreams: {up: {endpoints: "
                   "['127.0.0.1:1']}, spare: {endpoints: ['127.0.0.1:2']}, copy: {endpoints: ['127.0.0.1:3']}}\n"
                   "routes: [{upstream: up, mirror: {upstream: copy}}]\n"
                   "policies: {default: {fallback: {when: [exhausted], upstream: spare}}}\n")
              .empty());
  }

  TEST_CASE("there is something stale only where a cache keeps it") {
    const std::string nothing = "there is nothing stale to send without a cache that has stale_if_error";
    CHECK(about("fallback: {when: [exhausted], stale: true}") ==
          Lines{"t.yaml:8:59: warning: policies.default.fallback.stale: " + nothing});
    CHECK(about("cache: {}, fallback: {when: [exhausted], stale: true}") ==
          Lines{"t.yaml:8:70: warning: policies.default.fallback.stale: " + nothing});
    CHECK(about("cache: {stale_if_error: 1m}, fallback: {when: [exhausted], stale: true}").empty());
  }

  // ---- cache -------------------------------------------------------------------------------

  TEST_CASE("lists of a cache are replaced whole") {
    const LoadResult result = load_default("cache: {statuses: [200, 404, 30x-, 3xx], methods: [GET]}");
    CHECK_FALSE(result.ok());
    const LoadResult good = load_default("cache: {statuses: [404, 3xx], methods: [GET], vary: [Accept, X-A]}");
    REQUIRE(all(good).empty());
    const policy::CacheConfig& cache = *good.config.policies.at("default").cache;
    CHECK_FALSE(cache.statuses.contains(200));
    CHECK(cache.statuses.contains(301));
    CHECK(cache.methods == std::vector<std::string>{"GET"});
    CHECK(cache.vary == std::vector<std::string>{"Accept", "X-A"});
  }

  TEST_CASE("a cache that could not hold or find anything is refused") {
    CHECK(about("cache: {statuses: [], methods: [], vary: ['a b']}") ==
          Lines{"t.yaml:8:40: error: policies.default.cache.statuses: must have at least one status",
                "t.yaml:8:53: error: policies.default.cache.methods: must have at least one method",
                "t.yaml:8:64: error: policies.default.cache.vary[0]: must be a header name, got \"a b\""});
    CHECK(about("cache: {methods: [GET, POST]}") ==
          Lines{"t.yaml:8:45: error: policies.default.cache.methods[1]: must be GET or HEAD, got \"POST\""});
    CHECK(about("cache: {max_bytes: 64KiB, max_object: 65KiB}") ==
          Lines{"t.yaml:8:60: error: policies.default.cache.max_object: max_object (65KiB) must not be above max_bytes "
                "(64KiB)"});
    CHECK(about("cache: {max_bytes: 257MiB}") ==
          Lines{"t.yaml:8:41: warning: policies.default.cache.max_bytes: above limits.buffer_memory (256MiB), which "
                "bounds all caches together"});
  }

  // ---- chaos -------------------------------------------------------------------------------

  TEST_CASE("chaos is a delay, an abort or both, for what it matches, until a time") {
    const LoadResult result = load_default(
        "chaos: {seed: 18446744073709551615, match: {path_prefix: /a, headers: [{name: X-Chaos, present: true}]}, "
        "delay: "
        "{probability: 5%, min: 10ms, max: 1s}, abort: {probability: 0.1, kind: truncate}, until: "
        "2030-01-02T03:04:05+01:00}");
    REQUIRE(all(result).empty());
    const ChaosBlock& chaos = *result.config.policies.at("default").chaos;
    CHECK(chaos.chaos.seed == UINT64_MAX);
    CHECK(chaos.match.path_prefix == "/a");
    CHECK(chaos.match.headers.size() == 1);
    CHECK(chaos.chaos.delay->probability == doctest::Approx(0.05));
    CHECK(chaos.chaos.delay->min == std::chrono::milliseconds{10});
    CHECK(chaos.chaos.delay->max == std::chrono::seconds{1});
    CHECK(chaos.chaos.abort->kind == policy::ChaosAbort::Kind::truncate);
    CHECK(effective(result.config, "policies.default.chaos.until") == "2030-01-02T02:04:05Z");
    CHECK(effective(result.config, "policies.default.chaos.abort") == R"({"probability":0.1,"kind":"truncate"})");
    const LoadResult fixed = load_default("chaos: {delay: {probability: 1, fixed: 2s}, abort: {probability: 1}}");
    REQUIRE(all(fixed).empty());
    const policy::ChaosConfig& plain = fixed.config.policies.at("default").chaos->chaos;
    CHECK(plain.delay->min == plain.delay->max);
    CHECK(plain.abort->kind == policy::ChaosAbort::Kind::status);
    CHECK(plain.abort->status == 503);
    CHECK(plain.until_us == 0);
    CHECK(effective(fixed.config, "policies.default.chaos.delay") == R"({"probability":1.0,"fixed":"2s"})");
    CHECK(effective(fixed.config, "policies.default.chaos.abort") == R"({"probability":1.0,"status":503})");
  }

  TEST_CASE("chaos that cannot be meant is refused") {
    CHECK(about("chaos: {}") ==
          Lines{"t.yaml:8:29: warning: policies.default.chaos: does nothing: it has neither delay nor abort"});
    CHECK(about("chaos: {delay: {}, abort: {status: 99, kind: reset}}") ==
          Lines{"t.yaml:8:37: error: policies.default.chaos.delay.probability: required, but missing",
                "t.yaml:8:37: error: policies.default.chaos.delay: must have fixed, or min and max",
                "t.yaml:8:48: error: policies.default.chaos.abort.probability: required, but missing",
                "t.yaml:8:57: error: policies.default.chaos.abort.status: must be between 200 and 599, got 99",
                "t.yaml:8:67: error: policies.default.chaos.abort.kind: an abort has either a status or a kind"});
    CHECK(about("chaos: {delay: {probability: 1, fixed: 1s, min: 1s}}") ==
          Lines{"t.yaml:8:61: error: policies.default.chaos.delay.fixed: a delay is either fixed or between min and "
                "max"});
    CHECK(about("chaos: {delay: {probability: 1, min: 2s}}") ==
          Lines{"t.yaml:8:37: error: policies.default.chaos.delay.max: required, but missing"});
    CHECK(about("chaos: {delay: {probability: 1, min: 2s, max: 1s}}") ==
          Lines{"t.yaml:8:68: error: policies.default.chaos.delay.max: must not be below min (2s)"});
    CHECK(about("chaos: {abort: {probability: 2, kind: status}, until: tomorrow, seed: -1}") ==
          Lines{"t.yaml:8:51: error: policies.default.chaos.abort.probability: must be between 0 and 1, got 2 (for per "
                "cent write 2%)",
                "t.yaml:8:60: error: policies.default.chaos.abort.kind: must be reset or truncate, got \"status\"",
                "t.yaml:8:76: error: policies.default.chaos.until: must be an RFC 3339 time, got \"tomorrow\" (for "
                "example 2030-01-31T12:00:00Z)",
                "t.yaml:8:92: error: policies.default.chaos.seed: must be a whole number, got \"-1\""});
  }

  TEST_CASE("the match of chaos is judged like that of a route") {
    CHECK(about("chaos: {abort: {probability: 1}, match: {listener: inn}}") ==
          Lines{"t.yaml:8:73: error: policies.default.chaos.match.listener: no listener of the name \"inn\" (did you "
                "mean \"in\"?)"});
    const Lines patterns = about("chaos: {abort: {probability: 1}, match: {path_regex: '['}}");
    REQUIRE(patterns.size() == 1);
    CHECK(patterns[0].starts_with("t.yaml:8:75: error: policies.default.chaos.match.path_regex: "));
  }

  // ---- classifiers -------------------------------------------------------------------------

  TEST_CASE("a classifier is a list of rules, and retries name it") {
    const LoadResult result = load(
        Sample{"", "", "",
               "classifiers:\n"
               "  strict:\n"
               "    - { when: { status: 409, header: { name: X-Retryable, equals: \"true\" } }, outcome: retryable }\n"
               "    - { when: { status: 503, grpc_status: 14 }, outcome: retryable, reason: grpc_unavailable }\n"
               "    - { when: { failure: attempt_timeout }, outcome: non_retryable }\n"
               "    - { when: { status: [404, 5xx], method: POST }, outcome: abort }\n"
               "    - { when: { method: PURGE }, outcome: success }\n"
               "policies: {default: {retry: {classifier: strict}}}\n"}
            .text());
    REQUIRE(all(result).empty());
    CHECK(result.config.policies.at("default").classifier == "strict");
    const policy::Classifier& rules = result.config.classifiers.at("strict");
    REQUIRE(rules.size() == 5);
    CHECK(rules[0].status->contains(409));
    CHECK(rules[0].header->name == "X-Retryable");
    CHECK(rules[0].header->equals == "true");
    CHECK(rules[0].outcome == policy::Outcome::retryable);
    CHECK(rules[1].grpc_status == 14u);
    CHECK(rules[1].reason == "grpc_unavailable");
    CHECK(rules[2].failure == Reason::attempt_timeout);
    CHECK(rules[2].outcome == policy::Outcome::non_retryable);
    CHECK(rules[3].status->contains(404));
    CHECK(rules[3].status->contains(599));
    CHECK(rules[3].method == "POST");
    CHECK(rules[3].outcome == policy::Outcome::abort);
    CHECK(rules[4].outcome == policy::Outcome::success);
    CHECK(effective(result.config, "classifiers.strict[3]") ==
          R"({"when":{"status":["404","5xx"],"method":"POST"},"outcome":"abort"})");
    CHECK(effective(result.config, "policies.default.retry.classifier") == "strict");
  }

  TEST_CASE("a rule that cannot be meant, or never applies, is refused") {
    CHECK(findings_in(
              "classifiers:\n"
              "  http: [{when: {status: 1}, outcome: retry}]\n"
              "  a: []\n"
              "  b: {}\n"
              "  c:\n"
              "  - {when: {}, outcome: abort}\n"
              "  - {outcome: abort}\n"
              "  - {when: {status: 500}}\n"
              "  - {when: {failure: overall_timeout}, outcome: abort}\n"
              "  - {when: {failure: reset, status: 500}, outcome: abort}\n"
              "  - {when: {failure: reset}, outcome: success}\n"
              "  - {when: {grpc_status: 17, header: {name: A}, method: get}, outcome: abort, reason: 'Not so'}\n"
              "policies: {default: {retry: {classifier: dd}}, p: {retry: {classifier: a}}, q: {retry: {classifier: "
              "b}}, r: {retry: {classifier: c}}, s: {retry: {classifier: http}}}\n") ==
          Lines{"t.yaml:9:3: error: classifiers.http: \"http\" is built in and cannot be defined (choose another name)",
                "t.yaml:9:26: error: classifiers.http[0].when.status: must be a status, a class or a range, got \"1\" "
                "(write 503, 5xx or 502-504)",
                "t.yaml:9:39: error: classifiers.http[0].outcome: must be success, retryable, non_retryable or abort, "
                "got \"retry\"",
                "t.yaml:10:6: error: classifiers.a: must have between 1 and 100 rules, got 0",
                "t.yaml:11:6: error: classifiers.b: must be a list, got a map",
                "t.yaml:13:12: error: classifiers.c[0].when: must have a condition (one or more of status, method, "
                "header, grpc_status, failure)",
                "t.yaml:14:5: error: classifiers.c[1].when: required, but missing",
                "t.yaml:15:5: error: classifiers.c[2].outcome: required, but missing",
                "t.yaml:16:22: error: classifiers.c[3].when.failure: must be the way an attempt fails, got "
                "\"overall_timeout\"",
                "t.yaml:17:5: error: classifiers.c[4]: never applies: where the transport failed there is no response "
                "to ask",
                "t.yaml:18:5: error: classifiers.c[5]: never applies: a failure of the transport cannot be a success: "
                "there is no response",
                "t.yaml:19:26: error: classifiers.c[6].when.grpc_status: must be between 0 and 16, got 17",
                "t.yaml:19:38: error: classifiers.c[6].when.header.equals: required, but missing",
                "t.yaml:19:57: error: classifiers.c[6].when.method: never matches: methods are case-sensitive, got "
                "\"get\" (write GET)",
                "t.yaml:19:87: error: classifiers.c[6].reason: is not a reason: \"Not so\" (a small letter, then up to "
                "39 small letters, digits and _)",
                "t.yaml:20:42: error: policies.default.retry.classifier: no classifier of the name \"dd\"",
                "t.yaml:20:51: warning: policies.p: no route uses this policy",
                "t.yaml:20:80: warning: policies.q: no route uses this policy",
                "t.yaml:20:109: warning: policies.r: no route uses this policy",
                "t.yaml:20:138: warning: policies.s: no route uses this policy"});
  }
}

}  // namespace
}  // namespace outrigger::config
