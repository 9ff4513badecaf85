#include "proxy/telemetry/wall_time.hpp"

#include <string>

#include <doctest/doctest.h>

using namespace outrigger;
using namespace outrigger::telemetry;

namespace {

std::string written(std::int64_t unix_us) {
  Buffer out;
  append_rfc3339(out, unix_us);
  return std::string{out.view()};
}

}  // namespace

TEST_SUITE("telemetry") {
  TEST_CASE("Unix time is written as RFC 3339 with microseconds") {
    CHECK(written(0) == "1970-01-01T00:00:00.000000Z");
    CHECK(written(1'714'566'896'789'012) == "2024-05-01T12:34:56.789012Z");
    CHECK(written(951'782'399'999'999) == "2000-02-28T23:59:59.999999Z");
    CHECK(written(951'782'400'000'000) == "2000-02-29T00:00:00.000000Z");
    CHECK(written(-1) == "1969-12-31T23:59:59.999999Z");
  }

  TEST_CASE("what was written is read back") {
    for (const std::int64_t us :
         {std::int64_t{0}, std::int64_t{951'782'399'999'999}, std::int64_t{1'714'566'896'789'012}}) {
      CHECK(parse_wall_time(written(us)) == us);
    }
  }

  TEST_CASE("offsets, fractions and plain seconds are understood") {
    CHECK(parse_wall_time("1970-01-01T01:00:00+01:00") == 0);
    CHECK(parse_wall_time("1969-12-31T22:30:00.25-01:30") == 250'000);
    CHECK(parse_wall_time("1970-01-01t00:00:01z") == 1'000'000);
    CHECK(parse_wall_time("1700000000") == 1'700'000'000'000'000);
    CHECK(parse_wall_time("1700000000.5") == 1'700'000'000'500'000);
    CHECK(parse_wall_time("0.123456789") == 123'456);
  }

  TEST_CASE("anything else is refused") {
    for (const char* text :
         {"", " ", "now", "-1", "1.", "1.0000000001", "1e9", "99999999999999", "2024-05-01", "2024-13-01T00:00:00Z",
          "2024-02-30T00:00:00Z", "2024-05-01T24:00:00Z", "2024-05-01T12:34:56", "2024-05-01T12:34:56Zx",
          "2024-05-01T12:34:56+1:00", "2024-05-01T12:34:56+24:00", "2024-0a-01T00:00:00Z"}) {
      CAPTURE(text);
      CHECK_FALSE(parse_wall_time(text).has_value());
    }
  }
}
