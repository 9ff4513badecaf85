#include <doctest/doctest.h>

#include "tests/support/script.hpp"

using namespace outrigger;
using namespace outrigger::test;

namespace {

policy::ChaosConfig abort_with(policy::ChaosAbort::Kind kind, std::uint16_t status = 503) {
  policy::ChaosConfig config;
  config.abort = policy::ChaosAbort{.probability = 1, .kind = kind, .status = status};
  return config;
}

policy::ChaosConfig delay_of(Nanos delay) {
  policy::ChaosConfig config;
  config.delay = policy::ChaosDelay{.probability = 1, .min = delay, .max = delay};
  return config;
}

using Kind = policy::ChaosAbort::Kind;

}  // namespace

TEST_SUITE("exchange") {
  TEST_CASE("an injected status looks like the upstream's answer to all that follows") {
    Script s{retrying(2).chaos(abort_with(Kind::status))};
    s.at(0ms, ready(), "");
    s.wakeup_is(100ms);
    s.at(100ms, tick(), "reply 503 http_5xx no-retry");
    s.finish(101ms);
    s.ends("503 upstream_error http_5xx -a 101 stop attempts_exhausted");
    s.attempts_are("1 primary retryable http_503 @0+0, 2 retry retryable http_503 @100+1");
  }

  TEST_CASE("an injected reset counts as one after bytes were sent") {
    Script s{plain().post().chaos(abort_with(Kind::reset))};
    s.at(0ms, ready(), "reply 502 reset");
    s.finish(1ms);
    s.ends("502 upstream_error reset U8 1 stop http_non_idempotent");
  }

  TEST_CASE("an injected delay comes before the attempt and is the upstream's for every limit") {
    Script s{retrying(1).attempt_timeout(100ms).chaos(delay_of(80ms))};
    s.at(0ms, ready(), "");
    s.wakeup_is(80ms);
    s.at(80ms, tick(), "start 0 primary e0");
    s.send(81ms, 0);
    s.wakeup_is(101ms);
    s.at(101ms, tick(), "abort 0, reply 504 attempt_timeout");
    s.finish(102ms);
  }

  TEST_CASE("a delay beyond the attempt's time limit is a timeout without the edge") {
    Script s{retrying(1).attempt_timeout(100ms).chaos(delay_of(500ms))};
    s.at(0ms, ready(), "");
    s.at(100ms, tick(), "reply 504 attempt_timeout");
    s.finish(102ms);
  }

  TEST_CASE("a client that leaves during a delay ends it, and nothing is said to the edge about the attempt") {
    Script s{plain().chaos(delay_of(500ms))};
    s.at(0ms, ready(), "");
    s.at(10ms, client_gone(), "");
    s.ends("499 client_gone client_disconnected D8 10");
  }

  TEST_CASE("the deadline ends a delay") {
    Script s{plain().overall(200ms).chaos(delay_of(500ms))};
    s.at(0ms, ready(), "");
    s.wakeup_is(200ms);
    s.at(200ms, tick(), "reply 504 overall_timeout no-retry");
    s.finish(201ms);
  }

  TEST_CASE("an answer that is cut short on purpose is relayed as such") {
    Script s{plain().chaos(abort_with(Kind::truncate))};
    s.begin();
    s.at(10ms, head(0, 200), "relay 0 truncated");
    s.at(10ms, failed(0, Reason::closed_early), "close");
    s.ends("200 upstream_error closed_early U9 10 stop response_committed");
  }

  TEST_CASE("a request that the experiment is not meant for meets no faults") {
    Given given = plain().chaos(abort_with(Kind::reset));
    given.facts.chaos = false;
    Script s{given};
    s.at(0ms, ready(), "start 0 primary e0");
    s.at(1ms, client_gone(), "abort 0");
  }
}
