#include "proxy/net/edge.hpp"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "proxy/net/exchange_driver.hpp"
#include "tests/support/allocations.hpp"
#include "tests/support/edge_rig.hpp"

using namespace outrigger;
using namespace outrigger::net;
using namespace outrigger::test;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t kSpare = 64;
const std::string kAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

std::string request(std::string_view id) {
  return "GET /a HTTP/1.1\r\nHost: h\r\nX-Request-Id: " + std::string(id) + "\r\n\r\n";
}

/// A request that has been served from end to end.
void serve_one(EdgeRig& rig, std::string_view id) {
  Peer client = rig.client_with(request(id));
  Peer upstream = rig.upstream();
  rig.head(upstream);
  upstream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
  CHECK(rig.get(client, "ok").starts_with("HTTP/1.1 200"));
  rig.settle();
  REQUIRE(rig.edge.in_flight() == 0);
}

/// The driver that the next request will have.
ExchangeDriver& next_driver(EdgeRig& rig) {
  ExchangeDriver& driver = rig.edge.take_driver();
  rig.edge.give_back(driver);
  return driver;
}

std::vector<ExchangeDriver*> take(EdgeRig& rig, std::size_t count) {
  std::vector<ExchangeDriver*> drivers;
  for (std::size_t i = 0; i < count; ++i) drivers.push_back(&rig.edge.take_driver());
  return drivers;
}
void give_back(EdgeRig& rig, const std::vector<ExchangeDriver*>& drivers) {
  for (ExchangeDriver* driver : drivers) rig.edge.give_back(*driver);
}

/// How many of the next `count` drivers have to be made.
std::size_t made_among(EdgeRig& rig, std::size_t count) {
  std::size_t made = 0;
  std::vector<ExchangeDriver*> drivers;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t before = allocations();
    ExchangeDriver& driver = rig.edge.take_driver();
    made += allocations() != before ? 1 : 0;
    drivers.push_back(&driver);
  }
  give_back(rig, drivers);
  return made;
}

TEST_SUITE("net") {
  TEST_CASE("every request has a ticket of its own, though driver and slot are the same") {
    EdgeRig rig;
    serve_one(rig, "one");
    ExchangeDriver& driver = next_driver(rig);
    std::vector<Ticket> tickets{driver.ticket()};
    for (int i = 0; i < 3; ++i) {
      serve_one(rig, "more");
      REQUIRE(&next_driver(rig) == &driver);
      tickets.push_back(driver.ticket());
    }
    for (std::size_t i = 1; i < tickets.size(); ++i) {
      CHECK(tickets[i].slot == tickets[0].slot);
      CHECK(tickets[i].worker == 0);
      CHECK(tickets[i].generation > tickets[i - 1].generation);
    }
  }

  TEST_CASE("a wake for a request that has ended or was never there wakes nobody") {
    EdgeRig rig;
    serve_one(rig, "gone");
    ExchangeDriver& driver = next_driver(rig);
    const Ticket gone = driver.ticket();
    rig.edge.wake(gone, true);
    CHECK_FALSE(driver.active());
    CHECK(rig.edge.in_flight() == 0);

    Peer client = rig.client_with(request("present"));
    Peer upstream = rig.upstream();
    rig.head(upstream);
    REQUIRE(driver.active());
    CHECK(driver.ticket() != gone);
    for (const bool granted : {true, false}) {
      rig.edge.wake(gone, granted);
      rig.edge.wake({.worker = 0, .slot = gone.slot + 1, .generation = gone.generation}, granted);
      rig.edge.wake({.worker = 0, .slot = UINT32_MAX, .generation = gone.generation}, granted);
      rig.edge.wake({.worker = 0, .slot = gone.slot, .generation = driver.ticket().generation + 1}, granted);
      rig.edge.wake({.worker = 1, .slot = gone.slot, .generation = driver.ticket().generation}, granted);
      rig.edge.wake(driver.ticket(), granted);  // its own, though it waits for nothing
    }
    upstream.send(kAnswer);
    CHECK(rig.get(client, "ok").starts_with("HTTP/1.1 200"));
    CHECK(rig.at_rest());
    CHECK(rig.timeline("present").attempts.size() == 1);
  }

  TEST_CASE("requests under way at one time have slots of their own") {
    EdgeRig rig;
    std::set<std::uint32_t> slots;
    const std::vector<ExchangeDriver*> drivers = take(rig, 10);
    for (const ExchangeDriver* driver : drivers) slots.insert(driver->slot());
    CHECK(slots.size() == 10);
    CHECK(rig.edge.in_flight() == 10);
    give_back(rig, drivers);
    CHECK(rig.edge.in_flight() == 0);
  }

  TEST_CASE("the driver that was used last is used next, so that a quiet worker's memory stays warm") {
    EdgeRig rig;
    const std::vector<ExchangeDriver*> drivers = take(rig, 3);
    give_back(rig, drivers);
    CHECK(&rig.edge.take_driver() == drivers[2]);
    CHECK(&rig.edge.take_driver() == drivers[1]);
    rig.edge.give_back(*drivers[1]);
    rig.edge.give_back(*drivers[2]);
  }

  TEST_CASE("after a burst the spare drivers are given up, but a few") {
    EdgeRig rig;
    give_back(rig, take(rig, kSpare + 40));
    CHECK(rig.process.drivers == kSpare + 40);
    rig.pass(2s);
    CHECK(made_among(rig, kSpare + 40) == 0);
    rig.pass(1s);
    CHECK(rig.process.drivers == kSpare);
    CHECK(made_among(rig, kSpare + 1) == 1);
    CHECK(made_among(rig, kSpare) == 0);
  }

  TEST_CASE("a handful of drivers is kept for good, and who is at work is never given up") {
    EdgeRig rig;
    give_back(rig, take(rig, kSpare));
    rig.pass(1h);
    CHECK(made_among(rig, kSpare) == 0);

    Peer client = rig.client_with(request("long"));
    Peer upstream = rig.upstream();
    rig.head(upstream);
    give_back(rig, take(rig, kSpare + 40));
    rig.pass(10s);
    CHECK(rig.edge.in_flight() == 1);
    upstream.send(kAnswer);
    CHECK(rig.get(client, "ok").starts_with("HTTP/1.1 200"));
  }

  TEST_CASE("slots of drivers that were given up are used again, and no old ticket fits who comes there") {
    constexpr std::size_t kBurst = kSpare + 8;
    EdgeRig rig;
    // The burst is one of real requests, so that each has had a ticket.
    std::vector<Peer> clients;
    for (std::size_t i = 0; i < kBurst; ++i) clients.push_back(rig.client_with(request("burst")));
    REQUIRE(rig.until([&] { return rig.edge.in_flight() == kBurst; }));
    rig.edge.cancel_all(Reason::drained);
    rig.settle();
    REQUIRE(rig.edge.in_flight() == 0);
    std::vector<Ticket> old;
    const std::vector<ExchangeDriver*> used = take(rig, kBurst);
    for (const ExchangeDriver* driver : used) old.push_back(driver->ticket());
    give_back(rig, used);
    rig.pass(10s);
    for (const Ticket& ticket : old) rig.edge.wake(ticket, true);  // some of them into emptied slots

    clients.clear();
    rig.settle();
    for (std::size_t i = 0; i < kBurst; ++i) clients.push_back(rig.client_with(request("again")));
    REQUIRE(rig.until([&] { return rig.edge.in_flight() == kBurst; }));
    for (const Ticket& ticket : old) rig.edge.wake(ticket, true);
    CHECK(rig.edge.in_flight() == kBurst);
    rig.edge.cancel_all(Reason::drained);
    rig.settle();
    std::set<std::uint32_t> slots;
    const std::vector<ExchangeDriver*> now = take(rig, kBurst);
    for (const ExchangeDriver* driver : now) {
      slots.insert(driver->slot());
      CHECK(driver->slot() < kBurst);
      CHECK(std::ranges::find(old, driver->ticket()) == old.end());
    }
    CHECK(slots.size() == kBurst);
    give_back(rig, now);
  }

  TEST_CASE("cancel_all ends every request under way once, with its reason, and leaves what is not") {
    EdgeRig rig;
    Peer idle = rig.client();
    std::vector<Peer> clients;
    std::vector<Peer> upstreams;
    for (const std::string id : {"a", "b", "c"}) {
      clients.push_back(rig.client_with(request(id)));
      upstreams.push_back(rig.upstream());
      rig.head(upstreams.back());
    }
    // One of them has begun its answer: that can only be cut.
    upstreams[2].send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    rig.get(clients[2], "half");
    REQUIRE(rig.edge.in_flight() == 3);

    rig.edge.cancel_all(Reason::drained);
    for (std::size_t i = 0; i < 2; ++i) CHECK(rig.get(clients[i], "\r\n\r\n").starts_with("HTTP/1.1 503"));
    REQUIRE(rig.until([&] { return clients[2].ended(); }));
    for (const char* id : {"a", "b"}) {
      CHECK(rig.timeline(id).reason == Reason::draining);
      CHECK(rig.timeline(id).attempts[0].reason == Reason::drained);
    }
    CHECK(rig.timeline("c").reason == Reason::drained);
    CHECK(rig.at_rest());
    for (Peer& upstream : upstreams) CHECK(rig.until([&] { return upstream.ended(); }));
    CHECK_FALSE(idle.ended());
    rig.edge.cancel_all(Reason::drained);
    CHECK(rig.at_rest());
  }

  TEST_CASE("close_connections leaves none, whatever each was doing") {
    EdgeRig rig;
    Peer idle = rig.client();
    Peer half_head = rig.client_with("GET / HT");
    Peer busy = rig.client_with(request("busy"));
    Peer upstream = rig.upstream();
    rig.head(upstream);
    REQUIRE(rig.clients() == 3);
    CHECK(rig.edge.load.load() == 3);
    rig.edge.close_connections();
    rig.settle();
    CHECK(rig.clients() == 0);
    CHECK(rig.edge.load.load() == 0);
    CHECK(rig.at_rest());
    for (Peer* peer : {&idle, &half_head, &busy, &upstream}) CHECK(rig.until([&] { return peer->ended(); }));
    CHECK(rig.timeline("busy").reason == Reason::client_disconnected);
  }

  TEST_CASE("connections that leave in any order leave the others in the list") {
    EdgeRig rig;
    std::vector<Peer> clients;
    for (int i = 0; i < 5; ++i) clients.push_back(rig.client());
    for (const std::size_t leaves : {2u, 0u, 4u}) {
      clients[leaves].close();
      rig.settle();
    }
    CHECK(rig.edge.load.load() == 2);
    rig.edge.drain_connections();
    rig.pass(1s);
    CHECK(clients[1].ended());
    CHECK(clients[3].ended());
    CHECK(rig.clients() == 0);
  }
}

}  // namespace
