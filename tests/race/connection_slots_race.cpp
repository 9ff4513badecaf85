#include <array>
#include <atomic>
#include <cstdint>
#include <optional>

#include <doctest/doctest.h>

#include "proxy/policy/connection_slots.hpp"
#include "tests/race/crowd.hpp"
#include "tests/race/threads.hpp"

using namespace outrigger;
using namespace outrigger::policy;
using namespace outrigger::test;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t kEndpoints = 2;
constexpr std::int64_t kLimit = 1;
constexpr TimePoint kNow{1h};

struct Count final : Wakeups {
  void wake(const Ticket& ticket) noexcept override { woken[ticket.worker].fetch_add(1); }
  std::array<std::atomic<std::uint64_t>, kThreads> woken{};
};

struct Pool {
  Pool() {
    slots.set_limit(kLimit);
    for (EndpointState& state : states) {
      state.slots = &slots;
      set.endpoints.push_back({.address = "e", .state = &state});
    }
  }
  /// As a request does it: looks, and joins the queue where it finds nothing.
  std::optional<Slot> take(SlotWaiter& waiter, Priority priority, bool stays) {
    if (!slots.stands_back(priority)) {
      for (std::size_t i = 0; i < kEndpoints; ++i) {
        EndpointPermit permit = states[i].try_enter(kLimit);
        if (permit) return Slot{static_cast<EndpointId>(i), std::move(permit)};
      }
    }
    slots.wait(waiter, {.set = &set, .max_pending = 2, .priority = priority}, kNow);
    // Whoever stays is served some time, or a wake-up was lost and this never ends.
    while (stays && waiter.state() == SlotWaiter::State::waiting) std::this_thread::yield();
    return slots.leave(waiter);
  }

  Count wakeups;
  ConnectionSlots slots{wakeups};
  EndpointState states[kEndpoints];
  EndpointSet set;
};

}  // namespace

TEST_SUITE("race") {
  TEST_CASE("no endpoint is used beyond its limit, every slot goes back once, and nobody waits beside a free one") {
    Pool pool;
    Crowd crowds[kEndpoints];
    std::atomic<std::uint64_t> served{0};
    race([&](std::uint32_t thread) {
      constexpr Priority kPriorityOf[] = {Priority::low, Priority::standard, Priority::critical};
      SlotWaiter waiter(Ticket{.worker = thread, .slot = 0, .generation = 0});
      for (std::uint32_t i = 0; i < 5000; ++i) {
        const std::optional<Slot> slot = pool.take(waiter, kPriorityOf[(i + thread) % 3], i % 7 != 0);
        if (!slot) continue;
        Crowd& crowd = crowds[index(slot->endpoint)];
        crowd.enter();
        if (i % 3 == 0) std::this_thread::yield();
        crowd.leave();
        served.fetch_add(1);
      }
    });
    for (const Crowd& crowd : crowds) CHECK(crowd.most <= kLimit);
    for (const EndpointState& state : pool.states) CHECK(state.in_flight == 0);
    CHECK(pool.slots.queued() == 0);
    CHECK(served > 1000);
  }

  TEST_CASE("slots are offered while they are taken, given back and waited for") {
    Pool pool;
    race([&](std::uint32_t thread) {
      SlotWaiter waiter(Ticket{.worker = thread, .slot = 0, .generation = 0});
      for (std::uint32_t i = 0; i < 3000; ++i) {
        if (thread != 0) {
          pool.take(waiter, Priority::standard, i % 2 == 0);
          continue;
        }
        pool.states[0].healthy.store(i % 2 == 0);
        pool.slots.offer(pool.set, kNow + i * 1ms);
      }
      if (thread == 0) pool.states[0].healthy.store(true);
    });
    for (const EndpointState& state : pool.states) CHECK(state.in_flight == 0);
    CHECK(pool.slots.queued() == 0);
  }
}
