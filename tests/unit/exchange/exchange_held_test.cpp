#include "tests/support/script.hpp"

using namespace outrigger;
using namespace outrigger::test;

TEST_SUITE("exchange") {
  TEST_CASE("a held response has given back its permits and is relayed when the retry is worse than nothing") {
    Script s{retrying(2)};
    s.begin();
    CHECK(s.in_flight() == 1);
    s.at(20ms, head(0, 503), "hold 0");
    CHECK(s.in_flight() == 1);  // its connection is still to be read
    s.at(50ms, in_memory(0), "");
    CHECK(s.in_flight() == 0);
    s.at(120ms, tick(), "start 1 retry e1");
    s.at(130ms, unreachable(1), "relay 0 no-retry");
    CHECK(s.in_flight() == 0);
    s.at(131ms, done(0), "");
    s.finish(140ms);
    s.attempts_are("1 primary retryable http_503 @0+20, 2 retry retryable connect_refused @120+10");
    s.ends("503 upstream_error http_5xx -a 140 stop attempts_exhausted");
  }

  TEST_CASE("a newer answer replaces the one that is kept") {
    Script s{retrying(3)};
    s.begin();
    s.at(20ms, head(0, 503), "hold 0");
    s.at(120ms, tick(), "start 1 retry e1");
    s.send(120ms, 1);
    s.at(130ms, head(1, 502), "drop 0, hold 1");
    s.at(131ms, lost(0), "");
    s.at(230ms, tick(), "start 2 retry e0");
    s.at(240ms, unreachable(2), "relay 1 no-retry");
    s.finish(250ms);
    s.ends("502 upstream_error http_5xx -a 250 stop attempts_exhausted");
  }

  TEST_CASE("a final answer takes the place of the one that is kept") {
    Script s{retrying(3)};
    s.begin();
    s.at(20ms, head(0, 503), "hold 0");
    s.at(120ms, tick(), "start 1 retry e1");
    s.send(120ms, 1);
    s.at(130ms, head(1, 404), "drop 0, relay 1");
    s.finish(140ms);
    s.ends("404 ok http_4xx -a 140 stop non_retryable");
  }

  TEST_CASE("a kept response that dies is dropped, and what comes of the retry decides") {
    Script s{retrying(2)};
    s.begin();
    s.at(20ms, head(0, 503), "hold 0");
    s.at(60ms, lost(0), "");
    s.decisions_are("60 edge closed_early of 0");
    s.at(120ms, tick(), "start 1 retry e1");
    s.send(120ms, 1);
    s.at(140ms, head(1, 200), "relay 1");
    s.finish(150ms);
  }

  TEST_CASE("a kept response that dies leaves its death as the answer when nothing else comes") {
    Script overflowed{retrying(2).body()};
    overflowed.at(0ms, ready(), "read-body, start 0 primary e0");
    overflowed.send(0ms, 0);
    overflowed.at(20ms, head(0, 503), "hold 0");
    overflowed.at(60ms, lost(0), "");
    overflowed.at(61ms, body_overflowed(), "");
    overflowed.at(120ms, tick(), "reply 502 closed_early");
    overflowed.finish(121ms);
    overflowed.ends("502 upstream_error closed_early U8 121 stop body_not_replayable");

    Script failing{retrying(2)};
    failing.begin();
    failing.at(20ms, head(0, 503), "hold 0");
    failing.at(60ms, lost(0), "");
    failing.at(120ms, tick(), "start 1 retry e1");
    failing.at(130ms, unreachable(1), "reply 502 connect_refused no-retry");
    failing.finish(131ms);
  }

  TEST_CASE("a kept response that dies after a newer failure leaves that failure as the answer") {
    Script s{retrying(3).body()};
    s.at(0ms, ready(), "read-body, start 0 primary e0");
    s.send(0ms, 0);
    s.at(20ms, head(0, 503), "hold 0");
    s.at(120ms, tick(), "start 1 retry e1");
    s.at(130ms, unreachable(1), "");
    s.at(140ms, lost(0), "");
    s.at(150ms, body_overflowed(), "");
    s.at(230ms, tick(), "reply 502 connect_refused no-retry");
    s.finish(231ms);
  }

  TEST_CASE("at the deadline the kept response is relayed and what is running is aborted") {
    Script s{retrying(3).overall(200ms)};
    s.begin();
    s.at(20ms, head(0, 503), "hold 0");
    s.at(120ms, tick(), "start 1 retry e1");
    s.send(120ms, 1);
    s.wakeup_is(200ms);
    s.at(200ms, tick(), "abort 1, relay 0 no-retry");
    s.finish(210ms);
    s.attempts_are("1 primary retryable http_503 @0+20, 2 retry abort overall_timeout @120+80");
    s.ends("503 upstream_error http_5xx -a 210 stop deadline_insufficient");
  }

  TEST_CASE("what is unread of a response relayed at the deadline may take five seconds more") {
    for (const bool by_client : {false, true}) {
      CAPTURE(by_client);
      Script s{by_client ? retrying(3).client_waits(200ms) : retrying(3).overall(200ms)};
      s.begin();
      s.at(20ms, head(0, 503), "hold 0");
      s.at(120ms, tick(), "start 1 retry e1");
      s.send(120ms, 1);
      s.at(200ms, tick(), "abort 1, relay 0 no-retry");
      s.wakeup_is(5200ms);
      s.at(5199ms, tick(), "");
      s.at(5200ms, tick(), "abort 0, close");
      s.ends("503 timeout overall_timeout P9 5200 stop deadline_insufficient");
    }
  }

  TEST_CASE("a response relayed at the deadline that is whole in time is not cut") {
    Script s{retrying(3).client_waits(200ms)};
    s.begin();
    s.at(20ms, head(0, 503), "hold 0");
    s.at(120ms, tick(), "start 1 retry e1");
    s.at(200ms, tick(), "abort 1, relay 0 no-retry");
    s.at(3s, done(0), "");
    s.wakeup_is(kForever);
    s.at(7s, delivered(), "");
    s.ends("503 upstream_error http_5xx -a 7000 stop deadline_insufficient");
  }

  TEST_CASE("a kept response that dies while it is being relayed cuts the response") {
    Script by_failure{retrying(2)};
    by_failure.begin();
    by_failure.at(20ms, head(0, 503), "hold 0");
    by_failure.at(120ms, tick(), "start 1 retry e1");
    by_failure.at(130ms, unreachable(1), "relay 0 no-retry");
    by_failure.at(140ms, failed(0, Reason::reset), "close");
    by_failure.ends("503 upstream_error reset U9 140 stop attempts_exhausted");

    // The edge saw it die before it was told to relay: the fact was on its way.
    Script by_crossing{retrying(2)};
    by_crossing.begin();
    by_crossing.at(20ms, head(0, 503), "hold 0");
    by_crossing.at(120ms, tick(), "start 1 retry e1");
    by_crossing.at(130ms, unreachable(1), "relay 0 no-retry");
    by_crossing.at(130ms, lost(0), "close");
    by_crossing.ends("503 upstream_error closed_early U9 130 stop attempts_exhausted");
  }

  TEST_CASE("facts that crossed the relay of a kept response and say it is whole are no news") {
    Script s{retrying(2)};
    s.begin();
    s.at(20ms, head(0, 503), "hold 0");
    s.at(120ms, tick(), "start 1 retry e1");
    s.at(130ms, unreachable(1), "relay 0 no-retry");
    s.at(130ms, in_memory(0), "");
    s.finish(140ms);
  }

  TEST_CASE("a client that leaves takes the kept response with it") {
    Script s{retrying(2)};
    s.begin();
    s.at(20ms, head(0, 503), "hold 0");
    s.at(60ms, client_gone(), "drop 0");
    s.ends("499 client_gone client_disconnected D8 60");
  }
}
