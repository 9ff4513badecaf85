// proxy/http/methods.hpp
//
// What a method promises about doing it twice. Unknown methods promise nothing.
//
// Source: RFC 9110 9.2.1 (safe), 9.2.2 (idempotent); names are case-sensitive (9.1).
#pragma once

#include <cstdint>
#include <string_view>

namespace outrigger::http {

enum class Method : std::uint8_t { get, head, options, trace, put, delete_, post, patch, connect, other };

/// The method of that exact spelling; `other` for any other.
constexpr Method parse_method(std::string_view name) noexcept {
  switch (name.size()) {
    case 3: return name == "GET" ? Method::get : name == "PUT" ? Method::put : Method::other;
    case 4: return name == "POST" ? Method::post : name == "HEAD" ? Method::head : Method::other;
    case 5: return name == "PATCH" ? Method::patch : name == "TRACE" ? Method::trace : Method::other;
    case 6: return name == "DELETE" ? Method::delete_ : Method::other;
    case 7: return name == "OPTIONS" ? Method::options : name == "CONNECT" ? Method::connect : Method::other;
    default: return Method::other;
  }
}

/// Whether the method only reads.
constexpr bool is_safe(Method method) noexcept { return method <= Method::trace; }

/// Whether doing it several times is meant to have the effect of doing it once.
constexpr bool is_idempotent(Method method) noexcept { return method <= Method::delete_; }

}  // namespace outrigger::http
