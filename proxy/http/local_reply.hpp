// proxy/http/local_reply.hpp
//
// The answer of the proxy itself: which reason, in a form for people (the body), for other proxies (Proxy-Status) and
// for the nearest client's code (X-Outrigger-Reason, Retry-After, X-Should-Retry).
//
// Source: RFC 9457 (problem details), RFC 9209 (Proxy-Status).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "proxy/base/buffer.hpp"
#include "proxy/base/header_view.hpp"
#include "proxy/base/reason.hpp"

namespace outrigger::http {

struct LocalReply {
  Reason reason = Reason::internal;
  std::string_view instance = {};
  std::string_view date = {};
  std::string_view request_id = {};
  std::string_view policy = {};                   // empty: not known yet, null in the body
  std::string_view detail = {};                   // empty: the reason's own text
  std::optional<std::uint64_t> retry_after = {};  // seconds
  bool should_not_retry = false;
  bool answers_head = false;  // the body is announced but not sent
  bool keep_alive = false;
  std::uint8_t client_minor = 1;
  std::span<const Field> extra = {};
};

/// Appends the whole reply, head and body. The status is the reason's own; a reason that has none is replied to as 500.
void write_local_reply(const LocalReply& reply, Buffer& out);

/// Appends `text` as the inside of a JSON string. Bytes that are not ASCII are replaced by U+FFFD, one each.
void append_json_escaped(std::string_view text, Buffer& out);

/// The usual phrase of a status; empty for one that has none.
std::string_view status_phrase(std::uint16_t status) noexcept;

/// The methods that are served, for Allow.
inline constexpr std::string_view kAllowed = "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS, TRACE";

/// The interim answer to Expect: 100-continue.
inline constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

}  // namespace outrigger::http
