#include "proxy/policy/balance.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

using namespace outrigger;
using namespace outrigger::policy;

namespace {

struct Fleet {
  explicit Fleet(const std::vector<std::uint32_t>& weights) : states(new EndpointState[weights.size()]) {
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const std::string address = std::to_string(i);
      set.endpoints.push_back(
          {.address = address, .weight = weights[i], .state = &states[i], .hash = balance_hash(address)});
      set.total_weight += weights[i];
    }
  }
  std::optional<EndpointId> next(Balance balance, std::optional<EndpointId> previous = std::nullopt) {
    const auto may = [this](EndpointId id) { return !out.contains(id); };
    return choose(set, {.balance = balance, .avoided = previous, .key = key}, cursor, rng, may);
  }
  std::vector<int> draw(int count, Balance balance, std::optional<EndpointId> previous = std::nullopt) {
    std::vector<int> drawn(set.endpoints.size());
    for (int i = 0; i < count; ++i) ++drawn.at(index(*next(balance, previous)));
    return drawn;
  }

  std::unique_ptr<EndpointState[]> states;
  EndpointSet set;
  std::set<EndpointId> out;  // may not have it
  std::optional<std::uint64_t> key;
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
    fleet.states[1].in_flight = 3;  // 1/1 against (3+1)/4
    CHECK(fleet.draw(1000, Balance::least_request)[0] == 0);
    fleet.states[1].in_flight = 8;  // 8/4 against (1+1)/1
    CHECK(fleet.draw(1000, Balance::least_request)[1] == 0);
  }

  TEST_CASE("least request follows the weights where nothing is in flight") {
    for (const std::vector<std::uint32_t>& weights :
         {std::vector<std::uint32_t>{1, 99}, std::vector<std::uint32_t>{1, 3, 6}}) {
      Fleet fleet{weights};
      const std::vector<int> drawn = fleet.draw(20'000, Balance::least_request);
      for (std::size_t i = 0; i < weights.size(); ++i) {
        CAPTURE(weights[i]);
        const double share = 20'000.0 * weights[i] / fleet.set.total_weight;
        CHECK(std::abs(drawn[i] - share) < 4 * std::sqrt(share));
      }
    }
  }

  TEST_CASE("least request gives a light endpoint no more than its share for being idle, and a heavy one no overload") {
    Fleet fleet{{1, 99}};
    fleet.states[1].in_flight = 50;
    CHECK(fleet.draw(20'000, Balance::least_request)[0] == doctest::Approx(200).epsilon(0.3));
    fleet.states[1].in_flight = 99;  // 99/99 against (0+1)/1
    CHECK(fleet.draw(1000, Balance::least_request)[1] == 0);
    fleet.states[0].in_flight = 1;  // either is where it should be
    fleet.states[1].in_flight = 98;
    CHECK(fleet.draw(1000, Balance::least_request)[0] == 0);
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
      CHECK(choose(reloaded, {}, fleet.cursor, fleet.rng, [](EndpointId) { return true; }) == kFirst);
    }
  }

  TEST_CASE("random draws by weight and avoids the one before") {
    Fleet fleet{{1, 2, 5}};
    const std::vector<int> drawn = fleet.draw(80'000, Balance::random);
    CHECK(drawn[0] == doctest::Approx(10'000).epsilon(0.05));
    CHECK(drawn[1] == doctest::Approx(20'000).epsilon(0.05));
    CHECK(drawn[2] == doctest::Approx(50'000).epsilon(0.05));
    CHECK(fleet.draw(1000, Balance::random, kFirst)[0] == 0);
  }

  TEST_CASE("who may not have it is left out, and the others share by their weights") {
    for (const Balance balance : {Balance::least_request, Balance::random, Balance::round_robin}) {
      CAPTURE(static_cast<int>(balance));
      Fleet fleet{{3, 1, 2}};
      fleet.out = {kFirst};
      const std::vector<int> drawn = fleet.draw(30'000, balance);
      CHECK(drawn[0] == 0);
      CHECK(drawn[1] == doctest::Approx(10'000).epsilon(0.05));
      fleet.out = {kFirst, kSecond};
      CHECK(fleet.draw(100, balance)[2] == 100);
      CHECK(fleet.draw(100, balance, EndpointId{2})[2] == 100);  // avoided, and the only one
      fleet.out = {kFirst, kSecond, EndpointId{2}};
      CHECK(fleet.next(balance) == std::nullopt);
      CHECK(fleet.next(balance, kSecond) == std::nullopt);
    }
  }

  TEST_CASE("by hash a key has one endpoint, and keys are spread by weight") {
    Fleet fleet{{1, 2, 5}};
    std::vector<int> drawn(3);
    for (std::uint64_t i = 0; i < 80'000; ++i) {
      fleet.key = balance_hash("client-" + std::to_string(i));
      const EndpointId chosen = *fleet.next(Balance::hash);
      ++drawn.at(index(chosen));
      if (i < 1000) CHECK(fleet.next(Balance::hash) == chosen);
    }
    CHECK(drawn[0] == doctest::Approx(10'000).epsilon(0.05));
    CHECK(drawn[1] == doctest::Approx(20'000).epsilon(0.05));
    CHECK(drawn[2] == doctest::Approx(50'000).epsilon(0.05));
  }

  TEST_CASE("an endpoint that goes takes only its own keys, and one that comes takes its share of all") {
    constexpr int kKeys = 20'000;
    Fleet ten{std::vector<std::uint32_t>(10, 1)};
    Fleet eleven{std::vector<std::uint32_t>(11, 1)};
    int moved = 0;
    int moved_elsewhere = 0;
    for (std::uint64_t i = 0; i < kKeys; ++i) {
      ten.key = eleven.key = balance_hash(std::to_string(i));
      const EndpointId before = *ten.next(Balance::hash);
      const EndpointId after = *eleven.next(Balance::hash);
      moved += before != after ? 1 : 0;
      moved_elsewhere += before != after && after != EndpointId{10} ? 1 : 0;
      ten.out = {EndpointId{3}};
      if (before != EndpointId{3}) CHECK(ten.next(Balance::hash) == before);
      ten.out = {};
    }
    CHECK(moved_elsewhere == 0);
    CHECK(moved == doctest::Approx(kKeys / 11.0).epsilon(0.1));
  }

  TEST_CASE("by hash the order of endpoints in the set means nothing") {
    Fleet fleet{{1, 1, 1}};
    EndpointSet turned = fleet.set;
    std::reverse(turned.endpoints.begin(), turned.endpoints.end());
    for (std::uint64_t i = 0; i < 100; ++i) {
      fleet.key = i;
      const auto other = choose(turned, {.balance = Balance::hash, .avoided = {}, .key = i}, fleet.cursor, fleet.rng,
                                [](EndpointId) { return true; });
      CHECK(turned.endpoints[index(*other)].address == fleet.set.endpoints[index(*fleet.next(Balance::hash))].address);
    }
  }

  TEST_CASE("by hash another attempt takes the next best, which is as even as the best") {
    Fleet fleet{{1, 1, 1, 1}};
    std::vector<int> seconds(4);
    for (std::uint64_t i = 0; i < 12'000; ++i) {
      fleet.key = balance_hash(std::to_string(i));
      const EndpointId best = *fleet.next(Balance::hash);
      const EndpointId second = *fleet.next(Balance::hash, best);
      CHECK(second != best);
      if (best == kFirst) ++seconds.at(index(second));
    }
    for (const std::size_t other : {1u, 2u, 3u}) CHECK(seconds[other] == doctest::Approx(1000).epsilon(0.15));
  }

  TEST_CASE("by hash without a key it is random") {
    Fleet fleet{{1, 1}};
    const std::vector<int> drawn = fleet.draw(1000, Balance::hash);
    CHECK(drawn[0] > 400);
    CHECK(drawn[1] > 400);
  }
}
