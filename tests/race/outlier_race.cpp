#include <atomic>
#include <cstdint>

#include <doctest/doctest.h>

#include "proxy/policy/outlier.hpp"
#include "tests/race/threads.hpp"

using namespace outrigger;
using namespace outrigger::policy;
using namespace outrigger::test;
using namespace std::chrono_literals;

TEST_SUITE("race") {
  TEST_CASE("however many see all endpoints fail at once, half of them and the last stay in service") {
    constexpr std::size_t kEndpoints = 4;
    constexpr TimePoint kNow{1h};
    for (const double share : {0.5, 1.0}) {
      EndpointState states[kEndpoints];
      EndpointSet set;
      for (EndpointState& state : states) set.endpoints.push_back({.address = "e", .state = &state});
      const OutlierConfig config{.consecutive_failures = 3, .max_ejected = share};
      OutlierDetection detection;
      std::atomic<std::uint64_t> told{0};
      race([&](std::uint32_t thread) {
        Rng rng{thread};
        for (std::uint32_t i = 0; i < 2000; ++i) {
          const auto endpoint = static_cast<EndpointId>((i + thread) % kEndpoints);
          if (detection.on_result(config, set, endpoint, OutlierResult::failure, kNow, rng)) told.fetch_add(1);
        }
      });
      std::uint64_t ejected = 0;
      for (const EndpointState& state : states) ejected += is_ejected(state, kNow) ? 1 : 0;
      CHECK(ejected == (share < 1 ? 2 : 3));
      CHECK(told == ejected);
      CHECK(detection.ejections() == ejected);
    }
  }
}
