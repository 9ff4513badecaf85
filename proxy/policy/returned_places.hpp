// proxy/policy/returned_places.hpp
//
// Places in the queue of a rate limit whose owners left before they were due. They cannot go back into the bucket while
// others wait behind them: those keep their time, and whoever came next would be served in the same instant as the last
// of them. So a place that was given back waits here, and the next one who would have to wait gets it, with its time.
// Nobody wanted it until then: it has gone by, as every permit does that nobody uses.
//
// Threads: its owner's lock. Limits: 64 places; what does not fit is lost.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace outrigger::policy {

class ReturnedPlaces {
 public:
  /// `bucket`: which of the owner's buckets, `after`: its number with the place.
  void put(std::uint32_t bucket, std::int64_t after) noexcept {
    if (size_ < kPlaces) places_[size_++] = {bucket, after};
  }
  /// The earliest that is not due before `now_units`; those that have gone by are dropped.
  std::optional<std::int64_t> first(std::uint32_t bucket, std::int64_t now_units) noexcept {
    drop_if([&](const Place& place) { return place.bucket == bucket && place.after < now_units; });
    std::optional<std::int64_t> found;
    for (std::size_t i = 0; i < size_; ++i) {
      if (places_[i].bucket == bucket && (!found || places_[i].after < *found)) found = places_[i].after;
    }
    return found;
  }
  /// Whether that place was here, and is not any more.
  bool take(std::uint32_t bucket, std::int64_t after) noexcept {
    for (std::size_t i = 0; i < size_; ++i) {
      if (places_[i].bucket != bucket || places_[i].after != after) continue;
      places_[i] = places_[--size_];
      return true;
    }
    return false;
  }
  void forget(std::uint32_t bucket) noexcept {
    drop_if([&](const Place& place) { return place.bucket == bucket; });
  }
  void clear() noexcept { size_ = 0; }
  std::size_t size() const noexcept { return size_; }

 private:
  static constexpr std::size_t kPlaces = 64;
  struct Place {
    std::uint32_t bucket = 0;
    std::int64_t after = 0;
  };

  template <class Condition>
  void drop_if(Condition condition) noexcept {
    Place* const begin = places_.data();
    size_ = static_cast<std::size_t>(std::remove_if(begin, begin + size_, condition) - begin);
  }

  std::array<Place, kPlaces> places_{};
  std::size_t size_ = 0;
};

}  // namespace outrigger::policy
