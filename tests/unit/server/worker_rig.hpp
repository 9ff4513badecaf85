// tests/unit/server/worker_rig.hpp
//
// Real workers, each a thread, with clients and an upstream in the test's hand. Every worker listens on ports of its
// own, so that a test decides which one accepts. Whoever waits here waits in poll for something that must come.
#pragma once

#include <poll.h>

#include <functional>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include <doctest/doctest.h>

#include "proxy/config/load.hpp"
#include "proxy/config/snapshot.hpp"
#include "proxy/net/clock.hpp"
#include "proxy/server/worker.hpp"
#include "tests/support/peer.hpp"

namespace outrigger::test {

class WorkerRig {
 public:
  enum Listener : std::size_t { kNear, kFar, kAlone };

  explicit WorkerRig(std::uint32_t count)
      : metrics(count, {}), log_({.level = telemetry::LogLevel::error}, count, &net::wall_now_us), registry_(count) {
    for (std::uint32_t i = 0; i < count; ++i) {
      workers.push_back(std::make_unique<server::Worker>(server::Worker::Setup{.index = i,
                                                                               .seed = i,
                                                                               .all = &workers,
                                                                               .process = &process,
                                                                               .account = &account_,
                                                                               .metrics = &metrics,
                                                                               .log = &log_,
                                                                               .keep_timelines = 100,
                                                                               .sample_timelines = 1}));
      auto& addresses = addresses_.emplace_back();
      for (const std::size_t listener : {kNear, kFar, kAlone}) {
        const std::string_view name = listener == kNear ? "near" : listener == kFar ? "far" : "alone";
        // One worker accepts what comes to `alone`.
        const bool has_own = listener != kAlone || i == 0;
        int descriptor = -1;
        if (has_own) {
          std::string error;
          const std::vector<int> descriptors = net::open_listeners(*net::parse_address("127.0.0.1:0"), 1, error);
          REQUIRE(descriptors.size() == 1);
          descriptor = descriptors.front();
        }
        addresses.push_back(has_own ? net::bound_address(descriptor) : net::SocketAddress{});
        workers[i]->listen(descriptor, {.index = listener,
                                        .name = name,
                                        .row = metrics.listener_row(i, name),
                                        .connections = &connections,
                                        .local = listener == kNear,
                                        .alone = listener == kAlone});
      }
      workers[i]->use(snapshot(door));
    }
  }
  WorkerRig(const WorkerRig&) = delete;
  WorkerRig& operator=(const WorkerRig&) = delete;
  ~WorkerRig() {
    for (std::size_t i = 0; i < workers.size(); ++i) stop(i);
  }

  void start(std::size_t worker) {
    workers[worker]->start();
    running_.push_back(worker);
  }
  void start_all() {
    for (std::size_t i = 0; i < workers.size(); ++i) start(i);
  }
  /// Ends a worker, and returns when its thread has.
  void stop(std::size_t worker) {
    if (std::erase(running_, worker) == 0) return;
    workers[worker]->post([w = workers[worker].get()] { w->stop(); });
    workers[worker]->join();
  }
  /// What `ask` says on the worker's thread.
  template <class Ask>
  auto on(std::size_t worker, Ask ask) {
    using Answer = decltype(ask(*workers[worker]));
    auto answer = std::make_shared<std::promise<Answer>>();
    std::future<Answer> given = answer->get_future();
    workers[worker]->post([answer, ask, w = workers[worker].get()] {
      if constexpr (std::is_void_v<Answer>) {
        ask(*w);
        answer->set_value();
      } else {
        answer->set_value(ask(*w));
      }
    });
    return given.get();
  }

  /// A configuration with all listeners, an upstream at this door for `/up`, and no route for anything else. `limits`:
  /// of the process; `near_limits`: of the listener `near`.
  std::shared_ptr<const config::Snapshot> snapshot(const Door& upstream, const std::string& limits = "{}",
                                                   const std::string& near_limits = "{}") {
    const config::LoadResult loaded = config::load_text(
        "version: 1\nlimits: " + limits + "\nlisteners: [{name: near, listen: '127.0.0.1:0', limits: " + near_limits +
            "}, {name: far, listen: '127.0.0.1:0'}, {name: alone, listen: '127.0.0.1:0'}]\n"
            "upstreams: {up: {endpoints: ['" +
            upstream.address().text +
            "'], idle_timeout: 1h}}\n"
            "routes: [{match: {listener: any, path: /up}, upstream: up}]\n",
        "rig.yaml");
    REQUIRE(loaded.ok());
    auto built = config::build_snapshot(loaded.config, "rig", ++generation_, {{{.address = upstream.address().text}}},
                                        registry_);
    const auto snapshot = std::get<std::shared_ptr<const config::Snapshot>>(built);
    config::take_effect(*snapshot, net::steady_now());
    return snapshot;
  }

  /// Before the workers start.
  void use_everywhere(const std::shared_ptr<const config::Snapshot>& next) {
    for (auto& worker : workers) worker->use(next);
  }

  /// A connection to a worker's listener; a closed Peer where it is refused.
  Peer connect(std::size_t worker, Listener listener = kNear) const {
    const net::SocketAddress& to = addresses_[worker][listener];
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(fd >= 0);
    Peer peer{fd};
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&to.storage), to.size) != 0) peer.close();
    return peer;
  }
  /// A connection that a worker has taken and served a request on.
  Peer served(std::size_t worker, Listener listener = kNear) {
    Peer peer = connect(worker, listener);
    REQUIRE(peer.open());
    CHECK(unrouted(peer).starts_with("HTTP/1.1 404"));
    // The answer is here before the worker has done with the request.
    for (const std::size_t running : running_) on(running, [](server::Worker&) {});
    return peer;
  }
  /// The head of the answer to a request that no route takes.
  std::string unrouted(Peer& peer) {
    peer.send("HEAD /none HTTP/1.1\r\nHost: h\r\n\r\n");
    return head(peer);
  }
  /// The next connection that a worker makes to the upstream.
  Peer upstream() { return upstream(door); }
  Peer upstream(Door& at) {
    wait_for_input(at.descriptor());
    Peer peer = at.accept();
    REQUIRE(peer.open());
    return peer;
  }

  /// What a peer gets up to the end of a head, or until the other side closes.
  std::string head(Peer& peer) { return get(peer, "\r\n\r\n"); }
  std::string get(Peer& peer, std::string_view end) {
    // Asking for the end takes what has come, so the look at that comes behind it.
    while (!peer.ended() && peer.received().find(end) == std::string::npos) wait_for_input(peer.descriptor());
    return peer.take();
  }
  /// Everything until the other side closes.
  std::string get_all(Peer& peer) {
    while (!peer.ended()) wait_for_input(peer.descriptor());
    return peer.take();
  }
  /// Turns until another thread has made it true.
  template <class Condition>
  void until(Condition condition) {
    const TimePoint end = net::steady_now() + kPatience;
    while (!condition() && net::steady_now() < end) std::this_thread::yield();
    REQUIRE(condition());
  }

  std::int64_t load(std::size_t worker) const { return workers[worker]->edge().load.load(); }
  std::uint64_t taken(std::uint32_t worker, std::string_view listener = "near") {
    return metrics.listener_row(worker, listener)->connections_total.value();
  }

  /// How often a worker has paused at this listener.
  std::uint64_t pauses(std::uint32_t worker, std::string_view listener = "near") {
    return metrics.listener_row(worker, listener)->rejected[static_cast<std::size_t>(Reason::pool_full)].value();
  }

  net::ProcessState process;
  std::atomic<std::int64_t> connections{0};
  Door door;  // the upstream
  telemetry::MetricRegistry metrics;
  server::Worker::Workers workers;

 private:
  static constexpr std::chrono::seconds kPatience{20};

  static void wait_for_input(int descriptor) {
    pollfd wanted{.fd = descriptor, .events = POLLIN, .revents = 0};
    REQUIRE(::poll(&wanted, 1, static_cast<int>(std::chrono::milliseconds{kPatience}.count())) == 1);
  }

  net::BufferAccount account_{std::uint64_t{1} << 30};
  telemetry::Log log_;
  config::StateRegistry registry_;
  std::uint64_t generation_ = 0;
  std::vector<std::vector<net::SocketAddress>> addresses_;  // by worker, then listener
  std::vector<std::size_t> running_;
};

}  // namespace outrigger::test
