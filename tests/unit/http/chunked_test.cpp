#include "proxy/http/chunked.hpp"

#include <memory>
#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace outrigger::http;
using namespace std::string_literals;

namespace {

struct Decoded {
  ChunkDecoder::State state = ChunkDecoder::State::need_more;
  std::string data;
  std::string trailers;
  std::size_t consumed = 0;
};

/// Feeds pieces of `step` bytes, each in memory of its own size so that a read beyond it is seen by the sanitizer.
Decoded decode(const std::string& text, std::size_t step, const ChunkLimits& limits = {}) {
  ChunkDecoder decoder{limits};
  Decoded result;
  for (std::size_t at = 0; at < text.size() && result.state == ChunkDecoder::State::need_more; at += step) {
    std::vector<char> piece(text.begin() + static_cast<std::ptrdiff_t>(at),
                            text.begin() + static_cast<std::ptrdiff_t>(std::min(at + step, text.size())));
    const ChunkDecoder::Step done = decoder.decode(piece);
    result.state = done.state;
    result.data += done.data;
    result.consumed += done.consumed;
    if (done.state == ChunkDecoder::State::need_more) CHECK(done.consumed == piece.size());
  }
  result.trailers = decoder.trailers();
  return result;
}

void check_good(const std::string& text, const std::string& data, const std::string& trailers = "") {
  CAPTURE(text);
  for (std::size_t step = 1; step <= text.size() + 4; ++step) {
    CAPTURE(step);
    const Decoded result = decode(text + "next", step);
    CHECK(result.state == ChunkDecoder::State::done);
    CHECK(result.data == data);
    CHECK(result.trailers == trailers);
    CHECK(result.consumed == text.size());
  }
}

void check_bad(const std::string& text, const ChunkLimits& limits = {}) {
  CAPTURE(text);
  for (std::size_t step = 1; step <= text.size(); ++step) {
    CAPTURE(step);
    CHECK(decode(text, step, limits).state == ChunkDecoder::State::error);
  }
}

}  // namespace

TEST_SUITE("http") {
  TEST_CASE("chunks become the body they carry, however the bytes arrive") {
    check_good("0\r\n\r\n", "");
    check_good("5\r\nhello\r\n0\r\n\r\n", "hello");
    check_good("5\r\nhello\r\n1\r\n,\r\nA\r\n 123456789\r\n00\r\n\r\n", "hello, 123456789");
    check_good("0000000000000003\r\n\r\n0\r\n0\r\n\r\n", "\r\n0");
    check_good("a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n", "01234567890123456789a");
  }

  TEST_CASE("a size of zero ends the data, and an empty line the body") {
    check_good("1\r\nx\r\n000\r\n\r\n", "x");
    check_good("0;a\r\nA: b\r\n\r\n", "", "A: b\r\n");
    for (const char* open : {"1\r\nx\r\n", "1\r\nx\r\n0", "0\r\n", "0\r\n\r", "0\r\nA: b\r\n", "0\r\nA: b\r\n\r"}) {
      CAPTURE(open);
      CHECK(decode(open, 1).state == ChunkDecoder::State::need_more);
    }
    check_bad("1\r\nx\r\n0\r\n1\r\ny\r\n0\r\n\r\n");
  }

  TEST_CASE("chunk extensions are read and dropped") {
    check_good("5;a=b\r\nhello\r\n0;c\r\n\r\n", "hello");
    check_good("5 \t;a=\"x y\"\r\nhello\r\n0\r\n\r\n", "hello");
    check_good("5;\r\nhello\r\n0\r\n\r\n", "hello");
  }

  TEST_CASE("trailers come through, except those that frame, route or identify") {
    check_good("0\r\nX-Sum: 1\r\nContent-Length: 5\r\nGrpc-Status: 0\r\n\r\n", "", "X-Sum: 1\r\nGrpc-Status: 0\r\n");
    for (const char* name :
         {"Host", "Transfer-Encoding", "content-length", "Connection", "Authorization", "Cookie", "Set-Cookie",
          "X-Forwarded-For", "X-Forwarded-Port", "X-Outrigger-Reason", "X-Outrigger-New", "Trailer", "TE", "Upgrade",
          "Expect", "X-Request-Timeout", "Content-Type", "Cache-Control", "Via"}) {
      check_good("0\r\n"s + name + ": x\r\n\r\n", "", "");
    }
  }

  TEST_CASE("a size is hexadecimal digits that fit 64 bits, and nothing else") {
    for (const char* size : {"", "x", "-1", "+1", "0x5", "0X5", "5_0", "5h", "10000000000000000", "5,", "5.0",
                             "00000000000000005", "\xd9\xa5"}) {
      check_bad(size + "\r\nhello\r\n0\r\n\r\n"s);
    }
    ChunkDecoder decoder;
    std::string largest = "ffffffffffffffff\r\nx";
    const ChunkDecoder::Step step = decoder.decode(largest);
    CHECK(step.state == ChunkDecoder::State::need_more);
    CHECK(step.data == "x");
  }

  TEST_CASE("only CRLF ends a line of chunk framing") {
    check_bad("5\nhello\r\n0\r\n\r\n");
    check_bad("5\rhello\r\n0\r\n\r\n");
    check_bad("5;a\nhello\r\n0\r\n\r\n");
    check_bad("5;a\rb\r\nhello\r\n0\r\n\r\n");
    check_bad("5\r\nhello\n0\r\n\r\n");
    check_bad("5\r\nhello\r0\r\n\r\n");
    check_bad("0\r\n\n");
    check_bad("0\r\n\rx");
    check_bad("0\r\nA: b\n\r\n");
    check_bad("0\r\nA: b\rc\r\n\r\n");
  }

  TEST_CASE("data is as long as its size says, and then comes CRLF") {
    check_bad("5\r\nhello0\r\n\r\n");
    check_bad("5\r\nhelloo\r\n0\r\n\r\n");
    check_bad("5\r\nhell\r\n0\r\n\r\n");
    check_bad("5\r\nhello\r\r\n0\r\n\r\n");
    check_good("4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n");
  }

  TEST_CASE("blanks stand before an extension alone") {
    check_good("5 \t ;a\r\nhello\r\n0\r\n\r\n", "hello");
    for (const char* size : {" 5", "\t5", "5 ", "5\t\t", "5 5", "5 a", "5 \r;a"}) {
      check_bad(size + "\r\nhello\r\n0\r\n\r\n"s);
    }
  }

  TEST_CASE("extensions hold no control byte but tab") {
    check_good("5;a\tb\r\nhello\r\n0\r\n\r\n", "hello");
    check_good("5;a=\xe9\r\nhello\r\n0\r\n\r\n", "hello");
    check_bad("5;a\x01\r\n");
    check_bad("5;a\x7f\r\n");
    check_bad("5;a\0\r\n"s);
  }

  TEST_CASE("a trailer is a field line like any other: a token, its colon, no folding, no control bytes") {
    check_bad("0\r\n: b\r\n\r\n");
    check_bad("0\r\nA : b\r\n\r\n");
    check_bad("0\r\n A: b\r\n\r\n");
    check_bad("0\r\nA\r\n\r\n");
    check_bad("0\r\nA: \x7f\r\n\r\n");
    check_bad("0\r\nA: b\r\n folded\r\n\r\n");
  }

  TEST_CASE("extensions are bounded over the whole body") {
    const ChunkLimits limits{.max_extensions = 8};
    CHECK(decode("1;234567\r\nx\r\n1;\r\nx\r\n0\r\n\r\n", 3, limits).state == ChunkDecoder::State::done);
    check_bad("1;234567\r\nx\r\n1;23\r\nx\r\n0\r\n\r\n", limits);
    check_bad("1         ;\r\nx", limits);
    const std::string at_limit = "1;" + std::string(4095, 'a') + "\r\nx\r\n0\r\n\r\n";
    CHECK(decode(at_limit, 4096).state == ChunkDecoder::State::done);
    CHECK(decode("1;" + std::string(4096, 'a') + "\r\nx\r\n0\r\n\r\n", 4096).state == ChunkDecoder::State::error);
  }

  TEST_CASE("trailers are bounded, and endless ones are refused at the bound") {
    const ChunkLimits limits{.max_trailers = 6};
    CHECK(decode("0\r\nA: b\r\n\r\n", 1, limits).state == ChunkDecoder::State::done);
    check_bad("0\r\nA: bc\r\n\r\n", limits);
    check_bad("0\r\nA: bcdefgh", limits);
  }

  TEST_CASE("the data of a single chunk stays where it was received") {
    ChunkDecoder decoder;
    std::string bytes = "5\r\nhello\r\n";
    CHECK(decoder.decode(bytes).data.data() == bytes.data() + 3);
    std::string two = "2\r\nab\r\n2\r\ncd\r\n";
    const ChunkDecoder::Step step = decoder.decode(two);
    CHECK(step.data == "abcd");
    CHECK(step.data.data() == two.data() + 3);
  }

  TEST_CASE("a decoder is used again after a reset") {
    ChunkDecoder decoder;
    std::string bad = "x";
    CHECK(decoder.decode(bad).state == ChunkDecoder::State::error);
    CHECK(decoder.decode(bad).state == ChunkDecoder::State::error);
    decoder.reset();
    std::string good = "1\r\nx\r\n0\r\nA: b\r\n\r\n";
    CHECK(decoder.decode(good).state == ChunkDecoder::State::done);
    CHECK(decoder.trailers() == "A: b\r\n");
    CHECK(decoder.decode(good).consumed == 0);
    decoder.reset();
    CHECK(decoder.trailers().empty());
    CHECK(decoder.decode({}).state == ChunkDecoder::State::need_more);
  }

  TEST_CASE("a chunk header is the size in hexadecimal and CRLF") {
    CHECK(ChunkHeader{1}.view() == "1\r\n");
    CHECK(ChunkHeader{65536}.view() == "10000\r\n");
    CHECK(ChunkHeader{~std::uint64_t{0}}.view() == "ffffffffffffffff\r\n");
  }
}
