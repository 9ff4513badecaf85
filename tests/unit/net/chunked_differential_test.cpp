// The chunk decoder, fed in random pieces, beside Beast's parser, on mutated bodies. Where both take a body they must
// have decoded the same data, ended at the same byte and found the same trailers; where one refuses, the difference
// must be one of those listed here, and each of them is meant.
//
// Refused here, taken by Beast 345:
//   digits       more than 16 digits of a size, be they zeros: nobody honest sends them, and other readers cut them off
//   folding      continued trailer lines, which Beast joins
//   control      control bytes, bare CR and LF among them, in a quoted value of an extension: other readers end a line
//   there bounds       more extensions or trailers than are allowed (Beast has a bound of its buffer alone)
// Read differently:
//   dropped      trailers that frame, route or identify: they mean nothing behind a body and are not passed on
// Taken here, refused by Beast:
//   extension    one that is not `;name` or `;name=value`: it is dropped, whatever it says
//   framing      Connection, Content-Length and Transfer-Encoding in trailers: they are dropped, not read
#include <algorithm>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include <boost/beast/http.hpp>
#include <doctest/doctest.h>

#include "proxy/base/rng.hpp"
#include "proxy/http/chunked.hpp"
#include "tests/unit/net/differential.hpp"

using namespace outrigger;
using namespace outrigger::test;
namespace beast = boost::beast::http;

namespace {

const std::vector<std::string> kSeeds = {
    "5\r\nhello\r\n0\r\n\r\n",
    "A;a=b\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\n",
    "3 ;a=\"b c\"\r\nabc\r\n000\r\nX-Sum: 1\r\nX-B: c\r\n\r\n",
    "0\r\n\r\n",
    "1\r\na\r\n2\r\nbc\r\n0;z\r\nHost: b\r\nX-A:  b \r\n\r\n",
    "0000000000000010\r\n0123456789abcdef\r\n0\r\n\r\n",
};
const std::vector<std::string> kLines = {
    "X-A: b\r\n", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "\r\n",        "0\r\n",
    " fold\r\n",  "Connection: close\r\n", "00000000000000005\r\nhello\r\n", "1;\r\na\r\n", "1;=b\r\na\r\n",
};
const std::string kNext = "NEXT";  // what stands behind the body

struct Body {
  bool taken = false;
  std::string data;
  std::size_t size = 0;  // up to the end of the message
  std::vector<std::string> trailers;
};

std::string trimmed(const std::string& value) {
  const std::size_t begin = std::min(value.find_first_not_of(" \t"), value.size());
  return value.substr(begin, value.find_last_not_of(" \t") + 1 - begin);
}

/// In random pieces, each in memory of its own.
Body decode(const std::string& text, Rng& rng, const http::ChunkLimits& limits = {}) {
  http::ChunkDecoder decoder{limits};
  Body body;
  for (std::size_t at = 0; at < text.size();) {
    std::string piece = text.substr(at, rng.below(9) + 1);
    at += piece.size();
    const auto step = decoder.decode(piece);
    body.data += step.data;
    body.size += step.consumed;
    body.taken = step.state == http::ChunkDecoder::State::done;
    if (step.state != http::ChunkDecoder::State::need_more) break;
  }
  std::string_view lines = body.taken ? decoder.trailers() : std::string_view{};
  while (!lines.empty()) {
    const std::string line{lines.substr(0, lines.find("\r\n"))};
    lines.remove_prefix(line.size() + 2);
    const std::size_t colon = line.find(':');
    body.trailers.push_back(line.substr(0, colon) + ": " + trimmed(line.substr(colon + 1)));
  }
  return body;
}

/// In one piece: Beast 345 asserts too much of pieces of a last chunk.
Body beast_decodes(const std::string& text) {
  static const std::string kHead = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
  beast::request_parser<beast::string_body> parser;
  parser.eager(true);
  parser.body_limit(boost::none);
  parser.header_limit(1 << 20);
  std::string left = kHead + text;
  boost::beast::error_code error;
  for (std::size_t used = 1; used != 0 && !error && !parser.is_done() && !left.empty(); left.erase(0, used)) {
    used = parser.put(boost::asio::buffer(left), error);
  }
  Body body{.taken = !error && parser.is_done(),
            .data = parser.get().body(),
            .size = text.size() - std::min(left.size(), text.size())};
  for (const auto& field : parser.get()) {
    if (field.name() == beast::field::transfer_encoding) continue;
    body.trailers.push_back(text_of(field.name_string()) + ": " + text_of(field.value()));
  }
  return body;
}

bool has(const std::string& text, const char* pattern) {
  return std::regex_search(text, std::regex{pattern, std::regex::icase});
}

/// Whether a control byte stands behind a quote.
bool has_quoted_control(const std::string& line) {
  const std::size_t quote = std::min(line.find('"'), line.size());
  return std::any_of(line.begin() + static_cast<std::ptrdiff_t>(quote), line.end(),
                     [](char c) { return (c >= 0 && c < 0x20 && c != '\t') || c == 0x7f; });
}

std::vector<std::string> lines_in(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size(); at += lines.back().size() + 2) {
    lines.push_back(text.substr(at, text.find("\r\n", at) - at));
  }
  return lines;
}

/// Which of the differences listed above explains that Beast took a body that was refused here; "" for none.
std::string why_refused(const std::string& text) {
  if (has(text, R"((^|\r\n)[0-9a-f]{17})")) return "digits";
  if (has(text, R"(\r\n[ \t])")) return "folding";
  if (std::ranges::any_of(lines_in(text), has_quoted_control)) return "control";
  return text.size() > 4096 ? "bounds" : "";
}

/// Which explains that it was taken here and refused there.
std::string why_taken(const std::string& text) {
  if (has(text, R"(\r\n(connection|proxy-connection|content-length|transfer-encoding):)")) return "framing";
  static const char* const kPlain =
      R"re(^[0-9a-f]+([ \t]*;[ \t]*[-!#$%&'*+.^_`|~0-9a-z]+([ \t]*=[ \t]*([-!#$%&'*+.^_`|~0-9a-z]+|"([^"\\]|\\.)*"))?)*$)re";
  for (const std::string& line : lines_in(text)) {
    if (has(line, "^[0-9a-f]+[ \t]*;") && !has(line, kPlain)) return "extension";
  }
  return "";
}

void check_same(const Body& ours, const Body& theirs) {
  CHECK(ours.data == theirs.data);
  CHECK(ours.size == theirs.size);
  static const std::regex kDropped{"(host|connection|trailer|via|date|te):.*", std::regex::icase};
  const std::multiset<std::string> mine(ours.trailers.begin(), ours.trailers.end());
  for (const std::string& trailer : theirs.trailers) {
    CAPTURE(trailer);
    CHECK(mine.contains(trailer) != std::regex_match(trailer, kDropped));
  }
  for (const std::string& trailer : mine) {
    CAPTURE(trailer);
    CHECK(std::ranges::count(theirs.trailers, trailer) == static_cast<std::ptrdiff_t>(mine.count(trailer)));
  }
}

}  // namespace

TEST_SUITE("net") {
  TEST_CASE("the chunk decoder and Beast's differ only where they are meant to, however the bytes arrive") {
    int both_took = 0;
    for (std::uint64_t seed = 1; seed <= 100'000; ++seed) {
      CAPTURE(seed);
      Rng rng{seed};
      std::string text = kSeeds[rng.below(kSeeds.size())];
      for (std::uint64_t left = rng.below(3) + 1; left > 0; --left) mutate(text, rng, kLines);
      text += kNext;
      CAPTURE(text);
      const Body theirs = beast_decodes(text);
      const Body ours = decode(text, rng);
      if (ours.taken && theirs.taken) {
        ++both_took;
        check_same(ours, theirs);
      } else if (theirs.taken) {
        CHECK(why_refused(text) != "");
      } else if (ours.taken) {
        CHECK(why_taken(text) != "");
      }
    }
    CHECK(both_took > 10'000);
  }

  TEST_CASE("each listed difference of chunked bodies exists") {
    Rng rng{1};
    struct Row {
      std::string text;
      const char* why;
    };
    for (const Row& row : {Row{"00000000000000001\r\na\r\n0\r\n\r\n", "digits"},
                           Row{"0\r\nX-A: b\r\n c\r\n\r\n", "folding"}, Row{"1;a=\"\n\"\r\na\r\n0\r\n\r\n", "control"},
                           Row{"1;a=" + std::string(4096, 'e') + "\r\na\r\n0\r\n\r\n", "bounds"},
                           Row{"0\r\nX-A: " + std::string(32 * 1024, 'e') + "\r\n\r\n", "bounds"}}) {
      CAPTURE(row.text);
      CHECK(beast_decodes(row.text).taken);
      CHECK_FALSE(decode(row.text, rng).taken);
      CHECK(why_refused(row.text) == row.why);
    }
    for (const Row& row : {Row{"1;\r\na\r\n0\r\n\r\n", "extension"}, Row{"1;=b\r\na\r\n0\r\n\r\n", "extension"},
                           Row{"1;a=\r\na\r\n0\r\n\r\n", "extension"}, Row{"0\r\nContent-Length: 5\r\n\r\n", "framing"},
                           Row{"0\r\nTransfer-Encoding: chunked\r\n\r\n", "framing"},
                           Row{"0\r\nConnection: clo/se\r\n\r\n", "framing"}}) {
      CAPTURE(row.text);
      CHECK_FALSE(beast_decodes(row.text).taken);
      CHECK(decode(row.text, rng).taken);
      CHECK(why_taken(row.text) == row.why);
    }
    const std::string dropped = "0\r\nHost: b\r\nX-A: b\r\n\r\n";
    CHECK(beast_decodes(dropped).trailers == std::vector<std::string>{"Host: b", "X-A: b"});
    CHECK(decode(dropped, rng).trailers == std::vector<std::string>{"X-A: b"});
  }
}
