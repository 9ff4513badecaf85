#include "proxy/http/retry_after.hpp"

#include <doctest/doctest.h>

#include "tests/unit/http/heads.hpp"

using namespace outrigger;
using namespace outrigger::http;
using namespace outrigger::test;
using namespace std::chrono_literals;

TEST_SUITE("http") {
  TEST_CASE("Retry-After is seconds or a date, and never negative") {
    const std::int64_t now = 784'111'777;  // Sun, 06 Nov 1994 08:49:37 GMT
    CHECK(parse_retry_after("0", now) == 0s);
    CHECK(parse_retry_after("120", now) == 120s);
    CHECK(parse_retry_after("9223372036", now) == 9'223'372'036s);
    CHECK(parse_retry_after("9223372037", now) == kForever);
    CHECK(parse_retry_after("99999999999999999999999999", now) == kForever);
    CHECK(parse_retry_after("Sun, 06 Nov 1994 08:49:47 GMT", now) == 10s);
    CHECK(parse_retry_after("Sunday, 06-Nov-94 08:49:47 GMT", now) == 10s);
    CHECK(parse_retry_after("Sun Nov  6 08:49:47 1994", now) == 10s);
    CHECK(parse_retry_after("Sun, 06 Nov 1994 08:49:27 GMT", now) == 0s);
    CHECK(parse_retry_after("Fri, 31 Dec 9999 23:59:59 GMT", now) == kForever);
    CHECK(parse_retry_after("Sun, 06 Nov 1994 08:49:47 GMT", INT64_MAX) == 0s);
    CHECK(parse_retry_after("Sun, 06 Nov 1994 08:49:47 GMT", INT64_MIN) == kForever);
    for (const char* text : {"", "-1", "1.5", "soon", "1s", "1 "}) {
      CAPTURE(text);
      CHECK_FALSE(parse_retry_after(text, now));
    }
  }

  TEST_CASE("a date is relative to the response's own clock, or to ours where it has none") {
    const std::int64_t wall = 784'111'777 + 3'600;
    const auto retry_after = [&](const char* lines) {
      return retry_after_of(*ParsedResponse{ok_with(lines)}.head().fields, wall);
    };
    CHECK(retry_after("Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:49:40 GMT\r\n") == 3s);
    CHECK(retry_after("Retry-After: Sun, 06 Nov 1994 09:49:40 GMT\r\n") == 3s);
    CHECK(retry_after("Date: now\r\nRetry-After: Sun, 06 Nov 1994 09:49:40 GMT\r\n") == 3s);
    CHECK(retry_after("Retry-After: 7\r\n") == 7s);
    CHECK_FALSE(retry_after(""));
    CHECK_FALSE(retry_after("Retry-After: never\r\n"));
  }
}
