// tests/fuzz/connection_fuzz.cpp
//
// A client's connection and those of its upstreams as streams of bytes, through the real edge: what either side sends,
// in which pieces, when it reads, half-closes, closes or refuses, and how time passes, is all drawn.
//
// The first byte chooses the configuration. Of the rest, bytes below 0xe0 are what the side that is at work will send;
// those above say what happens next (see `Script::act`), so that one inserted byte cuts a message in two wherever it
// stands, and a corpus stays readable.
//
// What must hold: the edge comes to rest by its own limits although nobody does anything more, with nothing kept and
// nothing counted; a stream to an upstream is nothing but requests that a client sent, in strict form, and none that
// must not be executed twice is there more often than it was asked; a stream to a client is nothing but answers, of
// which each that claims to be whole was given whole by an upstream, or is the proxy's own; every request that was read
// whole is answered or cut off where its client could see it.
//
// The kernel's pairs of connected sockets stand in for TCP: `connect` is answered here (link option --wrap).
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proxy/http/target.hpp"
#include "tests/fuzz/byte_stream.hpp"
#include "tests/support/edge_rig.hpp"

using namespace outrigger;
using namespace outrigger::test;
using namespace outrigger::fuzz;
using namespace std::chrono_literals;

namespace {

constexpr http::HeadLimits kHeads{.max_head = 2048, .max_fields = 20};
constexpr int kNarrow = 4096;  // bytes that the kernel keeps for a side that does not read

/// Two connected stream sockets: the edge's end, then the far one.
std::array<int, 2> connected_pair() {
  std::array<int, 2> ends{};
  ENSURE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) == 0);
  for (const int end : ends) ::setsockopt(end, SOL_SOCKET, SO_SNDBUF, &kNarrow, sizeof kNarrow);
  return ends;
}

/// The far end of one connection, and what went over it.
class Far {
 public:
  Far(int fd, int edge_fd, bool copy) : peer_(fd), edge_fd_(edge_fd), copy_(copy) {}

  void say(std::string_view bytes) {
    waiting_ += bytes;
    step();
  }
  /// Moves what can be moved.
  void step() {
    if (!peer_.open()) return;
    if (!fin_sent_) {
      const std::size_t sent = peer_.send_some(waiting_);
      said_ += waiting_.substr(0, sent);
      waiting_.erase(0, sent);
    }
    if (reads_) read_all();
  }
  void read_all() {
    if (!peer_.open()) return;
    std::string bytes = peer_.take();
    const std::size_t noise = std::min(noise_, bytes.size());
    noise_ -= noise;
    heard_ += bytes.substr(noise);
  }
  void half_close() {
    fin_sent_ = true;
    if (peer_.open()) peer_.half_close();
  }
  void close() {
    fin_sent_ = true;
    peer_.close();
  }
  void read_or_not() { reads_ = !reads_; }
  /// Its connect is not through until it begins to read.
  void be_silent() {
    const std::string noise(1024, 'n');
    while (const ssize_t sent = ::send(edge_fd_, noise.data(), noise.size(), MSG_DONTWAIT)) {
      if (sent < 0) break;
      noise_ += static_cast<std::size_t>(sent);
    }
    reads_ = false;
  }
  void note_reset(int edge_fd) { was_reset_ |= edge_fd == edge_fd_; }
  /// The edge has closed its end: the number stands for another connection now.
  void forget_edge(int edge_fd) {
    if (edge_fd == edge_fd_) edge_fd_ = -1;
  }

  void show(const char* who) const {
    std::fprintf(stderr, "--- %s said%s%s\n%s\n--- %s heard\n%s\n", who, fin_sent_ ? ", left" : "",
                 was_reset_ ? ", was reset" : "", said_.c_str(), who, heard_.c_str());
  }

  const std::string& said() const { return said_; }
  const std::string& heard() const { return heard_; }
  bool copy() const { return copy_; }
  bool has_left() const { return fin_sent_; }
  bool fin_sent() const { return fin_sent_; }
  bool was_reset() const { return was_reset_; }

 private:
  Peer peer_;
  int edge_fd_;
  const bool copy_;  // it gets copies of requests
  bool reads_ = true;
  bool fin_sent_ = false;
  bool was_reset_ = false;  // by the edge
  std::size_t noise_ = 0;   // bytes that were there before the connection stood
  std::string waiting_;     // what the kernel has not taken
  std::string said_;
  std::string heard_;
};

enum class Connect : std::uint8_t { taken, refused, refused_late, silent };

/// A proxy that was told no authority says so with an empty Host (RFC 9112 3.2), which the strict parser takes from
/// nobody: it gets one of the same length, wherever it stands.
std::string with_host(std::string text) {
  constexpr std::string_view kEmpty = "\r\nHost: \r\n";
  for (std::size_t at = 0; (at = text.find(kEmpty, at)) != std::string::npos;) text[at + 7] = 'x';
  return text;
}

/// What the first byte chooses.
EdgeConfig config_of(unsigned bits) {
  const auto with = [bits](unsigned bit, const char* text) { return (bits & bit) != 0 ? text : ""; };
  const std::string few = with(64, ", max_requests_per_connection: 2, max_request_body: 6KiB, escaped_slashes: reject");
  std::string policy = "overall_timeout: 3s";
  policy += with(2,
                 ", retry: {max_attempts: 3, initial_backoff: 10ms, timeout_per_attempt: 500ms, budget: none,"
                 " replay_buffer: 1KiB}");
  policy += with(4, ", hedge: {delay: 20ms, budget: none}");
  policy += with(32, ", cache: {ttl: 5s}, fallback: {when: [exhausted, 5xx], respond: {status: 200, body: instead}}");
  policy += with(128, ", max_duration: 2s");
  EdgeConfig config;
  config.listener = ", limits: {max_request_head: 2KiB, max_headers: 20, relay_buffer: 4KiB" + few + "}" +
                    with(1, ", debug_headers: true");
  config.upstream = with(64, ", max_requests_per_connection: 2");
  config.rest = "policies: {default: {" + policy + "}}\n";
  config.endpoints = (bits & 8) != 0 ? 2 : 1;
  if ((bits & 16) != 0) config.mirror = "";
  return config;
}

class Script {
 public:
  explicit Script(unsigned config) : config_(config_of(config)), rig_(config_) {}

  void run(std::string_view bytes) {
    new_client();
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      const auto byte = static_cast<unsigned char>(bytes[i]);
      if (byte < 0xe0 || byte >= 0xfa) {
        payload_ += bytes[i];
      } else {
        act(byte);
      }
    }
    say();
    come_to_rest();
    check();
  }

  // What the edge asks of the kernel.
  int connect(int fd, const sockaddr* address) {
    const Connect how = std::exchange(next_connect_, Connect::taken);
    errno = ECONNREFUSED;
    if (how == Connect::refused) return -1;
    const auto [near, far] = connected_pair();
    ENSURE(::dup2(near, fd) == fd);
    ::close(near);
    const auto* to = reinterpret_cast<const sockaddr_in*>(address);
    const auto* copies = reinterpret_cast<const sockaddr_in*>(&rig_.copy_door.address().storage);
    late_.erase(fd);
    adopt(upstreams_, far, fd, to->sin_port == copies->sin_port);
    if (how == Connect::silent) upstreams_.back()->be_silent();
    if (how == Connect::refused_late) {
      late_.insert(fd);
      upstreams_.back()->close();
    }
    errno = EINPROGRESS;
    return -1;
  }
  bool refused_late(int fd) { return late_.erase(fd) != 0; }
  void reset(int fd) {
    for (auto* fars : {&clients_, &upstreams_}) {
      for (auto& far : *fars) far->note_reset(fd);
    }
  }

 private:
  using Fars = std::vector<std::unique_ptr<Far>>;

  void adopt(Fars& fars, int far, int near, bool copy) {
    for (auto* known : {&clients_, &upstreams_}) {
      for (auto& other : *known) other->forget_edge(near);
    }
    fars.push_back(std::make_unique<Far>(far, near, copy));
  }
  void new_client() {
    const auto [near, far] = connected_pair();
    adopt(clients_, far, near, false);
    new net::H1Downstream(rig_.edge, near, rig_.listener, "127.0.0.1");
    move();
  }

  Far* at_work() {
    if (!upstream_) return clients_.back().get();
    return older_ < upstreams_.size() ? upstreams_[upstreams_.size() - 1 - older_].get() : nullptr;
  }
  /// Lets the side at work send what was collected; an upstream that does not exist yet will.
  void say() {
    if (Far* far = at_work(); far != nullptr) {
      far->say(payload_);
      payload_.clear();
    }
    move();
  }
  void act(unsigned what) {
    if (what == 0xe4) {  // in single bytes
      const std::string bytes = std::exchange(payload_, {});
      for (const char byte : bytes) {
        payload_ = byte;
        say();
      }
      return;
    }
    if (what == 0xee) payload_.append(4096, 'f');
    if (what == 0xef) payload_.append(70'000, 'g');
    say();
    Far* far = at_work();
    switch (what) {
      case 0xe0: upstream_ = false; break;
      case 0xe1: upstream_ = true, older_ = 0; break;
      case 0xe2: upstream_ = true, ++older_; break;
      case 0xe5: pass(1ms); break;
      case 0xe6: pass(30ms); break;
      case 0xe7: pass(600ms); break;
      case 0xe8: pass(5s); break;
      case 0xe9: pass(40s); break;
      case 0xea:
        if (far != nullptr) far->half_close();
        break;
      case 0xeb:
        if (far != nullptr) far->close();
        break;
      case 0xed:
        if (far != nullptr) far->read_or_not();
        break;
      case 0xf0: next_connect_ = Connect::refused; break;
      case 0xf1: next_connect_ = Connect::refused_late; break;
      case 0xf2: next_connect_ = Connect::silent; break;
      case 0xf4:
        if (clients_.size() < 4) new_client();
        break;
      case 0xf5:
        rig_.process.draining = true;
        rig_.edge.drain_connections();
        break;
      case 0xf6: rig_.use(config_); break;
      case 0xf7: rig_.edge.cancel_all(Reason::drained); break;
      default: break;
    }
    move();
  }

  /// Turns until nothing moves any more.
  void move() {
    std::size_t before = 0;
    for (int quiet = 0, turns = 0; quiet < 4; ++turns) {
      ENSURE(turns < 5000);
      rig_.turn();
      std::size_t moved = upstreams_.size();
      for (auto* fars : {&clients_, &upstreams_}) {
        for (auto& far : *fars) {
          far->step();
          moved += far->said().size() + far->heard().size();
        }
      }
      quiet = moved == before ? quiet + 1 : 0;
      before = moved;
    }
  }
  void pass(Nanos time) {
    rig_.pass(time);
    move();
  }

  /// Nobody does anything more; time alone must end it all.
  void come_to_rest() {
    for (int i = 0; rig_.clients() != 0 || rig_.edge.in_flight() != 0; ++i) {
      ENSURE(i < 4000);
      pass(2s);
    }
    for (int i = 0; i < 4; ++i) pass(20s);
    ENSURE(rig_.at_rest());
    ENSURE(rig_.copies_under_way() == 0);
    ENSURE(rig_.upstream_row().idle.value() == 0);
    for (auto* fars : {&clients_, &upstreams_}) {
      for (auto& far : *fars) far->read_all();
    }
  }

  // What must be true of it afterwards.

  void hold(bool condition, const char* what) {
    if (condition) return;
    std::fprintf(stderr, "broken: %s\n", what);
    for (auto& far : clients_) far->show("client");
    for (auto& far : upstreams_) far->show(far->copy() ? "copies" : "upstream");
    std::abort();
  }

  void check() {
    for (auto& far : upstreams_) requests_.push_back(read_requests(with_host(far->heard()), {.max_head = 1 << 20}));
    for (auto& far : clients_) {
      asked_.push_back(read_requests(far->said(), kHeads));
      for (SentRequest& request : asked_.back().list) request.body = with_host(request.body);
    }
    std::map<std::string, int> executed;
    for (std::size_t i = 0; i < upstreams_.size(); ++i) {
      hold(!requests_[i].refused, "what goes upstream is nothing but requests");
      for (const SentRequest& request : requests_[i].list) {
        hold(request.reach != Reach::broken && was_asked(request), "what goes upstream was asked");
        const bool counts = !upstreams_[i]->copy() && !request.idempotent && request.reach == Reach::whole;
        if (counts) ++executed[request.method + ' ' + request.target + ' ' + request.body];
      }
    }
    for (const auto& [request, times] : executed) hold(times <= times_asked(request), "nothing unsafe goes out twice");
    std::size_t most = 0;
    std::size_t answered = 0;
    for (std::size_t i = 0; i < clients_.size(); ++i) {
      most += asked_[i].list.size() + (asked_[i].refused || asked_[i].cut);
      answered += check_client(*clients_[i], asked_[i]);
    }
    hold(recorded() >= answered && recorded() <= most, "each request ends once");
  }

  /// The same as it was asked: a path in its one form, and a whole body only of a whole one.
  static bool same(const SentRequest& sent, const SentRequest& asked) {
    if (sent.method != asked.method || sent.target != normal(asked)) return false;
    if (sent.reach == Reach::whole) return asked.reach == Reach::whole && sent.body == asked.body;
    return asked.body.starts_with(sent.body);
  }
  static std::string normal(const SentRequest& request) {
    Buffer scratch;
    const auto target =
        http::normalise_target(request.target, http::parse_method(request.method), http::EscapedSlashes::keep, scratch);
    return target ? std::string{target->path} + std::string{target->query} : "";
  }
  bool was_asked(const SentRequest& sent) const {
    return std::ranges::any_of(asked_, [&](const SentRequests& requests) {
      return std::ranges::any_of(requests.list, [&](const SentRequest& asked) { return same(sent, asked); });
    });
  }
  int times_asked(const std::string& request) const {
    int times = 0;
    for (const SentRequests& requests : asked_) {
      for (const SentRequest& asked : requests.list) {
        times += asked.method + ' ' + normal(asked) + ' ' + asked.body == request;
      }
    }
    return times;
  }

  /// How many answers a client saw.
  std::size_t check_client(Far& client, const SentRequests& asked) {
    const SentAnswers got = read_answers(client.heard(), asked.list, !client.was_reset(), true);
    hold(!got.refused, "what a client gets is nothing but answers");
    for (const std::uint16_t status : got.interim)
      hold(status == 100 || status == 103, "other interim answers end here");
    for (std::size_t i = 0; i < got.list.size(); ++i) {
      const bool to_head = i < asked.list.size() && asked.list[i].method == "HEAD";
      hold(got.list[i].local || was_given(got.list[i], to_head), "an answer is as it was given");
    }
    hold(got.list.size() <= asked.list.size() + (asked.refused || asked.cut), "what was not asked is not answered");
    if (client.has_left() || client.was_reset()) return got.list.size();
    // It stayed to the end: each of its requests was answered, up to an answer that was broken off or said to be last.
    const auto whole = std::ranges::count(asked.list, Reach::whole, &SentRequest::reach);
    const bool told = !got.list.empty() && (got.list.back().last || got.list.back().reach != Reach::whole);
    hold(told || got.cut || std::cmp_greater_equal(got.list.size(), whole), "every request is answered or cut off");
    return got.list.size();
  }
  /// Whether an upstream gave it; to a HEAD, a cache may give what it has of the answer to a GET.
  bool was_given(const SentAnswer& answer, bool to_head) const {
    for (std::size_t i = 0; i < upstreams_.size(); ++i) {
      const Far& far = *upstreams_[i];
      if (far.copy()) continue;
      for (const SentAnswer& given : read_answers(far.said(), requests_[i].list, far.fin_sent(), false).list) {
        if (given.status != answer.status) continue;
        const bool whole = answer.reach == Reach::whole && !to_head;
        if (whole ? given.reach == Reach::whole && given.body == answer.body : given.body.starts_with(answer.body))
          return true;
      }
    }
    return false;
  }
  std::size_t recorded() {
    std::uint64_t sum = 0;
    for (telemetry::PolicyRow* row : {rig_.metrics.policy_row(0, "default"), &rig_.edge.unrouted}) {
      for (const auto& counter : row->requests) sum += counter.value();
      for (const auto* by_class : {&row->fallbacks, &row->cached}) {
        for (const auto& by_reason : *by_class) {
          for (const auto& counter : by_reason) sum += counter.value();
        }
      }
    }
    return static_cast<std::size_t>(sum);
  }

  const EdgeConfig config_;
  EdgeRig rig_;
  Fars clients_;
  Fars upstreams_;
  bool upstream_ = false;  // is at work, the client otherwise
  std::size_t older_ = 0;  // how many connections before the newest
  std::string payload_;
  Connect next_connect_ = Connect::taken;
  std::set<int> late_;  // descriptors whose connect fails in a while
  std::vector<SentRequests> requests_;
  std::vector<SentRequests> asked_;
};

Script* running = nullptr;

}  // namespace

extern "C" {

int __real_getsockopt(int fd, int level, int option, void* value, socklen_t* size);
int __real_setsockopt(int fd, int level, int option, const void* value, socklen_t size);

int __wrap_connect(int fd, const sockaddr* address, socklen_t) { return running->connect(fd, address); }

int __wrap_getsockopt(int fd, int level, int option, void* value, socklen_t* size) {
  const int result = __real_getsockopt(fd, level, option, value, size);
  if (option == SO_ERROR && running != nullptr && running->refused_late(fd)) *static_cast<int*>(value) = ECONNREFUSED;
  return result;
}

int __wrap_setsockopt(int fd, int level, int option, const void* value, socklen_t size) {
  if (option == SO_LINGER && running != nullptr) running->reset(fd);
  return __real_setsockopt(fd, level, option, value, size);
}

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  Script script{data[0]};
  running = &script;
  script.run({reinterpret_cast<const char*>(data) + 1, size - 1});
  running = nullptr;
  return 0;
}
}
