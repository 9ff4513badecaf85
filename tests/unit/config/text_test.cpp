#include "proxy/config/text.hpp"

#include <doctest/doctest.h>

namespace outrigger::config {
namespace {

TEST_SUITE("config") {
  TEST_CASE("a text is cut between characters, and what is short stays whole") {
    CHECK(cut("abc", 3) == "abc");
    CHECK(cut("abcd", 3) == "abc");
    CHECK(cut("ab\u00e9", 3) == "ab");
    CHECK(cut("ab\u00e9", 4) == "ab\u00e9");
    CHECK(cut("a\U0001f600b", 4) == "a");
    CHECK(cut("a\U0001f600b", 5) == "a\U0001f600");
    CHECK(cut("\x80\x80\x80", 2).empty());
  }

  TEST_CASE("what is not UTF-8 is told from what is") {
    CHECK(is_utf8(""));
    CHECK(is_utf8("a\u00e9\u20ac\U0001f600"));
    for (const char* const bad : {"\xff", "a\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80"}) {
      CHECK_FALSE(is_utf8(bad));
    }
  }

  TEST_CASE("what would begin a line, steer a terminal or turn the text around is shown as an escape") {
    CHECK(one_line("a \\ \"b\" \u00e9 \U0001f600") == "a \\ \"b\" \u00e9 \U0001f600");
    CHECK(one_line("a\nb\r\tc") == "a\\nb\\r\\tc");
    CHECK(one_line("\x1b[31m\x7f") == "\\x1b[31m\\x7f");
    CHECK(one_line(std::string_view("\0", 1)) == "\\x00");
    CHECK(one_line("\u0085\u009b\u00a0") == "\\u0085\\u009b\u00a0");
    CHECK(one_line("\u2028\u202e\u2066\u2070") == "\\u2028\\u202e\\u2066\u2070");
    CHECK(one_line("a\xff\xc3z") == "a\\xff\\xc3z");
  }
}

}  // namespace
}  // namespace outrigger::config
