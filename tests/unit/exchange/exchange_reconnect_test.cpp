#include "tests/support/script.hpp"

using namespace outrigger;
using namespace outrigger::test;

TEST_SUITE("exchange") {
  TEST_CASE("a pooled connection that had died is replaced at once by a fresh one to the same endpoint") {
    for (const Reason why : {Reason::closed_early, Reason::reset}) {
      CAPTURE(to_string(why));
      Script s{plain()};
      s.at(0ms, ready(), "start 0 primary e0");
      s.at(0ms, reused(0), "");
      s.at(0ms, sent(0), "");
      s.at(2ms, died_idle(0, why), "start 1 reconnect e0 fresh");
      s.at(3ms, connected(1), "");
      s.at(3ms, sent(1), "");
      s.at(20ms, head(1, 200), "relay 1");
      s.finish(30ms);
      s.attempts_are("1 primary abort reconnect @0+2, 1 reconnect success @2+28");
      s.decisions_are("");
      s.ends("200 ok success -a 30");
    }
  }

  TEST_CASE("a reconnect is free of the attempt count and of the budget") {
    Script s{retrying(2).budget(no_extras())};
    s.at(0ms, ready(), "start 0 primary e0");
    s.at(0ms, reused(0), "");
    s.at(1ms, died_idle(0), "start 1 reconnect e0 fresh");
    CHECK(s.extras() == 0);
    s.send(1ms, 1);
    s.at(5ms, head(1, 503), "relay 1 no-retry");
    s.finish(6ms);
    CHECK(s.stop_reason() == Reason::budget_denied);
  }

  TEST_CASE("there is one reconnect for a request, and afterwards no stale connection is risked") {
    Script s{retrying(2)};
    s.at(0ms, ready(), "start 0 primary e0");
    s.at(0ms, reused(0), "");
    s.at(1ms, died_idle(0), "start 1 reconnect e0 fresh");
    s.at(1ms, reused(1), "");
    s.at(2ms, died_idle(1), "");
    s.at(102ms, tick(), "start 2 retry e1 recent");
    s.at(102ms, reused(2), "");
    s.at(103ms, died_idle(2), "reply 502 closed_early no-retry");
    s.finish(104ms);
    s.attempts_are(
        "1 primary abort reconnect @0+1, 1 reconnect retryable closed_early @1+1, 2 retry retryable closed_early "
        "@102+1");
    s.ends("502 upstream_error closed_early U8 104 stop attempts_exhausted");
  }

  TEST_CASE("a retry's reconnect keeps the retry's budget permit") {
    Script s{retrying(2).budget({.type = policy::BudgetType::unlimited})};
    s.begin();
    s.at(1ms, head(0, 503), "hold 0");
    s.at(101ms, tick(), "start 1 retry e1");
    CHECK(s.extras() == 1);
    s.at(101ms, reused(1), "");
    s.at(102ms, died_idle(1), "start 2 reconnect e1 fresh");
    CHECK(s.extras() == 1);
    s.send(103ms, 2);
    s.at(110ms, head(2, 200), "drop 0, relay 2");
    CHECK(s.extras() == 1);
    s.at(120ms, done(2), "");
    CHECK(s.extras() == 0);
    s.finish(121ms);
    s.attempts_are("1 primary retryable http_503 @0+1, 2 retry abort reconnect @101+1, 2 reconnect success @102+18");
  }

  TEST_CASE("only an end within a second of the send is a stale connection") {
    Script in_time{plain()};
    in_time.at(0ms, ready(), "start 0 primary e0");
    in_time.at(0ms, reused(0), "");
    in_time.at(10ms, sent(0), "");
    in_time.at(1010ms, died_idle(0), "start 1 reconnect e0 fresh");

    Script late{plain()};
    late.at(0ms, ready(), "start 0 primary e0");
    late.at(0ms, reused(0), "");
    late.at(10ms, sent(0), "");
    late.at(1010ms + 1ns, died_idle(0), "reply 502 closed_early");
    late.finish(1011ms);
  }

  TEST_CASE("a write error before the connection was reported counts as stale") {
    Script s{plain()};
    s.at(0ms, ready(), "start 0 primary e0");
    s.at(0ms, died_idle(0, Reason::reset, Exposure::nothing_sent), "start 1 reconnect e0 fresh");
  }

  TEST_CASE("other failures, and those of fresh connections, are no reconnect") {
    Script fresh{plain()};
    fresh.begin();
    fresh.at(1ms, failed(0, Reason::closed_early), "reply 502 closed_early");
    fresh.finish(2ms);

    Script broken{plain()};
    broken.begin();
    broken.at(1ms, died_idle(0, Reason::protocol_error), "reply 502 protocol_error");
    broken.finish(2ms);
  }

  TEST_CASE("a POST is reconnected only if nothing of it was sent, or the policy allows it") {
    Script seen{plain().post()};
    seen.at(0ms, ready(), "start 0 primary e0 recent");
    seen.at(0ms, reused(0), "");
    seen.at(1ms, died_idle(0, Reason::reset, Exposure::partly_sent), "reply 502 reset");
    seen.finish(2ms);
    CHECK(seen.stop_reason() == Reason::http_non_idempotent);

    Script unseen{plain().post()};
    unseen.at(0ms, ready(), "start 0 primary e0 recent");
    unseen.at(0ms, reused(0), "");
    unseen.at(1ms, died_idle(0, Reason::reset, Exposure::nothing_sent), "start 1 reconnect e0 fresh");

    Script allowed{retrying(1).post().resend_any_method()};
    allowed.at(0ms, ready(), "start 0 primary e0");
    allowed.at(0ms, reused(0), "");
    allowed.at(1ms, died_idle(0), "start 1 reconnect e0 fresh");
  }

  TEST_CASE("a POST of which another attempt was seen is not reconnected either") {
    Script s{retrying(3).post()};
    s.at(0ms, ready(), "start 0 primary e0 recent");
    s.at(0ms, connected(0), "");
    s.at(1ms, unreachable(0), "");
    s.at(101ms, tick(), "start 1 retry e1 recent");
    s.at(101ms, reused(1), "");
    s.at(102ms, sent(1), "");
    s.at(103ms, died_idle(1, Reason::reset, Exposure::nothing_sent), "reply 502 reset no-retry");
    s.finish(104ms);
  }

  TEST_CASE("a body that is gone is not reconnected, one that is held is") {
    Script gone{plain().body()};
    gone.at(0ms, ready(), "read-body, start 0 primary e0");
    gone.at(0ms, reused(0), "");
    gone.at(1ms, body_overflowed(), "");
    gone.at(2ms, died_idle(0, Reason::reset, Exposure::partly_sent), "reply 502 reset");
    gone.finish(3ms);
    CHECK(gone.stop_reason() == Reason::body_not_replayable);

    Script held{plain().body()};
    held.at(0ms, ready(), "read-body, start 0 primary e0");
    held.at(0ms, reused(0), "");
    held.at(2ms, died_idle(0, Reason::reset, Exposure::partly_sent), "start 1 reconnect e0 fresh");
  }

  TEST_CASE("nothing is reconnected at the deadline") {
    Script s{plain().overall(100ms)};
    s.at(0ms, ready(), "start 0 primary e0");
    s.at(0ms, reused(0), "");
    s.at(99ms, sent(0), "");
    s.at(100ms, died_idle(0), "reply 502 closed_early");
    s.finish(101ms);
  }

  TEST_CASE("the reconnect may fail as any attempt, and a retry follows by the rule") {
    Script s{retrying(2)};
    s.at(0ms, ready(), "start 0 primary e0");
    s.at(0ms, reused(0), "");
    s.at(1ms, died_idle(0), "start 1 reconnect e0 fresh");
    s.at(2ms, unreachable(1), "");
    s.at(102ms, tick(), "start 2 retry e1 recent");
    s.send(103ms, 2);
    s.at(110ms, head(2, 200), "relay 2");
    s.finish(111ms);
    s.attempts_are(
        "1 primary abort reconnect @0+1, 1 reconnect retryable connect_refused @1+1, 2 retry success @102+9");
  }

  TEST_CASE("an interim response after a reconnect is dropped: the first attempt is no longer alone") {
    Script s{plain()};
    s.at(0ms, ready(), "start 0 primary e0");
    s.at(0ms, reused(0), "");
    s.at(1ms, died_idle(0), "start 1 reconnect e0 fresh");
    s.send(1ms, 1);
    s.at(2ms, interim(1, 103), "");
  }
}
