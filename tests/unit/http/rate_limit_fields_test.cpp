#include "proxy/http/rate_limit_fields.hpp"

#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/support/allocations.hpp"

using namespace outrigger;
using namespace outrigger::http;
using namespace std::chrono_literals;

namespace {

std::string written(RateLimitStyle style, const std::vector<RateLimitState>& limits) {
  const RateLimitFields fields{style, limits};
  std::string all;
  for (const Field& field : fields.view()) {
    all.append(field.name).append(": ").append(field.value).append("\n");
  }
  return all;
}

RateLimitState limit(double requests, Nanos per, std::uint32_t remaining = 0, Nanos reset = 0ns) {
  return {.name = "api", .requests = requests, .per = per, .limit = 50, .remaining = remaining, .reset = reset};
}

}  // namespace

TEST_SUITE("http") {
  TEST_CASE("a rate limit is told as policy and service limit") {
    CHECK(written(RateLimitStyle::ietf, {limit(500, 1s, 49, 2ms)}) ==
          "RateLimit-Policy: \"api\";q=500;w=1\nRateLimit: \"api\";r=49;t=1\n");
    CHECK(written(RateLimitStyle::ietf, {limit(10, 1h, 0, 360s)}) ==
          "RateLimit-Policy: \"api\";q=10;w=3600\nRateLimit: \"api\";r=0;t=360\n");
  }

  TEST_CASE("a full bucket has no time until it holds more") {
    CHECK(written(RateLimitStyle::ietf, {limit(500, 1s, 50)}) ==
          "RateLimit-Policy: \"api\";q=500;w=1\nRateLimit: \"api\";r=50\n");
    CHECK(written(RateLimitStyle::legacy, {limit(500, 1s, 50)}) ==
          "X-RateLimit-Limit: 50\nX-RateLimit-Remaining: 50\nX-RateLimit-Reset: 0\n");
  }

  TEST_CASE("rates that are no whole numbers are told in whole numbers, never larger") {
    const auto policy = [](double requests, Nanos per) {
      const std::string all = written(RateLimitStyle::ietf, {limit(requests, per)});
      return all.substr(18, all.find('\n') - 18);
    };
    CHECK(policy(0.5, 1s) == "\"api\";q=1;w=2");
    CHECK(policy(0.3, 1s) == "\"api\";q=1;w=4");
    CHECK(policy(100, 100ms) == "\"api\";q=1000;w=1");
    CHECK(policy(3, 1500ms) == "\"api\";q=4;w=2");
    CHECK(policy(1, 10ms) == "\"api\";q=100;w=1");
    CHECK(policy(2.7, 1s) == "\"api\";q=2;w=1");
    CHECK(policy(1, 24h * 365) == "\"api\";q=1;w=31536000");
    CHECK(policy(1e300, 1s) == "\"api\";q=999999999999999;w=1");
    CHECK(policy(0, 1s) == "\"api\";q=0;w=1");
  }

  TEST_CASE("several limits are members of one list, or the tightest alone in the old style") {
    std::vector<RateLimitState> limits{limit(500, 1s, 7, 1ms), limit(10, 1min, 3, 5s), limit(20, 1min, 3, 9s)};
    limits[0].name = "all";
    limits[2].name = "quoted \"name\\";
    limits[2].limit = 20;
    CHECK(written(RateLimitStyle::ietf, limits) ==
          "RateLimit-Policy: \"all\";q=500;w=1, \"api\";q=10;w=60, \"quoted \\\"name\\\\\";q=20;w=60\n"
          "RateLimit: \"all\";r=7;t=1, \"api\";r=3;t=5, \"quoted \\\"name\\\\\";r=3;t=9\n");
    CHECK(written(RateLimitStyle::legacy, limits) ==
          "X-RateLimit-Limit: 20\nX-RateLimit-Remaining: 3\nX-RateLimit-Reset: 9\n");
    CHECK(written(RateLimitStyle::ietf, {}).empty());
    CHECK(written(RateLimitStyle::legacy, {}).empty());
  }

  TEST_CASE("seconds are rounded up, so that nobody comes back in vain") {
    CHECK(written(RateLimitStyle::legacy, {limit(1, 1s, 0, 1s)}).ends_with("Reset: 1\n"));
    CHECK(written(RateLimitStyle::legacy, {limit(1, 1s, 0, 1s + 1ns)}).ends_with("Reset: 2\n"));
    CHECK(written(RateLimitStyle::legacy, {limit(1, 1s, 0, 1ns)}).ends_with("Reset: 1\n"));
  }

  TEST_CASE("a name cannot break out of its field, and one that does not fit takes nothing else with it") {
    RateLimitState hostile = limit(1, 1s, 1);
    hostile.name = "a\r\nSet-Cookie: x\xc3\xa4";
    CHECK(written(RateLimitStyle::ietf, {hostile}) ==
          "RateLimit-Policy: \"aSet-Cookie: x\";q=1;w=1\nRateLimit: \"aSet-Cookie: x\";r=1\n");
    RateLimitState endless = limit(1, 1s, 1);
    const std::string name(2000, 'n');
    endless.name = name;
    CHECK(written(RateLimitStyle::ietf, {limit(1, 1s, 1), endless, limit(2, 1s, 2)}) ==
          "RateLimit-Policy: \"api\";q=1;w=1, \"api\";q=2;w=1\nRateLimit: \"api\";r=1, \"api\";r=2\n");
    CHECK(written(RateLimitStyle::ietf, {endless}).empty());
  }

  TEST_CASE("writing the fields does not allocate") {
    const std::vector<RateLimitState> limits{limit(500, 1s, 7, 1ms), limit(10, 1min, 3, 5s)};
    const std::uint64_t before = test::allocations();
    const RateLimitFields ietf{RateLimitStyle::ietf, limits};
    const RateLimitFields legacy{RateLimitStyle::legacy, limits};
    CHECK(ietf.view().size() + legacy.view().size() == 5);
    CHECK(test::allocations() == before);
  }
}
