#include "proxy/http/http_date.hpp"

#include <string>

#include <doctest/doctest.h>

using namespace outrigger::http;

namespace {

constexpr std::int64_t kNow = 1'700'000'000;  // 2023-11-14

std::string written(std::int64_t seconds) {
  const auto text = http_date(seconds);
  return {text.data(), text.size()};
}

}  // namespace

TEST_SUITE("http") {
  TEST_CASE("a date is written in the one form that may be sent") {
    CHECK(written(784'111'777) == "Sun, 06 Nov 1994 08:49:37 GMT");
    CHECK(written(0) == "Thu, 01 Jan 1970 00:00:00 GMT");
    CHECK(written(951'782'400) == "Tue, 29 Feb 2000 00:00:00 GMT");
    CHECK(written(-1) == "Wed, 31 Dec 1969 23:59:59 GMT");
    CHECK(written(INT64_MAX) == "Fri, 31 Dec 9999 23:59:59 GMT");
    CHECK(written(INT64_MIN) == "Sat, 01 Jan 0000 00:00:00 GMT");
  }

  TEST_CASE("the three forms are read as the same moment") {
    CHECK(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT", kNow) == 784'111'777);
    CHECK(parse_http_date("Sunday, 06-Nov-94 08:49:37 GMT", kNow) == 784'111'777);
    CHECK(parse_http_date("Sun Nov  6 08:49:37 1994", kNow) == 784'111'777);
    CHECK(parse_http_date("Sun Nov 16 08:49:37 1994", kNow) == 784'111'777 + 10 * 86'400);
  }

  TEST_CASE("a two-digit year is at most fifty years ahead") {
    CHECK(parse_http_date("Friday, 01-Jan-73 00:00:00 GMT", kNow) == 3'250'454'400);           // 2073
    CHECK(parse_http_date("Friday, 01-Jan-74 00:00:00 GMT", kNow) == 126'230'400);             // 1974
    CHECK(parse_http_date("Friday, 01-Jan-00 00:00:00 GMT", kNow) == 946'684'800);             // 2000
    CHECK(parse_http_date("Friday, 01-Jan-00 00:00:00 GMT", 3'250'454'400) == 4'102'444'800);  // 2100
  }

  TEST_CASE("a two-digit year stays within the calendar whatever the time is") {
    CHECK(parse_http_date("Sunday, 06-Nov-94 08:49:37 GMT", INT64_MIN) == -59'174'032'223);  // 0094
    CHECK(parse_http_date("Sunday, 06-Nov-94 08:49:37 GMT", INT64_MAX).value() < 253'402'300'800);
  }

  TEST_CASE("what is written is read back, day by day over four centuries") {
    for (std::int64_t day = -30'000; day < 120'000; day += 7) {
      const std::int64_t seconds = day * 86'400 + (day * 7'919 % 86'400 + 86'400) % 86'400;
      const auto back = parse_http_date(written(seconds), kNow);
      if (back != seconds) FAIL(written(seconds));
    }
  }

  TEST_CASE("a leap second is read as the second after") {
    CHECK(parse_http_date("Sat, 31 Dec 2016 23:59:60 GMT", kNow) == 1'483'228'800);
  }

  TEST_CASE("anything else is not a date") {
    for (const char* text : {"",
                             "Sun",
                             "Sun, 06 Nov 1994 08:49:37",
                             "Sun, 06 Nov 1994 08:49:37 UTC",
                             "Sun, 6 Nov 1994 08:49:37 GMT",
                             "Sun, 06 nov 1994 08:49:37 GMT",
                             "Sun, 31 Feb 1994 08:49:37 GMT",
                             "Sun, 00 Nov 1994 08:49:37 GMT",
                             "Sun, 29 Feb 1900 08:49:37 GMT",
                             "Sun, 06 Nov 1994 24:00:00 GMT",
                             "Sun, 06 Nov 1994 08:60:00 GMT",
                             "Sun, 06 Nov 1994 08:49:61 GMT",
                             "Sun, 06 Nov 1994 08:49:37 GMT ",
                             "Sun, 06 Nov 94 08:49:37 GMT",
                             "Xyz, 06 Nov 1994 08:49:37 GMT",
                             "unN, 06 Nov 1994 08:49:37 GMT",
                             "Sun, 06 anF 1994 08:49:37 GMT",
                             "Sunday, 06-Nov-1994 08:49:37 GMT",
                             "Sun Nov  6 08:49:37 94",
                             "Sun Nov 6 08:49:37 1994",
                             "120",
                             "-1"}) {
      CAPTURE(text);
      CHECK_FALSE(parse_http_date(text, kNow));
    }
  }
}
