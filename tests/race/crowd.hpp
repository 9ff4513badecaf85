// tests/race/crowd.hpp
//
// How many were there at once, at the most: kept by those who come and go, so that a limit that was passed for an
// instant only is seen, too.
#pragma once

#include <atomic>
#include <cstdint>

namespace outrigger::test {

struct Crowd {
  std::atomic<std::int64_t> now{0};
  std::atomic<std::int64_t> most{0};

  void enter() {
    const std::int64_t value = now.fetch_add(1) + 1;
    std::int64_t seen = most.load();
    while (seen < value && !most.compare_exchange_weak(seen, value)) {
    }
  }
  void leave() { now.fetch_sub(1); }
};

}  // namespace outrigger::test
