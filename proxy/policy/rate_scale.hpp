// proxy/policy/rate_scale.hpp
//
// The arithmetic of rate limits: GCRA on integers, without drift. It knows neither threads nor tables.
//
// A bucket is one number: the time since which it would be empty had it never been full. What is in it now is the time
// passed since then, at most `burst` permits' worth; to take a permit moves the number on by one permit. A number
// beyond now is a queue: the place of the last one who waits.
//
// Nanoseconds are too coarse for that. A third of a second is no whole number of them, and at three million per second
// the rounded interval would be wrong by a thousandth. So time is counted in units of which one permit is a power of
// two, eight to sixteen to the nanosecond: to take a permit is an exact addition, and rounding happens only where `now`
// is read as units, once, and is never summed up.
//
// Exactness: a permit comes at most a quarter of a nanosecond early and never a whole nanosecond late; over any time
// the rate is that of the config to one part in 2^53, the precision of its own `requests`. Rates above one per
// nanosecond count as that, rates below one in 417 days likewise. Buckets that take more than 104 days to fill count in
// coarser units, at most a 2^57th of that time.
//
// Source: ITU-T I.371 annex A (virtual scheduling); the same as a token bucket of `burst`, refilled continuously.
// Cost: one multiplication per decision; a division only where somebody waits or is refused.
#pragma once

#include <bit>
#include <cstdint>

#include "proxy/base/time.hpp"

namespace outrigger::policy {

/// A permit that was taken, in the units of the scale with that serial number: what is needed to give it back.
struct RatePlace {
  std::int64_t before = 0;     // the bucket's number without it
  std::int64_t after = 0;      // and with it
  std::int64_t due = 0;        // when it may be used
  std::uint32_t serial = 0;    // of the scale
  std::uint32_t returned = 0;  // how many places had been given back by then
};

class RateScale {
 public:
  /// The number of a bucket that has never been used.
  static constexpr std::int64_t kFull = -(std::int64_t{1} << 60);

  RateScale() noexcept = default;
  /// `requests` per `per`, `burst` of them at once. `anchor` is where units are counted from.
  RateScale(double requests, Nanos per, std::uint32_t burst, TimePoint anchor, std::uint32_t serial) noexcept;

  /// Whether it is made of these numbers and can express `now`.
  bool fits(double requests, Nanos per, std::uint32_t burst, TimePoint now) const noexcept {
    const std::int64_t distance = (now - TimePoint{Nanos{anchor_ns_}}).count();
    return std::bit_cast<std::uint64_t>(requests) == std::bit_cast<std::uint64_t>(requests_) &&
           per.count() == per_ns_ && burst == burst_ && distance < kReach && distance > -kReach;
  }
  std::uint32_t serial() const noexcept { return serial_; }
  std::uint32_t burst() const noexcept { return burst_; }

  std::int64_t units(TimePoint now) const noexcept {
    const std::int64_t distance = now.time_since_epoch().count() - anchor_ns_;
    return static_cast<std::int64_t>((static_cast<__int128>(distance) * static_cast<__int128>(units_per_ns_)) >> 60);
  }
  std::int64_t permit() const noexcept { return std::int64_t{1} << permit_bits_; }
  std::int64_t full() const noexcept { return static_cast<std::int64_t>(burst_) << permit_bits_; }

  /// The place of one who comes now to a bucket of that number.
  RatePlace next(std::int64_t empty_since, std::int64_t now_units) const noexcept {
    const std::int64_t before = empty_since > now_units - full() ? empty_since : now_units - full();
    const std::int64_t after = before + permit();
    return {before, after, after > now_units ? after : now_units, serial_, 0};
  }
  /// The place of that number, for one who takes it over from another.
  RatePlace place_at(std::int64_t after) const noexcept { return {after - permit(), after, after, serial_, 0}; }
  /// How long until a place at `after` may be used; zero for one that may be used at once.
  Nanos wait(std::int64_t after, TimePoint now) const noexcept;
  /// Whether that is too far off to be counted.
  bool beyond_reach(std::int64_t after, std::int64_t now_units) const noexcept {
    return after - now_units > kLongestQueue;
  }

  /// The bucket's number after `place` was given back unused. `returned`: how many have been by now.
  std::int64_t without(const RatePlace& place, std::int64_t empty_since, std::uint32_t returned,
                       std::int64_t now_units) const noexcept;

  /// The number, in this scale, of a bucket that was counted in `former`: as full as it is now, up to this burst.
  std::int64_t carried_over(const RateScale& former, std::int64_t empty_since, TimePoint now) const noexcept;

  /// Whole permits in the bucket; negative where some wait.
  std::int64_t permits(std::int64_t empty_since, TimePoint now) const noexcept;

 private:
  static constexpr std::int64_t kReach = std::int64_t{1} << 53;         // ns: 104 days
  static constexpr std::int64_t kLongestQueue = std::int64_t{1} << 58;  // units
  static constexpr int kBucketBits = 57;                                // units of a full bucket

  double requests_ = 0;
  std::int64_t per_ns_ = 0;
  std::uint32_t burst_ = 0;
  std::uint32_t serial_ = 0;
  std::uint64_t units_per_ns_ = 0;  // 4.60 fixed point
  std::int64_t permit_bits_ = 0;
  std::int64_t anchor_ns_ = 0;
};

}  // namespace outrigger::policy
