// proxy/http/field_id.hpp
//
// The field names this proxy reads, writes or removes, as small numbers. A name is looked at once, while its head is
// parsed; afterwards every question about it is an integer comparison or one bit of a 64-bit set. The list is the only
// place where such a name is written.
//
// A name is found through a table indexed by its length, first and last letter, then compared once; the table is built
// and checked for collisions by the compiler.
#pragma once

#include <cstdint>
#include <string_view>

// clang-format off
#define OUTRIGGER_FIELDS(X)                                                 \
  X(host, "Host")                                                           \
  X(connection, "Connection")                                               \
  X(content_length, "Content-Length")                                       \
  X(transfer_encoding, "Transfer-Encoding")                                 \
  X(te, "TE")                                                               \
  X(trailer, "Trailer")                                                     \
  X(upgrade, "Upgrade")                                                     \
  X(expect, "Expect")                                                       \
  X(keep_alive, "Keep-Alive")                                               \
  X(proxy_connection, "Proxy-Connection")                                   \
  X(proxy_authenticate, "Proxy-Authenticate")                               \
  X(proxy_authorization, "Proxy-Authorization")                             \
  X(proxy_status, "Proxy-Status")                                           \
  X(via, "Via")                                                             \
  X(date, "Date")                                                           \
  X(max_forwards, "Max-Forwards")                                           \
  X(forwarded, "Forwarded")                                                 \
  X(x_forwarded_for, "X-Forwarded-For")                                     \
  X(x_forwarded_proto, "X-Forwarded-Proto")                                 \
  X(x_forwarded_host, "X-Forwarded-Host")                                   \
  X(x_forwarded_client_cert, "X-Forwarded-Client-Cert")                     \
  X(x_request_id, "X-Request-Id")                                           \
  X(x_request_priority, "X-Request-Priority")                               \
  X(x_request_timeout, "X-Request-Timeout")                                 \
  X(grpc_timeout, "Grpc-Timeout")                                           \
  X(x_envoy_expected_rq_timeout_ms, "X-Envoy-Expected-Rq-Timeout-Ms")       \
  X(retry_after, "Retry-After")                                             \
  X(x_should_retry, "X-Should-Retry")                                       \
  X(grpc_retry_pushback_ms, "Grpc-Retry-Pushback-Ms")                       \
  X(x_outrigger_reason, "X-Outrigger-Reason")                               \
  X(x_outrigger_timeline, "X-Outrigger-Timeline")                           \
  X(idempotency_key, "Idempotency-Key")                                     \
  X(authorization, "Authorization")                                         \
  X(www_authenticate, "WWW-Authenticate")                                   \
  X(cookie, "Cookie")                                                       \
  X(set_cookie, "Set-Cookie")                                               \
  X(content_type, "Content-Type")                                           \
  X(content_encoding, "Content-Encoding")                                   \
  X(content_range, "Content-Range")                                         \
  X(range, "Range")                                                         \
  X(cache_control, "Cache-Control")                                         \
  X(traceparent, "Traceparent")
// clang-format on

namespace outrigger::http {

enum class FieldId : std::uint8_t {
  other,
#define OUTRIGGER_FIELD(id, name) id,
  OUTRIGGER_FIELDS(OUTRIGGER_FIELD)
#undef OUTRIGGER_FIELD
      x_forwarded,  // any other X-Forwarded-*
  x_outrigger,      // any other X-Outrigger-*
  count,
};

/// A set of field names; one word.
class FieldSet {
 public:
  constexpr FieldSet() noexcept = default;
  template <class... Ids>
  constexpr explicit FieldSet(FieldId first, Ids... rest) noexcept : bits_{(bit(first) | ... | bit(rest))} {}

  constexpr void insert(FieldId id) noexcept { bits_ |= bit(id); }
  constexpr bool has(FieldId id) const noexcept { return (bits_ & bit(id)) != 0; }
  constexpr bool has_any(FieldSet of) const noexcept { return (bits_ & of.bits_) != 0; }
  constexpr FieldSet with(FieldSet more) const noexcept {
    FieldSet both;
    both.bits_ = bits_ | more.bits_;
    return both;
  }

 private:
  static constexpr std::uint64_t bit(FieldId id) noexcept { return std::uint64_t{1} << static_cast<unsigned>(id); }
  std::uint64_t bits_ = 0;
};
static_assert(static_cast<unsigned>(FieldId::count) <= 64);

/// Which known field this name is, ignoring ASCII case; `other` for the rest. `name` is a token.
FieldId identify_field(std::string_view name) noexcept;

/// The usual spelling of a known field; empty for `other` and for the two families.
std::string_view field_name(FieldId id) noexcept;

}  // namespace outrigger::http
