// proxy/policy/fallback.hpp
//
// Whether what is about to be sent is replaced by something prepared for that case. It is asked once, at the end of
// stages 3 to 8, about a refusal of our own as about an upstream's answer; the underlying reason stays the request's
// reason, so that a fallback never hides what it answers for.
//
// Threads: any; immutable, without state. Cost: a few bit tests.
#pragma once

#include <cstdint>
#include <optional>

#include "proxy/policy/reason_set.hpp"
#include "proxy/policy/status_set.hpp"

namespace outrigger::policy {

struct FallbackConfig {
  enum class Answer : std::uint8_t { respond, upstream, stale };

  ReasonSet reasons;       // groups `shed`, `timeout` and `connect_failure` are written out (reason_groups.hpp)
  StatusSet statuses;      // of the response about to be sent
  bool exhausted = false;  // attempts ended without an acceptable answer
  Answer answer = Answer::respond;
};

/// What would be sent without a fallback.
struct OutgoingAnswer {
  Reason reason{};                     // the request's
  std::optional<Reason> attempt = {};  // of the attempt that decided it: its answer (`http_503`) or its failure
  std::uint16_t status = 0;            // of the upstream's answer or of our own reply
  bool exhausted = false;              // attempts were launched, and the last word of them is not acceptable
};

/// Whether the fallback is sent instead.
bool matches(const FallbackConfig& config, const OutgoingAnswer& what) noexcept;

}  // namespace outrigger::policy
