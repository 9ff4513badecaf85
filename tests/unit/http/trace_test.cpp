#include "proxy/http/trace.hpp"

#include <string>

#include <doctest/doctest.h>

#include "tests/unit/http/heads.hpp"

using namespace outrigger;
using namespace outrigger::http;
using namespace outrigger::test;

namespace {

std::string traced(const std::string& head) {
  const ParsedRequest parsed{head};
  Buffer out;
  append_trace(parsed.head(), out);
  return std::string{out.view()};
}

}  // namespace

TEST_SUITE("http") {
  TEST_CASE("a trace shows the head as it came, the target included") {
    const std::string head = "TRACE /a%41?b HTTP/1.1\r\nHost: a\r\nx-odd: 1\r\nX-Odd: 2\r\nMax-Forwards: 0\r\n\r\n";
    CHECK(traced(head) == head);
    CHECK(traced("TRACE / HTTP/1.0\r\n\r\n") == "TRACE / HTTP/1.0\r\n\r\n");
  }

  TEST_CASE("a trace shows nothing that says who asks") {
    CHECK(traced("TRACE / HTTP/1.1\r\nHost: a\r\nauthorization: Basic eA==\r\nCookie: a=b\r\nX-Kept: 1\r\n"
                 "Cookie: c=d\r\nProxy-Authorization: x\r\nproxy-anything: y\r\nProxy: z\r\n\r\n") ==
          "TRACE / HTTP/1.1\r\nHost: a\r\nX-Kept: 1\r\nProxy: z\r\n\r\n");
  }
}
