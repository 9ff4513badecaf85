// proxy/exchange/action.hpp
//
// Orders: all that an exchange may ask of the edge. The edge performs them in the given order and reports what came of
// them as facts; it never decides.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>

#include "proxy/base/bounded_vec.hpp"
#include "proxy/base/reason.hpp"
#include "proxy/base/time.hpp"
#include "proxy/exchange/event.hpp"
#include "proxy/exchange/static_response.hpp"
#include "proxy/policy/balance.hpp"

namespace outrigger::policy {
struct CacheConfig;
struct CacheHit;
class CacheFill;
}  // namespace outrigger::policy

namespace outrigger::exchange {

enum class AttemptKind : std::uint8_t { primary, retry, hedge, reconnect, fallback };
inline constexpr std::size_t kAttemptKinds = 5;
constexpr std::string_view to_string(AttemptKind kind) noexcept {
  constexpr std::string_view kNames[] = {"primary", "retry", "hedge", "reconnect", "fallback"};
  return kNames[static_cast<std::size_t>(kind)];
}

/// Which connection an attempt may use: one that has idled for long may be dead without our knowing, which costs a
/// reconnect that not every request may have.
enum class Reuse : std::uint8_t { any, recent, none };

struct ReadBody {};  // admitted: 100 Continue if it was asked for; the body is not read before
struct StartAttempt {
  AttemptId id{};
  AttemptKind kind{};
  policy::UpstreamId upstream{};
  policy::EndpointId endpoint{};
  Reuse reuse{};
  std::uint8_t n = 1;            // 1 = the first
  std::uint8_t hedge = 0;        // k of the k-th hedge, else 0
  std::optional<Nanos> forward;  // the deadline to tell the upstream
};
struct AbortAttempt {  // close its connection at once
  AttemptId id{};
  Reason why{};
};
struct HoldResponse {  // keep head and body until the decision, in memory or unread
  AttemptId id{};
};
struct DropHeld {
  AttemptId id{};
};
struct DropReplay {};  // bytes already sent will not be needed again
struct RelayInterim {
  AttemptId id{};
};
struct RelayResponse {  // commit
  AttemptId id{};
  bool should_not_retry = false;  // tell the next hop out not to multiply
  bool truncate = false;          // on purpose: pass on half of what there is of the body, and report it closed early
  std::string_view fallback;      // the reason that it answers for; empty: for none
};
struct DiscardResponse {  // neither held nor relayed
  AttemptId id{};
};
struct CloseDownstream {};  // after commit only: end the response so that it cannot be taken for complete
struct Reply {
  std::uint16_t status = 0;
  Reason why{};
  std::optional<Nanos> retry_after;
  bool should_not_retry = false;
  const StaticResponse* fixed = nullptr;  // this instead of a reply made from the reason
  std::string_view fallback;              // the reason that it answers for; empty: for none
};

struct ServeCached {
  const policy::CacheHit* hit = nullptr;
  std::string_view fallback;  // as in Reply
};
struct StoreResponse {  // in front of its RelayResponse: copy it while it is relayed
  AttemptId id{};
  policy::CacheFill* fill = nullptr;
  const policy::CacheConfig* config = nullptr;
  Nanos took{0};  // since the attempt's request was sent
};

using Action = std::variant<ReadBody, StartAttempt, AbortAttempt, HoldResponse, DropHeld, DropReplay, RelayInterim,
                            RelayResponse, DiscardResponse, CloseDownstream, Reply, ServeCached, StoreResponse>;
using Actions = BoundedVec<Action, kMaxAttempts + 4>;

}  // namespace outrigger::exchange
