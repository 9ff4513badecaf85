#include "proxy/http/skip.hpp"

#include <string>

#include <doctest/doctest.h>

#include "proxy/http/lines.hpp"

using namespace outrigger;
using namespace outrigger::http;

namespace {

using Skip = const char* (*)(const char*, const char*);

/// Puts every byte value at every place of a run of 40 and asks where the skip ends.
void check_against_table(Skip skip, CharClass wanted, char filler) {
  for (int byte = 0; byte < 256; ++byte) {
    for (std::size_t at = 0; at < 40; ++at) {
      std::string text(40, filler);
      text[at] = static_cast<char>(byte);
      const char* const expected = text.data() + (is(wanted, text[at]) ? text.size() : at);
      if (skip(text.data(), text.data() + text.size()) != expected) FAIL("byte " << byte << " at " << at);
    }
  }
}

}  // namespace

TEST_SUITE("http") {
  TEST_CASE("the fast half of each scanner agrees with the table of characters") {
    check_against_table(skip_token, kToken, 'a');
    check_against_table(skip_token, kToken, '7');
    check_against_table(skip_target, kTarget, '/');
    check_against_table(skip_plain_path, kPlainPath, 'x');
    check_against_table(skip_host_name, kHostName, 'h');
    CHECK(skip_token(nullptr, nullptr) == nullptr);
  }

  TEST_CASE("control bytes are marked wherever they stand in a block") {
    for (int byte = 0; byte < 256; ++byte) {
      for (unsigned at = 0; at < 64; ++at) {
        std::string text(64, 'a');
        text[at] = static_cast<char>(byte);
        const bool control = byte < 0x20 || byte == 0x7f;
        if (control_bits(text.data()) != (control ? std::uint64_t{1} << at : 0)) FAIL("byte " << byte << " at " << at);
      }
    }
  }

  TEST_CASE("lines are found across blocks, and what is no line is told apart") {
    for (std::size_t length = 0; length < 200; ++length) {
      CAPTURE(length);
      const std::string text = "a\r\n" + std::string(length, 'x') + "\r\n" + "rest";
      Lines lines{text};
      REQUIRE(lines.next() == LineState::whole);
      CHECK(lines.line() == "a");
      REQUIRE(lines.next() == LineState::whole);
      CHECK(lines.line().size() == length);
      CHECK(lines.next() == LineState::cut_off);
      CHECK(lines.cut_off_line() == "rest");
    }
    CHECK(Lines{""}.next() == LineState::cut_off);
    CHECK(Lines{"a\r"}.next() == LineState::cut_off);
    CHECK(Lines{"a\n"}.next() == LineState::bad);
    CHECK(Lines{"a\rb"}.next() == LineState::bad);
    CHECK(Lines{"\ta\tb\t\r\n"}.next() == LineState::whole);
  }

  TEST_CASE("options are compared without regard to case") {
    CHECK(spells("Keep-Alive", "keep-alive"));
    CHECK(spells("", ""));
    CHECK_FALSE(spells("keep_alive", "keep-alive"));
    CHECK_FALSE(spells("keep-alive ", "keep-alive"));
    for (int byte = 0x20; byte < 256; ++byte) {
      const std::string text = "clos" + std::string(1, static_cast<char>(byte));
      CHECK(spells(text, "close") == (byte == 'e' || byte == 'E'));
    }
  }
}
