#include <string>

#include <doctest/doctest.h>

#include "proxy/exchange/exchange.hpp"

using namespace outrigger;
using namespace outrigger::exchange;
using namespace std::chrono_literals;
using policy::Counts;
using policy::RateLimitConfig;
using Headers = policy::RateLimitConfig::Headers;

namespace {

constexpr TimePoint kStart{1h};

/// Requests of a policy with two rate limits, `a` of 3 per hour and `b` of 2 per 100 s.
struct Limits {
  RateLimitConfig a{.requests = 3, .per = 1h, .burst = 3, .headers = Headers::ietf};
  RateLimitConfig b{.requests = 2, .per = 100s, .burst = 2, .headers = Headers::legacy};
  policy::RateLimit a_state{a};
  policy::RateLimit b_state{b};
  policy::EndpointState endpoint;
  policy::EndpointSet endpoints{.endpoints = {{.address = "127.0.0.1:1", .state = &endpoint}}, .total_weight = 1};
  exchange::Upstream upstream{.name = "up", .endpoints = &endpoints};
  policy::Policy policy;
  Plan plan;

  Limits() {
    plan.policy = &policy;
    plan.upstream = &upstream;
    plan.rate_limits.push_back({{"a", &a, &a_state}});
    plan.rate_limits.push_back({{"b", &b, &b_state}});
  }
  Limits(const Limits&) = delete;
  Limits& operator=(const Limits&) = delete;

  /// What the answer of the next request shows: name, limit, left, seconds until there is more.
  std::string request(TimePoint now, const RequestFacts& facts = {}, const Event& event = RequestReady{}) {
    WorkerLocal local;
    local.cursors.resize(1);
    Timeline timeline;
    Exchange exchange(plan, facts, local, timeline);
    Actions orders;
    exchange.on(now, event, orders);
    RateLimitsShown shown;
    exchange.rate_limits(now, shown);
    std::string text;
    for (const RateLimitShown& limit : shown) {
      const auto reset = std::chrono::ceil<std::chrono::seconds>(limit.view.reset).count();
      text += std::string(limit.name) + " " + std::to_string(limit.view.limit) + " " +
              std::to_string(limit.view.remaining) + " " + std::to_string(reset) + "; ";
    }
    return text;
  }
};

}  // namespace

TEST_SUITE("exchange") {
  TEST_CASE("an answer shows what is left of the rate limits that were asked, less with each request") {
    Limits limits;
    CHECK(limits.request(kStart) == "a 3 2 1200; b 2 1 50; ");
    CHECK(limits.request(kStart + 1s) == "a 3 1 1199; b 2 0 49; ");
    // The second one refuses: what the first had given goes back before the answer is made.
    CHECK(limits.request(kStart + 2s) == "a 3 1 1198; b 2 0 48; ");
    CHECK(limits.request(kStart + 51s) == "a 3 0 1149; b 2 0 49; ");
    // The first one refuses, and the second is not asked.
    CHECK(limits.request(kStart + 102s) == "a 3 0 1098; ");
  }

  TEST_CASE("a limit that was not reached says nothing, and neither does one without fields") {
    Limits limits;
    limits.b.counts = Counts::attempt;
    limits.plan.rate_limits[0].config = &limits.b;
    limits.plan.rate_limits[0].state = &limits.b_state;
    limits.plan.rate_limits.pop_back();
    CHECK(limits.request(kStart) == "a 2 1 50; ");
    CHECK(limits.request(kStart, {.client_deadline = 1ms}) == "");
    limits.b.headers = Headers::none;
    CHECK(limits.request(kStart) == "");
  }

  TEST_CASE("a policy that only observes shows nothing") {
    Limits limits;
    limits.plan.observes = true;
    CHECK(limits.request(kStart) == "");
  }

  TEST_CASE("each key is shown what is left of its own, and those without one what is left of theirs") {
    Limits limits;
    limits.a.key = RateLimitConfig::Key::header;
    limits.a.header = "X-Tenant";
    policy::KeyedRateLimit keyed{limits.a, 1};
    limits.plan.rate_limits.clear();
    RateLimitRef& ref = limits.plan.rate_limits.emplace_back();
    ref.name = "a";
    ref.config = &limits.a;
    ref.keyed = &keyed;
    const Field blue[] = {{"x-tenant", "blue"}};
    const Field red[] = {{"X-Tenant", "red"}};
    CHECK(limits.request(kStart, {.fields = blue}) == "a 3 2 1200; ");
    CHECK(limits.request(kStart, {.fields = blue}) == "a 3 1 1200; ");
    CHECK(limits.request(kStart, {.fields = red}) == "a 3 2 1200; ");
    CHECK(limits.request(kStart) == "a 3 2 1200; ");
    CHECK(limits.request(kStart, {.fields = blue}) == "a 3 0 1200; ");
    CHECK(limits.request(kStart, {.fields = blue}) == "a 3 0 1200; ");
  }
}
