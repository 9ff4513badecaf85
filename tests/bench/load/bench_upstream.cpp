// tests/bench/load/bench_upstream.cpp
//
// The upstream behind every measured proxy: `GET /<bytes>` is answered with that many bytes and eight header lines. It
// does as little as an HTTP server can (one thread, level-triggered epoll, the whole answer made once per size),
// because it shares its core with the load generator and must not be what limits the proxies. Requests have no body and
// come one at a time, which is how proxies send them.
//
// Prints `{"port":N}` once it listens; ends on SIGTERM.
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

namespace {

constexpr std::size_t kMaxBody = 64u << 20;
constexpr std::size_t kHeadBytes = 288;

struct Connection {
  std::string request;          // what came before the end of the head; empty in the usual case of one segment
  const std::string* answer{};  // being sent; null while a request is awaited
  std::size_t sent = 0;
  bool awaits_room = false;
};

std::string make_answer(std::size_t body_bytes) {
  std::string head =
      "HTTP/1.1 200 OK\r\n"
      "Server: bench\r\n"
      "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
      "Content-Type: application/octet-stream\r\n"
      "Content-Length: " +
      std::to_string(body_bytes) +
      "\r\n"
      "Cache-Control: no-cache\r\n"
      "ETag: \"5f3c1a2b\"\r\n"
      "X-Request-Cost: 1\r\n"
      "X-Pad: ";
  constexpr std::string_view kEnd = "\r\n\r\n";
  head.append(kHeadBytes - kEnd.size() - head.size(), 'p').append(kEnd);
  return head.append(body_bytes, 'b');
}

/// The answer to a request whose head is `head`; null if it is not `GET /<bytes>`.
const std::string* answer_to(std::string_view head) {
  static std::map<std::size_t, std::string> answers;
  constexpr std::string_view kStart = "GET /";
  if (!head.starts_with(kStart)) return nullptr;
  std::size_t bytes = 0;
  const char* end = head.data() + head.size();
  const auto parsed = std::from_chars(head.data() + kStart.size(), end, bytes);
  if (parsed.ec != std::errc{} || parsed.ptr == end || *parsed.ptr != ' ' || bytes > kMaxBody) return nullptr;
  auto found = answers.find(bytes);
  if (found == answers.end()) found = answers.emplace(bytes, make_answer(bytes)).first;
  return &found->second;
}

class Upstream {
 public:
  Upstream() : epoll_(epoll_create1(EPOLL_CLOEXEC)), listener_(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address);
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address), length) != 0 || listen(listener_, 1024) != 0 ||
        getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
      std::perror("bench_upstream");
      std::exit(1);
    }
    watch(listener_, EPOLLIN, EPOLL_CTL_ADD);
    std::printf("{\"port\":%d}\n", ntohs(address.sin_port));
    std::fflush(stdout);
  }

  [[noreturn]] void serve() {
    std::array<epoll_event, 256> events;
    for (;;) {
      const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), -1);
      for (int i = 0; i < count; ++i) {
        const epoll_event& event = events[static_cast<std::size_t>(i)];
        if (event.data.fd == listener_) {
          accept_all();
        } else if (!serve(event.data.fd, event.events)) {
          connections_.erase(event.data.fd);
          close(event.data.fd);
        }
      }
    }
  }

 private:
  void watch(int fd, std::uint32_t events, int operation) const {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    epoll_ctl(epoll_, operation, fd, &event);
  }

  void accept_all() {
    for (;;) {
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      const int on = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
      // Else answers that nobody reads are copied into the kernel by gigabytes, and this is what all others wait for.
      const int unsent_bytes = 128 * 1024;
      setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent_bytes, sizeof(unsent_bytes));
      connections_[fd] = std::make_unique<Connection>();
      watch(fd, EPOLLIN, EPOLL_CTL_ADD);
    }
  }

  /// False when the connection is over.
  bool serve(int fd, std::uint32_t events) {
    Connection& connection = *connections_[fd];
    if (connection.answer != nullptr) return (events & (EPOLLERR | EPOLLHUP)) == 0 && send_rest(fd, connection);

    std::array<char, 16384> bytes;
    const ssize_t got = recv(fd, bytes.data(), bytes.size(), 0);
    if (got < 0) return errno == EAGAIN;
    if (got == 0) return false;
    std::string_view head(bytes.data(), static_cast<std::size_t>(got));
    if (!connection.request.empty()) head = connection.request.append(head);
    if (!head.ends_with("\r\n\r\n")) {
      if (connection.request.empty()) connection.request = head;
      return connection.request.size() < bytes.size();
    }
    connection.answer = answer_to(head);
    connection.request.clear();
    return connection.answer != nullptr && send_rest(fd, connection);
  }

  bool send_rest(int fd, Connection& connection) const {
    const std::string& answer = *connection.answer;
    const ssize_t n = send(fd, answer.data() + connection.sent, answer.size() - connection.sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) return false;
    if (n > 0) connection.sent += static_cast<std::size_t>(n);
    if (connection.sent < answer.size()) {
      if (!connection.awaits_room) watch(fd, EPOLLOUT, EPOLL_CTL_MOD);
      connection.awaits_room = true;
      return true;
    }
    if (connection.awaits_room) watch(fd, EPOLLIN, EPOLL_CTL_MOD);
    connection.awaits_room = false;
    connection.answer = nullptr;
    connection.sent = 0;
    return true;
  }

  int epoll_;
  int listener_;
  std::unordered_map<int, std::unique_ptr<Connection>> connections_;
};

}  // namespace

int main() { Upstream().serve(); }
