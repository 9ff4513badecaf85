#include "proxy/policy/outlier.hpp"

#include <memory>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "proxy/policy/lesson.hpp"

using namespace outrigger;
using namespace outrigger::policy;
using namespace std::chrono_literals;

namespace {

constexpr TimePoint kStart{1h};

struct Upstream {
  explicit Upstream(std::size_t count, OutlierConfig numbers = {}) : config(numbers), states(new EndpointState[count]) {
    for (std::size_t i = 0; i < count; ++i) {
      set.endpoints.push_back({.address = std::to_string(i), .state = &states[i]});
      ++set.total_weight;
    }
  }
  bool result(std::size_t endpoint, OutlierResult result) {
    return detection.on_result(config, set, static_cast<EndpointId>(endpoint), result, now, rng);
  }
  bool fails(std::size_t endpoint, int times = 1) {
    bool ejected = false;
    for (int i = 0; i < times; ++i) ejected |= result(endpoint, OutlierResult::failure);
    return ejected;
  }
  bool out(std::size_t endpoint) const { return is_ejected(states[endpoint], now); }
  Nanos left(std::size_t endpoint) const { return TimePoint{Nanos{states[endpoint].ejected_until_ns.load()}} - now; }
  void after(Nanos time) { now += time; }

  OutlierConfig config;
  std::unique_ptr<EndpointState[]> states;
  EndpointSet set;
  OutlierDetection detection;
  TimePoint now = kStart;
  Rng rng{3};
};

/// Up to a tenth shorter.
void lasts(Nanos left, Nanos asked) {
  CHECK(left <= asked);
  CHECK(left >= asked - asked / 10);
}

}  // namespace

TEST_SUITE("policy") {
  TEST_CASE("an endpoint is ejected by so many failures in a row and no fewer, and comes back by itself") {
    Upstream up(2);
    CHECK_FALSE(up.fails(0, 4));
    CHECK_FALSE(up.out(0));
    CHECK(up.fails(0));
    CHECK(up.out(0));
    CHECK_FALSE(usable(up.set.endpoints[0], up.now));
    CHECK(usable(up.set.endpoints[1], up.now));
    lasts(up.left(0), 30s);
    up.after(up.left(0) - 1ns);
    CHECK(up.out(0));
    up.after(1ns);
    CHECK_FALSE(up.out(0));
    CHECK(up.detection.ejections() == 1);
  }

  TEST_CASE("once it is taken out of the configuration nobody ejects, whoever still goes by the old one") {
    Upstream up(2);
    up.detection.set_active(false);
    CHECK_FALSE(up.fails(0, 20));
    CHECK_FALSE(up.out(0));
    up.detection.set_active(true);
    CHECK(up.fails(0, 5));
  }

  TEST_CASE("a success in between begins the row anew and what says nothing does not") {
    Upstream up(2);
    up.fails(0, 4);
    up.result(0, OutlierResult::success);
    CHECK_FALSE(up.fails(0, 4));
    up.result(0, OutlierResult::neutral);
    CHECK(up.fails(0));
  }

  TEST_CASE("what was under way when it was ejected says nothing new") {
    Upstream up(2);
    up.fails(0, 5);
    const Nanos left = up.left(0);
    CHECK_FALSE(up.fails(0, 20));
    CHECK(up.left(0) == left);
    up.after(left);
    CHECK_FALSE(up.fails(0, 4));
    CHECK(up.fails(0));
  }

  TEST_CASE("ejections that follow each other grow up to their limit, and quiet makes them short again") {
    Upstream up(2, {.base_ejection = 10s, .max_ejection = 35s});
    for (const Nanos asked : {10s, 20s, 30s, 35s, 35s}) {
      CHECK(up.fails(0, 5));
      lasts(up.left(0), asked);
      up.after(up.left(0));
    }
    up.after(20s);  // the sixth, less two
    CHECK(up.fails(0, 5));
    lasts(up.left(0), 35s);
    up.after(up.left(0) + 30s);  // the fifth, less three
    CHECK(up.fails(0, 5));
    lasts(up.left(0), 20s);
    up.after(up.left(0) + 1h);
    CHECK(up.fails(0, 5));
    lasts(up.left(0), 10s);
  }

  TEST_CASE("endpoints that fail together do not come back together") {
    Upstream up(100, {.max_ejected = 1});
    Nanos shortest = 1h;
    Nanos longest{0};
    for (std::size_t i = 0; i < 99; ++i) {
      CHECK(up.fails(i, 5));
      lasts(up.left(i), 30s);
      shortest = std::min(shortest, up.left(i));
      longest = std::max(longest, up.left(i));
    }
    CHECK(longest - shortest > 2s);
  }

  TEST_CASE("no more than the allowed share is out at a time") {
    Upstream three(3);  // a half of three is one
    CHECK(three.fails(0, 5));
    CHECK_FALSE(three.fails(1, 50));
    three.after(three.left(0));
    CHECK(three.fails(1, 5));
    Upstream four(4);
    CHECK(four.fails(0, 5));
    CHECK(four.fails(1, 5));
    CHECK_FALSE(four.fails(2, 5));
    Upstream hundred(100, {.max_ejected = 0.29});  // 0.29 * 100 is less than 29 in binary
    for (std::size_t i = 0; i < 29; ++i) CHECK(hundred.fails(i, 5));
    CHECK_FALSE(hundred.fails(29, 5));
    Upstream nobody(2, {.max_ejected = 0});
    CHECK_FALSE(nobody.fails(0, 500));
  }

  TEST_CASE("the last usable endpoint is never ejected") {
    Upstream one(1, {.max_ejected = 1});
    CHECK_FALSE(one.fails(0, 500));
    Upstream two(2, {.max_ejected = 1});
    CHECK(two.fails(0, 5));
    CHECK_FALSE(two.fails(1, 500));
    Upstream sick(2, {.max_ejected = 1});
    sick.states[1].healthy = false;  // it is no one to fall back on
    CHECK_FALSE(sick.fails(0, 500));
    sick.states[1].healthy = true;
    CHECK(sick.fails(0, 5));
  }

  TEST_CASE("an ejection that was forbidden is asked for again by as many failures, not by each one") {
    Upstream up(2);
    CHECK(up.fails(0, 5));
    CHECK_FALSE(up.fails(1, 7));
    up.after(up.left(0));
    CHECK_FALSE(up.fails(1, 2));
    CHECK(up.fails(1));
  }

  TEST_CASE("a pardoned endpoint begins with a clean record") {
    Upstream up(2);
    up.fails(0, 5);
    pardon(up.states[0]);
    CHECK_FALSE(up.out(0));
    CHECK_FALSE(up.fails(0, 4));
    CHECK(up.fails(0));
    lasts(up.left(0), 30s);
  }

  TEST_CASE("an endpoint's record is of its upstream and address: another set goes on with it") {
    Upstream up(3);
    up.fails(2, 4);
    EndpointSet reloaded = up.set;
    std::swap(reloaded.endpoints[0], reloaded.endpoints[2]);
    CHECK(up.detection.on_result(up.config, reloaded, EndpointId{0}, OutlierResult::failure, up.now, up.rng));
    CHECK(up.out(2));
  }

  TEST_CASE("what counts against an endpoint is what would against a circuit whose rules nobody changed") {
    const auto answer = [](int status, bool refused = false) {
      return outlier_result(lesson_of_answer(static_cast<std::uint16_t>(status), refused));
    };
    for (const int status : {200, 302, 404, 401}) CHECK(answer(status) == OutlierResult::success);
    for (const int status : {500, 502, 503, 504}) CHECK(answer(status) == OutlierResult::failure);
    for (const int status : {408, 425, 429, 501, 507}) CHECK(answer(status) == OutlierResult::neutral);
    // The upstream's own sidecar refused: the endpoint has not even seen it.
    CHECK(answer(503, true) == OutlierResult::neutral);
    const auto fault = [](Reason why) { return outlier_result(lesson_of_fault(why, Exposure::fully_sent)); };
    for (const Reason why : {Reason::connect_refused, Reason::connect_timeout, Reason::reset, Reason::closed_early,
                             Reason::attempt_timeout, Reason::protocol_error}) {
      CHECK(fault(why) == OutlierResult::failure);
    }
    CHECK(outlier_result(lesson_of_abort(Reason::hedge_lost, true, 1s, 1s)) == OutlierResult::neutral);
    CHECK(outlier_result(lesson_of_abort(Reason::client_disconnected, true, 1s, 1s)) == OutlierResult::neutral);
    CHECK(outlier_result(lesson_of_abort(Reason::overall_timeout, true, 1s, 1s)) == OutlierResult::failure);
    CHECK(outlier_result(lesson_of_abort(Reason::overall_timeout, true, 1s, 2s)) == OutlierResult::neutral);
  }
}
