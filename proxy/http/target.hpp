// proxy/http/target.hpp
//
// Gives a request target its one form, so that the route that is matched and the upstream that is asked cannot read it
// differently: unreserved characters lose their percent-encoding and dot segments are resolved, in that order. What
// could be read in two ways is kept as it came (`//`, `%2F`, `%5C`) or refused (raw backslash, NUL, malformed encoding,
// climbing above the root). A path that is already in that form, as nearly all are, is returned as a view of the input.
//
// The rules, each with a test of its own name in tests/unit/http/target_test.cpp. What is refused is a bad_request.
//
//   rule                                                            RFC                where
//   origin-form, http(s) absolute-form; `*` for OPTIONS  refused    9112 3.2           normalise_target
//   OPTIONS of an absolute target without path is `*`               9112 3.2.4         normalise_target
//   an authority is a host and perhaps a port            refused    9110 7.2, 3986 3.2 is_valid_authority
//     an address in brackets, or a name and its escapes  refused    3986 3.2.2         is_valid_authority
//     no user information                                refused    9110 4.2.4         is_valid_authority
//   path and query: visible ASCII, no fragment           refused    9112 3.2           PathWriter, skip_target
//   a percent sign has two hexadecimal digits behind it  refused    3986 2.1           escaped
//   no escaped NUL                                       refused    3986 7.3           escaped
//   no raw backslash in a path                           refused    3986 3.3           PathWriter
//   unreserved characters stand unescaped               rewritten   3986 6.2.2.2       escaped
//   other escapes stay as they came                                 3986 2.2           escaped
//   escaped slashes, where that is configured            refused    3986 2.2           escaped
//   dot segments, escaped ones too, are resolved        rewritten   3986 5.2.4         end_segment, end_path
//   dot segments above the root                          refused    3986 5.2.4         end_segment
//   empty segments stay                                             3986 3.3           end_segment
//   a query stays as it came                                        3986 3.4           normalise_target
//
// Cost: one table look-up per byte.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "proxy/base/buffer.hpp"
#include "proxy/http/methods.hpp"

namespace outrigger::http {

enum class EscapedSlashes : std::uint8_t { keep, reject };

enum class TargetForm : std::uint8_t { origin, absolute, asterisk };

struct Target {
  TargetForm form = TargetForm::origin;
  std::string_view path;       // begins with '/', or is "*"
  std::string_view query;      // with its '?'; empty where there is none
  std::string_view authority;  // of the absolute form: takes the place of Host
};

/// Splits and normalises a request target. The views are of `raw` or, where the path had to change, of `scratch`, which
/// is cleared and then holds the path alone.
/// Errors: nullopt for a target that is to be refused as bad_request.
std::optional<Target> normalise_target(std::string_view raw, Method method, EscapedSlashes mode, Buffer& scratch);

/// Whether this is an absolute-form target that a proxy of http may be given: http or https, a valid authority (user
/// information is none), then a path, a query or nothing.
bool is_absolute_target(std::string_view target) noexcept;

/// Whether this may be the value of Host or the authority of an http target: a name or address, and perhaps a port.
bool is_valid_authority(std::string_view authority) noexcept;

/// The authority without its port; brackets of an IPv6 address stay.
std::string_view without_port(std::string_view authority) noexcept;

}  // namespace outrigger::http
