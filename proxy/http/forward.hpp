// proxy/http/forward.hpp
//
// What is passed on: heads are written anew from the parsed one, field by field, so that exactly one framing and none
// of the fields meant for this hop go further. Order, spelling and repetition of all other fields survive.
//
// A request head has two parts. The base is the same for every attempt and written once; the tail (attempt number,
// deadline, empty line) differs, so that a retry truncates the buffer to the base and appends another tail.
//
// Fields that lie side by side in the received head and are both passed on are copied as one run: with ten fields the
// copy is then two or three moves instead of thirty.
//
// Source: RFC 9110 7.6 (message forwarding), RFC 9112 6 and 9. Cost: no allocation once `out` is warm.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "proxy/base/buffer.hpp"
#include "proxy/base/time.hpp"
#include "proxy/http/deadline_header.hpp"
#include "proxy/http/h1_head.hpp"

namespace outrigger::http {

/// What a route changes in a head. Fields that frame or address a message (Host, Content-Length, Transfer-Encoding,
/// Connection) are not changed this way; the configuration refuses them.
struct HeaderEdits {
  std::span<const Field> set = {};  // replaces all fields of that name
  std::span<const Field> add = {};  // beside those of that name
  std::span<const std::string_view> remove = {};
};

struct RequestForward {
  std::string_view instance = {};            // name of this process in Via
  std::string_view path = {};                // normalised
  std::string_view query = {};               // with its '?', or empty
  std::string_view authority = {};           // of an absolute-form target, or empty: what the client meant as Host
  std::string_view host = {};                // sent instead of what the client meant; empty: as meant
  std::string_view client_ip = {};           // appended to X-Forwarded-For; empty: unknown, nothing is appended
  std::string_view client_certificate = {};  // for X-Forwarded-Client-Cert; empty: none was verified
  std::string_view scheme = "http";          // the client's, for X-Forwarded-Proto
  std::string_view request_id = {};          // the received one or a new one
  std::string_view priority = {};            // for X-Request-Priority; empty: none is sent
  std::string_view upgrade = {};             // the protocol that is asked for; empty: none is
  std::string_view idempotency_key = {};     // a field that Connection may not take away; empty: none
  bool trusted = false;                      // what came as Forwarded and X-Forwarded-* is believed and continued
  const HeaderEdits* edits = nullptr;
};

/// Appends the part of the request head that all attempts share. Where the client sent no Host and none is given, an
/// empty one goes out.
void write_request_head(const RequestHead& head, const RequestForward& how, Buffer& out);

/// The fields of a head that `write_request_head` has written, as views of it, in place of what is in `out`. No
/// allocation once `out` is warm.
void read_written_fields(std::string_view head, std::vector<Field>& out);

struct AttemptTail {
  std::uint32_t attempt = 1;  // 1 = first
  std::uint32_t hedge = 0;    // 0: not a hedge
  bool mirror = false;        // a copy whose answer nobody waits for
  DeadlineForms forward = {};
  Nanos time_left = kForever;  // for the forms in `forward`; kForever: there is no deadline and none is sent
};

/// Appends what differs between attempts, and the empty line.
void append_attempt_tail(const AttemptTail& tail, Buffer& out);
/// Whether it may write a field of that name: a cache, which is asked before any attempt, knows nothing of its value.
bool differs_by_attempt(std::string_view name) noexcept;

/// The scheme that `write_request_head` tells the upstream the client used; nullopt where a trusted client sent
/// several, of which the upstream may believe any.
std::optional<std::string_view> told_scheme(const FieldList& fields, bool trusted, std::string_view own) noexcept;

/// The n-th address of X-Forwarded-For from the right (1 = the last), which the n-th trusted proxy in front of us
/// wrote; nullopt where there are fewer.
std::optional<std::string_view> forwarded_for(const FieldList& fields, std::uint32_t n) noexcept;

/// Whether Via already names this instance twice.
bool is_loop(const FieldList& fields, std::string_view instance) noexcept;

/// Whether this TRACE or OPTIONS must be answered here instead of passed on (RFC 9110 7.6.2).
bool is_last_forward(const RequestHead& head) noexcept;

struct ResponseForward {
  std::string_view instance = {};
  std::string_view date = {};                       // for a response without one
  std::uint8_t client_minor = 1;                    // of the request
  bool client_keep_alive = true;                    // the client's connection stays open after this response
  bool should_not_retry = false;                    // says X-Should-Retry: false, whatever the upstream said
  std::span<const Field> extra = {};                // of our own, after all others
  std::span<const std::string_view> replaced = {};  // fields that `extra` takes the place of
  const HeaderEdits* edits = nullptr;
};

/// How the body of this response is delimited for a client of that HTTP/1 minor version; what follows a 101 goes on
/// until the connection ends.
Framing client_framing(const ResponseHead& head, std::uint8_t client_minor) noexcept;

/// Appends the whole head for the client. With until_close as client framing the connection is announced as closing,
/// whatever `client_keep_alive` says. An interim response (1xx) gets neither framing nor connection fields nor a Date;
/// a 101 names the protocol that it switches to.
void write_response_head(const ResponseHead& head, const ResponseForward& how, Buffer& out);

}  // namespace outrigger::http
