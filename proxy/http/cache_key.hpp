// proxy/http/cache_key.hpp
//
// Which resource a request means, as one text: two requests with the same text are for the same thing, and an unsafe
// request invalidates what has its text. Scheme and authority are brought to one form, the target comes normalised
// (proxy/http/target.hpp). The fields that a response depends on are no part of it, because whoever changes a resource
// changes it for all of them.
//
// Source: RFC 9110 4.2.3 (equivalent URIs), RFC 9111 2 (cache key).
#pragma once

#include <string_view>

#include "proxy/base/buffer.hpp"

namespace outrigger::http {

struct CacheTarget {
  std::string_view scheme = "http";
  std::string_view authority;  // as the client meant it, whatever Host goes upstream
  std::string_view path;       // normalised
  std::string_view query;      // with its '?', or empty
};

/// Appends the text. No allocation once `out` is warm.
void write_cache_key(const CacheTarget& target, Buffer& out);

}  // namespace outrigger::http
