#include "proxy/http/request_id.hpp"

#include <set>
#include <string>

#include <doctest/doctest.h>

using namespace outrigger;
using namespace outrigger::http;

TEST_SUITE("http") {
  TEST_CASE("a new id is a UUID of version 7 that begins with the time") {
    Rng rng{1};
    for (int i = 0; i < 100; ++i) {
      const RequestId id{0x0123456789ab, rng};
      const std::string text{id.view()};
      CAPTURE(text);
      CHECK(text.substr(0, 15) == "01234567-89ab-7");
      CHECK(text[23] == '-');
      CHECK(std::string{"89ab"}.find(text[19]) != std::string::npos);
      CHECK(text.find_first_not_of("0123456789abcdef-") == std::string::npos);
      CHECK(is_acceptable_request_id(text));
    }
  }

  TEST_CASE("ids of one moment differ, and later ids sort later") {
    Rng rng{2};
    std::set<std::string> seen;
    for (int i = 0; i < 1000; ++i) seen.insert(std::string{RequestId{5, rng}.view()});
    CHECK(seen.size() == 1000);
    CHECK(RequestId{6, rng}.view() > *seen.rbegin());
  }

  TEST_CASE("a received id is kept if it is visible ASCII of at most 128 characters") {
    CHECK(is_acceptable_request_id("a"));
    CHECK(is_acceptable_request_id(std::string(128, 'x')));
    CHECK(is_acceptable_request_id("!~a/b+c="));
    CHECK_FALSE(is_acceptable_request_id(std::string(129, 'x')));
    CHECK_FALSE(is_acceptable_request_id(""));
    for (const char* id : {"a b", "a\tb", "a\x7f", "\xc3\xa4"}) CHECK_FALSE(is_acceptable_request_id(id));
  }
}
