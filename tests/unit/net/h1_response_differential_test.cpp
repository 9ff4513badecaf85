// The parser of response heads beside Beast's, on mutated responses. Where both take a head they must have read the
// same; where one refuses, the difference must be one of those listed here, and each of them is meant.
//
// Refused here, taken by Beast 345:
//   framing      Content-Length that is listed, or 2^63 and more; Transfer-Encoding beside it (Beast notices in one
//   order
//                only), in HTTP/1.0, or other than exactly `chunked`: an upstream that says two things is believed in
//                none
//   folding      continued lines, which Beast joins
//   status       below 100 and beyond 599: no class tells what they mean
// Read differently:
//   repeated     the same Content-Length twice is one field here, so that one goes to the client
//   both         HTTP/1.0 with both `close` and `keep-alive` closes here
// Taken here, refused by Beast:
//   options      a Connection value that is no list of tokens: what is no token names no field and is not passed on
//   bare         a status line that ends with its digits, without the blank before an empty phrase: many servers do so
#include <iterator>
#include <memory>
#include <regex>
#include <string>
#include <utility>
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
    "HTTP/1.1 200 OK\r\nContent-Length: 12\r\nServer: x\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A:  b\t c \r\n\r\n",
    "HTTP/1.0 404 Not Found\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nConnection: close\r\nETag: \"a\"\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
    "HTTP/1.1 503 \r\nRetry-After: 5\r\nVia: 1.1 x\r\n\r\n",
};
const std::vector<std::string> kLines = {
    "Content-Length: 5\r\n",
    "Content-Length: 12\r\n",
    "Transfer-Encoding: gzip\r\n",
    "Content-Length: 7,7\r\n",
    " folded\r\n",
    "Connection: close\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Transfer-Encoding: chunked\r\n",
};

using BeastParser = beast::response_parser<beast::buffer_body>;

bool beast_takes(BeastParser& parser, const std::string& text, bool answers_head) {
  parser.header_limit(32 * 1024);
  parser.body_limit(boost::none);
  parser.skip(answers_head);
  boost::beast::error_code error;
  parser.put(boost::asio::buffer(text), error);
  return (!error || error == beast::error::need_buffer) && parser.is_header_done();
}

/// Which of the differences listed above explains that Beast took a head that was refused here; "" for none.
std::string why_refused(const BeastParser& parser, const std::string& text) {
  static const std::regex kChunked{"chunked", std::regex::icase};
  const auto& message = parser.get();
  const std::string head = text.substr(0, text.find("\r\n\r\n"));
  if (head.find("\r\n ") != std::string::npos || head.find("\r\n\t") != std::string::npos) return "folding";
  if (message.result_int() < 100 || message.result_int() > 599) return "status";
  bool length = false;
  bool listed = false;
  std::string codings;
  for (const auto& field : message) {
    const std::string value = text_of(field.value());
    if (field.name() == beast::field::content_length) {
      length = true;
      listed |= value.find(',') != std::string::npos || value.size() > 18;
    }
    if (field.name() == beast::field::transfer_encoding) codings += (codings.empty() ? "" : ",") + value;
  }
  if (listed) return "framing";
  const bool coded = message.find(beast::field::transfer_encoding) != message.end();
  if (coded && (length || message.version() == 10 || !std::regex_match(codings, kChunked))) return "framing";
  return "";
}

/// Which explains that it was taken here and refused there.
std::string why_taken(const http::ResponseHead& ours) {
  if (has_odd_options(*ours.fields)) return "options";
  return ours.reason_phrase.empty() ? "bare" : "";
}

std::string fields_of(const http::ResponseHead& ours) {
  return lines_of(
      ours.fields->view(), [](const Field& f) { return f.name; }, [](const Field& f) { return f.value; });
}
std::string fields_of(const BeastParser& theirs) {
  bool length = false;
  std::vector<beast::fields::value_type const*> once;
  for (const auto& field : theirs.get()) {
    if (field.name() == beast::field::content_length && std::exchange(length, true)) continue;
    once.push_back(&field);
  }
  return lines_of(
      once, [](const auto* f) { return f->name_string(); }, [](const auto* f) { return f->value(); });
}

void check_same(const http::ResponseHead& ours, const BeastParser& theirs, bool answers_head) {
  const auto& message = theirs.get();
  CHECK(ours.status == message.result_int());
  CHECK(10u + ours.minor == message.version());
  // Without a phrase Beast says the usual one.
  if (!ours.reason_phrase.empty()) CHECK(ours.reason_phrase == text_of(message.reason()));
  CHECK(fields_of(ours) == fields_of(theirs));
  const bool bodiless = answers_head || ours.status < 200 || ours.status == 204 || ours.status == 304;
  const auto length = theirs.content_length();
  CHECK((ours.body.framing == http::Framing::none) == bodiless);
  CHECK((ours.body.framing == http::Framing::chunked) == (!bodiless && theirs.chunked()));
  CHECK((ours.body.framing == http::Framing::content_length) == (!bodiless && length.has_value()));
  if (length && !bodiless) CHECK(ours.body.bytes == *length);
  const bool told_both = !ours.keep_alive && theirs.keep_alive() && message.version() == 10;
  if (!told_both) CHECK(ours.keep_alive == theirs.keep_alive());
}

}  // namespace

TEST_SUITE("net") {
  TEST_CASE("the parser of response heads and Beast's differ only where they are meant to") {
    const auto parser = std::make_unique<http::HeadParser>();
    int both_took = 0;
    for (std::uint64_t seed = 1; seed <= 100'000; ++seed) {
      CAPTURE(seed);
      Rng rng{seed};
      std::string text = kSeeds[rng.below(kSeeds.size())];
      const bool answers_head = rng.below(4) == 0;
      for (std::uint64_t left = rng.below(3) + 1; left > 0; --left) mutate(text, rng, kLines);
      CAPTURE(text);
      BeastParser theirs;
      const bool taken_there = beast_takes(theirs, text, answers_head);
      http::HeadScan scan;
      const http::HeadVerdict verdict = parser->parse_response(text, {}, answers_head, scan);
      if (verdict.complete() && taken_there) {
        ++both_took;
        check_same(parser->response(), theirs, answers_head);
      } else if (taken_there) {
        CHECK(why_refused(theirs, text) != "");
      } else if (verdict.complete()) {
        CHECK(why_taken(parser->response()) != "");
      }
    }
    CHECK(both_took > 10'000);
  }

  TEST_CASE("each listed difference of response heads exists") {
    const auto parser = std::make_unique<http::HeadParser>();
    struct Row {
      const char* text;
      const char* why;
    };
    for (const Row& row : {Row{"HTTP/1.1 200 OK\r\nContent-Length: 5,5\r\n\r\n", "framing"},
                           Row{"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\n", "framing"},
                           Row{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 5\r\n\r\n", "framing"},
                           Row{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "framing"},
                           Row{"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "framing"},
                           Row{"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", "folding"},
                           Row{"HTTP/1.1 600 OK\r\n\r\n", "status"}, Row{"HTTP/1.1 099 OK\r\n\r\n", "status"}}) {
      CAPTURE(row.text);
      BeastParser theirs;
      http::HeadScan scan;
      CHECK(beast_takes(theirs, row.text, false));
      CHECK(parser->parse_response(row.text, {}, false, scan).refused());
      CHECK(why_refused(theirs, row.text) == row.why);
    }
    for (const Row& row : {Row{"HTTP/1.1 200 OK\r\nConnection: clo/se\r\n\r\n", "options"},
                           Row{"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "bare"}}) {
      CAPTURE(row.text);
      BeastParser theirs;
      http::HeadScan scan;
      CHECK_FALSE(beast_takes(theirs, row.text, false));
      REQUIRE(parser->parse_response(row.text, {}, false, scan).complete());
      CHECK(why_taken(parser->response()) == row.why);
    }
    const std::string repeated = "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n";
    const std::string both = "HTTP/1.0 200 OK\r\nConnection: close, keep-alive\r\nContent-Length: 0\r\n\r\n";
    BeastParser first;
    BeastParser second;
    http::HeadScan scan;
    REQUIRE(beast_takes(first, repeated, false));
    REQUIRE(beast_takes(second, both, false));
    REQUIRE(parser->parse_response(repeated, {}, false, scan).complete());
    CHECK(parser->response().fields->size() == 1);
    CHECK(std::distance(first.get().begin(), first.get().end()) == 2);
    scan = {};
    REQUIRE(parser->parse_response(both, {}, false, scan).complete());
    CHECK_FALSE(parser->response().keep_alive);
    CHECK(second.keep_alive());
  }
}
