#include "proxy/telemetry/line_ring.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace outrigger::telemetry {

LineRing::LineRing(std::size_t bytes) : capacity_(std::bit_ceil(bytes)), bytes_(new char[capacity_]) {}

bool LineRing::push(std::uint8_t tag, std::string_view line) noexcept {
  const std::uint64_t written = written_.load(std::memory_order_relaxed);
  const std::uint64_t in_use = written - read_.load(std::memory_order_acquire);
  const bool fits = line.size() < 1u << 24 && line.size() + kPrefix <= capacity_ - in_use;
  if (!fits) {
    dropped_.store(dropped() + 1, std::memory_order_relaxed);
    return false;
  }
  const std::uint32_t prefix = static_cast<std::uint32_t>(line.size()) | static_cast<std::uint32_t>(tag) << 24;
  put(written, reinterpret_cast<const char*>(&prefix), kPrefix);
  put(written + kPrefix, line.data(), line.size());
  written_.store(written + kPrefix + line.size(), std::memory_order_release);
  return true;
}

bool LineRing::pop(std::uint8_t& tag, std::string& line) {
  const std::uint64_t read = read_.load(std::memory_order_relaxed);
  if (read == written_.load(std::memory_order_acquire)) return false;
  std::uint32_t prefix = 0;
  get(read, reinterpret_cast<char*>(&prefix), kPrefix);
  tag = static_cast<std::uint8_t>(prefix >> 24);
  line.resize(prefix & 0xffffff);
  get(read + kPrefix, line.data(), line.size());
  read_.store(read + kPrefix + line.size(), std::memory_order_release);
  return true;
}

bool LineRing::half_full() const noexcept {
  return written_.load(std::memory_order_relaxed) - read_.load(std::memory_order_relaxed) >= capacity_ / 2;
}

void LineRing::put(std::uint64_t at, const char* from, std::size_t count) noexcept {
  const std::size_t offset = at & (capacity_ - 1);
  const std::size_t before_end = std::min(count, capacity_ - offset);
  std::memcpy(bytes_.get() + offset, from, before_end);
  std::memcpy(bytes_.get(), from + before_end, count - before_end);
}

void LineRing::get(std::uint64_t at, char* to, std::size_t count) const noexcept {
  const std::size_t offset = at & (capacity_ - 1);
  const std::size_t before_end = std::min(count, capacity_ - offset);
  std::memcpy(to, bytes_.get() + offset, before_end);
  std::memcpy(to + before_end, bytes_.get(), count - before_end);
}

}  // namespace outrigger::telemetry
