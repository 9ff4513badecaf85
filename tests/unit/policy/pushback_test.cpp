#include "proxy/policy/pushback.hpp"

#include <vector>

#include <doctest/doctest.h>

using namespace outrigger;
using namespace outrigger::policy;

namespace {

bool asked_to_stop(std::vector<Field> fields) { return pushes_back(fields); }

}  // namespace

TEST_SUITE("policy") {
  TEST_CASE("an upstream that says it should not be tried again is not") {
    CHECK(asked_to_stop({{"X-Should-Retry", "false"}}));
    CHECK(asked_to_stop({{"x-should-retry", "False"}}));
    CHECK(asked_to_stop({{"X-Should-Retry", "true"}, {"X-Should-Retry", "false"}}));
    CHECK_FALSE(asked_to_stop({}));
    CHECK_FALSE(asked_to_stop({{"X-Should-Retry", "true"}}));
    CHECK_FALSE(asked_to_stop({{"X-Should-Retry", "0"}}));
    CHECK_FALSE(asked_to_stop({{"X-Should-Retry", ""}}));
  }

  TEST_CASE("a negative pushback stops, a delay does not") {
    CHECK(asked_to_stop({{"grpc-retry-pushback-ms", "-1"}}));
    CHECK(asked_to_stop({{"Grpc-Retry-Pushback-Ms", "-99999999999999999999"}}));
    CHECK_FALSE(asked_to_stop({{"grpc-retry-pushback-ms", "0"}}));
    CHECK_FALSE(asked_to_stop({{"grpc-retry-pushback-ms", "1500"}}));
    CHECK_FALSE(asked_to_stop({{"grpc-retry-pushback-ms", ""}}));
  }
}
