// proxy/http/rewrite.hpp
//
// The path that is sent where a route sends another than the one it matched. The result is in the one form of paths
// (target.hpp) without being looked at again: rules are in that form, and a prefix gives way at the end of a segment,
// so no new segment can arise where the two parts meet.
//
// Threads: any. Cost: no allocation once `scratch` is warm.
#pragma once

#include <cstdint>
#include <string_view>

#include "proxy/base/buffer.hpp"

namespace outrigger::http {

struct PathRewrite {
  enum class Kind : std::uint8_t { none, path, prefix };
  Kind kind = Kind::none;
  std::string_view matched = {};  // the prefix that gives way
  std::string_view by = {};       // what comes in its place, or the whole path; normalised
};

/// The path to send for a normalised one that the route has matched: a view of it, of the rule or of `scratch`, which
/// is cleared then. The `*` of OPTIONS is no path and stays.
std::string_view rewritten(const PathRewrite& rule, std::string_view path, Buffer& scratch);

}  // namespace outrigger::http
