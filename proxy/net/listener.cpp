#include "proxy/net/listener.hpp"

#include <cerrno>

#include "proxy/net/socket_address.hpp"

namespace outrigger::net {

Listener::Listener(Edge& edge, int descriptor, const ListenerInfo& info, AcceptSink& sink)
    : edge_(edge),
      transport_(new Transport(edge.loop.poller, descriptor, *this)),
      descriptor_(descriptor),
      info_(info),
      sink_(sink) {
  transport_->watch_read();
}

void Listener::close() {
  clear();
  transport_->close();
}

bool Listener::full() const noexcept {
  const auto reached = [](const std::atomic<std::int64_t>& open, const config::LimitsConfig& limits) {
    return open.load(std::memory_order_relaxed) >= std::int64_t{limits.max_connections};
  };
  const View& view = *edge_.view;
  return reached(edge_.process.downstream_connections, view.snapshot->config.limits) ||
         reached(*info_.connections, view.listeners[info_.index]->limits);
}

void Listener::pause() {
  info_.row->rejected[static_cast<std::size_t>(Reason::pool_full)].add();
  set(edge_.loop.wheel, saturating_add(edge_.loop.now(), kPause));
}

/// Hands on the connection that has waited longest.
Listener::Accepted Listener::accept_one() {
  sockaddr_storage peer{};
  socklen_t size = sizeof peer;
  const int fd = ::accept4(descriptor_, reinterpret_cast<sockaddr*>(&peer), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd >= 0) {
    sink_.accepted(info_, fd, host_of(peer));
    return Accepted::one;
  }
  if (errno == EAGAIN || errno == EWOULDBLOCK) return Accepted::none;
  // A connection that died while it waited is no reason to stop; a lack of descriptors or memory is.
  const bool died = errno == ECONNABORTED || errno == EINTR || errno == EPROTO;
  return died ? Accepted::one : Accepted::failed;
}

void Listener::on_readable() {
  edge_.loop.refresh();
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    if (full()) return pause();
    const Accepted accepted = accept_one();
    if (accepted == Accepted::failed) return pause();
    if (accepted == Accepted::one) continue;
    transport_->set_exhausted();
    break;
  }
  transport_->watch_read();
}

void Listener::accept_waiting() {
  for (int i = 0; i < SOMAXCONN && !full(); ++i) {
    if (accept_one() != Accepted::one) return;
  }
}

void Listener::on_due(TimePoint) {
  if (full()) return pause();
  transport_->watch_read();
}

}  // namespace outrigger::net
