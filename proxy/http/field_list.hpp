// proxy/http/field_list.hpp
//
// The fields of one parsed head: names and values as views into the received bytes, and beside them what each name is.
// Two parallel arrays instead of one of larger elements, so that the first is a HeaderView as it stands. Owned by the
// parser; valid until it parses again or the bytes move.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

#include "proxy/base/header_view.hpp"
#include "proxy/http/field_id.hpp"

namespace outrigger::http {

inline constexpr std::size_t kMaxFields = 256;

class FieldList {
 public:
  std::size_t size() const noexcept { return size_; }
  const Field& operator[](std::size_t index) const noexcept { return fields_[index]; }
  FieldId id(std::size_t index) const noexcept { return ids_[index]; }
  HeaderView view() const noexcept { return {fields_.data(), size_}; }

  bool has(FieldId id) const noexcept { return present_.has(id); }
  bool has_any(FieldSet of) const noexcept { return present_.has_any(of); }

  /// The value of the first field of that kind; nullopt where there is none.
  std::optional<std::string_view> find(FieldId id) const noexcept {
    if (!has(id)) return std::nullopt;
    for (std::size_t i = 0; i < size_; ++i) {
      if (ids_[i] == id) return fields_[i].value;
    }
    return std::nullopt;
  }

  void clear() noexcept {
    size_ = 0;
    present_ = FieldSet{};
  }
  /// Adds a field; false when kMaxFields are held.
  bool push(const Field& field, FieldId id) noexcept {
    if (size_ == kMaxFields) return false;
    fields_[size_] = field;
    ids_[size_] = id;
    ++size_;
    present_.insert(id);
    return true;
  }

 private:
  std::array<Field, kMaxFields> fields_;
  std::array<FieldId, kMaxFields> ids_;
  std::size_t size_ = 0;
  FieldSet present_;
};

}  // namespace outrigger::http
