#include "proxy/net/listener.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

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

/// Counts one more connection, unless there are as many as may be. Other workers count at the same time.
bool Listener::take_place() noexcept {
  const auto taken = [](std::atomic<std::int64_t>& open, std::int64_t most) {
    if (open.fetch_add(1, std::memory_order_relaxed) < most) return true;
    open.fetch_sub(1, std::memory_order_relaxed);
    return false;
  };
  const View& view = *edge_.view;
  ProcessState& process = edge_.process;
  const std::int64_t most =
      std::min<std::int64_t>(view.snapshot->config.limits.max_connections, process.most_connections);
  if (!taken(process.downstream_connections, most)) return false;
  if (taken(*info_.connections, view.listeners[info_.index]->limits.max_connections)) return true;
  process.downstream_connections.fetch_sub(1, std::memory_order_relaxed);
  return false;
}

void Listener::give_place_back() noexcept {
  edge_.process.downstream_connections.fetch_sub(1, std::memory_order_relaxed);
  info_.connections->fetch_sub(1, std::memory_order_relaxed);
}

/// Counted once, however long it lasts.
void Listener::pause() {
  if (!std::exchange(paused_, true)) info_.row->rejected[static_cast<std::size_t>(Reason::pool_full)].add();
  set(edge_.loop.wheel, saturating_add(edge_.loop.now(), kPause));
}

/// Hands on the connection that has waited longest, if there is a place for it; whoever takes it counts it, too.
Listener::Accepted Listener::accept_one() {
  if (!take_place()) return Accepted::failed;
  const Accepted accepted = accept_in_place();
  if (accepted != Accepted::failed) paused_ = false;
  give_place_back();
  return accepted;
}

Listener::Accepted Listener::accept_in_place() {
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
    const Accepted accepted = accept_one();
    if (accepted == Accepted::failed) return pause();
    if (accepted == Accepted::one) continue;
    transport_->set_exhausted();
    break;
  }
  transport_->watch_read();
}

void Listener::accept_waiting() {
  for (int i = 0; i < SOMAXCONN; ++i) {
    if (accept_one() != Accepted::one) return;
  }
}

void Listener::on_due(TimePoint) { transport_->watch_read(); }

}  // namespace outrigger::net
