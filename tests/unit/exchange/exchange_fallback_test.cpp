#include <doctest/doctest.h>

#include "tests/support/script.hpp"

using namespace outrigger;
using namespace outrigger::test;

namespace {

policy::FallbackConfig when(Reason reason) {
  policy::FallbackConfig rule;
  rule.reasons.insert(reason);
  return rule;
}

policy::FallbackConfig when_exhausted() {
  policy::FallbackConfig rule;
  rule.exhausted = true;
  return rule;
}

}  // namespace

TEST_SUITE("exchange") {
  TEST_CASE("a refusal that the fallback is for is answered with the prepared response, under its own reason") {
    Script s{plain().bulkhead(1).fallback(when(Reason::bulkhead_full))};
    const auto place = s.take_place();
    s.at(0ms, ready(), "reply 200 bulkhead_full instead-of bulkhead_full");
    s.at(1ms, delivered(), "");
    s.ends("200 fallback bulkhead_full P8 1");
  }

  TEST_CASE("attempts that end without an acceptable answer are exhausted, and their last answer is replaced") {
    Script s{retrying(2).fallback(when_exhausted())};
    s.begin();
    s.at(10ms, head(0, 503), "hold 0");
    s.at(110ms, tick(), "start 1 retry e1");
    s.send(110ms, 1);
    s.at(120ms, head(1, 503), "drop 0, discard 1, reply 200 http_5xx instead-of http_503");
    s.at(121ms, delivered(), "");
    s.ends("200 fallback http_5xx -a 121 stop attempts_exhausted");
  }

  TEST_CASE("a fallback's upstream is asked once, and its answer is relayed with the mark") {
    Script s{plain().fallback_upstream(when_exhausted())};
    s.begin();
    s.at(10ms, head(0, 503), "hold 0, start 1 fallback e0");
    s.send(11ms, 1);
    s.at(20ms, head(1, 200), "drop 0, relay 1 instead-of http_503");
    s.at(21ms, done(1), "");
    s.finish(22ms);
    s.ends("200 fallback http_5xx -a 22 stop attempts_exhausted");
    s.attempts_are("1 primary retryable http_503 @0+10, 2 fallback success @10+11");
  }

  TEST_CASE("where the fallback's upstream does no better the original answer stands") {
    Script s{plain().fallback_upstream(when_exhausted())};
    s.begin();
    s.at(10ms, head(0, 503), "hold 0, start 1 fallback e0");
    SUBCASE("a failure of the server") {
      s.send(11ms, 1);
      s.at(20ms, head(1, 500), "discard 1, relay 0 no-retry");
    }
    SUBCASE("no connection") { s.at(20ms, unreachable(1), "relay 0 no-retry"); }
    SUBCASE("no answer before the deadline") {
      s.send(11ms, 1);
      s.at(15000ms, tick(), "abort 1, relay 0 no-retry");
    }
    s.at(15000ms, in_memory(0), "");
    s.at(15001ms, done(0), "");
    s.finish(15001ms);
    s.ends("503 upstream_error http_5xx -a 15001 stop attempts_exhausted");
  }

  TEST_CASE("a request that may have reached an upstream and is not idempotent never goes to another") {
    Script s{plain().post().fallback_upstream(when_exhausted())};
    s.begin();
    s.at(10ms, head(0, 503), "relay 0");
    s.at(11ms, done(0), "");
    s.finish(12ms);
    s.decisions_are("10 retry http_non_idempotent, 10 fallback http_non_idempotent");
  }

  TEST_CASE("a request that was refused before any attempt goes to the fallback's upstream with its body") {
    Script s{plain().post().body().bulkhead(1).fallback_upstream(when(Reason::bulkhead_full))};
    const auto place = s.take_place();
    s.at(0ms, ready(), "drop-replay, read-body, start 0 fallback e0 recent");
    s.send(1ms, 0);
    s.at(5ms, head(0, 201), "drop-replay, relay 0 instead-of bulkhead_full");
    s.at(6ms, done(0), "");
    s.finish(7ms);
    s.ends("201 fallback bulkhead_full -a 7");
  }

  TEST_CASE("a client that leaves while the fallback is under way ends both") {
    Script s{plain().fallback_upstream(when_exhausted())};
    s.begin();
    s.at(10ms, head(0, 503), "hold 0, start 1 fallback e0");
    s.send(11ms, 1);
    s.at(12ms, client_gone(), "drop 0, abort 1");
    s.ends("499 client_gone client_disconnected D8 12 stop attempts_exhausted");
  }
}
