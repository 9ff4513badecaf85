#include "proxy/policy/balance.hpp"

#include <memory>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

using namespace outrigger;
using namespace outrigger::policy;

namespace {

struct Fleet {
  explicit Fleet(const std::vector<std::uint32_t>& weights) : states(new EndpointState[weights.size()]) {
    for (std::size_t i = 0; i < weights.size(); ++i) {
      set.endpoints.push_back({.address = std::to_string(i), .weight = weights[i], .state = &states[i]});
      set.total_weight += weights[i];
    }
  }
  std::optional<EndpointId> next(Balance balance, std::optional<EndpointId> previous = std::nullopt) {
    return choose(set, balance, previous, cursor, rng);
  }
  std::vector<int> draw(int count, Balance balance, std::optional<EndpointId> previous = std::nullopt) {
    std::vector<int> drawn(set.endpoints.size());
    for (int i = 0; i < count; ++i) ++drawn.at(index(*next(balance, previous)));
    return drawn;
  }

  std::unique_ptr<EndpointState[]> states;
  EndpointSet set;
  BalanceCursor cursor;
  Rng rng{11};
};

constexpr EndpointId kFirst{0};
constexpr EndpointId kSecond{1};

}  // namespace

TEST_SUITE("policy") {
  TEST_CASE("an empty set has nothing to choose and a single endpoint is always chosen, avoided or not") {
    Fleet none{{}};
    CHECK(none.next(Balance::least_request) == std::nullopt);
    CHECK(none.next(Balance::round_robin) == std::nullopt);
    Fleet one{{1}};
    CHECK(one.next(Balance::least_request, kFirst) == kFirst);
    CHECK(one.next(Balance::round_robin, kFirst) == kFirst);
  }

  TEST_CASE("round robin visits endpoints exactly by weight") {
    Fleet fleet{{1, 3, 2}};
    CHECK(fleet.draw(60, Balance::round_robin) == std::vector<int>{10, 30, 20});
  }

  TEST_CASE("round robin goes on when its position wraps") {
    Fleet fleet{{1, 1}};
    fleet.cursor.next = UINT32_MAX - 1;
    CHECK(fleet.draw(4, Balance::round_robin) == std::vector<int>{2, 2});
  }

  TEST_CASE("an endpoint that failed is avoided as long as there is another") {
    for (const Balance balance : {Balance::least_request, Balance::round_robin}) {
      Fleet two{{5, 1}};
      CHECK(two.draw(1000, balance, kFirst)[0] == 0);
      CHECK(two.draw(1000, balance, kSecond)[1] == 0);
      Fleet five{{1, 1, 1, 1, 1}};
      const std::vector<int> drawn = five.draw(1000, balance, kSecond);
      CHECK(drawn[1] == 0);
      for (const std::size_t other : {0u, 2u, 3u, 4u}) CHECK(drawn[other] > 50);
    }
  }

  TEST_CASE("least request spreads idle endpoints evenly and prefers the idle one of two") {
    Fleet fleet{{1, 1, 1, 1}};
    for (const int count : fleet.draw(40'000, Balance::least_request)) {
      CHECK(count == doctest::Approx(10'000).epsilon(0.1));
    }
    Fleet two{{1, 1}};
    two.states[0].in_flight = 7;
    CHECK(two.draw(1000, Balance::least_request)[0] == 0);
  }

  TEST_CASE("least request never takes the busiest of three, which always meets a better one") {
    Fleet fleet{{1, 1, 1}};
    fleet.states[0].in_flight = 9;
    fleet.states[1].in_flight = 5;
    const std::vector<int> drawn = fleet.draw(3000, Balance::least_request);
    CHECK(drawn[0] == 0);
    CHECK(drawn[2] > drawn[1]);
  }

  TEST_CASE("load is measured per weight") {
    Fleet fleet{{1, 4}};
    fleet.states[0].in_flight = 1;
    fleet.states[1].in_flight = 4;  // (1+1)/1 against (4+1)/4
    CHECK(fleet.draw(1000, Balance::least_request)[0] == 0);
    fleet.states[1].in_flight = 8;  // 2/1 against 9/4
    CHECK(fleet.draw(1000, Balance::least_request)[1] == 0);
  }

  TEST_CASE("an endpoint's permit is counted once wherever it is moved") {
    EndpointState state;
    EndpointState other;
    {
      EndpointPermit permit = state.enter();
      CHECK(state.in_flight == 1);
      EndpointPermit moved = std::move(permit);
      CHECK(state.in_flight == 1);
      moved = other.enter();
      CHECK(state.in_flight == 0);
      CHECK(other.in_flight == 1);
      moved.release();
      moved.release();
      CHECK(other.in_flight == 0);
    }
    CHECK(state.in_flight == 0);
    CHECK(other.in_flight == 0);
  }

  TEST_CASE("a choice survives a reload: another set on the same states counts the same load") {
    Fleet fleet{{1, 1}};
    const EndpointPermit held = fleet.states[0].enter();
    EndpointSet reloaded = fleet.set;
    std::swap(reloaded.endpoints[0], reloaded.endpoints[1]);
    for (int i = 0; i < 100; ++i) {
      CHECK(choose(reloaded, Balance::least_request, std::nullopt, fleet.cursor, fleet.rng) == kFirst);
    }
  }
}
