#include <string>

#include <doctest/doctest.h>

#include "proxy/config/dump.hpp"
#include "tests/unit/config/loading.hpp"

namespace outrigger::config {
namespace {

using namespace std::chrono_literals;

/// What is wrong with an upstream that has these keys beside its endpoint, on line 5.
Lines about(const std::string& keys) { return findings(Sample{"", ", " + keys, "", ""}.text()); }

UpstreamConfig upstream(const std::string& keys) {
  const LoadResult result = load(Sample{"", keys.empty() ? "" : ", " + keys, "", ""}.text());
  CAPTURE(keys);
  REQUIRE(result.diagnostics.empty());
  const std::string once = dump(result.config);
  const LoadResult again = load(once);
  REQUIRE(again.ok());
  CHECK(dump(again.config) == once);
  return result.config.upstreams[0];
}

TEST_SUITE("config") {
  TEST_CASE("names are asked about every 30 s and waited for 2 s unless the upstream says otherwise") {
    CHECK(upstream("").dns.refresh == 30s);
    CHECK(upstream("dns: {}").dns.timeout == 2s);
    const DnsConfig dns = upstream("dns: {refresh: 1m, timeout: 500ms}").dns;
    CHECK(dns.refresh == 1min);
    CHECK(dns.timeout == 500ms);
    CHECK(about("dns: {refresh: 999ms, timeout: 61s, retries: 1}").size() == 3);
    CHECK(about("dns: {refresh: 1s, timeout: 1m}").empty());
    CHECK(about("dns: {refresh: 0, timeout: 0}").size() == 2);
  }

  TEST_CASE("an upstream is checked where a path is given, with defaults for the rest") {
    CHECK_FALSE(upstream("").health_check.has_value());
    const policy::HealthConfig plain = *upstream("health_check: {path: /healthz}").health_check;
    CHECK(plain.path == "/healthz");
    CHECK(plain.interval == 5s);
    CHECK(plain.timeout == 1s);
    CHECK(plain.healthy_after == 2);
    CHECK(plain.unhealthy_after == 3);
    CHECK(plain.expect.contains(204));
    CHECK_FALSE(plain.expect.contains(302));
    const policy::HealthConfig full =
        *upstream(
             "health_check: {path: '/h?deep=1', interval: 100ms, timeout: 10ms, healthy_after: 1, "
             "unhealthy_after: 100, expect: [200, 3xx]}")
             .health_check;
    CHECK(full.path == "/h?deep=1");
    CHECK(full.unhealthy_after == 100);
    CHECK(full.expect.contains(302));
    CHECK_FALSE(full.expect.contains(204));
    CHECK(upstream("health_check: {path: /, expect: 401}").health_check->expect.contains(401));
  }

  TEST_CASE("what cannot be checked is refused where it stands") {
    CHECK(about("health_check: {}") ==
          Lines{"t.yaml:5:50: error: upstreams.up.health_check.path: required, but missing"});
    CHECK(
        about("health_check: {path: healthz, expect: []}") ==
        Lines{"t.yaml:5:57: error: upstreams.up.health_check.path: must be the path of a request, got \"healthz\" (it "
              "begins with /)",
              "t.yaml:5:74: error: upstreams.up.health_check.expect: must name a status"});
    CHECK(about("health_check: {path: '/a b'}").size() == 1);
    CHECK(about("health_check: {path: /, interval: 99ms, timeout: 9ms, healthy_after: 0, unhealthy_after: 101, expect: "
                "600}")
              .size() == 5);
  }
}

}  // namespace
}  // namespace outrigger::config
