#include "proxy/policy/latency_window.hpp"

#include <algorithm>

namespace outrigger::policy {
namespace {

/// Calls `visit` with each bucket of the octaves whose bits are set.
template <class Visit>
void for_each_bucket(std::uint32_t octaves, Visit visit) noexcept {
  for (; octaves != 0; octaves &= octaves - 1) {
    const auto first = static_cast<std::uint32_t>(std::countr_zero(octaves)) * LatencyWindow::kPerOctave;
    const std::uint32_t end = std::min<std::uint32_t>(first + LatencyWindow::kPerOctave, LatencyWindow::kBuckets);
    for (std::uint32_t bucket = first; bucket < end; ++bucket) visit(bucket);
  }
}

}  // namespace

/// The samples of all workers in the window, by bucket.
struct LatencyWindow::Sum {
  std::uint64_t samples = 0;
  std::uint64_t answered[kBuckets]{};
  std::uint64_t cut[kBuckets]{};

  void add(const Slot& slot) noexcept {
    for_each_bucket(slot.octaves.load(std::memory_order_relaxed), [&](std::uint32_t bucket) {
      const std::uint32_t answers = slot.answered[bucket].load(std::memory_order_relaxed);
      const std::uint32_t cuts = slot.cut[bucket].load(std::memory_order_relaxed);
      answered[bucket] += answers;
      cut[bucket] += cuts;
      samples += answers + cuts;
    });
  }
};

void LatencyWindow::Slot::clear() noexcept {
  for_each_bucket(octaves.load(std::memory_order_relaxed), [&](std::uint32_t bucket) {
    answered[bucket].store(0, std::memory_order_relaxed);
    cut[bucket].store(0, std::memory_order_relaxed);
  });
  octaves.store(0, std::memory_order_relaxed);
}

/// Only the slot's own worker writes there, so a load and a store do for an addition.
void LatencyWindow::Slot::count(Cells& cells, std::uint32_t bucket) noexcept {
  cells[bucket].store(cells[bucket].load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  const std::uint32_t used = octaves.load(std::memory_order_relaxed);
  const std::uint32_t octave = 1u << (bucket / kPerOctave);
  if ((used & octave) == 0) octaves.store(used | octave, std::memory_order_relaxed);
}

LatencyWindow::LatencyWindow(Nanos window, std::uint32_t workers)
    : width_ns_(width_of(window)), workers_(workers), rings_(new Ring[workers]) {}

LatencyWindow::Slot& LatencyWindow::current(std::uint32_t worker, TimePoint now) noexcept {
  Ring& ring = rings_[worker];
  const std::int64_t now_ns = now.time_since_epoch().count();
  const std::int64_t width = this->width();
  Slot* slot = &ring.slots[ring.current];
  if (slot->begin_ns.load(std::memory_order_relaxed) <= now_ns - width) {
    ring.current = (ring.current + 1) % std::uint32_t{kSlots};
    slot = &ring.slots[ring.current];
    // Whoever reads passes it over until the release shows its cells empty.
    slot->begin_ns.store(kNeverUsed, std::memory_order_relaxed);
    slot->clear();
    slot->begin_ns.store(now_ns - now_ns % width, std::memory_order_release);
  }
  return *slot;
}

void LatencyWindow::record(std::uint32_t worker, Nanos latency, TimePoint now) noexcept {
  Slot& slot = current(worker, now);
  slot.count(slot.answered, bucket_of(latency));
}

void LatencyWindow::record_at_least(std::uint32_t worker, Nanos waited, TimePoint now) noexcept {
  Slot& slot = current(worker, now);
  slot.count(slot.cut, bucket_of(waited));
}

LatencyWindow::Sum LatencyWindow::sum(TimePoint now) const noexcept {
  Sum sum;
  const std::int64_t width = this->width();
  const std::int64_t now_ns = now.time_since_epoch().count();
  const std::int64_t oldest = now_ns - now_ns % width - (kSlots - 1) * width;
  for (std::uint32_t i = 0; i < workers_; ++i) {
    for (const Slot& slot : rings_[i].slots) {
      if (slot.begin_ns.load(std::memory_order_acquire) >= oldest) sum.add(slot);
    }
  }
  return sum;
}

LatencyWindow::Quantile LatencyWindow::quantile(double q, TimePoint now) const noexcept {
  const Sum all = sum(now);
  constexpr double kRounding = 1e-9;
  std::uint64_t running = all.samples;  // longer than all buckets before
  double surviving = 1;                 // estimated share of attempts that take longer
  std::uint32_t longest = 0;
  for (std::uint32_t bucket = 0; bucket < kBuckets && running > 0; ++bucket) {
    const std::uint64_t gone = all.answered[bucket] + all.cut[bucket];
    if (gone == 0) continue;
    surviving *= 1 - static_cast<double>(all.answered[bucket]) / static_cast<double>(running);
    if (surviving <= 1 - q + kRounding) return {bucket, all.samples};
    running -= gone;
    longest = bucket;
  }
  return {std::min<std::uint32_t>(longest + kPerOctave, kBuckets - 1), all.samples};
}

}  // namespace outrigger::policy
