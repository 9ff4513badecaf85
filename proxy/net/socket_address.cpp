#include "proxy/net/socket_address.hpp"

#include <netdb.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstring>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

namespace outrigger::net {
namespace {

const sockaddr* as_sockaddr(const SocketAddress& address) noexcept {
  return reinterpret_cast<const sockaddr*>(&address.storage);
}

std::uint16_t port_of(const sockaddr_storage& storage) noexcept {
  if (storage.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6&>(storage).sin6_port);
  return ntohs(reinterpret_cast<const sockaddr_in&>(storage).sin_port);
}

constexpr std::string_view kUnix = "unix:";

const char* path_of(const SocketAddress& address) noexcept {
  return reinterpret_cast<const sockaddr_un&>(address.storage).sun_path;
}

/// Whether somebody listens behind a socket file.
bool is_served(const SocketAddress& address) noexcept {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return true;
  const bool refused = ::connect(fd, as_sockaddr(address), address.size) != 0 && errno == ECONNREFUSED;
  ::close(fd);
  return !refused;
}

/// Removes the socket file that a process left behind which could not clear up; nothing else, and none in use.
void remove_stale_file(const SocketAddress& address) noexcept {
  struct stat before {};
  struct stat after {};
  if (::lstat(path_of(address), &before) != 0 || !S_ISSOCK(before.st_mode) || is_served(address)) return;
  // Somebody may have taken its place while we asked.
  const bool same = ::lstat(path_of(address), &after) == 0 && before.st_ino == after.st_ino &&
                    before.st_dev == after.st_dev && before.st_ctim.tv_nsec == after.st_ctim.tv_nsec;
  if (same) ::unlink(path_of(address));
}

int open_listener(const SocketAddress& address, bool first) noexcept {
  if (address.is_unix()) remove_stale_file(address);
  const int fd = ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  // The first binds before it agrees to share, so that it meets the error if another process has the port.
  if (!first) ::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  const bool bound = ::bind(fd, as_sockaddr(address), address.size) == 0;
  if (first && bound && !address.is_unix()) ::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  set_stream_options(fd, address);
  if (bound && ::listen(fd, SOMAXCONN) == 0) return fd;
  const int error = errno;
  ::close(fd);
  errno = error;
  return -1;
}

template <class Number>
bool parse_whole(std::string_view digits, Number& number) noexcept {
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  return read.ec == std::errc{} && read.ptr == digits.data() + digits.size();
}

std::optional<SocketAddress> parse_unix_address(std::string_view path) {
  SocketAddress address;
  auto& out = reinterpret_cast<sockaddr_un&>(address.storage);
  if (!path.starts_with('/') || path.size() >= sizeof out.sun_path) return std::nullopt;
  out.sun_family = AF_UNIX;
  path.copy(out.sun_path, path.size());
  address.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
  address.text = std::string(kUnix) + std::string(path);
  return address;
}

}  // namespace

bool SocketAddress::is_local() const noexcept {
  if (is_unix()) return true;
  if (storage.ss_family == AF_INET) {
    return (ntohl(reinterpret_cast<const sockaddr_in&>(storage).sin_addr.s_addr) >> 24) == 127;
  }
  return IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6&>(storage).sin6_addr);
}

void set_stream_options(int descriptor, const SocketAddress& address) noexcept {
  if (address.is_unix()) return;
  const int on = 1;
  ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  // What the kernel takes beyond what is on its way: for a peer that does not read it would take megabytes, which are
  // no use to anybody and cost half a millisecond to throw away. A fast peer is sent to again before this runs dry.
  const int unsent_bytes = 128 * 1024;
  ::setsockopt(descriptor, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent_bytes, sizeof unsent_bytes);
}

std::string host_of(const sockaddr_storage& storage) {
  if (storage.ss_family == AF_UNIX) return {};
  char text[INET6_ADDRSTRLEN] = "";
  const void* address = storage.ss_family == AF_INET6
                            ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in6&>(storage).sin6_addr)
                            : static_cast<const void*>(&reinterpret_cast<const sockaddr_in&>(storage).sin_addr);
  ::inet_ntop(storage.ss_family, address, text, sizeof text);
  return text;
}

SocketAddress from_kernel(const sockaddr_storage& storage, socklen_t size) {
  SocketAddress address{storage, size, {}};
  if (address.is_unix()) {
    // A client's end has no name.
    const bool named = size > offsetof(sockaddr_un, sun_path);
    address.text = std::string(kUnix) + (named ? path_of(address) : "");
    return address;
  }
  std::string host = host_of(storage);
  const std::string port = std::to_string(port_of(storage));
  if (storage.ss_family == AF_INET6) {
    const std::uint32_t link = reinterpret_cast<const sockaddr_in6&>(storage).sin6_scope_id;
    host = "[" + host + (link != 0 ? "%" + std::to_string(link) : "") + "]";
  }
  address.text = host + ":" + port;
  return address;
}

std::optional<SocketAddress> parse_address(std::string_view text) {
  if (text.starts_with(kUnix)) return parse_unix_address(text.substr(kUnix.size()));
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string host(text.substr(0, colon));
  const std::string_view digits = text.substr(colon + 1);
  std::uint16_t port = 0;
  if (!parse_whole(digits, port)) return std::nullopt;
  const bool v6 = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (v6) host = host.substr(1, host.size() - 2);

  sockaddr_storage storage{};
  if (v6) {
    auto& address = reinterpret_cast<sockaddr_in6&>(storage);
    if (const std::size_t percent = host.find('%'); percent != std::string::npos) {
      if (!parse_whole(std::string_view(host).substr(percent + 1), address.sin6_scope_id)) return std::nullopt;
      host.resize(percent);
    }
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(port);
    if (::inet_pton(AF_INET6, host.c_str(), &address.sin6_addr) != 1) return std::nullopt;
    return from_kernel(storage, sizeof address);
  }
  auto& address = reinterpret_cast<sockaddr_in&>(storage);
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  if (::inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1) return std::nullopt;
  return from_kernel(storage, sizeof address);
}

std::vector<SocketAddress> resolve(const std::string& host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* found = nullptr;
  const std::string service = std::to_string(port);
  int error = ::getaddrinfo(host.c_str(), service.c_str(), &hints, &found);
  if (error != 0) {
    // Loopback does not count as a configured address, though it is all that a numeric one may need.
    hints.ai_flags = 0;
    error = ::getaddrinfo(host.c_str(), service.c_str(), &hints, &found);
  }
  std::vector<SocketAddress> addresses;
  if (error != 0) return addresses;
  for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
    sockaddr_storage storage{};
    std::memcpy(&storage, entry->ai_addr, entry->ai_addrlen);
    SocketAddress address = from_kernel(storage, entry->ai_addrlen);
    if (std::ranges::find(addresses, address.text, &SocketAddress::text) == addresses.end()) {
      addresses.push_back(std::move(address));
    }
  }
  ::freeaddrinfo(found);
  return addresses;
}

SocketAddress bound_address(int descriptor) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  ::getsockname(descriptor, reinterpret_cast<sockaddr*>(&storage), &size);
  return from_kernel(storage, size);
}

std::vector<int> open_listeners(const SocketAddress& address, std::size_t count, std::string& error) {
  std::vector<int> descriptors;
  SocketAddress exact = address;
  if (address.is_unix()) count = 1;
  for (std::size_t i = 0; i < count; ++i) {
    const int fd = open_listener(exact, i == 0);
    if (fd < 0) {
      error = address.text + ": " + std::strerror(errno);
      for (const int opened : descriptors) ::close(opened);
      return {};
    }
    descriptors.push_back(fd);
    if (i == 0) exact = bound_address(fd);  // the siblings need the port that was chosen
  }
  return descriptors;
}

}  // namespace outrigger::net
