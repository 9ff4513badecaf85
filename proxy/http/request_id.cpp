#include "proxy/http/request_id.hpp"

namespace outrigger::http {

RequestId::RequestId(std::uint64_t unix_ms, Rng& rng) noexcept {
  constexpr std::uint64_t kVersion7 = 0x7000;
  constexpr std::uint64_t kVariant = std::uint64_t{0b10} << 62;
  const std::uint64_t high = (unix_ms << 16) | kVersion7 | (rng.next() >> 52);
  const std::uint64_t low = kVariant | (rng.next() >> 2);
  char* out = text_.data();
  for (int digit = 0; digit < 32; ++digit) {
    if (digit == 8 || digit == 12 || digit == 16 || digit == 20) *out++ = '-';
    const std::uint64_t half = digit < 16 ? high : low;
    *out++ = "0123456789abcdef"[(half >> (60 - digit % 16 * 4)) & 15];
  }
}

bool is_acceptable_request_id(std::string_view id) noexcept {
  if (id.empty() || id.size() > kMaxRequestId) return false;
  for (char c : id) {
    if (c <= ' ' || c >= 0x7f) return false;
  }
  return true;
}

}  // namespace outrigger::http
