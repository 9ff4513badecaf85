// proxy/net/connection_pool.hpp
//
// The connections of one worker to one endpoint: makes new ones, keeps those that finished an exchange cleanly, and
// hands out the one used last, so that surplus connections grow old and close. Nothing is shared with other workers: a
// few more idle connections buy the absence of a lock and of moving descriptors between loops.
//
// A pool belongs to an address and outlives configurations; `retire` ends it when its address has gone.
//
// Threads: one worker.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "proxy/exchange/action.hpp"
#include "proxy/net/intrusive.hpp"
#include "proxy/net/loop.hpp"
#include "proxy/net/socket_address.hpp"
#include "proxy/net/tls_session.hpp"
#include "proxy/net/upstream.hpp"
#include "proxy/telemetry/log.hpp"
#include "proxy/telemetry/metric_shard.hpp"

namespace outrigger::net {

class H1Upstream;

struct PoolSettings {
  Nanos idle_timeout = std::chrono::seconds{4};
  Nanos read_idle_timeout = std::chrono::seconds{60};
  std::uint32_t max_requests_per_connection = 0;
};

/// How a pool's connections are encrypted.
struct PoolTls {
  std::shared_ptr<const TlsContext> context;  // nullptr: they are not
  std::string name;                           // whom we mean to talk to
  telemetry::LogWriter* log = nullptr;        // where failures are told
};

class ConnectionPool final : public Counted<ConnectionPool>, private LazyTimer {
 public:
  ConnectionPool(Loop& loop, SocketAddress address, telemetry::UpstreamRow& row, PoolTls tls = {});
  ~ConnectionPool() override;

  /// Takes effect at once, for idle connections, too.
  void configure(const PoolSettings& settings) noexcept;
  const PoolSettings& settings() const noexcept { return settings_; }
  Loop& loop() noexcept { return loop_; }

  /// A live idle connection as a stream for `sink`, where `reuse` allows one; nullptr where there is none.
  UpstreamStream* take(UpstreamSink& sink, exchange::Reuse reuse);
  /// A new connection, on its way; nullptr, with the reason in `why`, where not even that could be begun.
  UpstreamStream* connect(UpstreamSink& sink, Reason& why);

  /// Closes what idles and keeps nothing from now on.
  void retire();

 private:
  friend class Counted<ConnectionPool>;
  friend class H1Upstream;
  static constexpr Nanos kFreshEnough = std::chrono::seconds{1};

  void last_reference_gone() noexcept { delete this; }
  void on_due(TimePoint now) override;

  // For its connections.
  void put(H1Upstream& connection);
  void remove_idle(H1Upstream& connection) noexcept;
  void count_connect(Reason result) noexcept;
  std::unique_ptr<TlsSession> new_session();
  void tell_failure(const TlsSession& session);
  void count_active(std::int64_t by) noexcept { row_.active.add(by); }

  Loop& loop_;
  SocketAddress address_;
  telemetry::UpstreamRow& row_;
  const PoolTls tls_;
  TlsTicket ticket_;
  PoolSettings settings_;
  bool retired_ = false;
  H1Upstream* newest_ = nullptr;  // a list of the idle connections; an open one keeps itself alive
  H1Upstream* oldest_ = nullptr;
};

}  // namespace outrigger::net
