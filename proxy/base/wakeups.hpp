// proxy/base/wakeups.hpp
//
// How shared state wakes a waiter that lives on another worker. A state that lets exchanges wait (a bulkhead, a pool of
// connection slots) keeps their tickets and hands a permit to one with `grant`; it neither knows nor cares whether that
// travels through a worker's mailbox (proxy/server) or the simulator's event queue. Tickets carry a generation so that
// a grant for a request that has left meanwhile is recognised, and its permit released again by the receiver.
#pragma once

#include <cstdint>

namespace outrigger {

struct Ticket {
  std::uint32_t worker = 0;
  std::uint32_t slot = 0;
  std::uint64_t generation = 0;

  friend bool operator==(const Ticket&, const Ticket&) = default;
};

class Wakeups {
 public:
  virtual ~Wakeups() = default;
  /// Tells the owner of `ticket` that what it waited for is now its own.
  /// Threads: any; called without locks held.
  virtual void grant(const Ticket& ticket) noexcept = 0;
};

}  // namespace outrigger
