#include "proxy/net/policy_facts.hpp"

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <doctest/doctest.h>

#include "tests/support/allocations.hpp"

using namespace outrigger;
using namespace outrigger::net;

namespace {

/// A plan with a cache, and requests that may be for it.
struct Asked {
  policy::CacheConfig cache;
  config::RoutePlan plan;
  http::RouteTable match;
  std::vector<Field> fields;
  http::RouteQuery query{
      .listener = "in", .host = "Shop.Test:80", .path = "/a", .query = "?b=1", .method = "GET", .fields = {}};
  std::optional<std::string_view> scheme = "http";
  Buffer key;

  Asked() { plan.plan.cache.config = &cache; }
  std::optional<exchange::CacheFacts> facts(bool has_body = false) {
    query.fields = fields;
    return cache_facts(plan, query, scheme, has_body, key);
  }
  bool takes_part(std::string_view method, bool has_body = false) {
    query.method = method;
    return facts(has_body)->demand.has_value();
  }
  void meet(const http::RouteMatch& conditions) {
    match = std::get<http::RouteTable>(http::build_route_table({conditions}));
    plan.chaos_match = &match;
  }
};

}  // namespace

TEST_SUITE("net") {
  TEST_CASE("without a cache there are no facts about one") {
    Asked asked;
    asked.plan.plan.cache.config = nullptr;
    CHECK_FALSE(asked.facts().has_value());
    CHECK(asked.key.empty());
  }

  TEST_CASE("the key is the resource as the client meant it, whatever was asked before") {
    Asked asked;
    CHECK(asked.facts()->key == "http://shop.test/a?b=1");
    asked.query.path = "/c";
    asked.query.query = "";
    CHECK(asked.facts()->key == "http://shop.test/c");
    asked.scheme = "https";
    CHECK(asked.facts()->key == "https://shop.test:80/c");
  }

  TEST_CASE("only the cache's methods take part, without a body; the others have a key all the same") {
    Asked asked;
    CHECK(asked.takes_part("GET"));
    CHECK(asked.takes_part("HEAD"));
    CHECK_FALSE(asked.takes_part("POST"));
    CHECK_FALSE(asked.takes_part("get"));
    CHECK_FALSE(asked.takes_part("GET", true));
    CHECK(asked.facts(true)->key == "http://shop.test/a?b=1");
    asked.cache.methods = {"GET"};
    CHECK_FALSE(asked.takes_part("HEAD"));
    asked.scheme = std::nullopt;  // what is told of it contradicts itself
    CHECK_FALSE(asked.takes_part("GET"));
  }

  TEST_CASE("fields decide, too, and a cookie does not where the cache is keyed by it") {
    Asked asked;
    asked.fields = {{"Cookie", "a=b"}};
    CHECK_FALSE(asked.takes_part("GET"));
    asked.cache.vary = {"cookie"};
    CHECK(asked.takes_part("GET"));
    asked.fields = {{"Authorization", "x"}};
    CHECK_FALSE(asked.takes_part("GET"));
    asked.fields = {{"Cache-Control", "only-if-cached"}};
    CHECK(asked.facts()->demand->only_if_cached);
  }

  TEST_CASE("faults are meant for requests that their match takes, and for none where there are none") {
    Asked asked;
    CHECK_FALSE(meets_chaos(asked.plan, asked.query));
    asked.meet({});
    CHECK(meets_chaos(asked.plan, asked.query));
    asked.meet({.path_prefix = "/b"});
    CHECK_FALSE(meets_chaos(asked.plan, asked.query));
    asked.meet({.host = "shop.test", .methods = {"GET"}, .query = {{.name = "b"}}});
    CHECK(meets_chaos(asked.plan, asked.query));
    asked.query.method = "PUT";
    CHECK_FALSE(meets_chaos(asked.plan, asked.query));
  }

  TEST_CASE("facts allocate nothing once the buffer is warm") {
    Asked asked;
    asked.meet({.path_prefix = "/a"});
    asked.fields = {{"Cache-Control", "max-age=3"}, {"Accept", "*/*"}};
    (void)asked.facts();
    const std::uint64_t before = test::allocations();
    for (int i = 0; i < 100; ++i) {
      (void)asked.facts();
      (void)meets_chaos(asked.plan, asked.query);
    }
    CHECK(test::allocations() == before);
  }
}
