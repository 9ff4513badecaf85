#include <string>

#include <doctest/doctest.h>

#include "tests/support/edge_rig.hpp"

using namespace outrigger;
using namespace outrigger::net;
using namespace outrigger::test;
using namespace std::chrono_literals;

namespace {

const std::string kGet = "GET /ws HTTP/1.1\r\nHost: h\r\nX-Request-Id: r\r\n";
const std::string kAsking = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: k\r\n";
const std::string kUpgrade = kGet + kAsking + "\r\n";
const std::string kSwitch =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: a\r\n\r\n";
const std::string kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }
std::string status_of(std::string_view head) { return std::string(head.substr(0, head.find("\r\n"))); }

/// An open tunnel.
struct Tunnel {
  explicit Tunnel(EdgeRig& rig) : Tunnel(rig, rig.client()) {}
  Tunnel(EdgeRig& rig, Peer from) : client(std::move(from)) {
    client.send(kUpgrade);
    upstream = rig.upstream();
    rig.head(upstream);
    upstream.send(kSwitch);
    CHECK(status_of(rig.head(client)) == "HTTP/1.1 101 Switching Protocols");
  }
  /// Whether bytes pass in both directions.
  bool stands(EdgeRig& rig) {
    client.send("ping");
    upstream.send("pong");
    return rig.get(upstream, "ping") == "ping" && rig.get(client, "pong") == "pong";
  }
  Peer client;
  Peer upstream;
};

/// Both peers are told that it did not end in good order, and nothing is left.
void check_cut(EdgeRig& rig, Tunnel& tunnel, Reason why, char who) {
  rig.settle();
  CHECK(tunnel.client.was_reset());
  CHECK(tunnel.upstream.was_reset());
  const exchange::Timeline timeline = rig.timeline("r");
  CHECK(timeline.status == 101);
  CHECK(timeline.reason == why);
  CHECK(timeline.who == who);
  CHECK(timeline.stage == '9');
  CHECK(rig.clients() == 0);
  CHECK(rig.at_rest());
}

/// Sends as much as fits in between; returns how much.
std::size_t fill(EdgeRig& rig, Peer& from, std::size_t at_most) {
  std::size_t sent = 0;
  while (sent < at_most) {
    std::string piece(std::min<std::size_t>(16 * 1024, at_most - sent), '\0');
    for (std::size_t i = 0; i < piece.size(); ++i) piece[i] = static_cast<char>('a' + (sent + i) % 23);
    const std::size_t took = from.send_some(piece);
    sent += took;
    rig.settle();
    if (took == 0) break;
  }
  return sent;
}
/// How many of the bytes that `fill` sends a peer gets until there are no more; all of them in order, or 0.
std::size_t drain(EdgeRig& rig, Peer& to) {
  std::string all;
  for (std::size_t before = 1; before != all.size();) {
    before = all.size();
    rig.settle();
    all += to.take();
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i] != static_cast<char>('a' + i % 23)) return 0;
  }
  return all.size();
}

}  // namespace

TEST_SUITE("net") {
  TEST_CASE("an upgrade is passed on and its 101 back, and from then on bytes go both ways") {
    EdgeRig rig;
    Peer client = rig.client_with(kUpgrade);
    Peer upstream = rig.upstream();
    const std::string asked = rig.head(upstream);
    CHECK(has(asked, "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"));
    CHECK(has(asked, "\r\nSec-WebSocket-Key: k\r\n"));
    CHECK_FALSE(has(asked, "WebSocket\r\n"));
    upstream.send(kSwitch + "behind");
    const std::string answer = rig.head(client);
    CHECK(status_of(answer) == "HTTP/1.1 101 Switching Protocols");
    CHECK(has(answer, "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"));
    CHECK(has(answer, "\r\nSec-WebSocket-Accept: a\r\n"));
    CHECK_FALSE(has(answer, "close"));
    CHECK_FALSE(has(answer, "Transfer-Encoding"));
    CHECK(rig.get(client, "behind") == "behind");
    CHECK(rig.edge.in_flight() == 1);
    CHECK(rig.attempts_in_flight() == 1);
    // Whatever they look like.
    const std::string like_http = "GET / HTTP/1.1\r\nHost: h\r\n\r\n0\r\n\r\n";
    client.send(like_http);
    CHECK(rig.get(upstream, "0\r\n\r\n") == like_http);
    upstream.send(kOk);
    CHECK(rig.get(client, "ok") == kOk);
    client.half_close();
    upstream.half_close();
    rig.settle();
    CHECK(client.ended());
    CHECK(upstream.ended());
    CHECK_FALSE(client.was_reset());
    CHECK_FALSE(upstream.was_reset());
    const exchange::Timeline timeline = rig.timeline("r");
    CHECK(timeline.status == 101);
    CHECK(timeline.reason == Reason::success);
    CHECK(timeline.who == '-');
    CHECK(timeline.bytes_in == like_http.size());
    CHECK(timeline.bytes_out == answer.size() + 6 + kOk.size());
    CHECK(rig.clients() == 0);
    CHECK(rig.at_rest());
  }

  TEST_CASE("what comes early behind an upgrade waits for the 101") {
    EdgeRig rig;
    Peer client = rig.client_with(kUpgrade + "early");
    Peer upstream = rig.upstream();
    rig.head(upstream);
    client.send(", too");
    rig.settle();
    CHECK(upstream.take().empty());
    upstream.send(kSwitch);
    CHECK(rig.get(upstream, "too") == "early, too");
    rig.head(client);
    client.send("!");
    CHECK(rig.get(upstream, "!") == "!");
  }

  TEST_CASE("an answer that does not switch is one like any other, and what came early is the next request") {
    for (const std::string other : {"200 OK", "426 Upgrade Required", "503 No"}) {
      EdgeRig rig{{.rest = "policies: {default: {retry: {non_idempotent: true}}}\n"}};
      Peer client = rig.client_with(kUpgrade + "GET /next HTTP/1.1\r\nHost: h\r\n\r\n");
      Peer upstream = rig.upstream();
      rig.head(upstream);
      upstream.send("HTTP/1.1 " + other + "\r\nContent-Length: 2\r\n\r\nno");
      CHECK(status_of(rig.message(client)) == "HTTP/1.1 " + other);
      CHECK(rig.head(upstream).starts_with("GET /next "));
      upstream.send(kOk);
      CHECK(rig.message(client).ends_with("\r\nok"));
      CHECK(rig.timeline("r").attempts.size() == 1);
    }
  }

  // ---- its end ------------------------------------------------------------------------------

  TEST_CASE("a client that has said all ends its side, and hears the rest") {
    EdgeRig rig;
    Tunnel tunnel{rig};
    tunnel.client.send("bye");
    tunnel.client.half_close();
    CHECK(rig.get(tunnel.upstream, "bye") == "bye");
    CHECK(rig.until([&] { return tunnel.upstream.ended(); }));
    CHECK_FALSE(tunnel.upstream.was_reset());
    rig.pass(10s);
    tunnel.upstream.send("and the rest");
    CHECK(rig.get(tunnel.client, "rest") == "and the rest");
    tunnel.upstream.close();
    CHECK(rig.until([&] { return tunnel.client.ended(); }));
    CHECK_FALSE(tunnel.client.was_reset());
    CHECK(rig.timeline("r").reason == Reason::success);
    CHECK(rig.at_rest());
    CHECK(rig.clients() == 0);
  }

  TEST_CASE("an upstream that has said all ends its side, and hears the rest") {
    EdgeRig rig;
    Tunnel tunnel{rig};
    tunnel.upstream.send("bye");
    tunnel.upstream.half_close();
    CHECK(rig.get(tunnel.client, "bye") == "bye");
    CHECK(rig.until([&] { return tunnel.client.ended(); }));
    CHECK_FALSE(tunnel.client.was_reset());
    rig.pass(10s);
    CHECK(rig.edge.in_flight() == 1);
    tunnel.client.send("and the rest");
    CHECK(rig.get(tunnel.upstream, "rest") == "and the rest");
    tunnel.client.close();
    CHECK(rig.until([&] { return tunnel.upstream.ended(); }));
    CHECK_FALSE(tunnel.upstream.was_reset());
    CHECK(rig.timeline("r").reason == Reason::success);
    CHECK(rig.at_rest());
    CHECK(rig.clients() == 0);
  }

  TEST_CASE("a reset of one side is no end in good order for the other") {
    for (const bool half_closed : {false, true}) {
      CAPTURE(half_closed);
      {
        EdgeRig rig;
        Tunnel tunnel{rig};
        if (half_closed) tunnel.client.half_close();
        rig.settle();
        tunnel.client.reset();
        rig.settle();
        // Whoever has heard the end in good order is not told of another.
        CHECK(tunnel.upstream.was_reset() == !half_closed);
        CHECK(tunnel.upstream.ended());
        CHECK(rig.timeline("r").reason == Reason::client_disconnected);
        CHECK(rig.at_rest());
      }
      EdgeRig rig;
      Tunnel tunnel{rig};
      if (half_closed) tunnel.upstream.half_close();
      rig.settle();
      tunnel.upstream.reset();
      rig.settle();
      CHECK(tunnel.client.was_reset() == !half_closed);
      CHECK(tunnel.client.ended());
      CHECK(rig.timeline("r").reason == Reason::reset);
      CHECK(rig.timeline("r").who == 'U');
      CHECK(rig.at_rest());
    }
  }

  TEST_CASE("a tunnel is cut once neither side has sent anything for long enough, and by no other limit") {
    EdgeRig rig{{.upstream = ", read_idle_timeout: 1s",
                 .route = ", tunnel_idle_timeout: 10m",
                 .rest = "policies: {default: {overall_timeout: 1s}}\n"
                         "limits: {body_idle_timeout: 1s, write_idle_timeout: 1s, idle_timeout: 1s}\n"}};
    Tunnel tunnel{rig};
    for (int i = 0; i < 3; ++i) {
      rig.pass(599s);
      tunnel.client.send("c");
      CHECK(rig.get(tunnel.upstream, "c") == "c");
      rig.pass(599s);
      tunnel.upstream.send("u");
      CHECK(rig.get(tunnel.client, "u") == "u");
    }
    rig.pass(599s);
    CHECK(rig.edge.in_flight() == 1);
    rig.pass(2s);
    check_cut(rig, tunnel, Reason::tunnel_idle, 'P');
  }

  TEST_CASE("the longest that a tunnel may be idle is an hour unless the route says otherwise") {
    EdgeRig rig;
    Tunnel tunnel{rig};
    rig.pass(3599s);
    CHECK(tunnel.stands(rig));
    rig.pass(3601s);
    check_cut(rig, tunnel, Reason::tunnel_idle, 'P');
  }

  TEST_CASE("a half-closed tunnel is not kept for ever either") {
    EdgeRig rig;
    Tunnel tunnel{rig};
    tunnel.client.half_close();
    rig.settle();
    rig.pass(3601s);
    CHECK(tunnel.client.was_reset());
    CHECK(rig.timeline("r").reason == Reason::tunnel_idle);
    CHECK(rig.at_rest());
  }

  TEST_CASE("tunnels go on during a drain until its grace is over") {
    EdgeRig rig;
    Tunnel tunnel{rig};
    rig.process.draining = true;
    rig.edge.drain_connections();
    rig.pass(1min);
    CHECK(tunnel.stands(rig));
    rig.edge.cancel_all(Reason::drained);
    check_cut(rig, tunnel, Reason::drained, 'P');
  }

  TEST_CASE("a reload leaves tunnels alone") {
    EdgeRig rig;
    Tunnel tunnel{rig};
    rig.use({.route = ", upgrade: [], tunnel_idle_timeout: 1s"});
    rig.pass(1min);
    CHECK(tunnel.stands(rig));
  }

  // ---- back-pressure ------------------------------------------------------------------------

  TEST_CASE("who does not read holds the other side up, and loses nothing") {
    constexpr std::size_t kMuch = 64 << 20;
    EdgeRig rig;
    Tunnel tunnel{rig, rig.client(4096, 4096)};
    const std::size_t down = fill(rig, tunnel.upstream, kMuch);
    CHECK(down < kMuch);
    // The other direction does not mind.
    tunnel.client.send("still here");
    CHECK(rig.get(tunnel.upstream, "here") == "still here");
    const std::size_t up = fill(rig, tunnel.client, kMuch);
    CHECK(up < kMuch);
    // Neither is anybody gone, nor silent, who is only held up.
    rig.pass(1min);
    CHECK(drain(rig, tunnel.client) == down);
    CHECK(drain(rig, tunnel.upstream) == up);
    CHECK(tunnel.stands(rig));
  }

  TEST_CASE("the end of a side that is held up comes behind all that it has sent") {
    constexpr std::size_t kMuch = 64 << 20;
    EdgeRig rig;
    Tunnel tunnel{rig, rig.client(4096, 4096)};
    const std::size_t up = fill(rig, tunnel.client, kMuch);
    const std::size_t down = fill(rig, tunnel.upstream, kMuch);
    tunnel.client.half_close();
    tunnel.upstream.half_close();
    rig.pass(1min);
    CHECK(rig.edge.in_flight() == 1);
    CHECK(drain(rig, tunnel.client) == down);
    CHECK(drain(rig, tunnel.upstream) == up);
    CHECK(rig.until([&] { return tunnel.client.ended() && tunnel.upstream.ended(); }));
    CHECK_FALSE(tunnel.client.was_reset());
    CHECK_FALSE(tunnel.upstream.was_reset());
    CHECK(rig.timeline("r").reason == Reason::success);
    CHECK(rig.at_rest());
  }

  TEST_CASE("a tunnel in which nothing can move is idle") {
    EdgeRig rig{{.route = ", tunnel_idle_timeout: 1m"}};
    Tunnel tunnel{rig, rig.client(4096, 4096)};
    fill(rig, tunnel.upstream, 64 << 20);
    rig.pass(59s);
    CHECK(rig.edge.in_flight() == 1);
    rig.pass(2s);
    CHECK(rig.timeline("r").reason == Reason::tunnel_idle);
    CHECK(rig.at_rest());
  }

  // ---- what is no upgrade -------------------------------------------------------------------

  TEST_CASE("what the route does not allow is not asked for") {
    const std::vector<std::pair<std::string, std::string>> cases = {
        {", upgrade: []", kAsking},
        {", upgrade: [chat]", kAsking},
        {"", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"},
        {"", "Upgrade: websocket\r\n"}};
    for (const auto& [route, lines] : cases) {
      CAPTURE(route);
      CAPTURE(lines);
      EdgeRig rig{{.route = route}};
      Peer client = rig.client_with(kGet + lines + "\r\n");
      Peer upstream = rig.upstream();
      const std::string asked = rig.head(upstream);
      CHECK_FALSE(has(asked, "\r\nUpgrade:"));
      CHECK_FALSE(has(asked, "\r\nConnection:"));
      CHECK_FALSE(has(asked, "HTTP2-Settings"));
      upstream.send(kOk);
      CHECK(rig.message(client).ends_with("\r\nok"));
    }
  }

  TEST_CASE("a request with a body cannot become a tunnel") {
    EdgeRig rig;
    Peer client = rig.client_with(kGet + kAsking + "Content-Length: 3\r\n\r\nabc");
    Peer upstream = rig.upstream();
    CHECK_FALSE(has(rig.get(upstream, "\r\n\r\nabc"), "\r\nUpgrade:"));
    upstream.send(kOk);
    CHECK(rig.message(client).ends_with("\r\nok"));
  }

  TEST_CASE("a 101 that nobody asked for, or to something else, is a broken answer and sent once") {
    const std::string h2c = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\nsecret";
    const std::string rest = "policies: {default: {retry: {non_idempotent: true}}}\n";
    const auto reason_of = [&](const EdgeConfig& config, const std::string& answer) {
      EdgeRig rig{config};
      Peer client = rig.client_with(kUpgrade);
      Peer upstream = rig.upstream();
      rig.head(upstream);
      upstream.send(answer);
      const std::string reply = rig.message(client);
      CHECK(status_of(reply) == "HTTP/1.1 502 Bad Gateway");
      CHECK_FALSE(has(reply, "secret"));
      CHECK(rig.until([&] { return upstream.ended(); }));
      CHECK(rig.at_rest());
      const exchange::Timeline timeline = rig.timeline("r");
      CHECK(timeline.attempts.size() == 1);
      return timeline.reason;
    };
    CHECK(reason_of({.rest = rest}, h2c) == Reason::upgrade_refused);
    CHECK(reason_of({.rest = rest}, "HTTP/1.1 101 Switching Protocols\r\n\r\n") == Reason::upgrade_refused);
    CHECK(reason_of({.route = ", upgrade: []", .rest = rest}, kSwitch) == Reason::protocol_error);
  }

  // ---- what others do -----------------------------------------------------------------------

  TEST_CASE("an upgrade is not copied") {
    EdgeRig rig{{.mirror = ""}};
    Tunnel tunnel{rig};
    CHECK(tunnel.stands(rig));
    CHECK(rig.no_copy());
  }

  TEST_CASE("an upgrade is not answered from a cache") {
    EdgeRig rig{{.rest = "policies: {default: {cache: {ttl: 1h}}}\n"}};
    Peer first = rig.client_with(kGet + "\r\n");
    Peer upstream = rig.upstream();
    rig.head(upstream);
    upstream.send(kOk);
    CHECK(rig.message(first).ends_with("\r\nok"));
    Peer second = rig.client_with("GET /ws HTTP/1.1\r\nHost: h\r\nX-Request-Id: again\r\n\r\n");
    CHECK(rig.message(second).ends_with("\r\nok"));
    CHECK(rig.timeline("again").cache == exchange::CacheShown::hit);
    Peer client = rig.client_with(kUpgrade);
    CHECK(has(rig.head(upstream), "\r\nUpgrade: websocket\r\n"));
    upstream.send(kSwitch);
    CHECK(status_of(rig.head(client)) == "HTTP/1.1 101 Switching Protocols");
  }

  TEST_CASE("an upgrade goes out again as long as nothing of it was sent, and becomes a tunnel there") {
    EdgeRig rig{{.rest = "policies: {default: {retry: {max_attempts: 2, initial_backoff: 10ms, jitter: none}}}\n",
                 .endpoints = 2}};
    rig.doors[0]->close();
    Peer client = rig.client_with(kUpgrade);
    Peer upstream;
    for (int i = 0; i < 10 && !upstream.open(); ++i) {
      rig.settle();
      rig.pass(11ms);
      upstream = rig.doors[1]->accept();
    }
    REQUIRE(upstream.open());
    rig.head(upstream);
    upstream.send(kSwitch);
    CHECK(status_of(rig.head(client)) == "HTTP/1.1 101 Switching Protocols");
    client.send("x");
    CHECK(rig.get(upstream, "x") == "x");
  }

  TEST_CASE("a client that leaves before the 101 takes its upgrade with it") {
    EdgeRig rig;
    Peer client = rig.client_with(kUpgrade + "early");
    Peer upstream = rig.upstream();
    rig.head(upstream);
    client.half_close();
    rig.settle();
    CHECK(upstream.ended());
    CHECK(rig.timeline("r").status == 499);
    CHECK(rig.at_rest());
  }
}
