// proxy/http/request_id.hpp
//
// The name of a request in logs and timelines of every hop. UUIDv7 begins with the time, so that ids sort by arrival
// and say roughly when; the rest is random and needs no coordination.
//
// Source: RFC 9562 5.7. The generator is seeded by its owner: ids are not secrets.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "proxy/base/rng.hpp"

namespace outrigger::http {

inline constexpr std::size_t kMaxRequestId = 128;

class RequestId {
 public:
  /// A new id; `unix_ms` is wall-clock time in milliseconds since 1970.
  RequestId(std::uint64_t unix_ms, Rng& rng) noexcept;
  std::string_view view() const noexcept { return {text_.data(), text_.size()}; }

 private:
  std::array<char, 36> text_;
};

/// Whether a received id may be kept: 1 to 128 visible ASCII characters.
bool is_acceptable_request_id(std::string_view id) noexcept;

}  // namespace outrigger::http
