// tests/unit/telemetry/sample_timeline.hpp
//
// Finished timelines as the exchange would have written them, for tests of what is made from them.
#pragma once

#include <chrono>
#include <string_view>

#include "proxy/exchange/timeline.hpp"

namespace outrigger::telemetry {

using namespace std::chrono_literals;
using exchange::AttemptKind;
using exchange::AttemptRecord;
using exchange::Part;
using exchange::Timeline;
using policy::Outcome;

class SampleTimeline {
 public:
  explicit SampleTimeline(std::string_view request_id = "id-1", std::string_view path = "/v1/charges") {
    exchange::RequestFacts facts;
    facts.request_id = request_id;
    facts.method = "GET";
    facts.path = path;
    facts.listener = "outbound";
    facts.wall_start_us = 1'714'566'896'789'012;  // 2024-05-01T12:34:56.789012Z
    record_request(timeline_, TimePoint{1h}, facts);
    timeline_.policy_key = "payments";
    timeline_.generation = 3;
    ended(Reason::success, 200);
    took(12ms);
  }

  SampleTimeline& attempt(AttemptKind kind, Outcome outcome, Reason reason, std::uint16_t status = 0) {
    timeline_.attempts.push_back(AttemptRecord{.kind = kind,
                                               .n = static_cast<std::uint8_t>(timeline_.attempts.size() + 1),
                                               .ended = true,
                                               .outcome = outcome,
                                               .reason = reason,
                                               .status = status,
                                               .upstream_name = "backend",
                                               .budget_name = "shared",
                                               .endpoint = timeline_.keep("127.0.0.1:9001", 64),
                                               .start = 1ms,
                                               .duration = 4ms});
    return *this;
  }
  SampleTimeline& good_attempt() { return attempt(AttemptKind::primary, Outcome::success, Reason::success, 200); }
  SampleTimeline& ended(Reason reason, std::uint16_t status, char who = '-', char stage = 'a') {
    timeline_.reason = reason;
    timeline_.outcome = exchange::outcome_of(reason);
    timeline_.status = status;
    timeline_.who = who;
    timeline_.stage = stage;
    return *this;
  }
  SampleTimeline& took(Nanos duration) {
    timeline_.duration = duration;
    return *this;
  }
  /// Moves the start on both clocks.
  SampleTimeline& later_by(Nanos by) {
    timeline_.start += by;
    timeline_.wall_start_us += by / 1us;
    return *this;
  }
  SampleTimeline& stopped(Reason why, Part part = Part::retry) {
    timeline_.stop_reason = why;
    timeline_.decide(5ms, part, why);
    return *this;
  }

  Timeline& get() { return timeline_; }
  operator const Timeline&() const { return timeline_; }  // NOLINT: reads like the timeline it is

 private:
  Timeline timeline_;
};

/// A 503 that a retry mended.
inline SampleTimeline retried() {
  SampleTimeline sample;
  sample.attempt(AttemptKind::primary, Outcome::retryable, Reason::http_503, 503);
  sample.attempt(AttemptKind::retry, Outcome::success, Reason::success, 200);
  sample.get().attempts[1].budget_asked = true;
  sample.get().attempts[1].budget_allowed = true;
  sample.get().attempts[1].backoff = 25ms;
  return sample;
}

}  // namespace outrigger::telemetry
