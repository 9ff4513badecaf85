#include <doctest/doctest.h>

#include "tests/support/script.hpp"

using namespace outrigger;
using namespace outrigger::test;
using policy::Counts;

TEST_SUITE("exchange") {
  TEST_CASE("a route that answers by itself does so once the request is admitted, without an attempt") {
    struct Row {
      std::uint16_t status;
      const char* order;
      const char* ending;
    };
    for (const Row& row :
         {Row{200, "reply 200 success", "200 ok success -a 1"}, Row{302, "reply 302 success", "302 ok success -a 1"},
          Row{404, "reply 404 http_4xx", "404 ok http_4xx -a 1"},
          Row{503, "reply 503 http_5xx", "503 upstream_error http_5xx -a 1"}}) {
      CAPTURE(row.status);
      Script script{Given{plain()}.respond(row.status)};
      script.at(0ms, ready(), row.order);
      script.finish(1ms);
      script.ends(row.ending);
    }
  }

  TEST_CASE("limits of requests stand before a route's own answer, those of attempts do not") {
    Script script{Given{plain()}
                      .respond(200)
                      .rate_limit(10s)
                      .bulkhead(1, 0, 0s, Counts::request)
                      .bulkhead(1, 0, 0s, Counts::attempt)};
    script.at(0ms, ready(), "reply 200 success");
    CHECK(script.bulkhead(0).in_flight() == 1);
    CHECK(script.bulkhead(1).in_flight() == 0);
    script.finish(1ms);
    CHECK(script.bulkhead(0).in_flight() == 0);
    script.again();
    script.at(1000ms, ready(), "reply 429 rate_limited retry-after 9000 no-retry");
    script.finish(1001ms);
    script.ends("429 rejected rate_limited P5 1");
  }

  TEST_CASE("a deadline that is too short is refused by a route that answers by itself, too") {
    Script script{Given{plain()}.respond(200).client_waits(5ms)};
    script.at(0ms, ready(), "reply 504 deadline_too_short no-retry");
    script.finish(1ms);
  }

  TEST_CASE("nothing is sent instead of a route's own answer, whatever its status") {
    policy::FallbackConfig rule;
    rule.statuses.insert(500, 599);
    rule.reasons.insert(Reason::rate_limited);
    Script script{Given{plain()}.respond(503).rate_limit(10s).fallback(rule)};
    script.at(0ms, ready(), "reply 503 http_5xx");
    script.finish(1ms);
    script.again();
    script.at(10ms, ready(), "reply 200 rate_limited instead-of rate_limited");
    script.finish(11ms);
  }

  TEST_CASE("a fallback may lead a refused request elsewhere though its route has no upstream") {
    policy::FallbackConfig rule;
    rule.reasons.insert(Reason::rate_limited);
    Script script{Given{plain()}.respond(200).rate_limit(10s).fallback_upstream(rule)};
    script.at(0ms, ready(), "reply 200 success");
    script.finish(1ms);
    script.again();
    const auto orders = script.orders_of(10ms, ready());
    CHECK(show(orders).find("start 0 fallback") != std::string::npos);
    script.send(10ms, 0);
    script.orders_of(20ms, head(0, 201));
    script.finish(21ms);
    CHECK(script.timeline().status == 201);
  }

  TEST_CASE("a policy that only observes lets its route answer all the same") {
    Script script{Given{plain()}.respond(200).rate_limit(10s).observes()};
    script.at(0ms, ready(), "reply 200 success");
    script.finish(1ms);
  }
}
