// proxy/http/skip.hpp
//
// How far a run of bytes of one class goes: the inner loops of the parser. Sixteen bytes are judged at once where SSE2
// is there, which on x86-64 it always is; the last few, and every byte elsewhere, are looked up in the table. The fast
// half may stop early (it knows fewer characters than the table), never late, so the table alone decides.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "proxy/http/chars.hpp"

namespace outrigger::http {
namespace detail {

#ifdef __SSE2__
/// The first byte for which `stops` gives 0xff, looking only where sixteen bytes are left.
template <class Stops>
const char* skip_blocks(const char* at, const char* end, Stops stops) noexcept {
  for (; end - at >= 16; at += 16) {
    const int found = _mm_movemask_epi8(stops(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at))));
    if (found != 0) return at + __builtin_ctz(static_cast<unsigned>(found));
  }
  return at;
}
inline __m128i is_byte(__m128i bytes, char c) noexcept { return _mm_cmpeq_epi8(bytes, _mm_set1_epi8(c)); }
/// Blanks, control bytes, and all beyond ASCII, which are negative; not DEL.
inline __m128i is_not_visible(__m128i bytes) noexcept { return _mm_cmpgt_epi8(_mm_set1_epi8('!'), bytes); }
#endif

template <CharClass wanted>
const char* skip_bytes(const char* at, const char* end) noexcept {
  while (at != end && is(wanted, *at)) ++at;
  return at;
}

}  // namespace detail

/// Skips bytes of a token; by far most are letters and '-'.
inline const char* skip_token(const char* at, const char* end) noexcept {
#ifdef __SSE2__
  at = detail::skip_blocks(at, end, [](__m128i bytes) {
    // Moves 'a'..'z' to the bottom of the signed range, where one comparison separates them from all others.
    const __m128i lower = _mm_or_si128(bytes, _mm_set1_epi8(0x20));
    const __m128i moved = _mm_add_epi8(lower, _mm_set1_epi8(static_cast<char>(0x80 - 'a')));
    const __m128i not_letter = _mm_cmpgt_epi8(moved, _mm_set1_epi8(static_cast<char>(0x80 + 25)));
    return _mm_andnot_si128(detail::is_byte(bytes, '-'), not_letter);
  });
#endif
  return detail::skip_bytes<kToken>(at, end);
}

/// Skips bytes of a request target.
inline const char* skip_target(const char* at, const char* end) noexcept {
#ifdef __SSE2__
  at = detail::skip_blocks(at, end, [](__m128i bytes) {
    const __m128i other = _mm_or_si128(detail::is_byte(bytes, 0x7f), detail::is_byte(bytes, '#'));
    return _mm_or_si128(detail::is_not_visible(bytes), other);
  });
#endif
  return detail::skip_bytes<kTarget>(at, end);
}

/// Skips bytes of a host name or IPv4 address.
inline const char* skip_host_name(const char* at, const char* end) noexcept {
  return detail::skip_bytes<kHostName>(at, end);
}

/// Skips bytes of a path that mean themselves wherever they stand.
inline const char* skip_plain_path(const char* at, const char* end) noexcept {
#ifdef __SSE2__
  at = detail::skip_blocks(at, end, [](__m128i bytes) {
    const __m128i escape = _mm_or_si128(detail::is_byte(bytes, '%'), detail::is_byte(bytes, '\\'));
    const __m128i mark = _mm_or_si128(detail::is_byte(bytes, '?'), detail::is_byte(bytes, '#'));
    const __m128i other = _mm_or_si128(detail::is_byte(bytes, '.'), detail::is_byte(bytes, 0x7f));
    return _mm_or_si128(_mm_or_si128(detail::is_not_visible(bytes), other), _mm_or_si128(escape, mark));
  });
#endif
  return detail::skip_bytes<kPlainPath>(at, end);
}

/// Marks the control bytes among 64, tab and DEL included, lowest bit first.
inline std::uint64_t control_bits(const char* bytes) noexcept {
  std::uint64_t controls = 0;
#ifdef __SSE2__
  for (unsigned at = 0; at < 64; at += 16) {
    const __m128i block = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + at));
    const __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(block, _mm_set1_epi8(0x1f)), block);
    const int found = _mm_movemask_epi8(_mm_or_si128(low, detail::is_byte(block, 0x7f)));
    controls |= static_cast<std::uint64_t>(static_cast<unsigned>(found)) << at;
  }
#else
  for (unsigned at = 0; at < 64; ++at) {
    if (!is(kValue, bytes[at]) || bytes[at] == '\t') controls |= std::uint64_t{1} << at;
  }
#endif
  return controls;
}

}  // namespace outrigger::http
