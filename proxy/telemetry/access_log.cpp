#include "proxy/telemetry/access_log.hpp"

#include <algorithm>
#include <utility>

#include "proxy/telemetry/json_writer.hpp"
#include "proxy/telemetry/timeline_json.hpp"
#include "proxy/telemetry/wall_time.hpp"

namespace outrigger::telemetry {
namespace {

using exchange::AttemptRecord;
using exchange::Timeline;

/// Appends e.g. `primary 127.0.0.1:9001 http_503 1.204`, to stand between quotes.
void append_attempt(Buffer& out, const Timeline& timeline, const AttemptRecord& attempt) {
  out.append(to_string(attempt.kind));
  out.push_back(' ');
  append_json_text(out, timeline.text(attempt.endpoint));
  out.push_back(' ');
  append_json_text(out, shown_reason(timeline, attempt));
  out.push_back(' ');
  append_ms(out, attempt.duration);
}

void append_flags(Buffer& out, const Timeline& timeline) {
  bool any = false;
  const auto append = [&](std::string_view flag) {
    if (flag.empty()) return;
    if (std::exchange(any, true)) out.push_back(',');
    out.append(flag);
  };
  append(response_flag(timeline.reason));
  if (timeline.stop_reason == Reason::attempts_exhausted) append("URX");
  if (timeline.outcome == exchange::RequestOutcome::cached) append("RFCF");
  const auto has = [&](auto&& did) { return std::ranges::any_of(timeline.attempts, did); };
  if (has([](const AttemptRecord& attempt) { return attempt.injected_delay > Nanos{0}; })) append("DI");
  if (has([](const AttemptRecord& attempt) { return attempt.fault != exchange::Fault::none; })) append("FI");
  if (!any) out.push_back('-');
}

void append_json_line(Buffer& out, const Timeline& timeline) {
  JsonWriter json(out);
  json.open('{');
  write_scalars(json, timeline);
  json.key("attempts").open('[');
  for (const AttemptRecord& attempt : timeline.attempts) {
    json.literal("\"");
    append_attempt(out, timeline, attempt);
    out.push_back('"');
  }
  json.close(']').key("flags").literal("\"");
  append_flags(out, timeline);
  out.push_back('"');
  if (timeline.logged_fields.size != 0) {
    json.key("headers").open('{');
    out.append(timeline.text(timeline.logged_fields));
    json.close('}');
  }
  json.close('}');
}

void append_named(Buffer& out, std::string_view name, std::string_view text) {
  out.push_back(' ');
  out.append(name);
  out.push_back('=');
  text.empty() ? out.push_back('-') : append_json_string(out, text);
}

void append_named(Buffer& out, std::string_view name, std::uint64_t value) {
  out.push_back(' ');
  out.append(name);
  out.push_back('=');
  append_number(out, static_cast<std::int64_t>(value));
}

void append_text_line(Buffer& out, const Timeline& timeline) {
  append_rfc3339(out, timeline.wall_start_us);
  out.append(" \"");
  append_json_text(out, timeline.text(timeline.method));
  out.push_back(' ');
  append_json_text(out, timeline.text(timeline.path));
  out.append("\" ");
  append_number(out, timeline.status);
  out.push_back(' ');
  out.append(to_string(timeline.outcome));
  out.push_back(' ');
  out.append(to_string(timeline.reason));
  out.push_back(' ');
  append_ms(out, timeline.duration);
  out.append("ms termination=");
  out.push_back(timeline.who);
  out.push_back(timeline.stage);
  out.append(" flags=");
  append_flags(out, timeline);
  append_named(out, "bytes_in", timeline.bytes_in);
  append_named(out, "bytes_out", timeline.bytes_out);
  append_named(out, "listener", timeline.listener);
  append_named(out, "route", timeline.route);
  append_named(out, "policy", timeline.policy_key);
  append_named(out, "policy_id", timeline.policy_id);
  append_named(out, "priority", timeline.priority);
  append_named(out, "stop_reason", timeline.stop_reason ? to_string(*timeline.stop_reason) : std::string_view{});
  append_named(out, "cache", timeline.cache == exchange::CacheShown::none ? "" : to_string(timeline.cache));
  append_named(out, "fallback", timeline.text(timeline.fallback));
  out.append(" deadline_ms=");
  timeline.deadline == exchange::kAbsent ? out.push_back('-') : append_ms(out, timeline.deadline);
  out.append(" queued_ms=");
  append_ms(out, timeline.queued);
  append_named(out, "request_id", timeline.text(timeline.request_id));
  append_named(out, "trace_id", timeline.text(timeline.trace_id));
  append_named(out, "config_generation", timeline.generation);
  if (timeline.logged_fields.size != 0) {
    out.append(" headers={");
    out.append(timeline.text(timeline.logged_fields));
    out.push_back('}');
  }
  out.append(" attempts=\"");
  for (const AttemptRecord& attempt : timeline.attempts) {
    if (&attempt != timeline.attempts.begin()) out.append(", ");
    append_attempt(out, timeline, attempt);
  }
  out.push_back('"');
}

}  // namespace

void append_access_line(Buffer& out, LogFormat format, const Timeline& timeline) {
  format == LogFormat::json ? append_json_line(out, timeline) : append_text_line(out, timeline);
}

std::string_view response_flag(Reason reason) noexcept {
  switch (reason) {
    case Reason::connect_refused:
    case Reason::connect_error:
    case Reason::connect_timeout:
    case Reason::tls_failure: return "UF";
    case Reason::dns_failure: return "DF";
    case Reason::attempt_timeout:
    case Reason::overall_timeout:
    case Reason::deadline_too_short: return "UT";
    case Reason::max_duration: return "DT";
    case Reason::reset:
    case Reason::closed_early: return "UC";
    case Reason::protocol_error:
    case Reason::response_head_too_large: return "UPE";
    case Reason::client_disconnected: return "DC";
    case Reason::no_route: return "NR";
    case Reason::no_healthy_endpoint: return "UH";
    case Reason::pool_full:
    case Reason::bulkhead_full:
    case Reason::shed_load:
    case Reason::bulkhead_queue_timeout:
    case Reason::concurrency_limit:
    case Reason::circuit_open:
    case Reason::circuit_half_open_probe_limit: return "UO";
    case Reason::rate_limited: return "RL";
    case Reason::throttled: return "DO";
    case Reason::head_timeout:
    case Reason::body_timeout:
    case Reason::response_idle_timeout:
    case Reason::client_not_reading: return "SI";
    case Reason::bad_request:
    case Reason::uri_too_long:
    case Reason::head_too_large:
    case Reason::body_too_large:
    case Reason::unsupported_transfer_coding:
    case Reason::unsupported_version:
    case Reason::expectation_failed: return "DPE";
    default: return {};
  }
}

}  // namespace outrigger::telemetry
