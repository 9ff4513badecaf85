// proxy/server/worker.hpp
//
// One thread of the data plane with all that belongs to it: loop, listeners' shares, connections, pools, timelines.
// Nobody else touches any of it; whoever wants something done here posts it (`post` is the worker's mailbox).
// Configurations arrive that way too, and take effect between two events.
//
// Long-lived clients are few beside a service, and the kernel spreads connections by hash: a worker that has two more
// connections than the emptiest one hands the next over before any loop knows the descriptor.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "proxy/config/snapshot.hpp"
#include "proxy/net/edge.hpp"
#include "proxy/net/handshaker.hpp"
#include "proxy/net/listener.hpp"
#include "proxy/net/loop.hpp"
#include "proxy/telemetry/log.hpp"
#include "proxy/telemetry/metric_shard.hpp"
#include "proxy/telemetry/timeline_store.hpp"

namespace outrigger::server {

class Worker final : private net::AcceptSink {
 public:
  using Workers = std::vector<std::unique_ptr<Worker>>;

  struct Setup {
    std::uint32_t index = 0;
    std::uint64_t seed = 0;
    Workers* all = nullptr;  // to hand connections over; complete before any worker starts
    net::ProcessState* process = nullptr;
    net::BufferAccount* account = nullptr;
    telemetry::MetricRegistry* metrics = nullptr;
    telemetry::Log* log = nullptr;
    std::size_t keep_timelines = 0;
    double sample_timelines = 0;
  };

  explicit Worker(const Setup& setup);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// Before `start`: a listening descriptor of this worker's own (-1: another worker accepts for all), and the first
  /// configuration.
  void listen(int descriptor, const net::ListenerInfo& info);
  void use(std::shared_ptr<const config::Snapshot> snapshot, std::shared_ptr<const net::TlsContexts> tls = nullptr);

  void start();
  void join();
  /// Once all workers have ended: does what was posted too late for this one's thread. A connection may be in it.
  void read_last_mail() { loop_.read_last_mail(); }

  /// Runs `task` on the worker's thread, in order. Threads: any.
  void post(std::function<void()> task) { loop_.post(std::move(task)); }

  // On the worker's thread (post them):
  /// Begins to drain: quiet connections close; listeners that are not local stop.
  void drain();
  void stop_listening();
  /// Ends everything that is left, and the thread.
  void stop();

  net::Edge& edge() noexcept { return edge_; }
  telemetry::TimelineStore& timelines() noexcept { return timelines_; }
  std::size_t in_flight() const noexcept { return edge_.in_flight(); }
  /// Connections of clients, those on their way to this worker included.
  std::int64_t connections() const noexcept { return edge_.load.load(std::memory_order_relaxed); }

 private:
  void accepted(const net::ListenerInfo& listener, int descriptor, std::string peer) override;
  void shake_hands(const net::ListenerInfo& listener, int descriptor, std::string peer);
  void shaken(net::Handshaker::Outcome outcome);
  /// Gives a connection on which bytes can flow to the worker that is to have it.
  void place(const net::ListenerInfo& listener, int descriptor, std::string peer, std::unique_ptr<net::TlsSession> tls);
  void adopt(std::size_t listener, int descriptor, std::string peer, std::unique_ptr<net::TlsSession> tls);
  net::Ref<net::ConnectionPool> pool(const config::Snapshot& snapshot, const net::TlsContexts* tls,
                                     std::size_t upstream, std::size_t endpoint);
  void run();

  const Setup setup_;
  telemetry::TimelineStore timelines_;
  net::Loop loop_;
  net::Edge edge_;
  std::vector<std::unique_ptr<net::Listener>> listeners_;
  std::vector<net::ListenerInfo> listener_infos_;
  std::map<std::string, net::Ref<net::ConnectionPool>> pools_;  // by what must not be mixed (pool_key)
  std::unique_ptr<net::Handshaker> handshaker_;                 // once a client has come that needs it
  bool stopped_ = false;                                        // nothing is taken up any more
  std::thread thread_;
};

}  // namespace outrigger::server
