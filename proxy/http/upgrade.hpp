// proxy/http/upgrade.hpp
//
// What a request asks to switch to, and whether an answer switches to that. One protocol at most is asked for upstream:
// one that the route allows, so that a client cannot talk the upstream into another protocol past the policies (`h2c`),
// and so that an answer can be held to it. A request with a body asks for nothing: the two would share the bytes behind
// the head.
//
// Source: RFC 9110 7.8.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "proxy/http/h1_head.hpp"

namespace outrigger::http {

/// The first protocol that the request asks for and the route allows, in the words of the latter; empty: none is.
std::string_view upgrade_of(const RequestHead& head, std::span<const std::string> allowed) noexcept;

/// Whether a 101 switches to that protocol and to nothing else.
bool switches_to(const ResponseHead& head, std::string_view protocol) noexcept;

}  // namespace outrigger::http
