// proxy/net/socket_address.hpp
//
// Addresses as the kernel wants them, TCP and Unix sockets, from and to the text that people read. Names are resolved
// here too, by the system's resolver, which may take seconds: only the control thread does that, never a worker.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace outrigger::net {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
  std::string text;  // `address:port`, brackets around IPv6; `unix:/path`

  bool is_unix() const noexcept { return storage.ss_family == AF_UNIX; }
  /// Whether only this host can reach it.
  bool is_local() const noexcept;
};

/// Reads `address:port` or `[v6]:port` with a numeric address, or `unix:/path`; nullopt for anything else.
std::optional<SocketAddress> parse_address(std::string_view text);

/// What the kernel says an address is.
SocketAddress from_kernel(const sockaddr_storage& storage, socklen_t size);

/// The address without its port; empty for a Unix socket, whose clients have none.
std::string host_of(const sockaddr_storage& storage);

/// Every address a name stands for, without repetition; empty where it does not resolve. Blocks.
std::vector<SocketAddress> resolve(const std::string& host, std::uint16_t port);

/// Opens `count` listening sockets on one address, one for each worker, between which the kernel spreads connections;
/// on a Unix socket one alone, because a path leads to one. Only the first may find the address taken: two processes
/// must not share a port by accident. A socket file that nobody listens behind any more gives way.
/// Errors: an empty list, and why in `error`.
std::vector<int> open_listeners(const SocketAddress& address, std::size_t count, std::string& error);

/// Sets what a TCP socket needs that carries requests and answers; a listening one gives it on to those it accepts.
/// Nothing on a Unix socket.
void set_stream_options(int descriptor, const SocketAddress& address) noexcept;

/// The address a listening socket got.
SocketAddress bound_address(int descriptor);

}  // namespace outrigger::net
