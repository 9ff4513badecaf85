#include "proxy/base/header_view.hpp"

#include <array>

#include <doctest/doctest.h>

using namespace outrigger;

TEST_SUITE("base") {
  TEST_CASE("a field is found by its name whatever the case, the first of several") {
    constexpr std::array fields = {Field{"Host", "a"}, Field{"X-Tag", "1"}, Field{"x-tag", "2"}};
    CHECK(find_field(fields, "x-TAG") == "1");
    CHECK(find_field(fields, "HOST") == "a");
    CHECK(find_field(fields, "X-Ta") == std::nullopt);
    CHECK(find_field({}, "Host") == std::nullopt);
  }

  TEST_CASE("only ASCII letters fold, and nothing beside them") {
    CHECK(iequals("aZ", "Az"));
    CHECK_FALSE(iequals("a", "ab"));
    CHECK_FALSE(iequals("[", "{"));
    CHECK_FALSE(iequals("@", "`"));
    CHECK(iequals("", ""));
  }
}
