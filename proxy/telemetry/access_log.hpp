// proxy/telemetry/access_log.hpp
//
// One line per request, formatted by the worker from the finished timeline into its own buffer and then copied into its
// log ring (log.hpp): the scalar fields of the timeline, the attempts as a compact list, and the letters that Envoy's
// response flags have taught people to look for. Everything that came from outside is escaped: a path cannot forge a
// line.
//
// Threads: the worker. Cost: one pass of appends, no allocation once the buffer is warm.
#pragma once

#include <string_view>

#include "proxy/base/buffer.hpp"
#include "proxy/base/reason.hpp"
#include "proxy/exchange/timeline.hpp"

namespace outrigger::telemetry {

enum class LogFormat : std::uint8_t { json, text };

/// Appends the line of a finished request, without a line end.
void append_access_line(Buffer& out, LogFormat format, const exchange::Timeline& timeline);

/// The response flag of Envoy that is nearest to a reason; empty where there is none.
std::string_view response_flag(Reason reason) noexcept;

}  // namespace outrigger::telemetry
