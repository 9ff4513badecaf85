#include "proxy/server/worker.hpp"

#include <memory>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/unit/server/worker_rig.hpp"

using namespace outrigger;
using namespace outrigger::test;
using namespace std::chrono_literals;

namespace {

const std::string kRequest = "GET /up HTTP/1.1\r\nHost: h\r\nX-Request-Id: r\r\n\r\n";
const std::string kAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

/// A client whose request has reached the upstream.
struct UnderWay {
  explicit UnderWay(WorkerRig& rig, std::size_t worker = 0) : client(rig.connect(worker)) {
    client.send(kRequest);
    upstream = rig.upstream();
    CHECK(rig.head(upstream).starts_with("GET /up "));
  }
  Peer client;
  Peer upstream;
};

TEST_SUITE("server") {
  TEST_CASE("a worker serves what it accepts, on its own thread and with its own pool") {
    WorkerRig rig(1);
    rig.start_all();
    UnderWay request(rig);
    CHECK(rig.workers[0]->in_flight() == 1);
    CHECK(rig.load(0) == 1);
    request.upstream.send(kAnswer);
    CHECK(rig.get(request.client, "ok").starts_with("HTTP/1.1 200"));
    CHECK(rig.on(0, [](server::Worker& worker) { return worker.timelines().find("r").has_value(); }));
    // The same connection serves the next one.
    request.client.send(kRequest);
    CHECK(rig.head(request.upstream).starts_with("GET /up "));
  }

  TEST_CASE("what is posted runs on the worker's thread") {
    WorkerRig rig(2);
    rig.start_all();
    const auto thread = [](server::Worker&) { return std::this_thread::get_id(); };
    CHECK(rig.on(0, thread) == rig.on(0, thread));
    CHECK(rig.on(0, thread) != rig.on(1, thread));
    CHECK(rig.on(0, thread) != std::this_thread::get_id());
  }

  // ---- hand-over ----------------------------------------------------------------------------

  TEST_CASE("who has two connections more than the emptiest hands the next one over, and it is served there") {
    WorkerRig rig(2);
    rig.start_all();
    std::vector<Peer> clients;
    const std::vector<std::int64_t> own = {1, 2, 2, 3, 3, 4, 4, 5};
    for (std::size_t i = 0; i < own.size(); ++i) {
      clients.push_back(rig.served(0));
      CHECK(rig.load(0) == own[i]);
      CHECK(rig.load(1) == static_cast<std::int64_t>(i + 1) - own[i]);
    }
    CHECK(rig.taken(0) == 5);
    CHECK(rig.taken(1) == 3);
    CHECK(rig.process.downstream_connections.load() == 8);
    for (Peer& client : clients) CHECK(rig.unrouted(client).starts_with("HTTP/1.1 404"));
    // Who leaves makes room where it was.
    clients.clear();
    rig.until([&] { return rig.load(0) == 0 && rig.load(1) == 0; });
    CHECK(rig.process.downstream_connections.load() == 0);
  }

  TEST_CASE("a connection that was handed over belongs to the listener that it came to") {
    WorkerRig rig(2);
    rig.start_all();
    std::vector<Peer> clients;
    for (int i = 0; i < 3; ++i) clients.push_back(rig.served(0, WorkerRig::kFar));
    CHECK(rig.taken(0, "far") == 2);
    CHECK(rig.taken(1, "far") == 1);
    CHECK(rig.taken(1, "near") == 0);
  }

  TEST_CASE("where one worker accepts for all, it keeps no more than its share") {
    WorkerRig rig(3);
    rig.start_all();
    std::vector<Peer> clients;
    for (int i = 0; i < 6; ++i) clients.push_back(rig.served(0, WorkerRig::kAlone));
    for (std::uint32_t worker = 0; worker < 3; ++worker) {
      CHECK(rig.load(worker) == 2);
      CHECK(rig.taken(worker, "alone") == 2);
    }
  }

  TEST_CASE("of several workers the emptiest one gets it") {
    WorkerRig rig(3);
    rig.workers[1]->edge().load = 1;  // as if it had one
    rig.start_all();
    std::vector<Peer> clients;
    for (int i = 0; i < 3; ++i) clients.push_back(rig.served(0));
    CHECK(rig.load(0) == 2);
    CHECK(rig.load(1) == 1);
    CHECK(rig.load(2) == 1);
    CHECK(rig.taken(2) == 1);
    rig.workers[1]->edge().load = 0;
  }

  TEST_CASE("connections on their way to a worker count as its own, and are served once it comes to them") {
    WorkerRig rig(2);
    rig.start(0);
    std::vector<Peer> clients;
    for (std::int64_t i = 1; i <= 6; ++i) {
      clients.push_back(rig.connect(0));
      rig.until([&] { return rig.load(0) + rig.load(1) == i; });
    }
    CHECK(rig.load(0) == 4);
    CHECK(rig.load(1) == 2);
    CHECK(rig.taken(1) == 0);
    rig.start(1);
    for (Peer& client : clients) CHECK(rig.unrouted(client).starts_with("HTTP/1.1 404"));
    CHECK(rig.load(0) == 4);
    CHECK(rig.load(1) == 2);
    CHECK(rig.taken(1) == 2);
  }

  TEST_CASE("a limit of connections is met exactly, those on their way to another worker included") {
    constexpr std::int64_t kMost = 4;
    WorkerRig rig(2);
    SUBCASE("of the process") { rig.use_everywhere(rig.snapshot(rig.door, "{max_connections: 4}")); }
    SUBCASE("of the listener") { rig.use_everywhere(rig.snapshot(rig.door, "{}", "{max_connections: 4}")); }
    SUBCASE("by descriptors") { rig.process.most_connections = kMost; }
    rig.start(0);
    std::vector<Peer> clients;
    for (int i = 0; i < 8; ++i) clients.push_back(rig.connect(0));
    rig.until([&] { return rig.pauses(0) != 0; });
    CHECK(rig.load(0) + rig.load(1) == kMost);
    rig.start(1);
    for (std::size_t i = 0; i < kMost; ++i) CHECK(rig.unrouted(clients[i]).starts_with("HTTP/1.1 404"));
    CHECK(rig.load(0) + rig.load(1) == kMost);
    // A worker that looks for room adds one for a moment.
    rig.until([&] { return rig.process.downstream_connections.load() == kMost && rig.connections.load() == kMost; });
    // Who leaves makes room for one that has waited.
    clients[0].close();
    CHECK(rig.unrouted(clients[kMost]).starts_with("HTTP/1.1 404"));
  }

  // ---- configurations -----------------------------------------------------------------------

  TEST_CASE("a new configuration is for new requests; those under way end by the one they began with") {
    WorkerRig rig(1);
    Door second;
    rig.start_all();
    UnderWay request(rig);
    const std::weak_ptr<const config::Snapshot> old =
        rig.on(0, [](server::Worker& worker) { return worker.edge().view->snapshot; });
    rig.on(0, [next = rig.snapshot(second)](server::Worker& worker) { worker.use(next); });
    CHECK_FALSE(old.expired());

    Peer other = rig.connect(0);
    other.send(kRequest);
    Peer upstream = rig.upstream(second);
    CHECK(rig.head(upstream).starts_with("GET /up "));
    upstream.send(kAnswer);
    CHECK(rig.get(other, "ok").starts_with("HTTP/1.1 200"));

    request.upstream.send(kAnswer);
    CHECK(rig.get(request.client, "ok").starts_with("HTTP/1.1 200"));
    rig.until([&] { return old.expired(); });
    // The pool of the address that is gone has closed.
    CHECK(rig.get_all(request.upstream).empty());
  }

  TEST_CASE("a reload keeps idle connections of addresses that stay, and closes those of addresses that go") {
    WorkerRig rig(1);
    Door second;
    rig.start_all();
    UnderWay request(rig);
    request.upstream.send(kAnswer);
    rig.get(request.client, "ok");
    rig.on(0, [next = rig.snapshot(rig.door)](server::Worker& worker) { worker.use(next); });
    request.client.send(kRequest);
    CHECK(rig.head(request.upstream).starts_with("GET /up "));
    request.upstream.send(kAnswer);
    rig.get(request.client, "ok");
    rig.on(0, [next = rig.snapshot(second)](server::Worker& worker) { worker.use(next); });
    CHECK(rig.get_all(request.upstream).empty());
  }

  // ---- the end ------------------------------------------------------------------------------

  TEST_CASE("a draining worker closes listeners that are not local and serves the local ones on, answer by answer") {
    WorkerRig rig(1);
    rig.start_all();
    Peer kept = rig.served(0, WorkerRig::kFar);
    rig.process.draining = true;
    rig.on(0, [](server::Worker& worker) { worker.drain(); });
    CHECK_FALSE(rig.connect(0, WorkerRig::kFar).open());

    Peer local = rig.connect(0);
    CHECK(has(rig.unrouted(local), "\r\nConnection: close\r\n"));
    CHECK(has(rig.unrouted(kept), "\r\nConnection: close\r\n"));
    CHECK(rig.get_all(local).empty());
    CHECK(rig.get_all(kept).empty());

    rig.on(0, [](server::Worker& worker) { worker.stop_listening(); });
    CHECK_FALSE(rig.connect(0).open());
  }

  TEST_CASE("who has connected before the drain is served, on whichever worker") {
    WorkerRig rig(2);
    rig.start_all();
    std::vector<Peer> waiting;
    rig.on(0, [&](server::Worker& worker) {
      // The worker is busy with this: all of them wait to be accepted.
      for (int i = 0; i < 200; ++i) waiting.push_back(rig.connect(0, WorkerRig::kFar));
      rig.process.draining = true;
      worker.drain();
    });
    CHECK_FALSE(rig.connect(0, WorkerRig::kFar).open());
    for (Peer& peer : waiting) CHECK(rig.unrouted(peer).starts_with("HTTP/1.1 404"));
    CHECK(rig.taken(0, "far") == 101);
    CHECK(rig.taken(1, "far") == 99);
  }

  TEST_CASE("who has connected to a local listener before it closes is served, too") {
    WorkerRig rig(1);
    rig.start_all();
    std::vector<Peer> waiting;
    rig.process.draining = true;
    rig.on(0, [&](server::Worker& worker) {
      for (int i = 0; i < 20; ++i) {
        waiting.push_back(rig.connect(0));
        waiting.back().send("HEAD /none HTTP/1.1\r\nHost: h\r\n\r\n");
      }
      worker.stop_listening();
    });
    CHECK_FALSE(rig.connect(0).open());
    for (Peer& peer : waiting) CHECK(rig.head(peer).starts_with("HTTP/1.1 404"));
  }

  TEST_CASE("connections that say nothing are closed while draining, also those that come meanwhile") {
    WorkerRig rig(2);
    rig.start_all();
    Peer before = rig.served(0);
    rig.process.draining = true;
    for (const std::size_t i : {0u, 1u}) rig.on(i, [](server::Worker& worker) { worker.drain(); });
    std::vector<Peer> silent;
    for (int i = 0; i < 3; ++i) silent.push_back(rig.connect(0));
    CHECK(rig.get_all(before).empty());
    for (Peer& peer : silent) CHECK(rig.get_all(peer).empty());
    rig.until([&] { return rig.process.downstream_connections.load() == 0; });
  }

  TEST_CASE("a stopped worker has answered what it could and left nothing behind") {
    WorkerRig rig(2);
    rig.start_all();
    UnderWay request(rig);
    Peer idle = rig.served(0);
    Peer other = rig.served(1);
    const auto snapshot = rig.on(0, [](server::Worker& worker) { return worker.edge().view->snapshot; });
    rig.stop(0);
    CHECK(rig.get_all(request.client).starts_with("HTTP/1.1 503"));
    CHECK(rig.get_all(idle).empty());
    CHECK(rig.get_all(request.upstream).empty());
    CHECK(rig.workers[0]->in_flight() == 0);
    CHECK(rig.load(0) == 0);
    CHECK(snapshot->endpoint_states.front()->in_flight == 0);
    CHECK_FALSE(rig.connect(0).open());
    // The others go on.
    CHECK(rig.unrouted(other).starts_with("HTTP/1.1 404"));
  }

  TEST_CASE("what was handed over to a worker that had ended is closed once all have") {
    WorkerRig rig(2);
    rig.start_all();
    rig.stop(1);
    std::vector<Peer> clients;
    for (int i = 0; i < 2; ++i) clients.push_back(rig.served(0));
    Peer lost = rig.connect(0);
    rig.until([&] { return rig.load(1) == 1; });
    rig.stop(0);
    CHECK_FALSE(lost.ended());
    rig.workers[1]->read_last_mail();
    CHECK(rig.get_all(lost).empty());
    CHECK(rig.load(1) == 0);
  }

  TEST_CASE("a worker that was never started can be thrown away") {
    WorkerRig rig(1);
    rig.workers[0]->post([] {});
    rig.workers[0]->join();
  }
}

}  // namespace
