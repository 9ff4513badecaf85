#include <string>

#include "tests/support/script.hpp"

using namespace outrigger;
using namespace outrigger::test;

TEST_SUITE("exchange") {
  TEST_CASE("a client that leaves before the answer ends everything at once, in every phase") {
    Script connecting{retrying(3)};
    connecting.at(0ms, ready(), "start 0 primary e0");
    connecting.at(5ms, client_gone(), "abort 0");
    connecting.attempts_are("1 primary abort client_disconnected @0+5");
    connecting.ends("499 client_gone client_disconnected D8 5");

    Script uploading{retrying(3).body()};
    uploading.at(0ms, ready(), "read-body, start 0 primary e0");
    uploading.at(1ms, connected(0), "");
    uploading.at(5ms, client_gone(), "abort 0");
    uploading.ends("499 client_gone client_disconnected D8 5");

    Script waiting{retrying(3)};
    waiting.begin();
    waiting.at(5ms, client_gone(), "abort 0");
    waiting.ends("499 client_gone client_disconnected D8 5");

    Script backing_off{retrying(3)};
    backing_off.begin();
    backing_off.at(1ms, unreachable(0), "");
    backing_off.at(5ms, client_gone(), "");
    backing_off.ends("499 client_gone client_disconnected D8 5");

    Script retrying_now{retrying(3)};
    retrying_now.begin();
    retrying_now.at(1ms, head(0, 503), "hold 0");
    retrying_now.at(101ms, tick(), "start 1 retry e1");
    retrying_now.at(105ms, client_gone(), "drop 0, abort 1");
    retrying_now.attempts_are("1 primary retryable http_503 @0+1, 2 retry abort client_disconnected @101+4");
  }

  TEST_CASE("a client that leaves during the answer cuts it") {
    Script s{retrying(3)};
    s.begin();
    s.at(5ms, head(0, 200), "relay 0");
    s.at(9ms, client_gone(), "abort 0, close");
    s.attempts_are("1 primary abort client_disconnected @0+9");
    s.ends("200 client_gone client_disconnected D9 9");
  }

  TEST_CASE("a client that leaves after the upstream was done, or during a reply of ours, changes nothing upstream") {
    Script late{plain()};
    late.begin();
    late.at(5ms, head(0, 200), "relay 0");
    late.at(6ms, done(0), "");
    late.at(9ms, client_gone(), "close");
    late.attempts_are("1 primary success @0+6");
    late.ends("200 client_gone client_disconnected D9 9");

    Script replied{plain()};
    replied.begin();
    replied.at(5ms, failed(0, Reason::reset), "reply 502 reset");
    replied.at(6ms, client_gone(), "");
    replied.ends("502 upstream_error reset U8 6 stop attempts_exhausted");
  }

  TEST_CASE("a client that stops reading is cut and named") {
    Script s{plain()};
    s.begin();
    s.at(5ms, head(0, 200), "relay 0");
    s.at(30s, client(Reason::client_not_reading), "abort 0, close");
    s.ends("200 client_gone client_not_reading D9 30000");
  }

  TEST_CASE("a request body that goes wrong is answered by its own status") {
    for (const auto& [why, status] : {std::pair{Reason::body_timeout, 408}, std::pair{Reason::body_too_large, 413},
                                      std::pair{Reason::bad_request, 400}}) {
      const std::string name{to_string(why)};
      CAPTURE(name);
      Script s{retrying(3).body()};
      s.at(0ms, ready(), "read-body, start 0 primary e0");
      s.at(1ms, connected(0), "");
      s.at(9ms, client(why), "abort 0, reply " + std::to_string(status) + " " + name);
      s.finish(10ms);
      s.attempts_are("1 primary abort " + name + " @0+9");
      s.ends(std::to_string(status) + " rejected " + name + " D8 10");
    }
  }

  TEST_CASE("a request body that goes wrong during an early answer cuts it") {
    Script s{plain().body()};
    s.at(0ms, ready(), "read-body, start 0 primary e0");
    s.at(1ms, connected(0), "");
    s.at(5ms, head(0, 200), "drop-replay, relay 0");
    s.at(9ms, client(Reason::body_timeout), "abort 0, close");
    s.ends("200 rejected body_timeout D9 9");
  }

  TEST_CASE("a drain cuts what is running: with an answer before the commit, without one after it") {
    Script before{retrying(3)};
    before.begin();
    before.at(9ms, drained(), "abort 0, reply 503 draining retry-after 1000");
    before.finish(10ms);
    before.attempts_are("1 primary abort drained @0+9");
    before.ends("503 rejected draining P8 10");

    Script held{retrying(3)};
    held.begin();
    held.at(1ms, head(0, 503), "hold 0");
    held.at(9ms, drained(), "drop 0, reply 503 draining retry-after 1000");
    held.finish(10ms);

    Script after{retrying(3)};
    after.begin();
    after.at(1ms, head(0, 200), "relay 0");
    after.at(9ms, drained(), "abort 0, close");
    after.ends("200 rejected drained P9 9");

    Script replied{plain()};
    replied.begin();
    replied.at(1ms, unreachable(0), "reply 502 connect_refused");
    replied.at(9ms, drained(), "");
    replied.ends("502 upstream_error connect_refused U8 9 stop attempts_exhausted");
  }

  TEST_CASE("after the end there are no orders and no wakeup, whatever is reported") {
    Script s{retrying(3)};
    s.begin();
    s.at(1ms, client_gone(), "abort 0");
    for (const auto& fact :
         {ready(), connected(0), sent(0), interim(0, 103), head(0, 200), lost(0), done(0), delivered(),
          failed(0, Reason::reset), client_gone(), drained(), tick(), body_overflowed()}) {
      s.at(2ms, fact, "");
      s.wakeup_is(kForever);
    }
    s.ends("499 client_gone client_disconnected D8 1");
  }

  TEST_CASE("the end comes with delivery, not with the upstream's last byte, and delivery alone is enough") {
    Script s{plain()};
    s.begin();
    s.at(5ms, head(0, 200), "relay 0");
    s.at(6ms, done(0), "");
    CHECK_FALSE(s.finished());
    CHECK(s.in_flight() == 0);
    s.at(9ms, delivered(), "");
    s.ends("200 ok success -a 9");

    Script swapped{plain()};
    swapped.begin();
    swapped.at(5ms, head(0, 200), "relay 0");
    swapped.at(9ms, delivered(), "");
    swapped.at(9ms, done(0), "");
    swapped.attempts_are("1 primary success @0+9");
  }

  TEST_CASE("an exchange that is dropped as it is gives back what it holds") {
    const policy::BudgetConfig unlimited{.type = policy::BudgetType::unlimited};
    Script waiting{retrying(3).budget(unlimited)};
    waiting.begin();
    CHECK(waiting.requests_in_loop() == 1);
    waiting.abandon();

    Script retried{retrying(3).budget(unlimited)};
    retried.begin();
    retried.at(1ms, unreachable(0), "");
    retried.at(101ms, tick(), "start 1 retry e1");
    CHECK(retried.extras() == 1);
    retried.abandon();

    Script relaying{retrying(3).budget(unlimited)};
    relaying.begin();
    relaying.at(1ms, head(0, 200), "relay 0");
    relaying.abandon();
  }
}
