#include "proxy/config/near_miss.hpp"

#include <doctest/doctest.h>

namespace outrigger::config {
namespace {

TEST_SUITE("config") {
  TEST_CASE("edits are insertions, removals, replacements and swaps of neighbours") {
    CHECK(edit_distance("", "") == 0);
    CHECK(edit_distance("retry", "retry") == 0);
    CHECK(edit_distance("", "abc") == 3);
    CHECK(edit_distance("retry", "retr") == 1);
    CHECK(edit_distance("retry", "retrey") == 1);
    CHECK(edit_distance("retry", "retri") == 1);
    CHECK(edit_distance("rerty", "retry") == 1);
    CHECK(edit_distance("kitten", "sitting") == 3);
  }

  TEST_CASE("the closest candidate is proposed if it is close") {
    CHECK(did_you_mean("max_atempts", {"max_attempts", "max_backoff"}) == "did you mean \"max_attempts\"?");
    CHECK(did_you_mean("maxAttempts", {"max_attempts"}) == "did you mean \"max_attempts\"?");
    CHECK(did_you_mean("max-attempts", {"max_attempts"}) == "did you mean \"max_attempts\"?");
    CHECK(did_you_mean("jitter", {"max_attempts", "budget"}).empty());
    CHECK(did_you_mean("x", {}).empty());
    CHECK(did_you_mean(std::string(5000, 'x'), {"xx"}).empty());
  }
}

}  // namespace
}  // namespace outrigger::config
