// proxy/telemetry/wall_time.hpp
//
// Unix time as people write it, RFC 3339 in UTC with microseconds. Nothing here reads a clock.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "proxy/base/buffer.hpp"

namespace outrigger::telemetry {

/// Appends e.g. 2024-05-01T12:34:56.789012Z.
void append_rfc3339(Buffer& out, std::int64_t unix_us);

/// Reads RFC 3339 (any offset, up to nine decimals) or plain Unix seconds, as microseconds of Unix time.
/// Errors: nullopt for anything else.
std::optional<std::int64_t> parse_wall_time(std::string_view text);

}  // namespace outrigger::telemetry
