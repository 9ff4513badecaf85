// proxy/net/poller.hpp
//
// The readiness of all descriptors of one worker: an epoll set in which each is registered once, edge-triggered. Those
// that still have something to tell their owner after a turn (a fair share was taken, not all) wait in a list and are
// told in the next turn, without a system call.
//
// Threads: one worker; only `interrupt` may be called by others.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstdint>

#include "proxy/base/time.hpp"
#include "proxy/net/intrusive.hpp"
#include "proxy/net/transport.hpp"

namespace outrigger::net {

class Poller {
 public:
  Poller();
  ~Poller();
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

  /// One turn: waits at most `timeout` (kForever: without limit) for something to tell, and tells it. True where the
  /// turn was, among others, begun by `interrupt`.
  bool turn(Nanos timeout);

  /// Ends a wait, or the next one.
  void interrupt() noexcept;

 private:
  friend class Transport;
  static constexpr int kEventsPerTurn = 256;

  void add(Transport& transport) noexcept;
  void remove(Transport& transport) noexcept;
  void tell_later(Transport& transport) noexcept;
  void forget(Transport& transport) noexcept;
  void tell_listed();
  void reap() noexcept;

  int epoll_;
  int interrupt_;               // an eventfd
  Transport* first_ = nullptr;  // those to tell, in order
  Transport** last_ = &first_;
  Transport* closed_ = nullptr;  // whose registration's reference is due
  std::array<epoll_event, kEventsPerTurn> events_;
};

}  // namespace outrigger::net
