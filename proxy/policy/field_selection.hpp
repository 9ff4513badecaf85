// proxy/policy/field_selection.hpp
//
// Which of several answers to one target a request would get: the fields that the answers depend on, as one text. For
// each name its values in order, joined as a list; a field that is missing differs from an empty one. The text is never
// built to be compared or hashed: it is fed to whoever asks, piece by piece.
//
// Source: RFC 9111 4.1.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "proxy/base/header_view.hpp"

namespace outrigger::policy {

/// Field names, each once, in small letters.
class FieldNames {
 public:
  bool empty() const noexcept { return text_.empty(); }
  std::size_t bytes() const noexcept { return text_.capacity(); }
  bool has(std::string_view name) const noexcept;
  /// Adds a name unless it is there; whether it was not.
  bool add(std::string_view name);

  template <class Take>
  void each(Take take) const {
    for (std::string_view rest = text_; !rest.empty();) {
      const std::size_t end = rest.find('\n');
      take(rest.substr(0, end));
      rest.remove_prefix(end + 1);
    }
  }

  friend bool operator==(const FieldNames&, const FieldNames&) = default;

 private:
  std::string text_;  // each followed by a line end
};

inline bool FieldNames::has(std::string_view name) const noexcept {
  bool found = false;
  each([&](std::string_view each) { found = found || iequals(each, name); });
  return found;
}

inline bool FieldNames::add(std::string_view name) {
  if (has(name)) return false;
  for (char c : name) text_.push_back(ascii_lower(c));
  text_.push_back('\n');
  return true;
}

/// Feeds the text of these fields, as far as it depends on `names`, to `take` in pieces.
template <class Take>
void select_fields(const FieldNames& names, HeaderView fields, Take take) {
  names.each([&](std::string_view name) {
    std::string_view before = "=";
    for (const Field& field : fields) {
      if (!iequals(field.name, name)) continue;
      take(before);
      take(field.value);
      before = ", ";
    }
    take("\n");  // no value holds one
  });
}

/// Whether the text of these fields is that one.
inline bool selects(const FieldNames& names, HeaderView fields, std::string_view text) noexcept {
  bool same = true;
  select_fields(names, fields, [&](std::string_view piece) {
    same = same && text.starts_with(piece);
    if (same) text.remove_prefix(piece.size());
  });
  return same && text.empty();
}

/// Whether both have the same text.
inline bool same_selection(const FieldNames& names, HeaderView a, HeaderView b) {
  if (names.empty()) return true;
  std::string text;
  select_fields(names, a, [&](std::string_view piece) { text.append(piece); });
  return selects(names, b, text);
}

}  // namespace outrigger::policy
