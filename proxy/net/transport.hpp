// proxy/net/transport.hpp
//
// One connection's bytes, readiness style: `recv` and `send` never wait, `watch_*` asks to be told once when trying
// again makes sense. No buffer is attached to a connection that waits, which a completion-style read would need; idle
// connections therefore cost a few hundred bytes. All sides use this class alone and do not know whether their bytes
// are encrypted: where there is a TlsSession they are, and all that is said here is said of what it has decrypted.
//
// The descriptor is registered with the worker's Poller once, edge-triggered, for everything; what was announced is
// remembered here until an attempt finds it used up. Asking costs no system call, where an Asio wait costs one
// epoll_ctl each: two per proxied request, measured at a tenth of its whole CPU time.
//
// Life: an owner holds a Ref; the registration holds another, which `close` hands to the poller to drop after the
// present batch of events. A closed transport has no owner and says nothing more.
//
// Threads: one worker.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "proxy/net/intrusive.hpp"
#include "proxy/net/io_result.hpp"
#include "proxy/net/tls_session.hpp"

namespace outrigger::net {

class Poller;

class TransportOwner {
 public:
  virtual void on_readable() = 0;
  virtual void on_writable() = 0;
  /// The connection is broken; a reset is seen even while unread bytes keep `on_readable` from being asked for.
  virtual void on_broken() = 0;

 protected:
  ~TransportOwner() = default;
};

class Transport : public Counted<Transport> {
 public:
  /// Takes over a connected, connecting or listening descriptor, which must be non-blocking. With `tls`, nothing moves
  /// before its handshake is done.
  Transport(Poller& poller, int descriptor, TransportOwner& owner, std::unique_ptr<TlsSession> tls = nullptr);

  /// Goes on with the handshake: ok once it is done, at once where there is none; again: the owner will be told that it
  /// can go on, by whichever word; fault: `tls()` knows why.
  IoStatus handshake() noexcept;
  IoResult recv(std::span<char> into) noexcept;
  IoResult send(std::string_view bytes) noexcept;
  /// Several pieces (at most kMaxPieces) in one call.
  IoResult send(std::span<const std::string_view> pieces) noexcept;
  static constexpr std::size_t kMaxPieces = 4;

  /// Under TLS: from now on an end is one though the peer has not said so.
  void accept_unsaid_end() noexcept {
    if (tls_) tls_->accept_unsaid_end();
  }

  /// Ask once; the owner is told once. Asking again while asked is nothing.
  void watch_read() noexcept;
  void watch_write() noexcept;
  void watch_broken() noexcept;
  /// Tells the owner `on_readable` in a later turn of the loop, whatever the descriptor says.
  void wake() noexcept;
  /// The owner has found that there is nothing more to accept.
  void set_exhausted() noexcept { readable_ = false; }

  /// Whether the peer has closed its side or reset, looked up without reading.
  bool peer_has_closed() const noexcept;
  /// How many bytes the kernel keeps that the peer has not taken, looked up.
  std::size_t unsent() const noexcept;
  /// Whether there is something to read, be it bytes or the end, looked up.
  bool has_input() const noexcept;
  /// Whether it has been announced that there may be something to read.
  bool may_have_input() const noexcept { return readable_; }
  /// The pending error of a connect that has become writable; 0: connected.
  int connect_error() const noexcept;

  /// Ends our side; the other one may go on.
  void shutdown_send() noexcept;
  /// Closes in good order and lets go of the owner.
  void close() noexcept;
  /// Closes with a reset instead of an orderly end.
  void reset() noexcept;
  int descriptor() const noexcept { return descriptor_; }
  /// nullptr: bytes are what they are on the wire.
  const TlsSession* tls() const noexcept { return tls_.get(); }

  /// A connection that goes to another loop: the descriptor, and what is on it.
  struct Released {
    int descriptor;
    std::unique_ptr<TlsSession> tls;
  };
  /// Lets go of the descriptor and the owner without closing.
  Released release() noexcept;

 private:
  friend class Counted<Transport>;
  friend class Poller;
  void last_reference_gone() noexcept { delete this; }
  void announce(std::uint32_t events) noexcept;
  void announce_to_tls() noexcept;
  void dispatch();
  IoResult sent(std::size_t asked, std::ptrdiff_t moved) noexcept;

  Poller& poller_;
  TransportOwner* owner_;
  std::unique_ptr<TlsSession> tls_;
  Transport* next_ = nullptr;         // in the poller's list of those to tell
  Transport* next_closed_ = nullptr;  // and of those that have closed
  int descriptor_;
  int send_fault_ = 0;  // of which the reading side would hear nothing any more
  bool listed_ = false;
  bool woken_ = false;  // to be told whatever has been announced
  // What has been announced and not been used up,
  bool readable_ = false;
  bool writable_ = false;
  bool broken_ = false;
  bool ended_ = false;     // the peer has closed its side
  bool end_owed_ = false;  // our side's end is still to be said
  // and what the owner wants to be told.
  bool want_read_ = false;
  bool want_write_ = false;
  bool want_broken_ = false;
};

}  // namespace outrigger::net
