#include "proxy/net/transport.hpp"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include <linux/sockios.h>

#include "proxy/net/poller.hpp"

namespace outrigger::net {
namespace {

// The C library's wrappers are cancellation points, which a process with threads pays for with two calls around each
// system call (2 % of a proxied request); nobody cancels our threads.
ssize_t receive(int fd, void* into, std::size_t size) noexcept {
  return ::syscall(SYS_recvfrom, fd, into, size, 0, nullptr, nullptr);
}
ssize_t transmit(int fd, const void* from, std::size_t size) noexcept {
  return ::syscall(SYS_sendto, fd, from, size, MSG_NOSIGNAL, nullptr, 0);
}

IoResult io_result(ssize_t moved) noexcept {
  if (moved >= 0) return {IoStatus::ok, static_cast<std::size_t>(moved), 0};
  if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return {IoStatus::again, 0, 0};
  return {IoStatus::fault, 0, errno};
}

short poll_events(int fd, short events) noexcept {
  pollfd entry{.fd = fd, .events = events, .revents = 0};
  return ::poll(&entry, 1, 0) > 0 ? entry.revents : short{0};
}

}  // namespace

Transport::Transport(Poller& poller, int descriptor, TransportOwner& owner, std::unique_ptr<TlsSession> tls)
    : poller_(poller), owner_(&owner), tls_(std::move(tls)), descriptor_(descriptor) {
  if (tls_) {
    tls_->attach(descriptor);
    readable_ = true;  // it may hold bytes that came behind its handshake
  }
  add_reference();  // of the registration
  poller_.add(*this);
}

void Transport::announce(std::uint32_t events) noexcept {
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) readable_ = true;
  if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) writable_ = true;
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) ended_ = true;
  if ((events & EPOLLERR) != 0) broken_ = true;
  if (tls_) announce_to_tls();
}

/// A session may have to write before it can read, and owes its end until the kernel takes it.
void Transport::announce_to_tls() noexcept {
  tls_->announce(readable_, ended_);
  if (!writable_) return;
  if (tls_->waits_to_write()) readable_ = true;
  if (end_owed_) shutdown_send();
}

/// Tells the owner what it wants to know; each telling may close us.
void Transport::dispatch() {
  if (owner_ != nullptr && want_read_ && (readable_ || woken_)) {
    want_read_ = woken_ = false;
    owner_->on_readable();
  }
  if (owner_ != nullptr && want_write_ && writable_) {
    want_write_ = false;
    owner_->on_writable();
  }
  if (owner_ != nullptr && want_broken_ && broken_) {
    want_broken_ = false;
    owner_->on_broken();
  }
}

void Transport::watch_read() noexcept {
  want_read_ = true;
  if (readable_) poller_.tell_later(*this);
}

void Transport::watch_write() noexcept {
  want_write_ = true;
  if (writable_) poller_.tell_later(*this);
}

void Transport::watch_broken() noexcept {
  want_broken_ = true;
  if (broken_) poller_.tell_later(*this);
}

void Transport::wake() noexcept {
  want_read_ = woken_ = true;
  poller_.tell_later(*this);
}

IoStatus Transport::handshake() noexcept {
  if (!tls_) return IoStatus::ok;
  const IoStatus status = tls_->handshake();
  readable_ = status != IoStatus::again || ended_;
  if (status != IoStatus::again) return status;
  if (tls_->waits_to_write()) {
    writable_ = false;
    watch_write();
  } else {
    watch_read();
  }
  return status;
}

IoResult Transport::recv(std::span<char> into) noexcept {
  if (tls_) {
    const IoResult received = tls_->recv(into);
    readable_ = received.bytes == into.size() || tls_->is_over();
    return received;
  }
  IoResult result = io_result(receive(descriptor_, into.data(), into.size()));
  if (result.status == IoStatus::ok && result.bytes == 0) {
    // A reset is told once, to whoever comes first; after that the kernel speaks of an end like any other.
    result = send_fault_ == 0 ? IoResult{IoStatus::eof, 0, 0} : IoResult{IoStatus::fault, 0, send_fault_};
  }
  // Broken and yet without an error or an end of its own: the registration failed, and nothing will ever be announced.
  if (result.status == IoStatus::again && broken_) return {IoStatus::fault, 0, ENOMEM};
  // A short read has emptied the socket: what comes next is announced anew. Only an end that is already known is not.
  const bool emptied =
      result.status == IoStatus::again || (result.status == IoStatus::ok && result.bytes < into.size());
  if (emptied && !ended_) readable_ = false;
  return result;
}

IoResult Transport::sent(std::size_t asked, std::ptrdiff_t moved) noexcept {
  const IoResult result = io_result(moved);
  if (result.status != IoStatus::fault && result.bytes < asked) writable_ = false;
  // EPIPE is no such word: the peer had ended in good order before it would take no more.
  if (result.status == IoStatus::fault && result.error != EPIPE) send_fault_ = result.error;
  return result;
}

IoResult Transport::send(std::string_view bytes) noexcept {
  if (tls_) return send(std::span(&bytes, 1));
  return sent(bytes.size(), transmit(descriptor_, bytes.data(), bytes.size()));
}

IoResult Transport::send(std::span<const std::string_view> pieces) noexcept {
  if (tls_) {
    const IoResult result = tls_->send(pieces);
    if (tls_->waits_to_write()) writable_ = false;
    return result;
  }
  iovec parts[kMaxPieces];
  std::size_t count = 0;
  std::size_t asked = 0;
  for (const std::string_view piece : pieces) {
    if (piece.empty()) continue;
    parts[count++] = {const_cast<char*>(piece.data()), piece.size()};
    asked += piece.size();
  }
  if (count == 0) return {};
  if (count == 1) return send({static_cast<const char*>(parts[0].iov_base), asked});
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = count;
  return sent(asked, ::sendmsg(descriptor_, &message, MSG_NOSIGNAL));
}

bool Transport::peer_has_closed() const noexcept {
  return (poll_events(descriptor_, POLLRDHUP) & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

std::size_t Transport::unsent() const noexcept {
  int bytes = 0;
  return ::ioctl(descriptor_, SIOCOUTQ, &bytes) == 0 ? static_cast<std::size_t>(bytes) : 0;
}

bool Transport::has_input() const noexcept {
  if (tls_) return tls_->has_input();
  return (poll_events(descriptor_, POLLIN | POLLRDHUP) & (POLLIN | POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

int Transport::connect_error() const noexcept {
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(descriptor_, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
  return error == 0 && broken_ ? ENOMEM : error;
}

void Transport::shutdown_send() noexcept {
  end_owed_ = tls_ && !tls_->send_end();
  if (!end_owed_) ::shutdown(descriptor_, SHUT_WR);
}

void Transport::close() noexcept {
  if (owner_ == nullptr) return;
  owner_ = nullptr;
  if (tls_) tls_->send_end();
  tls_.reset();
  ::close(std::exchange(descriptor_, -1));  // which ends the registration, too
  poller_.forget(*this);
}

void Transport::reset() noexcept {
  const linger now{.l_onoff = 1, .l_linger = 0};
  if (owner_ != nullptr) ::setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  if (tls_) tls_->abandon();
  close();
}

Transport::Released Transport::release() noexcept {
  owner_ = nullptr;
  poller_.remove(*this);
  poller_.forget(*this);
  return {std::exchange(descriptor_, -1), std::move(tls_)};
}

}  // namespace outrigger::net
