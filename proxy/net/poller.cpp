#include "proxy/net/poller.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <span>
#include <utility>

#include "proxy/base/ensure.hpp"

namespace outrigger::net {
namespace {

/// Rounded up: a timer that is due in half a millisecond is not looked for in a loop without sleep.
int milliseconds(Nanos timeout) noexcept {
  if (timeout == kForever) return -1;
  const std::int64_t ms = (std::max<std::int64_t>(timeout.count(), 0) + 999'999) / 1'000'000;
  return static_cast<int>(std::min<std::int64_t>(ms, INT_MAX));
}

}  // namespace

Poller::Poller() : epoll_(::epoll_create1(EPOLL_CLOEXEC)), interrupt_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  ENSURE(epoll_ >= 0 && interrupt_ >= 0);
  epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.ptr = nullptr}};
  ENSURE(::epoll_ctl(epoll_, EPOLL_CTL_ADD, interrupt_, &event) == 0);
}

Poller::~Poller() {
  while (first_ != nullptr) {
    Transport& transport = *first_;
    first_ = transport.next_;
    transport.drop_reference();
  }
  reap();
  ::close(interrupt_);
  ::close(epoll_);
}

void Poller::add(Transport& transport) noexcept {
  epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data = {.ptr = &transport}};
  // Without memory for the registration the connection can do nothing; it is treated as broken in the next turn.
  if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, transport.descriptor_, &event) == 0) return;
  transport.announce(EPOLLERR);
}

void Poller::remove(Transport& transport) noexcept {
  ::epoll_ctl(epoll_, EPOLL_CTL_DEL, transport.descriptor_, nullptr);
}

void Poller::tell_later(Transport& transport) noexcept {
  if (transport.listed_) return;
  transport.listed_ = true;
  transport.add_reference();
  transport.next_ = nullptr;
  *last_ = &transport;
  last_ = &transport.next_;
}

void Poller::forget(Transport& transport) noexcept { transport.next_closed_ = std::exchange(closed_, &transport); }

void Poller::reap() noexcept {
  while (closed_ != nullptr) {
    Transport& transport = *closed_;
    closed_ = transport.next_closed_;
    transport.drop_reference();
  }
}

/// Tells those that were listed when the turn began; who lists itself meanwhile waits for the next turn.
void Poller::tell_listed() {
  Transport* transport = std::exchange(first_, nullptr);
  last_ = &first_;
  while (transport != nullptr) {
    Transport* next = transport->next_;
    transport->listed_ = false;
    transport->dispatch();
    transport->drop_reference();
    transport = next;
  }
}

bool Poller::turn(Nanos timeout) {
  const int count = ::epoll_wait(epoll_, events_.data(), kEventsPerTurn, first_ != nullptr ? 0 : milliseconds(timeout));
  const std::span<const epoll_event> events(events_.data(), static_cast<std::size_t>(std::max(count, 0)));
  bool interrupted = false;
  // All is announced before anybody is told: who is told may ask another connection whether something came for it.
  for (const epoll_event& event : events) {
    if (event.data.ptr != nullptr) {
      static_cast<Transport*>(event.data.ptr)->announce(event.events);
      continue;
    }
    std::uint64_t ignored = 0;
    static_cast<void>(::read(interrupt_, &ignored, sizeof ignored));
    interrupted = true;
  }
  tell_listed();
  for (const epoll_event& event : events) {
    if (event.data.ptr != nullptr) static_cast<Transport*>(event.data.ptr)->dispatch();
  }
  reap();
  return interrupted;
}

void Poller::interrupt() noexcept {
  const std::uint64_t one = 1;
  static_cast<void>(::write(interrupt_, &one, sizeof one));
}

}  // namespace outrigger::net
