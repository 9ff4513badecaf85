// proxy/http/http_date.hpp
//
// HTTP dates from and to seconds since 1970-01-01 UTC, by arithmetic alone: the C library's conversions take locks and
// look at the environment. Written in the one form that may be generated, read in the three that must be understood.
//
// Source: RFC 9110 5.6.7; day arithmetic as in H. Hinnant, "chrono-Compatible Low-Level Date Algorithms".
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace outrigger::http {

inline constexpr std::size_t kHttpDateLength = 29;

/// The text of a Date field, e.g. "Sun, 06 Nov 1994 08:49:37 GMT". Years outside 0..9999 are clamped.
std::array<char, kHttpDateLength> http_date(std::int64_t unix_seconds) noexcept;

/// Reads IMF-fixdate, RFC 850 or asctime form as seconds since 1970. `now` decides the century of a two-digit year: at
/// most 50 years ahead of it.
/// Errors: nullopt for anything else; a leap second is read as the second after.
std::optional<std::int64_t> parse_http_date(std::string_view text, std::int64_t now) noexcept;

}  // namespace outrigger::http
