// How a pool's connections fare under TLS.

#include <memory>
#include <string>

#include <doctest/doctest.h>
#include <openssl/ssl.h>

#include "proxy/net/connection_pool.hpp"
#include "proxy/net/h1_upstream.hpp"
#include "tests/support/tls_pair.hpp"
#include "tests/unit/net/upstream_rig.hpp"

using namespace outrigger;
using namespace outrigger::net;
using namespace outrigger::test;

namespace {

/// A server in the test's hand, which also does what ours never would.
class Server {
 public:
  Server(const TlsContext& context, Peer peer) : peer_(std::move(peer)), ssl_(SSL_new(context.handle())) {
    SSL_set_fd(ssl_, peer_.descriptor());
    SSL_set_accept_state(ssl_);
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server() { SSL_free(ssl_); }

  /// Goes on with the handshake; true once it is done.
  bool shake() { return SSL_do_handshake(ssl_) == 1; }
  bool resumed() const { return SSL_session_reused(ssl_) == 1; }
  void send(std::string_view text) {
    REQUIRE(SSL_write(ssl_, text.data(), static_cast<int>(text.size())) == static_cast<int>(text.size()));
  }
  std::string take() {
    char room[4096];
    const int size = SSL_read(ssl_, room, sizeof room);
    return size > 0 ? std::string(room, static_cast<std::size_t>(size)) : "";
  }
  void send_ticket() {
    REQUIRE(SSL_new_session_ticket(ssl_) == 1);
    REQUIRE(SSL_do_handshake(ssl_) == 1);
  }
  void send_end() { SSL_shutdown(ssl_); }
  bool got_end() {
    take();
    return (SSL_get_shutdown(ssl_) & SSL_RECEIVED_SHUTDOWN) != 0;
  }
  void close() { peer_.close(); }
  void half_close() { peer_.half_close(); }
  void reset() { peer_.reset(); }

 private:
  Peer peer_;
  SSL* ssl_;
};

/// A request that asks for a tunnel.
class Upgrading final : public UpstreamSink {
 public:
  ~Upgrading() {
    if (stream != nullptr) stream->abort(Reason::client_disconnected);
  }
  void on_connected() override { stands = true; }
  void on_request_sent() override {}
  void on_drained() override {}
  void on_interim(const http::ResponseHead&) override {}
  void on_response(const http::ResponseHead&, std::string_view, std::string_view data, bool,
                   std::string_view) override {
    body += data;
  }
  void on_data(std::string_view data) override { body += data; }
  void on_half_closed() override { half_closed = true; }
  void on_end(std::string_view) override { over("end"); }
  void on_failed(Reason why, exchange::Exposure, bool) override { over(to_string(why)); }
  std::size_t response_allowance() const override { return SIZE_MAX; }
  std::size_t max_response_head() const override { return 64 * 1024; }
  std::string_view asked_upgrade() const override { return "websocket"; }

  UpstreamStream* stream = nullptr;
  bool stands = false;
  bool half_closed = false;
  std::string body;
  std::string ended;  // and how

 private:
  void over(std::string_view how) {
    ended = how;
    stream = nullptr;
  }
};

const std::string kSwitch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

class Rig : public LoopRig {
 public:
  explicit Rig(config::ListenerTlsConfig server = {}) {
    if (server.certificate.path.empty()) server = shown(authority.issue());
    server_side = server_context(server);
  }
  ~Rig() {
    pool->retire();
    pool.reset();
    settle();
  }

  std::unique_ptr<Server> accept() {
    Peer peer;
    REQUIRE(until([&] { return (peer = door.accept()).open(); }));
    return std::make_unique<Server>(*server_side, std::move(peer));
  }
  void begin(auto& told) {
    Reason why{};
    told.stream = pool->connect(told, why);
    REQUIRE(told.stream != nullptr);
  }
  /// A connection on which a request has reached the server.
  std::unique_ptr<Server> ask(Told& told) {
    begin(told);
    auto server = accept();
    bool shaken = false;
    REQUIRE(until([&] { return (shaken = shaken || server->shake()) && told.has("connected"); }));
    return ask(told, std::move(server));
  }
  std::unique_ptr<Server> ask(Told& told, std::unique_ptr<Server> server) {
    told.stream->start(UpstreamRig::kRequest, {}, false, false, true);
    REQUIRE(until([&] { return server->take() == UpstreamRig::kRequest; }));
    told.story.clear();
    return server;
  }
  /// A connection on which a tunnel was asked for.
  std::unique_ptr<Server> upgrade(Upgrading& request) {
    begin(request);
    auto server = accept();
    bool shaken = false;
    REQUIRE(until([&] { return (shaken = shaken || server->shake()) && request.stands; }));
    request.stream->start(UpstreamRig::kRequest, {}, false, false, true);
    REQUIRE(until([&] { return server->take() == UpstreamRig::kRequest; }));
    return server;
  }
  void answer(Server& server, Told& told) {
    server.send(UpstreamRig::kAnswer);
    REQUIRE(until([&] { return told.has("end"); }));
  }
  std::uint64_t connects(Reason result) const { return row.connects[static_cast<std::size_t>(result)].value(); }

  Authority authority;
  std::shared_ptr<const TlsContext> server_side;
  Door door;
  telemetry::UpstreamRow& row = *metrics.upstream_row(0, "up");
  Ref<ConnectionPool> pool{
      new ConnectionPool(loop, door.address(), row,
                         {.context = client_context({.ca = as_file(authority.certificate())}), .name = "localhost"})};
};

}  // namespace

TEST_SUITE("net") {
  TEST_CASE(
      "under TLS a connection counts as made once its handshake is done, and serves one request after the other") {
    Rig rig;
    Told first;
    rig.begin(first);
    const auto server = rig.accept();
    rig.settle();
    CHECK(first.story.empty());
    CHECK(rig.connects(Reason::success) == 0);
    bool shaken = false;
    CHECK(rig.until([&] { return (shaken = shaken || server->shake()) && first.story == "connected"; }));
    CHECK(rig.connects(Reason::success) == 1);
    first.stream->start(UpstreamRig::kRequest, {}, false, false, true);
    CHECK(rig.until([&] { return server->take() == UpstreamRig::kRequest; }));
    rig.answer(*server, first);
    Told second;
    second.stream = rig.pool->take(second, exchange::Reuse::any);
    REQUIRE(second.stream != nullptr);
    second.stream->start(UpstreamRig::kRequest, {}, false, false, true);
    CHECK(rig.until([&] { return server->take() == UpstreamRig::kRequest; }));
    rig.answer(*server, second);
  }

  TEST_CASE("a ticket that comes on an idle connection does not make it stale") {
    for (const exchange::Reuse reuse : {exchange::Reuse::any, exchange::Reuse::recent}) {
      for (const bool seen : {false, true}) {
        CAPTURE(seen);
        Rig rig;
        Told told;
        const auto server = rig.ask(told);
        rig.answer(*server, told);
        server->send_ticket();
        if (seen) rig.settle();
        Told next;
        next.stream = rig.pool->take(next, reuse);
        REQUIRE(next.stream != nullptr);
        next.stream->start(UpstreamRig::kRequest, {}, false, false, true);
        CHECK(rig.until([&] { return server->take() == UpstreamRig::kRequest; }));
        rig.answer(*server, next);
      }
    }
  }

  TEST_CASE("bytes or an end on an idle connection do, and it is closed in good order") {
    for (const bool bytes : {true, false}) {
      for (const bool seen : {false, true}) {
        CAPTURE(bytes);
        CAPTURE(seen);
        Rig rig;
        Told told;
        const auto server = rig.ask(told);
        rig.answer(*server, told);
        bytes ? server->send("x") : server->send_end();
        if (seen) {
          rig.settle();
          CHECK(rig.row.idle.value() == 0);
        }
        Told next;
        CHECK(rig.pool->take(next, exchange::Reuse::recent) == nullptr);
        CHECK(rig.until([&] { return server->got_end(); }));
      }
    }
  }

  TEST_CASE("the next connection takes the last session up again") {
    Rig rig;
    Told first;
    const auto server = rig.ask(first);
    CHECK_FALSE(server->resumed());
    rig.answer(*server, first);
    Told second;
    const auto other = rig.ask(second);
    CHECK(other->resumed());
    rig.answer(*other, second);
  }

  TEST_CASE("a close-delimited body is whole only if its end was said") {
    for (const bool said : {true, false}) {
      CAPTURE(said);
      Rig rig;
      Told told;
      const auto server = rig.ask(told);
      server->send("HTTP/1.1 200 OK\r\n\r\nall of it");
      if (said) server->send_end();
      server->close();
      REQUIRE(rig.until([&] { return told.stream == nullptr; }));
      CHECK(told.body == "all of it");
      CHECK(told.story == (said ? "200, end" : "200, closed_early fully_sent"));
    }
  }

  TEST_CASE("in a tunnel an end that was not said is one like any other, and the other direction goes on") {
    for (const bool said : {true, false}) {
      for (const bool at_once : {true, false}) {
        CAPTURE(said);
        CAPTURE(at_once);
        Rig rig;
        Upgrading request;
        const auto server = rig.upgrade(request);
        server->send(kSwitch + "all of it");
        if (!at_once) rig.settle();
        if (said) server->send_end();
        server->half_close();
        REQUIRE(rig.until([&] { return request.half_closed || request.stream == nullptr; }));
        CHECK(request.body == "all of it");
        REQUIRE(request.stream != nullptr);
        request.stream->send_body("and back");
        CHECK(rig.until([&] { return server->take() == "and back"; }));
        request.stream->send_end({});
        CHECK(request.ended == "end");
        CHECK(rig.until([&] { return server->got_end(); }));
      }
    }
  }

  TEST_CASE("a reset ends a tunnel as one") {
    Rig rig;
    Upgrading request;
    const auto server = rig.upgrade(request);
    server->send(kSwitch);
    rig.settle();
    server->reset();
    REQUIRE(rig.until([&] { return request.stream == nullptr; }));
    CHECK(request.ended == "reset");
    CHECK_FALSE(request.half_closed);
  }

  TEST_CASE("a server whose certificate is not believed gets nothing of the request") {
    const Authority other("Other CA");
    Rig rig(shown(other.issue()));
    Told told;
    rig.begin(told);
    const auto server = rig.accept();
    REQUIRE(rig.until([&] {
      server->shake();
      return told.stream == nullptr;
    }));
    CHECK(told.story == "tls_failure nothing_sent");
    CHECK(rig.connects(Reason::tls_failure) == 1);
    CHECK(rig.row.active.value() == 0);
  }

  TEST_CASE("a server that refuses our lack of a certificate behind the handshake has failed it") {
    const Authority authority;
    config::ListenerTlsConfig asking = shown(authority.issue());
    asking.client_ca = as_file(authority.certificate());
    Rig rig(asking);
    rig.pool = Ref<ConnectionPool>(
        new ConnectionPool(rig.loop, rig.door.address(), rig.row,
                           {.context = client_context({.ca = as_file(authority.certificate())}), .name = "localhost"}));
    Told told;
    rig.begin(told);
    const auto server = rig.accept();
    server->shake();
    REQUIRE(rig.until([&] {
      server->shake();
      return told.story == "connected";
    }));
    told.stream->start(UpstreamRig::kRequest, {}, false, false, true);
    REQUIRE(rig.until([&] {
      server->shake();
      return told.stream == nullptr;
    }));
    CHECK(told.story == "connected, sent, tls_failure fully_sent");
  }

  TEST_CASE("a server that resets in the middle of the handshake has failed it") {
    Rig rig;
    Told told;
    rig.begin(told);
    const auto server = rig.accept();
    rig.settle();
    server->close();  // what it has not read makes it a reset
    REQUIRE(rig.until([&] { return told.stream == nullptr; }));
    CHECK(told.story == "tls_failure nothing_sent");
    CHECK(rig.connects(Reason::tls_failure) == 1);
    CHECK(rig.connects(Reason::connect_error) == 0);
    CHECK(rig.row.active.value() == 0);
  }

  TEST_CASE("after a server has cut, or not ended, a handshake that began with a session, the next one is whole") {
    for (const bool cuts : {true, false}) {
      CAPTURE(cuts);
      Rig rig;
      Told first;
      const auto server = rig.ask(first);
      rig.answer(*server, first);
      Told second;
      rig.begin(second);
      const auto other = rig.accept();
      rig.settle();
      if (cuts) {
        other->close();
        REQUIRE(rig.until([&] { return second.stream == nullptr; }));
      } else {
        second.stream->abort(Reason::connect_timeout);
        second.stream = nullptr;
      }
      Told third;
      const auto whole = rig.ask(third);
      CHECK_FALSE(whole->resumed());
      rig.answer(*whole, third);
    }
  }

  TEST_CASE("a connection that is given up in the middle of its handshake counts for that") {
    Rig rig;
    Told told;
    rig.begin(told);
    const auto server = rig.accept();
    rig.settle();
    told.stream->abort(Reason::connect_timeout);
    told.stream = nullptr;
    CHECK(rig.connects(Reason::connect_timeout) == 1);
    CHECK(rig.row.active.value() == 0);
  }
}
