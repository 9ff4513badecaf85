// proxy/net/edge.hpp
//
// What the connections of one worker work with: its loop, its present view of the configuration, where finished
// requests are recorded, and the requests under way. Everything here belongs to one worker.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "proxy/base/bounded_vec.hpp"
#include "proxy/base/wakeups.hpp"
#include "proxy/exchange/timeline.hpp"
#include "proxy/net/intrusive.hpp"
#include "proxy/net/loop.hpp"
#include "proxy/net/rate_limit_answer.hpp"
#include "proxy/net/view.hpp"
#include "proxy/telemetry/log.hpp"
#include "proxy/telemetry/timeline_store.hpp"

namespace outrigger::net {

class ExchangeDriver;
class H1Downstream;
class Mirror;

/// What the process tells all its connections.
struct ProcessState {
  std::atomic<bool> draining{false};  // responses carry Connection: close
  std::atomic<std::int64_t> downstream_connections{0};
  std::int64_t most_connections = std::numeric_limits<std::int64_t>::max();  // that there are descriptors for
  std::atomic<std::int64_t> drivers{0};                                      // in use or spare
};

class Edge final : private LazyTimer {
 public:
  Edge(Loop& loop, ProcessState& process, telemetry::TimelineStore& timelines, telemetry::LogWriter& log,
       telemetry::PolicyRow& unrouted);
  ~Edge() override;

  Loop& loop;
  ProcessState& process;
  telemetry::TimelineStore& timelines;
  telemetry::LogWriter& log;
  telemetry::PolicyRow& unrouted;
  Ref<View> view;
  // Of the answer that is being written: here and not with its connection, of which thousands may idle.
  RateLimitAnswer rate_limits;
  BoundedVec<Field, 8 + RateLimitAnswer::kMaxFields> own_fields;
  /// Connections of this worker, as other workers see it; those on their way here count.
  std::atomic<std::int64_t> load{0};

  /// A driver that is not in use; it comes back by itself when its request has ended. More than a few spare ones are
  /// given up after a while, so that a burst does not keep its memory.
  ExchangeDriver& take_driver();

  /// Records a finished request in the rings and the access log.
  void record(const exchange::Timeline& timeline);

  /// How many requests are under way. Threads: any.
  std::size_t in_flight() const noexcept { return in_flight_.load(std::memory_order_relaxed); }
  /// Tells the request that waits under that ticket; one that has left meanwhile is not found.
  void wake(const Ticket& ticket, bool granted);
  /// Ends every request under way with that reason.
  void cancel_all(Reason why);
  /// Tells every connection that the process is draining: idle ones close once they have been quiet for a second.
  void drain_connections();
  /// Closes every connection now.
  void close_connections();
  /// Breaks off every copy of a request that is under way.
  void end_mirrors() noexcept;

  // For the connections themselves.
  void enlist(H1Downstream& connection);
  void dismiss(H1Downstream& connection) noexcept;

  // For copies of requests: each is the edge's until it ends, whatever becomes of its request.
  Mirror& adopt(std::unique_ptr<Mirror> mirror);
  void end(Mirror& mirror) noexcept;

  // For drivers.
  void give_back(ExchangeDriver& driver);
  std::uint64_t next_generation() noexcept { return ++generation_; }

 private:
  static constexpr std::size_t kSpareDrivers = 64;
  static constexpr Nanos kTrimEvery = std::chrono::seconds{3};

  void on_due(TimePoint now) override;
  std::vector<std::unique_ptr<ExchangeDriver>> drivers_;  // by slot; empty where the slot is free
  std::vector<std::uint32_t> free_slots_;
  std::vector<ExchangeDriver*> idle_drivers_;
  std::uint64_t generation_ = 0;                  // of the request that began last
  std::vector<H1Downstream*> connections_;        // each knows its place
  std::vector<std::unique_ptr<Mirror>> mirrors_;  // so does each of these
  std::atomic<std::size_t> in_flight_{0};         // one writer
};

}  // namespace outrigger::net
