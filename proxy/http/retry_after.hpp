// proxy/http/retry_after.hpp
//
// How long an upstream asks to be left alone. A date is taken relative to the response's own Date where it has one: the
// difference of two readings of one clock is right even where that clock is not.
//
// Source: RFC 9110 10.2.3.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "proxy/base/time.hpp"
#include "proxy/http/field_list.hpp"

namespace outrigger::http {

/// Reads a Retry-After value: seconds, or a date relative to `reference` (seconds since 1970). Past dates are zero, and
/// huge numbers kForever.
/// Errors: nullopt for anything else.
std::optional<Nanos> parse_retry_after(std::string_view value, std::int64_t reference) noexcept;

/// Reads the Retry-After of a response, if it has a valid one. `wall_seconds` serves where the Date is missing or bad.
std::optional<Nanos> retry_after_of(const FieldList& fields, std::int64_t wall_seconds) noexcept;

}  // namespace outrigger::http
