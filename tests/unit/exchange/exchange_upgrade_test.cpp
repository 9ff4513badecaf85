#include <string>

#include "tests/support/script.hpp"

using namespace outrigger;
using namespace outrigger::test;

namespace {

exchange::Event idle() { return exchange::Cancelled{Reason::tunnel_idle}; }

}  // namespace

TEST_SUITE("exchange") {
  TEST_CASE("a 101 is the request's success: no limit on the wait for an answer has to do with the tunnel") {
    Script s{plain().upgrade().overall(1s).client_waits(2s).attempt_timeout(1s)};
    s.begin();
    s.at(5ms, head(0, 101), "relay 0");
    CHECK(s.in_flight() == 1);
    s.wakeup_is(kForever);
    s.at(1h, tick(), "");
    CHECK(s.in_flight() == 1);
    s.at(2h, done(0), "");
    s.finish(2h);
    s.attempts_are("1 primary success @0+7200000");
    s.ends("101 ok success -a 7200000");
  }

  TEST_CASE("the greatest duration of a request includes its tunnel") {
    Script s{plain().upgrade().max_duration(1min)};
    s.begin();
    s.at(5ms, head(0, 101), "relay 0");
    s.wakeup_is(1min);
    s.at(1min, tick(), "abort 0, close");
    s.ends("101 timeout max_duration P9 60000");
  }

  TEST_CASE("a tunnel that was idle for too long, or outlives the drain, is cut") {
    Script idles{plain().upgrade()};
    idles.begin();
    idles.at(5ms, head(0, 101), "relay 0");
    idles.at(1h, idle(), "abort 0, close");
    idles.attempts_are("1 primary abort tunnel_idle @0+3600000");
    idles.ends("101 ok tunnel_idle P9 3600000");

    Script drains{plain().upgrade()};
    drains.begin();
    drains.at(5ms, head(0, 101), "relay 0");
    drains.at(9ms, drained(), "abort 0, close");
    drains.ends("101 rejected drained P9 9");
  }

  TEST_CASE("how a tunnel ends is recorded, and teaches nobody anything") {
    Script s{retrying(3).upgrade().circuit(1).throttling()};
    s.begin();
    s.at(5ms, head(0, 101), "relay 0");
    s.at(9ms, failed(0, Reason::reset), "close");
    s.attempts_are("1 primary abort response_committed @0+9");
    s.ends("101 upstream_error reset U9 9 stop response_committed");
    CHECK(s.circuit().state() == policy::CircuitState::closed);
    CHECK(s.rejection(10ms) == 0);
  }

  TEST_CASE("the circuit learns of the success when the answer comes, not when the tunnel ends") {
    Given given = plain().upgrade().circuit(1);
    given.circuits[0].cooldown = 1s;
    given.circuits[0].successes = 1;
    Script s{given};
    s.begin();
    s.at(1ms, failed(0, Reason::reset), "reply 502 reset");
    s.finish(1ms);
    CHECK(s.circuit().state() == policy::CircuitState::open);
    s.again();
    s.at(2s, ready(), "start 0 primary e1 recent");
    s.send(2s, 0);
    s.at(2005ms, head(0, 101), "relay 0");
    CHECK(s.circuit().state() == policy::CircuitState::closed);
    s.at(3s, client_gone(), "abort 0, close");
  }

  TEST_CASE("an upgrade that was sent is not sent again, whatever the policy says") {
    for (const Exposure exposure : {Exposure::partly_sent, Exposure::fully_sent}) {
      Script s{retrying(3).resend_any_method().upgrade()};
      s.begin();
      s.at(5ms, failed(0, Reason::reset, exposure), "reply 502 reset");
      s.finish(5ms);
      s.ends("502 upstream_error reset U8 5 stop http_non_idempotent");
    }
    Script refused{retrying(3).resend_any_method().upgrade()};
    refused.begin();
    refused.at(5ms, head(0, 503), "relay 0");
    refused.at(6ms, done(0), "");
    refused.finish(6ms);
    refused.ends("503 upstream_error http_5xx -a 6 stop http_non_idempotent");

    Script silent{retrying(3).upgrade().attempt_timeout(1s)};
    silent.begin();
    silent.at(1s, tick(), "abort 0, reply 504 attempt_timeout");
    silent.finish(1s);

    Script idle_connection{retrying(3).resend_any_method().upgrade()};
    idle_connection.at(0ms, ready(), "start 0 primary e0 recent");
    idle_connection.at(0ms, reused(0), "");
    idle_connection.at(1ms, died_idle(0), "reply 502 closed_early");
    idle_connection.finish(1ms);
  }

  TEST_CASE("an upgrade that has not been sent is tried again like anything else") {
    Script s{retrying(3).upgrade()};
    s.at(0ms, ready(), "start 0 primary e0 recent");
    s.at(1ms, unreachable(0), "");
    s.at(101ms, tick(), "start 1 retry e1 recent");
    s.send(101ms, 1);
    s.at(105ms, head(1, 101), "relay 1");
    s.at(106ms, done(1), "");
    s.finish(106ms);
    s.ends("101 ok success -a 106");
  }

  TEST_CASE("an upgrade is not hedged, and no fallback's upstream gets what another has seen") {
    Script hedged{plain().upgrade().hedge(10ms)};
    hedged.begin();
    hedged.at(20ms, tick(), "");
    hedged.at(25ms, head(0, 101), "relay 0");
    hedged.at(26ms, client_gone(), "abort 0, close");

    policy::FallbackConfig rule;
    rule.reasons = {Reason::reset};
    Script sent{plain().upgrade().fallback_upstream(rule)};
    sent.begin();
    sent.at(5ms, failed(0, Reason::reset), "reply 502 reset");
    sent.finish(5ms);
    Script unsent{plain().upgrade().fallback_upstream(rule)};
    unsent.at(0ms, ready(), "start 0 primary e0 recent");
    unsent.at(5ms, failed(0, Reason::reset, Exposure::nothing_sent), "start 1 fallback e0 recent");
    unsent.send(5ms, 1);
    unsent.at(6ms, head(1, 101), "relay 1 instead-of reset");
    unsent.at(7ms, done(1), "");
    unsent.finish(7ms);
  }

  TEST_CASE("a switch to something else is a broken answer: nobody would answer otherwise") {
    Script s{retrying(3).upgrade()};
    s.begin();
    s.at(5ms, failed(0, Reason::upgrade_refused), "reply 502 upgrade_refused");
    s.finish(5ms);
    s.attempts_are("1 primary non_retryable upgrade_refused @0+5");
    s.ends("502 upstream_error upgrade_refused U8 5 stop non_retryable");
  }
}
