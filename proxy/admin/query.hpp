// proxy/admin/query.hpp
//
// The query part of a target, and what /timelines understands of it. A parameter that is not understood is an error: a
// filter with a typing error that let everything through would look like an answer.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "proxy/base/time.hpp"
#include "proxy/telemetry/timeline_store.hpp"

namespace outrigger::admin {

/// Undoes percent-encoding; what is not a valid escape stays as it is.
std::string decoded(std::string_view encoded);

/// Takes what stands before `separator` off the front, or all of it.
std::string_view take_until(std::string_view& text, char separator);

/// The first value of that name, decoded; empty where there is none.
std::string parameter(std::string_view query, std::string_view name);

struct TimelineQuery {
  static constexpr std::size_t kMaxLimit = 1000;

  telemetry::TimelineFilter filter;
  std::size_t limit = 100;
};

/// Reads `policy reason status kind min_ms since limit`; a parameter without a value asks for nothing.
/// Errors: the name of the first parameter that is unknown or has a bad value.
std::optional<std::string> parse_query(std::string_view query, TimelineQuery& asked);

/// Reads `ttl`, from 1s to 24h, one minute where it is not given; nullopt: it is something else, or something else is
/// asked for.
std::optional<Nanos> parse_ttl(std::string_view query);

}  // namespace outrigger::admin
