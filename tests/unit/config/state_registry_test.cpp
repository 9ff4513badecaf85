#include "proxy/config/state_registry.hpp"

#include <memory>
#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace outrigger;
using namespace outrigger::config;
using namespace std::chrono_literals;
using policy::BudgetConfig;
using policy::BudgetType;

namespace {

constexpr TimePoint kNow{1h};

BudgetConfig tokens(double capacity) {
  return {.type = BudgetType::token_bucket, .capacity = capacity, .refill_per_second = 0};
}
BudgetConfig window(Nanos width) { return {.type = BudgetType::window, .window = width}; }

TEST_SUITE("config") {
  TEST_CASE("whoever asks for a budget by name gets the one that lives") {
    StateRegistry registry(2);
    const auto first = registry.budget("b", tokens(10));
    CHECK(registry.budget("b", tokens(10)) == first);
    CHECK(registry.budget("c", tokens(10)) != first);
  }

  TEST_CASE("new numbers leave a budget's state as it is: what was spent stays spent") {
    StateRegistry registry(1);
    const auto budget = registry.budget("b", tokens(10));
    std::vector<policy::BudgetPermit> permits;
    for (int i = 0; i < 7; ++i) permits.push_back(budget->admit(tokens(10), 1, kNow));
    REQUIRE(budget->available(tokens(10), kNow) == 3);

    const auto smaller = registry.budget("b", tokens(2));
    CHECK(smaller == budget);
    CHECK(smaller->available(tokens(2), kNow) == 2);
    CHECK(smaller->extras_in_flight() == 7);
    permits.clear();
    CHECK(smaller->extras_in_flight() == 0);

    BudgetConfig ratio{.type = BudgetType::ratio};
    const auto shared = registry.budget("r", ratio);
    ratio.max_rate = 0.9;
    ratio.min_concurrency = 50;
    CHECK(registry.budget("r", ratio) == shared);
  }

  TEST_CASE("another type begins anew, and so does another width of the window") {
    StateRegistry registry(1);
    const auto bucket = registry.budget("b", tokens(10));
    const auto permit = bucket->admit(tokens(10), 10, kNow);
    REQUIRE(permit);

    const auto ten = registry.budget("b", window(10s));
    CHECK(ten != bucket);
    CHECK(registry.budget("b", window(10s)) == ten);
    const auto twenty = registry.budget("b", window(20s));
    CHECK(twenty != ten);
    // With the state alive the way back is a new beginning, too: nobody knows what was spent meanwhile.
    const auto again = registry.budget("b", tokens(10));
    CHECK(again != bucket);
    CHECK(again->available(tokens(10), kNow) == 10);
    CHECK(bucket->extras_in_flight() == 1);
  }

  TEST_CASE("a budget lives as long as somebody uses it") {
    StateRegistry registry(1);
    auto budget = registry.budget("b", tokens(10));
    const std::weak_ptr<policy::Budget> watch = budget;
    { const auto permit = budget->admit(tokens(10), 10, kNow); }
    budget.reset();
    CHECK(watch.expired());
    CHECK(registry.budget("b", tokens(10))->available(tokens(10), kNow) == 10);
  }

  TEST_CASE("every worker that there may be can count on a budget of the registry") {
    StateRegistry registry(3);
    REQUIRE(registry.workers() == 3);
    const auto budget = registry.budget("b", {});
    for (std::uint32_t worker = 0; worker < 3; ++worker) budget->enter_loop(worker, kNow);
    CHECK(budget->requests_in_flight() == 3);
    for (std::uint32_t worker = 0; worker < 3; ++worker) budget->leave_loop(worker);
    CHECK(budget->requests_in_flight() == 0);
  }

  TEST_CASE("an endpoint's state is that of its upstream and address, for as long as it is used") {
    StateRegistry registry(1);
    auto first = registry.endpoint("up", "127.0.0.1:1");
    CHECK(registry.endpoint("up", "127.0.0.1:1") == first);
    CHECK(registry.endpoint("up", "127.0.0.1:2") != first);
    CHECK(registry.endpoint("other", "127.0.0.1:1") != first);
    first->in_flight = 4;
    const std::weak_ptr<policy::EndpointState> watch = first;
    first.reset();
    CHECK(watch.expired());
    CHECK(registry.endpoint("up", "127.0.0.1:1")->in_flight == 0);
  }

  TEST_CASE("a name that was interned stays where it is, whatever comes after it") {
    StateRegistry registry(1);
    std::string text = "routes[0]";
    const std::string_view name = registry.intern(text);
    text = "overwritten";
    for (int i = 0; i < 1000; ++i) registry.intern(std::to_string(i));
    CHECK(name == "routes[0]");
    CHECK(registry.intern("routes[0]").data() == name.data());
  }
}

}  // namespace
