// proxy/http/text_writer.hpp
//
// Appends many small texts to a Buffer: the end stays in a register and the capacity is asked for once, so that a
// constant costs a few stores. What is written belongs to the buffer when the writer goes.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "proxy/base/buffer.hpp"

namespace outrigger::http {

class TextWriter {
 public:
  /// `expected` bytes fit without asking again.
  TextWriter(Buffer& out, std::size_t expected) : out_{out} { reserve(expected); }
  TextWriter(const TextWriter&) = delete;
  TextWriter& operator=(const TextWriter&) = delete;
  ~TextWriter() { out_.commit(written()); }

  // Inlined whatever the compiler thinks: the size of a constant is then known where it is copied.
  [[gnu::always_inline]] void text(std::string_view text) {
    if (text.empty()) return;
    if (static_cast<std::size_t>(limit_ - at_) < text.size()) grow(text.size());
    std::memcpy(at_, text.data(), text.size());
    at_ += text.size();
  }
  void number(std::uint64_t value) {
    char digits[20];
    text({digits, static_cast<std::size_t>(std::to_chars(digits, digits + sizeof digits, value).ptr - digits)});
  }
  void end_line() { text("\r\n"); }
  /// `opening` is a name with its colon and blank, and perhaps the beginning of the value.
  void line(std::string_view opening, std::string_view value) {
    text(opening);
    text(value);
    end_line();
  }
  void line(std::string_view opening, std::uint64_t value) {
    text(opening);
    number(value);
    end_line();
  }
  void field(std::string_view name, std::string_view value) {
    text(name);
    line(": ", value);
  }

 private:
  static constexpr std::size_t kSpare = 256;
  std::size_t written() const noexcept { return static_cast<std::size_t>(at_ - start_); }
  [[gnu::noinline]] void grow(std::size_t count) {
    out_.commit(written());
    reserve(count + kSpare);
  }
  void reserve(std::size_t count) {
    start_ = at_ = out_.prepare(count);
    limit_ = start_ + count;
  }

  Buffer& out_;
  char* start_ = nullptr;
  char* at_ = nullptr;
  char* limit_ = nullptr;
};

}  // namespace outrigger::http
