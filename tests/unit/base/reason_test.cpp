#include "proxy/base/reason.hpp"

#include <set>

#include <doctest/doctest.h>

using namespace outrigger;

TEST_SUITE("base") {
  TEST_CASE("every reason has a name of its own, and the name leads back to it") {
    std::set<std::string_view> names;
    for (std::size_t i = 0; i < kReasonCount; ++i) {
      const auto reason = static_cast<Reason>(i);
      CHECK(names.insert(to_string(reason)).second);
      CHECK(parse_reason(to_string(reason)) == reason);
      for (const char c : to_string(reason)) CHECK((c == '_' || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')));
      CHECK_FALSE(info(reason).text.empty());
    }
    CHECK(parse_reason("no such reason") == std::nullopt);
    CHECK(parse_reason("") == std::nullopt);
  }

  TEST_CASE("a reason that becomes a reply has an error status and a name for Proxy-Status") {
    for (const ReasonInfo& entry : kReasons) {
      CAPTURE(entry.name);
      if (entry.status != 0) CHECK((entry.status >= 400 && entry.status < 600));
      CHECK((entry.status != 0) == !entry.proxy_status_error.empty());
    }
  }

  TEST_CASE("reasons that clients act upon have the status that was promised") {
    CHECK(info(Reason::overall_timeout).status == 504);
    CHECK(info(Reason::deadline_too_short).status == 504);
    CHECK(info(Reason::attempt_timeout).status == 504);
    CHECK(info(Reason::connect_timeout).status == 504);
    CHECK(info(Reason::connect_refused).status == 502);
    CHECK(info(Reason::reset).status == 502);
    CHECK(info(Reason::protocol_error).status == 502);
    CHECK(info(Reason::draining).status == 503);
    CHECK(info(Reason::no_healthy_endpoint).status == 503);
    CHECK(info(Reason::body_timeout).status == 408);
    CHECK(info(Reason::body_too_large).status == 413);
  }
}
