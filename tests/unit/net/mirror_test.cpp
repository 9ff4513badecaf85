#include "proxy/net/mirror.hpp"

#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/support/edge_rig.hpp"

using namespace outrigger;
using namespace outrigger::net;
using namespace outrigger::test;
using namespace std::chrono_literals;

namespace {

const std::string kGet = "GET /a HTTP/1.1\r\nHost: h\r\nX-Request-Id: r\r\n\r\n";
const std::string kPost = "POST /a HTTP/1.1\r\nHost: h\r\nX-Request-Id: r\r\n";
const std::string kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

std::string post(std::string_view body) {
  return kPost + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}
std::string chunked(std::string_view body) {
  char size[16];
  std::snprintf(size, sizeof size, "%zx\r\n", body.size());
  return kPost + "Transfer-Encoding: chunked\r\n\r\n" + size + std::string(body) + "\r\n0\r\n\r\n";
}

EdgeConfig mirrored(const std::string& more = "", const std::string& rest = "") {
  return {.rest = rest, .mirror = more};
}

/// A request that was answered, and the connection on which its copy came.
Peer copied(EdgeRig& rig, Peer& client, std::string_view request, std::string_view end = "\r\n\r\n") {
  client.send(request);
  Peer upstream = rig.upstream();
  rig.get(upstream, end);
  upstream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
  CHECK(rig.message(client).ends_with("\r\n\r\nok"));
  return rig.copy();
}

std::uint64_t dropped(EdgeRig& rig) { return rig.loop.row.mirrors_dropped.value(); }

}  // namespace

TEST_SUITE("net") {
  TEST_CASE("a copy is the request as it was sent, but for its mark") {
    for (const auto& [request, end] : std::vector<std::pair<std::string, std::string>>{
             {kGet, "\r\n\r\n"},
             {post("hello"), "hello"},
             {post(""), "\r\n\r\n"},
             {kPost + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 1\r\n\r\n",
              "X-Sum: 1\r\n\r\n"},
             {chunked(""), "0\r\n\r\n"}}) {
      EdgeRig rig{mirrored()};
      Peer client = rig.client_with(request);
      Peer upstream = rig.upstream();
      const std::string sent = rig.get(upstream, end);
      Peer mirror = rig.copy();
      std::string copy = rig.get(mirror, end);
      const std::string mark = "X-Outrigger-Mirror: 1\r\n";
      REQUIRE(copy.find(mark) != std::string::npos);
      copy.erase(copy.find(mark), mark.size());
      CHECK(copy == sent);
      upstream.send(kOk);
      CHECK(rig.message(client).ends_with("\r\n\r\nok"));
      mirror.send(kOk);
      CHECK(rig.at_rest());
      CHECK(rig.copies_under_way() == 0);
      CHECK(rig.copy_row().idle.value() == 1);
    }
  }

  TEST_CASE("nothing is copied before the whole request was sent") {
    EdgeRig rig{mirrored()};
    Peer client = rig.client_with(kPost + "Content-Length: 6\r\n\r\nabc");
    Peer upstream = rig.upstream();
    rig.get(upstream, "abc");
    CHECK(rig.no_copy());
    client.send("def");
    rig.get(upstream, "def");
    Peer mirror = rig.copy();
    CHECK(rig.get(mirror, "abcdef").ends_with("\r\n\r\nabcdef"));
    upstream.send(kOk);
    rig.message(client);
    CHECK(rig.account.used(BufferKind::mirror) == 0);  // the kernel has it
    CHECK(rig.kept_bytes() == 0);
  }

  TEST_CASE("a request whose end never comes is never copied") {
    EdgeRig rig{mirrored()};
    Peer client = rig.client_with(kPost + "Content-Length: 6\r\n\r\nabc");
    Peer upstream = rig.upstream();
    rig.get(upstream, "abc");
    upstream.send(kOk);  // an early answer
    CHECK(rig.message(client).ends_with("\r\n\r\nok"));
    client.close();
    CHECK(rig.no_copy());
    CHECK(rig.at_rest());
    CHECK(dropped(rig) == 0);
  }

  TEST_CASE("a body must be whole in the replay buffer, to the byte") {
    for (const std::size_t size : {1024u, 1025u}) {
      for (const bool with_length : {true, false}) {
        CAPTURE(size);
        EdgeRig rig{mirrored("", "policies: {default: {retry: {replay_buffer: 1KiB}}}\n")};
        const std::string body(size, 'x');
        Peer client = rig.client_with(with_length ? post(body) : chunked(body));
        Peer upstream = rig.upstream();
        rig.get(upstream, with_length ? "xxx" : "\r\n0\r\n\r\n");
        rig.settle();
        if (size == 1024) {
          Peer mirror = rig.copy();
          CHECK(rig.get(mirror, body).ends_with("\r\n" + body));
        } else {
          CHECK(rig.no_copy());
        }
        upstream.send(kOk);
        rig.message(client);
        CHECK(dropped(rig) == 0);
      }
    }
  }

  TEST_CASE("a client hears nothing of its copy's answer, and leaves nothing behind when it goes") {
    for (const std::string_view answer :
         {"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 6\r\n\r\nbroken",
          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
          "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", "nonsense\r\n\r\n", ""}) {
      CAPTURE(answer);
      EdgeRig rig{mirrored()};
      Peer client = rig.client();
      Peer mirror = copied(rig, client, kGet);
      client.close();
      rig.settle();
      CHECK(rig.at_rest());
      CHECK(rig.copies_under_way() == 1);
      mirror.send(answer);
      rig.settle();
      if (answer.empty()) mirror.reset();
      rig.settle();
      CHECK(rig.copies_under_way() == 0);
      const exchange::Timeline timeline = rig.timeline("r");
      CHECK(timeline.attempts.size() == 1);
      CHECK(timeline.decisions.size() == 0);
    }
  }

  TEST_CASE("an answer without end is read until the policy's time is over, a silent one until its own") {
    EdgeRig rig{mirrored("", "policies: {default: {overall_timeout: 2s}}\n")};
    Peer client = rig.client();
    Peer endless = copied(rig, client, kGet);
    endless.send("HTTP/1.1 200 OK\r\n\r\n");
    const std::string some(4096, 'b');
    for (int i = 0; i < 19; ++i) {
      endless.send(some);
      rig.pass(100ms);
    }
    CHECK(rig.copies_under_way() == 1);
    rig.pass(101ms);
    CHECK(rig.copies_under_way() == 0);
    CHECK(endless.ended());

    Peer silent = copied(rig, client, kGet);
    rig.pass(1999ms);
    CHECK(rig.copies_under_way() == 1);
    rig.pass(2ms);
    CHECK(rig.copies_under_way() == 0);
    CHECK(silent.ended());
  }

  TEST_CASE("without an overall timeout a copy has a minute") {
    EdgeRig rig{mirrored("", "policies: {default: {overall_timeout: 0}}\n")};
    Peer client = rig.client();
    Peer mirror = copied(rig, client, kGet);
    rig.pass(59999ms);
    CHECK(rig.copies_under_way() == 1);
    rig.pass(2ms);
    CHECK(rig.copies_under_way() == 0);
  }

  TEST_CASE("a mirror that nobody answers at is given up after its connect timeout") {
    EdgeRig rig{mirrored("", "policies: {default: {overall_timeout: 1h}}\n")};
    // Connections beyond a full queue are not completed.
    std::vector<Peer> queue;
    REQUIRE(::listen(rig.copy_door.descriptor(), 0) == 0);
    for (int i = 0; i < 4; ++i) queue.push_back(rig.copy_door.connect());
    Peer client = rig.client_with(kGet);
    Peer upstream = rig.upstream();
    rig.head(upstream);
    upstream.send(kOk);
    rig.message(client);
    CHECK(rig.copies_under_way() == 1);
    CHECK(rig.account.used(BufferKind::mirror) > 0);
    rig.pass(2999ms);
    CHECK(rig.copies_under_way() == 1);
    rig.pass(2ms);
    CHECK(rig.copies_under_way() == 0);
    CHECK(rig.copy_row().connects[static_cast<std::size_t>(Reason::connect_timeout)].value() == 1);
    CHECK(dropped(rig) == 0);
  }

  TEST_CASE("a connection is reused, but not one that has died or idled for long") {
    EdgeRig rig{mirrored()};
    Peer client = rig.client();
    Peer mirror = copied(rig, client, kGet);
    rig.head(mirror);
    mirror.send(kOk);
    rig.settle();
    client.send(kGet);
    Peer upstream = rig.upstream();
    rig.head(upstream);
    upstream.send(kOk);
    rig.message(client);
    rig.head(mirror);  // on the same connection
    mirror.send(kOk);
    rig.settle();
    mirror.close();
    client.send(kGet);
    rig.head(upstream);
    upstream.send(kOk);
    rig.message(client);
    Peer second = rig.copy();
    rig.head(second);
    second.send(kOk);
    rig.settle();
    rig.pass(1001ms);
    client.send(kGet);
    rig.settle();
    Peer third = rig.copy();
    rig.head(third);
    CHECK(second.take().empty());
    upstream.send(kOk);
    rig.message(client);
  }

  TEST_CASE("copies at the bound are sent, the next is dropped and counted, and a place is free again after one") {
    EdgeRig rig{mirrored(", max_in_flight: 2")};
    Peer client = rig.client();
    Peer first = copied(rig, client, kGet);
    Peer second = copied(rig, client, kGet);
    CHECK(dropped(rig) == 0);
    client.send(kGet);
    Peer upstream = rig.upstream();
    rig.head(upstream);
    upstream.send(kOk);
    rig.message(client);
    CHECK(rig.no_copy());
    CHECK(dropped(rig) == 1);
    CHECK(rig.copies_under_way() == 2);
    first.reset();
    rig.settle();
    client.send(kGet);
    rig.head(upstream);
    Peer third = rig.copy();
    CHECK(dropped(rig) == 1);
    upstream.send(kOk);
    rig.message(client);
  }

  TEST_CASE("a copy that finds no room in memory is dropped and counted") {
    EdgeRig rig{mirrored()};
    Peer client = rig.client_with(post("hello"));
    Peer upstream = rig.upstream();
    rig.get(upstream, "hello");
    Peer mirror = rig.copy();
    upstream.send(kOk);
    rig.message(client);
    rig.account.set_limit(5 + 100);  // the body, and no head
    client.send(post("hello"));
    if (Peer fresh = (rig.settle(), rig.doors[0]->accept()); fresh.open()) upstream = std::move(fresh);
    rig.get(upstream, "hello");
    CHECK(rig.no_copy());
    CHECK(dropped(rig) == 1);
    CHECK(rig.copies_under_way() == 1);
    upstream.send(kOk);
    rig.message(client);
  }

  TEST_CASE("a large body waits in memory that is accounted for, as long as the mirror does not take it") {
    EdgeRig rig{mirrored("", "policies: {default: {retry: {replay_buffer: 8MiB}}}\n")};
    std::string body(6 << 20, 'x');
    body += "end";
    const std::string request = post(body);
    Peer client = rig.client();
    Peer upstream;
    std::size_t sent = 0;
    std::string got;
    REQUIRE(rig.until([&] {
      sent += client.send_some(std::string_view{request}.substr(sent));
      if (!upstream.open()) upstream = rig.doors[0]->accept();
      if (upstream.open()) got += upstream.take();
      return got.ends_with("xend");
    }));
    Peer mirror = rig.copy();
    upstream.send(kOk);
    rig.message(client);
    CHECK(rig.at_rest());
    CHECK(rig.account.used(BufferKind::mirror) > 6 << 20);
    std::string copy;
    REQUIRE(rig.until([&] { return (copy += mirror.take()).ends_with("xend"); }));
    rig.settle();
    CHECK(rig.account.used(BufferKind::mirror) == 0);
    CHECK(copy.ends_with("\r\n\r\n" + body));
    mirror.send(kOk);
    rig.settle();
    CHECK(rig.copies_under_way() == 0);
  }

  TEST_CASE("what was refused, or reached no upstream, is not copied") {
    EdgeRig rig{mirrored("", "policies: {default: {rate_limit: {requests: 1, per: 1h, burst: 1}}}\n")};
    rig.doors[0]->close();
    Peer client = rig.client_with(kGet);
    CHECK(rig.head(client).starts_with("HTTP/1.1 502 "));
    Peer other = rig.client_with(kGet);
    CHECK(rig.head(other).starts_with("HTTP/1.1 429 "));
    CHECK(rig.no_copy());
    CHECK(dropped(rig) == 0);
  }

  TEST_CASE("a request is copied once, however often it is tried, and behind the first attempt that was sent") {
    EdgeRig rig{mirrored("", "policies: {default: {retry: {max_attempts: 3, initial_backoff: 10ms, jitter: none}}}\n")};
    Peer client = rig.client_with(kGet);
    rig.upstream().reset();
    rig.settle();
    for (int attempt = 0; attempt < 2; ++attempt) {
      rig.pass(21ms);
      Peer upstream = rig.upstream();
      rig.head(upstream);
      upstream.send(attempt == 0 ? "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" : kOk);
      rig.settle();
    }
    CHECK(rig.message(client).ends_with("\r\n\r\nok"));
    Peer mirror = rig.copy();
    rig.head(mirror);
    CHECK(rig.no_copy());
    CHECK(rig.timeline("r").attempts.size() == 3);
  }

  TEST_CASE("a request that only the fallback's upstream got is not copied, be it by a reconnect") {
    EdgeRig rig{mirrored("", "policies: {default: {fallback: {when: [exhausted], upstream: copy}}}\n")};
    rig.doors[0]->close();
    Peer client = rig.client_with(kGet);
    Peer other = rig.copy();
    rig.head(other);
    other.send(kOk);
    rig.message(client);
    client.send(kGet);
    rig.head(other);
    other.close();
    Peer fresh = rig.copy();
    CHECK(rig.head(fresh).find("X-Outrigger-Mirror") == std::string::npos);
    CHECK(rig.no_copy());
    fresh.send(kOk);
    rig.message(client);
  }

  TEST_CASE("the dice decide, and a fraction of 0 is never") {
    EdgeRig rig{mirrored(", fraction: 25%, max_in_flight: 1000")};
    Peer client = rig.client();
    Peer upstream;
    std::vector<Peer> copies;
    const auto serve = [&] {
      client.send(kGet);
      rig.settle();
      if (!upstream.open()) upstream = rig.upstream();
      rig.head(upstream);
      upstream.send(kOk);
      rig.message(client);
      while (true) {
        copies.push_back(rig.copy_door.accept());
        if (!copies.back().open()) return copies.pop_back();
      }
    };
    for (int i = 0; i < 200; ++i) serve();
    CHECK(copies.size() >= 30);
    CHECK(copies.size() <= 70);
    copies.clear();
    rig.settle();
    rig.use(mirrored(", fraction: 0"));
    for (int i = 0; i < 50; ++i) serve();
    CHECK(copies.empty());
  }

  TEST_CASE("a copy under way goes by the configuration it began with, and counts against the one in force") {
    EdgeRig rig{mirrored(", max_in_flight: 2")};
    Peer client = rig.client();
    Peer mirror = copied(rig, client, kGet);
    rig.use(mirrored(", max_in_flight: 1"));
    CHECK(rig.copies_under_way() == 1);
    client.send(kGet);
    Peer upstream = rig.upstream();
    rig.head(upstream);
    upstream.send(kOk);
    rig.message(client);
    CHECK(rig.no_copy());
    CHECK(dropped(rig) == 1);
    rig.use({});  // no mirror any more
    mirror.send(kOk);
    rig.settle();
    CHECK(rig.copies_under_way() == 0);
  }

  TEST_CASE("copies are broken off with the edge, wherever they are") {
    EdgeRig rig{mirrored()};
    Peer client = rig.client();
    Peer waiting = copied(rig, client, kGet);
    Peer reading = copied(rig, client, kGet);
    rig.head(waiting);
    rig.head(reading);
    reading.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab");
    rig.settle();
    rig.edge.end_mirrors();
    rig.settle();
    CHECK(waiting.ended());
    CHECK(reading.ended());
    CHECK(rig.copies_under_way() == 0);
  }
}
