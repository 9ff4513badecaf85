#include "proxy/telemetry/timeline_json.hpp"

#include <algorithm>
#include <array>

namespace outrigger::telemetry {
namespace {

using exchange::AttemptRecord;
using exchange::Decision;
using exchange::Timeline;

constexpr std::string_view kWould = "would_";

void write_text(JsonWriter& json, std::string_view name, std::string_view text) {
  json.key(name);
  if (text.empty()) return json.null();
  json.string(text);
}

void write_ms_if_any(JsonWriter& json, std::string_view name, Nanos duration) {
  if (duration != exchange::kAbsent) json.key(name).ms(duration);
}

void write_circuit(JsonWriter& json, exchange::CircuitShown circuit) {
  if (circuit == exchange::CircuitShown::none) return;
  json.key("circuit").string(circuit == exchange::CircuitShown::closed ? "closed" : "half_open");
}

/// What was done to the attempt on purpose.
void write_chaos(JsonWriter& json, const AttemptRecord& attempt) {
  constexpr std::string_view kWithDelay[exchange::kFaults] = {"delay", "delay+status", "delay+reset", "delay+truncate"};
  if (attempt.injected_delay > Nanos{0}) {
    json.key("chaos").string(kWithDelay[static_cast<std::size_t>(attempt.fault)]);
  } else if (attempt.fault != exchange::Fault::none) {
    json.key("chaos").string(to_string(attempt.fault));
  }
}

void write_attempt(JsonWriter& json, const Timeline& timeline, const AttemptRecord& attempt) {
  json.open('{');
  json.key("n").number(attempt.n);
  json.key("kind").string(to_string(attempt.kind));
  json.key("hedge_index").number(attempt.hedge);
  json.key("upstream").string(attempt.upstream_name);
  json.key("endpoint").string(timeline.text(attempt.endpoint));
  json.key("start_ms").ms(attempt.start);
  json.key("backoff_ms").ms(attempt.backoff);
  write_ms_if_any(json, "connect_ms", attempt.connect);
  write_ms_if_any(json, "ttfb_ms", attempt.ttfb);
  write_ms_if_any(json, "duration_ms", attempt.duration);
  json.key("outcome").string(to_string(attempt.outcome));
  json.key("reason").string(shown_reason(timeline, attempt));
  if (attempt.status != 0) json.key("status").number(attempt.status);
  write_circuit(json, attempt.circuit);
  if (attempt.budget_asked) {
    json.key("budget").open('{');
    json.key("name").string(attempt.budget_name);
    json.key("allowed").boolean(attempt.budget_allowed);
    json.close('}');
  }
  write_chaos(json, attempt);
  json.close('}');
}

void write_reason(JsonWriter& json, const Decision& decision) {
  const std::string_view reason = to_string(decision.reason);
  if (!decision.would) return json.string(reason);
  std::array<char, kWould.size() + 64> text;
  const auto end = std::ranges::copy(reason.substr(0, 64), std::ranges::copy(kWould, text.begin()).out).out;
  json.string({text.begin(), end});
}

void write_decision(JsonWriter& json, const Timeline& timeline, const Decision& decision) {
  json.open('{');
  json.key("at_ms").ms(decision.at);
  json.key("part").string(to_string(decision.part));
  json.key("reason");
  write_reason(json, decision);
  if (!decision.name.empty()) json.key("name").string(decision.name);
  if (decision.attempt < timeline.attempts.size()) json.key("attempt").number(timeline.attempts[decision.attempt].n);
  json.close('}');
}

}  // namespace

std::string_view shown_reason(const Timeline& timeline, const AttemptRecord& attempt) noexcept {
  return attempt.reason_text.size != 0 ? timeline.text(attempt.reason_text) : to_string(attempt.reason);
}

void write_scalars(JsonWriter& json, const Timeline& timeline) {
  write_text(json, "request_id", timeline.text(timeline.request_id));
  write_text(json, "trace_id", timeline.text(timeline.trace_id));
  json.key("start").time(timeline.wall_start_us);
  json.key("duration_ms").ms(timeline.duration);
  write_text(json, "policy", timeline.policy_key);
  write_text(json, "policy_id", timeline.policy_id);
  write_text(json, "route", timeline.route);
  write_text(json, "listener", timeline.listener);
  write_text(json, "method", timeline.text(timeline.method));
  write_text(json, "path", timeline.text(timeline.path));
  write_text(json, "priority", timeline.priority);
  json.key("deadline_ms");
  timeline.deadline == exchange::kAbsent ? json.null() : json.ms(timeline.deadline);
  json.key("queued_ms").ms(timeline.queued);
  json.key("outcome").string(to_string(timeline.outcome));
  json.key("status");
  timeline.status == 0 ? json.null() : json.number(timeline.status);
  json.key("reason").string(to_string(timeline.reason));
  write_text(json, "stop_reason", timeline.stop_reason ? to_string(*timeline.stop_reason) : std::string_view{});
  if (timeline.cache != exchange::CacheShown::none) json.key("cache").string(to_string(timeline.cache));
  if (timeline.fallback.size != 0) json.key("fallback").string(timeline.text(timeline.fallback));
  const char termination[] = {timeline.who, timeline.stage};
  json.key("termination").string({termination, sizeof termination});
  json.key("bytes_in").number(static_cast<std::int64_t>(timeline.bytes_in));
  json.key("bytes_out").number(static_cast<std::int64_t>(timeline.bytes_out));
  json.key("config_generation").number(static_cast<std::int64_t>(timeline.generation));
  if (timeline.truncated) json.key("truncated").boolean(true);
}

void append_timeline(Buffer& out, const Timeline& timeline) {
  JsonWriter json(out);
  json.open('{');
  write_scalars(json, timeline);
  json.key("attempts").open('[');
  for (const AttemptRecord& attempt : timeline.attempts) write_attempt(json, timeline, attempt);
  json.close(']').key("decisions").open('[');
  for (const Decision& decision : timeline.decisions) write_decision(json, timeline, decision);
  json.close(']').close('}');
}

std::string timeline_json(const Timeline& timeline) {
  Buffer out;
  append_timeline(out, timeline);
  return std::string{out.view()};
}

}  // namespace outrigger::telemetry
