#include "proxy/http/route_table.hpp"

#include <string>

#include <doctest/doctest.h>

#include "tests/support/allocations.hpp"

using namespace outrigger;
using namespace outrigger::http;
using namespace outrigger::test;

namespace {

RouteTable table_of(const std::vector<RouteMatch>& routes) {
  auto built = build_route_table(routes);
  if (const auto* errors = std::get_if<std::vector<RouteError>>(&built))
    FAIL(errors->front().key << ": " << errors->front().message);
  return std::move(std::get<RouteTable>(built));
}

/// "route key: message" of each error, or "" where there is none.
std::string errors_of(const std::vector<RouteMatch>& routes) {
  const auto built = build_route_table(routes);
  std::string text;
  if (const auto* errors = std::get_if<std::vector<RouteError>>(&built)) {
    for (const RouteError& error : *errors) {
      text += std::to_string(error.route) + " " + error.key + ": " + error.message + "\n";
    }
  }
  return text;
}

bool takes(const RouteMatch& match, const RouteQuery& query) { return table_of({match}).find(query).has_value(); }

RouteQuery get(std::string_view path) { return {.host = "a", .path = path, .query = "", .method = "GET"}; }

RouteMatch by_path(std::string path) {
  RouteMatch match;
  match.path = std::move(path);
  return match;
}
RouteMatch by_prefix(std::string prefix) {
  RouteMatch match;
  match.path_prefix = std::move(prefix);
  return match;
}
RouteMatch by_template(std::string text) {
  RouteMatch match;
  match.path_template = std::move(text);
  return match;
}
RouteMatch by_regex(std::string text) {
  RouteMatch match;
  match.path_regex = std::move(text);
  return match;
}
RouteMatch by_host(std::string host) {
  RouteMatch match;
  match.host = std::move(host);
  return match;
}

}  // namespace

TEST_SUITE("http") {
  TEST_CASE("an empty match takes everything, an empty table nothing") {
    CHECK(takes({}, get("/any")));
    CHECK_FALSE(RouteTable{}.find(get("/")));
    CHECK_FALSE(table_of({}).find(get("/")));
  }

  TEST_CASE("paths match by each of the four kinds") {
    struct Row {
      RouteMatch match;
      const char* path;
      bool expected;
    };
    for (const Row& row : {Row{by_path("/a/b"), "/a/b", true},
                           Row{by_path("/a/b"), "/a/b/", false},
                           Row{by_path("/a/b"), "/A/b", false},
                           Row{by_path("*"), "*", true},
                           Row{by_prefix("/api"), "/api", true},
                           Row{by_prefix("/api"), "/api/", true},
                           Row{by_prefix("/api"), "/api/x/y", true},
                           Row{by_prefix("/api"), "/apix", false},
                           Row{by_prefix("/api"), "/ap", false},
                           Row{by_prefix("/api/"), "/api", false},
                           Row{by_prefix("/api/"), "/api/x", true},
                           Row{by_prefix("/"), "/anything", true},
                           Row{by_prefix("/"), "*", false},
                           Row{by_template("/users/{id}/orders"), "/users/7/orders", true},
                           Row{by_template("/users/{id}/orders"), "/users//orders", false},
                           Row{by_template("/users/{id}/orders"), "/users/7/8/orders", false},
                           Row{by_template("/users/{id}/orders"), "/users/7/orders/", false},
                           Row{by_template("/users/{id}/orders"), "/users/7", false},
                           Row{by_template("/users/{id}"), "/users/a%2Fb", true},
                           Row{by_template("/files/{rest...}"), "/files/a/b/c", true},
                           Row{by_template("/files/{rest...}"), "/files/", true},
                           Row{by_template("/files/{rest...}"), "/files", false},
                           Row{by_template("/{a}/{b}"), "/x/y", true},
                           Row{by_template("/"), "/", true},
                           Row{by_template("/a//{b}"), "/a//x", true},
                           Row{by_template("/a//{b}"), "/a/z/x", false},
                           Row{by_regex("/v[0-9]+/.*"), "/v12/x", true},
                           Row{by_regex("/v[0-9]+"), "/v12/x", false},
                           Row{by_regex("v[0-9]+"), "/v12", false}}) {
      CAPTURE(row.path);
      CHECK(takes(row.match, get(row.path)) == row.expected);
    }
  }

  TEST_CASE("the first route that matches wins, whatever its kind") {
    const RouteTable table = table_of({by_path("/a"), by_prefix("/a"), by_path("/a/b"), by_regex("/c|/d"),
                                       by_path("/c"), by_path("/a"), RouteMatch{}});
    CHECK(table.size() == 7);
    CHECK(table.find(get("/a")) == 0);
    CHECK(table.find(get("/a/b")) == 1);
    CHECK(table.find(get("/c")) == 3);
    CHECK(table.find(get("/x")) == 6);
  }

  TEST_CASE("routes of one path are told apart by their other conditions, in order with the rest") {
    RouteMatch post = by_path("/a");
    post.methods = {"POST", "PUT"};
    RouteMatch any_delete;
    any_delete.methods = {"DELETE"};
    const RouteTable table = table_of({post, any_delete, by_path("/a")});
    RouteQuery query = get("/a");
    CHECK(table.find(query) == 2);
    query.method = "PUT";
    CHECK(table.find(query) == 0);
    query.method = "DELETE";
    CHECK(table.find(query) == 1);
    query.method = "put";
    CHECK(table.find(query) == 2);
  }

  TEST_CASE("hosts match exactly or by suffix, without case and port") {
    const auto host = [](const char* pattern, const char* given) {
      RouteQuery query = get("/");
      query.host = given;
      return takes(by_host(pattern), query);
    };
    CHECK(host("a.example", "A.Example:8080"));
    CHECK(host("A.example", "a.EXAMPLE"));
    CHECK_FALSE(host("a.example", "b.a.example"));
    CHECK(host("*.example", "a.example"));
    CHECK(host("*.example", "a.b.EXAMPLE:1"));
    CHECK_FALSE(host("*.example", "example"));
    CHECK_FALSE(host("*.example", ".example"));
    CHECK_FALSE(host("*.example", "aexample"));
    CHECK(host("[::1]", "[::1]:80"));
    CHECK_FALSE(host("a", ""));
  }

  TEST_CASE("a listener is matched by name") {
    RouteMatch match;
    match.listeners = {"outbound", "second"};
    RouteQuery query = get("/");
    CHECK_FALSE(takes(match, query));
    query.listener = "second";
    CHECK(takes(match, query));
  }

  TEST_CASE("header conditions hold for any one of repeated fields") {
    const std::vector<Field> fields = {{"X-Tenant", "blue-1"}, {"x-tenant", "green-22"}, {"Empty", ""}};
    RouteQuery query = get("/");
    query.fields = fields;
    const auto header = [&](const char* name, HeaderMatch::Kind kind, const char* text) {
      RouteMatch match;
      match.headers = {{name, kind, text}};
      return takes(match, query);
    };
    using Kind = HeaderMatch::Kind;
    CHECK(header("x-TENANT", Kind::equals, "green-22"));
    CHECK_FALSE(header("X-Tenant", Kind::equals, "green"));
    CHECK_FALSE(header("X-Tenant", Kind::equals, "GREEN-22"));
    CHECK(header("X-Tenant", Kind::prefix, "gre"));
    CHECK_FALSE(header("X-Tenant", Kind::prefix, "een"));
    CHECK(header("X-Tenant", Kind::contains, "een"));
    CHECK(header("X-Tenant", Kind::regex, "green-[0-9]+"));
    CHECK_FALSE(header("X-Tenant", Kind::regex, "green"));
    CHECK(header("Empty", Kind::present, ""));
    CHECK(header("Empty", Kind::equals, ""));
    CHECK_FALSE(header("Absent", Kind::present, ""));
    CHECK(header("Absent", Kind::absent, ""));
    CHECK_FALSE(header("Empty", Kind::absent, ""));
  }

  TEST_CASE("query conditions hold for any one of repeated parameters, decoded") {
    const auto query = [](const char* text, QueryMatch::Kind kind, const char* name, const char* value) {
      RouteMatch match;
      match.query = {{name, kind, value}};
      RouteQuery request = get("/");
      request.query = text;
      return takes(match, request);
    };
    using Kind = QueryMatch::Kind;
    CHECK(query("?a=1&b=2", Kind::equals, "b", "2"));
    CHECK(query("a=1&b=2", Kind::equals, "a", "1"));
    CHECK(query("?a=1&a=2", Kind::equals, "a", "2"));
    CHECK_FALSE(query("?a=12", Kind::equals, "a", "1"));
    CHECK_FALSE(query("?aa=1", Kind::equals, "a", "1"));
    CHECK(query("?%61=%31%20x", Kind::equals, "a", "1 x"));
    CHECK(query("?a=%zz", Kind::equals, "a", "%zz"));
    CHECK(query("?a=b=c", Kind::equals, "a", "b=c"));
    CHECK(query("?a", Kind::equals, "a", ""));
    CHECK(query("?a", Kind::present, "a", ""));
    CHECK(query("?&&a=", Kind::present, "a", ""));
    CHECK_FALSE(query("", Kind::present, "a", ""));
    CHECK(query("", Kind::absent, "a", ""));
    CHECK_FALSE(query("?a=1", Kind::absent, "a", ""));
  }

  TEST_CASE("all conditions of a route must hold") {
    RouteMatch match = by_prefix("/api");
    match.methods = {"GET"};
    match.host = "a";
    match.headers = {{"X", HeaderMatch::Kind::present, ""}};
    match.query = {{"q", QueryMatch::Kind::present, ""}};
    const std::vector<Field> fields = {{"X", "1"}};
    const RouteQuery good{
        .listener = "l", .host = "a", .path = "/api/1", .query = "?q", .method = "GET", .fields = fields};
    CHECK(takes(match, good));
    RouteQuery query = good;
    query.path = "/other";
    CHECK_FALSE(takes(match, query));
    query = good;
    query.method = "POST";
    CHECK_FALSE(takes(match, query));
    query = good;
    query.host = "b";
    CHECK_FALSE(takes(match, query));
    query = good;
    query.fields = {};
    CHECK_FALSE(takes(match, query));
    query = good;
    query.query = "";
    CHECK_FALSE(takes(match, query));
  }

  TEST_CASE("all errors of all routes are told at once, with their place") {
    RouteMatch bad = by_regex("(");
    bad.headers = {{"a b", HeaderMatch::Kind::present, ""}, {"X", HeaderMatch::Kind::regex, "["}};
    bad.methods = {"G T"};
    bad.query = {{"", QueryMatch::Kind::present, ""}};
    const std::string text = errors_of({RouteMatch{}, bad});
    for (const char* part :
         {"1 path_regex: ", "1 headers[0].name: ", "1 headers[1].regex: ", "1 methods[0]: ", "1 query[0].name: "}) {
      CAPTURE(part);
      CHECK(text.find(part) != std::string::npos);
    }
    CHECK(text.find("0 ") != 0);
  }

  TEST_CASE("a path that no normalised request can have is an error") {
    for (const char* path : {"", "a", "/a/../b", "/%61", "/a?b", "/a b", "/a#b", "/%00", "/a\\b"}) {
      CAPTURE(path);
      CHECK_FALSE(errors_of({by_path(path)}).empty());
      CHECK_FALSE(errors_of({by_prefix(path)}).empty());
      CHECK_FALSE(errors_of({by_template(path)}).empty());
    }
    CHECK(errors_of({by_path("/a/../b")}) == "0 path: never matches: requests are normalised to '/b'\n");
  }

  TEST_CASE("a variable of a template is a whole segment, and the rest comes last") {
    for (const char* text : {"/a{b}", "/{}", "/{...}", "/{a", "/a}", "/{rest...}/b", "/{a{b}}", "/{a b}", "/{"}) {
      CAPTURE(text);
      CHECK_FALSE(errors_of({by_template(text)}).empty());
    }
  }

  TEST_CASE("a host is a name without port") {
    for (const char* host : {"", "a:80", "*", "*.", "a.*", "*.*.b", "a b", "a/b"}) {
      CAPTURE(host);
      CHECK_FALSE(errors_of({by_host(host)}).empty());
    }
  }

  TEST_CASE("a route has one kind of path") {
    RouteMatch match = by_path("/a");
    match.path_prefix = "/a";
    CHECK(errors_of({match}).find("only one of") != std::string::npos);
  }

  TEST_CASE("matching asks the heap for nothing") {
    std::vector<RouteMatch> routes;
    for (int i = 0; i < 50; ++i) routes.push_back(by_path("/v1/things/" + std::to_string(i)));
    routes.push_back(by_template("/v1/users/{id}"));
    const RouteTable table = table_of(routes);
    const std::uint64_t before = allocations();
    const auto exact = table.find(get("/v1/things/49"));
    const auto variable = table.find(get("/v1/users/7"));
    const std::uint64_t after = allocations();
    CHECK(exact == 49);
    CHECK(variable == 50);
    CHECK(after == before);
  }
}
