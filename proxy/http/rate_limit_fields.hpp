// proxy/http/rate_limit_fields.hpp
//
// Tells a client how much of its rate limits is left, in one of two styles:
//
//   ietf     RateLimit-Policy: "orders";q=500;w=1      what is allowed in how many seconds, always the same
//            RateLimit: "orders";r=49;t=1              what is left, and for how long it will not be more
//   legacy   X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, of the limit that has least left
//
// A permit comes back continuously, not at the end of a window. So `t` and Reset are the seconds until there is one
// more, rounded up, as in Retry-After (which must not be earlier than `t`), and nobody who waits for them comes in
// vain. A full bucket has no `t`, and a Reset of 0. Quota and window are whole numbers there: a rate that is none is
// written with the smallest window that holds a permit, rounded down.
//
// Source: draft-ietf-httpapi-ratelimit-headers-11; RFC 9651 (structured fields).
// Threads: none of its own. Cost: no allocation. Limits: 1,024 bytes of text; a limit that does not fit is left out.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "proxy/base/header_view.hpp"
#include "proxy/base/time.hpp"

namespace outrigger::http {

enum class RateLimitStyle : std::uint8_t { ietf, legacy };

/// One rate limit and what is left of it.
struct RateLimitState {
  std::string_view name;  // what is not printable ASCII is left out
  double requests = 0;    // per `per`
  Nanos per{};
  std::uint32_t limit = 0;      // permits of a full bucket
  std::uint32_t remaining = 0;  // of them
  Nanos reset{};                // until there is one more; zero: it is full
};

/// The fields of one response.
class RateLimitFields {
 public:
  /// Without limits there are no fields.
  RateLimitFields(RateLimitStyle style, std::span<const RateLimitState> limits) noexcept;
  RateLimitFields(const RateLimitFields&) = delete;
  RateLimitFields& operator=(const RateLimitFields&) = delete;

  /// Valid as long as this object.
  HeaderView view() const noexcept { return {fields_.data(), count_}; }

 private:
  class Text;
  void write_ietf(std::span<const RateLimitState> limits) noexcept;
  void write_legacy(std::span<const RateLimitState> limits) noexcept;

  static constexpr std::size_t kText = 1024;
  std::array<char, kText> text_;
  std::array<Field, 3> fields_{};
  std::size_t used_ = 0;
  std::size_t count_ = 0;
};

}  // namespace outrigger::http
