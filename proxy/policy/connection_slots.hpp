// proxy/policy/connection_slots.hpp
//
// Who waits for a connection to an upstream: every endpoint has a limit of attempts, and a request that finds all of
// them full waits in the upstream's one queue, by priority and then in order of arrival. Slots themselves are the
// endpoints' own counts (endpoint.hpp): taking and giving back touch nothing else while nobody waits. A slot is a
// connection in use; those that idle in the workers' pools are bounded by their age, not by this.
//
// A slot that comes free is handed to the first waiter that can use that endpoint: one of its own configuration, in
// service, and behind no circuit of its policy that would refuse it. The waiter finds it in its own memory; the wake-up
// that follows, after the mutex, is only a hint to look. Who was given one and cannot use it after all, because
// somebody else became the circuit's probe meanwhile, gives it back and waits again in its old place.
//
// The limit is the newest configuration's, so that those who wait since before a reload are served by it, too. An
// arrival is put into the queue before it is asked whether there is room: what nobody else can use is its own.
//
// Why no wake-up is lost. Who comes to wait counts itself first and looks at the endpoints' counts then; who gives a
// slot back takes it off the count first and looks for waiters then; all four steps are in one order. So the one sees
// the free slot or the other sees the waiter, and both then act under the mutex. What comes free by the passing of time
// (an ejection that is over, a circuit that closes) is found by `offer`, which has to be called now and then.
//
// Threads: any. Cost: a load of a line that is seldom written to take, one to give back; a mutex only while somebody
// waits, and then a walk over those who wait for each slot that is free and in service. Nothing is allocated: a waiter
// is a member of the one who waits.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>

#include "proxy/base/cache_line.hpp"
#include "proxy/base/priority.hpp"
#include "proxy/base/time.hpp"
#include "proxy/base/wakeups.hpp"
#include "proxy/policy/endpoint.hpp"

namespace outrigger::policy {

/// More waiters than this cannot be counted.
inline constexpr std::uint32_t kMaxPending = 1'000'000;

/// What somebody waits for: a slot of any of these endpoints that is in service and not refused.
struct SlotQuestion {
  const EndpointSet* set = nullptr;
  std::uint32_t max_pending = 0;
  bool panic = true;  // with no usable endpoint, all are in service
  Priority priority = Priority::standard;
  /// Whether the one who waits will not have that endpoint, for reasons of its own; asked on any thread.
  bool (*refuses)(const void* who, EndpointId endpoint, TimePoint now) noexcept = nullptr;
  const void* who = nullptr;
};

/// A place in the queue, a member of the one who waits. Going while it still waits leaves the queue.
class SlotWaiter {
 public:
  enum class State : std::uint8_t {
    idle,
    waiting,
    granted,  // a slot is its own: `leave` hands it out
    dropped,  // thrown out by a more important arrival
  };

  SlotWaiter() noexcept = default;
  explicit SlotWaiter(const Ticket& to_wake) noexcept : ticket(to_wake) {}
  SlotWaiter(const SlotWaiter&) = delete;
  SlotWaiter& operator=(const SlotWaiter&) = delete;
  ~SlotWaiter();

  State state() const noexcept { return state_.load(std::memory_order_acquire); }

  Ticket ticket;  // not changed while waiting

 private:
  friend class ConnectionSlots;

  std::atomic<State> state_{State::idle};
  SlotQuestion question_;
  EndpointId endpoint_{};  // granted
  EndpointPermit slot_;
  std::uint64_t arrival_ = 0;  // its place among its level's; 0: it has not come yet
  ConnectionSlots* slots_ = nullptr;
  SlotWaiter* earlier_ = nullptr;
  SlotWaiter* later_ = nullptr;
};

/// A slot and where it is.
struct Slot {
  EndpointId endpoint{};
  EndpointPermit permit;
};

class ConnectionSlots {
 public:
  /// `wakeups` outlives it.
  explicit ConnectionSlots(Wakeups& wakeups) noexcept : wakeups_(wakeups) {}

  /// How many attempts there may be at one endpoint from now on; none until it is told. `offer` serves those who wait.
  void set_limit(std::int64_t limit) noexcept { limit_.store(limit); }

  /// Whether an arrival has to stand back for those who wait already.
  bool stands_back(Priority priority) const noexcept { return waiting_.load() >> shift_of(index(priority)) != 0; }
  /// Enters the queue and takes what is free: `waiting`, `granted`, or `idle` where the queue is full (`dropped` where
  /// somebody else found it so).
  SlotWaiter::State wait(SlotWaiter& waiter, const SlotQuestion& question, TimePoint now) noexcept;
  /// Ends a wait, whatever became of it; with the slot if one had been handed over.
  std::optional<Slot> leave(SlotWaiter& waiter) noexcept;
  /// After a slot was given back: hands it on.
  void freed(EndpointState& endpoint) noexcept {
    if (waiting_.load() != 0) hand_out(endpoint, std::nullopt);
  }
  /// Hands out what is free for another reason than that a slot was given back.
  void offer(const EndpointSet& set, TimePoint now) noexcept;

  std::uint32_t queued() const noexcept;
  std::uint32_t queued(Priority priority) const noexcept;

 private:
  struct Queue {
    SlotWaiter* first = nullptr;
    SlotWaiter* last = nullptr;
  };

  static constexpr int kBits = 21;
  /// Levels lie in the word in their order.
  static constexpr int shift_of(std::size_t level) noexcept { return kBits * static_cast<int>(level); }
  static constexpr std::uint64_t one(Priority priority) noexcept {
    return std::uint64_t{1} << shift_of(index(priority));
  }

  void hand_out_in_service(const EndpointSet& set, const SlotWaiter* newcomer, TimePoint now) noexcept;
  void hand_out(EndpointState& endpoint, std::optional<TimePoint> now) noexcept;
  bool grant(EndpointState& endpoint, Ticket& ticket) noexcept;
  std::optional<EndpointId> wanted(const SlotWaiter& waiter, const EndpointState& endpoint) const noexcept;
  SlotWaiter::State stay(SlotWaiter& newcomer) noexcept;
  void link(SlotWaiter& waiter) noexcept;
  Ticket unlink(SlotWaiter& waiter, SlotWaiter::State becomes) noexcept;

  alignas(kCacheLine) std::atomic<std::uint64_t> waiting_{0};  // per level
  std::atomic<std::int64_t> limit_{0};
  alignas(kCacheLine) std::mutex mutex_;  // guards what follows and every waiter's links
  std::array<Queue, kPriorities> queues_;
  std::uint64_t arrivals_ = 0;
  TimePoint now_{};  // as far as anybody has told
  Wakeups& wakeups_;
};

}  // namespace outrigger::policy
