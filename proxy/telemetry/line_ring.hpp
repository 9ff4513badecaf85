// proxy/telemetry/line_ring.hpp
//
// Lines on their way from one producer to one consumer, in a fixed piece of memory. A line is a length and a tag,
// followed by its bytes, and may wrap around the end. A line that does not fit is dropped and counted: the producer is
// a worker and never waits.
//
// Threads: one producer, one consumer. Cost: one copy in, one out; memory is touched only as far as used.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "proxy/base/cache_line.hpp"

namespace outrigger::telemetry {

class LineRing {
 public:
  /// `bytes` is rounded up to a power of two.
  explicit LineRing(std::size_t bytes);

  /// Appends a line; false where it was dropped.
  bool push(std::uint8_t tag, std::string_view line) noexcept;
  /// Takes the oldest line; false where there is none.
  bool pop(std::uint8_t& tag, std::string& line);

  bool half_full() const noexcept;
  std::uint64_t dropped() const noexcept { return dropped_.load(std::memory_order_relaxed); }

 private:
  static constexpr std::size_t kPrefix = 4;  // length in the low 24 bits, tag in the high 8

  void put(std::uint64_t at, const char* from, std::size_t count) noexcept;
  void get(std::uint64_t at, char* to, std::size_t count) const noexcept;

  std::size_t capacity_;
  std::unique_ptr<char[]> bytes_;
  std::atomic<std::uint64_t> dropped_{0};
  alignas(kCacheLine) std::atomic<std::uint64_t> written_{0};  // by the producer
  alignas(kCacheLine) std::atomic<std::uint64_t> read_{0};     // by the consumer
};

}  // namespace outrigger::telemetry
