// proxy/config/words.hpp
//
// The words that stand for an enumerator in the file, each list in the order of its enumerators. Reading and dumping
// share them, so that what is dumped can be read again.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "proxy/base/priority.hpp"

namespace outrigger::config {

template <std::size_t n>
using Words = std::array<std::string_view, n>;

inline constexpr Words<3> kBalances = {"least_request", "round_robin", "random"};  // beside hash, which has a key
inline constexpr Words<5> kBudgetTypes = {"ratio", "window", "token_bucket", "success_credit", "unlimited"};
inline constexpr Words<2> kChaosKinds = {"reset", "truncate"};
inline constexpr std::string_view kClientIp = "client_ip";
inline constexpr Words<2> kCounts = {"attempt", "request"};
inline constexpr Words<3> kDeadlineHeaders = {"X-Request-Timeout", "Grpc-Timeout", "X-Envoy-Expected-Rq-Timeout-Ms"};
inline constexpr Words<4> kJitters = {"full", "equal", "decorrelated", "none"};
inline constexpr Words<2> kLimitAlgorithms = {"aimd", "gradient"};
inline constexpr Words<2> kLogFormats = {"json", "text"};
inline constexpr Words<4> kLogLevels = {"debug", "info", "warn", "error"};
inline constexpr Words<2> kModes = {"enforce", "observe"};
inline constexpr Words<2> kOnInvalid = {"ignore", "reject"};
inline constexpr Words<4> kOutcomes = {"success", "retryable", "non_retryable", "abort"};
inline constexpr Words<3> kRateHeaders = {"none", "ietf", "legacy"};
inline constexpr Words<2> kRateKeys = {"policy", "client_ip"};
inline constexpr Words<2> kRateShapes = {"bursty", "smooth"};
inline constexpr Words<3> kScopes = {"key", "upstream", "endpoint"};
inline constexpr Words<2> kSlashes = {"keep", "reject"};
inline constexpr Words<2> kTlsVersions = {"1.2", "1.3"};

/// The word of an enumerator.
template <class Enum, std::size_t n>
constexpr std::string_view word(Enum value, const Words<n>& words) noexcept {
  return words[static_cast<std::size_t>(value)];
}

}  // namespace outrigger::config
