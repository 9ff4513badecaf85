#include "proxy/http/deadline_header.hpp"

#include <string>

#include <doctest/doctest.h>

using namespace outrigger;
using namespace outrigger::http;
using namespace std::chrono_literals;

namespace {

constexpr DeadlineForm kMs = DeadlineForm::x_request_timeout;
constexpr DeadlineForm kGrpc = DeadlineForm::grpc_timeout;

std::string written(DeadlineForm form, Nanos left) {
  char text[kMaxDeadlineText];
  return {text, write_deadline(form, left, text)};
}

}  // namespace

TEST_SUITE("http") {
  TEST_CASE("milliseconds are digits, and more than time can hold is for ever") {
    CHECK(parse_deadline(kMs, "250") == 250ms);
    CHECK(parse_deadline(kMs, "0") == 0ms);
    CHECK(parse_deadline(kMs, "0007") == 7ms);
    CHECK(parse_deadline(kMs, "9223372036854") == Nanos{9'223'372'036'854'000'000});
    CHECK(parse_deadline(kMs, "9223372036855") == kForever);
    CHECK(parse_deadline(kMs, "99999999999999999999999999") == kForever);
    CHECK(parse_deadline(DeadlineForm::x_envoy_expected_rq_timeout_ms, "15") == 15ms);
    for (const char* text : {"", "-1", "+1", "1.5", "1 ", " 1", "1ms", "0x1", "1_0", "a"}) {
      CAPTURE(text);
      CHECK_FALSE(parse_deadline(kMs, text));
    }
  }

  TEST_CASE("the gRPC form is one to eight digits and a unit") {
    CHECK(parse_deadline(kGrpc, "1H") == 1h);
    CHECK(parse_deadline(kGrpc, "2M") == 2min);
    CHECK(parse_deadline(kGrpc, "3S") == 3s);
    CHECK(parse_deadline(kGrpc, "4m") == 4ms);
    CHECK(parse_deadline(kGrpc, "5u") == 5us);
    CHECK(parse_deadline(kGrpc, "6n") == 6ns);
    CHECK(parse_deadline(kGrpc, "00000000n") == 0ns);
    CHECK(parse_deadline(kGrpc, "99999999S") == 99'999'999s);
    CHECK(parse_deadline(kGrpc, "99999999H") == kForever);
    for (const char* text : {"", "S", "1", "123456789S", "1s", "1h", "-1S", "1.5S", "1 S", "1SS"}) {
      CAPTURE(text);
      CHECK_FALSE(parse_deadline(kGrpc, text));
    }
  }

  TEST_CASE("milliseconds are written rounded down, but never less than one") {
    CHECK(written(kMs, 1500ms) == "1500");
    CHECK(written(kMs, 1999us) == "1");
    CHECK(written(kMs, 1us) == "1");
    CHECK(written(kMs, -5s) == "1");
    CHECK(written(kMs, kForever) == "9223372036854");
  }

  TEST_CASE("the gRPC form is written in the finest unit that fits, and loses at most a hundred thousandth") {
    CHECK(written(kGrpc, 1'000'001ns) == "1000001n");
    CHECK(written(kGrpc, 99'999'999ns) == "99999999n");
    CHECK(written(kGrpc, 100'000'000ns) == "100000u");
    CHECK(written(kGrpc, 1'500ms) == "1500000u");
    CHECK(written(kGrpc, 100s) == "100000m");
    CHECK(written(kGrpc, 100'000s) == "100000S");
    for (std::int64_t ns = 1'000'000; ns > 0 && ns < std::int64_t{1} << 61; ns = ns * 3 + 1) {
      CAPTURE(ns);
      const std::string text = written(kGrpc, Nanos{ns});
      const auto back = parse_deadline(kGrpc, text);
      REQUIRE(back);
      CHECK(back->count() <= ns);
      CHECK(back->count() > ns - ns / 100'000 - 1);
    }
  }

  TEST_CASE("no form is ever written as less than a millisecond") {
    for (const Nanos left : {Nanos{-5s}, Nanos{0}, Nanos{1}, Nanos{999'999}, Nanos{1ms}}) {
      CHECK(written(kMs, left) == "1");
      CHECK(written(kGrpc, left) == "1000000n");
    }
  }

  TEST_CASE("of several accepted deadlines the shortest counts, and invalid ones are reported") {
    FieldList fields;
    CHECK(incoming_deadline(fields, DeadlineForms::all()).left == kForever);
    fields.push({"X-Request-Timeout", "500"}, FieldId::x_request_timeout);
    fields.push({"Grpc-Timeout", "200m"}, FieldId::grpc_timeout);
    fields.push({"X-Request-Timeout", "300"}, FieldId::x_request_timeout);
    CHECK(incoming_deadline(fields, DeadlineForms::all()).left == 200ms);
    DeadlineForms only_ms;
    only_ms.insert(kMs);
    CHECK(incoming_deadline(fields, only_ms).left == 300ms);
    CHECK_FALSE(incoming_deadline(fields, only_ms).invalid);
    CHECK(incoming_deadline(fields, DeadlineForms{}).left == kForever);
    fields.push({"X-Request-Timeout", "soon"}, FieldId::x_request_timeout);
    CHECK(incoming_deadline(fields, only_ms).invalid);
    CHECK(incoming_deadline(fields, only_ms).left == 300ms);
  }

  TEST_CASE("forms are named by their field in any case") {
    CHECK(parse_deadline_form("grpc-timeout") == kGrpc);
    CHECK(parse_deadline_form("X-Request-Timeout") == kMs);
    CHECK(parse_deadline_form("x-envoy-expected-rq-timeout-MS") == DeadlineForm::x_envoy_expected_rq_timeout_ms);
    CHECK_FALSE(parse_deadline_form("Timeout"));
  }
}
