#include "proxy/net/wheel.hpp"

#include <algorithm>
#include <bit>

namespace outrigger::net {
namespace {

constexpr std::int64_t kTickNs = 1'000'000;

}  // namespace

Wheel::Wheel(TimePoint origin) noexcept : origin_(origin) {
  for (auto& level : heads_) {
    for (Head& head : level) head.next_ = head.prev_ = &head;
  }
}

Wheel::~Wheel() {
  for (auto& level : heads_) {
    for (Head& head : level) {
      while (!empty(head)) head.next_->unlink();
      head.next_ = head.prev_ = nullptr;
    }
  }
}

std::uint64_t Wheel::tick_at_or_after(TimePoint at) const noexcept {
  const std::int64_t since = time_left(origin_, at).count();
  if (since <= 0) return 0;
  return static_cast<std::uint64_t>(since / kTickNs + (since % kTickNs != 0 ? 1 : 0));
}

void Wheel::arm(WheelEntry& entry, TimePoint at) noexcept {
  entry.unlink();
  entry.tick_ = tick_at_or_after(at);
  if (entry.tick_ <= tick_) entry.tick_ = tick_ + 1;
  insert(entry);
}

void Wheel::insert(WheelEntry& entry) noexcept {
  // The level is that of the highest digit in which the entry's tick differs from the present one.
  const std::uint64_t differing = entry.tick_ ^ tick_;
  auto level = differing == 0 ? 0u : static_cast<std::uint32_t>(std::bit_width(differing) - 1) / kBits;
  std::uint64_t tick = entry.tick_;
  if (level >= kLevels) {
    // Beyond the present round of the highest level: what is further away than that turns waits in the slot that comes
    // round last. Either way the entry is placed anew when its slot comes.
    level = kLevels - 1;
    tick = std::min(tick, tick_ + (std::uint64_t{kSlots - 1} << (kBits * level)));
  }
  const auto slot = static_cast<std::uint32_t>(tick >> (kBits * level)) & (kSlots - 1);
  Head& list = head(level, slot);
  entry.prev_ = list.prev_;
  entry.next_ = &list;
  list.prev_->next_ = &entry;
  list.prev_ = &entry;
  occupied_[level] |= std::uint64_t{1} << slot;
}

void Wheel::cascade(std::uint32_t level) noexcept {
  const auto slot = static_cast<std::uint32_t>(tick_ >> (kBits * level)) & (kSlots - 1);
  if (slot == 0 && level + 1 < kLevels) cascade(level + 1);
  Head& list = head(level, slot);
  occupied_[level] &= ~(std::uint64_t{1} << slot);
  Head moving;
  if (empty(list)) return;
  moving.next_ = list.next_;
  moving.prev_ = list.prev_;
  moving.next_->prev_ = moving.prev_->next_ = &moving;
  list.next_ = list.prev_ = &list;
  while (moving.next_ != &moving) {
    WheelEntry& entry = *moving.next_;
    entry.unlink();
    insert(entry);
  }
  moving.next_ = moving.prev_ = nullptr;
}

/// Whether all that is due at the present tick has fired.
bool Wheel::fire(TimePoint now, std::uint32_t& most) {
  const auto slot = static_cast<std::uint32_t>(tick_) & (kSlots - 1);
  Head& list = head(0, slot);
  // Entries armed while firing are due at a later tick, so this list only shrinks.
  for (; !empty(list); --most) {
    if (most == 0) return false;
    WheelEntry& entry = *list.next_;
    entry.unlink();
    entry.on_time(now);
  }
  occupied_[0] &= ~(std::uint64_t{1} << slot);
  return true;
}

bool Wheel::advance(TimePoint now, std::uint32_t most) {
  const std::int64_t since = time_left(origin_, now).count();
  const std::uint64_t target = since <= 0 ? 0 : static_cast<std::uint64_t>(since / kTickNs);
  // The present tick first: something of it may be left.
  while (fire(now, most)) {
    if (tick_ >= target) return true;
    // Ticks at which nothing can happen are jumped over, so that a long sleep costs no more than a short one.
    tick_ = std::min(next_tick(), target);
    if ((tick_ & (kSlots - 1)) == 0) cascade(1);
  }
  return false;
}

/// When the next occupied slot comes round, be it to fire or to be spread over lower levels: the present tick while
/// something of it is left; kNoTick: there is none.
std::uint64_t Wheel::next_tick() const noexcept {
  for (std::uint32_t level = 0; level < kLevels; ++level) {
    const std::uint32_t shift = kBits * level;
    const auto digit = static_cast<std::uint32_t>(tick_ >> shift) & (kSlots - 1);
    while (occupied_[level] != 0) {
      // Slots from the present one on, in the order in which they come round.
      const std::uint64_t rotated = std::rotr(occupied_[level], static_cast<int>(digit));
      const auto distance = static_cast<std::uint32_t>(std::countr_zero(rotated));
      const std::uint32_t slot = (digit + distance) & (kSlots - 1);
      if (empty(heads_[level][slot])) {
        occupied_[level] &= ~(std::uint64_t{1} << slot);
        continue;
      }
      const bool next_round = distance == 0 && level > 0;
      return ((tick_ >> shift) + (next_round ? kSlots : distance)) << shift;
    }
  }
  return kNoTick;
}

TimePoint Wheel::next_due() const noexcept {
  const std::uint64_t tick = next_tick();
  if (tick == kNoTick) return kNever;
  return saturating_add(origin_, Nanos{static_cast<std::int64_t>(tick) * kTickNs});
}

}  // namespace outrigger::net
