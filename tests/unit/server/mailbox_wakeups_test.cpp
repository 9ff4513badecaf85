#include "proxy/server/mailbox_wakeups.hpp"

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "proxy/net/exchange_driver.hpp"
#include "tests/unit/server/worker_rig.hpp"

using namespace outrigger;
using namespace outrigger::server;
using namespace outrigger::test;

namespace {

const std::string kRequest = "GET /up HTTP/1.1\r\nHost: h\r\nX-Request-Id: r\r\n\r\n";
const std::string kAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The ticket that the request served last on a worker had.
Ticket last_ticket(Worker& worker) {
  net::ExchangeDriver& driver = worker.edge().take_driver();
  const Ticket ticket = driver.ticket();
  worker.edge().give_back(driver);
  return ticket;
}

/// One request on this connection from end to end, with wake-ups going on meanwhile.
template <class Meanwhile>
void serve(WorkerRig& rig, Peer& client, Peer& upstream, Meanwhile meanwhile) {
  client.send(kRequest);
  if (!upstream.open()) upstream = rig.upstream();
  REQUIRE(rig.head(upstream).starts_with("GET /up "));
  meanwhile();
  upstream.send(kAnswer);
  REQUIRE(rig.get(client, "ok").starts_with("HTTP/1.1 200"));
}

TEST_SUITE("server") {
  TEST_CASE("a ticket says on which worker the request lives") {
    WorkerRig rig(2);
    rig.start_all();
    for (const std::size_t i : {0u, 1u}) CHECK(rig.on(i, last_ticket).worker == i);
  }

  TEST_CASE("a wake-up waits in the mailbox for its worker and is never waited for") {
    WorkerRig rig(2);
    MailboxWakeups wakeups(rig.workers);
    for (int i = 0; i < 1000; ++i) wakeups.wake({.worker = 1, .slot = 0, .generation = 1});
    rig.start_all();
    CHECK(rig.served(1).open());
    CHECK(rig.workers[1]->in_flight() == 0);
  }

  TEST_CASE("wake-ups for requests that are there, have left or never were disturb nobody, from whatever thread") {
    WorkerRig rig(2);
    MailboxWakeups wakeups(rig.workers);
    rig.start_all();
    std::vector<Peer> clients;
    std::vector<Peer> upstreams(2);
    for (const std::size_t i : {0u, 1u}) clients.push_back(rig.connect(i));

    std::atomic<bool> over{false};
    std::atomic<std::uint64_t> present{0};  // the generation of the request under way, or nearly
    std::vector<std::thread> waking;
    for (std::uint32_t worker = 0; worker < 2; ++worker) {
      waking.emplace_back([&, worker] {
        for (int i = 0; i < 20'000 && !over.load(); ++i) {
          const std::uint64_t about = present.load();
          wakeups.wake({.worker = worker, .slot = 0, .generation = about});
          wakeups.wake({.worker = worker, .slot = 0, .generation = about - 1});
          wakeups.wake({.worker = worker, .slot = 77, .generation = about});
        }
      });
    }
    for (std::uint64_t round = 0; round < 50; ++round) {
      for (const std::size_t i : {0u, 1u}) {
        // A worker wakes the other one, too, as one that gives back a place does.
        serve(rig, clients[i], upstreams[i], [&] {
          CHECK(rig.workers[i]->in_flight() == 1);
          rig.on(1 - i, [&wakeups, i, round](Worker&) {
            wakeups.wake({.worker = static_cast<std::uint32_t>(i), .slot = 0, .generation = round + 1});
          });
        });
        present.store(round + 1);
      }
    }
    over.store(true);
    for (std::thread& thread : waking) thread.join();
    for (const std::size_t i : {0u, 1u}) {
      CHECK(rig.on(i, last_ticket).generation == 50);
      CHECK(rig.on(i, [](Worker& worker) { return worker.in_flight(); }) == 0);
    }
  }
}

}  // namespace
