#include <array>
#include <utility>
#include <vector>

#include "tests/support/script.hpp"

using namespace outrigger;
using namespace outrigger::test;

namespace {

constexpr std::array kShouldNotRetry = {Field{"X-Should-Retry", "false"}};
constexpr std::array kMayRetry = {Field{"X-Should-Retry", "true"}};
constexpr std::array kGrpcPushback = {Field{"grpc-retry-pushback-ms", "-1"}};
constexpr std::array kGrpcDelay = {Field{"grpc-retry-pushback-ms", "10"}};

}  // namespace

TEST_SUITE("exchange") {
  TEST_CASE("a plain request is one attempt, relayed") {
    Script s{plain()};
    s.at(0ms, ready(), "start 0 primary e0");
    s.at(1ms, connected(0), "");
    s.at(2ms, sent(0), "");
    s.at(20ms, head(0, 200), "relay 0");
    s.at(30ms, done(0), "");
    s.at(31ms, delivered(), "");
    s.attempts_are("1 primary success @0+30");
    s.decisions_are("");
    s.ends("200 ok success -a 31");
  }

  TEST_CASE("a 503 is retried after its back-off and the retry's answer is relayed") {
    Script s{retrying(2)};
    s.begin();
    s.at(20ms, head(0, 503), "hold 0");
    s.wakeup_is(120ms);
    s.at(119ms, tick(), "");
    s.at(120ms, tick(), "start 1 retry e1");
    s.send(121ms, 1);
    s.at(140ms, head(1, 200), "drop 0, relay 1");
    s.finish(150ms);
    s.attempts_are("1 primary retryable http_503 @0+20, 2 retry success @120+30");
    s.ends("200 ok success -a 150");
    CHECK(s.timeline().attempts[1].backoff == 100ms);
    CHECK(s.timeline().attempts[0].backoff == 0ms);
  }

  // ---- the truth table ------------------------------------------------------------------------

  TEST_CASE("statuses that another attempt may mend are retried") {
    for (const int status : {408, 425, 500, 502, 503, 504}) {
      CAPTURE(status);
      Script s{retrying(2)};
      s.begin();
      s.at(20ms, head(0, status), "hold 0");
      s.at(120ms, tick(), "start 1 retry e1");
      s.send(120ms, 1);
      s.at(140ms, head(1, 204), "drop 0, relay 1");
      s.finish(140ms);
    }
  }

  TEST_CASE("statuses that another attempt would not mend are relayed at once") {
    for (const int status : {400, 401, 404, 409, 422, 499, 501, 505, 511, 599}) {
      CAPTURE(status);
      Script s{retrying(3)};
      s.begin();
      s.at(20ms, head(0, status), "relay 0");
      s.finish(30ms);
      CHECK(s.stop_reason() == Reason::non_retryable);
      s.attempts_are("1 primary non_retryable http_non_retryable_status @0+30");
      s.decisions_are("");
      s.ends(std::to_string(status) + (status < 500 ? " ok http_4xx" : " upstream_error http_5xx") +
             " -a 30 stop non_retryable");
    }
  }

  TEST_CASE("answers of every good kind are a success without a stop reason") {
    for (const int status : {101, 200, 204, 304, 307}) {
      CAPTURE(status);
      Script s{retrying(3)};
      s.begin();
      s.at(20ms, head(0, status), "relay 0");
      s.finish(30ms);
      CHECK(s.stop_reason() == std::nullopt);
      s.attempts_are("1 primary success @0+30");
    }
  }

  TEST_CASE("a 429 without a time to come back is final, and with one that fits it is retried then") {
    Script final{retrying(2)};
    final.begin();
    final.at(20ms, head(0, 429), "relay 0");
    final.finish(30ms);
    final.attempts_are("1 primary retryable http_429 @0+30");
    final.ends("429 ok http_4xx -a 30 stop non_retryable");

    Script waiting{retrying(2)};
    waiting.begin();
    waiting.at(20ms, head(0, 429, 50ms), "hold 0");
    waiting.at(120ms, tick(), "start 1 retry e1");
  }

  TEST_CASE("a connection that was not made is retried by any method, at another endpoint") {
    for (const Reason why : {Reason::connect_refused, Reason::connect_error, Reason::connect_timeout,
                             Reason::dns_failure, Reason::tls_failure}) {
      CAPTURE(to_string(why));
      Script s{retrying(2).post().body()};
      s.at(0ms, ready(), "drop-replay, read-body, start 0 primary e0 recent");
      s.at(5ms, unreachable(0, why), "");
      s.at(105ms, tick(), "start 1 retry e1 recent");
      s.send(106ms, 1);
      s.at(120ms, head(1, 201), "drop-replay, relay 1");
      s.finish(130ms);
      s.attempts_are("1 primary retryable " + std::string{to_string(why)} + " @0+5, 2 retry success @105+25");
    }
  }

  TEST_CASE("a connection that died after bytes were sent is retried by the rule") {
    for (const Reason why : {Reason::reset, Reason::closed_early}) {
      CAPTURE(to_string(why));
      Script get{retrying(2)};
      get.begin();
      get.at(10ms, failed(0, why), "");
      get.at(110ms, tick(), "start 1 retry e1");

      Script post{retrying(2).post()};
      post.begin();
      post.at(10ms, failed(0, why, Exposure::partly_sent), "reply 502 " + std::string{to_string(why)});
      post.finish(11ms);
      CHECK(post.stop_reason() == Reason::http_non_idempotent);
    }
  }

  TEST_CASE("a broken answer is final and answered by ourselves") {
    for (const Reason why : {Reason::protocol_error, Reason::response_head_too_large}) {
      CAPTURE(to_string(why));
      Script s{retrying(3)};
      s.begin();
      s.at(10ms, failed(0, why), "reply 502 " + std::string{to_string(why)});
      s.finish(11ms);
      CHECK(s.stop_reason() == Reason::non_retryable);
      s.attempts_are("1 primary non_retryable " + std::string{to_string(why)} + " @0+10");
    }
  }

  TEST_CASE("an attempt that stays silent is aborted at its limit and retried") {
    Script s{retrying(2).attempt_timeout(200ms)};
    s.begin();
    s.wakeup_is(200ms);
    s.at(200ms, tick(), "abort 0");
    s.wakeup_is(300ms);
    s.at(300ms, tick(), "start 1 retry e1");
    s.send(310ms, 1);
    s.wakeup_is(510ms);
    s.at(510ms, tick(), "abort 1, reply 504 attempt_timeout no-retry");
    s.finish(511ms);
    s.attempts_are("1 primary retryable attempt_timeout @0+200, 2 retry retryable attempt_timeout @300+210");
    s.ends("504 timeout attempt_timeout U8 511 stop attempts_exhausted");
  }

  TEST_CASE("an upstream that dies after the commit cuts the response and is never retried") {
    Script s{retrying(3)};
    s.begin();
    s.at(10ms, head(0, 200), "relay 0");
    s.at(15ms, failed(0, Reason::closed_early), "close");
    s.attempts_are("1 primary abort response_committed @0+15");
    s.decisions_are("15 retry response_committed");
    s.ends("200 upstream_error closed_early U9 15 stop response_committed");

    Script failing{retrying(1)};
    failing.begin();
    failing.at(10ms, head(0, 503), "relay 0");
    failing.at(15ms, failed(0, Reason::reset), "close");
    failing.ends("503 upstream_error reset U9 15 stop attempts_exhausted");
  }

  // ---- stop reasons ---------------------------------------------------------------------------

  TEST_CASE("an upstream that asks not to be tried again is obeyed") {
    for (const HeaderView headers : {HeaderView{kShouldNotRetry}, HeaderView{kGrpcPushback}}) {
      Script s{retrying(3)};
      s.begin();
      s.at(20ms, head(0, 503, {}, headers), "relay 0");
      s.finish(30ms);
      s.decisions_are("20 retry pushback");
      s.ends("503 upstream_error http_5xx -a 30 stop pushback");
    }
    for (const HeaderView headers : {HeaderView{kMayRetry}, HeaderView{kGrpcDelay}}) {
      Script s{retrying(3)};
      s.begin();
      s.at(20ms, head(0, 503, {}, headers), "hold 0");
    }
  }

  TEST_CASE("a POST that may have been seen is not sent again") {
    Script s{retrying(3).post()};
    s.begin();
    s.at(20ms, head(0, 503), "relay 0");
    s.finish(30ms);
    s.decisions_are("20 retry http_non_idempotent");
  }

  TEST_CASE(
      "a POST that was answered with silence, or too early, or with a refusal that names its time, is not either") {
    Script silent{retrying(3).post().attempt_timeout(50ms)};
    silent.begin();
    silent.at(50ms, tick(), "abort 0, reply 504 attempt_timeout");
    silent.finish(50ms);
    CHECK(silent.stop_reason() == Reason::http_non_idempotent);

    for (const int status : {408, 425, 429}) {
      Script s{retrying(3).post()};
      s.begin();
      s.at(10ms, head(0, status, 20ms), "relay 0");
      s.finish(10ms);
      CHECK(s.stop_reason() == Reason::http_non_idempotent);
    }
  }

  TEST_CASE("a POST is sent again where the policy allows it") {
    Script s{retrying(2).post().resend_any_method()};
    s.begin();
    s.at(20ms, head(0, 503), "hold 0");
    s.at(120ms, tick(), "start 1 retry e1");
  }

  TEST_CASE("one unsent attempt does not make a POST resendable after a later one was sent") {
    Script s{retrying(3).post()};
    s.at(0ms, ready(), "start 0 primary e0 recent");
    s.at(1ms, unreachable(0), "");
    s.at(101ms, tick(), "start 1 retry e1 recent");
    s.send(102ms, 1);
    s.at(110ms, failed(1, Reason::reset), "reply 502 reset no-retry");
    s.finish(111ms);
    CHECK(s.stop_reason() == Reason::http_non_idempotent);
  }

  TEST_CASE("a body that is gone is not sent again") {
    Script s{retrying(3).body()};
    s.at(0ms, ready(), "read-body, start 0 primary e0");
    s.send(0ms, 0);
    s.at(10ms, body_overflowed(), "");
    s.at(20ms, head(0, 503), "drop-replay, relay 0");
    s.finish(30ms);
    s.decisions_are("20 retry body_not_replayable");
  }

  TEST_CASE("a body that is still arriving and fits may be sent again") {
    Script s{retrying(2).body()};
    s.at(0ms, ready(), "read-body, start 0 primary e0");
    s.at(1ms, connected(0), "");
    s.at(20ms, head(0, 503), "hold 0");
    s.at(120ms, tick(), "start 1 retry e1");
    s.at(121ms, connected(1), "");
    s.at(130ms, body_complete(), "");
    s.at(131ms, sent(1), "");
    s.at(140ms, head(1, 200), "drop 0, drop-replay, relay 1");
    s.finish(150ms);
  }

  TEST_CASE("a body that overflows during the back-off ends the retry, and the kept answer is relayed") {
    Script s{retrying(2).body()};
    s.at(0ms, ready(), "read-body, start 0 primary e0");
    s.send(0ms, 0);
    s.at(20ms, head(0, 503), "hold 0");
    s.at(50ms, body_overflowed(), "");
    s.at(120ms, tick(), "drop-replay, relay 0");
    s.finish(130ms);
    s.decisions_are("120 retry body_not_replayable");
    s.ends("503 upstream_error http_5xx -a 130 stop body_not_replayable");
  }

  TEST_CASE("a body too long for the replay buffer goes out on a connection that is not stale") {
    Script s{retrying(3).body(false)};
    s.at(0ms, ready(), "read-body, start 0 primary e0 recent");
  }

  TEST_CASE("a body of which nothing was sent needs no replay, overflowed or not") {
    Script s{retrying(2).body()};
    s.at(0ms, ready(), "read-body, start 0 primary e0");
    s.at(1ms, body_overflowed(), "");
    s.at(2ms, unreachable(0), "");
    s.at(102ms, tick(), "start 1 retry e1 recent");
  }

  TEST_CASE("all attempts used up: the last answer is relayed and the next hop out told not to multiply") {
    Script s{retrying(3)};
    s.begin();
    s.at(20ms, head(0, 503), "hold 0");
    s.at(120ms, tick(), "start 1 retry e1");
    s.send(120ms, 1);
    s.at(130ms, head(1, 502), "drop 0, hold 1");
    s.at(230ms, tick(), "start 2 retry e0");
    s.send(230ms, 2);
    s.at(240ms, head(2, 500), "drop 1, relay 2 no-retry");
    s.finish(250ms);
    s.attempts_are(
        "1 primary retryable http_503 @0+20, 2 retry retryable http_502 @120+10, 3 retry retryable http_500 @230+20");
    s.decisions_are("240 retry attempts_exhausted");
    s.ends("500 upstream_error http_5xx -a 250 stop attempts_exhausted");
  }

  TEST_CASE("a request that is answered at once does not keep its retries from being told") {
    // One attempt, one failure: the next hop out may try again.
    Script s{plain()};
    s.begin();
    s.at(20ms, head(0, 503), "relay 0");
    s.finish(30ms);
    CHECK(s.stop_reason() == Reason::attempts_exhausted);
  }

  TEST_CASE("any failing answer after more than one attempt tells the next hop out, a good or final one does not") {
    for (const auto& [status, orders] : std::vector<std::pair<int, std::string>>{{503, "relay 1 no-retry"},
                                                                                 {408, "relay 1 no-retry"},
                                                                                 {429, "relay 1 no-retry"},
                                                                                 {501, "relay 1 no-retry"},
                                                                                 {404, "relay 1"},
                                                                                 {200, "relay 1"}}) {
      CAPTURE(status);
      Script s{retrying(2)};
      s.begin();
      s.at(20ms, unreachable(0), "");
      s.at(120ms, tick(), "start 1 retry e1");
      s.send(120ms, 1);
      s.at(130ms, head(1, status), orders);
      s.finish(140ms);
    }
  }

  TEST_CASE("a retry that cannot end before the deadline does not start, to the nanosecond") {
    Script late{retrying(2).overall(125ms).min_remaining(5ms)};
    late.begin();
    late.at(20ms, head(0, 503), "relay 0");
    late.finish(21ms);
    late.decisions_are("20 retry deadline_insufficient");

    Script just{retrying(2).overall(125ms + 1ns).min_remaining(5ms)};
    just.begin();
    just.at(20ms, head(0, 503), "hold 0");
    just.at(120ms, tick(), "start 1 retry e1");
  }

  TEST_CASE("a Retry-After is waited for as asked, and refused beyond its limit or the deadline") {
    Script waits{retrying(2)};
    waits.begin();
    waits.at(0ms, head(0, 503, 2s), "hold 0");
    waits.at(1999ms, tick(), "");
    waits.at(2200ms, tick(), "start 1 retry e1");

    Script beyond{retrying(2)};
    beyond.begin();
    beyond.at(0ms, head(0, 503, 2s + 1ns), "relay 0");
    beyond.finish(1ms);
    CHECK(beyond.stop_reason() == Reason::retry_after_too_long);

    Script deadline{retrying(2).overall(1s)};
    deadline.begin();
    deadline.at(0ms, head(0, 429, 1s), "relay 0");
    deadline.finish(1ms);
    CHECK(deadline.stop_reason() == Reason::retry_after_too_long);
  }

  TEST_CASE("a Retry-After of nothing is the usual back-off") {
    for (const int status : {429, 503}) {
      Script s{retrying(2)};
      s.begin();
      s.at(0ms, head(0, status, 0s), "hold 0");
      s.wakeup_is(100ms);
    }
  }

  TEST_CASE("a hundred milliseconds of which fifty must remain are three attempts twenty apart, and two are none") {
    Script three{retrying(10).backoff(20ms).overall(100ms).min_remaining(50ms)};
    three.at(0ms, ready(), "start 0 primary e0");
    three.at(0ms, unreachable(0), "");
    three.at(20ms, tick(), "start 1 retry e1");
    three.at(20ms, unreachable(1), "");
    three.at(40ms, tick(), "start 2 retry e0");
    three.at(40ms, unreachable(2), "reply 502 connect_refused no-retry");
    CHECK(three.stop_reason() == Reason::deadline_insufficient);
    three.finish(41ms);

    Script none{retrying(10).overall(2ms).min_remaining(10ms)};
    none.at(0ms, ready(), "reply 504 deadline_too_short no-retry");
    none.finish(0ms);
  }

  TEST_CASE("a back-off that is longer than the Retry-After and does not fit is our own doing") {
    Script s{retrying(2).backoff(1s).overall(1s)};
    s.begin();
    s.at(0ms, head(0, 503, 10ms), "relay 0");
    s.finish(1ms);
    CHECK(s.stop_reason() == Reason::deadline_insufficient);
  }

  TEST_CASE("a Retry-After counts on 429 and 503 alone, and only where it is honoured") {
    Script other{retrying(2)};
    other.begin();
    other.at(0ms, head(0, 500, 60s), "hold 0");
    other.wakeup_is(100ms);

    Given deaf = retrying(2);
    deaf.retry().retry_after.honor = false;
    Script s{deaf};
    s.begin();
    s.at(0ms, head(0, 503, 60s), "hold 0");
    s.wakeup_is(100ms);
  }

  TEST_CASE("without a budget only the attempts limit retries; with a denial the answer is relayed at once") {
    Script s{retrying(3).budget(no_extras())};
    s.begin();
    s.at(20ms, head(0, 503), "relay 0 no-retry");
    s.finish(30ms);
    s.decisions_are("20 budget budget_denied");
    s.ends("503 upstream_error http_5xx -a 30 stop budget_denied");
    CHECK_FALSE(s.timeline().attempts[0].budget_asked);
  }

  // ---- the loop -------------------------------------------------------------------------------

  TEST_CASE("delays grow from retry to retry, and a delay of nothing retries at once") {
    Script s{retrying(4).backoff(50ms, 2)};
    s.begin();
    s.at(0ms, unreachable(0), "");
    s.wakeup_is(50ms);
    s.at(50ms, tick(), "start 1 retry e1");
    s.at(50ms, unreachable(1), "");
    s.wakeup_is(150ms);
    s.at(150ms, tick(), "start 2 retry e0");
    s.at(150ms, unreachable(2), "");
    s.wakeup_is(350ms);

    Script at_once{retrying(3).backoff(0ms)};
    at_once.begin();
    at_once.at(20ms, head(0, 503), "hold 0, start 1 retry e1");
    at_once.at(21ms, unreachable(1), "start 2 retry e0");
  }

  TEST_CASE("a failing attempt leaves no trace of the one before: the attempt launched last decides the reply") {
    Script s{retrying(2)};
    s.begin();
    s.at(10ms, failed(0, Reason::reset), "");
    s.at(110ms, tick(), "start 1 retry e1");
    s.at(120ms, unreachable(1), "reply 502 connect_refused no-retry");
    s.finish(121ms);
    s.ends("502 upstream_error connect_refused U8 121 stop attempts_exhausted");
  }

  TEST_CASE("the endpoint that failed is avoided only if the policy says so") {
    Given given = retrying(4);
    given.retry().avoid_previous_endpoint = false;
    given.endpoints(1);
    Script one{given};
    one.begin();
    one.at(0ms, unreachable(0), "");
    one.at(100ms, tick(), "start 1 retry e0");
  }

  TEST_CASE("no endpoint: refused before the body is asked for") {
    Script empty{retrying(3).endpoints(0).body()};
    empty.at(0ms, ready(), "reply 503 no_healthy_endpoint");
    empty.finish(1ms);
    empty.decisions_are("0 balance no_healthy_endpoint");
    empty.attempts_are("");

    Given given = retrying(3).endpoints(0);
    given.upstream.unresolved = true;
    Script unresolved{given};
    unresolved.at(0ms, ready(), "reply 502 dns_failure");
    unresolved.finish(1ms);
    unresolved.ends("502 upstream_error dns_failure P8 1");
  }

  TEST_CASE("a request is counted at its attempt's number, and told its deadline anew") {
    Script s{retrying(2).overall(1s).attempt_timeout(600ms)};
    s.begin();
    CHECK(s.forwarded() == 600ms);
    s.at(450ms, head(0, 503), "hold 0");
    s.at(550ms, tick(), "start 1 retry e1");
    CHECK(s.forwarded() == 450ms);
  }

  TEST_CASE("facts about unknown, ended and held attempts are ignored") {
    Script s{retrying(3)};
    s.begin();
    for (const auto& fact : {head(1, 200), done(7), failed(15, Reason::reset), sent(3), connected(2), lost(0),
                             in_memory(0), done(0), interim(4, 103), delivered()}) {
      s.at(1ms, fact, "");
    }
    s.at(10ms, head(0, 503), "hold 0");
    for (const auto& fact : {head(0, 200), done(0), failed(0, Reason::reset), connected(0), delivered()}) {
      s.at(11ms, fact, "");
    }
    s.at(110ms, tick(), "start 1 retry e1");
    s.send(110ms, 1);
    s.at(120ms, head(1, 200), "drop 0, relay 1");
    s.at(121ms, head(1, 503), "");
    s.at(122ms, head(0, 200), "");
    s.at(123ms, lost(0), "");
    s.finish(130ms);
    for (const auto& fact : {ready(), tick(), head(1, 200), delivered(), client_gone(), drained()}) {
      s.at(140ms, fact, "");
    }
    s.ends("200 ok success -a 130");
  }

  // ---- interim responses ----------------------------------------------------------------------

  TEST_CASE("a 103 of the first attempt is relayed and does not commit") {
    Script s{retrying(2)};
    s.begin();
    s.at(5ms, interim(0, 103), "interim 0");
    s.at(6ms, interim(0, 103), "interim 0");
    s.at(10ms, head(0, 503), "hold 0");
    s.at(110ms, tick(), "start 1 retry e1");
    s.send(110ms, 1);
    s.at(115ms, interim(1, 103), "");
    s.at(120ms, head(1, 200), "drop 0, relay 1");
    s.at(121ms, interim(1, 103), "");
    s.finish(130ms);
  }

  TEST_CASE("other interim responses are dropped, and so are those of attempts that are not waiting for an answer") {
    Script s{retrying(2)};
    s.at(0ms, ready(), "start 0 primary e0");
    s.at(0ms, interim(0, 103), "");
    s.send(0ms, 0);
    s.at(5ms, interim(0, 100), "");
    s.at(5ms, interim(0, 102), "");
    s.at(10ms, head(0, 503), "hold 0");
    s.at(11ms, interim(0, 103), "");
  }
}
