#include <string>

#include <doctest/doctest.h>

#include "proxy/config/dump.hpp"
#include "proxy/config/snapshot.hpp"
#include "tests/unit/config/loading.hpp"

namespace outrigger::config {
namespace {

using Headers = std::vector<std::pair<std::string, std::string>>;

/// What is wrong with a route that has these keys beside its upstream, which stands on line 7.
Lines about(const std::string& keys) { return findings(Sample{"", "", ", " + keys, ""}.text()); }

/// The one route with these keys.
RouteConfig route(const std::string& keys) {
  const LoadResult result = load(Sample{"", "", ", " + keys, ""}.text());
  CAPTURE(keys);
  REQUIRE(result.diagnostics.empty());
  // What is in force can be written down and loaded.
  const std::string once = dump(result.config);
  const LoadResult again = load(once);
  REQUIRE(again.ok());
  CHECK(dump(again.config) == once);
  return result.config.routes[0];
}

/// A text whose only route has these keys and no upstream.
std::string answering(const std::string& keys) {
  return "version: 1\nlisteners: [{name: in, listen: '127.0.0.1:0'}]\nupstreams: {up: {endpoints: ['127.0.0.1:1']}}\n"
         "routes:\n- {match: {path: /u}, upstream: up}\n- {" +
         keys + "}\n";
}

std::string many_fields(std::size_t count) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i) out += (i == 0 ? "A" : ", A") + std::to_string(i) + ": b";
  return out;
}

TEST_SUITE("config") {
  TEST_CASE("a route may send another path, another prefix or another host") {
    const RouteConfig path = route("rewrite: {path: /a/%7eb, host: 'api.test:8080'}");
    CHECK(path.rewrite.path == "/a/~b");
    CHECK(path.rewrite.host == "api.test:8080");
    CHECK_FALSE(path.rewrite.prefix.has_value());
    CHECK(route("match: {path_prefix: /api}, rewrite: {prefix: /}").rewrite.prefix == "/");
    CHECK(route("rewrite: {}").rewrite.path == std::nullopt);
  }

  TEST_CASE("a path that could not be sent as it is written is refused") {
    for (const char* path :
         {"a", "http://h/a", "'*'", "'/a?b'", "'/a#b'", "'/a b'", "/..", "/%00", "/%zz", "'/a\\b'"}) {
      const Lines lines = about("match: {path_prefix: /a}, rewrite: {prefix: " + std::string(path) + "}");
      CAPTURE(path);
      REQUIRE(lines.size() == 1);
      CHECK(lines[0].find("error: routes[0].rewrite.prefix: must be a path without a query") != std::string::npos);
    }
    CHECK(
        about("rewrite: {path: b, host: 'a b'}") ==
        Lines{
            "t.yaml:7:34: error: routes[0].rewrite.path: must be a path without a query, got \"b\" (it begins with /)",
            "t.yaml:7:43: error: routes[0].rewrite.host: must be a host name, got \"a b\" (for example "
            "api.example.com)"});
  }

  TEST_CASE("a prefix is rewritten where one is matched, and not together with the whole path") {
    CHECK(about("match: {path: /a}, rewrite: {prefix: /b}") ==
          Lines{"t.yaml:7:55: error: routes[0].rewrite.prefix: takes the place of match.path_prefix, which the route "
                "does not have"});
    CHECK(about("match: {path_prefix: /a}, rewrite: {prefix: /b, path: /c}") ==
          Lines{"t.yaml:7:62: error: routes[0].rewrite.prefix: a path is rewritten once: path or prefix"});
  }

  TEST_CASE("a route's edits are kept in the order of the file") {
    const RouteConfig edited = route(
        "request_headers: {set: {B: '1', A: '2'}, add: {C: x}, remove: [D, E]}, response_headers: {add: {Set-Cookie: "
        "a=b}}");
    CHECK(edited.request_headers.set == Headers{{"B", "1"}, {"A", "2"}});
    CHECK(edited.request_headers.add == Headers{{"C", "x"}});
    CHECK(edited.request_headers.remove == std::vector<std::string>{"D", "E"});
    CHECK(edited.response_headers.add == Headers{{"Set-Cookie", "a=b"}});
    CHECK(route("request_headers: {}").request_headers.empty());
  }

  TEST_CASE("fields that the proxy writes itself are not edited") {
    for (const std::string name : {"Connection", "content-length", "Keep-Alive", "Proxy-Connection", "TE", "Trailer",
                                   "Transfer-Encoding", "Upgrade", "Via", "X-Outrigger-Reason", "x-outrigger-any"}) {
      for (const std::string of : {"request", "response"}) {
        for (const std::string& edit :
             {"{set: {" + name + ": a}}", "{add: {" + name + ": a}}", "{remove: [" + name + "]}"}) {
          const Lines lines = about(of + "_headers: " + edit);
          CAPTURE(edit);
          REQUIRE(lines.size() == 1);
          CHECK(lines[0].find("is written by the proxy itself") != std::string::npos);
        }
      }
    }
    for (const std::string name : {"Expect", "Max-Forwards", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host",
                                   "X-Forwarded-Client-Cert", "X-Request-Id", "X-Request-Priority", "X-Request-Timeout",
                                   "Grpc-Timeout", "X-Envoy-Expected-Rq-Timeout-Ms", "Proxy-Authorization"}) {
      CAPTURE(name);
      CHECK(about("request_headers: {remove: [" + name + "]}").size() == 1);
    }
    CHECK(about("request_headers: {set: {host: a}}") ==
          Lines{"t.yaml:7:42: error: routes[0].request_headers.set.host: is written by the proxy itself (see "
                "rewrite.host)"});
    CHECK(about("response_headers: {set: {Date: a}, remove: [X-Should-Retry]}").size() == 2);
    // What goes one way only may be edited on the other.
    CHECK(about("request_headers: {set: {Date: a}}, response_headers: {set: {Host: a}}").empty());
  }

  TEST_CASE("edits that contradict each other, and fields that are none, are refused") {
    CHECK(about("request_headers: {set: {A: b, a: c, 'd e': f, G: \"h\\n\"}, remove: [A, 'i j']}") ==
          Lines{"t.yaml:7:48: error: routes[0].request_headers.set.a: is given twice",
                "t.yaml:7:54: error: routes[0].request_headers.set.d e: must be a header name, got \"d e\"",
                "t.yaml:7:67: error: routes[0].request_headers.set.G: must be one line of text",
                "t.yaml:7:84: error: routes[0].request_headers.remove[0]: is also set: set replaces the field",
                "t.yaml:7:87: error: routes[0].request_headers.remove[1]: must be a header name, got \"i j\""});
  }

  TEST_CASE("an edit has at most 64 fields of a kind") {
    CHECK(about("request_headers: {set: {" + many_fields(64) + "}}").empty());
    CHECK(about("request_headers: {set: {" + many_fields(65) + "}}") ==
          Lines{"t.yaml:7:41: error: routes[0].request_headers.set: must have at most 64 fields, got 65"});
  }

  TEST_CASE("a route may answer by itself") {
    const LoadResult result = load(answering("respond: {status: 503, headers: {Retry-After: 60}, body: busy}"));
    REQUIRE(result.diagnostics.empty());
    const RouteConfig& own = result.config.routes[1];
    REQUIRE(own.respond.has_value());
    CHECK(own.respond->status == 503);
    CHECK(own.respond->headers == Headers{{"Retry-After", "60"}});
    CHECK(own.respond->body == "busy");
    CHECK(own.upstream.empty());
    const std::string once = dump(result.config);
    CHECK(dump(load(once).config) == once);
  }

  TEST_CASE("a route has an upstream or an answer of its own") {
    CHECK(about("respond: {status: 200}") ==
          Lines{"t.yaml:7:27: error: routes[0].respond: a route has an upstream or an answer of its own, not both"});
    CHECK(findings(answering("policy: default")) ==
          Lines{"t.yaml:6:3: error: routes[1].upstream: required, but missing"});
    CHECK(findings(answering("respond: {}")) ==
          Lines{"t.yaml:6:13: error: routes[1].respond.status: required, but missing"});
    CHECK(findings(answering("respond: {status: 200, headers: {Via: a}}")) ==
          Lines{"t.yaml:6:37: error: routes[1].respond.headers.Via: is written by the proxy itself"});
  }

  TEST_CASE("what changes requests changes none of a route that answers by itself, and that is told") {
    CHECK(findings(answering("respond: {status: 200}, rewrite: {path: /a}, request_headers: {remove: [A]}, "
                             "response_headers: {remove: [A]}, mirror: {upstream: up}")) ==
          Lines{"t.yaml:6:37: warning: routes[1].rewrite: has no effect: the route answers by itself",
                "t.yaml:6:66: warning: routes[1].request_headers: has no effect: the route answers by itself",
                "t.yaml:6:122: warning: routes[1].mirror: has no effect: the route answers by itself"});
  }

  TEST_CASE("a row knows what is changed on the way, and a host of the route goes wherever its requests go") {
    const LoadResult result = load(
        "version: 1\nlisteners: [{name: in, listen: '127.0.0.1:0'}]\n"
        "upstreams: {a: {endpoints: ['h:1'], host: a.test}, b: {endpoints: ['h:2'], host: b.test}}\n"
        "policies: {p.Key: {fallback: {when: [shed], upstream: b}}}\n"
        "routes:\n- {match: {path_prefix: /x}, policy: p.Key, upstream: a, mirror: {upstream: b}, rewrite: {prefix: "
        "/y, host: r.test}, request_headers: {set: {A: '1'}, remove: [B]}}\n- {upstream: a}\n");
    REQUIRE(result.ok());
    StateRegistry registry(1);
    const auto built = build_snapshot(result.config, "me", 1, {{{"127.0.0.1:1"}}, {{"127.0.0.1:2"}}}, registry);
    const auto& snapshot = std::get<std::shared_ptr<const Snapshot>>(built);
    const RoutePlan& row = snapshot->plans[0];
    CHECK(row.rewrite.kind == http::PathRewrite::Kind::prefix);
    CHECK(row.rewrite.matched == "/x");
    CHECK(row.rewrite.by == "/y");
    CHECK(row.host == "r.test");
    CHECK(row.fallback_host == "r.test");
    CHECK(row.mirror->host == "r.test");
    REQUIRE(row.request_edits != nullptr);
    CHECK(row.request_edits->set[0].name == "A");
    CHECK(row.request_edits->remove[0] == "B");
    CHECK(row.response_edits == nullptr);
    CHECK(snapshot->plans[1].host == "a.test");
    CHECK(snapshot->plans[1].request_edits == nullptr);
  }

  TEST_CASE("the row of a route that answers by itself has its limits, and nothing that attempts would need") {
    const LoadResult result = load(
        answering("respond: {status: 202, body: text}, policy: p.Key") +
        "policies: {p.Key: {retry: {}, hedge: {}, circuit: {}, rate_limit: {}, bulkhead: {max_concurrent: 1, counts: "
        "request}, adaptive_limit: {}, adaptive_throttle: {}, cache: {}, fallback: {when: [shed], upstream: up}}}\n");
    REQUIRE(result.ok());
    StateRegistry registry(1);
    const auto built = build_snapshot(result.config, "me", 1, {{{"127.0.0.1:1"}}}, registry);
    const exchange::Plan& plan = std::get<std::shared_ptr<const Snapshot>>(built)->plans[1].plan;
    CHECK(plan.upstream == nullptr);
    CHECK(plan.respond.status == 202);
    CHECK(plan.respond.body == "text");
    CHECK(plan.rate_limits.size() == 1);
    CHECK(plan.bulkheads.size() == 1);
    CHECK(plan.fallback.upstream != nullptr);
    CHECK(plan.circuits.empty());
    CHECK(plan.budget.state == nullptr);
    CHECK(plan.hedge.config == nullptr);
    CHECK(plan.throttle.state == nullptr);
    CHECK(plan.adaptive_limit.state == nullptr);
    CHECK(plan.cache.state == nullptr);
  }
}

}  // namespace
}  // namespace outrigger::config
