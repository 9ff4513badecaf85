#include "proxy/server/chaos_orders.hpp"

#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace outrigger;
using namespace outrigger::server;
using namespace std::chrono_literals;

namespace {

constexpr std::int64_t kNow = 1'000'000'000;

config::ChaosBlock until(std::int64_t end) {
  config::ChaosBlock block;
  block.chaos.until_us = end;
  return block;
}

config::Config permitting(const std::vector<std::string>& policies) {
  config::Config config;
  config.chaos_enabled = true;
  for (const std::string& key : policies) config.policies[key].policy.key = key;
  return config;
}

std::int64_t end_of(const config::ChaosOrder& order) { return order.block.chaos.until_us; }

}  // namespace

TEST_SUITE("server") {
  TEST_CASE("an order ends after its time, or when its block says so, whichever is first") {
    CHECK(end_of(chaos_order({}, 60s, kNow)) == kNow + 60'000'000);
    CHECK(end_of(chaos_order(until(kNow + 5), 60s, kNow)) == kNow + 5);
    CHECK(end_of(chaos_order(until(kNow + 90'000'000), 60s, kNow)) == kNow + 60'000'000);
  }

  TEST_CASE("each order begins a sequence of its own") {
    CHECK(chaos_order({}, 60s, kNow).state != nullptr);
    CHECK(chaos_order({}, 60s, kNow).state != chaos_order({}, 60s, kNow).state);
  }

  TEST_CASE("the first end is that of the order that ends first") {
    CHECK_FALSE(first_end({}).has_value());
    CHECK(first_end({{"a", {until(9)}}, {"b", {until(3)}}, {"c", {until(5)}}}) == 3);
  }

  TEST_CASE("an order goes with its time, its policy and the configuration's switch, and not before") {
    const config::ChaosOrders orders = {{"a", {until(kNow + 1)}}, {"b", {until(kNow)}}, {"c", {until(kNow + 1)}}};
    const auto dropped = [&](const config::Config& config, std::int64_t now) {
      config::ChaosOrders left = orders;
      return drop_ended(left, config, now);
    };
    using Names = std::vector<std::string>;
    CHECK(dropped(permitting({"a", "b", "c"}), kNow - 1) == Names{});
    CHECK(dropped(permitting({"a", "b", "c"}), kNow) == Names{"b"});
    CHECK(dropped(permitting({"a", "b"}), kNow - 1) == Names{"c"});
    config::Config forbidding = permitting({"a", "b", "c"});
    forbidding.chaos_enabled = false;
    CHECK(dropped(forbidding, kNow - 1) == Names{"a", "b", "c"});
    config::ChaosOrders left = orders;
    drop_ended(left, permitting({"a", "c"}), kNow);
    CHECK(left.size() == 2);
    CHECK(left.at("a").state == orders.at("a").state);
  }
}
