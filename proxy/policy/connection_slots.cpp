#include "proxy/policy/connection_slots.hpp"

#include <algorithm>
#include <utility>

#include "proxy/base/ensure.hpp"

namespace outrigger::policy {

void EndpointState::take_back() noexcept {
  in_flight.fetch_sub(1);
  if (slots != nullptr) slots->freed(*this);
}

SlotWaiter::~SlotWaiter() {
  if (state() != State::idle) static_cast<void>(slots_->leave(*this));
}

SlotWaiter::State ConnectionSlots::wait(SlotWaiter& waiter, const SlotQuestion& question, TimePoint now) noexcept {
  ENSURE(waiter.state() == SlotWaiter::State::idle);
  {
    const std::lock_guard lock{mutex_};
    now_ = std::max(now_, now);
    waiter.question_ = question;
    link(waiter);
  }
  hand_out_in_service(*question.set, &waiter, now);
  return waiter.state() == SlotWaiter::State::waiting ? stay(waiter) : waiter.state();
}

/// Nothing was free. Where the queue has become too long its newest of the lowest level leaves, if it is no more
/// important than the newcomer: that may be the newcomer.
SlotWaiter::State ConnectionSlots::stay(SlotWaiter& newcomer) noexcept {
  std::optional<Ticket> dropped;
  {
    const std::lock_guard lock{mutex_};
    if (newcomer.state() != SlotWaiter::State::waiting) return newcomer.state();
    if (queued() <= newcomer.question_.max_pending) return SlotWaiter::State::waiting;
    const auto lowest = std::ranges::find_if(queues_, [](const Queue& queue) { return queue.last != nullptr; });
    SlotWaiter& last = newcomer.question_.max_pending == 0 ? newcomer : *lowest->last;
    if (&last == &newcomer) {
      unlink(newcomer, SlotWaiter::State::idle);
      newcomer.arrival_ = 0;
      return SlotWaiter::State::idle;
    }
    dropped = unlink(last, SlotWaiter::State::dropped);
  }
  wakeups_.wake(*dropped);
  return newcomer.state();
}

std::optional<Slot> ConnectionSlots::leave(SlotWaiter& waiter) noexcept {
  if (waiter.state() == SlotWaiter::State::waiting) {
    const std::lock_guard lock{mutex_};
    if (waiter.state() == SlotWaiter::State::waiting) unlink(waiter, SlotWaiter::State::idle);
  }
  const bool granted = waiter.state() == SlotWaiter::State::granted;
  waiter.state_.store(SlotWaiter::State::idle, std::memory_order_relaxed);
  if (!granted) {
    waiter.arrival_ = 0;
    return std::nullopt;
  }
  return Slot{waiter.endpoint_, std::move(waiter.slot_)};
}

void ConnectionSlots::offer(const EndpointSet& set, TimePoint now) noexcept {
  if (waiting_.load() != 0) hand_out_in_service(set, nullptr, now);
}

/// Only where something is free; until a newcomer, if there is one, has something.
void ConnectionSlots::hand_out_in_service(const EndpointSet& set, const SlotWaiter* newcomer, TimePoint now) noexcept {
  const bool all = !any_usable(set, now);
  for (const Endpoint& endpoint : set.endpoints) {
    if (newcomer != nullptr && newcomer->state() != SlotWaiter::State::waiting) return;
    if (endpoint.state->in_flight.load() < limit_.load() && (all || usable(endpoint, now))) {
      hand_out(*endpoint.state, now);
    }
  }
}

void ConnectionSlots::hand_out(EndpointState& endpoint, std::optional<TimePoint> now) noexcept {
  for (bool granted = true; granted;) {
    Ticket ticket;
    {
      const std::lock_guard lock{mutex_};
      if (now) now_ = std::max(now_, *now);
      granted = grant(endpoint, ticket);
    }
    if (granted) wakeups_.wake(ticket);
  }
}

/// Hands one slot of an endpoint, if one is free, to the first who wants it.
bool ConnectionSlots::grant(EndpointState& endpoint, Ticket& ticket) noexcept {
  for (std::size_t level = kPriorities; level-- > 0;) {
    for (SlotWaiter* waiter = queues_[level].first; waiter != nullptr; waiter = waiter->later_) {
      const auto id = wanted(*waiter, endpoint);
      if (!id) continue;
      EndpointPermit slot = endpoint.try_enter(limit_.load());
      if (!slot) return false;
      waiter->endpoint_ = *id;
      waiter->slot_ = std::move(slot);
      ticket = unlink(*waiter, SlotWaiter::State::granted);
      return true;
    }
  }
  return false;
}

/// Which of the waiter's endpoints it is, if it is one that the waiter would take.
std::optional<EndpointId> ConnectionSlots::wanted(const SlotWaiter& waiter,
                                                  const EndpointState& endpoint) const noexcept {
  const SlotQuestion& question = waiter.question_;
  const auto& endpoints = question.set->endpoints;
  const auto found = std::ranges::find(endpoints, &endpoint, &Endpoint::state);
  if (found == endpoints.end()) return std::nullopt;
  const bool in_service = usable(*found, now_) || (question.panic && !any_usable(*question.set, now_));
  const auto id = static_cast<EndpointId>(found - endpoints.begin());
  if (!in_service || (question.refuses != nullptr && question.refuses(question.who, id, now_))) return std::nullopt;
  return id;
}

/// Behind all that came before it.
void ConnectionSlots::link(SlotWaiter& waiter) noexcept {
  Queue& queue = queues_[index(waiter.question_.priority)];
  const bool returns = waiter.arrival_ != 0;
  if (!returns) waiter.arrival_ = ++arrivals_;
  SlotWaiter* later = returns ? queue.first : nullptr;
  while (later != nullptr && later->arrival_ < waiter.arrival_) later = later->later_;
  waiter.slots_ = this;
  waiter.earlier_ = later != nullptr ? later->earlier_ : queue.last;
  waiter.later_ = later;
  (waiter.earlier_ != nullptr ? waiter.earlier_->later_ : queue.first) = &waiter;
  (later != nullptr ? later->earlier_ : queue.last) = &waiter;
  waiter.state_.store(SlotWaiter::State::waiting, std::memory_order_relaxed);
  waiting_.fetch_add(one(waiter.question_.priority));
}

Ticket ConnectionSlots::unlink(SlotWaiter& waiter, SlotWaiter::State becomes) noexcept {
  waiting_.fetch_sub(one(waiter.question_.priority));
  Queue& queue = queues_[index(waiter.question_.priority)];
  (waiter.earlier_ != nullptr ? waiter.earlier_->later_ : queue.first) = waiter.later_;
  (waiter.later_ != nullptr ? waiter.later_->earlier_ : queue.last) = waiter.earlier_;
  const Ticket ticket = waiter.ticket;
  // The last touch: from here on the waiter's owner may take its slot and be gone.
  waiter.state_.store(becomes, std::memory_order_release);
  return ticket;
}

std::uint32_t ConnectionSlots::queued() const noexcept {
  std::uint32_t sum = 0;
  for (const Priority level : {Priority::low, Priority::standard, Priority::critical}) sum += queued(level);
  return sum;
}

std::uint32_t ConnectionSlots::queued(Priority priority) const noexcept {
  return static_cast<std::uint32_t>(waiting_.load(std::memory_order_relaxed) >> shift_of(index(priority))) &
         ((1u << kBits) - 1);
}

}  // namespace outrigger::policy
