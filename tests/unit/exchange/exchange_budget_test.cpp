#include "tests/support/script.hpp"

using namespace outrigger;
using namespace outrigger::test;

namespace {

/// Enough for one extra attempt.
policy::BudgetConfig one_token() {
  return {.type = policy::BudgetType::token_bucket, .capacity = 1, .refill_per_second = 0};
}

policy::BudgetConfig credit() {
  return {.type = policy::BudgetType::success_credit,
          .min_per_second = 0,
          .capacity = 10,
          .retry_cost = 5,
          .success_credit = 2};
}

/// Spends credit on one retry, so that there is room to earn.
void answer_after_a_retry(Script& s, int status, Nanos at) {
  s.begin();
  s.at(0ms, unreachable(0), "");
  s.at(100ms, tick(), "start 1 retry e1");
  s.send(100ms, 1);
  s.at(at, head(1, status), status < 500 ? "relay 1" : "relay 1 no-retry");
}

double credits(Script& s) { return s.budget().available(credit(), TimePoint{1h}); }

}  // namespace

TEST_SUITE("exchange") {
  TEST_CASE("the budget is asked before the back-off and taken at the send") {
    Script s{retrying(3).budget(one_token())};
    s.begin();
    s.at(1ms, unreachable(0), "");
    CHECK(s.budget().available(one_token(), TimePoint{1h}) == 1);
    s.at(101ms, tick(), "start 1 retry e1");
    CHECK(s.budget().available(one_token(), TimePoint{1h}) == 0);
    CHECK(s.extras() == 1);
    s.at(102ms, unreachable(1), "reply 502 connect_refused no-retry");
    CHECK(s.extras() == 0);
    s.finish(103ms);
    CHECK(s.stop_reason() == Reason::budget_denied);
    CHECK(s.timeline().attempts[1].budget_asked);
    CHECK(s.timeline().attempts[1].budget_allowed);
    CHECK(s.timeline().attempts[1].budget_name == "b");
  }

  TEST_CASE("a budget that was spent by others during the back-off stops the retry, and the kept answer is relayed") {
    Script s{retrying(3).budget(one_token())};
    s.begin();
    s.at(1ms, head(0, 503), "hold 0");
    { const auto elsewhere = s.budget().admit(one_token(), 1, TimePoint{1h}); }
    s.at(101ms, tick(), "relay 0 no-retry");
    s.finish(102ms);
    s.decisions_are("101 budget budget_denied");
  }

  TEST_CASE("a dear attempt is denied where a cheap one would be admitted") {
    Script s{retrying(3).budget({.type = policy::BudgetType::token_bucket, .capacity = 5, .refill_per_second = 0}, 3)};
    s.begin();
    s.at(1ms, unreachable(0), "");
    s.at(101ms, tick(), "start 1 retry e1");
    s.at(102ms, unreachable(1), "reply 502 connect_refused no-retry");
    s.finish(103ms);
    CHECK(s.stop_reason() == Reason::budget_denied);
  }

  TEST_CASE("the first attempt is free whatever the budget") {
    Script s{retrying(3).budget(no_extras())};
    s.begin();
    s.at(5ms, head(0, 200), "relay 0");
    s.finish(6ms);
  }

  TEST_CASE("a request is in its loop from its start, back-off included, to the commit or its refusal") {
    const policy::BudgetConfig unlimited{.type = policy::BudgetType::unlimited};
    Script s{retrying(3).budget(unlimited)};
    s.begin();
    CHECK(s.requests_in_loop() == 1);
    s.at(1ms, unreachable(0), "");
    CHECK(s.requests_in_loop() == 1);
    s.at(101ms, tick(), "start 1 retry e1");
    s.send(101ms, 1);
    s.at(110ms, head(1, 200), "relay 1");
    CHECK(s.requests_in_loop() == 0);
    CHECK(s.extras() == 1);
    s.at(120ms, done(1), "");
    CHECK(s.extras() == 0);
    s.finish(120ms);

    Script refused{retrying(3).budget(unlimited).client_waits(0ms)};
    refused.at(0ms, ready(), "reply 504 deadline_too_short no-retry");
    CHECK(refused.requests_in_loop() == 0);
    refused.finish(1ms);
  }

  TEST_CASE("a success earns credit when its body is complete") {
    Script s{retrying(2).budget(credit())};
    answer_after_a_retry(s, 200, 110ms);
    CHECK(credits(s) == 5);
    s.at(120ms, done(1), "");
    CHECK(credits(s) == 7);
    s.finish(130ms);
    CHECK(credits(s) == 7);
  }

  TEST_CASE("a success earns credit five seconds after its head though its body goes on, and only once") {
    Script s{retrying(2).budget(credit())};
    answer_after_a_retry(s, 200, 110ms);
    s.wakeup_is(5110ms);
    s.at(5110ms, tick(), "");
    CHECK(credits(s) == 7);
    s.wakeup_is(kForever);
    s.at(9s, done(1), "");
    s.finish(9s);
    CHECK(credits(s) == 7);
  }

  TEST_CASE("a body that dies or a client that leaves before that earns nothing") {
    Script died{retrying(2).budget(credit())};
    answer_after_a_retry(died, 200, 110ms);
    died.at(120ms, failed(1, Reason::reset), "close");
    CHECK(credits(died) == 5);

    Script left{retrying(2).budget(credit())};
    answer_after_a_retry(left, 200, 110ms);
    left.at(120ms, client_gone(), "abort 1, close");
    CHECK(credits(left) == 5);
  }

  TEST_CASE("a failing answer earns nothing") {
    Script s{retrying(2).budget(credit())};
    answer_after_a_retry(s, 503, 110ms);
    s.wakeup_is(kForever);
    s.at(120ms, done(1), "");
    s.finish(121ms);
    CHECK(credits(s) == 5);
  }

  TEST_CASE("hedges that have a budget of their own are measured by the requests they belong to") {
    const policy::BudgetConfig one_each{.type = policy::BudgetType::window, .max_rate = 1, .min_per_second = 0};
    Script s{plain().hedge(50ms).hedge_budget(one_each)};
    s.begin();
    CHECK(s.hedge_budget().requests_in_flight() == 1);
    s.at(50ms, tick(), "start 1 hedge e1");
    CHECK(s.hedge_budget().extras_in_flight() == 1);
    s.send(50ms, 1);
    s.at(60ms, head(1, 200), "abort 0, relay 1");
    CHECK(s.hedge_budget().requests_in_flight() == 0);
    CHECK(s.hedge_budget().extras_in_flight() == 1);
    s.at(61ms, done(1), "");
    CHECK(s.hedge_budget().extras_in_flight() == 0);
    s.finish(62ms);
  }

  TEST_CASE("a success earns credit for the hedges' own budget, too") {
    Script s{retrying(2).budget(credit()).hedge(50ms).hedge_budget(credit())};
    { const auto spent = s.hedge_budget().admit(credit(), 1, TimePoint{1h}); }
    s.begin();
    s.at(10ms, head(0, 200), "relay 0");
    s.at(20ms, done(0), "");
    CHECK(s.hedge_budget().available(credit(), TimePoint{1h}) == 7);
    s.finish(21ms);
  }
}
