// proxy/http/h1_head.hpp
//
// The framing gate: HTTP/1 heads are taken exactly or refused, and one pass over the received bytes yields views, the
// one meaning of the framing fields, and what the connection may do next. Two readers of one byte stream that disagree
// about where a message ends are how requests are smuggled, so nothing is repaired here: what RFC 9112 lets a recipient
// mend (bare LF, folded lines, repeated lengths, blanks before a colon) is refused. A general parser with callbacks was
// measured at almost four times the cost and takes several of those; it serves as the oracle of a differential test.
//
// A head usually arrives whole and is parsed at once. Where it does not, only line ends and control bytes are checked
// as bytes come (so that hopeless input is refused now and not at a timeout), and the parse is run again when the first
// line and when the end is there: a few times the work, whatever the pieces. What must be known in between is an
// offset, kept with the connection (HeadScan), so that one parser with its field array serves a whole worker.
//
// The rules, each with a test of its own name in tests/unit/http/h1_head_test.cpp. They are checked in h1_head.cpp in
// the function named; "400" stands for bad_request in requests, and every refusal of a response is protocol_error
// (its size: response_head_too_large).
//
//   rule                                                            RFC                where
//   lines end in CRLF; bare LF or bare CR                     400   9112 2.2           scan, lines.hpp
//   up to two empty lines before a request line, no more      400   9112 2.2           first_line_after_empty_ones
//   method is a token, one blank, target, one blank, version  400   9112 3             request_line
//   target: visible ASCII, no fragment                        400   9112 3.2           request_line
//   origin-form, http(s) absolute-form; `*` for OPTIONS only  400   9112 3.2           target_form_allowed
//   CONNECT                                        method_refused   9110 9.3.6         request_line
//   version other than 1.0 and 1.1            unsupported_version   9112 2.3           request_line
//   status line: version 1.0 or 1.1, 100..599                       9112 4             status_line
//   name is a token directly followed by its colon            400   9112 5.1           lines.hpp
//   no line begins with a blank (obs-fold, leading blank)     400   9112 5.2, 2.2      lines.hpp
//   values hold no control byte but tab                       400   9110 5.5           lines.hpp
//   Content-Length once, digits only, below 2^63              400   9112 6.3           content_length
//     a response may repeat the same length                         9112 6.3           content_length
//   Content-Length and Transfer-Encoding together             400   9112 6.1           settle_framing
//   Transfer-Encoding in HTTP/1.0                             400   9112 6.1           settle_framing
//   last coding is chunked, chunked once, none is empty       400   9112 6.1, 6.3      settle_framing
//   any other coding                  unsupported_transfer_coding   9112 6.1           settle_framing
//   Host: once and valid; missing only in HTTP/1.0            400   9112 3.2, 9110 7.2 host, finish_request
//   Expect other than 100-continue             expectation_failed   9110 10.1.1        expect
//   head beyond max_head: its first line alone       uri_too_long   9110 15.5.15       refuse_size
//     anything else, or beyond max_fields          head_too_large   6585 5             refuse_size
//   options of Connection beyond max_fields        head_too_large   9110 7.6.1         connection
//   HEAD, 1xx, 204, 304 have no body                                9112 6.3           finish_response
//
// Threads: one owner. Cost: about 1 ns per 3 bytes, no allocation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "proxy/base/reason.hpp"
#include "proxy/http/field_list.hpp"
#include "proxy/http/methods.hpp"

namespace outrigger::http {

struct HeadLimits {
  std::size_t max_head = 32 * 1024;  // bytes, first line and empty line included
  std::size_t max_fields = 100;      // at most kMaxFields
};

enum class Framing : std::uint8_t { none, content_length, chunked, until_close };

/// How long a body is.
struct BodyLength {
  Framing framing = Framing::none;
  std::uint64_t bytes = 0;  // with content_length
};

struct RequestHead {
  std::string_view method_name;
  Method method = Method::other;
  std::string_view target;  // as received: proxy/http/target.hpp gives it its one form
  std::uint8_t minor = 1;   // of HTTP/1.<minor>
  BodyLength body;
  bool keep_alive = false;        // the client is willing to use the connection again
  bool expects_continue = false;  // a 100 is due before the body comes
  bool upgrade = false;           // asked for with both Upgrade and Connection
  bool names_fields = false;      // Connection names fields beyond those that are removed anyway
  std::string_view host;          // as received; empty where HTTP/1.0 sent none
  const FieldList* fields = nullptr;
};

struct ResponseHead {
  std::uint16_t status = 0;
  std::uint8_t minor = 1;
  std::string_view reason_phrase;
  BodyLength body;
  bool keep_alive = false;  // once the body is over
  bool names_fields = false;
  const FieldList* fields = nullptr;
};

/// What a connection remembers of a head that is not whole yet. Reset it (`= {}`) for the next head.
struct HeadScan {
  std::size_t scanned = 0;
  bool first_line_seen = false;
};

struct HeadVerdict {
  enum class State : std::uint8_t { need_more, complete, refused };
  State state = State::need_more;
  Reason reason = Reason::success;  // with refused
  std::size_t size = 0;             // with complete: bytes of the head, the empty line included

  bool complete() const noexcept { return state == State::complete; }
  bool refused() const noexcept { return state == State::refused; }
};

class HeadParser {
 public:
  /// Parses a request head from its first byte on. `bytes` is all that has been received of it and may hold more than
  /// the head; it may have moved since the last call for the same `scan`. With `complete`, `request()` is valid until
  /// the next call or until the bytes move.
  HeadVerdict parse_request(std::string_view bytes, const HeadLimits& limits, HeadScan& scan) noexcept;

  /// Parses a response head in the same way; the framing depends on whether it answers a HEAD.
  HeadVerdict parse_response(std::string_view bytes, const HeadLimits& limits, bool answers_head,
                             HeadScan& scan) noexcept;

  const RequestHead& request() const noexcept { return request_; }
  const ResponseHead& response() const noexcept { return response_; }

 private:
  FieldList fields_;
  RequestHead request_;
  ResponseHead response_;
};

}  // namespace outrigger::http
