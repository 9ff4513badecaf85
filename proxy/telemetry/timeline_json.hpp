// proxy/telemetry/timeline_json.hpp
//
// The public form of a timeline: the JSON of /timelines and of the X-Outrigger-Timeline header, and the scalar fields
// it shares with the access log, written once so that they cannot differ. Times within a request are milliseconds with
// microseconds' precision; a scalar that is unknown is null, a part of an attempt that did not happen is absent.
//
// Threads: any. Cost: appends to the caller's buffer, no allocation once that is large enough.
#pragma once

#include <string>
#include <string_view>

#include "proxy/base/buffer.hpp"
#include "proxy/exchange/timeline.hpp"
#include "proxy/telemetry/json_writer.hpp"

namespace outrigger::telemetry {

/// Writes the fields of the request itself, without attempts and decisions, into the open object.
void write_scalars(JsonWriter& json, const exchange::Timeline& timeline);

/// How an attempt's end is called: by the classifier's rule that matched, or by our own reason.
std::string_view shown_reason(const exchange::Timeline& timeline, const exchange::AttemptRecord& attempt) noexcept;

/// Appends the whole timeline as one compact ASCII object.
void append_timeline(Buffer& out, const exchange::Timeline& timeline);
std::string timeline_json(const exchange::Timeline& timeline);

}  // namespace outrigger::telemetry
