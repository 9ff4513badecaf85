// The parser of request heads beside Beast's, on mutated requests. Where both take a head they must have read the same;
// where one refuses, the difference must be one of those listed here, and each of them is meant.
//
// Refused here, taken by Beast 345:
//   framing      Content-Length repeated (even if equal), listed, or 2^63 and more; Transfer-Encoding beside it (Beast
//                notices in one order only), in HTTP/1.0, or other than exactly `chunked`
//   host         missing in HTTP/1.1, repeated, or not a host name and port
//   target       neither origin-form nor http(s) absolute-form nor OPTIONS *; fragments; bytes that are not ASCII
//   folding      continued lines, which Beast joins
//   expectation  other than 100-continue
//   CONNECT      not served
// Read differently: HTTP/1.0 with both `close` and `keep-alive` closes here.
// Taken here, refused by Beast:
//   options      a Connection value that is no list of tokens: what is no token names no field and is not passed on
#include <memory>
#include <regex>
#include <string>
#include <vector>

#include <boost/beast/http.hpp>
#include <doctest/doctest.h>

#include "proxy/base/rng.hpp"
#include "proxy/http/h1_head.hpp"
#include "tests/unit/net/differential.hpp"

using namespace outrigger;
using namespace outrigger::test;
namespace beast = boost::beast::http;

namespace {

const std::vector<std::string> kSeeds = {
    "GET /a?b=c HTTP/1.1\r\nHost: a.example:80\r\nAccept: */*\r\n\r\n",
    "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\nConnection: keep-alive\r\n\r\n",
    "POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nX-A:  b\t c \r\n\r\n",
    "GET http://h/x HTTP/1.0\r\nHost: h\r\nConnection: close\r\nVia: 1.1 x\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: [::1]:8080\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
};
const std::vector<std::string> kLines = {
    "Content-Length: 5\r\n",
    "Transfer-Encoding: gzip\r\n",
    "Content-Length: 7,7\r\n",
    "Host: b\r\n",
    " folded\r\n",
    "Expect: later\r\n",
    "Connection: close\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
};
using BeastParser = beast::request_parser<beast::buffer_body>;

bool beast_takes(BeastParser& parser, const std::string& text) {
  parser.header_limit(32 * 1024);
  parser.body_limit(boost::none);
  boost::beast::error_code error;
  parser.put(boost::asio::buffer(text), error);
  return (!error || error == beast::error::need_buffer) && parser.is_header_done();
}

/// Which of the differences listed above explains that Beast took a head that was refused here; "" for none.
std::string why_refused(const BeastParser& parser, const std::string& text) {
  static const std::string kPort =
      "(:([0-9]{0,4}|[0-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?";
  static const std::string kAddress = R"(\[[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\])";
  static const std::string kName = R"((([-A-Za-z0-9._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+|)" + kAddress + ")" + kPort;
  static const std::regex kHost{kName};
  static const std::regex kTarget{R"((/|https?://)" + kName + R"((?=[/?]|$))[!-"$-~]*)", std::regex::icase};
  static const std::regex kChunked{"chunked", std::regex::icase};
  static const std::regex kContinue{"100-continue", std::regex::icase};
  const auto& message = parser.get();
  const std::string head = text.substr(0, text.find("\r\n\r\n"));
  if (head.find("\r\n ") != std::string::npos || head.find("\r\n\t") != std::string::npos) return "folding";
  if (message.method() == beast::verb::connect) return "CONNECT";
  const std::string target = text_of(message.target());
  const bool asterisk = target == "*" && message.method() == beast::verb::options;
  if (!asterisk && !std::regex_match(target, kTarget)) return "target";
  int hosts = 0;
  int lengths = 0;
  std::string codings;
  for (const auto& field : message) {
    const std::string value = text_of(field.value());
    if (field.name() == beast::field::host && (++hosts > 1 || !std::regex_match(value, kHost))) return "host";
    if (field.name() == beast::field::content_length &&
        (++lengths > 1 || value.find(',') != std::string::npos || value.size() > 18)) {
      return "framing";
    }
    if (field.name() == beast::field::transfer_encoding) codings += (codings.empty() ? "" : ",") + value + ";";
    if (field.name() == beast::field::expect && !std::regex_match(value, kContinue)) return "expectation";
  }
  if (!codings.empty()) {
    codings.pop_back();
    if (lengths > 0 || message.version() == 10 || !std::regex_match(codings, kChunked)) return "framing";
  }
  return hosts == 0 && message.version() == 11 ? "host" : "";
}

void check_same(const http::RequestHead& ours, const BeastParser& theirs) {
  const auto& message = theirs.get();
  CHECK(ours.method_name == text_of(message.method_string()));
  CHECK(ours.target == text_of(message.target()));
  CHECK(10u + ours.minor == message.version());
  CHECK(lines_of(
            ours.fields->view(), [](const Field& f) { return f.name; }, [](const Field& f) { return f.value; }) ==
        lines_of(
            message, [](const auto& f) { return f.name_string(); }, [](const auto& f) { return f.value(); }));
  CHECK((ours.body.framing == http::Framing::chunked) == theirs.chunked());
  const auto length = theirs.content_length();
  CHECK((ours.body.framing == http::Framing::content_length) == length.has_value());
  if (length) CHECK(ours.body.bytes == *length);
  // Told both to keep and to close, Beast keeps in HTTP/1.0, where closing is the safer reading.
  const bool told_both = !ours.keep_alive && theirs.keep_alive() && message.version() == 10;
  if (!told_both) CHECK(ours.keep_alive == theirs.keep_alive());
}

}  // namespace

TEST_SUITE("net") {
  TEST_CASE("the parser of request heads and Beast's differ only where they are meant to") {
    const auto parser = std::make_unique<http::HeadParser>();
    int both_took = 0;
    for (std::uint64_t seed = 1; seed <= 100'000; ++seed) {
      CAPTURE(seed);
      Rng rng{seed};
      std::string text = kSeeds[rng.below(kSeeds.size())];
      for (std::uint64_t left = rng.below(3) + 1; left > 0; --left) mutate(text, rng, kLines);
      CAPTURE(text);
      BeastParser theirs;
      const bool taken_there = beast_takes(theirs, text);
      http::HeadScan scan;
      const http::HeadVerdict verdict = parser->parse_request(text, {}, scan);
      if (verdict.complete() && taken_there) {
        ++both_took;
        check_same(parser->request(), theirs);
      } else if (taken_there) {
        CHECK(why_refused(theirs, text) != "");
      } else if (verdict.complete()) {
        CHECK(has_odd_options(*parser->request().fields));
      }
    }
    CHECK(both_took > 10'000);
  }

  TEST_CASE("each listed difference of request heads exists") {
    const auto parser = std::make_unique<http::HeadParser>();
    struct Row {
      const char* text;
      const char* why;
    };
    for (const Row& row :
         {Row{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", "framing"},
          Row{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nContent-Length: 5\r\n\r\n", "framing"},
          Row{"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "framing"},
          Row{"GET / HTTP/1.1\r\n\r\n", "host"}, Row{"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "host"},
          Row{"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", "target"}, Row{"GET a HTTP/1.1\r\nHost: a\r\n\r\n", "target"},
          Row{"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n", "folding"},
          Row{"GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", "expectation"},
          Row{"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT"}}) {
      CAPTURE(row.text);
      BeastParser theirs;
      http::HeadScan scan;
      CHECK(beast_takes(theirs, row.text));
      CHECK(parser->parse_request(row.text, {}, scan).refused());
      CHECK(why_refused(theirs, row.text) == row.why);
    }
    BeastParser theirs;
    http::HeadScan scan;
    const std::string odd = "GET / HTTP/1.1\r\nHost: a\r\nConnection: clo/se\r\n\r\n";
    CHECK_FALSE(beast_takes(theirs, odd));
    CHECK(parser->parse_request(odd, {}, scan).complete());
  }
}
