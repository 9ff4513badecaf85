// proxy/http/lines.hpp
//
// The lines of a head or trailer section, strictly: CRLF ends a line, tab is a blank, and any other control byte, CR
// and LF among them, refuses the text. Control bytes are found 64 at a time into one word, so that where the next line
// begins is known without having looked at this one: the processor works on several fields at once, which one scan
// after the other would not let it.
//
// Source: RFC 9112 2.2, 5.1, 5.2; RFC 9110 5.5.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "proxy/base/header_view.hpp"
#include "proxy/http/chars.hpp"
#include "proxy/http/skip.hpp"

namespace outrigger::http {

enum class LineState : std::uint8_t { whole, cut_off, bad };

class Lines {
 public:
  explicit Lines(std::string_view text) noexcept
      : start_{text.data()}, block_{text.data()}, unread_{text.data()}, end_{text.data() + text.size()} {}

  /// Moves to the next line. With `whole` it is `line()`, without its CRLF; `cut_off` means that the text ends first.
  /// Inlined so that a loop over lines keeps all of this in registers.
  [[gnu::always_inline]] LineState next() noexcept {
    line_start_ = start_;
    for (;;) {
      const char* const control = next_control();
      if (control == nullptr) return LineState::cut_off;
      if (*control == '\t') continue;
      if (*control != '\r') return LineState::bad;
      if (control + 1 == end_) return LineState::cut_off;
      if (control[1] != '\n') return LineState::bad;
      next_control();
      line_end_ = control;
      start_ = control + 2;
      return LineState::whole;
    }
  }

  std::string_view line() const noexcept { return {line_start_, static_cast<std::size_t>(line_end_ - line_start_)}; }
  /// Where the line after this one begins.
  const char* rest() const noexcept { return start_; }
  const char* end() const noexcept { return end_; }
  /// The line that `next` found cut off, as far as it is there.
  std::string_view cut_off_line() const noexcept { return {line_start_, static_cast<std::size_t>(end_ - line_start_)}; }

  /// Splits the current line into name and value; false where it is not a field line.
  bool split(Field& field) const noexcept {
    // No byte of a token or blank can stand where the line ends, so both searches stop there.
    const char* const colon = skip_token(line_start_, end_);
    if (*colon != ':' || colon == line_start_) return false;
    const char* value = colon + 1;
    if (*value == ' ') ++value;
    while (is_blank(*value)) ++value;
    // A value of blanks alone is empty, and then begins where the line ends.
    const char* value_end = line_end_;
    while (is_blank(value_end[-1]) && value_end != value) --value_end;
    field.name = {line_start_, static_cast<std::size_t>(colon - line_start_)};
    field.value = {value, static_cast<std::size_t>(value_end - value)};
    return true;
  }

 private:
  [[gnu::always_inline]] const char* next_control() noexcept {
    while (controls_ == 0) {
      if (unread_ == end_) return nullptr;
      read_block();
    }
    const char* const found = block_ + __builtin_ctzll(controls_);
    controls_ &= controls_ - 1;
    return found;
  }

  void read_block() noexcept {
    block_ = unread_;
    if (end_ - block_ >= 64) {
      controls_ = control_bits(block_);
      unread_ = block_ + 64;
      return;
    }
    char padded[64];
    std::memset(padded, ' ', sizeof padded);
    std::memcpy(padded, block_, static_cast<std::size_t>(end_ - block_));
    controls_ = control_bits(padded);
    unread_ = end_;
  }

  const char* start_;
  const char* line_start_ = nullptr;
  const char* line_end_ = nullptr;
  const char* block_;   // what the bits of controls_ count from
  const char* unread_;  // the first byte not yet looked at
  const char* const end_;
  std::uint64_t controls_ = 0;  // control bytes of the block that are still to come
};

}  // namespace outrigger::http
