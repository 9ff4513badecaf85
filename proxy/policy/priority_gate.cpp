#include "proxy/policy/priority_gate.hpp"

#include <algorithm>

#include "proxy/base/ensure.hpp"

namespace outrigger::policy {
namespace {

constexpr int kInFlightBits = 17;
constexpr int kWaitingBits = 15;
constexpr std::size_t kNone = kPriorities;

constexpr int shift_of(std::size_t level) noexcept { return kInFlightBits + kWaitingBits * static_cast<int>(level); }
constexpr std::uint64_t one_waiting(std::size_t level) noexcept { return std::uint64_t{1} << shift_of(level); }
constexpr std::uint32_t in_flight_of(std::uint64_t word) noexcept {
  return static_cast<std::uint32_t>(word & kMaxGateCapacity);
}
constexpr std::uint32_t waiting_of(std::uint64_t word, std::size_t level) noexcept {
  return static_cast<std::uint32_t>(word >> shift_of(level)) & kMaxGateQueue;
}
/// Whether anybody of this level or a higher one waits: levels lie in the word in their order.
constexpr bool waits_from(std::uint64_t word, std::size_t level) noexcept { return word >> shift_of(level) != 0; }

constexpr std::uint32_t queued_in(std::uint64_t word) noexcept {
  std::uint32_t sum = 0;
  for (std::size_t level = 0; level < kPriorities; ++level) sum += waiting_of(word, level);
  return sum;
}

/// The lowest level below `level` that waits; kNone if none does.
constexpr std::size_t lowest_waiting_below(std::uint64_t word, std::size_t level) noexcept {
  for (std::size_t lower = 0; lower < level; ++lower) {
    if (waiting_of(word, lower) != 0) return lower;
  }
  return kNone;
}

/// The highest level that waits and that its limit admits; kNone if there is none.
constexpr std::size_t next_admitted(const GateLevels& levels, std::uint64_t word) noexcept {
  for (std::size_t level = kPriorities; level-- > 0;) {
    if (waiting_of(word, level) != 0 && in_flight_of(word) < levels.limits[level]) return level;
  }
  return kNone;
}

constexpr GateAnswer answer_to(const GateLevels& levels, std::uint64_t word, std::size_t level) noexcept {
  if (in_flight_of(word) >= levels.capacity) return GateAnswer::full;
  const bool fits = in_flight_of(word) < levels.limits[level] && !waits_from(word, level);
  return fits ? GateAnswer::admitted : GateAnswer::shed;
}

std::uint32_t level_limit(std::uint32_t capacity, double fraction) noexcept {
  if (fraction >= 1) return capacity;
  const double places = capacity;
  auto limit = static_cast<std::uint32_t>(std::max(fraction, 0.0) * places);
  while (limit / places < fraction) ++limit;
  while (limit > 0 && (limit - 1) / places >= fraction) --limit;
  return limit;
}

}  // namespace

GateLevels gate_levels(std::uint32_t capacity, const PriorityThresholds& thresholds, std::uint32_t max_queue) noexcept {
  GateLevels levels;
  levels.capacity = std::min(capacity, kMaxGateCapacity);
  levels.max_queue = std::min(max_queue, kMaxGateQueue);
  for (std::size_t i = 0; i < kPriorities; ++i) {
    levels.limits[i] = level_limit(levels.capacity, thresholds.fraction[i]);
  }
  return levels;
}

GateWaiter::~GateWaiter() {
  if (state() != State::idle) static_cast<void>(gate_->leave(*this));
}

GateAnswer PriorityGate::peek(const GateLevels& levels, Priority priority) const noexcept {
  return answer_to(levels, word_.load(std::memory_order_relaxed), index(priority));
}

GateAdmission PriorityGate::admit(const GateLevels& levels, Priority priority, GateWaiter* may_wait) noexcept {
  std::uint64_t word = word_.load(std::memory_order_relaxed);
  GateAnswer answer = answer_to(levels, word, index(priority));
  while (answer == GateAnswer::admitted) {
    if (word_.compare_exchange_weak(word, word + 1, std::memory_order_relaxed)) return {answer, GatePermit{*this}};
    answer = answer_to(levels, word, index(priority));
  }
  if (may_wait == nullptr || levels.max_queue == 0) return {answer, {}};
  answer = wait(levels, priority, *may_wait);
  return {answer, answer == GateAnswer::admitted ? GatePermit{*this} : GatePermit{}};
}

GateAnswer PriorityGate::wait(const GateLevels& levels, Priority priority, GateWaiter& waiter) noexcept {
  ENSURE(waiter.state() == GateWaiter::State::idle);
  GateAnswer answer{};
  std::optional<Ticket> dropped;
  bool changed = false;
  {
    const std::lock_guard lock{mutex_};
    changed = levels_ != levels;
    levels_ = levels;
    answer = enqueue(priority, waiter, dropped);
  }
  if (dropped) wakeups_.wake(*dropped);
  if (changed) hand_on_all();
  return answer;
}

GateAnswer PriorityGate::enqueue(Priority priority, GateWaiter& waiter, std::optional<Ticket>& dropped) noexcept {
  const std::size_t level = index(priority);
  std::uint64_t word = word_.load(std::memory_order_relaxed);
  std::uint64_t next = 0;
  std::size_t victim = kNone;
  GateAnswer answer{};
  do {
    answer = answer_to(levels_, word, level);
    const bool crowded = answer != GateAnswer::admitted && queued_in(word) >= levels_.max_queue;
    victim = crowded ? lowest_waiting_below(word, level) : kNone;
    if (crowded && victim == kNone) return answer;
    next = word + (answer == GateAnswer::admitted ? 1 : one_waiting(level));
    if (victim != kNone) next -= one_waiting(victim);
  } while (!word_.compare_exchange_weak(word, next, std::memory_order_relaxed));
  if (answer == GateAnswer::admitted) return answer;
  if (victim != kNone) dropped = unlink(*queues_[victim].last, GateWaiter::State::dropped);
  waiter.priority_ = priority;
  link(waiter);
  return GateAnswer::waiting;
}

GatePermit PriorityGate::leave(GateWaiter& waiter) noexcept {
  if (waiter.state() == GateWaiter::State::waiting) {
    const std::lock_guard lock{mutex_};
    if (waiter.state() == GateWaiter::State::waiting) {
      word_.fetch_sub(one_waiting(index(waiter.priority_)), std::memory_order_relaxed);
      unlink(waiter, GateWaiter::State::idle);
    }
  }
  const bool granted = waiter.state() == GateWaiter::State::granted;
  waiter.state_.store(GateWaiter::State::idle, std::memory_order_relaxed);
  return granted ? GatePermit{*this} : GatePermit{};
}

void PriorityGate::raise(const GateLevels& levels) noexcept {
  {
    const std::lock_guard lock{mutex_};
    levels_ = levels;
  }
  hand_on_all();
}

void PriorityGate::hand_on_all() noexcept {
  while (hand_on(0)) {
  }
}

void PriorityGate::take_back() noexcept {
  std::uint64_t word = word_.load(std::memory_order_relaxed);
  ENSURE(in_flight_of(word) > 0);
  while (!waits_from(word, 0)) {
    if (word_.compare_exchange_weak(word, word - 1, std::memory_order_relaxed)) return;
  }
  hand_on(1);
}

bool PriorityGate::hand_on(std::uint64_t freed) noexcept {
  Ticket ticket;
  {
    const std::lock_guard lock{mutex_};
    std::uint64_t word = word_.load(std::memory_order_relaxed);
    std::uint64_t next = 0;
    std::size_t level = kNone;
    do {
      next = word - freed;
      level = next_admitted(levels_, next);
      if (level != kNone) next += 1 - one_waiting(level);
    } while (!word_.compare_exchange_weak(word, next, std::memory_order_relaxed));
    if (level == kNone) return false;
    ticket = unlink(*queues_[level].first, GateWaiter::State::granted);
  }
  wakeups_.wake(ticket);
  return true;
}

void PriorityGate::link(GateWaiter& waiter) noexcept {
  Queue& queue = queues_[index(waiter.priority_)];
  waiter.gate_ = this;
  waiter.earlier_ = queue.last;
  waiter.later_ = nullptr;
  (queue.last != nullptr ? queue.last->later_ : queue.first) = &waiter;
  queue.last = &waiter;
  waiter.state_.store(GateWaiter::State::waiting, std::memory_order_relaxed);
}

Ticket PriorityGate::unlink(GateWaiter& waiter, GateWaiter::State becomes) noexcept {
  Queue& queue = queues_[index(waiter.priority_)];
  (waiter.earlier_ != nullptr ? waiter.earlier_->later_ : queue.first) = waiter.later_;
  (waiter.later_ != nullptr ? waiter.later_->earlier_ : queue.last) = waiter.earlier_;
  const Ticket ticket = waiter.ticket;
  // The last touch: from here on the waiter's owner may take its place and be gone.
  waiter.state_.store(becomes, std::memory_order_release);
  return ticket;
}

std::uint32_t PriorityGate::in_flight() const noexcept { return in_flight_of(word_.load(std::memory_order_relaxed)); }

std::uint32_t PriorityGate::queued() const noexcept { return queued_in(word_.load(std::memory_order_relaxed)); }

std::uint32_t PriorityGate::queued(Priority priority) const noexcept {
  return waiting_of(word_.load(std::memory_order_relaxed), index(priority));
}

}  // namespace outrigger::policy
