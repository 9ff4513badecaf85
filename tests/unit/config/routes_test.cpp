#include <string>

#include <doctest/doctest.h>

#include "tests/unit/config/loading.hpp"

namespace outrigger::config {
namespace {

using http::HeaderMatch;
using http::QueryMatch;

/// A configuration with two listeners and these routes; the first route is on line 6.
std::string with_routes(const std::string& routes) {
  return "version: 1\nlisteners: [{name: one, listen: '127.0.0.1:0'}, {name: two, listen: '127.0.0.1:0'}]\n"
         "upstreams: {up: {endpoints: ['127.0.0.1:1']}}\npolicies: {p.Key: {}}\nroutes:\n" +
         routes;
}

TEST_SUITE("config") {
  TEST_CASE("every condition of a match arrives in the route") {
    const LoadResult result =
        load(with_routes("- match:\n"
                         "    listener: [one, two]\n"
                         "    host: '*.example.com'\n"
                         "    path_template: '/u/{id}'\n"
                         "    methods: [GET, PURGE]\n"
                         "    headers:\n"
                         "    - {name: A, equals: '1'}\n"
                         "    - {name: B, prefix: x}\n"
                         "    - {name: C, contains: y}\n"
                         "    - {name: D, regex: '[0-9]+'}\n"
                         "    - {name: E, present: true}\n"
                         "    - {name: F, present: false}\n"
                         "    query: [{name: q, equals: ''}, {name: r, present: true}, {name: s, present: false}, "
                         "{name: t, equals: 5}]\n"
                         "  upstream: up\n"
                         "  policy: p.Key\n"
                         "  priority: critical\n"));
    REQUIRE(result.diagnostics.empty());
    const RouteConfig& route = result.config.routes[0];
    CHECK(route.at.line == 6);
    CHECK(route.priority == Priority::critical);
    CHECK(route.policy == "p.Key");
    CHECK(route.match.listeners == std::vector<std::string>{"one", "two"});
    CHECK(route.match.host == "*.example.com");
    CHECK(route.match.path_template == "/u/{id}");
    CHECK(route.match.methods == std::vector<std::string>{"GET", "PURGE"});
    const std::vector<HeaderMatch::Kind> kinds = {HeaderMatch::Kind::equals,   HeaderMatch::Kind::prefix,
                                                  HeaderMatch::Kind::contains, HeaderMatch::Kind::regex,
                                                  HeaderMatch::Kind::present,  HeaderMatch::Kind::absent};
    REQUIRE(route.match.headers.size() == kinds.size());
    for (std::size_t i = 0; i < kinds.size(); ++i) CHECK(route.match.headers[i].kind == kinds[i]);
    CHECK(route.match.headers[3].text == "[0-9]+");
    REQUIRE(route.match.query.size() == 4);
    CHECK(route.match.query[0].kind == QueryMatch::Kind::equals);
    CHECK(route.match.query[0].text.empty());
    CHECK(route.match.query[1].kind == QueryMatch::Kind::present);
    CHECK(route.match.query[2].kind == QueryMatch::Kind::absent);
    CHECK(route.match.query[3].text == "5");
  }

  TEST_CASE("a listener is one name, a list or any") {
    const LoadResult result =
        load(with_routes("- {match: {listener: one, path: /a}, upstream: up, policy: p.Key}\n"
                         "- {match: {listener: [two], path_prefix: /b}, upstream: up}\n"
                         "- {match: {listener: any}, upstream: up}\n"));
    REQUIRE(result.diagnostics.empty());
    CHECK(result.config.routes[0].match.listeners == std::vector<std::string>{"one"});
    CHECK(result.config.routes[1].match.listeners == std::vector<std::string>{"two"});
    CHECK(result.config.routes[2].match.listeners.empty());
  }

  TEST_CASE("names that lead nowhere are told with the nearest one") {
    CHECK(
        findings(with_routes("- {match: {listener: on}, upstream: upp, policy: p.Ky}\n"
                             "- {match: {listener: [one, tow]}, upstream: up, policy: preset/http}\n"
                             "- {upstream: up}\n"
                             "- {match: {listener: []}, upstream: up}\n"
                             "- {match: {listener: one}}\n")) ==
        Lines{
            "t.yaml:6:22: error: routes[0].match.listener: no listener of the name \"on\" (did you mean \"one\"?)",
            "t.yaml:6:37: error: routes[0].upstream: no upstream of the name \"upp\" (did you mean \"up\"?)",
            "t.yaml:6:50: error: routes[0].policy: no policy of the key \"p.Ky\" (did you mean \"p.Key\"?)",
            "t.yaml:7:28: error: routes[1].match.listener[1]: no listener of the name \"tow\" (did you mean \"two\"?)",
            "t.yaml:7:57: error: routes[1].policy: no policy of the key \"preset/http\" (a preset is taken up by a "
            "policy: extends: preset/http)",
            "t.yaml:8:3: error: routes[2].match.listener: required, but missing: there is more than one listener "
            "(the name of one, or any)",
            "t.yaml:9:22: error: routes[3].match.listener: must name a listener, or any",
            "t.yaml:10:3: error: routes[4].upstream: required, but missing"});
  }

  TEST_CASE("patterns that cannot match are errors at their place") {
    const Lines lines =
        findings(with_routes("- {match: {listener: any, path: a}, upstream: up, policy: p.Key}\n"
                             "- {match: {listener: any, path_prefix: /a/../b}, upstream: up}\n"
                             "- {match: {listener: any, path_template: '/u/{id'}, upstream: up}\n"
                             "- {match: {listener: any, path_regex: '['}, upstream: up}\n"
                             "- {match: {listener: any, host: 'a.*.b'}, upstream: up}\n"
                             "- {match: {listener: any, headers: [{name: A, regex: '('}]}, upstream: up}\n"
                             "- {match: {listener: any, path: /a, path_prefix: /b}, upstream: up}\n"));
    const std::vector<std::string> starts = {
        "t.yaml:6:33: error: routes[0].match.path: ",
        "t.yaml:7:40: error: routes[1].match.path_prefix: ",
        "t.yaml:8:42: error: routes[2].match.path_template: ",
        "t.yaml:9:39: error: routes[3].match.path_regex: ",
        "t.yaml:10:33: error: routes[4].match.host: ",
        "t.yaml:11:54: error: routes[5].match.headers[0].regex: ",
        "t.yaml:12:33: error: routes[6].match.path: ",
    };
    REQUIRE(lines.size() == starts.size());
    for (std::size_t i = 0; i < lines.size(); ++i) {
      CAPTURE(lines[i]);
      CHECK(lines[i].starts_with(starts[i]));
    }
  }

  TEST_CASE("a condition on a header or parameter has exactly one way to hold") {
    CHECK(findings(with_routes("- match:\n"
                               "    listener: any\n"
                               "    headers: [{name: A}, {name: B, equals: x, prefix: y}, {equals: x}, {name: 'a b', "
                               "present: true}]\n"
                               "    query: [{name: A, regex: x}]\n"
                               "    methods: [get, 'G T']\n"
                               "  upstream: up\n"
                               "  policy: p.Key\n")) ==
          Lines{"t.yaml:8:15: error: routes[0].match.headers[0]: must have exactly one of equals, prefix, contains, "
                "regex, present",
                "t.yaml:8:26: error: routes[0].match.headers[1]: must have exactly one of equals, prefix, contains, "
                "regex, present",
                "t.yaml:8:59: error: routes[0].match.headers[2].name: required, but missing",
                "t.yaml:8:79: error: routes[0].match.headers[3].name: must be a header name, got \"a b\"",
                "t.yaml:9:13: error: routes[0].match.query[0]: must have exactly one of equals, present",
                "t.yaml:9:23: error: routes[0].match.query[0].regex: unknown key",
                "t.yaml:10:15: error: routes[0].match.methods[0]: never matches: methods are case-sensitive, got "
                "\"get\" (write GET)",
                "t.yaml:10:20: error: routes[0].match.methods[1]: must be a method, got \"G T\""});
  }

  TEST_CASE("a route behind one that takes everything is never reached") {
    CHECK(findings(with_routes("- {match: {listener: one}, upstream: up, policy: p.Key}\n"
                               "- {match: {listener: one, path: /a}, upstream: up}\n"
                               "- {match: {listener: any, path: /a}, upstream: up}\n"
                               "- {match: {listener: two, path_prefix: /}, upstream: up}\n"
                               "- {match: {listener: [one, two], path: /b}, upstream: up}\n"
                               "- {match: {listener: any}, upstream: up}\n"
                               "- {match: {listener: two, path: /c}, upstream: up}\n")) ==
          Lines{"t.yaml:7:3: warning: routes[1]: never reached: routes[0] takes every request before it (the first "
                "match wins: move the catch-all to the end)",
                "t.yaml:10:3: warning: routes[4]: never reached: routes[3] takes every request before it (the first "
                "match wins: move the catch-all to the end)",
                "t.yaml:12:3: warning: routes[6]: never reached: routes[5] takes every request before it (the first "
                "match wins: move the catch-all to the end)"});
  }
}

}  // namespace
}  // namespace outrigger::config
