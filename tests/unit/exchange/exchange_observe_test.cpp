#include <doctest/doctest.h>

#include "tests/support/script.hpp"

using namespace outrigger;
using namespace outrigger::test;

TEST_SUITE("exchange") {
  TEST_CASE("a policy that only observes refuses nothing and says what it would have refused") {
    Script s{plain().rate_limit(1s).bulkhead(1).circuit(1).observes()};
    const auto place = s.take_place();
    s.begin();
    s.at(10ms, head(0, 500), "relay 0");
    s.at(11ms, done(0), "");
    s.finish(12ms);
    s.ends("500 upstream_error http_5xx -a 12 stop attempts_exhausted");
    s.decisions_are("0 bulkhead would_bulkhead_full");
    s.again();
    s.begin();
    s.at(20ms, head(0, 200), "relay 0");
    s.at(21ms, done(0), "");
    s.finish(22ms);
    s.decisions_are("0 rate_limit would_rate_limited, 0 bulkhead would_bulkhead_full, 0 circuit would_circuit_open");
  }

  TEST_CASE("a policy that only observes does not retry, and says that it would have") {
    Script s{retrying(3).attempt_timeout(5ms).observes()};
    s.begin();
    s.at(10ms, head(0, 503), "relay 0");
    s.at(11ms, done(0), "");
    s.finish(12ms);
    s.decisions_are("10 retry would_retry");
  }

  TEST_CASE("a policy that only observes does not hedge, and says when it would have") {
    Script s{plain().hedge(20ms).observes()};
    s.begin();
    s.at(20ms, tick(), "");
    s.at(30ms, head(0, 200), "relay 0");
    s.at(31ms, done(0), "");
    s.finish(32ms);
    s.decisions_are("20 hedge would_hedge");
  }

  TEST_CASE("a client's own deadline still ends its request") {
    Script s{plain().client_waits(3ms).observes()};
    s.begin();
    s.at(3ms, tick(), "abort 0, reply 504 overall_timeout no-retry");
    s.finish(4ms);
    s.decisions_are("0 deadline would_deadline_too_short");
  }

  TEST_CASE("faults, fallbacks and stored answers are only noted") {
    policy::FallbackConfig rule;
    rule.exhausted = true;
    policy::ChaosConfig chaos;
    chaos.abort = policy::ChaosAbort{.probability = 1, .kind = policy::ChaosAbort::Kind::reset};
    Script s{plain().fallback(rule).chaos(chaos).observes()};
    s.begin();
    s.at(10ms, head(0, 503), "relay 0");
    s.at(11ms, done(0), "");
    s.finish(12ms);
    s.decisions_are("0 chaos would_chaos, 10 fallback would_fallback");
  }
}
