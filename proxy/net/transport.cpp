#include "proxy/net/transport.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>

namespace outrigger::net {
namespace {

constexpr int kRead = 0;
constexpr int kWrite = 1;
constexpr int kBroken = 2;

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

template <int Which>
struct Transport::Handler {
  using allocator_type = HandlerAllocator<std::byte>;
  Ref<Transport> transport;

  allocator_type get_allocator() const noexcept {
    return allocator_type{transport->memory_[Which == kWrite ? kWrite : kRead]};
  }
  void operator()(const error_code& error) const {
    transport->watching_[Which] = false;
    TransportOwner* owner = transport->owner_;
    if (owner == nullptr || error) return;
    if constexpr (Which == kRead) owner->on_readable();
    if constexpr (Which == kWrite) owner->on_writable();
    if constexpr (Which == kBroken) owner->on_broken();
  }
};

Transport::Transport(IoContext& io, int descriptor, TransportOwner& owner)
    : descriptor_(io.get_executor()), fd_(descriptor), owner_(&owner) {
  error_code ignored;
  descriptor_.assign(descriptor, ignored);
  descriptor_.non_blocking(true, ignored);
}

template <int Which>
void Transport::watch(Descriptor::wait_type what) {
  if (watching_[Which] || owner_ == nullptr) return;
  watching_[Which] = true;
  descriptor_.async_wait(what, Handler<Which>{Ref<Transport>{this}});
}

void Transport::watch_read() { watch<kRead>(Descriptor::wait_read); }
void Transport::watch_write() { watch<kWrite>(Descriptor::wait_write); }
void Transport::watch_broken() { watch<kBroken>(Descriptor::wait_error); }

IoResult Transport::recv(std::span<char> into) noexcept {
  IoResult result = io_result(::recv(fd_, into.data(), into.size(), 0));
  if (result.status == IoStatus::ok && result.bytes == 0 && !into.empty()) result.status = IoStatus::eof;
  return result;
}

IoResult Transport::send(std::string_view bytes) noexcept {
  return io_result(::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL));
}

IoResult Transport::send(std::span<const std::string_view> pieces) noexcept {
  iovec parts[kMaxPieces];
  std::size_t count = 0;
  for (const std::string_view piece : pieces) {
    if (!piece.empty()) parts[count++] = {const_cast<char*>(piece.data()), piece.size()};
  }
  if (count == 1) return send({static_cast<const char*>(parts[0].iov_base), parts[0].iov_len});
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = count;
  return io_result(::sendmsg(fd_, &message, MSG_NOSIGNAL));
}

bool Transport::peer_has_closed() const noexcept {
  return (poll_events(fd_, POLLRDHUP) & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

bool Transport::has_input() const noexcept {
  return (poll_events(fd_, POLLIN | POLLRDHUP) & (POLLIN | POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

int Transport::connect_error() const noexcept {
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
  return error;
}

void Transport::shutdown_send() noexcept { ::shutdown(fd_, SHUT_WR); }

void Transport::close() noexcept {
  if (owner_ == nullptr) return;
  owner_ = nullptr;
  error_code ignored;
  descriptor_.close(ignored);
}

void Transport::reset() noexcept {
  const linger now{.l_onoff = 1, .l_linger = 0};
  if (owner_ != nullptr) ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  close();
}

}  // namespace outrigger::net
