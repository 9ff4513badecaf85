// proxy/base/wakeups.hpp
//
// How shared state wakes a waiter that lives on another worker. A state that lets exchanges wait (a bulkhead, an
// adaptive limit, a pool of connection slots) keeps their tickets; it neither knows nor cares whether a wake-up travels
// through a worker's mailbox (proxy/server) or the simulator's event queue.
//
// A wake-up says nothing by itself: it is a hint to look at what is waited for, where the answer already stands. So one
// that comes late, twice, or for a request that has left (its ticket's generation is past) does no harm, and nothing
// that must not be lost travels with it.
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
  /// Tells the owner of `ticket` to look at what it waits for.
  /// Threads: any; called without locks held.
  virtual void wake(const Ticket& ticket) noexcept = 0;
};

}  // namespace outrigger
