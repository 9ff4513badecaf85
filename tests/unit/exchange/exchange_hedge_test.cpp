#include <doctest/doctest.h>

#include "tests/support/script.hpp"

using namespace outrigger;
using namespace outrigger::test;

namespace {

/// One round, a hedge after 50 ms.
Given hedging(std::uint32_t most = 1) { return Given{plain()}.hedge(50ms, most); }

}  // namespace

TEST_SUITE("exchange") {
  TEST_CASE("a hedge starts after its delay at another endpoint, and the first good head wins") {
    for (const int winner : {0, 1}) {
      Script script{hedging()};
      script.begin();
      script.wakeup_is(50ms);
      script.at(50ms, tick(), "start 1 hedge e1");
      script.send(50ms, 1);
      const std::string loser = std::to_string(1 - winner);
      script.at(70ms, head(winner, 200), "abort " + loser + ", relay " + std::to_string(winner));
      script.at(71ms, done(winner), "");
      script.finish(72ms);
      script.attempts_are(winner == 0 ? "1 primary success @0+71, 2 hedge abort hedge_lost @50+20"
                                      : "1 primary abort hedge_lost @0+70, 2 hedge success @50+21");
      script.ends("200 ok success -a 72");
    }
  }

  TEST_CASE("an answer in time needs no hedge") {
    Script script{hedging()};
    script.begin();
    script.at(49ms, head(0, 200), "relay 0");
    script.at(50ms, tick(), "");
    script.finish(51ms);
    CHECK(script.timeline().attempts.size() == 1);
  }

  TEST_CASE("the k-th hedge starts at k delays, and no more of them than there may be") {
    Script script{hedging(2)};
    script.begin();
    script.at(50ms, tick(), "start 1 hedge e1");
    script.send(50ms, 1);
    script.wakeup_is(100ms);
    script.at(100ms, tick(), "start 2 hedge e0");
    script.send(100ms, 2);
    script.wakeup_is(15s);
    script.at(110ms, head(2, 200), "abort 0, abort 1, relay 2");
    script.finish(111ms);
    CHECK(script.timeline().attempts[2].hedge == 2);
    CHECK(script.timeline().attempts[2].n == 3);
  }

  TEST_CASE("a failed attempt waits for the one that still runs, and the round's end decides about another") {
    Script script{Given{retrying(2)}.hedge(50ms)};
    script.begin();
    script.at(50ms, tick(), "start 1 hedge e1");
    script.send(50ms, 1);
    script.at(60ms, head(0, 503), "hold 0");
    CHECK_FALSE(script.stop_reason());
    script.at(70ms, failed(1, Reason::reset), "");
    script.wakeup_is(170ms);
    script.at(170ms, tick(), "start 2 retry e0");
    script.send(170ms, 2);
    script.at(180ms, head(2, 200), "drop 0, relay 2");
    script.finish(181ms);
    script.attempts_are("1 primary retryable http_503 @0+60, 2 hedge retryable reset @50+20, 3 retry success @170+11");
  }

  TEST_CASE("of two bad answers the newer is kept, and relayed when nothing else is left") {
    Script script{hedging()};
    script.begin();
    script.at(50ms, tick(), "start 1 hedge e1");
    script.send(50ms, 1);
    script.at(60ms, head(1, 503), "hold 1");
    script.at(70ms, head(0, 502), "drop 1, relay 0 no-retry");
    script.finish(71ms);
    CHECK(script.stop_reason() == Reason::attempts_exhausted);
    script.ends("502 upstream_error http_5xx -a 71 stop attempts_exhausted");
  }

  TEST_CASE("a bad answer that is kept is relayed when the other attempt fails") {
    Script script{hedging()};
    script.begin();
    script.at(50ms, tick(), "start 1 hedge e1");
    script.send(50ms, 1);
    script.at(60ms, head(0, 503), "hold 0");
    script.at(70ms, unreachable(1), "relay 0 no-retry");
    script.finish(71ms);
  }

  TEST_CASE("for methods that only read, any answer that another attempt would not mend wins") {
    Script script{hedging()};
    script.begin();
    script.at(50ms, tick(), "start 1 hedge e1");
    script.send(50ms, 1);
    script.at(60ms, head(1, 404), "abort 0, relay 1");
    script.finish(61ms);
    CHECK(script.stop_reason() == Reason::non_retryable);
  }

  TEST_CASE("for other methods a 4xx waits for those in flight, and stands if none of them succeeds") {
    const auto given = [] { return Given{hedging()}.hedge_method("PUT"); };
    for (const int status : {200, 503, 404, 0}) {
      Given put = given();
      put.facts.method = "PUT";
      Script script{put};
      script.begin();
      script.at(50ms, tick(), "start 1 hedge e1");
      script.send(50ms, 1);
      script.at(60ms, head(0, 409), "hold 0");
      if (status == 200) script.at(70ms, head(1, 200), "drop 0, relay 1");
      if (status == 503) script.at(70ms, head(1, 503), "discard 1, relay 0");
      if (status == 404) script.at(70ms, head(1, 404), "drop 0, relay 1");
      if (status == 0) script.at(70ms, failed(1, Reason::reset), "relay 0");
      script.finish(71ms);
      const int relayed = status == 503 || status == 0 ? 409 : status;
      CHECK(script.timeline().status == relayed);
      CHECK(script.stop_reason() == (status == 200 ? std::nullopt : std::optional{Reason::non_retryable}));
    }
  }

  TEST_CASE("nobody is sent after a 4xx that waits for those in flight") {
    Given put = Given{plain()}.hedge(50ms, 3).hedge_method("PUT");
    put.facts.method = "PUT";
    Script script{put};
    script.begin();
    script.at(50ms, tick(), "start 1 hedge e1");
    script.send(50ms, 1);
    script.at(60ms, head(0, 409), "hold 0");
    script.at(100ms, tick(), "");
    script.at(150ms, tick(), "");
    script.at(200ms, head(1, 503), "discard 1, relay 0");
    script.finish(201ms);
  }

  TEST_CASE("a 4xx that waited and dies decides nothing any more") {
    Given put = Given{retrying(2)}.hedge(50ms, 1).hedge_method("PUT");
    put.facts.method = "PUT";
    SUBCASE("the other's answer is relayed, or tried again as if there had been no other") {
      Script script{put};
      script.begin();
      script.at(50ms, tick(), "start 1 hedge e1");
      script.send(50ms, 1);
      script.at(60ms, head(1, 404), "hold 1");
      script.at(70ms, lost(1), "");
      script.at(80ms, head(0, 503), "hold 0");
      script.at(180ms, tick(), "start 2 retry e0");
      script.send(180ms, 2);
      script.at(190ms, head(2, 200), "drop 0, relay 2");
      script.finish(200ms);
      CHECK(script.stop_reason() == std::nullopt);
    }
    SUBCASE("where nothing may follow") {
      put.facts.idempotent = false;
      Script script{put};
      script.begin();
      script.at(50ms, tick(), "start 1 hedge e1 recent");
      script.send(50ms, 1);
      script.at(60ms, head(1, 404), "hold 1");
      script.at(70ms, lost(1), "");
      script.at(80ms, head(0, 503), "relay 0 no-retry");
      script.finish(90ms);
      CHECK(script.stop_reason() == Reason::http_non_idempotent);
    }
  }

  TEST_CASE("where the first head of any kind is to win, it does") {
    Script script{Given{hedging()}.first_head_wins()};
    script.begin();
    script.at(50ms, tick(), "start 1 hedge e1");
    script.send(50ms, 1);
    script.at(60ms, head(0, 503), "abort 1, relay 0 no-retry");
    script.finish(61ms);
    CHECK(script.stop_reason() == Reason::response_committed);
  }

  TEST_CASE("a method that is not hedged is not, whatever else allows its repetition") {
    for (const bool key : {false, true}) {
      Given post = Given{hedging()}.post();
      post.facts.idempotent = key;
      post.resend_any_method();
      Script script{post};
      script.begin();
      script.wakeup_is(15s);
      script.at(50ms, tick(), "");
      script.at(60ms, head(0, 200), "relay 0");
      script.finish(61ms);
    }
  }

  TEST_CASE("a budget that is spent suppresses the hedge and nothing else") {
    Script script{Given{hedging(2)}.budget(no_extras())};
    script.begin();
    script.at(50ms, tick(), "");
    script.wakeup_is(100ms);
    script.at(100ms, tick(), "");
    script.decisions_are("50 budget budget_denied, 100 budget budget_denied");
    script.at(120ms, head(0, 200), "relay 0");
    script.finish(121ms);
    CHECK_FALSE(script.stop_reason());
    CHECK(script.timeline().hedges_suppressed == 2);
  }

  TEST_CASE("a hedge that could not be answered before the deadline is not sent") {
    Script script{Given{hedging()}.overall(54ms)};
    script.begin();
    script.at(50ms, tick(), "");
    script.decisions_are("50 hedge deadline_insufficient");
    script.at(54ms, tick(), "abort 0, reply 504 overall_timeout no-retry");
    script.finish(55ms);
  }

  TEST_CASE("a body that is not whole in the replay buffer is not hedged") {
    for (const bool complete : {false, true}) {
      Given put = Given{hedging()}.hedge_method("PUT").body();
      put.facts.method = "PUT";
      Script script{put};
      script.at(0ms, ready(), "read-body, start 0 primary e0");
      script.at(1ms, connected(0), "");
      if (complete) script.at(2ms, body_complete(), "");
      script.at(50ms, tick(), complete ? "start 1 hedge e1" : "");
      if (complete) script.send(50ms, 1);
      script.at(60ms, head(0, 200), complete ? "abort 1, drop-replay, relay 0" : "drop-replay, relay 0");
      script.finish(61ms);
    }
  }

  TEST_CASE("all attempts of a round run out of their time, each on its own clock") {
    Script script{Given{retrying(1)}.attempt_timeout(80ms).hedge(50ms)};
    script.begin();
    script.at(50ms, tick(), "start 1 hedge e1");
    script.send(50ms, 1);
    script.at(80ms, tick(), "abort 0");
    script.at(130ms, tick(), "abort 1, reply 504 attempt_timeout no-retry");
    script.finish(131ms);
    script.attempts_are("1 primary retryable attempt_timeout @0+80, 2 hedge retryable attempt_timeout @50+80");
  }

  TEST_CASE("a client that leaves takes all attempts along") {
    Script script{hedging()};
    script.begin();
    script.at(50ms, tick(), "start 1 hedge e1");
    script.at(60ms, client_gone(), "abort 0, abort 1");
    CHECK(script.finished());
  }

  TEST_CASE("the clock of hedges starts anew with each round, and their number does not") {
    Script script{Given{retrying(2)}.hedge(50ms)};
    script.begin();
    script.at(10ms, head(0, 503), "hold 0");
    script.wakeup_is(110ms);
    script.at(110ms, tick(), "start 1 retry e1");
    script.send(110ms, 1);
    script.wakeup_is(160ms);
    script.at(160ms, tick(), "start 2 hedge e0");
    script.send(160ms, 2);
    script.at(170ms, head(1, 503), "drop 0, hold 1");
    script.at(171ms, head(2, 503), "drop 1, relay 2 no-retry");
    script.finish(172ms);
    CHECK(script.stop_reason() == Reason::attempts_exhausted);
  }

  TEST_CASE("an answer that asked not to be tried again is obeyed though another attempt fails after it") {
    const Field pushback[] = {{"X-Should-Retry", "false"}};
    Script script{Given{retrying(2)}.hedge(50ms)};
    script.begin();
    script.at(50ms, tick(), "start 1 hedge e1");
    script.send(50ms, 1);
    script.at(60ms, head(0, 503, {}, pushback), "hold 0");
    script.at(70ms, failed(1, Reason::reset), "relay 0 no-retry");
    script.finish(71ms);
    CHECK(script.stop_reason() == Reason::pushback);
  }

  TEST_CASE("a hedge that met a dead idle connection is made again, and is still that hedge") {
    Script script{hedging()};
    script.begin();
    script.at(50ms, tick(), "start 1 hedge e1");
    script.at(50ms, reused(1), "");
    script.at(50ms, sent(1), "");
    script.at(51ms, died_idle(1), "start 2 reconnect e1 fresh");
    script.send(52ms, 2);
    script.at(60ms, head(2, 200), "abort 0, relay 2");
    script.finish(61ms);
    CHECK(script.timeline().attempts[2].hedge == 1);
    CHECK(script.timeline().attempts[2].n == 2);
  }

  TEST_CASE("a trigger hedges once it has its samples, and by them") {
    Given given = hedging();
    given.hedge_config->delay.reset();
    given.hedge_config->quantile = 0.5;
    given.hedge_config->min_samples = 3;
    Script script{given};
    for (int i = 0; i < 3; ++i) {
      script.at(i * 1s, ready(), "start 0 primary e" + std::to_string(i % 2));
      script.send(i * 1s, 0);
      script.wakeup_is(i * 1s + 15s);
      script.at(i * 1s + 20ms, head(0, 200), "relay 0");
      script.finish(i * 1s + 20ms);
      script.again();
    }
    script.at(5s, ready(), "start 0 primary e1");
    const Nanos delay = *script.hedge_delay(5s);
    CHECK(delay > 20ms);
    CHECK(delay < 22ms);
    script.wakeup_is(5s + delay);
    script.at(5s + delay, tick(), "start 1 hedge e0");
    script.at(6s, client_gone(), "abort 0, abort 1");
  }

  TEST_CASE("a race that is lost while connecting was still a wait of that long") {
    Given given = hedging();
    given.hedge_config->quantile = 0.5;
    given.hedge_config->min_samples = 1;
    Script script{given};
    script.at(0ms, ready(), "start 0 primary e0");
    script.at(50ms, tick(), "start 1 hedge e1");
    script.send(50ms, 1);
    script.at(60ms, head(1, 200), "abort 0, relay 1");
    script.finish(61ms);
    // One took 10 ms, the other more than 60: half of them are over by 10 ms, and not more.
    CHECK(*script.hedge_delay(2s) < 11ms);
    given.hedge_config->quantile = 0.6;
    Script beyond{given};
    beyond.at(0ms, ready(), "start 0 primary e0");
    beyond.at(50ms, tick(), "start 1 hedge e1");
    beyond.send(50ms, 1);
    beyond.at(60ms, head(1, 200), "abort 0, relay 1");
    beyond.finish(61ms);
    CHECK(*beyond.hedge_delay(2s) > 60ms);
  }

  TEST_CASE("an attempt that fails at once does not bring the hedge forward, nor is it hedged any more") {
    Script script{Given{retrying(2)}.backoff(10ms).hedge(50ms)};
    script.begin();
    script.at(5ms, unreachable(0), "");
    script.wakeup_is(15ms);
    script.at(15ms, tick(), "start 1 retry e1");
    script.wakeup_is(65ms);
    script.at(16ms, client_gone(), "abort 1");
  }

  TEST_CASE("nothing is hedged once the response has begun") {
    Script script{hedging(2)};
    script.begin();
    script.at(50ms, tick(), "start 1 hedge e1");
    script.send(50ms, 1);
    script.at(60ms, head(0, 200), "abort 1, relay 0");
    script.at(100ms, tick(), "");
    script.finish(101ms);
    CHECK(script.timeline().attempts.size() == 2);
  }

  TEST_CASE("a quick failure does not win: the success that comes after it does") {
    for (const bool no_answer : {false, true}) {
      Script script{hedging()};
      script.begin();
      script.at(50ms, tick(), "start 1 hedge e1");
      script.send(50ms, 1);
      script.at(51ms, no_answer ? failed(1, Reason::reset) : head(1, 500), no_answer ? "" : "hold 1");
      script.at(90ms, head(0, 200), no_answer ? "relay 0" : "drop 1, relay 0");
      script.finish(91ms);
      CHECK_FALSE(script.stop_reason());
    }
  }

  TEST_CASE("what comes of two answers does not depend on their order") {
    for (const bool final_first : {false, true}) {
      Given put = Given{retrying(3)}.hedge(50ms).hedge_method("PUT");
      put.facts.method = "PUT";
      Script script{put};
      script.begin();
      script.at(50ms, tick(), "start 1 hedge e1");
      script.send(50ms, 1);
      const int final = final_first ? 0 : 1;
      script.at(60ms, head(0, final_first ? 409 : 503), "hold 0");
      script.at(70ms, head(1, final_first ? 503 : 409), final_first ? "discard 1, relay 0" : "drop 0, relay 1");
      script.finish(71ms);
      CHECK(script.timeline().status == 409);
      CHECK(script.timeline().attempts[static_cast<std::size_t>(final)].status == 409);
      CHECK(script.stop_reason() == Reason::non_retryable);
    }
  }

  TEST_CASE("even where the first end of any kind decides, a hedge that is denied decides nothing") {
    Script script{Given{hedging(2)}.first_head_wins().budget(no_extras())};
    script.begin();
    script.at(50ms, tick(), "");
    script.at(100ms, tick(), "");
    script.at(120ms, head(0, 200), "relay 0");
    script.finish(121ms);
    CHECK(script.timeline().hedges_suppressed == 2);
  }
}
