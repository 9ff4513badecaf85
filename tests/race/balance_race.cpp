#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "proxy/policy/balance.hpp"
#include "tests/race/threads.hpp"

using namespace outrigger;
using namespace outrigger::policy;
using namespace outrigger::test;

TEST_SUITE("race") {
  TEST_CASE("attempts in flight are counted exactly while all workers choose by them") {
    constexpr std::size_t kEndpoints = 3;
    EndpointState states[kEndpoints];
    EndpointSet set;
    for (EndpointState& state : states) {
      set.endpoints.push_back({.address = "e", .state = &state});
      ++set.total_weight;
    }
    race([&](std::uint32_t thread) {
      Rng rng{thread};
      BalanceCursor cursor;
      std::vector<EndpointPermit> held;
      std::optional<EndpointId> previous;
      for (int i = 0; i < 20'000; ++i) {
        const Balance balance = i % 2 == 0 ? Balance::least_request : Balance::round_robin;
        const EndpointId chosen = *choose(set, {.balance = balance, .avoided = previous, .key = {}}, cursor, rng,
                                          [](EndpointId) { return true; });
        EndpointPermit permit = states[index(chosen)].enter();
        if (i % 5 == 0) {
          held.push_back(std::move(permit));
        } else if (!held.empty() && i % 3 == 0) {
          held.pop_back();
        }
        previous = chosen;
      }
    });
    for (const EndpointState& state : states) CHECK(state.in_flight == 0);
  }

  TEST_CASE("permits given back on other threads leave nothing behind") {
    EndpointState state;
    std::vector<std::vector<EndpointPermit>> held(kThreads);
    race([&](std::uint32_t thread) {
      for (int i = 0; i < 1000; ++i) held[thread].push_back(state.enter());
    });
    CHECK(state.in_flight == 1000 * static_cast<int>(kThreads));
    race([&](std::uint32_t thread) { held[(thread + 1) % kThreads].clear(); });
    CHECK(state.in_flight == 0);
  }
}
