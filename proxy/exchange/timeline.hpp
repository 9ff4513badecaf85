// proxy/exchange/timeline.hpp
//
// The account of one request: what was decided, when and why, written by the exchange as it decides. It is the only
// account: metrics, the access log and /timelines are made from it, so they cannot disagree. Bounded and flat: no
// allocation per event, arrays are written only as far as used, and a finished timeline is copied as plain memory into
// the worker's ring. What does not fit is marked `truncated`.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include "proxy/base/bounded_vec.hpp"
#include "proxy/base/reason.hpp"
#include "proxy/base/time.hpp"
#include "proxy/exchange/action.hpp"
#include "proxy/exchange/request_facts.hpp"
#include "proxy/policy/classify.hpp"

namespace outrigger::exchange {

enum class RequestOutcome : std::uint8_t { ok, upstream_error, rejected, timeout, client_gone, fallback, cached };
inline constexpr std::size_t kRequestOutcomes = 7;
constexpr std::string_view to_string(RequestOutcome outcome) noexcept {
  constexpr std::string_view kNames[] = {"ok",          "upstream_error", "rejected", "timeout",
                                         "client_gone", "fallback",       "cached"};
  return kNames[static_cast<std::size_t>(outcome)];
}

/// A reason fixes the outcome of the request, so that labels cannot contradict each other.
RequestOutcome outcome_of(Reason reason) noexcept;

/// Which mechanism a decision came from.
enum class Part : std::uint8_t {
  edge,
  deadline,
  retry,
  budget,
  balance,
  hedge,
  circuit,
  rate_limit,
  throttle,
  bulkhead,
  adaptive_limit,
  cache,
  fallback,
  chaos,
  pool
};
constexpr std::string_view to_string(Part part) noexcept {
  constexpr std::string_view kNames[] = {"edge",           "deadline", "retry",      "budget",   "balance",
                                         "hedge",          "circuit",  "rate_limit", "throttle", "bulkhead",
                                         "adaptive_limit", "cache",    "fallback",   "chaos",    "pool"};
  return kNames[static_cast<std::size_t>(part)];
}

/// As what the circuits let an attempt through.
enum class CircuitShown : std::uint8_t { none, closed, half_open };

/// What the cache had for a request.
enum class CacheShown : std::uint8_t { none, bypass, hit, miss, coalesced, stale, unsatisfiable };
inline constexpr std::size_t kCacheShown = 7;
constexpr std::string_view to_string(CacheShown shown) noexcept {
  constexpr std::string_view kNames[] = {"none", "bypass", "hit", "miss", "coalesced", "stale", "unsatisfiable"};
  return kNames[static_cast<std::size_t>(shown)];
}

/// What was done to an attempt on purpose; a delay may come with one of the others.
enum class Fault : std::uint8_t { none, status, reset, truncate };
inline constexpr std::size_t kFaults = 4;
constexpr std::string_view to_string(Fault fault) noexcept {
  constexpr std::string_view kNames[] = {"none", "status", "reset", "truncate"};
  return kNames[static_cast<std::size_t>(fault)];
}

inline constexpr Nanos kAbsent{-1};
inline constexpr std::uint8_t kNoAttempt = 0xff;

/// Text copied into the timeline's own storage.
struct TextRef {
  std::uint16_t offset = 0;
  std::uint16_t size = 0;
};

struct AttemptRecord {
  AttemptKind kind{};
  std::uint8_t n = 1;
  std::uint8_t hedge = 0;
  bool ended = false;
  bool budget_asked = false;
  bool budget_allowed = false;
  CircuitShown circuit = CircuitShown::none;
  Fault fault = Fault::none;  // injected
  policy::Outcome outcome{};
  Reason reason{};
  std::uint16_t status = 0;
  policy::UpstreamId upstream{};
  std::string_view upstream_name;  // interned
  std::string_view budget_name;    // interned
  TextRef endpoint;
  TextRef reason_text;  // what a classifier's rule calls it; empty: the reason's name
  Nanos start{0};       // since the request's start
  Nanos backoff{0};
  Nanos injected_delay{0};
  Nanos connect = kAbsent;  // absent on a reused connection
  Nanos ttfb = kAbsent;     // since the attempt's start
  Nanos duration = kAbsent;
};

/// A refusal or a suppression; with `would` one that was only computed.
struct Decision {
  Nanos at{0};
  Part part{};
  Reason reason{};
  std::uint8_t attempt = kNoAttempt;
  bool would = false;
  std::string_view name;  // of the limit or circuit, interned
};

/// What a rate limit answered.
struct RateLimitDecision {
  std::string_view name;  // interned
  bool allowed = false;
};

/// Time spent waiting, by what was waited for.
struct Waits {
  Nanos cache{0};
  Nanos rate_limit{0};
  Nanos bulkhead{0};
  Nanos adaptive_limit{0};
  Nanos pool{0};
};

struct TimelineScalars {
  std::string_view policy_key;  // interned, as all views here
  std::string_view policy_id;
  std::string_view route;
  std::string_view listener;
  std::string_view priority = "standard";
  TextRef request_id;
  TextRef trace_id;
  TextRef method;
  TextRef path;
  TextRef logged_fields;  // the inside of a JSON object
  TimePoint start{};
  std::int64_t wall_start_us = 0;
  Nanos duration = kAbsent;
  Nanos deadline = kAbsent;  // time allowed, counted from the start
  Nanos queued{0};
  Waits waits;  // of which
  std::uint64_t generation = 0;
  std::uint64_t bytes_in = 0;   // of the request's body, measured by the edge
  std::uint64_t bytes_out = 0;  // sent to the client, head included
  std::uint16_t status = 0;     // as the client got it; 0: none
  RequestOutcome outcome{};
  Reason reason{};
  std::optional<Reason> stop_reason;
  char who = '-';    // who ended it: D, U, P, or '-' for nobody
  char stage = 'a';  // in which stage, one hex digit
  bool truncated = false;
  std::uint8_t hedges_suppressed = 0;
  std::uint8_t relayed = kNoAttempt;  // the attempt whose answer the client got
  CacheShown cache = CacheShown::none;
  TextRef fallback;  // the reason that a fallback answered for, as the client was told; empty: none did
};

struct Timeline : TimelineScalars {
  static constexpr std::size_t kMaxDecisions = 32;
  static constexpr std::size_t kMaxRateLimitDecisions = 16;
  static constexpr std::size_t kTextBytes = 1536;
  static constexpr std::size_t kMaxPath = 512;
  static constexpr std::size_t kMaxRequestId = 128;
  static constexpr std::size_t kMaxLoggedFields = 256;

  BoundedVec<AttemptRecord, kMaxAttempts> attempts;
  BoundedVec<Decision, kMaxDecisions> decisions;
  BoundedVec<RateLimitDecision, kMaxRateLimitDecisions> rate_limits;

  /// Copies `text`, at most `limit` bytes of it and no more than there is room for; what is cut off is marked.
  TextRef keep(std::string_view text, std::size_t limit) noexcept {
    const std::size_t size = std::min({text.size(), limit, kTextBytes - text_used_});
    if (size < text.size()) truncated = true;
    if (size != 0) std::memcpy(text_ + text_used_, text.data(), size);
    const TextRef kept{static_cast<std::uint16_t>(text_used_), static_cast<std::uint16_t>(size)};
    text_used_ += size;
    return kept;
  }
  std::string_view text(TextRef ref) const noexcept { return {text_ + ref.offset, ref.size}; }
  /// All texts kept so far; references count from its begin.
  std::string_view texts() const noexcept { return {text_, text_used_}; }

  void decide(Nanos at, Part part, Reason why, std::uint8_t attempt = kNoAttempt) noexcept {
    decide({.at = at, .part = part, .reason = why, .attempt = attempt});
  }
  void decide(const Decision& decision) noexcept {
    if (!decisions.try_push_back(decision)) truncated = true;
  }
  void note_rate_limit(std::string_view name, bool allowed) noexcept {
    if (!rate_limits.try_push_back({name, allowed})) truncated = true;
  }

  Timeline() noexcept {}
  Timeline(const Timeline& other) noexcept { *this = other; }
  /// Copies only what is used of the arrays.
  Timeline& operator=(const Timeline& other) noexcept {
    static_cast<TimelineScalars&>(*this) = other;
    attempts = other.attempts;
    decisions = other.decisions;
    rate_limits = other.rate_limits;
    text_used_ = other.text_used_;
    std::memcpy(text_, other.text_, text_used_);
    return *this;
  }

  /// Makes it as good as new without touching the arrays.
  void reset() noexcept {
    static_cast<TimelineScalars&>(*this) = TimelineScalars{};
    attempts.clear();
    decisions.clear();
    rate_limits.clear();
    text_used_ = 0;
  }

 private:
  std::size_t text_used_ = 0;
  char text_[kTextBytes];
};

/// Writes the account of a request that was answered here before there was a policy to run it.
void record_unrouted(Timeline& timeline, TimePoint now, const RequestFacts& facts, std::uint16_t status,
                     std::uint64_t generation) noexcept;

/// Writes the account of a request that was refused before there was a policy to run it.
void record_refusal(Timeline& timeline, TimePoint now, const RequestFacts& facts, Reason why, char who, char stage,
                    std::uint64_t generation) noexcept;

/// Copies what identifies the request.
void record_request(Timeline& timeline, TimePoint now, const RequestFacts& facts) noexcept;

}  // namespace outrigger::exchange
