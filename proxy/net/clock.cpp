#include "proxy/net/clock.hpp"

#include <chrono>
#include <random>

namespace outrigger::net {

TimePoint steady_now() noexcept { return std::chrono::steady_clock::now(); }

std::int64_t wall_now_us() noexcept {
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(since_epoch).count();
}

std::uint64_t entropy() noexcept {
  std::random_device device;
  return (std::uint64_t{device()} << 32) | device();
}

}  // namespace outrigger::net
