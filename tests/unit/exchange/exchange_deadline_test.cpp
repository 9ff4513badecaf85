#include "tests/support/script.hpp"

using namespace outrigger;
using namespace outrigger::test;

TEST_SUITE("exchange") {
  TEST_CASE("a request with too little time left is refused before any work") {
    Script s{retrying(3).overall(5ms).min_remaining(5ms).body()};
    s.at(0ms, ready(), "reply 504 deadline_too_short no-retry");
    s.finish(1ms);
    s.attempts_are("");
    s.decisions_are("0 deadline deadline_too_short");
    s.ends("504 timeout deadline_too_short P3 1");

    Script just{retrying(3).overall(5ms + 1ns).min_remaining(5ms)};
    just.at(0ms, ready(), "start 0 primary e0");
  }

  TEST_CASE("the client's deadline shortens the policy's and cannot extend it") {
    Script shorter{plain().overall(1s).client_waits(300ms)};
    shorter.begin();
    shorter.wakeup_is(300ms);
    CHECK(shorter.timeline().deadline == 300ms);
    CHECK(shorter.forwarded() == 300ms);

    Script longer{plain().overall(1s).client_waits(1h)};
    longer.begin();
    longer.wakeup_is(1s);

    Script gone{plain().client_waits(-1ms)};
    gone.at(0ms, ready(), "reply 504 deadline_too_short no-retry");
    gone.finish(0ms);
  }

  TEST_CASE("a deadline that cannot be read is passed over, or answered by 400 where the policy says so") {
    for (const bool reject : {false, true}) {
      Given given = plain();
      given.facts.deadline_unreadable = true;
      given.policy.deadline.reject_invalid = reject;
      Script script{given};
      script.at(0ms, ready(), reject ? "reply 400 bad_request" : "start 0 primary e0");
      if (!reject) continue;
      script.decisions_are("0 deadline bad_request");
      script.finish(1ms);
      script.ends("400 rejected bad_request D3 1");
    }
  }

  TEST_CASE("each attempt is told less the margin, and never nothing") {
    Given given = Given{retrying(3)}.overall(1s).min_remaining(0ms);
    given.policy.deadline.margin = 880ms;
    Script script{given};
    script.begin();
    CHECK(script.forwarded() == 120ms);
    script.at(10ms, unreachable(0), "");
    script.at(110ms, tick(), "start 1 retry e1");
    CHECK(script.forwarded() == 10ms);
    script.at(120ms, unreachable(1), "");
    script.at(220ms, tick(), "start 2 retry e0");
    CHECK(script.forwarded() == 1ns);
    script.at(221ms, client_gone(), "abort 2");
  }

  TEST_CASE("no deadline at all: nothing is told, nothing wakes") {
    Script s{plain().overall(0ms)};
    s.begin();
    CHECK(s.forwarded() == std::nullopt);
    CHECK(s.timeline().deadline == exchange::kAbsent);
    s.wakeup_is(kForever);
    s.at(24h, tick(), "");
    s.at(24h, head(0, 200), "relay 0");
    s.finish(24h);
  }

  TEST_CASE("at the deadline what is running is aborted and a 504 is ours") {
    Script s{retrying(3).overall(100ms)};
    s.begin();
    s.wakeup_is(100ms);
    s.at(100ms - 1ns, tick(), "");
    s.at(100ms, tick(), "abort 0, reply 504 overall_timeout no-retry");
    s.wakeup_is(kForever);
    s.finish(101ms);
    s.attempts_are("1 primary abort overall_timeout @0+100");
    s.ends("504 timeout overall_timeout P8 101 stop non_retryable");
    s.decisions_are("");
  }

  TEST_CASE("the deadline ends an attempt in every phase before the commit") {
    Script connecting{plain().overall(100ms)};
    connecting.at(0ms, ready(), "start 0 primary e0");
    connecting.at(100ms, tick(), "abort 0, reply 504 overall_timeout no-retry");
    connecting.finish(100ms);

    Script uploading{plain().overall(100ms).body()};
    uploading.at(0ms, ready(), "read-body, start 0 primary e0");
    uploading.at(1ms, connected(0), "");
    uploading.at(100ms, tick(), "abort 0, reply 504 overall_timeout no-retry");
    uploading.finish(100ms);
  }

  TEST_CASE("a timer that comes late during a back-off finds the deadline passed: the last failure is the answer") {
    Script s{retrying(3).overall(200ms)};
    s.begin();
    s.at(10ms, unreachable(0), "");
    s.wakeup_is(110ms);
    s.at(250ms, tick(), "reply 502 connect_refused");
    s.finish(250ms);
    CHECK(s.stop_reason() == Reason::deadline_insufficient);
    s.decisions_are("250 retry deadline_insufficient");
  }

  TEST_CASE("a timer that comes late leaves too little time for the retry, which then does not start") {
    Script s{retrying(3).overall(200ms).min_remaining(5ms)};
    s.begin();
    s.at(10ms, head(0, 503), "hold 0");
    s.at(195ms, tick(), "relay 0");
    s.finish(196ms);
    s.decisions_are("195 retry deadline_insufficient");
  }

  TEST_CASE("the overall timeout ends at the commit") {
    Script s{plain().overall(100ms)};
    s.begin();
    s.at(99ms, head(0, 200), "relay 0");
    s.wakeup_is(kForever);
    s.at(1h, tick(), "");
    s.finish(2h);
    s.ends("200 ok success -a 7200000");
  }

  TEST_CASE("a deadline that the client sent cuts a response under way") {
    Script s{plain().client_waits(100ms)};
    s.begin();
    s.at(50ms, head(0, 200), "relay 0");
    s.wakeup_is(100ms);
    s.at(100ms, tick(), "abort 0, close");
    s.attempts_are("1 primary abort overall_timeout @0+100");
    s.ends("200 timeout overall_timeout P9 100");
  }

  TEST_CASE("max_duration bounds the whole request: before the commit with an answer, after it with a cut") {
    Script before{retrying(3).overall(0ms).max_duration(1s)};
    before.begin();
    before.wakeup_is(1s);
    before.at(1s, tick(), "abort 0, reply 504 max_duration");
    before.finish(1s);
    before.attempts_are("1 primary abort max_duration @0+1000");
    before.ends("504 timeout max_duration P8 1000");

    Script after{plain().max_duration(1s)};
    after.begin();
    after.at(10ms, head(0, 200), "relay 0");
    after.wakeup_is(1s);
    after.at(1s, tick(), "abort 0, close");
    after.ends("200 timeout max_duration P9 1000");
  }

  TEST_CASE("no back-off is begun that max_duration would end") {
    for (const Nanos most : {125ms, 126ms}) {
      CAPTURE(most.count());
      Script s{retrying(2).overall(0ms).max_duration(most)};
      s.begin();
      if (most == 125ms) {
        s.at(20ms, head(0, 503), "relay 0");
      } else {
        s.at(20ms, head(0, 503), "hold 0");
        s.at(120ms, tick(), "start 1 retry e1");
        s.send(120ms, 1);
        s.at(120ms, head(1, 200), "drop 0, relay 1");
      }
      s.finish(120ms);
      CHECK(s.stop_reason() == (most == 125ms ? std::optional{Reason::deadline_insufficient} : std::nullopt));
    }
  }

  TEST_CASE("at max_duration an answer that was kept is relayed, and has five seconds for what is unread of it") {
    Script s{retrying(2).overall(0ms).max_duration(1s)};
    s.begin();
    s.at(20ms, head(0, 503), "hold 0");
    s.at(120ms, tick(), "start 1 retry e1");
    s.send(120ms, 1);
    s.at(1s, tick(), "abort 1, relay 0 no-retry");
    s.wakeup_is(6s);
    SUBCASE("which is enough") {
      s.finish(5999ms);
      s.attempts_are("1 primary retryable http_503 @0+20, 2 retry abort max_duration @120+880");
      s.ends("503 upstream_error http_5xx -a 5999 stop deadline_insufficient");
    }
    SUBCASE("or not") { s.at(6s, tick(), "abort 0, close"); }
  }

  TEST_CASE("an endpoint that does not answer the connection is left after connect_timeout") {
    Script s{retrying(2).connect_timeout(250ms)};
    s.at(0ms, ready(), "start 0 primary e0");
    s.wakeup_is(250ms);
    s.at(250ms, tick(), "abort 0");
    s.at(350ms, tick(), "start 1 retry e1");
    s.wakeup_is(600ms);
    s.at(600ms, tick(), "abort 1, reply 504 connect_timeout no-retry");
    s.finish(601ms);
    s.attempts_are("1 primary retryable connect_timeout @0+250, 2 retry retryable connect_timeout @350+250");
  }

  TEST_CASE("the connect timeout ends with the connection, and the attempt's own begins when all was sent") {
    Script s{retrying(2).connect_timeout(250ms).attempt_timeout(100ms).body()};
    s.at(0ms, ready(), "read-body, start 0 primary e0");
    s.at(200ms, connected(0), "");
    s.wakeup_is(15s);
    s.at(5s, sent(0), "");
    s.wakeup_is(5100ms);
    s.at(5050ms, sent(0), "");
    s.wakeup_is(5100ms);
    s.at(5099ms, head(0, 200), "drop-replay, relay 0");
    s.wakeup_is(kForever);
    s.finish(6s);
  }

  TEST_CASE("an answer that comes before the request is wholly sent stops the attempt's clock") {
    Script s{retrying(2).attempt_timeout(100ms).body()};
    s.at(0ms, ready(), "read-body, start 0 primary e0");
    s.at(1ms, connected(0), "");
    s.at(5ms, head(0, 413), "drop-replay, relay 0");
    s.at(6ms, sent(0), "");
    s.wakeup_is(kForever);
    s.finish(10ms);
  }

  TEST_CASE("a clock that stands still neither loops nor starts twice") {
    Script s{retrying(2).backoff(1ns)};
    s.begin();
    s.at(0ms, head(0, 503), "hold 0");
    s.at(0ms, tick(), "");
    s.at(1ns, tick(), "start 1 retry e1");
    s.at(1ns, tick(), "");
  }
}
