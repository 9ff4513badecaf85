// proxy/telemetry/known_series.hpp
//
// Which series of a routed policy exist before anything has happened: the combinations of labels that can occur, as the
// state machine of proxy/exchange can produce them. One that is missing here appears with its first event, so a slip
// costs a late start of a series and never a count.
#pragma once

#include <cstddef>
#include <string_view>
#include <utility>

#include "proxy/base/reason.hpp"
#include "proxy/exchange/timeline.hpp"
#include "proxy/policy/circuit_breaker.hpp"
#include "proxy/policy/classify.hpp"
#include "proxy/telemetry/metric_shard.hpp"

namespace outrigger::telemetry {

using exchange::AttemptKind;
using exchange::RequestOutcome;
using policy::Outcome;

inline constexpr Reason kRoutedReasons[] = {Reason::success,
                                            Reason::http_4xx,
                                            Reason::http_5xx,
                                            Reason::bad_request,
                                            Reason::body_timeout,
                                            Reason::body_too_large,
                                            Reason::deadline_too_short,
                                            Reason::overall_timeout,
                                            Reason::attempt_timeout,
                                            Reason::max_duration,
                                            Reason::rate_limited,
                                            Reason::throttled,
                                            Reason::bulkhead_full,
                                            Reason::shed_load,
                                            Reason::bulkhead_queue_timeout,
                                            Reason::concurrency_limit,
                                            Reason::circuit_open,
                                            Reason::circuit_half_open_probe_limit,
                                            Reason::pool_full,
                                            Reason::no_healthy_endpoint,
                                            Reason::draining,
                                            Reason::internal,
                                            Reason::dns_failure,
                                            Reason::connect_refused,
                                            Reason::connect_error,
                                            Reason::connect_timeout,
                                            Reason::reset,
                                            Reason::closed_early,
                                            Reason::protocol_error,
                                            Reason::response_head_too_large,
                                            Reason::client_disconnected,
                                            Reason::response_idle_timeout,
                                            Reason::client_not_reading,
                                            Reason::drained};

/// Only where the policy has a cache.
inline constexpr Reason kCacheReasons[] = {Reason::not_cached};

inline constexpr RequestOutcome kUsualOutcomes[] = {RequestOutcome::ok, RequestOutcome::upstream_error,
                                                    RequestOutcome::rejected, RequestOutcome::timeout,
                                                    RequestOutcome::client_gone};

struct AttemptResult {
  Outcome outcome;
  Reason reason;

  friend constexpr bool operator==(const AttemptResult&, const AttemptResult&) = default;
};
inline constexpr AttemptResult kAttemptResults[] = {
    {Outcome::success, Reason::success},
    {Outcome::retryable, Reason::http_408},
    {Outcome::retryable, Reason::http_425},
    {Outcome::retryable, Reason::http_429},
    {Outcome::retryable, Reason::http_500},
    {Outcome::retryable, Reason::http_502},
    {Outcome::retryable, Reason::http_503},
    {Outcome::retryable, Reason::http_504},
    {Outcome::retryable, Reason::connect_refused},
    {Outcome::retryable, Reason::connect_error},
    {Outcome::retryable, Reason::connect_timeout},
    {Outcome::retryable, Reason::reset},
    {Outcome::retryable, Reason::closed_early},
    {Outcome::retryable, Reason::attempt_timeout},
    {Outcome::non_retryable, Reason::http_non_retryable_status},
    {Outcome::non_retryable, Reason::protocol_error},
    {Outcome::non_retryable, Reason::response_head_too_large},
    {Outcome::abort, Reason::response_committed},
    {Outcome::abort, Reason::reconnect},
    {Outcome::abort, Reason::overall_timeout},
    {Outcome::abort, Reason::client_disconnected},
    {Outcome::abort, Reason::drained},
};

/// Only where the policy hedges.
inline constexpr AttemptResult kLostHedge{Outcome::abort, Reason::hedge_lost};

inline constexpr AttemptKind kRouteKinds[] = {AttemptKind::primary, AttemptKind::retry, AttemptKind::reconnect};
/// At an upstream that a fallback leads to.
inline constexpr AttemptKind kFallbackKinds[] = {AttemptKind::fallback, AttemptKind::reconnect};

inline constexpr Reason kStopReasons[] = {Reason::pushback,
                                          Reason::http_non_idempotent,
                                          Reason::body_not_replayable,
                                          Reason::attempts_exhausted,
                                          Reason::deadline_insufficient,
                                          Reason::retry_after_too_long,
                                          Reason::budget_denied,
                                          Reason::circuit_open,
                                          Reason::circuit_half_open_probe_limit,
                                          Reason::rate_limited,
                                          Reason::bulkhead_full,
                                          Reason::shed_load,
                                          Reason::concurrency_limit,
                                          Reason::pool_full};

inline constexpr Reason kBulkheadReasons[] = {Reason::bulkhead_full, Reason::shed_load, Reason::bulkhead_queue_timeout};

using policy::CircuitState;
inline constexpr std::pair<CircuitState, CircuitState> kTransitions[] = {
    {CircuitState::closed, CircuitState::open},
    {CircuitState::open, CircuitState::half_open},
    {CircuitState::half_open, CircuitState::open},
    {CircuitState::half_open, CircuitState::closed}};

inline constexpr Reason kConnectResults[] = {Reason::success, Reason::connect_refused, Reason::connect_error,
                                             Reason::connect_timeout};

inline constexpr std::string_view kStageNames[kStages] = {"unknown",  "read",       "route",    "deadline",
                                                          "cache",    "rate_limit", "throttle", "bulkhead",
                                                          "attempts", "relay",      "settle"};
inline constexpr std::size_t kWaitingStages[] = {3, 7, 8, 9};
inline constexpr std::size_t kCacheStage = 4;  // where the policy has a cache

}  // namespace outrigger::telemetry
