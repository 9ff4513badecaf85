// proxy/net/tls_session.hpp
//
// TLS on one connection: the byte layer between a Transport and its descriptor. It reads and writes the descriptor
// itself, and keeps in mind when a read has emptied it, so that a record costs one system call and an idle connection
// none.
//
// An end is an end only if the peer said so (close_notify): a connection that just closes may have been cut by anybody
// in between, and reads as a fault, unless what travels knows its own end.
//
// A session may be handed from one thread to another between two calls.
//
// Source: RFC 8446, RFC 5246 7.2.1, SSL_read(3) and SSL_write(3).
// Threads: one at a time. Cost: no allocation of our own per call; OpenSSL takes its record buffers while it needs
// them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "proxy/net/io_result.hpp"
#include "proxy/net/tls_context.hpp"

struct bio_st;
struct bio_method_st;
struct ssl_session_st;
struct ssl_st;

namespace outrigger::net {

/// The last session with an endpoint, with which the next connection to it begins.
class TlsTicket {
 public:
  TlsTicket() = default;
  TlsTicket(const TlsTicket&) = delete;
  TlsTicket& operator=(const TlsTicket&) = delete;
  ~TlsTicket() { keep(nullptr); }

  /// Takes over a session.
  void keep(ssl_session_st* session) noexcept;
  ssl_session_st* session() const noexcept { return session_; }

 private:
  ssl_session_st* session_ = nullptr;
};

class TlsSession {
 public:
  /// The server's side.
  explicit TlsSession(const TlsContext& context);
  /// The client's side. `name` is whom the certificate must be of, a host name (asked for, too) or an address; empty:
  /// nobody's in particular. `ticket` outlives the session.
  TlsSession(const TlsContext& context, std::string_view name, TlsTicket& ticket);
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;
  ~TlsSession();

  /// The descriptor it works on; not owned.
  void attach(int descriptor) noexcept { descriptor_ = descriptor; }
  /// What the descriptor was announced to be.
  void announce(bool readable, bool ended) noexcept;

  /// Goes on with the handshake: ok once it is done, again (see `waits_to_write`), or fault (see `failure`).
  IoStatus handshake() noexcept;
  /// Receives until `into` is full or nothing is left.
  IoResult recv(std::span<char> into) noexcept;
  IoResult send(std::span<const std::string_view> pieces) noexcept;
  /// Says that nothing more will be sent; false where the kernel would not take it.
  bool send_end() noexcept;
  /// From now on what travels has a framing of its own, so that a connection that just closes has ended, too.
  void accept_unsaid_end() noexcept { unsaid_end_ok_ = true; }
  /// Whether `recv` would bring bytes or the end, looked up.
  bool has_input() noexcept;
  /// The connection is cut on purpose: nothing more is said.
  void abandon() noexcept { abandoned_ = true; }

  /// Whether what said `again` last waits for room in the kernel instead of bytes.
  bool waits_to_write() const noexcept { return waits_to_write_; }
  /// Whether the receiving side is over: there is nothing to be announced any more.
  bool is_over() const noexcept { return over_ != IoStatus::ok; }
  /// Why it failed, in OpenSSL's words.
  std::string_view failure() const noexcept { return failure_; }
  /// The peer's verified certificate as a field value; empty where none was asked for. `Hash=` is SHA-256 of it.
  std::string_view peer() const noexcept { return peer_; }
  /// Whether the handshake was shortened by an earlier session.
  bool resumed() const noexcept;

  /// Makes clients of that context keep the tickets they get.
  static void keep_tickets(ssl_ctx_st* context) noexcept;

 private:
  friend struct TlsWire;
  static constexpr std::size_t kRecord = 16 * 1024;

  explicit TlsSession(ssl_st* session);
  IoStatus stopped(int result) noexcept;
  void fail() noexcept;
  bool was_cut() const noexcept;
  void note_peer();

  ssl_st* ssl_;
  TlsTicket* ticket_ = nullptr;
  const ssl_session_st* offered_ = nullptr;  // of that ticket, what the handshake began with
  int descriptor_ = -1;
  int error_ = 0;  // of the descriptor
  IoStatus over_ = IoStatus::ok;
  bool established_ = false;
  bool emptied_ = false;  // a read has found nothing more, and nothing was announced since
  bool ended_ = false;    // the peer has closed its side
  bool eof_ = false;      // and we have read up to there
  bool waits_to_write_ = false;
  bool failed_ = false;  // nothing can be said any more
  bool end_sent_ = false;
  bool abandoned_ = false;
  bool unsaid_end_ok_ = false;
  std::string failure_;
  std::string peer_;
};

}  // namespace outrigger::net
