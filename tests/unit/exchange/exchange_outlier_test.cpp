#include <doctest/doctest.h>

#include "tests/support/script.hpp"

using namespace outrigger;
using namespace outrigger::test;

namespace {

/// A request of its own that the endpoint in turn answers with that status.
void answered(Script& script, Nanos when, int status, HeaderView headers = {}) {
  script.orders_of(when, ready());
  script.send(when, 0);
  script.orders_of(when, head(0, status, {}, headers));
  script.finish(when);
  script.again();
}

}  // namespace

TEST_SUITE("exchange") {
  TEST_CASE("an endpoint is ejected by failures in a row and is not chosen until that is over") {
    Script script{Given{plain()}.outlier(2)};
    answered(script, 0ms, 503);  // e0
    answered(script, 1ms, 200);  // e1
    answered(script, 2ms, 500);  // e0
    CHECK(script.ejected(0, 2ms));
    CHECK(script.ejections() == 1);
    for (int i = 0; i < 4; ++i) {
      script.at(3ms, ready(), "start 0 primary e1");
      script.at(3ms, client_gone(), "abort 0");
      script.again();
    }
    const auto goes_to = [&script](Nanos when) {
      const auto before = script.endpoint(0).in_flight.load();
      script.orders_of(when, ready());
      const bool first = script.endpoint(0).in_flight > before;
      script.at(when, client_gone(), "abort 0");
      script.again();
      return first;
    };
    CHECK_FALSE((goes_to(8s) || goes_to(8s)));
    CHECK((goes_to(11s) || goes_to(11s)));
    script.at(11s, client_gone(), "");
  }

  TEST_CASE("a refusal by the upstream's own sidecar says nothing about the endpoint") {
    Script script{Given{plain()}.outlier(1)};
    const Field refused[] = {{"X-Outrigger-Reason", "bulkhead_full"}};
    answered(script, 0ms, 503, refused);
    CHECK(script.ejections() == 0);
    answered(script, 1ms, 200);
    answered(script, 2ms, 503);
    CHECK(script.ejections() == 1);
  }

  TEST_CASE("an answer that breaks off, and one that never comes, are failures of the endpoint") {
    Script script{Given{plain()}.outlier(2).overall(100ms)};
    script.begin();
    script.at(1ms, head(0, 200), "relay 0");
    script.orders_of(2ms, failed(0, Reason::reset));
    script.again();
    script.at(0ms, ready(), "start 0 primary e1");
    script.at(0ms, client_gone(), "abort 0");
    script.again();
    script.begin();
    CHECK(script.ejections() == 0);
    script.orders_of(100ms, tick());
    CHECK(script.ejections() == 1);
    script.finish(101ms);
  }

  TEST_CASE("an answer counts once, as a success when it is whole") {
    Script script{Given{plain()}.outlier(2).endpoints(2)};
    answered(script, 0ms, 503);
    answered(script, 0ms, 200);
    script.begin();
    script.at(1ms, head(0, 200), "relay 0");
    CHECK(script.endpoint(0).failures_in_a_row == 1);
    script.at(2ms, done(0), "");
    CHECK(script.endpoint(0).failures_in_a_row == 0);
    script.finish(3ms);
  }

  TEST_CASE("a connection that died while idle is not held against its endpoint; what its successor meets is") {
    Script script{Given{plain()}.outlier(1)};
    script.at(0ms, ready(), "start 0 primary e0");
    script.at(0ms, reused(0), "");
    script.at(0ms, sent(0), "");
    script.at(1ms, died_idle(0), "start 1 reconnect e0 fresh");
    CHECK(script.ejections() == 0);
    script.orders_of(2ms, unreachable(1));
    CHECK(script.ejections() == 1);
    script.finish(3ms);
  }

  TEST_CASE("faults on purpose eject nobody") {
    policy::ChaosConfig chaos;
    chaos.abort.emplace();
    chaos.abort->probability = 1;
    chaos.abort->kind = policy::ChaosAbort::Kind::status;
    chaos.abort->status = 503;
    Script script{Given{plain()}.outlier(1).chaos(chaos)};
    script.orders_of(0ms, ready());
    script.finish(1ms);
    CHECK(script.ejections() == 0);
  }

  TEST_CASE("with no usable endpoint all are used, or none where that is not wanted") {
    for (const bool panic : {true, false}) {
      Given given = plain();
      given.upstream.panic = panic;
      Script script{given};
      script.endpoint(0).healthy = false;
      script.endpoint(1).healthy = false;
      script.at(0ms, ready(), panic ? "start 0 primary e0" : "reply 503 no_healthy_endpoint");
      script.orders_of(1ms, client_gone());
    }
  }

  TEST_CASE("an endpoint that a health check has failed is passed over") {
    Script script{Given{plain()}};
    script.endpoint(0).healthy = false;
    for (int i = 0; i < 3; ++i) {
      script.at(0ms, ready(), "start 0 primary e1");
      script.at(0ms, client_gone(), "abort 0");
      script.again();
    }
    script.at(0ms, client_gone(), "");
  }

  TEST_CASE("a retry goes to another usable endpoint, and to the only one if there is none") {
    Script script{Given{retrying(2)}.outlier(1)};
    script.begin();
    script.at(1ms, head(0, 503), "hold 0");
    CHECK(script.ejected(0, 1ms));
    script.at(101ms, tick(), "start 1 retry e1");
    script.send(101ms, 1);
    script.orders_of(102ms, head(1, 503));
    CHECK(script.ejections() == 1);  // the last one stays
    script.finish(103ms);
    script.again();
    script.at(200ms, ready(), "start 0 primary e1");
    script.send(200ms, 0);
    script.at(201ms, head(0, 503), "hold 0");
    script.at(301ms, tick(), "start 1 retry e1");
    script.orders_of(302ms, client_gone());
  }
}
