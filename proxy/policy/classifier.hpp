// proxy/policy/classifier.hpp
//
// What the end of an attempt is taken for when the configuration knows better than the truth table: an ordered list of
// rules, the first that applies decides, and where none does the built-in `http` (classify.hpp). A rule changes whether
// another attempt could mend the outcome, and nothing else: whether one is allowed is still retry.hpp's question.
//
// What happened keeps its built-in reason, so that metric labels stay a closed set; a rule's own `reason` is for
// timelines and logs. Names and bounds are checked when the configuration is loaded: there is no unknown classifier and
// no rule that can never apply while requests are running.
//
// Threads: any; immutable. Cost: one comparison per condition, no allocation.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/header_view.hpp"
#include "proxy/policy/classify.hpp"
#include "proxy/policy/status_set.hpp"

namespace outrigger::policy {

/// Any field of that name (case ignored) with exactly that value.
struct HeaderEquals {
  std::string name;
  std::string equals;
};

/// What all must hold for a rule to apply; what is absent is not asked.
struct ClassifierRule {
  std::optional<StatusSet> status = {};
  std::optional<std::string> method = {};
  std::optional<HeaderEquals> header = {};        // of the response
  std::optional<std::uint32_t> grpc_status = {};  // the response field grpc-status
  std::optional<Reason> failure = {};             // no response: how the transport failed
  Outcome outcome = Outcome::retryable;
  std::string reason = {};  // shown instead of the usual one; empty: the usual one
};

/// In the order they are asked; empty: `http` itself.
using Classifier = std::vector<ClassifierRule>;

struct Classified {
  Classification result;
  bool by_rule = false;          // a rule decided: a 429 then needs no Retry-After to be tried again
  std::string_view reason_text;  // of that rule; lives as long as the classifier; empty: to_string(result.reason)
};

/// Of a final response head.
Classified classify(const Classifier& rules, std::string_view method, std::uint16_t status, HeaderView fields) noexcept;

/// Of an attempt without a usable response. Rules that ask for anything of a response do not apply, nor does one that
/// would make it a success: there is nothing to relay.
Classified classify(const Classifier& rules, std::string_view method, Reason failure) noexcept;

/// Whether an attempt can fail in that way, so that a rule may ask for it.
constexpr bool is_transport_failure(Reason reason) noexcept {
  switch (reason) {
    case Reason::connect_refused:
    case Reason::connect_error:
    case Reason::connect_timeout:
    case Reason::dns_failure:
    case Reason::tls_failure:
    case Reason::reset:
    case Reason::closed_early:
    case Reason::attempt_timeout:
    case Reason::protocol_error:
    case Reason::response_head_too_large: return true;
    default: return false;
  }
}

/// Whether a rule may be shown under that name: `^[a-z][a-z0-9_]{0,39}$`.
constexpr bool is_reason_name(std::string_view name) noexcept {
  if (name.empty() || name.size() > 40 || name[0] < 'a' || name[0] > 'z') return false;
  for (const char c : name) {
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_')) return false;
  }
  return true;
}

/// Why a rule could never apply, as text; nullopt where it can.
std::optional<std::string_view> contradiction_in(const ClassifierRule& rule) noexcept;

}  // namespace outrigger::policy
