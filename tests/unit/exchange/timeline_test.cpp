#include "proxy/exchange/timeline.hpp"

#include <string>

#include <doctest/doctest.h>

#include "tests/support/script.hpp"

using namespace outrigger;
using namespace outrigger::exchange;
using namespace outrigger::test;

namespace {

RequestFacts facts_of(std::string_view request_id, std::string_view path) {
  RequestFacts facts;
  facts.request_id = request_id;
  facts.trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
  facts.method = "GET";
  facts.path = path;
  facts.listener = "outbound";
  facts.wall_start_us = 1'700'000'000'000'000;
  return facts;
}

}  // namespace

TEST_SUITE("exchange") {
  TEST_CASE("a timeline names its request, policy, route, endpoints and numbers") {
    Given given = retrying(2).overall(1s);
    given.facts = facts_of("r-1", "/v1/users");
    given.facts.idempotent = true;
    Script s{given};
    s.at(0ms, ready(), "start 0 primary e0");
    s.at(3ms, connected(0), "");
    s.at(4ms, sent(0), "");
    s.at(20ms, head(0, 503), "hold 0");
    s.at(120ms, tick(), "start 1 retry e1");
    s.at(120ms, reused(1), "");
    s.at(121ms, sent(1), "");
    s.at(140ms, head(1, 200), "drop 0, relay 1");
    s.finish(150ms);
    const Timeline& t = s.timeline();
    CHECK(t.text(t.request_id) == "r-1");
    CHECK(t.text(t.trace_id) == "4bf92f3577b34da6a3ce929d0e0e4736");
    CHECK(t.text(t.method) == "GET");
    CHECK(t.text(t.path) == "/v1/users");
    CHECK(t.listener == "outbound");
    CHECK(t.wall_start_us == 1'700'000'000'000'000);
    CHECK(t.deadline == 1s);
    CHECK_FALSE(t.truncated);
    REQUIRE(t.attempts.size() == 2);
    CHECK(t.text(t.attempts[0].endpoint) == "127.0.0.1:9000");
    CHECK(t.text(t.attempts[1].endpoint) == "127.0.0.1:9001");
    CHECK(t.attempts[0].upstream_name == "up");
    CHECK(t.attempts[0].connect == 3ms);
    CHECK(t.attempts[0].ttfb == 20ms);
    CHECK(t.attempts[0].status == 503);
    CHECK(t.attempts[1].connect == kAbsent);
    CHECK(t.attempts[1].ttfb == 20ms);
    CHECK(t.attempts[1].status == 200);
  }

  TEST_CASE("a reason fixes the outcome of its request, for every reason") {
    for (std::size_t i = 0; i < kReasonCount; ++i) {
      const auto reason = static_cast<Reason>(i);
      CAPTURE(to_string(reason));
      const RequestOutcome outcome = outcome_of(reason);
      const bool took_too_long = reason != Reason::connect_timeout && reason != Reason::not_cached;
      if (info(reason).status == 504 && took_too_long) CHECK(outcome == RequestOutcome::timeout);
      if (info(reason).status == 502) CHECK(outcome == RequestOutcome::upstream_error);
      if (info(reason).status >= 400 && info(reason).status < 500) CHECK(outcome == RequestOutcome::rejected);
    }
    CHECK(outcome_of(Reason::success) == RequestOutcome::ok);
    CHECK(outcome_of(Reason::http_4xx) == RequestOutcome::ok);
    CHECK(outcome_of(Reason::http_5xx) == RequestOutcome::upstream_error);
    CHECK(outcome_of(Reason::connect_timeout) == RequestOutcome::upstream_error);
    CHECK(outcome_of(Reason::client_disconnected) == RequestOutcome::client_gone);
    CHECK(outcome_of(Reason::draining) == RequestOutcome::rejected);
  }

  TEST_CASE("text that does not fit is cut and marked, and never overruns") {
    Timeline t;
    const std::string id(Timeline::kMaxRequestId + 1, 'i');
    const std::string path(Timeline::kMaxPath, 'p');
    record_request(t, TimePoint{}, facts_of(id, path));
    CHECK(t.truncated);
    CHECK(t.text(t.request_id).size() == Timeline::kMaxRequestId);
    CHECK(t.text(t.path) == path);
    for (int i = 0; i < 100; ++i) t.keep(path, Timeline::kMaxPath);
    CHECK(t.text(t.path) == path);

    Timeline exact;
    const std::string fitting(Timeline::kMaxRequestId, 'i');
    record_request(exact, TimePoint{}, facts_of(fitting, path));
    CHECK_FALSE(exact.truncated);
  }

  TEST_CASE("decisions beyond the limit are dropped and marked") {
    Timeline t;
    for (std::size_t i = 0; i < Timeline::kMaxDecisions; ++i) t.decide(1ms, Part::retry, Reason::pushback);
    CHECK_FALSE(t.truncated);
    t.decide(1ms, Part::retry, Reason::pushback);
    CHECK(t.truncated);
    CHECK(t.decisions.size() == Timeline::kMaxDecisions);
  }

  TEST_CASE("a copy says the same, and a reset one is as good as new") {
    Timeline t;
    record_request(t, TimePoint{1h}, facts_of("r-1", "/a"));
    t.decide(1ms, Part::budget, Reason::budget_denied, 0);
    t.stop_reason = Reason::budget_denied;
    const Timeline copy = t;
    CHECK(copy.text(copy.path) == "/a");
    CHECK(show_decisions(copy) == "1 budget budget_denied of 0");
    CHECK(copy.stop_reason == Reason::budget_denied);

    t.reset();
    CHECK(t.decisions.empty());
    CHECK(t.attempts.empty());
    CHECK(t.stop_reason == std::nullopt);
    CHECK(t.text(t.path).empty());
    record_request(t, TimePoint{1h}, facts_of("r-2", "/b"));
    CHECK(t.text(t.request_id) == "r-2");
    CHECK(copy.text(copy.request_id) == "r-1");
  }

  TEST_CASE("a request that was refused before its route has an account, too") {
    Timeline t;
    record_refusal(t, TimePoint{1h}, facts_of("r-1", "/a"), Reason::no_route, 'P', '2', 7);
    CHECK(show_ending(t) == "404 rejected no_route P2 0");
    CHECK(show_decisions(t) == "0 edge no_route");
    CHECK(t.policy_key == "_unrouted");
    CHECK(t.generation == 7);
  }
}
