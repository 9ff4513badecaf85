#include "proxy/policy/deadline.hpp"

#include <doctest/doctest.h>

using namespace outrigger;
using namespace outrigger::policy;
using namespace std::chrono_literals;

namespace {

constexpr TimePoint kStart{1h};

}  // namespace

TEST_SUITE("policy") {
  TEST_CASE("the client may shorten the deadline but not extend it") {
    CHECK(effective_deadline(1s, std::nullopt, kStart).at == kStart + 1s);
    CHECK(effective_deadline(1s, 300ms, kStart).at == kStart + 300ms);
    CHECK(effective_deadline(1s, 5s, kStart).at == kStart + 1s);
    CHECK(effective_deadline(1s, 5s, kStart).client == kStart + 5s);
    CHECK(effective_deadline(1s, std::nullopt, kStart).client == kNever);
  }

  TEST_CASE("an overall timeout of zero leaves the client's alone, or none at all") {
    CHECK(effective_deadline(0s, std::nullopt, kStart).at == kNever);
    CHECK(effective_deadline(0s, 300ms, kStart).at == kStart + 300ms);
    CHECK(effective_deadline(0s, kForever, kStart).at == kNever);
  }

  TEST_CASE("an attempt is told the smaller of what is left and its own limit, less the margin") {
    DeadlineConfig config;
    CHECK(forwarded_deadline(config, kStart + 1s, 0s, kStart) == 1s);
    CHECK(forwarded_deadline(config, kStart + 1s, 600ms, kStart) == 600ms);
    CHECK(forwarded_deadline(config, kStart + 1s, 600ms, kStart + 500ms) == 500ms);
    config.margin = 20ms;
    CHECK(forwarded_deadline(config, kStart + 1s, 0s, kStart) == 980ms);
  }

  TEST_CASE("what is told is never nothing, even where the margin eats it") {
    DeadlineConfig config;
    config.margin = 20ms;
    CHECK(forwarded_deadline(config, kStart + 20ms, 0s, kStart) == 1ns);
    CHECK(forwarded_deadline(config, kStart + 5ms, 0s, kStart) == 1ns);
    CHECK(forwarded_deadline(config, kStart, 0s, kStart + 1s) == 1ns);
  }

  TEST_CASE("without any limit nothing is told, and an attempt's own limit is told without a deadline") {
    const DeadlineConfig config;
    CHECK(forwarded_deadline(config, kNever, 0s, kStart) == std::nullopt);
    CHECK(forwarded_deadline(config, kNever, 600ms, kStart) == 600ms);
  }
}
