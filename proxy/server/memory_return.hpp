// proxy/server/memory_return.hpp
//
// When memory that was freed goes back to the system. The C library keeps what connections and requests have freed for
// the next ones, which is right from one second to the next; after a burst it would keep many times of what is in use,
// for good. Giving back locks every arena for a moment, so it is done by the control thread, and only when much fewer
// objects are there than there have been and no more are just going.
//
// Threads: one owner.
#pragma once

#include <algorithm>
#include <cstdint>

namespace outrigger::server {

class MemoryReturn {
 public:
  /// Fewer objects than that are not worth the locks; they have a few hundred bytes to some KiB each.
  static constexpr std::int64_t kWorthwhile = 512;

  /// `objects`: how many there are now. True where memory is to be given back now.
  bool due(std::int64_t objects) noexcept {
    const bool falling = objects < last_;
    last_ = objects;
    peak_ = std::max(peak_, objects);
    if (falling || peak_ - objects < kWorthwhile) return false;
    peak_ = objects;
    return true;
  }

 private:
  std::int64_t last_ = 0;
  std::int64_t peak_ = 0;  // since memory was given back last
};

}  // namespace outrigger::server
