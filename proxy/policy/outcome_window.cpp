#include "proxy/policy/outcome_window.hpp"

#include <algorithm>

namespace outrigger::policy {
namespace {

constexpr std::uint32_t high_of(std::uint64_t word) noexcept { return static_cast<std::uint32_t>(word >> 32); }
constexpr std::uint32_t low_of(std::uint64_t word) noexcept { return static_cast<std::uint32_t>(word); }

constexpr std::uint8_t kFailed = 1;
constexpr std::uint8_t kSlow = 2;
constexpr std::uint8_t kNeutral = 4;

constexpr std::uint8_t cell_of(CallEnd end) noexcept {
  return static_cast<std::uint8_t>((end.failed ? kFailed : 0) | (end.slow ? kSlow : 0) | (end.neutral ? kNeutral : 0));
}

std::uint64_t not_negative(const std::atomic<std::int64_t>& sum) noexcept {
  // A call may be taken off before the thread that entered it has added it.
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, sum.load(std::memory_order_relaxed)));
}

}  // namespace

// ---- by time --------------------------------------------------------------------------------

std::int64_t TimeWindow::width_of(Nanos length) noexcept {
  return std::max<std::int64_t>(1, length.count() / kBuckets);
}

std::uint32_t TimeWindow::epoch(TimePoint now) const noexcept {
  return static_cast<std::uint32_t>(now.time_since_epoch().count() / width_.load(std::memory_order_relaxed));
}

void TimeWindow::add(std::atomic<std::uint64_t>& count, std::uint32_t current, std::uint32_t calls) noexcept {
  std::uint64_t word = count.load(std::memory_order_relaxed);
  std::uint64_t next = 0;
  do {
    const std::uint32_t ahead = high_of(word) - current;
    // A later bucket holds the slot, so this result is older than the window. What seems to be of a far future was
    // numbered before the window was cut anew, and gives way.
    if (ahead != 0 && ahead < kNearFuture) return;
    next = ahead == 0 ? word + calls : (std::uint64_t{current} << 32) | calls;
  } while (!count.compare_exchange_weak(word, next, std::memory_order_relaxed));
}

void TimeWindow::record(CallEnd end, TimePoint now) noexcept {
  const std::uint32_t current = epoch(now);
  Slot& slot = slots_[current % kSlots];
  // The whole before its part, so that no reader sees more failures than calls.
  add(end.neutral ? slot.slow_neutral : slot.calls, current, 1);
  if (end.failed) add(slot.failures, current, 1);
  if (end.slow) add(slot.slow, current, 1);
}

std::uint64_t TimeWindow::live(const std::atomic<std::uint64_t>& count, std::uint32_t current) noexcept {
  const std::uint64_t word = count.load(std::memory_order_relaxed);
  // A bucket of the near future is current: another worker's clock is ahead, or this one's `now` is old. One comparison
  // asks for both ends, as all slots are read for every decision of a throttle.
  constexpr std::uint32_t kAhead = kSlots - kBuckets - 1;
  return current - high_of(word) + kAhead < kBuckets + kAhead ? low_of(word) : 0;
}

OutcomeCounts TimeWindow::counts(TimePoint now) const noexcept {
  const std::uint32_t current = epoch(now);
  OutcomeCounts sum;
  for (const Slot& slot : slots_) {
    sum.failures += live(slot.failures, current);
    sum.slow += live(slot.slow, current);
    sum.timed += live(slot.slow_neutral, current);
    sum.calls += live(slot.calls, current);
  }
  sum.timed += sum.calls;
  return sum;
}

OutcomeCounts TimeWindow::untimed_counts(TimePoint now) const noexcept {
  const std::uint32_t current = epoch(now);
  OutcomeCounts sum;
  for (const Slot& slot : slots_) {
    sum.failures += live(slot.failures, current);
    sum.calls += live(slot.calls, current);
  }
  return sum;
}

void TimeWindow::clear() noexcept {
  for (Slot& slot : slots_) {
    slot.calls.store(0, std::memory_order_relaxed);
    slot.failures.store(0, std::memory_order_relaxed);
    slot.slow_neutral.store(0, std::memory_order_relaxed);
    slot.slow.store(0, std::memory_order_relaxed);
  }
}

void TimeWindow::cut(Nanos length, TimePoint now) noexcept {
  const std::int64_t width = width_of(length);
  const std::int64_t before = width_.load(std::memory_order_relaxed);
  if (before == width) return;
  const std::uint32_t former = epoch(now);
  std::array<std::array<std::uint64_t, 4>, kSlots> counted;
  for (std::uint32_t i = 0; i < kSlots; ++i) {
    Slot& slot = slots_[i];
    counted[i] = {slot.calls.load(std::memory_order_relaxed), slot.failures.load(std::memory_order_relaxed),
                  slot.slow_neutral.load(std::memory_order_relaxed), slot.slow.load(std::memory_order_relaxed)};
  }
  width_.store(width, std::memory_order_relaxed);
  clear();
  const std::uint32_t current = epoch(now);
  const auto carry = [&](std::uint64_t word, std::atomic<std::uint64_t> Slot::*count) {
    const std::uint32_t buckets_ago = former - high_of(word);  // wraps where another thread's clock was ahead
    const std::int64_t ago = buckets_ago < kBuckets ? buckets_ago * before : 0;
    if (low_of(word) == 0 || (buckets_ago >= kBuckets && -buckets_ago >= kSlots - kBuckets)) return;
    const auto then = static_cast<std::uint32_t>((now.time_since_epoch().count() - ago) / width);
    if (current - then < kBuckets) add(slots_[then % kSlots].*count, then, low_of(word));
  };
  for (const auto& [calls, failures, slow_neutral, slow] : counted) {
    carry(calls, &Slot::calls);
    carry(failures, &Slot::failures);
    carry(slow_neutral, &Slot::slow_neutral);
    carry(slow, &Slot::slow);
  }
}

// ---- by calls -------------------------------------------------------------------------------

std::uint32_t CallWindow::size_of(std::uint32_t calls) noexcept { return std::clamp(calls, 1u, kMaxCalls); }

// Every change of a cell is booked by the one who made it, a clearing included: whatever the interleaving, the sums are
// what the cells hold.
void CallWindow::put(std::uint32_t index, std::uint8_t cell) noexcept {
  const std::uint8_t before = cells_[index].exchange(cell);
  const auto book = [cell, before](std::atomic<std::int64_t>& sum, std::uint8_t flag) {
    const int change = ((cell & flag) != 0 ? 1 : 0) - ((before & flag) != 0 ? 1 : 0);
    if (change != 0) sum.fetch_add(change, std::memory_order_relaxed);
  };
  book(failures_, kFailed);
  book(slow_, kSlow);
  book(neutral_, kNeutral);
}

void CallWindow::record(CallEnd end) noexcept {
  const std::uint64_t turn = entered_.fetch_add(1, std::memory_order_relaxed);
  const auto index = static_cast<std::uint32_t>(turn % size_.load(std::memory_order_relaxed));
  put(index, cell_of(end));
  // The ring was cut meanwhile: nobody's turn would come to this place again. Either the thread that cuts finds the
  // call in its cell, or the cut is seen here; hence the total order of the two.
  if (index >= size_.load()) put(index, 0);
}

OutcomeCounts CallWindow::counts() const noexcept {
  OutcomeCounts sum;
  sum.timed = std::min<std::uint64_t>(entered_.load(std::memory_order_relaxed), size_.load(std::memory_order_relaxed));
  sum.calls = sum.timed - std::min(sum.timed, not_negative(neutral_));
  sum.failures = not_negative(failures_);
  sum.slow = not_negative(slow_);
  return sum;
}

void CallWindow::clear() noexcept {
  // All cells, not only those in use: a result may have entered by the former size while the ring was cut.
  for (std::uint32_t i = 0; i < kMaxCalls; ++i) {
    if (cells_[i].load() != 0) put(i, 0);
  }
  entered_.store(0, std::memory_order_relaxed);
}

void CallWindow::cut(std::uint32_t calls) noexcept {
  const std::uint32_t size = size_of(calls);
  const std::uint32_t before = size_.load(std::memory_order_relaxed);
  if (before == size) return;
  const std::uint64_t entered = entered_.load(std::memory_order_relaxed);
  const auto kept = static_cast<std::uint32_t>(std::min<std::uint64_t>({entered, before, size}));
  std::array<std::uint8_t, kMaxCalls> last;
  for (std::uint32_t i = 0; i < kept; ++i) last[i] = cells_[(entered - kept + i) % before].load();
  size_.store(size);
  clear();
  for (std::uint32_t i = 0; i < kept; ++i) put(i, last[i]);
  entered_.fetch_add(kept, std::memory_order_relaxed);
}

}  // namespace outrigger::policy
