// proxy/base/reason.hpp
//
// Every public reason, once. The list below generates the enumerators, the metric labels, the log and timeline values,
// the `X-Outrigger-Reason` header, the status and `Proxy-Status` error of a local reply, and the table in the README
// (tests/lint/check_reasons.py holds them equal). Reasons are a stable contract: people alert on them.
//
// Columns: name, status of the local reply (0: never one), Proxy-Status error (RFC 9209), what it means.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

// clang-format off
#define OUTRIGGER_REASONS(X)                                                                                           \
  X(success, 0, "", "a 2xx or 3xx answer")                                                                            \
  /* answers of the upstream, as a request's reason */                                                                 \
  X(http_4xx, 0, "", "the upstream answered 4xx")                                                                     \
  X(http_5xx, 0, "", "the upstream answered 5xx")                                                                     \
  /* local replies before a route is known, or because of the request itself */                                        \
  X(no_route, 404, "destination_not_found", "no route matches the request")                                           \
  X(bad_request, 400, "http_request_error", "the request is malformed")                                               \
  X(head_timeout, 408, "http_request_error", "the request head did not arrive in time")                               \
  X(body_timeout, 408, "http_request_error", "the request body stopped arriving")                                     \
  X(uri_too_long, 414, "http_request_error", "the request line is beyond limits.max_request_head")                    \
  X(head_too_large, 431, "http_request_error", "the request head is beyond limits.max_request_head or max_headers")   \
  X(body_too_large, 413, "http_request_error", "the request body is beyond limits.max_request_body")                  \
  X(unsupported_transfer_coding, 501, "http_request_error", "a transfer coding other than chunked")                   \
  X(unsupported_version, 505, "http_request_error", "an HTTP version other than 1.0 and 1.1")                         \
  X(expectation_failed, 417, "http_request_error", "an expectation other than 100-continue")                          \
  X(method_refused, 405, "http_request_error", "the method is not served here")                                       \
  X(loop_detected, 508, "proxy_loop_detected", "the request has already passed through this instance twice")          \
  /* time */                                                                                                           \
  X(deadline_too_short, 504, "http_response_timeout", "too little time was left when the request arrived")            \
  X(overall_timeout, 504, "http_response_timeout", "the deadline passed before an answer")                            \
  X(attempt_timeout, 504, "http_response_timeout", "the attempt had no response head in time")                        \
  X(max_duration, 504, "http_response_timeout", "the request as a whole took too long")                               \
  /* refused here */                                                                                                   \
  X(rate_limited, 429, "http_request_denied", "the rate limit has nothing left, and no room or time to wait")            \
  X(throttled, 503, "connection_limit_reached", "too many recent failures: the adaptive throttle refused it")          \
  X(bulkhead_full, 503, "connection_limit_reached", "all places of the bulkhead are taken")                            \
  X(shed_load, 503, "connection_limit_reached", "places are left, but not for this priority")                          \
  X(bulkhead_queue_timeout, 503, "connection_limit_reached", "no place of the bulkhead became free in time")           \
  X(concurrency_limit, 503, "connection_limit_reached", "the adaptive limit is reached")                               \
  X(circuit_open, 503, "destination_unavailable", "the circuit is open")                                               \
  X(circuit_half_open_probe_limit, 503, "destination_unavailable", "the circuit is half-open and probing")             \
  X(pool_full, 503, "connection_limit_reached", "no connection was free, and no room or time to wait for one")        \
  X(no_healthy_endpoint, 503, "destination_unavailable", "the upstream has no endpoint to send to")                   \
  X(not_cached, 504, "http_request_denied", "only a stored answer would have done, and there is none")                    \
  X(draining, 503, "connection_limit_reached", "this process is shutting down")                                       \
  X(internal, 500, "proxy_internal_error", "a fault of the proxy itself")                                             \
  /* the upstream failed */                                                                                            \
  X(dns_failure, 502, "dns_error", "the endpoint's name did not resolve")                                             \
  X(connect_refused, 502, "connection_refused", "the endpoint refused the connection")                                \
  X(connect_error, 502, "destination_unavailable", "the connection could not be made")                                \
  X(connect_timeout, 504, "connection_timeout", "the connection was not made in time")                                \
  X(tls_failure, 502, "tls_protocol_error", "the TLS handshake failed")                                               \
  X(reset, 502, "connection_terminated", "the upstream reset the connection")                                         \
  X(closed_early, 502, "connection_terminated", "the upstream closed the connection before its answer was whole")     \
  X(protocol_error, 502, "http_protocol_error", "the upstream's answer was not valid HTTP")                           \
  X(response_head_too_large, 502, "http_response_header_section_size", "the answer's head is beyond "                 \
    "limits.max_response_head or has more than 256 fields")                                                            \
  X(upgrade_refused, 502, "http_upgrade_failed", "the upstream switched to another protocol than was asked for")      \
  /* the request ended after commit, or without a reply */                                                             \
  X(client_disconnected, 0, "", "the client left (499 in logs)")                                                      \
  X(response_idle_timeout, 0, "", "the answer's body stopped arriving")                                               \
  X(client_not_reading, 0, "", "the client stopped reading")                                                          \
  X(tunnel_idle, 0, "", "neither side of a tunnel sent anything for tunnel_idle_timeout")                             \
  /* attempts only */                                                                                                  \
  X(http_408, 0, "", "the upstream answered 408")                                                                     \
  X(http_425, 0, "", "the upstream answered 425")                                                                     \
  X(http_429, 0, "", "the upstream answered 429")                                                                     \
  X(http_500, 0, "", "the upstream answered 500")                                                                     \
  X(http_502, 0, "", "the upstream answered 502")                                                                     \
  X(http_503, 0, "", "the upstream answered 503")                                                                     \
  X(http_504, 0, "", "the upstream answered 504")                                                                     \
  X(http_non_retryable_status, 0, "", "a status that another attempt would not mend")                                 \
  X(hedge_lost, 0, "", "another attempt of the race answered first")                                                    \
  X(reconnect, 0, "", "a pooled connection had died; tried again at once on a fresh one")                             \
  X(drained, 0, "", "cut at the end of the drain's grace")                                                            \
  /* why no further attempt was made */                                                                                \
  X(response_committed, 0, "", "the response had begun")                                                              \
  X(non_retryable, 0, "", "the outcome is not one that another attempt would mend")                                   \
  X(pushback, 0, "", "the upstream asked not to be tried again")                                                      \
  X(http_non_idempotent, 0, "", "the method is not idempotent and bytes had been sent")                               \
  X(body_not_replayable, 0, "", "the request body was no longer held")                                                \
  X(attempts_exhausted, 0, "", "all attempts were used")                                                              \
  X(deadline_insufficient, 0, "", "another attempt would not have fitted before the deadline")                        \
  X(retry_after_too_long, 0, "", "the upstream's Retry-After was longer than may be waited here")                     \
  X(budget_denied, 0, "", "the retry budget was spent")                                                               \
  /* what a policy that only observes would have done */                                                               \
  X(retry, 0, "", "another attempt")                                                                                  \
  X(hedge, 0, "", "a hedge")                                                                                          \
  X(fallback, 0, "", "the fallback instead of the answer")                                                            \
  X(cached, 0, "", "a stored answer")                                                                                 \
  X(chaos, 0, "", "a fault on purpose")
// clang-format on

namespace outrigger {

enum class Reason : std::uint8_t {
#define OUTRIGGER_REASON(name, status, error, text) name,
  OUTRIGGER_REASONS(OUTRIGGER_REASON)
#undef OUTRIGGER_REASON
};

struct ReasonInfo {
  std::string_view name;
  std::uint16_t status;
  std::string_view proxy_status_error;
  std::string_view text;
};

inline constexpr std::array kReasons = {
#define OUTRIGGER_REASON(name, status, error, text) ReasonInfo{#name, status, error, text},
    OUTRIGGER_REASONS(OUTRIGGER_REASON)
#undef OUTRIGGER_REASON
};

inline constexpr std::size_t kReasonCount = kReasons.size();

constexpr const ReasonInfo& info(Reason reason) noexcept { return kReasons[static_cast<std::size_t>(reason)]; }
constexpr std::string_view to_string(Reason reason) noexcept { return info(reason).name; }

/// The reason of that name; nullopt for a name that is none.
constexpr std::optional<Reason> parse_reason(std::string_view name) noexcept {
  for (std::size_t i = 0; i < kReasonCount; ++i) {
    if (kReasons[i].name == name) return static_cast<Reason>(i);
  }
  return std::nullopt;
}

}  // namespace outrigger
