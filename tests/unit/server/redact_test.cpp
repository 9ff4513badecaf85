#include "proxy/server/redact.hpp"

#include <doctest/doctest.h>

#include "proxy/config/dump.hpp"
#include "tests/unit/config/loading.hpp"

using namespace outrigger;
using namespace outrigger::server;

TEST_SUITE("server") {
  TEST_CASE("credentials that a route adds to requests are not shown, other fields are") {
    const config::LoadResult loaded = config::load(
        config::Sample{"", "",
                       ", request_headers: {set: {Authorization: Bearer x, X-Api-KEY: y, X-Plain: z}, add: {Cookie: "
                       "a=b}}, response_headers: {set: {Set-Cookie: shown}}",
                       ""}
            .text());
    REQUIRE(loaded.ok());
    auto shown = config::to_json(loaded.config);
    redact(shown);
    const auto& route = shown["routes"][0];
    CHECK(route["request_headers"]["set"]["Authorization"] == kRedacted);
    CHECK(route["request_headers"]["set"]["X-Api-KEY"] == kRedacted);
    CHECK(route["request_headers"]["set"]["X-Plain"] == "z");
    CHECK(route["request_headers"]["add"]["Cookie"] == kRedacted);
    CHECK(route["response_headers"]["set"]["Set-Cookie"] == "shown");
  }

  TEST_CASE("a configuration without edits is shown as it is") {
    const config::LoadResult loaded = config::load(config::Sample{}.text());
    auto shown = config::to_json(loaded.config);
    redact(shown);
    CHECK(shown == config::to_json(loaded.config));
  }
}
