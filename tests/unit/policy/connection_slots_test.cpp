#include "proxy/policy/connection_slots.hpp"

#include <array>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace outrigger;
using namespace outrigger::policy;
using namespace std::chrono_literals;

namespace {

using State = SlotWaiter::State;

constexpr TimePoint kNow{1h};

class Woken final : public Wakeups {
 public:
  void wake(const Ticket& ticket) noexcept override { slots.push_back(ticket.slot); }
  std::vector<std::uint32_t> slots;
};

struct Pool {
  explicit Pool(std::size_t count, std::int64_t most = 1, std::uint32_t max_pending = 10) : limit(most) {
    for (std::size_t i = 0; i < count; ++i) {
      states[i].slots = &slots;
      set.endpoints.push_back({.address = std::to_string(i), .state = &states[i]});
    }
    slots.set_limit(limit);
    question = {.set = &set, .max_pending = max_pending};
  }
  ~Pool() {
    CHECK(slots.queued() == 0);
    for (const EndpointState& state : states) CHECK(state.in_flight == 0);
  }
  State wait(SlotWaiter& waiter, Priority priority = Priority::standard, TimePoint now = kNow) {
    SlotQuestion asked = question;
    asked.priority = priority;
    return slots.wait(waiter, asked, now);
  }
  EndpointPermit take(std::size_t endpoint) { return states[endpoint].try_enter(limit); }

  std::int64_t limit;

  Woken woken;
  ConnectionSlots slots{woken};
  std::array<EndpointState, 3> states;
  EndpointSet set;
  SlotQuestion question;
};

Ticket ticket(std::uint32_t slot) { return {.worker = 0, .slot = slot, .generation = 0}; }

}  // namespace

TEST_SUITE("policy") {
  TEST_CASE("an endpoint has as many slots as its limit says and not one more") {
    Pool pool(1, 2);
    EndpointPermit first = pool.take(0);
    EndpointPermit second = pool.take(0);
    CHECK(first);
    CHECK(second);
    CHECK_FALSE(pool.take(0));
    second.release();
    CHECK(pool.take(0));
  }

  TEST_CASE("who waits is given the slot that comes free, and nobody overtakes him") {
    Pool pool(2);
    EndpointPermit a = pool.take(0);
    EndpointPermit b = pool.take(1);
    SlotWaiter waiter(ticket(7));
    REQUIRE(pool.wait(waiter) == State::waiting);
    CHECK(pool.slots.stands_back(Priority::standard));
    CHECK(pool.slots.stands_back(Priority::low));
    CHECK_FALSE(pool.slots.stands_back(Priority::critical));
    b.release();
    CHECK(waiter.state() == State::granted);
    CHECK(pool.woken.slots == std::vector<std::uint32_t>{7});
    CHECK_FALSE(pool.take(1));
    CHECK_FALSE(pool.slots.stands_back(Priority::low));
    const auto slot = pool.slots.leave(waiter);
    REQUIRE(slot);
    CHECK(slot->endpoint == EndpointId{1});
  }

  TEST_CASE("a slot that is free already is given at once") {
    Pool pool(2);
    EndpointPermit a = pool.take(0);
    SlotWaiter waiter(ticket(1));
    CHECK(pool.wait(waiter) == State::granted);
    CHECK(pool.slots.leave(waiter)->endpoint == EndpointId{1});
  }

  TEST_CASE("the more important are served first, then those who came first") {
    Pool pool(1);
    EndpointPermit held = pool.take(0);
    std::deque<SlotWaiter> waiters;
    const std::vector<Priority> arrivals = {Priority::low, Priority::standard, Priority::critical, Priority::standard,
                                            Priority::low};
    for (std::uint32_t i = 0; i < arrivals.size(); ++i) {
      REQUIRE(pool.wait(waiters.emplace_back(ticket(i)), arrivals[i]) == State::waiting);
    }
    CHECK(pool.slots.queued() == 5);
    CHECK(pool.slots.queued(Priority::low) == 2);
    held.release();
    for (const std::uint32_t next : {2u, 1u, 3u, 0u, 4u}) {
      CHECK(pool.woken.slots.back() == next);
      CHECK(pool.slots.leave(waiters[next]));  // and gives it back
    }
  }

  TEST_CASE("a full queue drops its newest of the lowest level below the arrival's, else the arrival") {
    Pool pool(1, 1, 2);
    EndpointPermit held = pool.take(0);
    SlotWaiter first(ticket(1)), second(ticket(2)), same(ticket(3)), more(ticket(4));
    REQUIRE(pool.wait(first, Priority::low) == State::waiting);
    REQUIRE(pool.wait(second, Priority::low) == State::waiting);
    CHECK(pool.wait(same, Priority::low) == State::idle);
    CHECK(pool.wait(more, Priority::standard) == State::waiting);
    CHECK(first.state() == State::waiting);
    CHECK(second.state() == State::dropped);
    CHECK(pool.woken.slots == std::vector<std::uint32_t>{2});
    CHECK(pool.slots.queued() == 2);
    for (SlotWaiter* waiter : {&first, &second, &more}) CHECK_FALSE(pool.slots.leave(*waiter));
  }

  TEST_CASE("without a queue nobody waits, whatever the priority") {
    Pool pool(1, 1, 0);
    EndpointPermit held = pool.take(0);
    SlotWaiter waiter;
    CHECK(pool.wait(waiter, Priority::critical) == State::idle);
  }

  TEST_CASE("a waiter that goes leaves the queue, and a slot that it has been given goes to the next") {
    Pool pool(1);
    EndpointPermit held = pool.take(0);
    SlotWaiter next(ticket(2));
    {
      SlotWaiter leaves(ticket(0));
      REQUIRE(pool.wait(leaves) == State::waiting);
    }
    CHECK(pool.slots.queued() == 0);
    {
      SlotWaiter granted(ticket(1));
      REQUIRE(pool.wait(granted) == State::waiting);
      REQUIRE(pool.wait(next) == State::waiting);
      held.release();
      REQUIRE(granted.state() == State::granted);
      CHECK(next.state() == State::waiting);
    }
    CHECK(next.state() == State::granted);
    CHECK(pool.slots.leave(next));
  }

  TEST_CASE("a slot of an endpoint that is out of service is not handed out until it is back") {
    Pool pool(2);
    EndpointPermit a = pool.take(0);
    EndpointPermit b = pool.take(1);
    pool.states[1].ejected_until_ns = (kNow + 10s).time_since_epoch().count();
    SlotWaiter waiter(ticket(1));
    REQUIRE(pool.wait(waiter) == State::waiting);
    b.release();
    CHECK(waiter.state() == State::waiting);
    pool.slots.offer(pool.set, kNow + 10s - 1ns);
    CHECK(waiter.state() == State::waiting);
    pool.slots.offer(pool.set, kNow + 10s);
    CHECK(waiter.state() == State::granted);
    CHECK(pool.slots.leave(waiter)->endpoint == EndpointId{1});
  }

  TEST_CASE("with no usable endpoint all of them serve, unless that is not wanted") {
    for (const bool panic : {true, false}) {
      Pool pool(2);
      pool.question.panic = panic;
      EndpointPermit a = pool.take(0);
      EndpointPermit b = pool.take(1);
      pool.states[0].healthy = pool.states[1].healthy = false;
      SlotWaiter waiter(ticket(1));
      REQUIRE(pool.wait(waiter) == State::waiting);
      a.release();
      CHECK((waiter.state() == State::granted) == panic);
      CHECK(pool.slots.leave(waiter).has_value() == panic);
    }
  }

  TEST_CASE("an endpoint that the waiter refuses goes to the next who does not") {
    Pool pool(2);
    EndpointPermit a = pool.take(0);
    EndpointPermit b = pool.take(1);
    std::set<EndpointId> refused = {EndpointId{0}};
    SlotQuestion choosy = pool.question;
    choosy.who = &refused;
    choosy.refuses = [](const void* who, EndpointId id, TimePoint) noexcept {
      return static_cast<const std::set<EndpointId>*>(who)->contains(id);
    };
    SlotWaiter first(ticket(1)), second(ticket(2));
    REQUIRE(pool.slots.wait(first, choosy, kNow) == State::waiting);
    REQUIRE(pool.wait(second) == State::waiting);
    a.release();
    CHECK(first.state() == State::waiting);
    CHECK(second.state() == State::granted);
    static_cast<void>(pool.slots.leave(second));  // the endpoint is free, and still not wanted
    CHECK(first.state() == State::waiting);
    refused.clear();
    pool.slots.offer(pool.set, kNow);
    CHECK(first.state() == State::granted);
    CHECK(pool.slots.leave(first));
  }

  TEST_CASE("an arrival takes what is free and of no use to those who wait, however full the queue is") {
    Pool pool(2, 1, 1);
    EndpointSet older;
    older.endpoints.push_back(pool.set.endpoints[0]);
    EndpointPermit a = pool.take(0);
    SlotQuestion question = pool.question;
    question.set = &older;
    SlotWaiter stuck(ticket(1)), arrival(ticket(2)), late(ticket(3));
    REQUIRE(pool.slots.wait(stuck, question, kNow) == State::waiting);
    REQUIRE(pool.wait(arrival) == State::granted);
    CHECK(pool.wait(late) == State::idle);
    CHECK(pool.slots.queued() == 1);
    CHECK(pool.slots.leave(arrival)->endpoint == EndpointId{1});
    CHECK_FALSE(pool.slots.leave(stuck));
  }

  TEST_CASE("who was given a slot and gave it back waits again in its old place") {
    Pool pool(1, 1, 2);
    EndpointPermit held = pool.take(0);
    SlotWaiter first(ticket(1)), second(ticket(2)), third(ticket(3));
    REQUIRE(pool.wait(first) == State::waiting);
    REQUIRE(pool.wait(second) == State::waiting);
    held.release();
    REQUIRE(first.state() == State::granted);
    auto given = pool.slots.leave(first);
    REQUIRE(pool.wait(third) == State::waiting);
    REQUIRE(pool.wait(first) == State::waiting);  // and the newest is one too many
    CHECK(third.state() == State::dropped);
    given->permit.release();
    CHECK(first.state() == State::granted);
    CHECK(pool.slots.leave(first));
    CHECK(second.state() == State::granted);
    for (SlotWaiter* waiter : {&second, &third}) static_cast<void>(pool.slots.leave(*waiter));
  }

  TEST_CASE("who waits since before a reload is served by the new limit, raised or lowered") {
    Pool pool(1, 2);
    EndpointPermit a = pool.take(0);
    EndpointPermit b = pool.take(0);
    SlotWaiter first(ticket(1)), second(ticket(2));
    REQUIRE(pool.wait(first) == State::waiting);
    REQUIRE(pool.wait(second) == State::waiting);
    pool.slots.set_limit(3);
    pool.slots.offer(pool.set, kNow);
    CHECK(first.state() == State::granted);
    CHECK(second.state() == State::waiting);
    pool.slots.set_limit(1);
    a.release();
    b.release();
    CHECK(second.state() == State::waiting);
    CHECK(pool.slots.leave(first));
    CHECK(second.state() == State::granted);
    CHECK(pool.slots.leave(second));
  }

  TEST_CASE("a waiter of another configuration is given endpoints of its own only") {
    Pool pool(3);
    EndpointSet older;
    older.endpoints.push_back(pool.set.endpoints[2]);
    EndpointPermit a = pool.take(0);
    EndpointPermit c = pool.take(2);
    SlotQuestion question = pool.question;
    question.set = &older;
    SlotWaiter waiter(ticket(1));
    REQUIRE(pool.slots.wait(waiter, question, kNow) == State::waiting);
    a.release();
    CHECK(waiter.state() == State::waiting);
    c.release();
    REQUIRE(waiter.state() == State::granted);
    CHECK(pool.slots.leave(waiter)->endpoint == EndpointId{0});
  }
}
