// tests/support/tls_pair.hpp
//
// Both ends of an encrypted connection, and what they are configured with, without files.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>

#include <doctest/doctest.h>

#include "proxy/net/tls_context.hpp"
#include "proxy/net/tls_session.hpp"
#include "tests/support/certificates.hpp"

namespace outrigger::test {

inline config::FileConfig as_file(std::string text) { return {.path = "file.pem", .text = std::move(text)}; }

inline config::ListenerTlsConfig shown(const Identity& identity) {
  return {.certificate = as_file(identity.certificate), .private_key = as_file(identity.key)};
}

inline std::shared_ptr<const net::TlsContext> server_context(const config::ListenerTlsConfig& tls,
                                                             const std::string& name = "in") {
  config::Config config;
  config.listeners.push_back({.name = name, .tls = tls});
  config::Diagnostics errors;
  const auto contexts = net::build_tls(config, errors);
  REQUIRE(errors.empty());
  return contexts->listeners.front();
}

inline std::shared_ptr<const net::TlsContext> client_context(const config::UpstreamTlsConfig& tls) {
  config::Config config;
  config.upstreams.push_back({.name = "up", .tls = tls});
  config::Diagnostics errors;
  const auto contexts = net::build_tls(config, errors);
  REQUIRE(errors.empty());
  return contexts->upstreams.front();
}

/// A pair of connected sockets, closed in the end unless they were before.
struct SocketPair {
  SocketPair() { REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0); }
  SocketPair(const SocketPair&) = delete;
  SocketPair& operator=(const SocketPair&) = delete;
  ~SocketPair() {
    close(0);
    close(1);
  }
  void close(int end) {
    if (ends[end] >= 0) ::close(std::exchange(ends[end], -1));
  }
  int ends[2];
};

/// A client and a server on one pair of sockets, each told of everything at once.
struct TlsPair {
  TlsPair(const net::TlsContext& client_side, const net::TlsContext& server_side, std::string_view name = "localhost")
      : client(client_side, name, ticket), server(server_side) {
    client.attach(wire.ends[0]);
    server.attach(wire.ends[1]);
  }

  /// Both handshakes as far as they go; the client's first, which has the first word.
  void shake() {
    for (int i = 0; i < 10; ++i) {
      if (client_status == net::IoStatus::again) {
        client.announce(true, false);
        client_status = client.handshake();
      }
      if (server_status == net::IoStatus::again) {
        server.announce(true, false);
        server_status = server.handshake();
      }
    }
  }
  bool stands() const { return client_status == net::IoStatus::ok && server_status == net::IoStatus::ok; }

  net::TlsTicket ticket;
  SocketPair wire;
  net::TlsSession client;
  net::TlsSession server;
  net::IoStatus client_status = net::IoStatus::again;
  net::IoStatus server_status = net::IoStatus::again;
};

}  // namespace outrigger::test
