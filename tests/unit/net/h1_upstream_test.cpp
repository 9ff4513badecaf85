#include "proxy/net/h1_upstream.hpp"

#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/unit/net/upstream_rig.hpp"

using namespace outrigger;
using namespace outrigger::net;
using namespace outrigger::test;
using namespace std::chrono_literals;

namespace {

/// What came of a request that was answered with these bytes, and whether its connection was kept.
struct Answered {
  Answered(std::string_view answer, bool then_close = false, bool byte_by_byte = false,
           std::size_t max_head = 64 * 1024, bool answers_head = false) {
    UpstreamRig rig;
    Told told;
    told.max_head = max_head;
    Peer peer = rig.connect(told);
    told.stream->start(UpstreamRig::kRequest, {}, false, answers_head, true);
    told.story.clear();
    for (std::size_t i = 0; i < answer.size() && byte_by_byte; ++i) {
      if (told.stream == nullptr) break;
      peer.send(answer.substr(i, 1));
      rig.turn();
      rig.turn();
    }
    if (!byte_by_byte) peer.send(answer);
    rig.settle();
    if (then_close) peer.half_close();
    rig.settle();
    story = told.story;
    body = told.body;
    head = told.raw_head;
    trailers = told.trailer_lines;
    kept = rig.idle_count() == 1;
    const bool over = told.stream == nullptr;
    CHECK(peer.ended() == (over && !kept));
  }

  std::string story;
  std::string body;
  std::string head;
  std::string trailers;
  bool kept = false;
};

const std::string kLong = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const std::string kChunked =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\nX-Sum: 1\r\n\r\n";

}  // namespace

TEST_SUITE("net") {
  // ---- the request --------------------------------------------------------------------------

  TEST_CASE("a request of a known length goes out as it was given, in one piece or in several") {
    UpstreamRig rig;
    Told told;
    Peer peer = rig.connect(told);
    told.stream->start("HEAD\r\n\r\n", "one", false, false, false);
    CHECK(told.stream->any_sent());
    CHECK(told.story.empty());
    told.stream->send_body("two");
    told.stream->send_body("");
    CHECK(told.story.empty());
    told.stream->send_end("X-Ignored: 1\r\n");
    CHECK(told.story == "sent");
    CHECK(peer.take() == "HEAD\r\n\r\nonetwo");
    CHECK(told.stream->backlog() == 0);
  }

  TEST_CASE("a chunked request is framed anew, whatever pieces it comes in") {
    UpstreamRig rig;
    Told told;
    Peer peer = rig.connect(told);
    told.stream->start("H\r\n\r\n", "0123456789abcdef", true, false, false);
    told.stream->send_body("x");
    told.stream->send_body("");
    told.stream->send_end("X-Sum: 1\r\n");
    CHECK(peer.take() == "H\r\n\r\n10\r\n0123456789abcdef\r\n1\r\nx\r\n0\r\nX-Sum: 1\r\n\r\n");
    CHECK(told.story == "sent");
    rig.answer(peer, told);

    Told whole;
    REQUIRE(rig.take(whole));
    whole.stream->start("H\r\n\r\n", "abc", true, false, true);
    CHECK(peer.take() == "H\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    CHECK(whole.story == "sent");
    rig.answer(peer, whole);

    Told empty;
    REQUIRE(rig.take(empty));
    empty.stream->start("H\r\n\r\n", "", true, false, true);
    CHECK(peer.take() == "H\r\n\r\n0\r\n\r\n");
    rig.answer(peer, empty);

    Told later;
    REQUIRE(rig.take(later));
    later.stream->start("H\r\n\r\n", "", true, false, false);
    CHECK(peer.take() == "H\r\n\r\n");
    later.stream->send_end("");
    CHECK(peer.take() == "0\r\n\r\n");
    CHECK(later.story == "sent");
  }

  TEST_CASE("what the far end does not take is kept in order, and told when it has gone") {
    UpstreamRig rig;
    Told told;
    Peer peer = rig.connect(told);
    const std::string much(8 << 20, 'x');
    told.stream->start("H", much, false, false, false);
    CHECK(told.stream->backlog() > 0);
    CHECK(told.stream->any_sent());
    told.stream->send_body("y");
    told.stream->send_end("");
    CHECK(told.story.empty());
    std::string got;
    REQUIRE(rig.until([&] {
      got += peer.take();
      return told.stream->backlog() == 0;
    }));
    CHECK(told.story == "sent, drained");
    got += peer.take();
    CHECK(got.size() == 1 + much.size() + 1);
    CHECK(got.back() == 'y');
    rig.answer(peer, told);
    CHECK(rig.idle_count() == 1);
  }

  TEST_CASE(
      "an answer that comes while the request is still being sent is told, and its connection is not used again") {
    UpstreamRig rig;
    Told told;
    Peer peer = rig.connect(told);
    told.stream->start("H", "part", false, false, false);
    peer.send(UpstreamRig::kAnswer);
    rig.settle();
    CHECK(told.story == "200, end");
    CHECK(rig.idle_count() == 0);
    CHECK(rig.active_count() == 0);
    CHECK(peer.take() == "Hpart");
    CHECK(peer.ended());
  }

  TEST_CASE("an answer's body may go on for long after the request was sent behind its head") {
    UpstreamRig rig;
    Told told;
    Peer peer = rig.connect(told);
    told.stream->start("H", "part", false, false, false);
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na");
    rig.settle();
    CHECK(told.story == "200");
    told.stream->send_body("rest");
    told.stream->send_end("");
    CHECK(told.story == "200, sent");
    peer.send("b");
    rig.settle();
    CHECK(told.story == "200, sent, end");
    CHECK(told.body == "ab");
    CHECK(rig.idle_count() == 1);
  }

  TEST_CASE("an answer that was sent before the far end closed is read, though writing has failed") {
    UpstreamRig rig;
    Told told;
    Peer peer = rig.connect(told);
    told.stream->start("H", "part", false, false, false);
    CHECK(peer.take() == "Hpart");
    peer.send("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno");
    peer.close();
    // The first meets the closed socket, the next ones the reset that it sent back.
    for (int i = 0; i < 3; ++i) told.stream->send_body("more");
    told.stream->send_end("");
    CHECK(told.stream->backlog() == 0);
    rig.settle();
    CHECK(told.story == "413, end");
    CHECK(told.body == "no");
    CHECK(rig.idle_count() == 0);
    CHECK(rig.active_count() == 0);
  }

  TEST_CASE("a failure says how much of the request the far end may have seen") {
    UpstreamRig rig;
    for (const bool whole : {false, true}) {
      Told told;
      Peer peer = rig.connect(told);
      told.stream->start("H", "part", false, false, whole);
      peer.received();
      peer.close();
      rig.settle();
      CHECK(told.story == (whole ? "sent, closed_early fully_sent" : "closed_early partly_sent"));
    }
  }

  // ---- the answer ---------------------------------------------------------------------------

  TEST_CASE("an answer is the same whether it comes at once or byte by byte") {
    for (const bool byte_by_byte : {false, true}) {
      const Answered known{kLong, false, byte_by_byte};
      CHECK(known.story == "200, end");
      CHECK(known.body == "hello");
      CHECK(known.head == "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
      CHECK(known.kept);
      const Answered chunked{kChunked, false, byte_by_byte};
      CHECK(chunked.story == "200, end");
      CHECK(chunked.body == "hello");
      CHECK(chunked.trailers == "X-Sum: 1\r\n");
      CHECK(chunked.kept);
    }
  }

  TEST_CASE("how long trailers may be is up to whoever asks now, not to who has made the connection") {
    const std::string answer =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: " + std::string(300, 's') + "\r\n\r\n";
    for (const std::size_t first : {std::size_t{256}, std::size_t{1024}}) {
      UpstreamRig rig;
      Told before;
      before.max_head = first;
      Peer peer = rig.ask(before);
      rig.answer(peer, before);
      Told told;
      told.max_head = 1280 - first;
      REQUIRE(rig.take(told));
      REQUIRE(rig.reaches(told, peer));
      peer.send(answer);
      rig.settle();
      CHECK(told.story == (first == 256 ? "sent, 200, end" : "sent, protocol_error fully_sent"));
    }
  }

  TEST_CASE("an answer cut at any byte is a failure, unless it was whole") {
    for (const std::string& answer : {kLong, kChunked}) {
      for (std::size_t size = 0; size < answer.size(); ++size) {
        const Answered cut{answer.substr(0, size), true};
        CAPTURE(size);
        CHECK(cut.story.ends_with("closed_early fully_sent"));
        CHECK(answer.find(cut.head) == 0);
        CHECK_FALSE(cut.kept);
      }
    }
  }

  TEST_CASE("an answer without a length ends with its connection") {
    for (const bool byte_by_byte : {false, true}) {
      const Answered answered{"HTTP/1.1 200 OK\r\n\r\nhello", true, byte_by_byte};
      CHECK(answered.story == "200, end");
      CHECK(answered.body == "hello");
      CHECK_FALSE(answered.kept);
    }
    CHECK(Answered{"HTTP/1.1 200 OK\r\n\r\nhello"}.story == "200");
  }

  TEST_CASE("answers that have no body have none, whatever their fields say") {
    CHECK(Answered{"HTTP/1.1 204 No Content\r\n\r\n"}.story == "204, end");
    CHECK(Answered{"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"}.story == "304, end");
    const Answered head{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false, false, 64 * 1024, true};
    CHECK(head.story == "200, end");
    CHECK(head.kept);
  }

  TEST_CASE("a connection is kept only if both sides want to and nothing lies behind the answer") {
    CHECK_FALSE(Answered{"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"}.kept);
    CHECK_FALSE(Answered{"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"}.kept);
    CHECK(Answered{"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n"}.kept);
    for (const std::string& answer : {kLong, kChunked, std::string{"HTTP/1.1 204 No Content\r\n\r\n"}}) {
      const Answered stray{answer + "x"};
      CHECK(stray.story.ends_with("end"));
      CHECK_FALSE(stray.kept);
    }
  }

  TEST_CASE("an answer that exactly fills a receive leaves a good connection behind") {
    const std::string head = "HTTP/1.1 200 OK\r\nContent-Length: 65000\r\nX-Fill: ";
    const std::string end = "\r\n\r\n";
    const std::string fill(Loop::kScratchBytes - 65000 - head.size() - end.size(), 'f');
    const Answered answered{head + fill + end + std::string(65000, 'x')};
    CHECK(answered.story == "200, end");
    CHECK(answered.kept);

    // The same by the allowance: four bytes at a time.
    UpstreamRig rig;
    Told told;
    told.allowance = 4;
    Peer peer = rig.ask(told);
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n");
    rig.settle();
    peer.send("12345678");
    rig.settle();
    CHECK(told.body == "12345678");
    CHECK(rig.idle_count() == 1);
    // It is still watched.
    peer.close();
    rig.settle();
    CHECK(rig.idle_count() == 0);
  }

  TEST_CASE("interim heads come before the answer, a bounded number of them") {
    const std::string hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    for (const bool byte_by_byte : {false, true}) {
      const Answered one{hints + "HTTP/1.1 100 Continue\r\n\r\n" + kLong, false, byte_by_byte};
      CHECK(one.story == "103, 100, 200, end");
      CHECK(one.body == "hello");
      CHECK(one.kept);
    }
    std::string many;
    for (int i = 0; i < 32; ++i) many += hints;
    CHECK(Answered{many + kLong}.story.ends_with("103, 200, end"));
    CHECK(Answered{many + hints + kLong}.story.ends_with("103, protocol_error fully_sent"));
  }

  TEST_CASE("interim heads are counted anew for each answer on a connection") {
    UpstreamRig rig;
    Peer peer = rig.idle();
    for (int request = 0; request < 3; ++request) {
      Told told;
      REQUIRE(rig.take(told));
      CHECK(rig.reaches(told, peer));
      for (int i = 0; i < 32; ++i) peer.send("HTTP/1.1 103 Early Hints\r\n\r\n");
      rig.answer(peer, told);
    }
    CHECK(rig.idle_count() == 1);
  }

  TEST_CASE("what breaks the protocol is refused, and none of it is told") {
    const std::vector<std::string> broken = {
        "hello\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
    };
    for (const std::string& answer : broken) {
      CAPTURE(answer);
      CHECK(Answered{answer}.story == "protocol_error fully_sent");
      CHECK(Answered{answer, false, true}.story.ends_with("protocol_error fully_sent"));
    }
  }

  TEST_CASE("a broken chunk is told after the good bytes before it") {
    const Answered answered{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nx\r\n", false, true};
    CHECK(answered.story == "200, protocol_error fully_sent");
    CHECK(answered.body == "abc");
    CHECK_FALSE(answered.kept);
  }

  TEST_CASE("a head may be as large as the limit, and not a byte larger") {
    const std::string head = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Fill: ";
    for (const bool byte_by_byte : {false, true}) {
      for (const std::size_t size : {200u, 201u}) {
        const std::string answer = head + std::string(size - head.size() - 4, 'f') + "\r\n\r\n";
        const Answered answered{answer, false, byte_by_byte, 200};
        CHECK(answered.story == (size == 200 ? "200, end" : "response_head_too_large fully_sent"));
      }
    }
  }

  TEST_CASE("a failure on a used connection is told as one of reuse only before the first byte of an answer") {
    for (const char* begun : {"", "HTTP/1.1 100 Continue\r\n\r\n", "H"}) {
      UpstreamRig rig;
      Peer peer = rig.idle();
      Told told;
      REQUIRE(rig.take(told));
      CHECK(rig.reaches(told, peer));
      peer.send(begun);
      rig.settle();
      told.story.clear();
      peer.reset();
      rig.settle();
      CHECK(told.story == (*begun == '\0' ? "reset fully_sent reused" : "reset fully_sent"));
    }
  }

  // ---- patience -----------------------------------------------------------------------------

  TEST_CASE("no more is received than is allowed, and it goes on when that is said") {
    UpstreamRig rig;
    Told told;
    told.allowance = 3;
    Peer peer = rig.ask(told);
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
    rig.settle();
    told.then = [&] { told.allowance = 0; };
    peer.send("0123456789");
    rig.settle();
    CHECK(told.body == "012");
    told.allowance = 4;
    told.stream->resume();
    rig.settle();
    CHECK(told.body == "0123456");
    told.allowance = 100;
    told.stream->resume();
    rig.settle();
    CHECK(told.body == "0123456789");
    CHECK(told.story == "200, end");
  }

  TEST_CASE("an answer whose body stops coming fails after the time allowed between bytes, and not before") {
    UpstreamRig rig{{.read_idle_timeout = 60s}};
    Told told;
    Peer peer = rig.ask(told);
    rig.pass(1h);  // until there is a head, the exchange has the say
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
    rig.settle();
    for (int i = 0; i < 3; ++i) {
      rig.pass(59s);
      peer.send("x");
      rig.settle();
    }
    CHECK(told.story == "200");
    rig.pass(59s);
    CHECK(told.story == "200");
    rig.pass(1s + 1ms);
    CHECK(told.story == "200, response_idle_timeout fully_sent");
    CHECK(peer.ended());
  }

  TEST_CASE("the time between bytes stands still while we do not read, and runs again when we do") {
    for (const bool something_there : {false, true}) {
      UpstreamRig rig{{.read_idle_timeout = 60s}};
      Told told;
      told.allowance = 3;
      Peer peer = rig.ask(told);
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
      rig.settle();
      rig.pass(50s);
      told.then = [&] { told.allowance = 0; };
      peer.send(something_there ? "abcd" : "abc");
      rig.settle();
      rig.pass(10min);
      CHECK(told.story == "200");
      CHECK(told.body == "abc");
      told.allowance = 100;
      told.then = nullptr;
      told.stream->resume();
      rig.settle();
      rig.pass(59s);
      CHECK(told.story == "200");
      rig.pass(2s);
      CAPTURE(something_there);
      CHECK(told.story == "200, response_idle_timeout fully_sent");
    }
  }

  TEST_CASE("what is held back is not timed by the bytes before it, whoever holds it back and when") {
    for (const bool by_the_last_bytes : {false, true}) {
      UpstreamRig rig{{.read_idle_timeout = 60s}};
      Told told;
      Peer peer = rig.ask(told);
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
      rig.settle();
      rig.pass(50s);
      if (by_the_last_bytes) told.then = [&] { told.allowance = 0; };
      if (!by_the_last_bytes) told.allowance = 0;
      peer.send("abc");
      rig.settle();
      rig.pass(1h);
      CHECK(told.story == "200");
      CHECK(told.body == (by_the_last_bytes ? "abc" : ""));
    }
  }

  TEST_CASE("the time that ran for one answer does not bother the next on the same connection") {
    UpstreamRig rig{{.idle_timeout = 1h, .read_idle_timeout = 60s}};
    Told first;
    Peer peer = rig.ask(first);
    for (const char* piece : {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "o", "k"}) {
      peer.send(piece);
      rig.settle();
    }
    CHECK(first.story == "200, end");
    CHECK(rig.idle_count() == 1);
    Told told;
    REQUIRE(rig.take(told));
    CHECK(rig.reaches(told, peer));
    rig.pass(10min);
    rig.answer(peer, told);
    CHECK(told.story == "sent, 200, end");
  }

  TEST_CASE("while we do not read, a reset is noticed, and an end is kept for later") {
    for (const bool reset : {false, true}) {
      UpstreamRig rig;
      Told told;
      told.then = [&] { told.allowance = 0; };
      Peer peer = rig.ask(told);
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
      rig.settle();
      peer.send("cd");
      reset ? peer.reset() : peer.close();
      rig.settle();
      if (reset) {
        CHECK(told.story == "200, reset fully_sent");
      } else {
        CHECK(told.story == "200");
        told.allowance = 100;
        told.stream->resume();
        rig.settle();
        CHECK(told.story == "200, end");
        CHECK(told.body == "abcd");
      }
    }
  }

  // ---- the end ------------------------------------------------------------------------------

  TEST_CASE("an attempt may be given up at any point of its answer, and hears nothing more") {
    for (const char* answer : {"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\n\r\n",
                               "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"}) {
      UpstreamRig rig;
      Told told;
      told.then = [&] { std::exchange(told.stream, nullptr)->abort(Reason::client_disconnected); };
      Peer peer = rig.ask(told);
      peer.send(answer);
      rig.settle();
      CHECK((told.story == "103" || told.story == "200"));
      CHECK(rig.active_count() == 0);
      CHECK(rig.idle_count() == 0);
      CHECK(peer.ended());
    }
  }

  TEST_CASE("an attempt may be given up in the middle of its body") {
    UpstreamRig rig;
    Told told;
    Peer peer = rig.ask(told);
    peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    rig.settle();
    told.then = [&] { std::exchange(told.stream, nullptr)->abort(Reason::client_disconnected); };
    peer.send("3\r\nabc\r\n0\r\n\r\n");
    rig.settle();
    CHECK(told.story == "200");
    CHECK(told.body == "abc");
    CHECK(peer.ended());
    CHECK(rig.active_count() == 0);
  }

  TEST_CASE("the end of one answer may begin the next request on the same connection") {
    UpstreamRig rig;
    Told next;
    Told told;
    told.then = [&] {
      REQUIRE(rig.take(next));
      next.stream->start(UpstreamRig::kRequest, {}, false, false, true);
    };
    Peer peer = rig.ask(told);
    peer.send(UpstreamRig::kAnswer);
    rig.settle();
    CHECK(told.story == "200, end");
    CHECK(peer.take() == UpstreamRig::kRequest);
    peer.send(kLong);
    rig.settle();
    CHECK(next.story == "sent, 200, end");
    CHECK(next.body == "hello");
    CHECK(rig.idle_count() == 1);
  }

  TEST_CASE("bytes are counted as they pass, both ways") {
    UpstreamRig rig;
    Told told;
    Peer peer = rig.ask(told);
    peer.send(kLong);
    rig.settle();
    const auto& bytes = rig.metrics.worker_row(0)->bytes;
    CHECK(bytes[static_cast<std::size_t>(telemetry::Direction::upstream_out)].value() == UpstreamRig::kRequest.size());
    CHECK(bytes[static_cast<std::size_t>(telemetry::Direction::upstream_in)].value() == kLong.size());
  }
}
