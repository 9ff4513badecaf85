// proxy/http/cache_control.hpp
//
// What the fields of a message say about caching, as pure functions of the fields and the wall time. This cache is
// shared by all clients and never asks an upstream whether what it holds is still good; from that follows how the
// directives are taken:
//
//   no-store, private, no-cache (with or without field names), Vary: *,
//   Set-Cookie, 1xx, 206, 304                            not stored: there is no use that would be allowed
//   s-maxage, else max-age, else Expires - Date          the lifetime
//   s-maxage, must-revalidate, proxy-revalidate          stored, and never used once the lifetime is over
//   Age, Date, the time the response took                how old it was on arrival
//
// What cannot be read counts as the strictest: a lifetime as over, a max-age of a request as 0, and a quote that does
// not end as no quote, so that no directive hides in it. Of a lifetime given twice the first counts, of a demand made
// twice the stricter. Numbers beyond 2^31 seconds are that.
//
// A request takes no part in caching at all when it has Authorization, a Cookie (unless the cache is keyed by it), a
// Range, a body, an Upgrade, or a condition: conditions speak of what the client holds, and only the upstream knows
// what it would answer.
//
// Source: RFC 9111 3, 4.2, 5.1, 5.2, 5.3; RFC 9110 12.5.5 (Vary).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "proxy/base/bounded_vec.hpp"
#include "proxy/base/cache_terms.hpp"
#include "proxy/base/header_view.hpp"
#include "proxy/http/field_list.hpp"
#include "proxy/http/http_date.hpp"

namespace outrigger::http {

/// What a request asks of a cache that is keyed by the fields `vary`; nullopt: it takes no part.
std::optional<CacheDemand> read_cache_demand(HeaderView fields, std::span<const std::string> vary) noexcept;

inline constexpr std::size_t kMaxVaryNames = 16;

/// A response as a cache would keep it. The views are those of the fields it was read from, and its own: not copied.
struct StorableResponse {
  StorableResponse() = default;
  StorableResponse(const StorableResponse&) = delete;
  StorableResponse& operator=(const StorableResponse&) = delete;

  CacheTerms terms;
  std::optional<std::uint64_t> length;                  // of the body, where the head says it
  BoundedVec<std::string_view, kMaxVaryNames> vary;     // the names in Vary
  BoundedVec<Field, kMaxFields + 1> fields;             // without those of one connection, and always with a Date
  std::array<char, kHttpDateLength> date_of_arrival{};  // where the response has none
};

/// Reads a final response that arrived at `wall_seconds`, `took` after its request was sent. Nothing but `terms` is
/// filled in when it may not be stored.
void read_storable(std::uint16_t status, HeaderView fields, std::int64_t wall_seconds, Nanos took,
                   StorableResponse& out) noexcept;

}  // namespace outrigger::http
