#include "proxy/net/connection_pool.hpp"

#include <unistd.h>

#include <cerrno>

#include "proxy/net/faults.hpp"
#include "proxy/net/h1_upstream.hpp"

namespace outrigger::net {

ConnectionPool::ConnectionPool(Loop& loop, SocketAddress address, telemetry::UpstreamRow& row, PoolTls tls)
    : loop_(loop), address_(std::move(address)), row_(row), tls_(std::move(tls)) {}

ConnectionPool::~ConnectionPool() = default;

void ConnectionPool::configure(const PoolSettings& settings) noexcept {
  settings_ = settings;
  if (oldest_ != nullptr) set(loop_.wheel, saturating_add(oldest_->idle_since_, settings_.idle_timeout));
}

UpstreamStream* ConnectionPool::take(UpstreamSink& sink, exchange::Reuse reuse) {
  if (reuse == exchange::Reuse::none) return nullptr;
  while (newest_ != nullptr) {
    H1Upstream& connection = *newest_;
    const bool fresh = loop_.now() - connection.idle_since_ < kFreshEnough;
    // The list is ordered by age: if the newest has idled too long, so have all.
    if (!fresh && reuse == exchange::Reuse::recent) return nullptr;
    remove_idle(connection);
    if (connection.is_stale(!fresh || reuse == exchange::Reuse::recent)) {
      connection.close();
      continue;
    }
    connection.reused_for(sink);
    return &connection;
  }
  return nullptr;
}

UpstreamStream* ConnectionPool::connect(UpstreamSink& sink, Reason& why) {
  const int descriptor = ::socket(address_.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (descriptor < 0) {
    why = connect_fault(errno);
    count_connect(why);
    return nullptr;
  }
  set_stream_options(descriptor, address_);
  const auto* address = reinterpret_cast<const sockaddr*>(&address_.storage);
  if (::connect(descriptor, address, address_.size) != 0 && errno != EINPROGRESS) {
    why = connect_fault(errno);
    ::close(descriptor);
    count_connect(why);
    return nullptr;
  }
  return new H1Upstream(*this, descriptor, sink);
}

void ConnectionPool::retire() {
  retired_ = true;
  while (oldest_ != nullptr) {
    H1Upstream& oldest = *oldest_;
    remove_idle(oldest);
    oldest.close();
  }
}

void ConnectionPool::put(H1Upstream& connection) {
  if (retired_) return connection.close();
  connection.idle_since_ = loop_.now();
  connection.older_ = newest_;
  connection.newer_ = nullptr;
  (newest_ != nullptr ? newest_->newer_ : oldest_) = &connection;
  newest_ = &connection;
  row_.idle.add(1);
  if (due() == kNever) set(loop_.wheel, saturating_add(oldest_->idle_since_, settings_.idle_timeout));
}

void ConnectionPool::remove_idle(H1Upstream& connection) noexcept {
  (connection.newer_ != nullptr ? connection.newer_->older_ : newest_) = connection.older_;
  (connection.older_ != nullptr ? connection.older_->newer_ : oldest_) = connection.newer_;
  connection.newer_ = connection.older_ = nullptr;
  row_.idle.add(-1);
}

void ConnectionPool::on_due(TimePoint now) {
  const Ref<ConnectionPool> self(this);
  while (oldest_ != nullptr && now - oldest_->idle_since_ >= settings_.idle_timeout) {
    H1Upstream& oldest = *oldest_;
    remove_idle(oldest);
    oldest.close();
  }
  if (oldest_ != nullptr) set(loop_.wheel, saturating_add(oldest_->idle_since_, settings_.idle_timeout));
}

std::unique_ptr<TlsSession> ConnectionPool::new_session() {
  if (!tls_.context) return nullptr;
  return std::make_unique<TlsSession>(*tls_.context, tls_.name, ticket_);
}

void ConnectionPool::tell_failure(const TlsSession& session) {
  if (tls_.log == nullptr) return;
  tls_.log->write(telemetry::LogLevel::warn, "TLS with an upstream failed",
                  {{"endpoint", address_.text}, {"name", tls_.name}, {"error", session.failure()}});
}

void ConnectionPool::count_connect(Reason result) noexcept { row_.connects[static_cast<std::size_t>(result)].add(); }

}  // namespace outrigger::net
