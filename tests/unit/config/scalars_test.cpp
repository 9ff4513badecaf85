#include "proxy/config/scalars.hpp"

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace outrigger::config {
namespace {

using namespace std::chrono_literals;

template <class T>
std::string hint_of(const Parsed<T>& parsed) {
  const auto* error = std::get_if<ScalarError>(&parsed);
  return error == nullptr ? "accepted" : error->hint;
}

TEST_SUITE("config") {
  TEST_CASE("a duration is a number and a unit") {
    const std::vector<std::pair<std::string, Nanos>> good = {
        {"0", 0ns},      {"250us", 250us},  {"10ms", 10ms},           {"1.5s", 1500ms},  {"2m", 120s},
        {"1h", 3600s},   {"0ms", 0ns},      {"0.001ms", 1us},         {"1.5ms", 1500us}, {"24h", 86400s},
        {"0.5h", 1800s}, {"00010ms", 10ms}, {"1000000h", 3600000000s}};
    for (const auto& [text, value] : good) {
      CAPTURE(text);
      REQUIRE(std::holds_alternative<Nanos>(parse_duration(text)));
      CHECK(std::get<Nanos>(parse_duration(text)) == value);
    }
  }

  TEST_CASE("a duration without unit, with two, with a sign or too fine is refused") {
    for (const std::string text : {"",
                                   "10",
                                   "ms",
                                   "-1s",
                                   "+1s",
                                   "1 s",
                                   "1s ",
                                   "1m30s",
                                   "1:30",
                                   "1e3s",
                                   ".5s",
                                   "1.s",
                                   "1.2.3s",
                                   "1S",
                                   "1sec",
                                   "1d",
                                   "1ns",
                                   "0.1us",
                                   "1.0000005s",
                                   "9999999999999999999h",
                                   "99999999999999999999999s",
                                   "inf",
                                   "nan",
                                   "0x10s",
                                   "1,5s"}) {
      CAPTURE(text);
      CHECK(std::holds_alternative<ScalarError>(parse_duration(text)));
    }
    CHECK(hint_of(parse_duration("10")) == "a duration needs a unit: 10ms, 10s");
    CHECK(hint_of(parse_duration("1:30")) == "a duration has one unit: 90s, 1.5m");
    CHECK(hint_of(parse_duration("-1s")) == "a duration is not negative");
  }

  TEST_CASE("a size is a number and a unit of 1024") {
    const std::vector<std::pair<std::string, std::uint64_t>> good = {
        {"0", 0},        {"512B", 512},      {"64KiB", 65536}, {"1MiB", 1048576}, {"2GiB", 2147483648},
        {"0.5KiB", 512}, {"1.5MiB", 1572864}};
    for (const auto& [text, value] : good) {
      CAPTURE(text);
      REQUIRE(std::holds_alternative<std::uint64_t>(parse_size(text)));
      CHECK(std::get<std::uint64_t>(parse_size(text)) == value);
    }
    for (const std::string text : {"", "64", "64k", "64KB", "64kib", "1.5B", "-1KiB", "1TiB", "99999999999GiB"}) {
      CAPTURE(text);
      CHECK(std::holds_alternative<ScalarError>(parse_size(text)));
    }
    CHECK(hint_of(parse_size("64k")) == "sizes are in powers of 1024: 64KiB");
    CHECK(hint_of(parse_size("1.5MB")) == "sizes are in powers of 1024: 1.5MiB");
    CHECK(hint_of(parse_size("64")) == "a size needs a unit: 64B, 64KiB, 64MiB");
  }

  TEST_CASE("a fraction is a number up to one or a percentage") {
    const std::vector<std::pair<std::string, double>> good = {
        {"0", 0}, {"1", 1}, {"0.2", 0.2}, {"20%", 0.2}, {"100%", 1}, {"0%", 0}, {"0.5%", 0.005}, {"99.9%", 0.999}};
    for (const auto& [text, value] : good) {
      CAPTURE(text);
      REQUIRE(std::holds_alternative<double>(parse_fraction(text)));
      CHECK(std::get<double>(parse_fraction(text)) == doctest::Approx(value));
    }
    for (const std::string text : {"", "%", "1.01", "101%", "-1%", "20 %", "20%%", "1/5", "1e-3", "nan", "20"}) {
      CAPTURE(text);
      CHECK(std::holds_alternative<ScalarError>(parse_fraction(text)));
    }
    CHECK(hint_of(parse_fraction("20")) == "for per cent write 20%");
  }

  TEST_CASE("whole numbers have digits only") {
    CHECK(std::get<std::uint64_t>(parse_integer("18446744073709551615")) == UINT64_MAX);
    for (const std::string text : {"", "-1", "+1", "1.0", "0x10", "1e3", "1_000", "18446744073709551616", " 1"}) {
      CAPTURE(text);
      CHECK(std::holds_alternative<ScalarError>(parse_integer(text)));
    }
    CHECK(hint_of(parse_integer("10_000")) == "write digits only");
  }

  TEST_CASE("the words of older YAML for true and false are refused by name") {
    CHECK(std::get<bool>(parse_bool("true")));
    CHECK_FALSE(std::get<bool>(parse_bool("false")));
    for (const std::string text : {"yes", "on", "True", "1"}) CHECK(hint_of(parse_bool(text)) == "write true");
    for (const std::string text : {"no", "off", "FALSE", "0"}) CHECK(hint_of(parse_bool(text)) == "write false");
    CHECK(hint_of(parse_bool("maybe")).empty());
  }

  TEST_CASE("statuses are one, a class or a range") {
    const auto is = [](std::string_view text, std::uint16_t first, std::uint16_t last) {
      const StatusRange range = std::get<StatusRange>(parse_statuses(text));
      return range.first == first && range.last == last;
    };
    CHECK(is("503", 503, 503));
    CHECK(is("5xx", 500, 599));
    CHECK(is("2XX", 200, 299));
    CHECK(is("502-504", 502, 504));
    CHECK(is("503-503", 503, 503));
    CHECK(is("100-599", 100, 599));
    for (const std::string text :
         {"", "99", "600", "0xx", "6xx", "504-502", "502-", "-504", "50x", "5xxx", "502,504"}) {
      CAPTURE(text);
      CHECK(std::holds_alternative<ScalarError>(parse_statuses(text)));
    }
  }

  TEST_CASE("a set of statuses is written in the fewest words") {
    const auto words = [](std::initializer_list<std::pair<std::uint16_t, std::uint16_t>> ranges) {
      policy::StatusSet set;
      for (const auto& [first, last] : ranges) set.insert(first, last);
      std::string out;
      for (const std::string& word : format_statuses(set)) out += (out.empty() ? "" : " ") + word;
      return out;
    };
    CHECK(words({}).empty());
    CHECK(words({{500, 500}, {502, 504}}) == "500 502-504");
    CHECK(words({{500, 599}}) == "5xx");
    CHECK(words({{400, 599}}) == "400-599");
    CHECK(words({{100, 100}, {599, 599}}) == "100 599");
    CHECK(words({{200, 202}, {203, 204}}) == "200-204");
  }

  TEST_CASE("a percentile is the number that it says, to the thousandth of a per cent") {
    CHECK(std::get<double>(parse_percentile("p50")) == 0.5);
    CHECK(std::get<double>(parse_percentile("p95")) == 0.95);
    CHECK(std::get<double>(parse_percentile("p99.9")) == 0.999);
    CHECK(std::get<double>(parse_percentile("p97.25")) == 0.9725);
    for (const std::string text : {"p50", "p95", "p97.25", "p99.9", "p75.001"}) {
      CHECK(format_percentile(std::get<double>(parse_percentile(text))) == text);
    }
    for (const std::string text : {"", "p", "95", "P95", "p95%", "p49.9", "p100", "p99.91", "p-1", "p9e1", "p 95"}) {
      CAPTURE(text);
      CHECK(std::holds_alternative<ScalarError>(parse_percentile(text)));
    }
    CHECK(std::get<ScalarError>(parse_percentile("95")).hint == "write p95");
    CHECK(std::get<ScalarError>(parse_percentile("p100")).message == "must be between p50 and p99.9, got p100");
  }

  TEST_CASE("an instant is one of RFC 3339, whatever the offset and the precision") {
    const std::vector<std::pair<std::string, std::int64_t>> good = {
        {"1970-01-01T00:00:00Z", 0},
        {"2024-02-29T12:34:56Z", 1'709'210'096'000'000},
        {"2024-02-29t12:34:56z", 1'709'210'096'000'000},
        {"2024-02-29 12:34:56Z", 1'709'210'096'000'000},
        {"2024-02-29T12:34:56.5Z", 1'709'210'096'500'000},
        {"2024-02-29T12:34:56.123456789Z", 1'709'210'096'123'456},
        {"2024-02-29T14:34:56+02:00", 1'709'210'096'000'000},
        {"2024-02-28T23:04:56-13:30", 1'709'210'096'000'000},
        {"2016-12-31T23:59:60Z", 1'483'228'800'000'000},
        {"9999-12-31T23:59:59Z", 253'402'300'799'000'000},
    };
    for (const auto& [text, micros] : good) {
      CAPTURE(text);
      const auto parsed = parse_timestamp(text);
      REQUIRE(std::holds_alternative<std::int64_t>(parsed));
      CHECK(std::get<std::int64_t>(parsed) == micros);
    }
    for (const std::string text : {"",
                                   "2024-02-29",
                                   "2024-02-30T00:00:00Z",
                                   "2023-02-29T00:00:00Z",
                                   "2024-13-01T00:00:00Z",
                                   "2024-00-01T00:00:00Z",
                                   "2024-01-00T00:00:00Z",
                                   "2024-01-01T24:00:00Z",
                                   "2024-01-01T00:60:00Z",
                                   "2024-01-01T00:00:61Z",
                                   "2024-01-01T00:00:00",
                                   "2024-01-01T00:00:00.Z",
                                   "2024-01-01T00:00Z",
                                   "2024-01-01T00:00:00+2:00",
                                   "2024-01-01T00:00:00+0200",
                                   "2024-01-01T00:00:00+24:00",
                                   "24-01-01T00:00:00Z",
                                   "2024-01-01T00:00:00Zx",
                                   "1969-12-31T23:59:59Z",
                                   "1970-01-01T00:00:00+00:01",
                                   "tomorrow"}) {
      CAPTURE(text);
      CHECK(std::holds_alternative<ScalarError>(parse_timestamp(text)));
    }
    CHECK(format_timestamp(1'709'210'096'000'000) == "2024-02-29T12:34:56Z");
    CHECK(format_timestamp(1'709'210'096'500'000) == "2024-02-29T12:34:56.5Z");
    CHECK(format_timestamp(1'709'210'096'000'007) == "2024-02-29T12:34:56.000007Z");
  }

  TEST_CASE("a fraction beyond its bounds is told with them") {
    CHECK(std::get<ScalarError>(parse_fraction("0", 0.001, 1)).message == "must be between 0.001 and 1, got 0");
    CHECK(std::get<ScalarError>(parse_fraction("51%", 0, 0.5)).message == "must be between 0 and 0.5, got 51%");
    CHECK(std::get<ScalarError>(parse_fraction("51%", 0, 0.5)).hint.empty());
    CHECK(std::get<ScalarError>(parse_fraction("50", 0, 0.5)).hint == "for per cent write 50%");
    CHECK(std::get<ScalarError>(parse_fraction("51", 0, 0.5)).hint.empty());
    CHECK(std::get<double>(parse_fraction("50%", 0, 0.5)) == 0.5);
  }

  TEST_CASE("an address is a host and a port") {
    const std::vector<std::pair<std::string, HostPort>> good = {{"127.0.0.1:8080", {"127.0.0.1", 8080}},
                                                                {"localhost:1", {"localhost", 1}},
                                                                {"[::1]:80", {"::1", 80}},
                                                                {"api.example.com:65535", {"api.example.com", 65535}},
                                                                {"a_b-c:1", {"a_b-c", 1}},
                                                                {"[fe80::1.2.3.4]:443", {"fe80::1.2.3.4", 443}}};
    for (const auto& [text, value] : good) {
      CAPTURE(text);
      REQUIRE(std::holds_alternative<HostPort>(parse_address(text, false)));
      CHECK(std::get<HostPort>(parse_address(text, false)) == value);
      CHECK(to_string(value) == text);
    }
    for (const std::string text :
         {"",         "8080",   ":80",     "host",      "host:",   "host:x",     "host:65536",  "host:0",
          "::1",      "::1:80", "[::1]",   "[host]:80", "[]:80",   "a b:80",     "http://a:80", "300.0.0.1:80",
          "1.2.3:80", "*:80",   "a:80:90", ".a:80",     "host:-1", "host:123456"}) {
      CAPTURE(text);
      CHECK(std::holds_alternative<ScalarError>(parse_address(text, false)));
    }
    CHECK(std::get<HostPort>(parse_address("127.0.0.1:0", true)).port == 0);
  }

  TEST_CASE("a Unix socket is an address by its absolute path, as long as the kernel takes it") {
    const std::string longest = "unix:/" + std::string(106, 'p');
    for (const std::string& text : {std::string("unix:/run/a.sock"), longest}) {
      CAPTURE(text);
      REQUIRE(std::holds_alternative<HostPort>(parse_address(text, false)));
      CHECK(std::get<HostPort>(parse_address(text, false)).path == text.substr(5));
      CHECK(to_string(std::get<HostPort>(parse_address(text, false))) == text);
    }
    for (const std::string& text : {std::string("unix:"), std::string("unix:run/a"), std::string("unix:/"),
                                    std::string("unix:/run/"), std::string("unix:@name"), longest + "p"}) {
      CAPTURE(text);
      CHECK(std::holds_alternative<ScalarError>(parse_address(text, true)));
    }
    CHECK(is_loopback(HostPort{.path = "/run/a.sock"}));
    CHECK(HostPort{.path = "/a"} != HostPort{.path = "/b"});
  }

  TEST_CASE("a wrong address comes with the right one") {
    CHECK(hint_of(parse_address("8080", true)) == "name the address, too: 127.0.0.1:8080");
    CHECK(hint_of(parse_address(":80", true)) == "name the address: 127.0.0.1:80, or 0.0.0.0:80 for every one");
    CHECK(hint_of(parse_address("::1", true)) == "an IPv6 address stands in brackets, and in quotes: \"[::1]:8080\"");
    CHECK(hint_of(parse_address("host", true)) == "the port is missing: host:8080");
    CHECK(hint_of(parse_address("http://host:80", true)) == "an address has no scheme: host:port");
  }

  TEST_CASE("loopback is the host itself and nothing that sounds like it") {
    for (const std::string host : {"127.0.0.1", "127.8.8.8", "::1", "localhost"}) CHECK(is_loopback({host, 1}));
    for (const std::string host : {"0.0.0.0", "10.0.0.1", "::", "localhost.example.com", "128.0.0.1"}) {
      CHECK_FALSE(is_loopback({host, 1}));
    }
  }

  TEST_CASE("policy keys are words joined by dots") {
    for (const std::string key : {"a", "payments.Charge", "a-b.c_d.E9", "default", "deadbeefdeadbee", "cafe"}) {
      CAPTURE(key);
      CHECK(check_policy_key(key).message.empty());
    }
    for (const std::string key : {"", ".", "a.", ".a", "a..b", "9a", "a.9b", "_a", "a b", "a/b", "pr\xc3\xa4sent"}) {
      CAPTURE(key);
      CHECK_FALSE(check_policy_key(key).message.empty());
    }
    CHECK(check_policy_key(std::string(96, 'x')).message.empty());
    CHECK(check_policy_key(std::string(97, 'x')).message == "must have at most 96 characters, got 97");
  }

  TEST_CASE("a policy key with an identifier in it is refused") {
    const std::string sixteen = "deadbeefdeadbeef";
    CHECK(check_policy_key("users." + sixteen).message == "segment \"deadbeefdeadbeef\" looks like an identifier");
    CHECK_FALSE(check_policy_key("a1b2c3d4-0000-1111-2222-333344445555").message.empty());
    CHECK(check_policy_key("a1b2c3d4-0000-1111-2222-33334444555z").message.empty());
  }

  TEST_CASE("names are short and plain") {
    CHECK(check_name("outbound-2.eu_west").message.empty());
    CHECK(check_name(std::string(64, 'n')).message.empty());
    CHECK_FALSE(check_name(std::string(65, 'n')).message.empty());
    for (const std::string name : {"", "1a", "-a", "a b", "a/b", "a\"b"}) CHECK_FALSE(check_name(name).message.empty());
  }

  TEST_CASE("what is written back reads as the same value") {
    for (const Nanos value : {0ns, 1000ns, 1500000ns, 10000000ns, 90000000000ns, 3600000000000ns}) {
      CHECK(std::get<Nanos>(parse_duration(format_duration(value))) == value);
    }
    CHECK(format_duration(1500ms) == "1500ms");
    CHECK(format_duration(2h) == "2h");
    for (const std::uint64_t value : {0ull, 1ull, 1024ull, 65537ull, 1073741824ull}) {
      CHECK(std::get<std::uint64_t>(parse_size(format_size(value))) == value);
    }
    CHECK(format_size(65536) == "64KiB");
  }
}

}  // namespace
}  // namespace outrigger::config
