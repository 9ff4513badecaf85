// proxy/policy/classify.hpp
//
// What the end of an attempt means: the truth table, as a pure function of a status or of the way the transport failed.
// It says whether another attempt could mend the outcome; whether one is allowed is another question (retry.hpp).
#pragma once

#include <cstdint>

#include "proxy/base/reason.hpp"

namespace outrigger::policy {

enum class Outcome : std::uint8_t { success, retryable, non_retryable, abort };

constexpr std::string_view to_string(Outcome outcome) noexcept {
  constexpr std::string_view kNames[] = {"success", "retryable", "non_retryable", "abort"};
  return kNames[static_cast<std::size_t>(outcome)];
}

struct Classification {
  Outcome outcome;
  Reason reason;
};

/// The built-in classifier `http` for a final response head.
constexpr Classification classify_status(std::uint16_t status) noexcept {
  switch (status) {
    case 408: return {Outcome::retryable, Reason::http_408};
    case 425: return {Outcome::retryable, Reason::http_425};
    case 429: return {Outcome::retryable, Reason::http_429};
    case 500: return {Outcome::retryable, Reason::http_500};
    case 502: return {Outcome::retryable, Reason::http_502};
    case 503: return {Outcome::retryable, Reason::http_503};
    case 504: return {Outcome::retryable, Reason::http_504};
    default: break;
  }
  if (status < 400) return {Outcome::success, Reason::success};
  return {Outcome::non_retryable, Reason::http_non_retryable_status};
}

/// The same for an attempt without a usable response. A broken answer is the server's bug and not a passing fault; a
/// connection that failed, died or stayed silent may be.
constexpr Classification classify_fault(Reason fault) noexcept {
  switch (fault) {
    case Reason::protocol_error:
    case Reason::upgrade_refused:
    case Reason::response_head_too_large: return {Outcome::non_retryable, fault};
    default: return {Outcome::retryable, fault};
  }
}

/// How the answer of an upstream is called as the reason of the whole request.
constexpr Reason request_reason(std::uint16_t status) noexcept {
  if (status >= 500) return Reason::http_5xx;
  return status >= 400 ? Reason::http_4xx : Reason::success;
}

}  // namespace outrigger::policy
