// proxy/config/text.hpp
//
// Text that came from outside, made fit to be shown: what is quoted from a file must not end within a character, must
// not begin a line of its own, and must not tell a terminal what to do.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace outrigger::config {

/// Length of the UTF-8 sequence at the front of a text that is not empty; 0 where it is none.
std::size_t sequence_length(std::string_view text) noexcept;

bool is_utf8(std::string_view text) noexcept;

/// The first bytes of a text, at most so many, without a part of a character at the end.
std::string_view cut(std::string_view text, std::size_t most) noexcept;

/// The text as UTF-8 on one line: control characters, what moves or hides other text, and bytes that are not UTF-8 are
/// written as escapes.
std::string one_line(std::string_view text);

}  // namespace outrigger::config
