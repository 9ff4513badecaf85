// tests/support/show.hpp
//
// Facts, orders and timelines as short text: what a test compares is what a person reads when it fails.
#pragma once

#include <string>

#include "proxy/exchange/action.hpp"
#include "proxy/exchange/event.hpp"
#include "proxy/exchange/timeline.hpp"

namespace outrigger::test {

/// Milliseconds, with a fraction only where there is one: "20", "0.25".
std::string show(Nanos duration);

/// "head 0 503", "failed 1 reset fully_sent".
std::string show(const exchange::Event& fact);

/// "abort 0, start 1 retry e1": a connection that must be fresh or recent is marked, so is X-Should-Retry: "no-retry".
std::string show(const exchange::Actions& orders);

/// "1 primary retryable http_503 @0+20, 2 retry success @120+30": n, kind, outcome, reason, start and duration in ms.
std::string show_attempts(const exchange::Timeline& timeline);

/// "20 retry attempts_exhausted": when, which part, why, and of which attempt.
std::string show_decisions(const exchange::Timeline& timeline);

/// "200 ok success -a 150": status, outcome, reason, termination, duration; then the stop reason where there is one.
std::string show_ending(const exchange::Timeline& timeline);

}  // namespace outrigger::test
