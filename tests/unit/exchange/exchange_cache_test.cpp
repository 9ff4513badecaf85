#include <doctest/doctest.h>

#include "tests/support/script.hpp"

using namespace outrigger;
using namespace outrigger::test;

TEST_SUITE("exchange") {
  TEST_CASE("an answer is stored while it is relayed and serves the next request") {
    Script s{plain().cache(5s)};
    s.begin();
    s.at(10ms, head(0, 200), "store 0, relay 0");
    s.at(11ms, done(0), "");
    s.finish(12ms);
    s.ends("200 ok success -a 12");
    s.again();
    s.at(1000ms, ready(), "serve-cached");
    s.finish(1001ms);
    s.ends("200 cached success -a 1");
    s.again();
    s.at(5011ms, ready(), "start 0 primary e1");
    s.at(5012ms, client_gone(), "abort 0");
  }

  TEST_CASE("an answer that had to be kept for a decision is not stored, and those who wait for it are told") {
    Script s{retrying(2).cache(5s)};
    s.begin();
    s.at(10ms, head(0, 503), "hold 0");
    s.at(110ms, tick(), "start 1 retry e1");
    s.at(111ms, unreachable(1), "relay 0 no-retry");
    s.at(112ms, in_memory(0), "");
    s.at(112ms, done(0), "");
    s.finish(113ms);
  }

  TEST_CASE("a request that wants a stored answer only is refused where there is none") {
    Given given = plain().cache(5s);
    given.facts.cache->demand->only_if_cached = true;
    Script s{given};
    s.at(0ms, ready(), "reply 504 not_cached");
    s.finish(1ms);
    s.ends("504 rejected not_cached P4 1");
  }

  TEST_CASE("a stale answer is sent instead of a failure of the server, for as long as the policy allows") {
    Script s{plain().cache(1s, 10s)};
    s.begin();
    s.at(10ms, head(0, 200), "store 0, relay 0");
    s.at(11ms, done(0), "");
    s.finish(12ms);
    s.again();
    s.at(5000ms, ready(), "start 0 primary e1");
    s.at(5001ms, unreachable(0), "serve-cached instead-of connect_refused");
    s.finish(5002ms);
    s.ends("200 fallback connect_refused U8 2 stop attempts_exhausted");
    s.again();
    s.at(12000ms, ready(), "start 0 primary e0");
    s.at(12001ms, unreachable(0), "reply 502 connect_refused");
    s.finish(12002ms);
  }

  TEST_CASE("a change that succeeds makes the stored answer useless") {
    Given given = plain().cache(5s);
    Script s{given};
    s.begin();
    s.at(10ms, head(0, 200), "store 0, relay 0");
    s.at(11ms, done(0), "");
    s.finish(12ms);
    exchange::RequestFacts change = given.facts;
    change.method = "DELETE";
    change.cache->demand.reset();
    s.again(change);
    s.at(20ms, ready(), "start 0 primary e1");
    s.send(20ms, 0);
    s.at(30ms, head(0, 204), "relay 0");
    s.at(31ms, done(0), "");
    s.finish(32ms);
    s.again(given.facts);
    s.at(40ms, ready(), "start 0 primary e0");
    s.at(41ms, client_gone(), "abort 0");
  }
}
