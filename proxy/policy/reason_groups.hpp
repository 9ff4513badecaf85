// proxy/policy/reason_groups.hpp
//
// The names a configuration has for several reasons at once. Nobody lists the five ways a connection can fail and then
// the sixth; and whoever says `shed` means every way a request is turned away for want of room.
#pragma once

#include <optional>
#include <string_view>

#include "proxy/policy/reason_set.hpp"

namespace outrigger::policy {

/// There was no connection to send on: nothing of the request was sent.
inline ReasonSet connect_failures() noexcept {
  return {Reason::connect_refused, Reason::connect_error, Reason::connect_timeout, Reason::dns_failure,
          Reason::tls_failure};
}

/// Turned away for want of room.
inline ReasonSet shed_reasons() noexcept {
  return {Reason::throttled, Reason::bulkhead_full, Reason::shed_load, Reason::bulkhead_queue_timeout,
          Reason::concurrency_limit};
}

/// Out of time.
inline ReasonSet timeout_reasons() noexcept {
  return {Reason::deadline_too_short, Reason::overall_timeout, Reason::attempt_timeout};
}

/// The reasons of the group of that name; nullopt for a name that is none.
inline std::optional<ReasonSet> reason_group(std::string_view name) noexcept {
  if (name == "connect_failure") return connect_failures();
  if (name == "shed") return shed_reasons();
  if (name == "timeout") return timeout_reasons();
  return std::nullopt;
}

}  // namespace outrigger::policy
