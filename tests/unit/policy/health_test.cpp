#include "proxy/policy/health.hpp"

#include <string>
#include <string_view>

#include <doctest/doctest.h>

using namespace outrigger;
using namespace outrigger::policy;

namespace {

/// What each result leads to: `+` back in service, `-` out of it, `.` no change.
std::string outcome(std::string_view results, const HealthConfig& config = {}) {
  Health health;
  std::string out;
  for (const char result : results) {
    const bool changed = health.take(config, result == 'g');
    out += !changed ? '.' : health.healthy() ? '+' : '-';
  }
  return out;
}

}  // namespace

TEST_SUITE("policy") {
  TEST_CASE("so many bad results in a row take an endpoint out, so many good ones bring it back") {
    struct Row {
      const char* results;
      const char* outcome;
    };
    for (const Row& row : {Row{"", ""}, Row{"ggg", "..."}, Row{"bb", ".."}, Row{"bbb", "..-"}, Row{"bbbb", "..-."},
                           Row{"bbgbb", "....."}, Row{"bbgbbb", ".....-"}, Row{"bbbg", "..-."}, Row{"bbbgg", "..-.+"},
                           Row{"bbbgbgg", "..-...+"}, Row{"bbbggbb", "..-.+.."}, Row{"bbbggbbb", "..-.+..-"}}) {
      CAPTURE(row.results);
      CHECK(outcome(row.results) == row.outcome);
    }
  }

  TEST_CASE("one result may be enough, both ways") {
    CHECK(outcome("bgbg", {.healthy_after = 1, .unhealthy_after = 1}) == "-+-+");
  }

  TEST_CASE("numbers that change count from the next result on") {
    Health health;
    for (int i = 0; i < 9; ++i) CHECK_FALSE(health.take({.unhealthy_after = 10}, false));
    CHECK(health.against() == 9);
    CHECK(health.take({.unhealthy_after = 2}, false));
    CHECK(health.against() == 0);
  }

  TEST_CASE("any status from 200 to 299 is expected unless others are named") {
    const HealthConfig config;
    CHECK(config.expect.contains(200));
    CHECK(config.expect.contains(299));
    CHECK_FALSE(config.expect.contains(199));
    CHECK_FALSE(config.expect.contains(300));
  }
}
