// tests/support/peer.hpp
//
// The far end of a connection, worked by hand: a client or an upstream that sends exactly these bytes and sees exactly
// what came. Never blocks, so that one thread can be the peer and the loop under test.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <string_view>
#include <utility>

#include <doctest/doctest.h>

#include "proxy/net/socket_address.hpp"

namespace outrigger::test {

class Peer {
 public:
  Peer() noexcept = default;
  /// Takes over a connected descriptor, which must be non-blocking.
  explicit Peer(int fd) noexcept : fd_(fd) {}
  Peer(Peer&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)),
        received_(std::move(other.received_)),
        ended_(other.ended_),
        was_reset_(other.was_reset_) {}
  Peer& operator=(Peer&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(received_, other.received_);
    std::swap(ended_, other.ended_);
    std::swap(was_reset_, other.was_reset_);
    return *this;
  }
  ~Peer() { close(); }

  bool open() const noexcept { return fd_ >= 0; }
  int descriptor() const noexcept { return fd_; }

  /// Sends bytes that the kernel takes at once.
  void send(std::string_view bytes) { REQUIRE(send_some(bytes) == bytes.size()); }
  /// How many of the bytes the kernel took.
  std::size_t send_some(std::string_view bytes) {
    const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent < 0 ? 0 : static_cast<std::size_t>(sent);
  }

  /// Everything that has come and was not taken yet.
  const std::string& received() {
    char chunk[16 * 1024];
    for (;;) {
      const ssize_t count = ::recv(fd_, chunk, sizeof chunk, MSG_DONTWAIT);
      if (count > 0) {
        received_.append(chunk, static_cast<std::size_t>(count));
        continue;
      }
      ended_ |= count == 0 || errno == ECONNRESET;
      was_reset_ |= count < 0 && errno == ECONNRESET;
      return received_;
    }
  }
  /// Receives only this much at most, and forgets it; how much it was.
  std::size_t take_some(std::size_t most) {
    std::string chunk(most, '\0');
    const ssize_t count = ::recv(fd_, chunk.data(), most, MSG_DONTWAIT);
    return count < 0 ? 0 : static_cast<std::size_t>(count);
  }
  std::string take() {
    received();
    return std::exchange(received_, {});
  }
  /// Makes bytes that were taken the first to be taken again.
  void put_back(std::string_view bytes) { received_.insert(0, bytes); }
  /// Whether the other side has closed, in good order or with a reset, behind all that was received.
  bool ended() {
    received();
    return ended_;
  }
  bool was_reset() {
    received();
    return was_reset_;
  }

  void half_close() noexcept { ::shutdown(fd_, SHUT_WR); }
  void close() noexcept {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  void reset() noexcept {
    const linger now{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
  }
  /// Makes the kernel keep little of what comes (before anything does) or goes.
  void narrow(int option, int bytes) noexcept { ::setsockopt(fd_, SOL_SOCKET, option, &bytes, sizeof bytes); }

 private:
  int fd_ = -1;
  std::string received_;
  bool ended_ = false;
  bool was_reset_ = false;
};

/// A listening socket on a loopback port of its own.
class Door {
 public:
  explicit Door(int backlog = 64) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    const auto any = *net::parse_address("127.0.0.1:0");
    REQUIRE(::bind(fd_, reinterpret_cast<const sockaddr*>(&any.storage), any.size) == 0);
    REQUIRE(::listen(fd_, backlog) == 0);
    address_ = net::bound_address(fd_);
  }
  Door(const Door&) = delete;
  Door& operator=(const Door&) = delete;
  ~Door() { close(); }

  const net::SocketAddress& address() const noexcept { return address_; }
  int descriptor() const noexcept { return fd_; }
  /// From now on connections are refused.
  void close() noexcept {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

  /// The next connection that waits; a closed Peer where there is none.
  Peer accept() { return Peer{::accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)}; }
  /// A new connection to here, which the kernel completes by itself.
  Peer connect(int receive_buffer = 0) const {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    REQUIRE(fd >= 0);
    Peer peer{fd};
    if (receive_buffer != 0) peer.narrow(SO_RCVBUF, receive_buffer);
    const int result = ::connect(fd, reinterpret_cast<const sockaddr*>(&address_.storage), address_.size);
    REQUIRE((result == 0 || errno == EINPROGRESS));
    return peer;
  }

 private:
  int fd_;
  net::SocketAddress address_;
};

}  // namespace outrigger::test
