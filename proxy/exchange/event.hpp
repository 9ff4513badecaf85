// proxy/exchange/event.hpp
//
// Facts: all that the edge may tell an exchange. They name what happened, never what to do about it. A fact about an
// attempt that has ended is ignored, so races at the edge are harmless. Views are valid during `on` only.
#pragma once

#include <cstdint>
#include <optional>
#include <variant>

#include "proxy/base/header_view.hpp"
#include "proxy/base/reason.hpp"
#include "proxy/base/time.hpp"
#include "proxy/base/wakeups.hpp"
#include "proxy/policy/retry.hpp"

namespace outrigger::exchange {

inline constexpr std::size_t kMaxAttempts = 16;
enum class AttemptId : std::uint8_t {};
constexpr std::size_t index(AttemptId id) noexcept { return static_cast<std::size_t>(id); }

using policy::Exposure;

struct RequestReady {};  // the head is complete; `now` of this fact is the start of every clock
struct Tick {};
struct BodyState {  // of the request body; a retry needs it not overflowed, a hedge needs it complete
  bool complete = false;
  bool overflowed = false;  // bytes that were sent are no longer held
};
struct Woken {  // bulkhead, limit queue, connection slot, cache leader
  Ticket ticket;
  bool granted = false;
};
struct Connected {
  AttemptId id{};
  bool reused = false;
};
struct RequestSent {  // the last byte is in the kernel; may follow ResponseHead
  AttemptId id{};
};
struct InterimHead {
  AttemptId id{};
  std::uint16_t status = 0;
};
struct ResponseHead {
  AttemptId id{};
  std::uint16_t status = 0;
  HeaderView headers;
  std::optional<Nanos> retry_after;
};
struct HeldState {  // a held body is complete in memory, or its connection died before
  AttemptId id{};
  bool in_memory = false;
  bool lost = false;
};
struct ResponseDone {  // the upstream body is complete
  AttemptId id{};
};
struct Delivered {};  // the downstream kernel has the last byte of the answer
struct AttemptFailed {
  AttemptId id{};
  Reason why{};
  Exposure exposure{};
  bool reused = false;  // on a pooled connection, before any byte of an answer
};
struct DownstreamFailed {  // client_disconnected, body_timeout, body_too_large, bad_request, client_not_reading
  Reason why{};
};
struct Cancelled {  // drained
  Reason why{};
};

using Event = std::variant<RequestReady, BodyState, Woken, Connected, RequestSent, InterimHead, ResponseHead, HeldState,
                           ResponseDone, Delivered, AttemptFailed, DownstreamFailed, Cancelled, Tick>;

}  // namespace outrigger::exchange
