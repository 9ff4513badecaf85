// proxy/policy/field_copy.hpp
//
// Header fields that outlive the bytes they were read from: names, values and the views on them in one block of memory.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <string_view>

#include "proxy/base/header_view.hpp"

namespace outrigger::policy {

class FieldCopy {
 public:
  FieldCopy() noexcept = default;
  explicit FieldCopy(HeaderView fields)
      : count_(fields.size()), bytes_(size_of(fields)), block_(new std::byte[bytes_]) {
    auto* view = reinterpret_cast<Field*>(block_.get());
    char* text = reinterpret_cast<char*>(view + count_);
    for (const Field& field : fields) {
      const std::string_view name = put(text, field.name);
      ::new (view++) Field{name, put(text, field.value)};
    }
  }

  HeaderView view() const noexcept {
    if (count_ == 0) return {};
    return {std::launder(reinterpret_cast<const Field*>(block_.get())), count_};
  }
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  static std::size_t size_of(HeaderView fields) noexcept {
    std::size_t bytes = fields.size() * sizeof(Field);
    for (const Field& field : fields) bytes += field.name.size() + field.value.size();
    return bytes;
  }
  static std::string_view put(char*& at, std::string_view text) noexcept {
    char* const begin = at;
    if (!text.empty()) std::memcpy(begin, text.data(), text.size());
    at += text.size();
    return {begin, text.size()};
  }

  std::size_t count_ = 0;
  std::size_t bytes_ = 0;
  std::unique_ptr<std::byte[]> block_;
};

}  // namespace outrigger::policy
