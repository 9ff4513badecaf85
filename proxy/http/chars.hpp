// proxy/http/chars.hpp
//
// Which byte may stand where in a message: one table of 256 entries, one bit per place, so that every scanner asks the
// same question with one load. Bytes are taken as unsigned; nothing depends on the locale or on the sign of char.
//
// Source: RFC 9110 5.6.2 (token), 5.5 (field value); RFC 9112 3.2 (target); RFC 3986 2.3 and 3.2.2 (unreserved, host).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace outrigger::http {

enum CharClass : std::uint8_t {
  kToken = 1,       // names, methods
  kValue = 2,       // field values, reason phrases: everything but control bytes, tab allowed
  kTarget = 4,      // request targets: visible ASCII without '#'
  kUnreserved = 8,  // never needs percent-encoding
  kHostName = 16,   // a registered name or IPv4 address, '%' aside
  kHexDigit = 32,
  kPlainPath = 64,  // a path byte that normalisation leaves alone wherever it stands
};

namespace detail {

constexpr bool is_one_of(char c, std::string_view set) noexcept { return set.find(c) != std::string_view::npos; }

constexpr std::uint8_t classes_of(unsigned byte) noexcept {
  const char c = static_cast<char>(byte);
  const bool digit = c >= '0' && c <= '9';
  const bool alpha = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  const bool visible = byte > 0x20 && byte < 0x7f;
  unsigned classes = 0;
  if (digit || alpha || (byte != 0 && is_one_of(c, "!#$%&'*+-.^_`|~"))) classes |= kToken;
  if (visible || byte == ' ' || byte == '\t' || byte >= 0x80) classes |= kValue;
  if (visible && c != '#') classes |= kTarget;
  if (digit || alpha || (byte != 0 && is_one_of(c, "-._~"))) classes |= kUnreserved;
  if (digit || alpha || (byte != 0 && is_one_of(c, "-._~!$&'()*+,;="))) classes |= kHostName;
  if (digit || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')) classes |= kHexDigit;
  if (visible && !is_one_of(c, "#%.?\\")) classes |= kPlainPath;
  return static_cast<std::uint8_t>(classes);
}

}  // namespace detail

inline constexpr std::array<std::uint8_t, 256> kChars = [] {
  std::array<std::uint8_t, 256> table{};
  for (unsigned byte = 0; byte < 256; ++byte) table[byte] = detail::classes_of(byte);
  return table;
}();

constexpr bool is(CharClass wanted, char c) noexcept { return (kChars[static_cast<unsigned char>(c)] & wanted) != 0; }

/// Whether every byte is of the class; true for an empty text.
constexpr bool all(CharClass wanted, std::string_view text) noexcept {
  for (char c : text) {
    if (!is(wanted, c)) return false;
  }
  return true;
}

constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
constexpr bool is_blank(char c) noexcept { return c == ' ' || c == '\t'; }

/// Whether `text` spells `lower`, ignoring case. `lower` holds small letters, digits and '-' only, and `text` no
/// control bytes, for then setting one bit lowers its letters and leads no other byte to one of those.
constexpr bool spells(std::string_view text, std::string_view lower) noexcept {
  if (text.size() != lower.size()) return false;
  if (text == lower) return true;
  unsigned difference = 0;
  for (std::size_t i = 0; i < lower.size(); ++i) {
    difference |= (static_cast<unsigned char>(text[i]) | 0x20u) ^ static_cast<unsigned char>(lower[i]);
  }
  return difference == 0;
}

/// The value of one hexadecimal digit; -1 for anything else.
constexpr int hex_value(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// The text without blanks (space, tab) at either end.
constexpr std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

/// Takes the next element off a comma-separated list, trimmed; elements may be empty.
constexpr std::string_view next_element(std::string_view& list) noexcept {
  const std::size_t comma = list.find(',');
  const std::string_view element = trimmed(list.substr(0, comma));
  list = comma == std::string_view::npos ? std::string_view{} : list.substr(comma + 1);
  return element;
}

}  // namespace outrigger::http
