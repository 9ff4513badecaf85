#include "proxy/http/retry_after.hpp"

#include <algorithm>

#include "proxy/http/chars.hpp"
#include "proxy/http/http_date.hpp"

namespace outrigger::http {
namespace {

constexpr std::int64_t kMostSeconds = kForever.count() / 1'000'000'000;

Nanos from_seconds(std::int64_t seconds) noexcept {
  return seconds > kMostSeconds ? kForever : Nanos{std::max<std::int64_t>(seconds, 0) * 1'000'000'000};
}

}  // namespace

std::optional<Nanos> parse_retry_after(std::string_view value, std::int64_t reference) noexcept {
  if (value.empty()) return std::nullopt;
  if (!is_digit(value.front())) {
    const std::optional<std::int64_t> at = parse_http_date(value, reference);
    if (!at) return std::nullopt;
    std::int64_t seconds = 0;
    if (__builtin_sub_overflow(*at, reference, &seconds)) return reference < 0 ? kForever : Nanos{0};
    return from_seconds(seconds);
  }
  std::int64_t seconds = 0;
  for (char c : value) {
    if (!is_digit(c)) return std::nullopt;
    seconds = std::min(seconds * 10 + (c - '0'), kMostSeconds + 1);
  }
  return from_seconds(seconds);
}

std::optional<Nanos> retry_after_of(const FieldList& fields, std::int64_t wall_seconds) noexcept {
  const std::optional<std::string_view> value = fields.find(FieldId::retry_after);
  if (!value) return std::nullopt;
  const std::optional<std::string_view> date = fields.find(FieldId::date);
  const std::optional<std::int64_t> own = date ? parse_http_date(*date, wall_seconds) : std::nullopt;
  return parse_retry_after(*value, own.value_or(wall_seconds));
}

}  // namespace outrigger::http
