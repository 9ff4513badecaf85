// tests/race/threads.hpp
//
// Several threads that begin at the same moment and do the same thing on one shared state. Made for ThreadSanitizer,
// but the totals that are asserted afterwards mean something in any build.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace outrigger::test {

inline constexpr std::uint32_t kThreads = 4;

/// How often a race is run anew whose threads meet only by luck. ThreadSanitizer makes every access some ten times
/// dearer; it gets less of them.
#if defined(__SANITIZE_THREAD__)
inline constexpr int kRepeats = 1;
#else
inline constexpr int kRepeats = 4;
#endif

/// Runs `body(index)` on kThreads threads and waits for all of them.
template <class Body>
void race(Body body) {
  std::atomic<std::uint32_t> waiting{kThreads};
  std::vector<std::thread> threads;
  for (std::uint32_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      waiting.fetch_sub(1);
      while (waiting.load() != 0) std::this_thread::yield();
      body(i);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace outrigger::test
