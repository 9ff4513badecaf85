#include "proxy/policy/priority_gate.hpp"

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "proxy/base/rng.hpp"

using namespace outrigger;
using namespace outrigger::policy;

namespace {

constexpr Priority kLow = Priority::low;
constexpr Priority kStandard = Priority::standard;
constexpr Priority kCritical = Priority::critical;
using State = GateWaiter::State;

struct Heard final : Wakeups {
  void wake(const Ticket& ticket) noexcept override {
    slots.push_back(ticket.slot);
    if (const auto once = std::exchange(then, nullptr)) once();
  }
  std::vector<std::uint32_t> slots;
  std::function<void()> then;
};

GateLevels levels(std::uint32_t capacity, std::uint32_t max_queue = 0, PriorityThresholds thresholds = {}) {
  return gate_levels(capacity, thresholds, max_queue);
}
constexpr PriorityThresholds kShares{{0.5, 0.8, 1}};

/// A gate, the permits taken from it, and waiters with their slots as names.
struct Asked {
  explicit Asked(const GateLevels& given) : levels(given) {}

  GateAnswer take(Priority priority = kStandard) {
    GateAdmission admission = gate.admit(levels, priority, nullptr);
    CHECK((admission.answer == GateAnswer::admitted) == static_cast<bool>(admission.permit));
    if (admission.permit) permits.push_back(std::move(admission.permit));
    return admission.answer;
  }
  int take_all(Priority priority) {
    int taken = 0;
    while (take(priority) == GateAnswer::admitted) ++taken;
    return taken;
  }
  GateAnswer wait(GateWaiter& waiter, Priority priority = kStandard) {
    GateAdmission admission = gate.admit(levels, priority, &waiter);
    if (admission.permit) permits.push_back(std::move(admission.permit));
    return admission.answer;
  }
  void give_back(int count = 1) {
    for (int i = 0; i < count; ++i) permits.pop_back();
  }

  Heard heard;
  GateLevels levels;
  PriorityGate gate{heard};
  std::vector<GatePermit> permits;
};

GateWaiter named(std::uint32_t slot) { return GateWaiter{Ticket{.worker = 0, .slot = slot, .generation = 1}}; }

}  // namespace

TEST_SUITE("policy") {
  TEST_CASE("a level's limit is the smallest number of places that reaches its share") {
    struct Row {
      std::uint32_t capacity;
      double fraction;
      std::uint32_t limit;
    };
    for (const Row& row : {Row{10, 0.5, 5}, Row{10, 0.8, 8}, Row{10, 1, 10}, Row{20, 0.5, 10}, Row{20, 0.8, 16},
                           Row{3, 0.5, 2}, Row{100, 0.07, 7}, Row{50, 0.14, 7}, Row{1, 0.01, 1}, Row{1, 0.5, 1},
                           Row{7, 0, 0}, Row{100'000, 1, 100'000}, Row{100'000, 0.00001, 1}, Row{3, 1.0 / 3, 1}}) {
      CAPTURE(row.capacity);
      CAPTURE(row.fraction);
      CHECK(levels(row.capacity, 0, {{row.fraction, 1, 1}}).limits[0] == row.limit);
    }
  }

  TEST_CASE("every level's limit agrees with asking for each place whether it is still below the share") {
    Rng rng{7};
    for (int i = 0; i < 20'000; ++i) {
      const auto capacity = static_cast<std::uint32_t>(1 + rng.below(300));
      const double fraction = static_cast<double>(1 + rng.below(100)) / 100;
      std::uint32_t places = 0;
      while (places / static_cast<double>(capacity) < fraction) ++places;
      REQUIRE(levels(capacity, 0, {{fraction, 1, 1}}).limits[0] == places);
    }
  }

  TEST_CASE("ten places at 50, 80 and 100 % admit five of low, eight of standard, ten of critical priority") {
    Asked asked{levels(10, 0, kShares)};
    CHECK(asked.take_all(kLow) == 5);
    CHECK(asked.take(kLow) == GateAnswer::shed);
    CHECK(asked.take_all(kStandard) == 3);
    CHECK(asked.take(kStandard) == GateAnswer::shed);
    CHECK(asked.take_all(kCritical) == 2);
    CHECK(asked.gate.in_flight() == 10);
    for (const Priority priority : {kLow, kStandard, kCritical}) CHECK(asked.take(priority) == GateAnswer::full);
    asked.give_back(10);
    CHECK(asked.gate.in_flight() == 0);
  }

  TEST_CASE("asking without taking gives the same answer and changes nothing") {
    Asked asked{levels(2, 0, kShares)};
    CHECK(asked.gate.peek(asked.levels, kLow) == GateAnswer::admitted);
    CHECK(asked.take(kLow) == GateAnswer::admitted);
    CHECK(asked.gate.peek(asked.levels, kLow) == GateAnswer::shed);
    CHECK(asked.take(kCritical) == GateAnswer::admitted);
    CHECK(asked.gate.peek(asked.levels, kCritical) == GateAnswer::full);
    CHECK(asked.gate.in_flight() == 2);
  }

  TEST_CASE("a permit gives its place back once, however it is moved") {
    Asked asked{levels(3)};
    asked.take();
    asked.take();
    GatePermit one = std::move(asked.permits[0]);
    GatePermit other = std::move(asked.permits[1]);
    asked.permits.clear();
    CHECK(asked.gate.in_flight() == 2);
    one = std::move(other);
    CHECK(asked.gate.in_flight() == 1);
    one.release();
    one.release();
    CHECK(asked.gate.in_flight() == 0);
  }

  TEST_CASE("a place given back is handed to the one who waits, before any arrival of its level or a lower one") {
    Asked asked{levels(1, 5)};
    GateWaiter waiter = named(7);
    asked.take();
    CHECK(asked.wait(waiter) == GateAnswer::waiting);
    CHECK(waiter.state() == State::waiting);
    CHECK(asked.gate.queued() == 1);
    asked.give_back();
    CHECK(waiter.state() == State::granted);
    CHECK(asked.heard.slots == std::vector<std::uint32_t>{7});
    CHECK(asked.gate.in_flight() == 1);
    CHECK(asked.gate.queued() == 0);
    CHECK(asked.take() == GateAnswer::full);
    {
      const GatePermit permit = asked.gate.leave(waiter);
      CHECK(permit);
      CHECK(waiter.state() == State::idle);
    }
    CHECK(asked.gate.in_flight() == 0);
  }

  TEST_CASE("waiters are served by priority, then in order of arrival") {
    Asked asked{levels(1, 10)};
    asked.take();
    std::deque<GateWaiter> waiters;
    std::vector<Priority> priorities{kLow, kStandard, kCritical, kStandard, kLow, kCritical};
    for (std::uint32_t i = 0; i < priorities.size(); ++i) {
      waiters.emplace_back(Ticket{.worker = 0, .slot = i, .generation = 1});
      CHECK(asked.wait(waiters.back(), priorities[i]) == GateAnswer::waiting);
    }
    CHECK(asked.gate.queued(kLow) == 2);
    CHECK(asked.gate.queued(kStandard) == 2);
    CHECK(asked.gate.queued(kCritical) == 2);
    asked.give_back();
    for (std::uint32_t i : {2u, 5u, 1u, 3u, 0u, 4u}) {
      CHECK(asked.heard.slots.back() == i);
      CHECK(asked.gate.leave(waiters[i]));
    }
    CHECK(asked.heard.slots.size() == 6);
    CHECK(asked.gate.in_flight() == 0);
  }

  TEST_CASE("a waiter gets a freed place only when its own level's limit admits it") {
    Asked asked{levels(10, 10, kShares)};
    CHECK(asked.take_all(kCritical) == 10);
    GateWaiter low = named(1);
    GateWaiter standard = named(2);
    CHECK(asked.wait(low, kLow) == GateAnswer::waiting);
    CHECK(asked.wait(standard, kStandard) == GateAnswer::waiting);
    asked.give_back(2);
    CHECK(standard.state() == State::waiting);
    asked.give_back();
    CHECK(standard.state() == State::granted);
    CHECK(asked.gate.in_flight() == 8);
    asked.give_back(3);
    CHECK(low.state() == State::waiting);
    CHECK(asked.gate.in_flight() == 5);
    asked.give_back();
    CHECK(low.state() == State::granted);
    CHECK(asked.gate.in_flight() == 5);
  }

  TEST_CASE("an arrival passes those of lower levels who wait, and none of its own") {
    Asked asked{levels(10, 10, kShares)};
    CHECK(asked.take_all(kStandard) == 8);
    GateWaiter low = named(1);
    GateWaiter standard = named(2);
    CHECK(asked.wait(low, kLow) == GateAnswer::waiting);
    CHECK(asked.wait(standard, kStandard) == GateAnswer::waiting);
    CHECK(asked.take(kCritical) == GateAnswer::admitted);
    CHECK(asked.take(kStandard) == GateAnswer::shed);
    CHECK(asked.gate.in_flight() == 9);
  }

  TEST_CASE("a queue takes its bound and not one more, and answers full or shed as if there were none") {
    Asked asked{levels(2, 2, kShares)};
    GateWaiter first = named(1);
    GateWaiter second = named(2);
    GateWaiter third = named(3);
    asked.take(kLow);
    CHECK(asked.wait(first, kLow) == GateAnswer::waiting);
    CHECK(asked.wait(second, kLow) == GateAnswer::waiting);
    CHECK(asked.wait(third, kLow) == GateAnswer::shed);
    CHECK(third.state() == State::idle);
    CHECK(asked.take(kCritical) == GateAnswer::admitted);
    CHECK(asked.wait(third, kLow) == GateAnswer::full);
    CHECK(asked.gate.queued() == 2);
  }

  TEST_CASE("a full queue drops its newest waiter of the lowest level below the arrival's") {
    Asked asked{levels(1, 4)};
    asked.take();
    std::deque<GateWaiter> waiters;
    const auto add = [&](Priority priority) {
      waiters.emplace_back(Ticket{.worker = 0, .slot = static_cast<std::uint32_t>(waiters.size()), .generation = 1});
      return asked.wait(waiters.back(), priority);
    };
    for (const Priority priority : {kStandard, kLow, kLow, kStandard}) CHECK(add(priority) == GateAnswer::waiting);
    CHECK(add(kLow) == GateAnswer::full);
    CHECK(add(kStandard) == GateAnswer::waiting);
    CHECK(waiters[2].state() == State::dropped);
    CHECK(add(kCritical) == GateAnswer::waiting);
    CHECK(waiters[1].state() == State::dropped);
    CHECK(add(kStandard) == GateAnswer::full);
    CHECK(add(kCritical) == GateAnswer::waiting);
    CHECK(waiters[5].state() == State::dropped);
    CHECK(asked.heard.slots == std::vector<std::uint32_t>{2, 1, 5});
    CHECK(asked.gate.queued() == 4);
    CHECK_FALSE(asked.gate.leave(waiters[2]));
    CHECK(waiters[2].state() == State::idle);
    CHECK(asked.gate.queued() == 4);
  }

  TEST_CASE("without a queue nobody waits") {
    Asked asked{levels(1, 0)};
    GateWaiter waiter = named(1);
    asked.take();
    CHECK(asked.wait(waiter, kCritical) == GateAnswer::full);
    CHECK(waiter.state() == State::idle);
  }

  TEST_CASE("one who finds a place does not wait, even if it might") {
    Asked asked{levels(1, 1)};
    GateWaiter waiter = named(1);
    CHECK(asked.wait(waiter) == GateAnswer::admitted);
    CHECK(waiter.state() == State::idle);
    CHECK(asked.gate.in_flight() == 1);
  }

  TEST_CASE("one who leaves the queue is passed over, and takes nothing along") {
    Asked asked{levels(1, 5)};
    asked.take();
    GateWaiter first = named(1);
    GateWaiter second = named(2);
    GateWaiter third = named(3);
    for (GateWaiter* waiter : {&first, &second, &third}) CHECK(asked.wait(*waiter) == GateAnswer::waiting);
    CHECK_FALSE(asked.gate.leave(second));
    CHECK(asked.gate.queued() == 2);
    asked.give_back();
    CHECK(asked.gate.leave(first));
    CHECK(third.state() == State::granted);
    CHECK(asked.gate.leave(third));
    CHECK(asked.gate.in_flight() == 0);
    CHECK(asked.gate.queued() == 0);
  }

  TEST_CASE("a place handed over to one who leaves in the same moment is not lost") {
    Asked asked{levels(1, 5)};
    asked.take();
    GateWaiter first = named(1);
    GateWaiter second = named(2);
    asked.wait(first);
    asked.wait(second);
    asked.give_back();
    CHECK(first.state() == State::granted);
    CHECK(asked.gate.leave(first));
    CHECK(second.state() == State::granted);
  }

  TEST_CASE("a waiter that is destroyed leaves the queue, and gives back what it was handed") {
    Asked asked{levels(1, 5)};
    asked.take();
    GateWaiter last = named(3);
    {
      GateWaiter first = named(1);
      GateWaiter second = named(2);
      asked.wait(first);
      asked.wait(second);
      asked.wait(last);
      CHECK(asked.gate.queued() == 3);
      asked.give_back();
      CHECK(first.state() == State::granted);
    }
    CHECK(last.state() == State::granted);
    CHECK(asked.gate.leave(last));
    CHECK(asked.gate.in_flight() == 0);
    CHECK(asked.gate.queued() == 0);
  }

  TEST_CASE("a waiter may wait again after it has left, in a gate of its choice") {
    Asked one{levels(1, 1)};
    Asked other{levels(1, 1)};
    one.take();
    other.take();
    GateWaiter waiter = named(1);
    CHECK(one.wait(waiter) == GateAnswer::waiting);
    CHECK_FALSE(one.gate.leave(waiter));
    CHECK(other.wait(waiter) == GateAnswer::waiting);
    one.give_back();
    CHECK(waiter.state() == State::waiting);
    other.give_back();
    CHECK(waiter.state() == State::granted);
  }

  TEST_CASE("a wake-up comes after the lock: who is woken may ask at once") {
    Asked asked{levels(1, 2)};
    asked.take();
    GateWaiter waiter = named(1);
    asked.wait(waiter);
    GateWaiter again = named(2);
    asked.heard.then = [&] {
      CHECK(waiter.state() == State::granted);
      CHECK(asked.wait(again) == GateAnswer::waiting);
      CHECK(asked.gate.leave(waiter));
    };
    asked.give_back();
    CHECK(again.state() == State::granted);
  }

  TEST_CASE("raised levels admit at once as many waiters as they fit, the most important first") {
    Asked asked{levels(2, 10, kShares)};
    CHECK(asked.take_all(kCritical) == 2);
    std::deque<GateWaiter> waiters;
    for (const Priority priority : {kLow, kLow, kStandard, kCritical}) {
      waiters.emplace_back(Ticket{.worker = 0, .slot = static_cast<std::uint32_t>(waiters.size()), .generation = 1});
      CHECK(asked.wait(waiters.back(), priority) == GateAnswer::waiting);
    }
    asked.gate.raise(levels(5, 10, kShares));  // low 3, standard 4, critical 5
    CHECK(asked.heard.slots == std::vector<std::uint32_t>{3, 2});
    CHECK(asked.gate.in_flight() == 4);
    asked.gate.raise(levels(12, 10, kShares));
    CHECK(asked.heard.slots == std::vector<std::uint32_t>{3, 2, 0, 1});
    CHECK(asked.gate.queued() == 0);
  }

  TEST_CASE("after a reload what is in flight counts against the new capacity, larger or smaller") {
    Asked asked{levels(10)};
    CHECK(asked.take_all(kStandard) == 10);
    asked.levels = levels(12);
    CHECK(asked.take_all(kStandard) == 2);
    asked.levels = levels(4);
    CHECK(asked.take() == GateAnswer::full);
    asked.give_back(8);
    CHECK(asked.gate.in_flight() == 4);
    CHECK(asked.take() == GateAnswer::full);
    asked.give_back();
    CHECK(asked.take() == GateAnswer::admitted);
    CHECK(asked.take() == GateAnswer::full);
  }

  TEST_CASE("after a reload waiters are judged by the numbers of the newest arrival") {
    Asked asked{levels(3, 10)};
    CHECK(asked.take_all(kStandard) == 3);
    GateWaiter first = named(1);
    GateWaiter second = named(2);
    CHECK(asked.wait(first) == GateAnswer::waiting);
    asked.levels = levels(1, 10);
    CHECK(asked.wait(second) == GateAnswer::waiting);
    asked.give_back(2);
    CHECK(first.state() == State::waiting);
    asked.give_back();
    CHECK(first.state() == State::granted);
    CHECK(second.state() == State::waiting);
    asked.levels = levels(3, 10);
    GateWaiter third = named(3);
    GateWaiter fourth = named(4);
    CHECK(asked.wait(third) == GateAnswer::waiting);  // behind the second, and both fit now
    CHECK(second.state() == State::granted);
    CHECK(third.state() == State::granted);
    CHECK(asked.wait(fourth) == GateAnswer::waiting);
    CHECK(asked.gate.in_flight() == 3);
  }

  TEST_CASE("the largest capacity and the longest queue fit the word beside each other") {
    Asked asked{levels(1'000'000, 1'000'000)};
    CHECK(asked.levels.capacity == kMaxGateCapacity);
    CHECK(asked.levels.max_queue == kMaxGateQueue);
    CHECK(asked.take_all(kCritical) == static_cast<int>(kMaxGateCapacity));
    std::deque<GateWaiter> waiters;
    for (std::uint32_t i = 0; i < kMaxGateQueue; ++i) {
      waiters.emplace_back(Ticket{});
      REQUIRE(asked.wait(waiters.back(), kLow) == GateAnswer::waiting);
    }
    GateWaiter one_more;
    CHECK(asked.wait(one_more, kLow) == GateAnswer::full);
    CHECK(asked.wait(one_more, kCritical) == GateAnswer::waiting);
    CHECK(asked.gate.queued() == kMaxGateQueue);
    CHECK(asked.gate.queued(kCritical) == 1);
    CHECK(asked.gate.in_flight() == kMaxGateCapacity);
    waiters.clear();
    CHECK(asked.gate.queued() == 1);
  }

  TEST_CASE("after ten thousand waits of which many leave at random nothing is held and nobody waits") {
    Rng rng{11};
    Asked asked{levels(5, 20, kShares)};
    std::vector<std::unique_ptr<GateWaiter>> waiters;
    const auto least_in_flight_of_waiting = [&] {
      for (std::size_t level = 0; level < kPriorities; ++level) {
        if (asked.gate.queued(static_cast<Priority>(level)) == 0) continue;
        if (asked.gate.in_flight() < asked.levels.limits[level]) return false;
      }
      return true;
    };
    for (int i = 0; i < 10'000; ++i) {
      const auto priority = static_cast<Priority>(rng.below(kPriorities));
      if (rng.below(2) == 0) {
        auto waiter = std::make_unique<GateWaiter>();
        if (asked.wait(*waiter, priority) == GateAnswer::waiting) waiters.push_back(std::move(waiter));
      } else if (!waiters.empty() && rng.below(2) == 0) {
        std::swap(waiters[rng.below(waiters.size())], waiters.back());
        if (GatePermit permit = asked.gate.leave(*waiters.back())) asked.permits.push_back(std::move(permit));
        waiters.pop_back();
      } else if (!asked.permits.empty()) {
        asked.give_back();
      }
      REQUIRE(asked.gate.in_flight() <= 5);
      REQUIRE(asked.gate.queued() <= 20);
      REQUIRE(least_in_flight_of_waiting());
    }
    asked.permits.clear();
    waiters.clear();
    CHECK(asked.gate.in_flight() == 0);
    CHECK(asked.gate.queued() == 0);
  }
}
