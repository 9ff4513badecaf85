#include <array>
#include <atomic>
#include <deque>
#include <thread>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "proxy/base/rng.hpp"
#include "proxy/policy/priority_gate.hpp"
#include "tests/race/crowd.hpp"
#include "tests/race/threads.hpp"

using namespace outrigger;
using namespace outrigger::policy;
using namespace outrigger::test;

namespace {

constexpr int kRounds = 20'000;
constexpr PriorityThresholds kShares{{0.5, 0.8, 1}};
using State = GateWaiter::State;

/// Counts what each waiter's owner was told, by slot.
struct Told final : Wakeups {
  explicit Told(std::size_t slots) : count(slots) {}
  void wake(const Ticket& ticket) noexcept override { count[ticket.slot].fetch_add(1); }
  std::vector<std::atomic<std::uint32_t>> count;
};

/// Gives a place back that is counted beside the gate: the count is above the true number never, below for an instant.
void give_back(Crowd& crowd, GatePermit permit) {
  crowd.leave();
  permit.release();
}

Priority any_priority(Rng& rng) { return static_cast<Priority>(rng.below(kPriorities)); }

}  // namespace

TEST_SUITE("race") {
  TEST_CASE("no level is ever above its limit, however many ask at once") {
    for (const Priority priority : {Priority::low, Priority::standard, Priority::critical}) {
      const GateLevels levels = gate_levels(10, kShares, 0);
      Told told{1};
      PriorityGate gate{told};
      Crowd crowd;
      race([&](std::uint32_t thread) {
        Rng rng{thread};
        std::vector<GatePermit> held;
        for (int i = 0; i < kRounds; ++i) {
          if (GateAdmission admission = gate.admit(levels, priority, nullptr); admission.permit) {
            crowd.enter();
            held.push_back(std::move(admission.permit));
          }
          if (held.size() > 3 || (!held.empty() && rng.below(2) == 0)) {
            give_back(crowd, std::move(held.back()));
            held.pop_back();
          }
        }
        while (!held.empty()) {
          give_back(crowd, std::move(held.back()));
          held.pop_back();
        }
      });
      CHECK(crowd.most.load() <= static_cast<int>(levels.limits[index(priority)]));
      CHECK(crowd.most.load() > 0);
      CHECK(gate.in_flight() == 0);
    }
  }

  TEST_CASE("every place is taken and none over the limit while many wait, leave and are dropped") {
    const GateLevels levels = gate_levels(3, kShares, 4);
    Told told{kThreads};
    PriorityGate gate{told};
    Crowd crowd;
    std::array<std::atomic<int>, 3> outcomes{};  // of waits: granted, dropped, left
    race([&](std::uint32_t thread) {
      Rng rng{thread};
      GateWaiter waiter{Ticket{.worker = thread, .slot = thread, .generation = 1}};
      for (int i = 0; i < kRounds; ++i) {
        GateAdmission admission = gate.admit(levels, any_priority(rng), &waiter);
        if (admission.answer == GateAnswer::waiting) {
          for (std::uint64_t patience = rng.below(50); patience > 0 && waiter.state() == State::waiting; --patience) {
            std::this_thread::yield();
          }
          const bool dropped = waiter.state() == State::dropped;
          admission.permit = gate.leave(waiter);
          outcomes[admission.permit ? 0 : dropped ? 1 : 2].fetch_add(1);
        }
        if (!admission.permit) continue;
        crowd.enter();
        if (rng.below(4) == 0) std::this_thread::yield();
        give_back(crowd, std::move(admission.permit));
      }
    });
    CHECK(crowd.most.load() <= 3);
    CHECK(gate.in_flight() == 0);
    CHECK(gate.queued() == 0);
    CHECK(outcomes[0].load() > 0);
  }

  TEST_CASE("nobody is left waiting beside a free place: without patience's end all are served") {
    // More threads' worth of waiters than places, and nobody ever leaves: one lost hand-over would hang the test.
    for (const std::uint32_t capacity : {1u, 2u, 5u}) {
      const GateLevels levels = gate_levels(capacity, kShares, 1000);
      Told told{kThreads};
      PriorityGate gate{told};
      std::atomic<int> served{0};
      std::atomic<std::uint32_t> waits{0};
      race([&](std::uint32_t thread) {
        Rng rng{thread};
        GateWaiter waiter{Ticket{.worker = thread, .slot = thread, .generation = 1}};
        for (int i = 0; i < kRounds / 4; ++i) {
          GateAdmission admission = gate.admit(levels, any_priority(rng), &waiter);
          if (admission.answer == GateAnswer::waiting) {
            waits.fetch_add(1);
            while (waiter.state() == State::waiting) std::this_thread::yield();
            admission.permit = gate.leave(waiter);
          }
          if (admission.permit) served.fetch_add(1);
          if (rng.below(4) == 0) std::this_thread::yield();
        }
      });
      CHECK(served.load() == kRounds / 4 * static_cast<int>(kThreads));
      CHECK(gate.in_flight() == 0);
      CHECK(gate.queued() == 0);
      std::uint32_t woken = 0;
      for (const auto& count : told.count) woken += count.load();
      CHECK(woken == waits.load());
    }
  }

  TEST_CASE("levels that rise and fall meanwhile lose nobody and hold nothing at the end") {
    Told told{kThreads};
    PriorityGate gate{told};
    std::atomic<std::uint32_t> capacity{4};
    std::atomic<std::uint32_t> busy{kThreads - 1};
    race([&](std::uint32_t thread) {
      Rng rng{thread};
      if (thread == 0) {
        while (busy.load() != 0) {
          capacity.store(static_cast<std::uint32_t>(1 + rng.below(6)));
          gate.raise(gate_levels(capacity.load(), kShares, 8));
          std::this_thread::yield();
        }
        return;
      }
      GateWaiter waiter{Ticket{.worker = thread, .slot = thread, .generation = 1}};
      for (int i = 0; i < kRounds / 4; ++i) {
        const GateLevels levels = gate_levels(capacity.load(), kShares, 8);
        GateAdmission admission = gate.admit(levels, any_priority(rng), &waiter);
        if (admission.answer == GateAnswer::waiting) {
          while (waiter.state() == State::waiting) std::this_thread::yield();
          admission.permit = gate.leave(waiter);
        }
        if (rng.below(4) == 0) std::this_thread::yield();
      }
      busy.fetch_sub(1);
    });
    CHECK(gate.in_flight() == 0);
    CHECK(gate.queued() == 0);
  }

  TEST_CASE("waiters that are destroyed while others hand places on leave nothing behind") {
    const GateLevels levels = gate_levels(2, kShares, 100);
    Told told{kThreads};
    PriorityGate gate{told};
    race([&](std::uint32_t thread) {
      Rng rng{thread};
      for (int i = 0; i < kRounds; ++i) {
        GateWaiter first{Ticket{.worker = thread, .slot = thread, .generation = 1}};
        GateWaiter second{Ticket{.worker = thread, .slot = thread, .generation = 2}};
        const GateAdmission one = gate.admit(levels, any_priority(rng), &first);
        const GateAdmission other = gate.admit(levels, any_priority(rng), &second);
        if (rng.below(8) == 0) std::this_thread::yield();
      }
    });
    CHECK(gate.in_flight() == 0);
    CHECK(gate.queued() == 0);
  }

  TEST_CASE("at rest a waiting level's limit is reached, whatever came before") {
    const GateLevels levels = gate_levels(4, kShares, 40);
    Told told{1};
    PriorityGate gate{told};
    for (std::uint64_t round = 0; round < 200; ++round) {
      std::vector<std::deque<GateWaiter>> waiters(kThreads);
      std::vector<std::vector<GatePermit>> held(kThreads);
      race([&](std::uint32_t thread) {
        Rng rng{round * kThreads + thread};
        for (int i = 0; i < 30; ++i) {
          GateWaiter& waiter = waiters[thread].emplace_back();
          GateAdmission admission = gate.admit(levels, any_priority(rng), &waiter);
          if (admission.permit) held[thread].push_back(std::move(admission.permit));
          if (rng.below(3) == 0 && !held[thread].empty()) held[thread].pop_back();
          if (rng.below(3) == 0) {
            if (GatePermit permit = gate.leave(waiters[thread][rng.below(waiters[thread].size())])) {
              held[thread].push_back(std::move(permit));
            }
          }
        }
      });
      for (std::size_t level = 0; level < kPriorities; ++level) {
        if (gate.queued(static_cast<Priority>(level)) > 0) REQUIRE(gate.in_flight() >= levels.limits[level]);
      }
      REQUIRE(gate.in_flight() <= 4);
    }
    CHECK(gate.in_flight() == 0);
    CHECK(gate.queued() == 0);
  }
}
