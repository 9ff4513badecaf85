// proxy/base/header_view.hpp
//
// Header fields as decisions may read them: views into somebody else's bytes, in order of arrival, repeated fields
// separate. Valid only as long as those bytes are, which for a fact of the exchange means during `on`.
#pragma once

#include <optional>
#include <span>
#include <string_view>

namespace outrigger {

struct Field {
  std::string_view name;
  std::string_view value;
};

using HeaderView = std::span<const Field>;

constexpr char ascii_lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

/// Compares field names and other tokens that ignore ASCII case.
constexpr bool iequals(std::string_view a, std::string_view b) noexcept {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (ascii_lower(a[i]) != ascii_lower(b[i])) return false;
  }
  return true;
}

/// The first field of that name; nullopt where there is none.
constexpr std::optional<std::string_view> find_field(HeaderView fields, std::string_view name) noexcept {
  for (const Field& field : fields) {
    if (iequals(field.name, name)) return field.value;
  }
  return std::nullopt;
}

}  // namespace outrigger
