#include "proxy/telemetry/json_writer.hpp"

#include <limits>
#include <string>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

using namespace outrigger;
using namespace outrigger::telemetry;
using namespace std::chrono_literals;

namespace {

std::string escaped(std::string_view text) {
  Buffer out;
  append_json_string(out, text);
  return std::string{out.view()};
}

std::string ms(Nanos duration) {
  Buffer out;
  append_ms(out, duration);
  return std::string{out.view()};
}

}  // namespace

TEST_SUITE("telemetry") {
  TEST_CASE("every single byte becomes a valid JSON string") {
    for (int byte = 0; byte < 256; ++byte) {
      CAPTURE(byte);
      const std::string text(1, static_cast<char>(byte));
      const auto parsed = nlohmann::json::parse(escaped("a" + text + "b"), nullptr, false);
      REQUIRE(parsed.is_string());
      CHECK(parsed == (byte < 0x80 ? "a" + text + "b" : "a\xef\xbf\xbd" + std::string{"b"}));
    }
  }

  TEST_CASE("valid UTF-8 survives, broken and overlong UTF-8 does not") {
    CHECK(escaped("\xc2\x80") == R"("\u0080")");
    CHECK(escaped("\xdf\xbf\xe0\xa0\x80") == R"("\u07ff\u0800")");
    CHECK(escaped("\xef\xbf\xbf\xf0\x90\x80\x80") == R"("\uffff\ud800\udc00")");
    CHECK(escaped("\xf4\x8f\xbf\xbf") == R"("\udbff\udfff")");
    CHECK(escaped("\xc0\x80") == R"("\ufffd\ufffd")");                      // overlong
    CHECK(escaped("\xe0\x9f\xbf") == R"("\ufffd\ufffd\ufffd")");            // overlong
    CHECK(escaped("\xed\xa0\x80") == R"("\ufffd\ufffd\ufffd")");            // a surrogate
    CHECK(escaped("\xf4\x90\x80\x80") == R"("\ufffd\ufffd\ufffd\ufffd")");  // beyond the last code point
    CHECK(escaped("\xe2\x82") == R"("\ufffd\ufffd")");                      // cut off
    CHECK(escaped("\xe2\x82z") == R"("\ufffd\ufffdz")");
  }

  TEST_CASE("milliseconds have three decimals, rounded, and never a sign") {
    CHECK(ms(0ns) == "0.000");
    CHECK(ms(499ns) == "0.000");
    CHECK(ms(500ns) == "0.001");
    CHECK(ms(1234567ns) == "1.235");
    CHECK(ms(2h) == "7200000.000");
    CHECK(ms(-1ns) == "0.000");
  }

  TEST_CASE("commas stand between values and nowhere else") {
    Buffer out;
    JsonWriter json(out);
    json.open('{');
    json.key("a").open('[').close(']');
    json.key("b").open('[');
    json.number(1);
    json.number(std::numeric_limits<std::int64_t>::min());
    json.open('{').close('}');
    json.close(']');
    json.key("c").null();
    json.close('}');
    CHECK(out.view() == R"({"a":[],"b":[1,-9223372036854775808,{}],"c":null})");
  }
}
