#include "proxy/net/rate_limit_answer.hpp"

#include <algorithm>
#include <charconv>

namespace outrigger::net {
namespace {

using Headers = policy::RateLimitConfig::Headers;

/// Whether an upstream says that less than this is left.
bool says_less(HeaderView theirs, std::uint32_t remaining) noexcept {
  const std::string_view text = find_field(theirs, "X-RateLimit-Remaining").value_or("");
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc{} && end == text.data() + text.size() && number < remaining;
}

}  // namespace

void RateLimitAnswer::show(const exchange::RateLimitsShown& limits, HeaderView theirs) noexcept {
  fields_.clear();
  replaces_ = false;
  if (limits.empty()) return;
  Limits ietf;
  Limits legacy;
  for (const exchange::RateLimitShown& limit : limits) {
    (limit.config->headers == Headers::ietf ? ietf : legacy)
        .push_back({.name = limit.name,
                    .requests = limit.config->requests,
                    .per = limit.config->per,
                    .limit = limit.view.limit,
                    .remaining = limit.view.remaining,
                    .reset = limit.view.reset});
  }
  if (!ietf.empty()) add(ietf_.emplace(http::RateLimitStyle::ietf, std::span{ietf.begin(), ietf.size()}));
  if (legacy.empty()) return;
  const auto least = std::ranges::min_element(legacy, {}, &http::RateLimitState::remaining);
  if (says_less(theirs, least->remaining)) return;
  replaces_ = true;
  add(legacy_.emplace(http::RateLimitStyle::legacy, std::span{legacy.begin(), legacy.size()}));
}

void RateLimitAnswer::add(const http::RateLimitFields& fields) noexcept {
  for (const Field& field : fields.view()) fields_.push_back(field);
}

}  // namespace outrigger::net
