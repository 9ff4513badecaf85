// Each row of the truth table as a script, and what the circuit, the adaptive limit and the hedge trigger made of it.
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "tests/support/script.hpp"

using namespace outrigger;
using namespace outrigger::test;
using policy::CircuitResult;
using policy::LatencySample;
using policy::LatencyWindow;
using policy::LimitSample;

namespace {

constexpr Nanos kTook = 10ms;
constexpr std::uint32_t kLimit = 20;

/// One request of the row, begun at that time.
using Play = std::function<void(Script&, Nanos)>;

struct Row {
  std::string name;
  Play play;
  CircuitResult circuit;
  LimitSample limit;
  LatencySample latency;
  Nanos took = kTook;  // from the attempt's start
};

void start(Script& s, Nanos at) {
  s.at(at, ready(), "start 0 primary e0");
  s.send(at, 0);
}

Play answer(int status) {
  return [status](Script& s, Nanos at) {
    start(s, at);
    s.at(at + kTook, head(0, status), "relay 0");
    s.at(at + kTook, done(0), "");
    s.finish(at + kTook);
  };
}

Play fault(Reason why, Exposure exposure) {
  return [why, exposure](Script& s, Nanos at) {
    start(s, at);
    s.at(at + kTook, failed(0, why, exposure),
         "reply " + std::to_string(info(why).status) + " " + std::string{to_string(why)});
    s.finish(at + kTook);
  };
}

Play not_connected(Reason why) {
  return [why](Script& s, Nanos at) {
    s.at(at, ready(), "start 0 primary e0");
    s.at(at + kTook, unreachable(0, why),
         "reply " + std::to_string(info(why).status) + " " + std::string{to_string(why)});
    s.finish(at + kTook);
  };
}

Play silence() {
  return [](Script& s, Nanos at) {
    start(s, at);
    s.at(at + 200ms, tick(), "abort 0, reply 504 attempt_timeout");
    s.finish(at + 200ms);
  };
}

/// The client waits so long. Half of the 200 ms that an attempt may take is what an upstream is given.
Play deadline(Nanos client_waits, bool sent) {
  return [client_waits, sent](Script& s, Nanos at) {
    s.facts().client_deadline = client_waits;
    s.again();
    s.at(at, ready(), "start 0 primary e0");
    if (sent) s.send(at, 0);
    s.at(at + client_waits, tick(), "abort 0, reply 504 overall_timeout no-retry");
    s.finish(at + client_waits);
  };
}

Play client_leaves(bool sent) {
  return [sent](Script& s, Nanos at) {
    s.at(at, ready(), "start 0 primary e0");
    if (sent) s.send(at, 0);
    s.at(at + kTook, client_gone(), "abort 0");
  };
}

Play body_goes_wrong(Reason why) {
  return [why](Script& s, Nanos at) {
    s.facts().has_body = true;
    s.again();
    s.at(at, ready(), "read-body, start 0 primary e0");
    s.at(at, connected(0), "");
    s.at(at + kTook, client(why),
         "abort 0, reply " + std::to_string(info(why).status) + " " + std::string{to_string(why)});
    s.finish(at + kTook);
  };
}

Play drain() {
  return [](Script& s, Nanos at) {
    start(s, at);
    s.at(at + kTook, drained(), "abort 0, reply 503 draining retry-after 1000");
    s.finish(at + kTook);
  };
}

std::vector<Row> rows() {
  using C = CircuitResult;
  using L = LimitSample;
  using T = LatencySample;
  std::vector<Row> all;
  for (const int status : {200, 204, 302, 304}) {
    all.push_back({std::to_string(status), answer(status), C::success, L::good, T::exact});
  }
  for (const int status : {400, 404, 409, 499}) {
    all.push_back({std::to_string(status), answer(status), C::success, L::good, T::exact});
  }
  for (const int status : {408, 425}) {
    all.push_back({std::to_string(status), answer(status), C::neutral, L::neutral, T::none});
  }
  all.push_back({"429", answer(429), C::neutral, L::congestion, T::none});
  for (const int status : {500, 502}) {
    all.push_back({std::to_string(status), answer(status), C::failure, L::neutral, T::none});
  }
  for (const int status : {503, 504}) {
    all.push_back({std::to_string(status), answer(status), C::failure, L::congestion, T::none});
  }
  for (const int status : {501, 505, 511}) {
    all.push_back({std::to_string(status), answer(status), C::neutral, L::neutral, T::none});
  }
  for (const Reason why : {Reason::connect_refused, Reason::connect_timeout, Reason::connect_error, Reason::dns_failure,
                           Reason::tls_failure}) {
    all.push_back({std::string{to_string(why)}, not_connected(why), C::failure, L::neutral, T::none});
  }
  for (const Reason why : {Reason::reset, Reason::closed_early}) {
    const std::string name{to_string(why)};
    all.push_back({name, fault(why, Exposure::partly_sent), C::failure, L::congestion, T::none});
    all.push_back({name + " unsent", fault(why, Exposure::nothing_sent), C::failure, L::neutral, T::none});
  }
  all.push_back({"attempt_timeout", silence(), C::failure, L::congestion, T::at_least, 200ms});
  all.push_back(
      {"protocol_error", fault(Reason::protocol_error, Exposure::fully_sent), C::failure, L::neutral, T::none});
  all.push_back({"deadline", deadline(100ms, true), C::failure, L::congestion, T::at_least, 100ms});
  all.push_back({"short deadline", deadline(100ms - 1ns, true), C::neutral, L::neutral, T::at_least, 99ms});
  all.push_back({"deadline while sending", deadline(150ms, false), C::neutral, L::neutral, T::at_least, 150ms});
  all.push_back({"client_disconnected", client_leaves(true), C::neutral, L::neutral, T::at_least});
  all.push_back({"client_disconnected unsent", client_leaves(false), C::neutral, L::neutral, T::none});
  all.push_back({"body_timeout", body_goes_wrong(Reason::body_timeout), C::neutral, L::neutral, T::none});
  all.push_back({"body_too_large", body_goes_wrong(Reason::body_too_large), C::neutral, L::neutral, T::none});
  all.push_back({"drained", drain(), C::neutral, L::neutral, T::at_least});
  return all;
}

Given given() { return Given{retrying(1)}.attempt_timeout(200ms).overall(1s).endpoints(1); }

}  // namespace

TEST_SUITE("exchange") {
  TEST_CASE("for a circuit each row of the truth table is a failure, a success or nothing") {
    for (const Row& row : rows()) {
      CAPTURE(row.name);
      Script script{given().circuit(3)};
      answer(503)(script, 0ms);
      REQUIRE(script.circuit().failures_in_a_row() == 1);
      script.again();
      row.play(script, 1s);
      CHECK(script.circuit().failures_in_a_row() == (row.circuit == CircuitResult::failure   ? 2
                                                     : row.circuit == CircuitResult::neutral ? 1
                                                                                             : 0));
    }
  }

  TEST_CASE("no row of the truth table takes a probe along, and one success or failure decides about the circuit") {
    for (const Row& row : rows()) {
      CAPTURE(row.name);
      Script script{given().circuit(1)};
      script.circuit().force_open();
      script.circuit().automatic();
      row.play(script, 0ms);
      CHECK(script.circuit().probes_out() == 0);
      CHECK(script.circuit().state() == (row.circuit == CircuitResult::failure   ? policy::CircuitState::open
                                         : row.circuit == CircuitResult::neutral ? policy::CircuitState::half_open
                                                                                 : policy::CircuitState::closed));
    }
  }

  TEST_CASE("for an adaptive limit each row of the truth table is a sample, congestion or nothing") {
    for (const Row& row : rows()) {
      CAPTURE(row.name);
      Given limited = given().adaptive_limit(kLimit);
      limited.adaptive->min = 1;
      Script script{limited};
      for (int i = 0; i < 45; ++i) {
        row.play(script, i * 1s);
        script.again();
      }
      CHECK((script.adaptive().limit() < kLimit) == (row.limit == LimitSample::congestion));
      CHECK((script.adaptive().baseline() != 0ns) == (row.limit == LimitSample::good));
      if (row.limit == LimitSample::good) CHECK(script.adaptive().baseline() == row.took);
    }
  }

  TEST_CASE("for a hedge trigger each row of the truth table is a latency, at least one, or nothing") {
    for (const Row& row : rows()) {
      CAPTURE(row.name);
      Given hedged = given().hedge(0ms);
      hedged.hedge_config->delay.reset();
      hedged.hedge_config->quantile = 0.5;
      hedged.hedge_config->min_samples = 1;
      Script script{hedged};
      row.play(script, 0ms);
      const auto delay = script.hedge_delay(2s);
      CHECK(delay.has_value() == (row.latency != LatencySample::none));
      if (!delay) continue;
      const Nanos exactly = LatencyWindow::upper_edge(LatencyWindow::bucket_of(row.took));
      CHECK((*delay <= exactly) == (row.latency == LatencySample::exact));
    }
  }
}
