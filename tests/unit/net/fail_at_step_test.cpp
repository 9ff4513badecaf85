// The n-th system call fails, for n = 1, 2, 3 and so on, until a whole scenario passes without having met its failure:
// connections are accepted, two requests and their bodies go over one client connection and one upstream connection,
// and the process drains. Whatever fails: each request is answered as a whole or ends with its connection, the next
// client is served, nothing spins, and nothing is kept.
//
// The calls are replaced at link time (tests/unit/CMakeLists.txt) and fail only while the loop turns: the far ends, in
// the same thread, are never hit.
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "proxy/net/listener.hpp"
#include "tests/support/edge_rig.hpp"

using namespace outrigger;
using namespace outrigger::net;
using namespace outrigger::test;
using namespace std::chrono_literals;

namespace {

struct Failure {
  bool armed = false;
  int at = 0;         // the call that fails
  int calls = 0;      // so far, without waiting
  std::string met{};  // which call it was
};
Failure failure;

/// Whether this call, one that waits for nothing, is to fail; then with that error.
bool fails(const char* call, int error) {
  if (!failure.armed || ++failure.calls != failure.at) return false;
  failure.met = call;
  errno = error;
  return true;
}

}  // namespace

extern "C" {

int __real_socket(int domain, int type, int protocol);
int __wrap_socket(int domain, int type, int protocol) {
  return fails("socket", EMFILE) ? -1 : __real_socket(domain, type, protocol);
}

int __real_connect(int fd, const sockaddr* address, socklen_t size);
int __wrap_connect(int fd, const sockaddr* address, socklen_t size) {
  return fails("connect", EADDRNOTAVAIL) ? -1 : __real_connect(fd, address, size);
}

int __real_accept4(int fd, sockaddr* address, socklen_t* size, int flags);
int __wrap_accept4(int fd, sockaddr* address, socklen_t* size, int flags) {
  return fails("accept4", EMFILE) ? -1 : __real_accept4(fd, address, size, flags);
}

int __real_epoll_ctl(int set, int what, int fd, epoll_event* event);
int __wrap_epoll_ctl(int set, int what, int fd, epoll_event* event) {
  return fails("epoll_ctl", ENOSPC) ? -1 : __real_epoll_ctl(set, what, fd, event);
}

ssize_t __real_sendmsg(int fd, const msghdr* message, int flags);
ssize_t __wrap_sendmsg(int fd, const msghdr* message, int flags) {
  return fails("sendmsg", EPIPE) ? -1 : __real_sendmsg(fd, message, flags);
}

int __real_getsockopt(int fd, int level, int option, void* value, socklen_t* size);
int __wrap_getsockopt(int fd, int level, int option, void* value, socklen_t* size) {
  return fails("getsockopt", ENOBUFS) ? -1 : __real_getsockopt(fd, level, option, value, size);
}

int __real_setsockopt(int fd, int level, int option, const void* value, socklen_t size);
int __wrap_setsockopt(int fd, int level, int option, const void* value, socklen_t size) {
  return fails("setsockopt", ENOBUFS) ? -1 : __real_setsockopt(fd, level, option, value, size);
}

int __real_shutdown(int fd, int how);
int __wrap_shutdown(int fd, int how) { return fails("shutdown", ENOTCONN) ? -1 : __real_shutdown(fd, how); }

int __real_poll(pollfd* entries, nfds_t count, int timeout);
int __wrap_poll(pollfd* entries, nfds_t count, int timeout) {
  return fails("poll", ENOMEM) ? -1 : __real_poll(entries, count, timeout);
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...) {
  va_list list;
  va_start(list, number);
  long arguments[6];
  for (long& argument : arguments) argument = va_arg(list, long);
  va_end(list);
  if (number == SYS_recvfrom && fails("recv", ECONNRESET)) return -1;
  if (number == SYS_sendto && fails("send", EPIPE)) return -1;
  return __real_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
}
}

namespace {

const std::string kBody(3000, 'b');
const std::string kPut = "PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3000\r\n\r\n";
const std::string kGet = "GET /b HTTP/1.1\r\nHost: h\r\n\r\n";
const std::string kOk = "HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + kBody;

class Scenario final : private AcceptSink {
 public:
  explicit Scenario(const EdgeConfig& config) : rig_(config) {}
  ~Scenario() {
    failure.armed = false;
    client_.close();
    listener_.close();
    rig_.settle();
  }

  void run() {
    ask(kPut + kBody);
    rest_without_a_call();
    ask(kGet);
    rest_without_a_call();
    // One that comes afterwards finds everything as it was, unless the failure is still to come.
    const bool over = !failure.met.empty();
    if (over) client_.close();
    const std::string answer = ask(kPut + kBody);
    if (over) CHECK(answer.starts_with("HTTP/1.1 200 "));
    rig_.process.draining = true;
    armed([&] { rig_.edge.drain_connections(); });
    ask(kGet);
    REQUIRE(comes([&] { return !client_.open() || client_.ended(); }));
    client_.close();
    REQUIRE(comes([&] { return rig_.clients() == 0; }));
    upstreams_.clear();
    armed([&] { rig_.pass(10s); });
    CHECK(rig_.at_rest());
    CHECK(rig_.upstream_row().idle.value() == 0);
  }

 private:
  void accepted(const ListenerInfo& info, int descriptor, std::string peer) override {
    new H1Downstream(rig_.edge, descriptor, info, std::move(peer));
  }
  template <class Work>
  static void armed(Work work) {
    failure.armed = true;
    work();
    failure.armed = false;
  }

  /// Turns, and then lets time pass, until it holds; the upstreams answer meanwhile.
  template <class Condition>
  bool comes(Condition condition) {
    for (int i = 0; i < 400; ++i) {
      if (condition()) return true;
      armed([&] { rig_.turn(); });
      answer_all();
      if (i >= 50) armed([&] { rig_.pass(500ms); });
    }
    return false;
  }
  void answer_all() {
    if (Peer fresh = rig_.doors[0]->accept(); fresh.open()) upstreams_.push_back(std::move(fresh));
    for (Peer& upstream : upstreams_) {
      const std::string& got = upstream.received();
      const bool put = got.starts_with("PUT") && got.ends_with("\r\n\r\n" + kBody);
      if (!put && !(got.starts_with("GET") && got.ends_with("\r\n\r\n"))) continue;
      upstream.take();
      upstream.send_some(kOk);
    }
  }

  /// What a request came to: an answer that is whole, or nothing where its connection ended instead.
  std::string ask(const std::string& request) {
    if (!client_.open() || client_.ended()) client_ = door_.connect();
    client_.send_some(request);
    const auto whole = [](const std::string& text) {
      const std::size_t head = text.find("\r\n\r\n");
      const std::size_t field = text.find("Content-Length: ");
      return head != std::string::npos && field < head && text.size() - head - 4 == std::stoul(text.substr(field + 16));
    };
    REQUIRE(comes([&] { return client_.ended() || whole(client_.received()); }));
    const std::string answer = client_.take();
    if (!whole(answer)) {
      client_.close();
      return "";
    }
    CHECK((answer.ends_with("\r\n\r\n" + kBody) || answer.find("X-Outrigger-Reason: ") != std::string::npos));
    return answer;
  }

  /// What idles makes no calls.
  void rest_without_a_call() {
    armed([&] { rig_.settle(); });
    answer_all();
    armed([&] { rig_.settle(); });
    const int before = failure.calls;
    armed([&] { rig_.settle(); });
    CHECK(failure.calls == before);
  }

  EdgeRig rig_;
  Door door_;
  Listener listener_{rig_.edge, ::dup(door_.descriptor()), rig_.listener, *this};
  Peer client_;
  std::vector<Peer> upstreams_;
};

void fail_at_every_step(const EdgeConfig& config) {
  for (int step = 1;; ++step) {
    CAPTURE(step);
    failure = {.at = step};
    INFO("failed: ", failure.met);
    {
      Scenario scenario{config};
      scenario.run();
    }
    REQUIRE(step < 1000);
    if (failure.met.empty()) {
      CHECK(step > 20);
      return;
    }
  }
}

}  // namespace

TEST_SUITE("net") {
  TEST_CASE("whichever system call fails, requests end, connections are given up or go on, and nothing is left") {
    fail_at_every_step({});
  }

  TEST_CASE("whichever system call fails, the same holds where failed attempts are tried again") {
    fail_at_every_step(
        {.rest = "policies: {default: {retry: {max_attempts: 3, initial_backoff: 10ms, budget: none}}}\n"});
  }
}
