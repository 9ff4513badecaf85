#include <doctest/doctest.h>

#include "tests/support/script.hpp"

using namespace outrigger;
using namespace outrigger::test;
using policy::CacheAnswer;
using policy::CacheWaiter;

namespace {

policy::FallbackConfig when_out_of_time() {
  policy::FallbackConfig rule;
  rule.reasons.insert(Reason::overall_timeout);
  return rule;
}

policy::FallbackConfig when_exhausted() {
  policy::FallbackConfig rule;
  rule.exhausted = true;
  return rule;
}

/// One request whose answer of 200 is stored; it is delivered at `at`.
void fill(Script& s, Nanos at) {
  s.orders_of(at, ready());
  s.send(at, 0);
  s.at(at, head(0, 200), "store 0, relay 0");
  s.finish(at);
  s.again();
}

/// Whether the cache has an answer for the request.
bool has_answer(Script& s, Nanos at) { return s.ask_cache(at).kind == CacheAnswer::Kind::hit; }

exchange::RequestFacts change_of(const Given& given, std::string_view method = "DELETE") {
  exchange::RequestFacts change = given.facts;
  change.method = method;
  change.cache->demand.reset();
  return change;
}

}  // namespace

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

  TEST_CASE("a stored answer is served before anything is asked or taken, and teaches nothing") {
    Given given = plain().cache(5s).rate_limit(1h, 2).bulkhead(1, 0, 0s, policy::Counts::request).throttling();
    given.circuit(1, policy::CircuitScope::key, policy::Counts::request);
    Script s{given};
    fill(s, 0ms);
    CHECK(s.permits_left(1ms) == 1);
    const auto place = s.take_place();
    s.circuit().force_open();
    s.others_fail(1ms, 100'000);
    s.at(1ms, ready(), "serve-cached");
    CHECK(s.permits_left(1ms) == 1);
    s.finish(2ms);
    s.ends("200 cached success -a 1");
    CHECK(s.timeline().cache == exchange::CacheShown::hit);
    s.decisions_are("");
    s.attempts_are("");
  }

  TEST_CASE("the deadline comes before the cache") {
    Given given = plain().cache(5s);
    Script s{given};
    fill(s, 0ms);
    given.facts.client_deadline = 3ms;
    s.again(given.facts);
    s.at(1ms, ready(), "reply 504 deadline_too_short no-retry");
    s.finish(2ms);
    CHECK(s.timeline().cache == exchange::CacheShown::none);
  }

  TEST_CASE("a client that does not take a stored answer has left behind an answered request") {
    Script s{plain().cache(5s)};
    fill(s, 0ms);
    s.at(1ms, ready(), "serve-cached");
    s.wakeup_is(kForever);
    s.at(100ms, client_gone(), "");
    s.ends("200 cached success -a 99");
  }

  TEST_CASE("a request that takes no part asks no cache and changes nothing by reading") {
    Given given = plain().cache(5s);
    Script s{given};
    fill(s, 0ms);
    s.again(change_of(given, "GET"));
    s.at(1ms, ready(), "start 0 primary e1");
    s.send(1ms, 0);
    s.at(2ms, head(0, 200), "relay 0");
    s.finish(3ms);
    CHECK(s.timeline().cache == exchange::CacheShown::bypass);
    s.again(given.facts);
    CHECK(has_answer(s, 4ms));
  }

  // ---- who waits for another request's answer -------------------------------------------------

  TEST_CASE("who waits for another's answer holds nothing and is served with it") {
    Given given = plain().cache(5s).rate_limit(1h).bulkhead(1, 0, 0s, policy::Counts::request);
    Script s{given};
    CacheAnswer leader = s.ask_cache(0ms);
    REQUIRE(leader.kind == CacheAnswer::Kind::fetch);
    s.at(0ms, ready(), "");
    s.wakeup_is(15s);
    CHECK(s.permits_left(0ms) == 1);
    CHECK(s.bulkhead().in_flight() == 0);
    s.at(10ms, woken(), "");
    CHECK(s.cache().waiting() == 1);
    REQUIRE(s.store(leader.fill, 20ms));
    CHECK(s.woken() == 1);
    s.at(25ms, woken(), "serve-cached");
    s.finish(26ms);
    s.ends("200 cached success -a 26");
    CHECK(s.timeline().cache == exchange::CacheShown::coalesced);
    CHECK(s.timeline().waits.cache == 25ms);
  }

  TEST_CASE("a hint that was lost is made up for at the next look") {
    Script s{plain().cache(5s).max_duration(1s)};
    CacheAnswer leader = s.ask_cache(0ms);
    s.at(0ms, ready(), "");
    REQUIRE(s.store(leader.fill, 20ms));
    s.at(500ms, tick(), "serve-cached");
    s.finish(501ms);
  }

  TEST_CASE("an answer that was good when it was stored is served however late the hint comes") {
    Script s{plain().cache(10ms)};
    CacheAnswer leader = s.ask_cache(0ms);
    s.at(0ms, ready(), "");
    REQUIRE(s.store(leader.fill, 20ms));
    s.at(15s, woken(), "serve-cached");
    s.finish(15001ms);
    s.ends("200 cached success -a 15001");
  }

  TEST_CASE("whatever becomes of the leader without an answer, who waited goes on alone and may store his own") {
    Script s{plain().cache(5s).bulkhead(1)};
    CacheAnswer leader = s.ask_cache(0ms);
    s.at(0ms, ready(), "");
    SUBCASE("it gave up") { s.give_up(leader.fill, 10ms); }
    SUBCASE("it got what is not stored") {
      policy::CacheHead error = Script::stored_head();
      error.status = 500;
      CHECK(!s.store(leader.fill, 10ms, error));
    }
    SUBCASE("it got what may not be stored") {
      policy::CacheHead secret = Script::stored_head();
      secret.terms.storable = false;
      CHECK(!s.store(leader.fill, 10ms, secret));
    }
    SUBCASE("it vanished") { leader.fill = {}; }
    CHECK(s.woken() == 1);
    CHECK(s.bulkhead().in_flight() == 0);
    s.at(11ms, woken(), "start 0 primary e0");
    CHECK(s.timeline().cache == exchange::CacheShown::miss);
    CHECK(s.timeline().waits.cache == 11ms);
    CHECK(s.timeline().queued == 11ms);
    s.send(11ms, 0);
    s.at(20ms, head(0, 200), "store 0, relay 0");
    s.finish(21ms);
    CHECK(has_answer(s, 22ms));
    s.attempts_are("1 primary success @11+10");
  }

  TEST_CASE("for a while after that nobody waits for such an answer") {
    Script s{plain().cache(5s)};
    CacheAnswer leader = s.ask_cache(0ms);
    s.at(0ms, ready(), "");
    s.give_up(leader.fill, 10ms);
    s.at(11ms, woken(), "start 0 primary e0");
    CacheWaiter other;
    CHECK(s.ask_cache(12ms, &other).kind == CacheAnswer::Kind::fetch);
    s.at(13ms, client_gone(), "abort 0");
  }

  TEST_CASE("who waits for another's answer ends by the clock of its own request") {
    SUBCASE("at its deadline") {
      Script s{plain().client_waits(100ms).cache(5s)};
      CacheAnswer leader = s.ask_cache(0ms);
      s.at(0ms, ready(), "");
      s.wakeup_is(100ms);
      s.at(100ms, tick(), "reply 504 overall_timeout no-retry");
      CHECK(s.cache().waiting() == 0);
      s.finish(101ms);
      s.ends("504 timeout overall_timeout P4 101");
      CHECK(s.timeline().waits.cache == 100ms);
      s.decisions_are("100 cache overall_timeout");
    }
    SUBCASE("woken in that very moment, it may still have the answer") {
      Script s{plain().client_waits(100ms).cache(5s)};
      CacheAnswer leader = s.ask_cache(0ms);
      s.at(0ms, ready(), "");
      REQUIRE(s.store(leader.fill, 100ms));
      s.at(100ms, tick(), "serve-cached");
      s.finish(101ms);
    }
    SUBCASE("woken in that very moment, it starts nothing alone") {
      Script s{plain().client_waits(100ms).cache(5s)};
      CacheAnswer leader = s.ask_cache(0ms);
      s.at(0ms, ready(), "");
      s.give_up(leader.fill, 100ms);
      s.at(100ms, tick(), "reply 504 overall_timeout no-retry");
      s.finish(101ms);
      s.ends("504 timeout overall_timeout P4 101");
    }
    SUBCASE("at the most it may take") {
      Script s{plain().max_duration(50ms).cache(5s)};
      CacheAnswer leader = s.ask_cache(0ms);
      s.at(0ms, ready(), "");
      s.wakeup_is(50ms);
      s.at(50ms, tick(), "reply 504 max_duration");
      s.finish(51ms);
      s.ends("504 timeout max_duration P4 51");
    }
    SUBCASE("when its client leaves") {
      Script s{plain().cache(5s)};
      CacheAnswer leader = s.ask_cache(0ms);
      s.at(0ms, ready(), "");
      s.at(50ms, client_gone(), "");
      CHECK(s.timeline().waits.cache == 50ms);
      CHECK(s.cache().waiting() == 0);
      CHECK(s.store(leader.fill, 60ms));
      CHECK(s.woken() == 0);
    }
    SUBCASE("when the process goes") {
      Script s{plain().cache(5s)};
      CacheAnswer leader = s.ask_cache(0ms);
      s.at(0ms, ready(), "");
      s.at(50ms, drained(), "reply 503 draining retry-after 1000");
      CHECK(s.cache().waiting() == 0);
      s.finish(51ms);
    }
  }

  TEST_CASE("who waited too long for another's answer may have an old one") {
    Given given = plain().client_waits(100ms).cache(1s, 10s);
    SUBCASE("by the fallback") { given.fallback_stale(when_out_of_time()); }
    SUBCASE("by the cache's own rule") {}
    Script s{given};
    fill(s, 0ms);
    CacheAnswer leader = s.ask_cache(5s);
    REQUIRE(leader.kind == CacheAnswer::Kind::fetch);
    s.at(5s, ready(), "");
    s.at(5100ms, tick(), "serve-cached instead-of overall_timeout");
    CHECK(s.cache().waiting() == 0);
    s.finish(5101ms);
    s.ends("200 fallback overall_timeout P4 101");
    CHECK(s.timeline().cache == exchange::CacheShown::stale);
  }

  TEST_CASE("who wants a stored answer only does not wait for one") {
    Given given = plain().cache(5s);
    Script s{given};
    CacheAnswer leader = s.ask_cache(0ms);
    given.facts.cache->demand->only_if_cached = true;
    s.again(given.facts);
    s.at(0ms, ready(), "reply 504 not_cached");
    s.finish(1ms);
    CHECK(s.timeline().cache == exchange::CacheShown::unsatisfiable);
  }

  TEST_CASE("who wants an answer of its own neither waits nor is waited for") {
    Given given = plain().cache(5s);
    Script s{given};
    fill(s, 0ms);
    given.facts.cache->demand->no_cache = true;
    s.again(given.facts);
    s.at(1ms, ready(), "start 0 primary e1");
    s.send(1ms, 0);
    s.at(2ms, head(0, 200), "store 0, relay 0");
    s.finish(3ms);
  }

  TEST_CASE("after a wait for another's answer the stages follow as if there had been none") {
    Given given = plain().cache(5s);
    std::string_view expected;
    SUBCASE("rate limit") {
      given.rate_limit(1h, 1, 0s, policy::Counts::request);
      expected = "reply 429 rate_limited retry-after 3600000 no-retry";
    }
    SUBCASE("bulkhead") {
      given.bulkhead(1, 0, 0s, policy::Counts::request);
      expected = "reply 503 bulkhead_full retry-after 1000";
    }
    Script s{given};
    policy::GatePermit place;
    if (!given.bulkheads.empty()) place = s.take_place();
    if (!given.rate_limits.empty()) {
      fill(s, 0ms);
      s.cache().shed(1);
    }
    CacheAnswer leader = s.ask_cache(0ms);
    s.at(0ms, ready(), "");
    s.give_up(leader.fill, 0ms);
    s.at(0ms, woken(), expected);
    s.finish(1ms);
    CHECK(!s.timeline().waits.rate_limit.count());
  }

  // ---- who leads -----------------------------------------------------------------------------

  TEST_CASE("others wait for the answer of the first, through its retries and hedges, until it is stored") {
    Script s{retrying(2).hedge(50ms).cache(5s)};
    CacheWaiter other;
    s.begin();
    CHECK(s.ask_cache(1ms, &other).kind == CacheAnswer::Kind::wait);
    s.at(10ms, head(0, 503), "hold 0");
    CHECK(other.state() == CacheWaiter::State::waiting);
    s.at(110ms, tick(), "start 1 retry e1");
    s.send(110ms, 1);
    s.at(160ms, tick(), "start 2 hedge e0");
    s.send(160ms, 2);
    CHECK(other.state() == CacheWaiter::State::waiting);
    s.at(170ms, head(2, 200), "drop 0, store 2, abort 1, relay 2");
    CHECK(other.state() == CacheWaiter::State::served);
    s.finish(171ms);
    other.leave();
  }

  TEST_CASE("those who wait are told as soon as nothing will be stored") {
    CacheWaiter other;
    const auto join = [&](Script& s) { CHECK(s.ask_cache(1ms, &other).kind == CacheAnswer::Kind::wait); };
    SUBCASE("the leader failed") {
      Script s{plain().cache(5s)};
      s.at(0ms, ready(), "start 0 primary e0");
      join(s);
      s.at(2ms, unreachable(0), "reply 502 connect_refused");
      CHECK(other.state() == CacheWaiter::State::alone);
      s.finish(3ms);
      other.leave();
    }
    SUBCASE("it was refused after a wait") {
      Script s{plain().cache(5s).bulkhead(1, 1, 100ms)};
      const auto place = s.take_place();
      s.at(0ms, ready(), "");
      join(s);
      s.at(100ms, tick(), "reply 503 bulkhead_queue_timeout retry-after 1000");
      CHECK(other.state() == CacheWaiter::State::alone);
      s.finish(101ms);
      other.leave();
    }
    SUBCASE("its client left") {
      Script s{plain().cache(5s)};
      s.begin();
      join(s);
      s.at(2ms, client_gone(), "abort 0");
      CHECK(other.state() == CacheWaiter::State::alone);
      other.leave();
    }
    SUBCASE("its client left while the answer came") {
      Script s{plain().cache(5s)};
      s.answers_keep_coming();
      s.begin();
      join(s);
      s.at(2ms, head(0, 200), "store 0, relay 0");
      CHECK(other.state() == CacheWaiter::State::waiting);
      s.at(3ms, client_gone(), "abort 0, close");
      CHECK(other.state() == CacheWaiter::State::alone);
      other.leave();
      CHECK(!has_answer(s, 4ms));
    }
    SUBCASE("its answer broke off") {
      Script s{plain().cache(5s)};
      s.answers_keep_coming();
      s.begin();
      join(s);
      s.at(2ms, head(0, 200), "store 0, relay 0");
      s.at(3ms, failed(0, Reason::closed_early), "close");
      CHECK(other.state() == CacheWaiter::State::alone);
      other.leave();
      CHECK(!has_answer(s, 4ms));
    }
    SUBCASE("a kept answer is relayed after all") {
      Script s{retrying(2).cache(5s)};
      s.begin();
      join(s);
      s.at(10ms, head(0, 503), "hold 0");
      s.at(110ms, tick(), "start 1 retry e1");
      s.at(111ms, unreachable(1), "relay 0 no-retry");
      CHECK(other.state() == CacheWaiter::State::alone);
      s.finish(112ms);
      other.leave();
    }
    SUBCASE("a fallback answers") {
      Script s{plain().cache(5s).fallback(when_exhausted())};
      s.begin();
      join(s);
      s.at(10ms, head(0, 503), "discard 0, reply 200 http_5xx instead-of http_503");
      CHECK(other.state() == CacheWaiter::State::alone);
      s.finish(12ms);
      other.leave();
    }
    SUBCASE("a fallback's upstream is asked, whose answer is not stored") {
      Script s{plain().cache(5s).fallback_upstream(when_exhausted())};
      s.begin();
      join(s);
      s.at(10ms, head(0, 503), "hold 0, start 1 fallback e0");
      CHECK(other.state() == CacheWaiter::State::alone);
      s.send(10ms, 1);
      s.at(20ms, head(1, 200), "drop 0, relay 1 instead-of http_503");
      s.finish(21ms);
      other.leave();
      CHECK(!has_answer(s, 22ms));
    }
    SUBCASE("the process goes") {
      Script s{plain().cache(5s)};
      s.begin();
      join(s);
      s.at(2ms, drained(), "abort 0, reply 503 draining retry-after 1000");
      CHECK(other.state() == CacheWaiter::State::alone);
      s.finish(3ms);
      other.leave();
    }
    SUBCASE("the edge drops it") {
      Script s{plain().cache(5s)};
      s.begin();
      join(s);
      s.abandon();
      CHECK(other.state() == CacheWaiter::State::alone);
      other.leave();
    }
  }

  // ---- what is not stored --------------------------------------------------------------------

  TEST_CASE("an answer with a fault in it is not stored") {
    policy::ChaosConfig chaos;
    SUBCASE("made up") {
      chaos.abort = policy::ChaosAbort{.probability = 1, .kind = policy::ChaosAbort::Kind::status, .status = 200};
      Script s{plain().cache(5s).chaos(chaos)};
      s.at(0ms, ready(), "reply 200 success");
      s.finish(1ms);
      CHECK(!has_answer(s, 2ms));
    }
    SUBCASE("cut short") {
      chaos.abort = policy::ChaosAbort{.probability = 1, .kind = policy::ChaosAbort::Kind::truncate};
      Script s{plain().cache(5s).chaos(chaos)};
      s.begin();
      s.at(1ms, head(0, 200), "relay 0 truncated");
      s.at(1ms, failed(0, Reason::closed_early), "close");
      CHECK(!has_answer(s, 2ms));
    }
    SUBCASE("but one that is only late") {
      chaos.delay = policy::ChaosDelay{.probability = 1, .min = 5ms, .max = 5ms};
      Script s{plain().cache(5s).chaos(chaos)};
      s.at(0ms, ready(), "");
      s.at(5ms, tick(), "start 0 primary e0");
      s.send(5ms, 0);
      s.at(6ms, head(0, 200), "store 0, relay 0");
      s.finish(7ms);
      CHECK(has_answer(s, 8ms));
    }
  }

  // ---- instead of a failure ------------------------------------------------------------------

  TEST_CASE("a fallback to old answers needs its own occasion, and an answer that is not too old") {
    Script s{plain().cache(1s, 10s).fallback_stale(when_out_of_time())};
    fill(s, 0ms);
    SUBCASE("no occasion") {
      s.at(5s, ready(), "start 0 primary e1");
      s.at(5001ms, unreachable(0), "reply 502 connect_refused");
      s.finish(5002ms);
    }
    SUBCASE("too old") {
      s.at(5s, ready(), "start 0 primary e1");
      s.send(5s, 0);
      s.at(20s, tick(), "abort 0, reply 504 overall_timeout no-retry");
      s.finish(20s);
    }
    SUBCASE("in time") {
      s.facts().client_deadline = 2s;
      s.again();
      s.at(5s, ready(), "start 0 primary e1");
      s.send(5s, 0);
      s.at(7s, tick(), "abort 0, serve-cached instead-of overall_timeout");
      s.finish(7001ms);
      s.ends("200 fallback overall_timeout P8 2001 stop non_retryable");
    }
  }

  TEST_CASE("an old answer stands in for a refusal of our own, too, and gives everything back") {
    Script s{plain().cache(1s, 10s).bulkhead(1)};
    fill(s, 0ms);
    const auto place = s.take_place();
    s.at(5s, ready(), "serve-cached instead-of bulkhead_full");
    s.finish(5001ms);
    s.ends("200 fallback bulkhead_full P8 1");
  }

  TEST_CASE("an old answer stands in for the last answer of the upstream, which goes unread") {
    Script s{retrying(2).cache(1s, 10s).circuit(5, policy::CircuitScope::key, policy::Counts::request)};
    fill(s, 0ms);
    s.at(5s, ready(), "start 0 primary e1");
    s.send(5s, 0);
    s.at(5010ms, head(0, 503), "hold 0");
    s.at(5110ms, tick(), "start 1 retry e0");
    s.send(5110ms, 1);
    s.at(5120ms, head(1, 500), "drop 0, discard 1, serve-cached instead-of http_500");
    s.finish(5121ms);
    s.ends("200 fallback http_5xx -a 121 stop attempts_exhausted");
    CHECK(s.circuit().failures_in_a_row() == 1);
  }

  TEST_CASE("an old answer does not stand in for what is not the server's failure") {
    for (const int status : {404, 429, 501}) {
      Script s{plain().cache(1s, 10s)};
      fill(s, 0ms);
      s.at(5s, ready(), "start 0 primary e1");
      s.send(5s, 0);
      s.at(5010ms, head(0, status), "store 0, relay 0");
      s.finish(5011ms);
    }
  }

  TEST_CASE("who comes with too little time may have an old answer, if that takes no more") {
    Given given = plain().cache(1s, 10s);
    policy::FallbackConfig rule;
    rule.reasons.insert(Reason::deadline_too_short);
    given.fallback_stale(rule);
    Script s{given};
    fill(s, 0ms);
    given.facts.client_deadline = 3ms;
    SUBCASE("there is one") {
      s.again(given.facts);
      s.at(5s, ready(), "serve-cached instead-of deadline_too_short");
      s.finish(5001ms);
      s.ends("200 fallback deadline_too_short P3 1");
    }
    SUBCASE("there is none") {
      given.facts.cache->key = "other";
      s.again(given.facts);
      s.at(5s, ready(), "reply 504 deadline_too_short no-retry");
      s.finish(5001ms);
    }
    SUBCASE("it takes no part") {
      given.facts.cache->demand.reset();
      s.again(given.facts);
      s.at(5s, ready(), "reply 504 deadline_too_short no-retry");
      s.finish(5001ms);
    }
  }

  TEST_CASE("who bypasses the cache gets no old answer either") {
    Given given = plain().cache(1s, 10s);
    Script s{given};
    fill(s, 0ms);
    s.again(change_of(given, "GET"));
    s.at(5s, ready(), "start 0 primary e1");
    s.at(5001ms, unreachable(0), "reply 502 connect_refused");
    s.finish(5002ms);
  }

  // ---- what changes the resource -------------------------------------------------------------

  TEST_CASE("only a change that succeeded makes the stored answer useless") {
    Given given = plain().cache(5s);
    Script s{given};
    fill(s, 0ms);
    bool gone = false;
    const auto change = [&](std::string_view method, int status) {
      s.again(change_of(given, method));
      s.orders_of(1ms, ready());
      s.send(1ms, 0);
      s.orders_of(2ms, head(0, status));
      s.finish(3ms);
    };
    SUBCASE("it did") { change("POST", 201), gone = true; }
    SUBCASE("it sent elsewhere") { change("POST", 303), gone = true; }
    SUBCASE("by a method nobody knows") { change("PURGE", 200), gone = true; }
    SUBCASE("it was wrong") { change("POST", 409); }
    SUBCASE("it failed") { change("PUT", 500); }
    SUBCASE("it could change nothing") { change("OPTIONS", 200); }
    SUBCASE("it was a trace") { change("TRACE", 200); }
    SUBCASE("nobody was there") {
      s.again(change_of(given));
      s.orders_of(1ms, ready());
      s.at(2ms, unreachable(0), "reply 502 connect_refused");
      s.finish(3ms);
    }
    s.again(given.facts);
    CHECK(has_answer(s, 4ms) != gone);
  }

  TEST_CASE("a change that was answered elsewhere is a change, one that was made up is none") {
    Given given = plain().cache(5s);
    bool gone = false;
    SUBCASE("elsewhere") {
      given.fallback_upstream(when_exhausted());
      gone = true;
    }
    SUBCASE("made up") {
      policy::ChaosConfig chaos;
      chaos.abort = policy::ChaosAbort{.probability = 1, .kind = policy::ChaosAbort::Kind::status, .status = 200};
      given.chaos(chaos);
      given.facts.chaos = false;
    }
    Script s{given};
    fill(s, 0ms);
    exchange::RequestFacts change = change_of(given, "PUT");
    change.chaos = !gone;
    s.again(change);
    s.orders_of(1ms, ready());
    if (gone) {
      s.at(2ms, unreachable(0), "start 1 fallback e0");
      s.send(2ms, 1);
      s.at(3ms, head(1, 200), "relay 1 instead-of connect_refused");
    }
    s.finish(4ms);
    s.again(given.facts);
    CHECK(has_answer(s, 5ms) != gone);
  }

  TEST_CASE("an answer asked for before a change is not stored after it, and nobody waits for it any longer") {
    Given given = plain().cache(5s);
    Script s{given};
    CacheAnswer before = s.ask_cache(0ms);
    CacheWaiter other;
    CHECK(s.ask_cache(0ms, &other).kind == CacheAnswer::Kind::wait);
    s.again(change_of(given));
    s.at(0ms, ready(), "start 0 primary e0");
    s.send(0ms, 0);
    s.at(1ms, head(0, 204), "relay 0");
    CHECK(other.state() == CacheWaiter::State::alone);
    s.finish(2ms);
    other.leave();
    s.store(before.fill, 3ms);
    s.again(given.facts);
    s.at(4ms, ready(), "start 0 primary e1");
    s.at(5ms, client_gone(), "abort 0");
  }
}
