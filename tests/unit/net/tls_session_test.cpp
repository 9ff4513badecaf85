#include "proxy/net/tls_session.hpp"

#include <cerrno>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <openssl/ssl.h>

#include "tests/support/tls_pair.hpp"

using namespace outrigger;
using namespace outrigger::net;
using namespace outrigger::test;

namespace {

const Authority& authority() {
  static const Authority made;
  return made;
}

const Identity& localhost() {
  static const Identity made = authority().issue();
  return made;
}

config::UpstreamTlsConfig believing(const Authority& ca) { return {.ca = as_file(ca.certificate())}; }

/// A pair that has shaken hands.
struct Line : TlsPair {
  Line() : TlsPair(*client_context(believing(authority())), *server_context(shown(localhost()))) {
    shake();
    REQUIRE(stands());
  }
};

IoResult send(TlsSession& session, std::string_view text) { return session.send(std::span(&text, 1)); }

std::string take(TlsSession& session, std::size_t most = 100'000) {
  std::string text(most, '\0');
  session.announce(true, false);
  const IoResult result = session.recv({text.data(), text.size()});
  text.resize(result.bytes);
  return text;
}

IoResult look(TlsSession& session) {
  char room[64];
  session.announce(true, false);
  return session.recv(room);
}

std::string pattern(std::size_t size) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 7 + i / 251);
  return text;
}

/// Until the server has let the client in or not.
IoStatus shake_until_server_knows(TlsSession& client, TlsSession& server, const SocketPair& wire) {
  client.attach(wire.ends[0]);
  server.attach(wire.ends[1]);
  IoStatus at_server = IoStatus::again;
  for (int i = 0; i < 10 && at_server == IoStatus::again; ++i) {
    client.announce(true, false);
    server.announce(true, false);
    client.handshake();
    at_server = server.handshake();
  }
  return at_server;
}

}  // namespace

TEST_SUITE("net") {
  TEST_CASE("what one side of a TLS connection sends, the other receives") {
    Line line;
    CHECK(send(line.client, "ping").bytes == 4);
    CHECK(take(line.server) == "ping");
    CHECK(send(line.server, "pong").bytes == 4);
    CHECK(take(line.client) == "pong");
    CHECK(look(line.client).status == IoStatus::again);
    CHECK(line.client.peer().empty());
    CHECK(line.server.peer().empty());
  }

  TEST_CASE("pieces of any size arrive as one text") {
    const std::string text = pattern(60'000);
    for (const std::vector<std::size_t>& sizes : {std::vector<std::size_t>{1, 2, 3, 4},
                                                  {100, 0, 100, 5},
                                                  {16 * 1024, 1, 0, 1},
                                                  {10, 40'000, 7, 1},
                                                  {16 * 1024 - 1, 2, 16 * 1024 - 1, 9},
                                                  {0, 0, 0, 1},
                                                  {5, 16 * 1024 - 5, 16 * 1024, 3}}) {
      CAPTURE(sizes[0]);
      CAPTURE(sizes[1]);
      Line line;
      std::vector<std::string_view> pieces;
      std::size_t at = 0;
      for (const std::size_t size : sizes)
        pieces.push_back(std::string_view(text).substr(std::exchange(at, at + size), size));
      CHECK(line.client.send(pieces).bytes == at);
      CHECK(take(line.server) == text.substr(0, at));
    }
  }

  TEST_CASE("a receive that was not filled has emptied the connection, over as many records as came") {
    Line line;
    for (const char* text : {"one ", "two ", "three"}) send(line.client, text);
    CHECK(take(line.server, 4) == "one ");
    CHECK(take(line.server, 100) == "two three");
    CHECK(look(line.server).status == IoStatus::again);
  }

  TEST_CASE("without an announcement a connection that was emptied is not read again") {
    Line line;
    CHECK(look(line.server).status == IoStatus::again);
    send(line.client, "x");
    char room[8];
    CHECK(line.server.recv(room).status == IoStatus::again);
    line.server.announce(true, false);
    CHECK(line.server.recv(room).bytes == 1);
  }

  TEST_CASE("what the kernel would not take is taken later, from wherever it is by then") {
    Line line;
    const int small = 4096;
    ::setsockopt(line.wire.ends[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    const std::string text = pattern(1'000'000);
    std::string rest = text;
    std::string arrived;
    int refusals = 0;
    while (!rest.empty()) {
      const IoResult result = send(line.client, rest);
      REQUIRE(result.status != IoStatus::fault);
      if (result.bytes < rest.size()) {
        ++refusals;
        CHECK(line.client.waits_to_write());
      }
      rest = rest.substr(result.bytes);  // another place in memory
      arrived += take(line.server, 1 << 20);
    }
    arrived += take(line.server, 1 << 20);
    CHECK(refusals > 10);
    CHECK(arrived == text);
  }

  // ---- the end ------------------------------------------------------------------------------

  TEST_CASE("an end that was said is an end, behind all that was sent; the other direction goes on") {
    Line line;
    send(line.client, "last");
    CHECK(line.client.send_end());
    CHECK(take(line.server) == "last");
    CHECK(look(line.server).status == IoStatus::eof);
    CHECK(send(line.server, "still here").bytes == 10);
    CHECK(take(line.client) == "still here");
  }

  TEST_CASE("a connection that just closes is cut, whatever came before") {
    Line line;
    look(line.client);  // what is left unread would make it a reset
    send(line.client, "half of");
    line.wire.close(0);
    line.server.announce(true, true);
    char room[64];
    CHECK(line.server.recv(room).bytes == 7);
    CHECK(line.server.is_over());
    const IoResult cut = line.server.recv(room);
    CHECK(cut.status == IoStatus::fault);
    CHECK(cut.error == EPIPE);
    CHECK(line.server.failure() == "closed without close_notify");
    CHECK(line.server.send_end());  // there is nobody to say it to
  }

  TEST_CASE("who cuts a connection on purpose does not say an end") {
    Line line;
    line.client.abandon();
    CHECK(line.client.send_end());
    CHECK(look(line.server).status == IoStatus::again);
  }

  TEST_CASE("a record that somebody has changed is a fault, and nothing of it is passed on") {
    Line line;
    send(line.client, "secret");
    char record[256];
    const ssize_t size = ::recv(line.wire.ends[1], record, sizeof record, 0);
    REQUIRE(size > 10);
    record[size - 1] = static_cast<char>(record[size - 1] ^ 1);
    REQUIRE(::send(line.wire.ends[0], record, static_cast<std::size_t>(size), 0) == size);
    const IoResult result = look(line.server);
    CHECK(result.status == IoStatus::fault);
    CHECK(result.error == EPROTO);
    CHECK(line.server.failure().find("bad record mac") != std::string_view::npos);
  }

  TEST_CASE("input is bytes or the end, not what TLS has to say to itself") {
    Line line;
    // The tickets of TLS 1.3 wait at the client.
    CHECK_FALSE(line.client.has_input());
    send(line.server, "x");
    CHECK(line.client.has_input());
    CHECK(line.client.has_input());
    CHECK(take(line.client) == "x");
    CHECK_FALSE(line.client.has_input());
    line.server.send_end();
    CHECK(line.client.has_input());
  }

  // ---- the handshake ------------------------------------------------------------------------

  TEST_CASE("a certificate is refused for what is wrong with it") {
    const Authority other("Other CA");
    struct Row {
      std::string why;
      config::UpstreamTlsConfig client;
      Identity server;
      std::string name;
    };
    const std::vector<Row> rows = {
        {"certificate has expired", believing(authority()),
         authority().issue({.valid_from = -7200, .valid_until = -60}), "localhost"},
        {"certificate is not yet valid", believing(authority()), authority().issue({.valid_from = 600}), "localhost"},
        {"hostname mismatch", believing(authority()), localhost(), "example.com"},
        {"IP address mismatch", believing(authority()), localhost(), "127.0.0.2"},
        {"unable to get local issuer certificate", believing(other), localhost(), "localhost"},
    };
    for (const Row& row : rows) {
      CAPTURE(row.why);
      TlsPair pair(*client_context(row.client), *server_context(shown(row.server)), row.name);
      pair.shake();
      CHECK(pair.client_status == IoStatus::fault);
      CHECK(pair.client.failure() == "certificate verify failed: " + row.why);
      CHECK(pair.server_status == IoStatus::fault);
      CHECK(pair.server.failure().find("alert") != std::string_view::npos);

      config::UpstreamTlsConfig careless = row.client;
      careless.verify = false;
      TlsPair unverified(*client_context(careless), *server_context(shown(row.server)), row.name);
      unverified.shake();
      CHECK(unverified.stands());
    }
  }

  TEST_CASE("a certificate is for names and addresses; a wildcard stands for one whole label") {
    const Identity wild = authority().issue({.names = {"DNS:*.example.com", "IP:127.0.0.1", "IP:::1"}});
    const auto client = client_context(believing(authority()));
    const auto server = server_context(shown(wild));
    const auto accepted = [&](std::string_view name) {
      TlsPair pair(*client, *server, name);
      pair.shake();
      return pair.stands();
    };
    for (const char* name : {"a.example.com", "A.Example.com", "a.example.com.", "127.0.0.1", "::1"}) {
      CAPTURE(name);
      CHECK(accepted(name));
    }
    for (const char* name : {"example.com", "a.b.example.com", "127.0.0.2", "a.example.org"}) {
      CAPTURE(name);
      CHECK_FALSE(accepted(name));
    }
  }

  TEST_CASE("versions that do not meet are refused on both sides") {
    config::UpstreamTlsConfig newest = believing(authority());
    newest.min_version = config::TlsVersion::v1_3;
    TlsPair good(*client_context(newest), *server_context(shown(localhost())));
    good.shake();
    CHECK(good.stands());
  }

  TEST_CASE("a client that must have a certificate is known by it, or refused") {
    const Authority other("Other CA");
    config::ListenerTlsConfig asking = shown(localhost());
    asking.client_ca = as_file(authority().certificate());
    const auto server = server_context(asking);
    const auto shake = [&](const Identity& identity) {
      config::UpstreamTlsConfig with = believing(authority());
      if (!identity.certificate.empty()) {
        with.certificate = as_file(identity.certificate);
        with.private_key = as_file(identity.key);
      }
      auto pair = std::make_unique<TlsPair>(*client_context(with), *server);
      pair->shake();
      return pair;
    };
    const auto known = shake(authority().issue({.subject = "a \"b\", c", .names = {}}));
    REQUIRE(known->server_status == IoStatus::ok);
    CHECK(known->server.peer().starts_with("Hash="));
    CHECK(known->server.peer().ends_with(";Subject=\"CN=a \\\"b\\\"\\, c\""));
    CHECK(known->server.peer().size() == 5 + 64 + 25);

    const auto nobody = shake({});
    CHECK(nobody->server_status == IoStatus::fault);
    CHECK(nobody->server.failure() == "peer did not return a certificate");
    // With TLS 1.3 the client had done its part before it was refused.
    CHECK(nobody->client_status == IoStatus::ok);
    const IoResult told = look(nobody->client);
    CHECK(told.status == IoStatus::fault);
    CHECK(told.error == EPROTO);
    CHECK(nobody->client.failure() == "tlsv13 alert certificate required");

    const auto stranger = shake(other.issue());
    CHECK(stranger->server_status == IoStatus::fault);
    CHECK(stranger->server.failure().starts_with("certificate verify failed: "));
  }

  TEST_CASE("plain bytes are no handshake, in either direction") {
    for (const bool to_server : {true, false}) {
      TlsPair pair(*client_context(believing(authority())), *server_context(shown(localhost())));
      const std::string_view plain = to_server ? "GET / HTTP/1.1\r\n\r\n" : "HTTP/1.1 400 Bad Request\r\n\r\n";
      REQUIRE(::send(pair.wire.ends[to_server ? 0 : 1], plain.data(), plain.size(), 0) > 0);
      TlsSession& session = to_server ? pair.server : pair.client;
      session.handshake();
      session.announce(true, false);
      CHECK(session.handshake() == IoStatus::fault);
      CHECK(session.failure() == (to_server ? "http request" : "wrong version number"));
    }
  }

  TEST_CASE("a handshake that is cut behind any of its bytes has failed, on either side") {
    const auto client = client_context(believing(authority()));
    const auto server = server_context(shown(localhost()));
    for (const bool cut_client : {true, false}) {
      std::size_t length = 0;
      for (std::size_t allowed = 0;; ++allowed) {
        CAPTURE(cut_client);
        CAPTURE(allowed);
        // Two pairs of sockets, with us in between.
        SocketPair left;
        SocketPair right;
        TlsTicket ticket;
        TlsSession ours(*client, "localhost", ticket);
        TlsSession theirs(*server);
        ours.attach(left.ends[0]);
        theirs.attach(right.ends[0]);
        IoStatus at_client = IoStatus::again;
        IoStatus at_server = IoStatus::again;
        std::size_t passed = 0;
        bool cut = false;
        const auto relay = [&](int from, int to, bool limited) {
          char bytes[4096];
          const ssize_t size = ::recv(from, bytes, sizeof bytes, MSG_DONTWAIT);
          if (size <= 0) return;
          std::size_t good = static_cast<std::size_t>(size);
          if (limited) {
            good = std::min(good, allowed - passed);
            passed += good;
            cut = good < static_cast<std::size_t>(size);
          }
          REQUIRE(::send(to, bytes, good, 0) == static_cast<ssize_t>(good));
        };
        for (int turn = 0; turn < 10 && !cut; ++turn) {
          ours.announce(true, false);
          if (at_client == IoStatus::again) at_client = ours.handshake();
          relay(left.ends[1], right.ends[1], !cut_client);
          theirs.announce(true, false);
          if (at_server == IoStatus::again) at_server = theirs.handshake();
          relay(right.ends[1], left.ends[1], cut_client);
        }
        if (!cut) {
          length = allowed;
          CHECK(at_client == IoStatus::ok);
          CHECK(at_server == IoStatus::ok);
          break;
        }
        TlsSession& victim = cut_client ? ours : theirs;
        (cut_client ? left : right).close(1);
        victim.announce(true, true);
        IoStatus& at_victim = cut_client ? at_client : at_server;
        if (at_victim == IoStatus::again) at_victim = victim.handshake();
        char room[8];
        if (at_victim == IoStatus::ok) {
          // Only the tickets behind its handshake were cut.
          CHECK(cut_client);
          CHECK(victim.recv(room).status == IoStatus::fault);
        } else {
          CHECK(at_victim == IoStatus::fault);
          CHECK(victim.failure() == "closed during the handshake");
        }
      }
      CHECK(length > 100);
    }
  }

  // ---- taking a session up again ------------------------------------------------------------

  TEST_CASE("a second connection takes the session up again, also after a reload, and not where it must not") {
    config::ListenerTlsConfig asking = shown(localhost());
    const auto client = client_context(believing(authority()));
    const auto server = server_context(asking);
    TlsTicket ticket;
    const auto resumes = [&](const TlsContext& with) {
      SocketPair wire;
      TlsSession ours(*client, "localhost", ticket);
      TlsSession theirs(with);
      ours.attach(wire.ends[0]);
      theirs.attach(wire.ends[1]);
      IoStatus at_client = IoStatus::again;
      IoStatus at_server = IoStatus::again;
      for (int i = 0; i < 10; ++i) {
        ours.announce(true, false);
        theirs.announce(true, false);
        if (at_client == IoStatus::again) at_client = ours.handshake();
        if (at_server == IoStatus::again) at_server = theirs.handshake();
      }
      REQUIRE(at_client == IoStatus::ok);
      REQUIRE(at_server == IoStatus::ok);
      look(ours);  // the tickets
      CHECK(ours.resumed() == theirs.resumed());
      return ours.resumed();
    };
    CHECK_FALSE(resumes(*server));
    CHECK(resumes(*server));
    CHECK(resumes(*server));  // though nobody said an end
    // The same listener after a reload, with another certificate, too.
    CHECK(resumes(*server_context(shown(authority().issue()))));
    CHECK_FALSE(resumes(*server_context(asking, "other")));
  }

  TEST_CASE("a handshake that fails takes with it the ticket that it began with, and no other") {
    const auto client = client_context(believing(authority()));
    const auto server = server_context(shown(localhost()));
    const auto new_ticket = [&](TlsTicket& into) {
      TlsPair pair(*client, *server);
      pair.shake();
      look(pair.client);
      REQUIRE(pair.ticket.session() != nullptr);
      SSL_SESSION_up_ref(pair.ticket.session());
      into.keep(pair.ticket.session());
    };
    for (const bool another : {false, true}) {
      CAPTURE(another);
      TlsTicket ticket;
      new_ticket(ticket);
      {
        SocketPair wire;
        TlsSession ours(*client, "localhost", ticket);
        ours.attach(wire.ends[0]);
        CHECK(ours.handshake() == IoStatus::again);
        if (another) new_ticket(ticket);
        wire.close(1);
        ours.announce(true, true);
        CHECK(ours.handshake() == IoStatus::fault);
      }
      CHECK((ticket.session() != nullptr) == another);
    }
  }

  TEST_CASE("a certificate that has expired does not come in with a ticket of its time") {
    for (const bool expired : {false, true}) {
      CAPTURE(expired);
      const Identity mine =
          authority().issue(expired ? CertificateWish{.valid_from = -7200, .valid_until = -60} : CertificateWish{});
      config::ListenerTlsConfig asking = shown(localhost());
      asking.client_ca = as_file(authority().certificate());
      config::UpstreamTlsConfig showing = believing(authority());
      showing.certificate = as_file(mine.certificate);
      showing.private_key = as_file(mine.key);
      const auto client = client_context(showing);
      const auto timeless = server_context(asking);
      X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(timeless->handle()), X509_V_FLAG_NO_CHECK_TIME);
      TlsPair first(*client, *timeless);
      first.shake();
      REQUIRE(first.stands());
      look(first.client);
      REQUIRE(first.ticket.session() != nullptr);

      SocketPair wire;
      TlsSession ours(*client, "localhost", first.ticket);
      TlsSession theirs(*server_context(asking));
      const IoStatus at_server = shake_until_server_knows(ours, theirs, wire);
      CHECK(at_server == (expired ? IoStatus::fault : IoStatus::ok));
      CHECK(theirs.resumed() != expired);
      if (expired) {
        CHECK(theirs.failure() == "certificate verify failed: certificate has expired");
      } else {
        CHECK(theirs.peer() == first.server.peer());
      }
    }
  }

  TEST_CASE("who came in without a certificate does not come in with a ticket of that time") {
    config::ListenerTlsConfig open = shown(localhost());
    config::ListenerTlsConfig asking = open;
    asking.client_ca = as_file(authority().certificate());
    TlsPair first(*client_context(believing(authority())), *server_context(open));
    first.shake();
    REQUIRE(first.stands());
    look(first.client);
    REQUIRE(first.ticket.session() != nullptr);

    SocketPair wire;
    const auto client = client_context(believing(authority()));
    TlsSession ours(*client, "localhost", first.ticket);
    TlsSession theirs(*server_context(asking));
    const IoStatus at_server = shake_until_server_knows(ours, theirs, wire);
    CHECK(at_server == IoStatus::fault);
  }
}
