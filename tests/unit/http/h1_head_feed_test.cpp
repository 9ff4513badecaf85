#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/unit/http/heads.hpp"

using namespace outrigger;
using namespace outrigger::http;
using namespace outrigger::test;
using namespace std::string_literals;

namespace {

const std::vector<std::string> kRequests = {
    get_with(""),
    "\r\n\r\nGET /a?b HTTP/1.1\r\nHost: a\r\nX-A: \t b \t\r\nContent-Length: 3\r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close, x\r\n\r\n0\r\n\r\n",
    "\r\n\r\n\r\n" + get_with(""),
    "GET / HTTP/1.1\r\nHost: a\r\nbad name : x\r\nA: b\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\nA: b\r\n\r\n",
    "GET / HTTP/2.0\r\nHost: a\nA: b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\r",
    "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    get_with("A: " + std::string(300, 'x') + "\r\n"),
    "GET /" + std::string(300, 'x') + " HTTP/1.1\r\nHost: a\r\n\r\n",
    std::string(300, 'G'),
    "GET / HTTP/1.1\r\nHost: a\r\nA: b\0\r\n\r\n"s,
    "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"s,
};
const std::vector<std::string> kResponses = {
    ok_with("Content-Length: 3\r\nX: y\r\n") + "abc",
    "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n",
    "\r\nHTTP/1.1 200 OK\r\n\r\n",
    "SSH-2.0-x\r\n",
    ok_with("Transfer-Encoding: gzip\r\n"),
    ok_with("A: " + std::string(300, 'x') + "\r\n"),
};
constexpr HeadLimits kLimits{.max_head = 256, .max_fields = 100};

HeadVerdict parse(HeadParser& parser, bool is_request, std::string_view bytes, HeadScan& scan) {
  return is_request ? parser.parse_request(bytes, kLimits, scan) : parser.parse_response(bytes, kLimits, false, scan);
}

/// Feeds what ends at each of the given places, each time from other memory, until something is decided.
HeadVerdict feed(bool is_request, const std::string& text, const std::vector<std::size_t>& ends) {
  auto parser = std::make_unique<HeadParser>();
  HeadScan scan;
  HeadVerdict verdict;
  for (const std::size_t end : ends) {
    const auto moved = std::make_unique<std::string>(text.substr(0, end));
    verdict = parse(*parser, is_request, *moved, scan);
    if (verdict.state != HeadVerdict::State::need_more) break;
  }
  return verdict;
}

void check_all_splits(bool is_request, const std::string& text) {
  CAPTURE(text);
  const HeadVerdict whole = feed(is_request, text, {text.size()});
  std::vector<std::size_t> every;
  for (std::size_t end = 0; end <= text.size(); ++end) every.push_back(end);
  const HeadVerdict by_byte = feed(is_request, text, every);
  CHECK(show(by_byte) == show(whole));
  CHECK(by_byte.size == whole.size);
  for (std::size_t first = 0; first < text.size(); ++first) {
    CAPTURE(first);
    const HeadVerdict in_two = feed(is_request, text, {first, text.size()});
    CHECK(show(in_two) == show(whole));
    CHECK(in_two.size == whole.size);
  }
}

}  // namespace

TEST_SUITE("http") {
  TEST_CASE("a request head means the same however its bytes arrive") {
    for (const std::string& text : kRequests) check_all_splits(true, text);
  }

  TEST_CASE("a response head means the same however its bytes arrive") {
    for (const std::string& text : kResponses) check_all_splits(false, text);
  }

  TEST_CASE("a hopeless head is refused with the byte that makes it so") {
    const auto refused_at = [](const std::string& text) {
      auto parser = std::make_unique<HeadParser>();
      HeadScan scan;
      for (std::size_t end = 1; end <= text.size(); ++end) {
        if (parser->parse_request(std::string_view{text}.substr(0, end), {}, scan).refused()) return end;
      }
      return std::string::npos;
    };
    CHECK(refused_at("GET / HTTP/1.1\nHost") == 15);
    CHECK(refused_at("GET / HTTP/1.1\r\nHost: a\rb") == 25);
    CHECK(refused_at("GET / HTTP/1.1\r\nHost: a\0"s) == 24);
    CHECK(refused_at("\x16\x03\x01"s) == 1);
    CHECK(refused_at("GET /\r\nHost: a") == 7);
    CHECK(refused_at("\r\n\r\nGET / HTTP/3.0\r\nHost: a") == 20);
  }

  TEST_CASE("a large head in single bytes is scanned a bounded number of times") {
    // Quadratic work would be some ten thousand million steps here and show as a timeout.
    const std::string text = get_with("A: " + std::string(200'000, 'x') + "\r\n");
    auto parser = std::make_unique<HeadParser>();
    HeadScan scan;
    HeadVerdict verdict;
    std::size_t total = 0;
    for (std::size_t end = 1; end <= text.size(); ++end) {
      const std::size_t before = scan.scanned;
      verdict = parser->parse_request(std::string_view{text}.substr(0, end), {.max_head = 1 << 20}, scan);
      total += scan.scanned - before;
    }
    CHECK(verdict.complete());
    CHECK(total <= text.size());
  }

  TEST_CASE("one parser serves heads of many connections in turn") {
    const std::string a = get_with("A: b\r\n");
    const std::string b = "POST /x HTTP/1.0\r\nContent-Length: 7\r\n\r\n";
    auto parser = std::make_unique<HeadParser>();
    HeadScan scan_a;
    HeadScan scan_b;
    CHECK(show(parser->parse_request(a.substr(0, 20), {}, scan_a)) == "need_more");
    REQUIRE(parser->parse_request(b, {}, scan_b).complete());
    CHECK(parser->request().body.bytes == 7);
    REQUIRE(parser->parse_request(a, {}, scan_a).complete());
    CHECK(parser->request().body.framing == Framing::none);
    CHECK(parser->request().minor == 1);
    CHECK(parser->request().fields->size() == 2);
  }
}
