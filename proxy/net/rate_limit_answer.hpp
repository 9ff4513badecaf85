// proxy/net/rate_limit_answer.hpp
//
// What an answer says of the rate limits that were asked about its request: theirs is the arithmetic and the spelling
// (policy/rate_limit.hpp, http/rate_limit_fields.hpp), here is how it goes with what an upstream says of its own
// limits.
//
// `RateLimit` and `RateLimit-Policy` are lists, so ours stand behind the upstream's as further members, whose names
// tell them apart. The three legacy fields hold one limit, and a client could not tell two sets of them apart: ours
// replace the upstream's, unless that says less is left, for nobody on the way may promise more than the origin does.
//
// Source: draft-ietf-httpapi-ratelimit-headers-11; the legacy fields have none.
// Threads: one worker. Cost: nothing without such limits; no allocation.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string_view>

#include "proxy/base/bounded_vec.hpp"
#include "proxy/exchange/exchange.hpp"
#include "proxy/http/rate_limit_fields.hpp"

namespace outrigger::net {

class RateLimitAnswer {
 public:
  static constexpr std::size_t kMaxFields = 5;

  /// Makes it that of another answer, whose fields as they came are `theirs`.
  void show(const exchange::RateLimitsShown& limits, HeaderView theirs) noexcept;

  /// To go behind the answer's own; valid until another answer is shown.
  HeaderView fields() const noexcept { return {fields_.begin(), fields_.size()}; }
  /// What they take the place of.
  std::span<const std::string_view> replaced() const noexcept {
    return replaces_ ? std::span<const std::string_view>{kLegacyNames} : std::span<const std::string_view>{};
  }

 private:
  static constexpr std::array<std::string_view, 3> kLegacyNames{"X-RateLimit-Limit", "X-RateLimit-Remaining",
                                                                "X-RateLimit-Reset"};

  using Limits = BoundedVec<http::RateLimitState, exchange::kMaxOfAKind>;
  void add(const http::RateLimitFields& fields) noexcept;

  std::optional<http::RateLimitFields> ietf_;
  std::optional<http::RateLimitFields> legacy_;
  BoundedVec<Field, kMaxFields> fields_;
  bool replaces_ = false;
};

}  // namespace outrigger::net
