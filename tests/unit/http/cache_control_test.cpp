#include "proxy/http/cache_control.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

#include "proxy/http/cache_key.hpp"

using namespace outrigger;
using namespace outrigger::http;
using namespace std::chrono_literals;

namespace {

constexpr std::int64_t kWall = 784'111'777;  // Sun, 06 Nov 1994 08:49:37 GMT
constexpr std::string_view kNow = "Sun, 06 Nov 1994 08:49:37 GMT";
constexpr std::string_view kMinuteAgo = "Sun, 06 Nov 1994 08:48:37 GMT";
constexpr std::string_view kIn10s = "Sun, 06 Nov 1994 08:49:47 GMT";
constexpr Nanos kMost = 1s * (std::int64_t{1} << 31);

using Fields = std::vector<Field>;

std::optional<CacheDemand> demand_of(const Fields& fields, const std::vector<std::string>& vary = {}) {
  return read_cache_demand(fields, vary);
}
CacheDemand demand(std::string_view cache_control) { return demand_of({{"Cache-Control", cache_control}}).value(); }

CacheTerms terms_of(const Fields& fields, std::uint16_t status = 200, Nanos took = 0s) {
  StorableResponse response;
  read_storable(status, fields, kWall, took, response);
  return response.terms;
}
CacheTerms terms(std::string_view cache_control) {
  return terms_of({{"Date", kNow}, {"Cache-Control", cache_control}});
}

std::string key(const CacheTarget& target) {
  Buffer out;
  write_cache_key(target, out);
  return std::string{out.view()};
}

}  // namespace

TEST_SUITE("http") {
  // ---- requests -------------------------------------------------------------------------------

  TEST_CASE("a plain request takes part in caching and demands nothing") {
    const auto plain = demand_of({{"Host", "a"}, {"Accept", "*/*"}, {"Content-Length", "0"}});
    REQUIRE(plain);
    CHECK(plain->max_age == kForever);
    CHECK(plain->min_fresh == 0s);
    CHECK(plain->max_stale == 0s);
    CHECK_FALSE(plain->no_cache);
    CHECK_FALSE(plain->no_store);
    CHECK_FALSE(plain->only_if_cached);
  }

  TEST_CASE("credentials, ranges, bodies, upgrades and conditions keep a request out of the cache") {
    for (const Field& field : Fields{{"authorization", "Bearer x"},
                                     {"Cookie", "a=b"},
                                     {"Range", "bytes=0-1"},
                                     {"Content-Length", "1"},
                                     {"Transfer-Encoding", "chunked"},
                                     {"Upgrade", "websocket"},
                                     {"If-None-Match", "\"1\""},
                                     {"If-Modified-Since", kNow},
                                     {"If-Match", "*"},
                                     {"If-Unmodified-Since", kNow},
                                     {"If-Range", "\"1\""}}) {
      CAPTURE(field.name);
      CHECK_FALSE(demand_of({{"Host", "a"}, field}));
    }
    CHECK(demand_of({{"Cookie", "a=b"}}, {"Accept", "cookie"}));
    CHECK_FALSE(demand_of({{"Authorization", "x"}}, {"Authorization"}));
  }

  TEST_CASE("the directives of a request are read from lists, lines, any case, quoted or not") {
    CHECK(demand("no-store").no_store);
    CHECK(demand(" , NO-CACHE ,").no_cache);
    CHECK(demand("only-if-cached,max-age=5").only_if_cached);
    CHECK(demand("only-if-cached,max-age=5").max_age == 5s);
    CHECK(demand("Max-Age=\"7\"").max_age == 7s);
    CHECK(demand("min-fresh = 3").min_fresh == 3s);
    CHECK(demand("max-stale=4").max_stale == 4s);
    CHECK(demand("max-stale").max_stale == kForever);
    const auto lines = demand_of({{"Cache-Control", "max-age=9"}, {"cache-control", "no-cache"}});
    CHECK(lines->max_age == 9s);
    CHECK(lines->no_cache);
    CHECK(demand("max-age=0").max_age == 0s);
    CHECK_FALSE(demand("no-cacheable, xno-store, no-store-really").no_cache);
    CHECK_FALSE(demand("foo=\"no-store, no-cache\"").no_store);
  }

  TEST_CASE("what cannot be read, or is said twice, is taken at its strictest") {
    for (const std::string_view bad : {"max-age", "max-age=", "max-age=x", "max-age=-1", "max-age=1.5", "max-age=+1"}) {
      CAPTURE(bad);
      CHECK(demand(bad).max_age == 0s);
    }
    CHECK(demand("min-fresh=x").min_fresh == kForever);
    CHECK(demand("max-stale=x").max_stale == 0s);
    CHECK(demand("max-age=9, max-age=3").max_age == 3s);
    CHECK(demand("max-age=3, max-age=9").max_age == 3s);
    CHECK(demand("foo=\"open, no-store").no_store);
    CHECK(demand("max-age=2147483648").max_age == kMost);
    CHECK(demand("max-age=99999999999999999999999").max_age == kMost);
  }

  // ---- responses ------------------------------------------------------------------------------

  TEST_CASE("a response that says nothing may be stored for as long as the configuration likes") {
    const CacheTerms plain = terms_of({{"Date", kNow}, {"Content-Type", "text/plain"}});
    CHECK(plain.storable);
    CHECK(plain.may_be_stale);
    CHECK_FALSE(plain.lifetime);
    CHECK(plain.initial_age == 0s);
  }

  TEST_CASE("no-store, private, no-cache, Set-Cookie and Vary: * forbid storing, wherever they stand") {
    for (const std::string_view value :
         {"no-store", "private", "no-cache", "max-age=60, PRIVATE", "private=\"X-Name\"", "no-cache=\"Set-Cookie, X\"",
          "public, no-store", "max-age=60, foo=\"open, no-store", "foo=\"\\\"\", no-store"}) {
      CAPTURE(value);
      CHECK_FALSE(terms(value).storable);
    }
    CHECK_FALSE(terms_of({{"Set-Cookie", "a=b"}}).storable);
    CHECK_FALSE(terms_of({{"Vary", "Accept, *"}}).storable);
    CHECK_FALSE(terms_of({{"Vary", "Accept"}, {"Vary", "*"}}).storable);
    CHECK_FALSE(terms_of({{"Vary", "not a name"}}).storable);
    CHECK(terms("foo=\"no-store, private\", public").storable);
    for (const char* own : {"X-Outrigger-Attempt", "x-outrigger-hedge", "X-Outrigger-Mirror", "X-Request-Timeout",
                            "Grpc-Timeout", "X-Envoy-Expected-Rq-Timeout-Ms"}) {
      CAPTURE(own);  // which differs from attempt to attempt
      CHECK_FALSE(terms_of({{"Vary", own}}).storable);
    }
    CHECK(terms_of({{"Vary", ""}}).storable);
  }

  TEST_CASE("answers to ranges, conditions and interim answers are never stored") {
    for (const int status : {100, 103, 206, 304})
      CHECK_FALSE(terms_of({}, static_cast<std::uint16_t>(status)).storable);
    for (const int status : {200, 204, 301, 404, 500}) {
      CHECK(terms_of({}, static_cast<std::uint16_t>(status)).storable);
    }
  }

  TEST_CASE("the lifetime is s-maxage, else max-age, else Expires less Date") {
    CHECK(terms("max-age=60").lifetime == 60s);
    CHECK(terms("s-maxage=5, max-age=60").lifetime == 5s);
    CHECK(terms("max-age=60, s-maxage=0").lifetime == 0s);
    CHECK(terms("max-age=\"60\"").lifetime == 60s);
    CHECK(terms("max-age=1, max-age=60").lifetime == 1s);
    CHECK(terms("max-age=99999999999999").lifetime == kMost);
    for (const std::string_view bad : {"max-age", "max-age=", "max-age=1x", "max-age=-5"}) {
      CHECK(terms(bad).lifetime == 0s);
    }
    CHECK(terms_of({{"Date", kNow}, {"Expires", kIn10s}}).lifetime == 10s);
    CHECK(terms_of({{"Date", kMinuteAgo}, {"Expires", kIn10s}}).lifetime == 70s);
    CHECK(terms_of({{"Expires", kIn10s}}).lifetime == 10s);
    CHECK(terms_of({{"Date", kNow}, {"Expires", kMinuteAgo}}).lifetime == 0s);
    CHECK(terms_of({{"Date", kNow}, {"Expires", "0"}}).lifetime == 0s);
    CHECK(terms_of({{"Date", kNow}, {"Expires", kMinuteAgo}, {"Cache-Control", "max-age=9"}}).lifetime == 9s);
  }

  TEST_CASE("must-revalidate, proxy-revalidate and s-maxage forbid use past the lifetime") {
    CHECK_FALSE(terms("max-age=60, must-revalidate").may_be_stale);
    CHECK_FALSE(terms("max-age=60, proxy-revalidate").may_be_stale);
    CHECK_FALSE(terms("s-maxage=60").may_be_stale);
    CHECK(terms("max-age=60, public, immutable, no-transform").may_be_stale);
  }

  TEST_CASE("the age on arrival is the larger of what Date shows and what Age says plus the time it took") {
    CHECK(terms_of({{"Date", kMinuteAgo}}).initial_age == 60s);
    CHECK(terms_of({{"Date", kMinuteAgo}, {"Age", "90"}}).initial_age == 90s);
    CHECK(terms_of({{"Date", kMinuteAgo}, {"Age", "59"}}, 200, 2s).initial_age == 61s);
    CHECK(terms_of({{"Date", kIn10s}}).initial_age == 0s);
    CHECK(terms_of({{"Date", kNow}, {"Age", "-3"}}).initial_age == 0s);
    CHECK(terms_of({{"Date", kNow}, {"Age", "x"}}, 200, 3s).initial_age == 3s);
    CHECK(terms_of({{"Date", "yesterday"}}, 200, -1s).initial_age == 0s);
    CHECK(terms_of({{"Age", "99999999999999999999"}}, 200, kForever).initial_age == 2 * kMost);
  }

  TEST_CASE("fields of one connection or transfer are not stored, all others are, in order") {
    StorableResponse response;
    const Fields fields = {{"Connection", "close, X-Hop"},
                           {"X-Hop", "1"},
                           {"Keep-Alive", "timeout=5"},
                           {"Transfer-Encoding", "chunked"},
                           {"Content-Length", "5"},
                           {"Age", "3"},
                           {"Trailer", "X-T"},
                           {"Proxy-Authenticate", "Basic"},
                           {"X-Outrigger-Reason", "x"},
                           {"Date", kNow},
                           {"ETag", "\"1\""},
                           {"Warning", "a"},
                           {"Warning", "b"},
                           {"Content-Type", "text/plain"}};
    read_storable(200, fields, kWall, 0s, response);
    std::vector<std::string_view> names;
    for (const Field& field : response.fields) names.push_back(field.name);
    CHECK(names == std::vector<std::string_view>{"Date", "ETag", "Warning", "Warning", "Content-Type"});
    CHECK(response.length == 5);
  }

  TEST_CASE("a response without a Date is stored with that of its arrival") {
    StorableResponse response;
    read_storable(200, Fields{{"ETag", "\"1\""}}, kWall, 0s, response);
    REQUIRE(response.fields.size() == 2);
    CHECK(response.fields[1].name == "Date");
    CHECK(response.fields[1].value == kNow);
    CHECK_FALSE(response.length);
  }

  TEST_CASE("Vary names are read from all lines, up to their limit and not past it") {
    StorableResponse response;
    read_storable(200, Fields{{"Vary", "Accept, ,Origin"}, {"vary", "X-Tenant"}}, kWall, 0s, response);
    REQUIRE(response.vary.size() == 3);
    CHECK(response.vary[2] == "X-Tenant");
    std::string names = "a0";
    for (std::size_t i = 1; i < kMaxVaryNames; ++i) names += ", a" + std::to_string(i);
    CHECK(terms_of({{"Vary", names}}).storable);
    names += ", more";
    CHECK_FALSE(terms_of({{"Vary", names}}).storable);
  }

  // ---- keys -----------------------------------------------------------------------------------

  TEST_CASE("one resource has one key, and another one another") {
    CHECK(key({"http", "Payments.Internal:80", "/v1/a", "?b=1"}) == "http://payments.internal/v1/a?b=1");
    CHECK(key({"http", "payments.internal:", "/v1/a", "?b=1"}) == "http://payments.internal/v1/a?b=1");
    CHECK(key({"https", "a:443", "/", ""}) == "https://a/");
    CHECK(key({"https", "a:80", "/", ""}) == "https://a:80/");
    CHECK(key({"http", "[::1]:80", "/", ""}) == "http://[::1]/");
    CHECK(key({"http", "[::80]", "/", ""}) == "http://[::80]/");
    CHECK(key({"http", "a", "/A", ""}) != key({"http", "a", "/a", ""}));
    CHECK(key({"http", "a", "/a", "?"}) != key({"http", "a", "/a", ""}));
  }
}
