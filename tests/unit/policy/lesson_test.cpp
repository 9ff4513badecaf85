#include "proxy/policy/lesson.hpp"

#include <doctest/doctest.h>

using namespace outrigger;
using namespace outrigger::policy;
using namespace std::chrono_literals;

namespace {

using Result = CircuitResult;

constexpr Nanos kPatience = 500ms;

CircuitConfig usual_circuit() {
  CircuitConfig config;
  config.failure_statuses.insert(500, 500);
  config.failure_statuses.insert(502, 504);
  return config;
}

/// The last three columns of a row of the truth table.
struct Row {
  Result circuit;
  LimitSample limit;
  LatencySample latency;

  friend bool operator==(const Row&, const Row&) = default;
};

Row row(const Lesson& lesson) {
  static const CircuitConfig circuit = usual_circuit();
  return {result_of(circuit, lesson), lesson.limit, lesson.latency};
}

constexpr Row kGood{Result::success, LimitSample::good, LatencySample::exact};
constexpr Row kNothing{Result::neutral, LimitSample::neutral, LatencySample::none};
constexpr Row kFailed{Result::failure, LimitSample::neutral, LatencySample::none};
constexpr Row kOverloaded{Result::failure, LimitSample::congestion, LatencySample::none};
constexpr Row kSilent{Result::failure, LimitSample::congestion, LatencySample::at_least};
constexpr Row kCutOff{Result::neutral, LimitSample::neutral, LatencySample::at_least};

}  // namespace

TEST_SUITE("policy") {
  TEST_CASE("every status teaches what the truth table says") {
    for (std::uint16_t status = 101; status < 600; ++status) {
      CAPTURE(status);
      Row expected = status < 500 ? kGood : kNothing;
      if (status == 408 || status == 425) expected = kNothing;
      if (status == 429) expected = {Result::neutral, LimitSample::congestion, LatencySample::none};
      if (status == 500 || status == 502) expected = kFailed;
      if (status == 503 || status == 504) expected = kOverloaded;
      CHECK(row(lesson_of_answer(status, false)) == expected);
    }
  }

  TEST_CASE("a refusal by a sidecar before the upstream is a sign of load and no failure of the upstream") {
    CHECK(row(lesson_of_answer(503, true)) == Row{Result::neutral, LimitSample::congestion, LatencySample::none});
    CHECK_FALSE(lesson_of_answer(503, true).timed);
  }

  TEST_CASE("a connection that was not made is a failure and says nothing about load or latency") {
    for (const Reason fault : {Reason::connect_refused, Reason::connect_timeout, Reason::connect_error,
                               Reason::dns_failure, Reason::tls_failure}) {
      CHECK(row(lesson_of_fault(fault, Exposure::nothing_sent)) == kFailed);
    }
  }

  TEST_CASE("a connection that we had no means to make teaches nothing, not even that it was quick") {
    const Lesson lesson = lesson_of_fault(Reason::pool_full, Exposure::nothing_sent);
    CHECK(row(lesson) == kNothing);
    CHECK_FALSE(lesson.timed);
    // Not even where somebody counts it by name.
    CircuitConfig config;
    config.failure_reasons.insert(Reason::pool_full);
    CHECK(result_of(config, lesson) == CircuitResult::neutral);
    CHECK(outlier_result(lesson) == OutlierResult::neutral);
  }

  TEST_CASE("a connection that died is a sign of load only where the upstream had seen something") {
    for (const Reason fault : {Reason::reset, Reason::closed_early}) {
      CHECK(row(lesson_of_fault(fault, Exposure::nothing_sent)) == kFailed);
      CHECK(row(lesson_of_fault(fault, Exposure::partly_sent)) == kOverloaded);
      CHECK(row(lesson_of_fault(fault, Exposure::fully_sent)) == kOverloaded);
    }
  }

  TEST_CASE("silence is a failure, a sign of load, and a latency of at least that long") {
    CHECK(row(lesson_of_fault(Reason::attempt_timeout, Exposure::fully_sent)) == kSilent);
  }

  TEST_CASE("an answer that is broken, before or after its head, is a failure and nothing else") {
    CHECK(row(lesson_of_fault(Reason::protocol_error, Exposure::fully_sent)) == kFailed);
    CHECK(row(lesson_of_fault(Reason::response_head_too_large, Exposure::fully_sent)) == kFailed);
    CHECK(row(lesson_of_broken_answer(Reason::reset)) == kFailed);
    CHECK(row(lesson_of_broken_answer(Reason::closed_early)) == kFailed);
    CHECK(row(lesson_of_broken_answer(Reason::response_idle_timeout)) == kFailed);
    CHECK(outlier_result(lesson_of_broken_answer(Reason::response_idle_timeout)) == OutlierResult::failure);
  }

  TEST_CASE("a deadline is the upstream's fault from its patience on, and only with the whole request in hand") {
    const auto deadline = [](bool wholly_sent, Nanos waited) {
      return lesson_of_abort(Reason::overall_timeout, wholly_sent, waited, kPatience);
    };
    CHECK(row(deadline(true, kPatience)) == kSilent);
    CHECK(row(deadline(true, kPatience - 1ns)) == kCutOff);
    CHECK(row(deadline(false, 1h)) == kCutOff);
    CHECK(deadline(true, kPatience).timed);
    CHECK_FALSE(deadline(true, kPatience - 1ns).timed);
  }

  TEST_CASE("what the client or we ourselves end teaches only how long it took already, and that it was slow") {
    for (const Reason why : {Reason::client_disconnected, Reason::body_timeout, Reason::body_too_large,
                             Reason::client_not_reading, Reason::drained, Reason::max_duration}) {
      CAPTURE(to_string(why));
      const Lesson sent = lesson_of_abort(why, true, 1h, kPatience);
      CHECK(row(sent) == kCutOff);
      CHECK(sent.timed);
      CHECK(row(lesson_of_abort(why, false, 1h, kPatience)) == kNothing);
    }
  }

  TEST_CASE("who lost a race took at least so long, sent or not, and is no slow call") {
    for (const bool wholly_sent : {false, true}) {
      const Lesson lost = lesson_of_abort(Reason::hedge_lost, wholly_sent, 1h, kPatience);
      CHECK(row(lost) == kCutOff);
      CHECK_FALSE(lost.timed);
    }
  }
}
