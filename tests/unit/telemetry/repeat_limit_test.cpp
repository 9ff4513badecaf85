#include "proxy/telemetry/repeat_limit.hpp"

#include <doctest/doctest.h>

using namespace outrigger::telemetry;

TEST_SUITE("telemetry") {
  TEST_CASE(
      "a message is admitted so often in a period and no more, and the next period tells how many were left out") {
    RepeatLimit limit;
    const std::int64_t start = 1'000'000;
    for (std::uint32_t i = 0; i < RepeatLimit::kLines; ++i) CHECK(limit.admit("dns failed", start) == 0u);
    CHECK_FALSE(limit.admit("dns failed", start + 1).has_value());
    CHECK_FALSE(limit.admit("dns failed", start + RepeatLimit::kPeriodUs - 1).has_value());
    CHECK(limit.admit("dns failed", start + RepeatLimit::kPeriodUs) == 2u);
    CHECK(limit.admit("dns failed", start + RepeatLimit::kPeriodUs) == 0u);
  }

  TEST_CASE("one message does not silence another") {
    RepeatLimit limit;
    for (std::uint32_t i = 0; i < 2 * RepeatLimit::kLines; ++i) limit.admit("dns failed", 0);
    CHECK(limit.admit("certificate expires", 0) == 0u);
  }

  TEST_CASE("a clock that was set back does not silence anything for long") {
    RepeatLimit limit;
    for (std::uint32_t i = 0; i < 2 * RepeatLimit::kLines; ++i) limit.admit("dns failed", 1'000'000'000);
    CHECK(limit.admit("dns failed", 5).has_value());
  }
}
