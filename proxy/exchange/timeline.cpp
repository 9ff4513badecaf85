#include "proxy/exchange/timeline.hpp"

namespace outrigger::exchange {

RequestOutcome outcome_of(Reason reason) noexcept {
  switch (reason) {
    case Reason::success:
    case Reason::http_4xx:
    case Reason::tunnel_idle: return RequestOutcome::ok;
    case Reason::client_disconnected:
    case Reason::client_not_reading: return RequestOutcome::client_gone;
    case Reason::deadline_too_short:
    case Reason::overall_timeout:
    case Reason::attempt_timeout:
    case Reason::max_duration: return RequestOutcome::timeout;
    case Reason::http_5xx:
    case Reason::dns_failure:
    case Reason::connect_refused:
    case Reason::connect_error:
    case Reason::connect_timeout:
    case Reason::tls_failure:
    case Reason::reset:
    case Reason::closed_early:
    case Reason::protocol_error:
    case Reason::response_head_too_large:
    case Reason::upgrade_refused:
    case Reason::response_idle_timeout: return RequestOutcome::upstream_error;
    default: return RequestOutcome::rejected;
  }
}

void record_request(Timeline& timeline, TimePoint now, const RequestFacts& facts) noexcept {
  timeline.start = now;
  timeline.wall_start_us = facts.wall_start_us;
  timeline.listener = facts.listener;
  timeline.request_id = timeline.keep(facts.request_id, Timeline::kMaxRequestId);
  timeline.trace_id = timeline.keep(facts.trace_id, 32);
  timeline.method = timeline.keep(facts.method, 32);
  timeline.path = timeline.keep(facts.path, Timeline::kMaxPath);
  timeline.logged_fields = timeline.keep(facts.logged_fields, Timeline::kMaxLoggedFields);
  timeline.truncated = timeline.truncated || facts.logged_fields_cut;
  timeline.priority = to_string(facts.priority);
}

void record_unrouted(Timeline& timeline, TimePoint now, const RequestFacts& facts, std::uint16_t status,
                     std::uint64_t generation) noexcept {
  record_request(timeline, now, facts);
  timeline.policy_key = "_unrouted";
  timeline.generation = generation;
  timeline.status = status;
  timeline.duration = Nanos{0};
}

void record_refusal(Timeline& timeline, TimePoint now, const RequestFacts& facts, Reason why, char who, char stage,
                    std::uint64_t generation) noexcept {
  record_unrouted(timeline, now, facts, info(why).status, generation);
  timeline.decide(Nanos{0}, Part::edge, why);
  timeline.reason = why;
  timeline.outcome = outcome_of(why);
  timeline.who = who;
  timeline.stage = stage;
}

}  // namespace outrigger::exchange
