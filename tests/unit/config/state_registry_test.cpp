#include "proxy/config/state_registry.hpp"

#include <memory>
#include <string>
#include <tuple>
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

policy::RateLimitConfig told_apart(policy::RateLimitConfig::Key key) {
  policy::RateLimitConfig config;
  config.key = key;
  return config;
}

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

  TEST_CASE("another type begins anew, another width of the window does not") {
    StateRegistry registry(1);
    const auto bucket = registry.budget("b", tokens(10));
    const auto permit = bucket->admit(tokens(10), 10, kNow);
    REQUIRE(permit);

    const auto ten = registry.budget("b", window(10s));
    CHECK(ten != bucket);
    CHECK(registry.budget("b", window(10s)) == ten);
    CHECK(registry.budget("b", window(20s)) == ten);
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

  TEST_CASE("who waits for an upstream is found by its endpoints for as long as there is one") {
    StateRegistry registry(1);
    std::shared_ptr<UpstreamState> upstream = registry.upstream("up");
    CHECK(registry.upstream("up") == upstream);
    CHECK(registry.upstream("other") != upstream);
    auto endpoint = registry.endpoint("up", "127.0.0.1:1");
    CHECK(endpoint->slots == &upstream->slots);
    const std::weak_ptr<UpstreamState> watch = upstream;
    upstream.reset();
    CHECK_FALSE(watch.expired());
    CHECK(registry.endpoint("up", "127.0.0.1:2")->slots == endpoint->slots);
    endpoint.reset();
    CHECK(watch.expired());
  }

  TEST_CASE("whatever has a state keeps it by name and kind while only numbers change") {
    StateRegistry registry(2);
    policy::CircuitConfig circuit;
    policy::RateLimitConfig rate;
    policy::BulkheadConfig bulkhead;
    policy::AdaptiveLimitConfig limit;
    policy::AdaptiveThrottleConfig throttle;
    policy::HedgeConfig hedge;
    hedge.quantile = 0.95;
    policy::ChaosConfig chaos;
    policy::CacheConfig cache;
    const auto all = [&] {
      return std::tuple(registry.circuit("n", circuit), registry.rate_limit("n", rate),
                        registry.keyed_rate_limit("n", rate), registry.bulkhead("n", bulkhead),
                        registry.adaptive_limit("n", limit), registry.adaptive_throttle("n", throttle),
                        registry.hedge_trigger("n", hedge), registry.chaos("n", chaos), registry.cache("n", cache));
    };
    const auto before = all();
    circuit.consecutive_failures = 9;
    circuit.cooldown = 1s;
    rate.requests = 7;
    rate.burst = 7;
    bulkhead.max_concurrent = 3;
    bulkhead.max_queue = 1;
    limit.initial = limit.max = 5;
    throttle.failure_rate = 0.5;
    hedge.quantile = 0.99;
    hedge.min_samples = 5;
    chaos.abort = policy::ChaosAbort{.probability = 1};
    cache.ttl = 1s;
    cache.max_bytes = 1 << 20;
    CHECK(all() == before);
    CHECK(registry.circuit("other", circuit) != std::get<0>(before));
  }

  TEST_CASE("what a state counts, and what its mechanism fixes for life, begins anew with another value") {
    StateRegistry registry(1);
    const auto renews = [](auto get, auto config, auto change) {
      const auto before = get(config);
      REQUIRE(get(config) == before);
      change(config);
      return get(config) != before;
    };
    const auto circuit = [&](const policy::CircuitConfig& config) { return registry.circuit("n", config); };
    const auto rate = [&](const policy::RateLimitConfig& config) { return registry.rate_limit("n", config); };
    const auto keyed = [&](const policy::RateLimitConfig& config) { return registry.keyed_rate_limit("n", config); };
    const auto bulkhead = [&](const policy::BulkheadConfig& config) { return registry.bulkhead("n", config); };
    const auto limit = [&](const policy::AdaptiveLimitConfig& config) { return registry.adaptive_limit("n", config); };
    using policy::CircuitConfig;
    using policy::Counts;
    using policy::RateLimitConfig;
    CHECK(renews(circuit, CircuitConfig{}, [](auto& c) { c.counts = Counts::request; }));
    CHECK(renews(circuit, CircuitConfig{}, [](auto& c) { c.scope = policy::CircuitScope::upstream; }));
    CHECK(renews(circuit, CircuitConfig{}, [](auto& c) { c.trip = CircuitConfig::Trip::rate_by_calls; }));
    CHECK(renews(rate, RateLimitConfig{}, [](auto& c) { c.counts = Counts::attempt; }));
    CHECK(renews(keyed, told_apart(RateLimitConfig::Key::client_ip),
                 [](auto& c) { c.key = RateLimitConfig::Key::header; }));
    CHECK(renews(keyed, told_apart(RateLimitConfig::Key::header), [](auto& c) { c.header = "B"; }));
    CHECK(renews(bulkhead, policy::BulkheadConfig{}, [](auto& c) { c.counts = Counts::request; }));
    CHECK(renews(limit, policy::AdaptiveLimitConfig{},
                 [](auto& c) { c.algorithm = policy::AdaptiveLimitConfig::Algorithm::gradient; }));
  }

  TEST_CASE("a bulkhead's places that are taken count against its new capacity") {
    StateRegistry registry(1);
    policy::BulkheadConfig config{.max_concurrent = 3};
    const auto bulkhead = registry.bulkhead("b", config);
    const auto first = bulkhead->admit(config, Priority::standard, nullptr);
    const auto second = bulkhead->admit(config, Priority::standard, nullptr);
    config.max_concurrent = 2;
    const auto smaller = registry.bulkhead("b", config);
    CHECK(smaller->in_flight() == 2);
    CHECK(smaller->admit(config, Priority::standard, nullptr).answer == policy::GateAnswer::full);
  }

  TEST_CASE("names whose states are gone are forgotten, and the others are not") {
    StateRegistry registry(1);
    const auto kept = registry.circuit("kept", {});
    const std::weak_ptr<policy::CircuitBreaker> gone = registry.circuit("gone", {});
    CHECK(gone.expired());
    registry.forget_the_gone();
    CHECK(registry.circuit("kept", {}) == kept);
    CHECK(registry.circuit("gone", {}) != nullptr);
  }

  TEST_CASE("what waits is woken through the services that the registry was given, and secrets are drawn there") {
    struct Services : Wakeups, policy::CacheMemory {
      void wake(const Ticket& ticket) noexcept override { woken.push_back(ticket); }
      bool take(std::uint64_t) noexcept override { return true; }
      void give_back(std::uint64_t) noexcept override {}
      std::vector<Ticket> woken;
      std::uint64_t drawn = 0;
    } services;
    StateRegistry registry(1, {services, services, [&] { return ++services.drawn; }});
    const policy::BulkheadConfig config{.max_concurrent = 1, .max_queue = 1, .max_wait = 1s};
    const auto bulkhead = registry.bulkhead("b", config);
    auto permit = bulkhead->admit(config, Priority::standard, nullptr);
    policy::GateWaiter waiter(Ticket{.worker = 0, .slot = 7, .generation = 1});
    CHECK(bulkhead->admit(config, Priority::standard, &waiter).answer == policy::GateAnswer::waiting);
    permit = {};
    CHECK(services.woken == std::vector{Ticket{.worker = 0, .slot = 7, .generation = 1}});
    bulkhead->leave(waiter);
    registry.cache("c", {});
    registry.keyed_rate_limit("r", told_apart(policy::RateLimitConfig::Key::client_ip));
    CHECK(services.drawn == 2);
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
