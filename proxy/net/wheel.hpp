// proxy/net/wheel.hpp
//
// All timers of a worker: a hierarchical wheel of 1 ms ticks with intrusive entries, O(1) to arm and to cancel, nothing
// allocated. A timer of the operating system per operation was measured at a third of a whole request; this costs a few
// stores. The owner sleeps until `next_due` at most.
//
// An entry never fires early; it may fire up to a tick late. Owners with moving deadlines leave an entry armed and look
// again when it fires (see `LazyTimer`): a request then costs no wheel operation at all.
//
// Source: G. Varghese and A. Lauck, "Hashed and Hierarchical Timing Wheels", 1987. Pure: time is an argument.
// Threads: one owner.
#pragma once

#include <array>
#include <cstdint>

#include "proxy/base/time.hpp"

namespace outrigger::net {

class Wheel;

/// Something to be called at a time. Not movable while armed; cancels itself when destroyed.
class WheelEntry {
 public:
  WheelEntry() noexcept = default;
  WheelEntry(const WheelEntry&) = delete;
  WheelEntry& operator=(const WheelEntry&) = delete;
  virtual ~WheelEntry() { unlink(); }

  bool armed() const noexcept { return next_ != nullptr; }

 protected:
  /// The time has come. The entry is no longer armed and may be armed again, or destroyed.
  virtual void on_time(TimePoint now) = 0;

 private:
  friend class Wheel;
  void unlink() noexcept {
    if (next_ == nullptr) return;
    next_->prev_ = prev_;
    prev_->next_ = next_;
    next_ = prev_ = nullptr;
  }

  WheelEntry* next_ = nullptr;
  WheelEntry* prev_ = nullptr;
  std::uint64_t tick_ = 0;
};

class Wheel {
 public:
  explicit Wheel(TimePoint origin) noexcept;
  Wheel(const Wheel&) = delete;
  Wheel& operator=(const Wheel&) = delete;
  /// Entries still armed are forgotten.
  ~Wheel();

  /// Arms or re-arms an entry; a time that has passed fires at the next `advance`.
  void arm(WheelEntry& entry, TimePoint at) noexcept;
  void cancel(WheelEntry& entry) noexcept { entry.unlink(); }

  /// Fires what is due at `now`, `most` entries of it; what is left comes first the next time. Whether nothing is.
  bool advance(TimePoint now, std::uint32_t most = UINT32_MAX);

  /// A time at or before the earliest entry's, a passed one while something due is left; kNever when none is armed.
  TimePoint next_due() const noexcept;

 private:
  static constexpr std::uint32_t kBits = 6;
  static constexpr std::uint32_t kSlots = 1u << kBits;
  static constexpr std::uint32_t kLevels = 5;  // 2^30 ms = 12 days; what is later waits in the last slot and moves on
  static constexpr std::uint64_t kNoTick = UINT64_MAX;

  class Head : public WheelEntry {
    void on_time(TimePoint) override {}
  };

  std::uint64_t tick_at_or_after(TimePoint at) const noexcept;
  std::uint64_t next_tick() const noexcept;
  void insert(WheelEntry& entry) noexcept;
  void cascade(std::uint32_t level) noexcept;
  bool fire(TimePoint now, std::uint32_t& most);
  Head& head(std::uint32_t level, std::uint32_t slot) noexcept { return heads_[level][slot]; }
  bool empty(const Head& head) const noexcept { return head.next_ == &head; }

  TimePoint origin_;
  std::uint64_t tick_ = 0;  // everything due before it has fired, and what is due at it has or is about to
  std::array<std::array<Head, kSlots>, kLevels> heads_;
  mutable std::array<std::uint64_t, kLevels> occupied_{};  // one bit per slot that may hold entries
};

/// A deadline that moves often and passes rarely: moving it later costs nothing, since the entry stays armed for the
/// earlier time and looks again when it fires.
class LazyTimer : public WheelEntry {
 public:
  /// kNever switches it off.
  void set(Wheel& wheel, TimePoint at) noexcept {
    due_ = at;
    wheel_ = &wheel;
    if (at == kNever || (armed() && armed_for_ <= at)) return;
    armed_for_ = at;
    wheel.arm(*this, at);
  }
  void clear() noexcept { due_ = kNever; }
  TimePoint due() const noexcept { return due_; }

 protected:
  virtual void on_due(TimePoint now) = 0;

 private:
  void on_time(TimePoint now) final {
    if (due_ == kNever) return;
    if (now >= due_) {
      due_ = kNever;
      return on_due(now);
    }
    armed_for_ = due_;
    wheel_->arm(*this, due_);
  }

  Wheel* wheel_ = nullptr;
  TimePoint due_ = kNever;
  TimePoint armed_for_ = kNever;
};

}  // namespace outrigger::net
