#include "proxy/net/exchange_driver.hpp"

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/support/edge_rig.hpp"

using namespace outrigger;
using namespace outrigger::net;
using namespace outrigger::test;
using namespace std::chrono_literals;

namespace {

const std::string kGet = "GET /a HTTP/1.1\r\nHost: h\r\nX-Request-Id: r\r\n\r\n";
const std::string kPost = "POST /a HTTP/1.1\r\nHost: h\r\nX-Request-Id: r\r\nIdempotency-Key: k\r\n";
const std::string kChunkedPost = kPost + "Transfer-Encoding: chunked\r\n\r\n";
const std::string kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const std::string kBusy = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy";
const std::string kBusyClose = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy";

/// Two attempts, 10 ms apart, and further keys of the retry block.
EdgeConfig retrying(const std::string& more = "", std::size_t endpoints = 1) {
  return {.rest = "policies: {default: {retry: {max_attempts: 2, initial_backoff: 10ms, jitter: none" + more + "}}}\n",
          .endpoints = endpoints};
}
std::string post(std::string_view body) {
  return kPost + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}
bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }
std::string status_of(std::string_view head) { return std::string(head.substr(0, head.find("\r\n"))); }

/// Takes a field that differs between attempts out of a request, and returns its value.
std::string take_field(std::string& request, const std::string& name) {
  const std::size_t at = request.find("\r\n" + name + ": ");
  REQUIRE(at != std::string::npos);
  const std::size_t end = request.find("\r\n", at + 2);
  const std::size_t value = at + 2 + name.size() + 2;
  const std::string taken = request.substr(value, end - value);
  request.erase(at, end - at);
  return taken;
}

/// The next attempt's request, on whichever connection it comes, up to `end`.
std::string next_request(EdgeRig& rig, Peer& upstream, std::string_view end = "\r\n\r\n") {
  rig.settle();
  if (Peer fresh = rig.doors[0]->accept(); fresh.open()) upstream = std::move(fresh);
  return rig.get(upstream, end);
}

}  // namespace

TEST_SUITE("net") {
  // ---- the body, sent again -----------------------------------------------------------------

  TEST_CASE("another attempt gets the same bytes, with a length or in chunks, trailers included") {
    const std::string chunked = kChunkedPost + "5\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 1\r\n\r\n";
    const std::vector<std::pair<std::string, std::string>> cases = {
        {kGet, "\r\n\r\n"}, {post("hello"), "hello"}, {post(""), "\r\n\r\n"}, {chunked, "X-Sum: 1\r\n\r\n"}};
    for (const auto& [request, end] : cases) {
      for (const bool reused : {false, true}) {
        EdgeRig rig{retrying()};
        Peer client = rig.client_with(request);
        Peer upstream = rig.upstream();
        std::string first = rig.get(upstream, end);
        upstream.send(reused ? kBusy : kBusyClose);
        rig.settle();
        CHECK(client.take().empty());
        rig.pass(11ms);
        std::string second = next_request(rig, upstream, end);
        CHECK(take_field(first, "X-Outrigger-Attempt") == "1");
        CHECK(take_field(second, "X-Outrigger-Attempt") == "2");
        CHECK(take_field(first, "X-Request-Timeout") == "15000");
        CHECK(take_field(second, "X-Request-Timeout") == "14989");
        if (request == chunked) CHECK(first.ends_with("\r\n\r\n6\r\nhello!\r\n0\r\nX-Sum: 1\r\n\r\n"));
        CHECK(second == first);
        CHECK(upstream.take().empty());
        upstream.send(kOk);
        CHECK(rig.message(client).ends_with("\r\nok"));
        CHECK(rig.connects(Reason::success) == (reused ? 1 : 2));
        CHECK(rig.at_rest());
      }
    }
  }

  TEST_CASE("an attempt that begins in the middle of a body gets what was kept, and then what still comes") {
    EdgeRig rig{retrying()};
    Peer client = rig.client_with(kPost + "Content-Length: 9\r\n\r\nabc");
    {
      Peer first = rig.upstream();
      CHECK(rig.get(first, "abc").ends_with("\r\n\r\nabc"));
      client.send("def");
      CHECK(rig.get(first, "def") == "def");
      first.reset();
    }
    rig.settle();
    rig.pass(11ms);
    Peer second = rig.upstream();
    CHECK(rig.get(second, "abcdef").ends_with("\r\n\r\nabcdef"));
    client.send("ghi");
    CHECK(rig.get(second, "ghi") == "ghi");
    second.send(kOk);
    CHECK(rig.message(client).ends_with("\r\nok"));
    CHECK(rig.timeline("r").attempts.size() == 2);
    CHECK(rig.at_rest());
  }

  TEST_CASE("what arrives between two attempts goes to the second") {
    EdgeRig rig{retrying()};
    Peer client = rig.client_with(kChunkedPost + "3\r\nabc\r\n");
    rig.upstream().reset();
    rig.settle();
    client.send("3\r\ndef\r\n0\r\nX-Sum: 1\r\n\r\n");
    rig.settle();
    rig.pass(11ms);
    Peer second = rig.upstream();
    CHECK(rig.get(second, "X-Sum: 1\r\n\r\n").ends_with("\r\n\r\n6\r\nabcdef\r\n0\r\nX-Sum: 1\r\n\r\n"));
    second.send(kOk);
    CHECK(rig.message(client).ends_with("\r\nok"));
    CHECK(rig.at_rest());
  }

  TEST_CASE("a body that fits the replay buffer exactly is sent again, one that is a byte larger is not") {
    for (const std::size_t size : {1024u, 1025u}) {
      for (const bool chunked : {false, true}) {
        for (const bool in_parts : {false, true}) {
          CAPTURE(size);
          CAPTURE(chunked);
          CAPTURE(in_parts);
          EdgeRig rig{retrying(", replay_buffer: 1KiB")};
          const std::string body(size, 'x');
          const std::size_t cut = in_parts ? 1000 : size;
          const auto chunk = [](std::string_view data) {
            char number[16];
            std::snprintf(number, sizeof number, "%zx\r\n", data.size());
            return number + std::string(data) + "\r\n";
          };
          Peer client = rig.client_with(chunked ? kChunkedPost + chunk(body.substr(0, cut))
                                                : post(body).substr(0, post(body).size() - (size - cut)));
          Peer upstream = rig.upstream();
          rig.head(upstream);
          rig.settle();
          if (in_parts) client.send(chunked ? chunk(body.substr(cut)) : body.substr(cut));
          if (chunked) client.send("0\r\n\r\n");
          rig.settle();
          CHECK(rig.kept_bytes() == (size == 1024 ? 1024 : 0));
          upstream.take();
          upstream.send(kBusyClose);
          rig.settle();
          rig.pass(11ms);
          if (size == 1024) {
            Peer second = rig.upstream();
            CHECK(has(rig.get(second, chunked ? "\r\n0\r\n\r\n" : body), body));
            second.send(kOk);
            CHECK(status_of(rig.message(client)) == "HTTP/1.1 200 OK");
          } else {
            CHECK(rig.no_upstream());
            CHECK(rig.message(client).ends_with("\r\nbusy"));
            CHECK(rig.timeline("r").stop_reason == Reason::body_not_replayable);
          }
          CHECK(rig.at_rest());
        }
      }
    }
  }

  TEST_CASE("more of a body than can be kept waits for the next attempt unread") {
    EdgeRig rig{retrying(", replay_buffer: 1KiB")};
    Peer client = rig.client_with(kChunkedPost);
    rig.upstream().reset();
    rig.settle();
    const std::string body(2000, 'x');
    client.send("7d0\r\n" + body + "\r\n0\r\n\r\n");
    rig.settle();
    CHECK(rig.kept_bytes() == 1024);
    rig.pass(11ms);
    Peer second = rig.upstream();
    const std::string got = rig.get(second, "\r\n0\r\n\r\n");
    CHECK(std::count(got.begin() + static_cast<std::ptrdiff_t>(got.find("\r\n\r\n")), got.end(), 'x') == 2000);
    second.send(kOk);
    CHECK(rig.message(client).ends_with("\r\nok"));
    CHECK(rig.at_rest());
  }

  TEST_CASE("a body that we held back between two attempts is timed again once it is read again") {
    EdgeRig rig{{.listener = ", limits: {body_idle_timeout: 5s}", .rest = retrying(", replay_buffer: 1KiB").rest}};
    Peer client = rig.client_with(kChunkedPost);
    rig.upstream().reset();
    rig.settle();
    // All that can be kept, to the byte: nothing is left that could be read later.
    client.send("400\r\n" + std::string(1024, 'x'));
    rig.settle();
    CHECK(rig.kept_bytes() == 1024);
    rig.pass(11ms);
    Peer second = rig.upstream();
    rig.get(second, std::string(1024, 'x'));
    rig.pass(4999ms);
    CHECK(client.take().empty());
    rig.pass(3ms);
    CHECK(status_of(rig.message(client)) == "HTTP/1.1 408 Request Timeout");
    CHECK(rig.at_rest());
  }

  TEST_CASE("a body for which there is no memory goes on as a stream, and is not sent again") {
    EdgeRig rig{retrying()};
    rig.account.set_limit(4);
    Peer client = rig.client_with(post("hello"));
    Peer upstream = rig.upstream();
    CHECK(rig.get(upstream, "hello").ends_with("\r\n\r\nhello"));
    CHECK(rig.kept_bytes() == 0);
    upstream.send(kBusyClose);
    CHECK(status_of(rig.message(client)) == "HTTP/1.1 503 Service Unavailable");
    CHECK(rig.timeline("r").stop_reason == Reason::body_not_replayable);
    CHECK(rig.at_rest());
  }

  TEST_CASE("a large body passes through bounded memory, byte for byte, at the pace of the upstream") {
    for (const bool chunked : {false, true}) {
      EdgeRig rig{retrying()};
      std::string body(8 << 20, ' ');
      for (std::size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>('a' + i * 7 % 26);
      const std::string bytes = chunked ? kChunkedPost + "800000\r\n" + body + "\r\n0\r\nX-Sum: 1\r\n\r\n" : post(body);
      Peer client = rig.client();
      std::size_t sent = client.send_some(bytes);
      Peer upstream = rig.upstream();
      rig.head(upstream);
      // The upstream takes nothing: what is in between is full at some point.
      for (std::size_t more = 1; more != 0; sent += more) {
        rig.settle();
        more = client.send_some(std::string_view{bytes}.substr(sent));
      }
      CHECK(rig.kept_bytes() <= 3 * 64 * 1024);
      std::string got;
      REQUIRE(rig.until([&] {
        sent += client.send_some(std::string_view{bytes}.substr(sent));
        got += upstream.take();
        return chunked ? got.ends_with("0\r\nX-Sum: 1\r\n\r\n") : got.size() >= body.size();
      }));
      if (chunked) {
        std::string joined;
        for (std::size_t at = 0;;) {
          const std::size_t size = std::stoul(got.substr(at, 16), nullptr, 16);
          at = got.find("\r\n", at) + 2;
          if (size == 0) break;
          joined += got.substr(at, size);
          at += size + 2;
        }
        got = joined;
      }
      CHECK((got == body));
      upstream.send(kOk);
      CHECK(rig.message(client).ends_with("\r\nok"));
      CHECK(rig.timeline("r").bytes_in == body.size());
      CHECK(rig.at_rest());
      CHECK(rig.clients() == 1);
    }
  }

  TEST_CASE("an attempt that was put aside takes nothing from the body of its successor") {
    EdgeRig rig{retrying(", replay_buffer: 8MiB")};
    Peer client = rig.client_with(kChunkedPost);
    const auto upload = [&](std::size_t bytes) {
      char size[16];
      std::snprintf(size, sizeof size, "%zx\r\n", bytes);
      const std::string chunk = size + std::string(bytes, 'x') + "\r\n";
      std::size_t sent = 0;
      REQUIRE(rig.until([&] {
        sent += client.send_some(std::string_view{chunk}.substr(sent));
        return sent == chunk.size();
      }));
    };
    Peer first = rig.upstream();
    rig.head(first);
    upload(6 << 20);
    first.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 10\r\n\r\n01234");
    rig.settle();
    rig.pass(11ms);
    Peer second = rig.upstream();
    rig.head(second);
    // Behind what the second has not taken yet comes more; then the first takes all that it was ever given.
    upload(1 << 20);
    rig.settle();
    std::size_t taken = 0;
    for (std::size_t more = 1; more != 0; taken += more) {
      more = first.take().size();
      rig.settle();
    }
    CHECK(taken <= (6 << 20) + 100);
    client.send("0\r\n\r\n");
    const std::string got = rig.get(second, "\r\n0\r\n\r\n");
    CHECK(std::ranges::count(got, 'x') == 7 << 20);
    second.send(kOk);
    CHECK(status_of(rig.message(client)) == "HTTP/1.1 200 OK");
    CHECK(first.ended());
    CHECK(rig.at_rest());
  }

  TEST_CASE("an upload goes on without a gap to the attempt whose answer is relayed after all") {
    for (const bool chunked : {false, true}) {
      EdgeRig rig{retrying()};
      const auto part = [&](const std::string& four) { return chunked ? "4\r\n" + four + "\r\n" : four; };
      Peer client = rig.client_with((chunked ? kChunkedPost : kPost + "Content-Length: 12\r\n\r\n") + part("AAAA"));
      Peer first = rig.upstream();
      rig.get(first, part("AAAA"));
      first.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 10\r\n\r\n01234");
      rig.settle();
      rig.pass(11ms);
      Peer second = rig.upstream();
      rig.get(second, "AAAA");
      client.send(part("BBBB"));
      rig.get(second, "BBBB");
      second.reset();
      rig.settle();
      client.send(part("CCCC") + (chunked ? "0\r\n\r\n" : ""));
      rig.settle();
      CHECK(first.take() == (chunked ? "4\r\nBBBB\r\n4\r\nCCCC\r\n0\r\n\r\n" : "BBBBCCCC"));
      first.send("56789");
      CHECK(rig.message(client).ends_with("\r\n\r\n0123456789"));
      CHECK(rig.at_rest());
    }
  }

  TEST_CASE("an upload that lost its beginning does not go on elsewhere, and its connection is not used again") {
    EdgeRig rig{retrying(", replay_buffer: 8B")};
    Peer client = rig.client_with(kChunkedPost + "4\r\nAAAA\r\n");
    Peer first = rig.upstream();
    rig.get(first, "AAAA\r\n");
    first.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 10\r\n\r\n01234");
    rig.settle();
    rig.pass(11ms);
    Peer second = rig.upstream();
    rig.get(second, "AAAA\r\n");
    // More than may be kept: it goes to the second alone.
    client.send("a\r\nBBBBBBBBBB\r\n");
    rig.get(second, "BBBBBBBBBB");
    second.reset();
    rig.settle();
    client.send("4\r\nCCCC\r\n0\r\n\r\n");
    rig.settle();
    CHECK(first.take().empty());
    first.send("56789");
    rig.settle();
    CHECK(rig.get(client, "0123456789").starts_with("HTTP/1.1 503 "));
    CHECK(first.ended());
    CHECK(rig.at_rest());
  }

  // ---- answers that are kept ----------------------------------------------------------------

  TEST_CASE("an answer that was kept is relayed whole when the next attempt brings nothing better") {
    const std::vector<std::string> answers = {
        kBusyClose,
        "HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        "2\r\nbu\r\n2\r\nsy\r\n0\r\nX-Sum: 1\r\n\r\n"};
    for (const std::string& answer : answers) {
      for (const std::size_t piece : {answer.size(), std::size_t{1}}) {
        EdgeRig rig{retrying()};
        Peer client = rig.client_with(kGet);
        Peer upstream = rig.upstream();
        rig.head(upstream);
        rig.doors[0]->close();
        for (std::size_t at = 0; at < answer.size(); at += piece) {
          upstream.send(std::string_view{answer}.substr(at, piece));
          rig.settle();
        }
        CHECK(client.take().empty());
        const std::size_t kept = answer.find("\r\n\r\n") + 4 + std::string_view{"busy"}.size();
        CHECK(rig.account.used(BufferKind::held) == static_cast<std::int64_t>(kept));
        rig.pass(11ms);
        const bool chunked = has(answer, "chunked");
        const std::string got = chunked ? rig.get(client, "X-Sum: 1\r\n\r\n") : rig.message(client);
        CHECK(status_of(got) == "HTTP/1.1 503 Service Unavailable");
        CHECK(got.ends_with(chunked ? "\r\n\r\n4\r\nbusy\r\n0\r\nX-Sum: 1\r\n\r\n" : "\r\n\r\nbusy"));
        CHECK(has(got, "X-Should-Retry: false\r\n"));
        CHECK_FALSE(has(got, "Connection: close"));
        CHECK(rig.clients() == 1);
        CHECK(rig.at_rest());
        CHECK(rig.timeline("r").attempts.size() == 2);
      }
    }
  }

  TEST_CASE("an answer too long to be kept stays unread, and flows when it is relayed after all") {
    for (const bool no_room : {false, true}) {
      EdgeRig rig{retrying()};
      const std::string body(16 << 20, 'b');
      const std::string answer =
          "HTTP/1.1 503 Service Unavailable\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
      if (no_room) rig.account.set_limit(1);
      Peer client = rig.client_with(kGet);
      Peer upstream = rig.upstream();
      rig.head(upstream);
      rig.doors[0]->close();
      std::size_t sent = answer.find("\r\n\r\n") + 4;
      upstream.send(answer.substr(0, sent));
      rig.settle();
      CHECK(rig.kept_bytes() == static_cast<std::int64_t>(sent));
      for (std::size_t more = 1; more != 0; sent += more) {
        more = upstream.send_some(std::string_view{answer}.substr(sent));
        rig.settle();
      }
      CHECK(sent < answer.size());
      const std::int64_t kept = rig.kept_bytes();
      CHECK(kept == static_cast<std::int64_t>(answer.size() - body.size()) + (no_room ? 0 : 64 * 1024));
      CHECK(client.take().empty());
      rig.pass(11ms);
      CHECK(rig.kept_bytes() == 0);
      const std::string head = rig.head(client);
      CHECK(status_of(head) == "HTTP/1.1 503 Service Unavailable");
      std::size_t got = 0;
      REQUIRE(rig.until([&] {
        sent += upstream.send_some(std::string_view{answer}.substr(sent));
        got += client.take().size();
        return got == body.size();
      }));
      CHECK(rig.at_rest());
      CHECK(rig.timeline("r").reason == Reason::http_5xx);
      CHECK(rig.clients() == 1);
    }
  }

  TEST_CASE(
      "an answer that is kept is forgotten when the next attempt is better; its connection serves again if whole") {
    for (const bool whole : {false, true}) {
      EdgeRig rig{retrying("", 2)};
      Peer client = rig.client_with(kGet);
      Peer first;
      REQUIRE(rig.until([&] {
        if (!first.open()) first = rig.doors[0]->accept();
        if (!first.open()) first = rig.doors[1]->accept();
        return first.open();
      }));
      rig.head(first);
      first.send(whole ? kBusy : kBusy.substr(0, kBusy.size() - 1));
      rig.settle();
      rig.pass(11ms);
      Peer second;
      REQUIRE(rig.until([&] {
        if (!second.open()) second = rig.doors[0]->accept();
        if (!second.open()) second = rig.doors[1]->accept();
        return second.open();
      }));
      rig.head(second);
      CHECK(rig.kept_bytes() > 0);
      second.send(kOk);
      CHECK(rig.message(client).ends_with("\r\nok"));
      CHECK(rig.at_rest());
      CHECK(first.ended() == !whole);
      CHECK(rig.upstream_row().idle.value() == (whole ? 2 : 1));
    }
  }

  TEST_CASE("a kept answer whose connection dies before it is whole is as good as none") {
    EdgeRig rig{retrying()};
    Peer client = rig.client_with(kGet);
    Peer upstream = rig.upstream();
    rig.head(upstream);
    rig.doors[0]->close();
    upstream.send(kBusy.substr(0, kBusy.size() - 1));
    rig.settle();
    upstream.close();
    rig.settle();
    CHECK(rig.kept_bytes() == 0);
    rig.pass(11ms);
    const std::string got = rig.message(client);
    CHECK(status_of(got) == "HTTP/1.1 502 Bad Gateway");
    CHECK(has(got, "X-Outrigger-Reason: connect_refused"));
    CHECK(rig.at_rest());
  }

  TEST_CASE("an answer to HEAD that was kept is relayed without a body") {
    EdgeRig rig{retrying()};
    Peer client = rig.client_with("HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n");
    Peer upstream = rig.upstream();
    rig.head(upstream);
    rig.doors[0]->close();
    upstream.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\nConnection: close\r\n\r\n");
    rig.settle();
    rig.pass(11ms);
    const std::string head = rig.head(client);
    CHECK(status_of(head) == "HTTP/1.1 503 Service Unavailable");
    CHECK(has(head, "Content-Length: 4\r\n"));
    CHECK(client.take().empty());
    CHECK(rig.at_rest());
  }

  TEST_CASE("a client that leaves while an answer is kept takes it along") {
    EdgeRig rig{retrying()};
    Peer client = rig.client_with(kGet);
    Peer upstream = rig.upstream();
    rig.head(upstream);
    upstream.send(kBusy.substr(0, kBusy.size() - 1));
    rig.settle();
    CHECK(rig.kept_bytes() > 0);
    client.close();
    rig.settle();
    CHECK(upstream.ended());
    CHECK(rig.clients() == 0);
    CHECK(rig.at_rest());
    rig.pass(1s);
    CHECK(rig.no_upstream());
  }

  // ---- answers that are relayed -------------------------------------------------------------

  TEST_CASE("an answer's trailers reach the client behind its body, however they come") {
    const std::string head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (const std::size_t pieces : {1u, 2u, 3u}) {
      EdgeRig rig;
      Peer client = rig.client_with(kGet);
      Peer upstream = rig.upstream();
      rig.head(upstream);
      if (pieces == 1) upstream.send(head + "2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n");
      if (pieces == 2) {
        upstream.send(head + "2\r\nok\r\n");
        rig.settle();
        upstream.send("0\r\nX-Sum: 1\r\n\r\n");
      }
      if (pieces == 3) {
        upstream.send(head);
        rig.settle();
        upstream.send("2\r\nok\r\n0\r\nX-");
        rig.settle();
        upstream.send("Sum: 1\r\n\r\n");
      }
      CHECK(rig.get(client, "X-Sum: 1\r\n\r\n").ends_with("\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"));
      CHECK(rig.at_rest());
      CHECK(rig.upstream_row().idle.value() == 1);
    }
  }

  TEST_CASE("an answer that begins before the request has ended goes on with it") {
    EdgeRig rig;
    Peer client = rig.client_with(kPost + "Content-Length: 6\r\n\r\nab");
    Peer upstream = rig.upstream();
    rig.get(upstream, "ab");
    CHECK(rig.kept_bytes() == 2);
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n12");
    CHECK(has(rig.get(client, "\r\n\r\n12"), "Connection: close"));
    CHECK(rig.kept_bytes() == 0);  // nothing will be sent again
    client.send("cdef");
    CHECK(rig.get(upstream, "cdef") == "cdef");
    upstream.send("34");
    CHECK(rig.get_all(client) == "34");
    CHECK(rig.at_rest());
    CHECK(rig.timeline("r").reason == Reason::success);
  }

  TEST_CASE("an answer that breaks off after its head is cut, and not tried again") {
    EdgeRig rig{retrying()};
    Peer client = rig.client_with(kGet);
    {
      Peer upstream = rig.upstream();
      rig.head(upstream);
      upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel");
      rig.get(client, "hel");
    }
    CHECK(rig.get_all(client).empty());
    rig.pass(1s);
    CHECK(rig.no_upstream());
    CHECK(rig.timeline("r").reason == Reason::closed_early);
    CHECK(rig.at_rest());
  }

  // ---- connections that died, or never stood ------------------------------------------------

  TEST_CASE("a request that met a dead idle connection is made again at once on a fresh one, body and all") {
    for (const bool reset : {false, true}) {
      for (const std::string& request : {kGet, post("hello"), kChunkedPost + "5\r\nhello\r\n0\r\n\r\n"}) {
        EdgeRig rig;
        Peer client = rig.client_with(kGet);
        Peer upstream = rig.upstream();
        rig.head(upstream);
        upstream.send(kOk);
        rig.message(client);
        // Both at once: the pool does not hear of it before it hands the connection out.
        client.send(request);
        reset ? upstream.reset() : upstream.close();
        Peer fresh = rig.upstream();
        const std::string end = request == kGet           ? "\r\n\r\n"
                                : has(request, "chunked") ? "5\r\nhello\r\n0\r\n\r\n"
                                                          : "hello";
        std::string again = rig.get(fresh, end);
        CHECK(take_field(again, "X-Outrigger-Attempt") == "1");
        fresh.send(kOk);
        CHECK(rig.message(client).ends_with("\r\nok"));
        CHECK(rig.connects(Reason::success) == 2);
        CHECK(rig.at_rest());
      }
    }
  }

  TEST_CASE("bytes that nobody asked for do not answer a request that comes in the same turn") {
    for (const bool request_first : {true, false}) {
      EdgeRig rig;
      Peer client = rig.client_with("GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
      Peer upstream = rig.upstream();
      rig.head(upstream);
      upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      rig.get(client, "ok");
      rig.settle();
      const auto ask = [&] { client.send("GET /b HTTP/1.1\r\nHost: h\r\n\r\n"); };
      if (request_first) ask();
      upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen");
      if (!request_first) ask();
      Peer next = rig.upstream();
      CHECK(rig.head(next).starts_with("GET /b "));
      CHECK(upstream.ended());
      next.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nmy");
      CHECK(rig.get(client, "my").find("stolen") == std::string::npos);
    }
  }

  TEST_CASE("a refused connection is tried again after a pause, and told when that is in vain") {
    EdgeRig rig{retrying()};
    rig.doors[0]->close();
    Peer client = rig.client_with(kGet);
    rig.settle();
    CHECK(client.take().empty());
    rig.pass(11ms);
    const std::string got = rig.message(client);
    CHECK(status_of(got) == "HTTP/1.1 502 Bad Gateway");
    CHECK(has(got, "X-Outrigger-Reason: connect_refused"));
    CHECK_FALSE(has(got, "Connection: close"));
    CHECK(rig.connects(Reason::connect_refused) == 2);
    CHECK(rig.at_rest());
    CHECK(rig.clients() == 1);
  }

  TEST_CASE("an answer that does not come in time is told, and its connection closed") {
    EdgeRig rig{{.rest = "policies: {default: {overall_timeout: 2s}}\n"}};
    Peer client = rig.client_with(kGet);
    Peer upstream = rig.upstream();
    CHECK(has(rig.head(upstream), "X-Request-Timeout: 2"));
    rig.pass(1999ms);
    CHECK(client.take().empty());
    rig.pass(3ms);
    const std::string got = rig.message(client);
    CHECK(status_of(got) == "HTTP/1.1 504 Gateway Timeout");
    CHECK(has(got, "X-Outrigger-Reason: overall_timeout"));
    CHECK(upstream.ended());
    CHECK(rig.at_rest());
    CHECK(rig.clients() == 1);
  }

  TEST_CASE("a client that leaves while its request connects, or waits for its next attempt, leaves nothing behind") {
    for (const bool waits : {false, true}) {
      EdgeRig rig{retrying()};
      Peer client = rig.client_with(kGet);
      if (waits) {
        rig.upstream().reset();
        rig.settle();
      } else {
        rig.turn();
      }
      client.close();
      rig.settle();
      CHECK(rig.clients() == 0);
      CHECK(rig.at_rest());
      rig.pass(1s);
      Peer late = rig.doors[0]->accept();
      if (late.open()) CHECK(late.ended());
      CHECK(rig.timeline("r").reason == Reason::client_disconnected);
    }
  }

  // ---- drivers ------------------------------------------------------------------------------

  TEST_CASE("drivers are used again, and a burst of them is given up after a while") {
    EdgeRig rig;
    constexpr std::size_t kClients = 70;
    for (int round = 0; round < 2; ++round) {
      std::vector<Peer> clients;
      std::vector<Peer> upstreams;
      for (std::size_t i = 0; i < kClients; ++i) {
        clients.push_back(rig.client_with(kGet));
        rig.settle();
        upstreams.push_back(rig.doors[0]->accept());
      }
      CHECK(rig.edge.in_flight() == kClients);
      // Both rounds connect: the first round's connections have idled too long by then.
      for (Peer& upstream : upstreams) {
        rig.head(upstream);
        upstream.send(kOk);
      }
      for (Peer& client : clients) rig.message(client);
      CHECK(rig.at_rest());
      rig.pass(11s);
    }
  }

  TEST_CASE("what one request leaves in its driver does not reach the next") {
    EdgeRig rig{retrying(", replay_buffer: 8B")};
    Peer client = rig.client();
    Peer upstream;
    const std::string last = "3\r\nabc\r\n0\r\n";
    // Trailers of a request.
    for (const std::string trailers : {"X-Sum: 1\r\n\r\n", "\r\n", "X-Sum: 2\r\n\r\n"}) {
      client.send(kChunkedPost + last + trailers);
      rig.settle();
      if (!upstream.open()) upstream = rig.upstream();
      CHECK(rig.get(upstream, last + trailers).ends_with("\r\n\r\n" + last + trailers));
      upstream.send(kOk);
      rig.message(client);
    }
    // That a body was too large to be sent again; it is known before the body's end.
    for (int i = 0; i < 2; ++i) {
      Peer other = rig.client_with(kChunkedPost + "9\r\n123456789\r\n");
      next_request(rig, upstream, "123456789\r\n");
      upstream.send(kBusy);
      CHECK(rig.message(other).ends_with("\r\nbusy"));
      other.close();
      rig.settle();
    }
    // Trailers of an answer that was kept, and then relayed as the best there was.
    const std::string busy =
        "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (const std::string trailers : {"X-Sum: 1\r\n\r\n", "\r\n"}) {
      client.send(kGet);
      next_request(rig, upstream);
      upstream.send(busy + last + trailers);
      rig.settle();
      rig.pass(11ms);
      next_request(rig, upstream);
      upstream.reset();
      CHECK(rig.get(client, last + trailers).ends_with("\r\n\r\n" + last + trailers));
    }
    CHECK(rig.at_rest());
  }

  TEST_CASE("a request keeps the configuration it began with, the next one has the new") {
    EdgeRig rig;
    Peer client = rig.client_with(kGet);
    Peer upstream = rig.upstream();
    rig.head(upstream);
    rig.use({.route = ", match: {path: /b}"});
    upstream.send(kOk);
    CHECK(rig.message(client).ends_with("\r\nok"));
    client.send(kGet);
    CHECK(status_of(rig.message(client)) == "HTTP/1.1 404 Not Found");
    client.send("GET /b HTTP/1.1\r\nHost: h\r\n\r\n");
    rig.head(upstream);
    upstream.send(kOk);
    CHECK(rig.message(client).ends_with("\r\nok"));
    CHECK(rig.at_rest());
  }

  // ---- fallbacks and faults -----------------------------------------------------------------

  TEST_CASE("a prepared response is sent instead of a failure, marked, and the connection goes on") {
    EdgeRig rig{{.listener = ", debug_headers: true",
                 .rest = "policies: {default: {fallback: {when: [exhausted], respond: {status: 203, headers: {X-Plan: "
                         "b}, body: 'plan b'}}}}\n"}};
    for (const bool head_only : {false, true}) {
      Peer client = rig.client_with(head_only ? "HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n" : kGet);
      if (head_only) {
        rig.doors[0]->close();
      } else {
        Peer upstream = rig.upstream();
        rig.head(upstream);
        upstream.send(kBusyClose);
      }
      const std::string head = rig.head(client);
      CHECK(head.starts_with("HTTP/1.1 203 "));
      CHECK(has(head, "\r\nX-Plan: b\r\n"));
      CHECK(has(head, "\r\nContent-Length: 6\r\n"));
      CHECK(has(head, head_only ? "\r\nX-Outrigger-Fallback: connect_refused\r\n"
                                : "\r\nX-Outrigger-Fallback: http_503\r\n"));
      CHECK(has(head, "\r\nX-Outrigger-Attempts: 1\r\n"));
      CHECK(client.take() == (head_only ? "" : "plan b"));
      CHECK_FALSE(client.ended());
      CHECK(rig.at_rest());
    }
  }

  TEST_CASE("a prepared response to a request whose body is still to come ends the connection") {
    EdgeRig rig{{.rest = "policies: {default: {rate_limit: {requests: 1, per: 1h}, fallback: {when: [rate_limited], "
                         "respond: {status: 200, body: 'plan b'}}}}\n"}};
    Peer first = rig.client_with(kGet);
    Peer upstream = rig.upstream();
    rig.head(upstream);
    upstream.send(kOk);
    rig.settle();
    Peer client = rig.client_with(kPost + "Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n");
    const std::string got = rig.get_all(client);
    CHECK(got.starts_with("HTTP/1.1 200 OK\r\n"));
    CHECK(has(got, "\r\nConnection: close\r\n"));
    CHECK(has(got, "\r\nX-Outrigger-Fallback: rate_limited\r\n"));
    CHECK(got.ends_with("plan b"));
  }

  TEST_CASE("the upstream of a fallback gets the same request under its own host, and its answer goes out marked") {
    const std::string when = "policies: {default: {fallback: {when: [exhausted], upstream: copy}}}\n";
    for (const std::string& host : {std::string{}, std::string{", host: plan.b"}}) {
      for (const bool chunked : {false, true}) {
        CAPTURE(host);
        CAPTURE(chunked);
        EdgeRig rig{{.rest = when, .copy = host}};
        const std::string put = "PUT /a?q=1 HTTP/1.1\r\nHost: h\r\nX-Request-Id: r\r\nX-A: b\r\n";
        Peer client = rig.client_with(put + (chunked ? "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
                                                     : "Content-Length: 4\r\n\r\nbody"));
        Peer upstream = rig.upstream();
        const std::string first = rig.get(upstream, chunked ? "\r\n0\r\n\r\n" : "\r\n\r\nbody");
        upstream.send(kBusy);
        Peer other = rig.copy();
        std::string second = rig.get(other, chunked ? "\r\n0\r\n\r\n" : "\r\n\r\nbody");
        CHECK(has(first, "\r\nHost: h\r\n"));
        CHECK(has(second, host.empty() ? "\r\nHost: h\r\n" : "\r\nHost: plan.b\r\n"));
        CHECK(has(second, "\r\nX-A: b\r\n"));
        CHECK(second.starts_with("PUT /a?q=1 HTTP/1.1\r\n"));
        CHECK(has(second, chunked ? "\r\n\r\n4\r\nbody\r\n0\r\n\r\n" : "\r\n\r\nbody"));
        other.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nplan b");
        const std::string got = rig.message(client);
        CHECK(has(got, "\r\nX-Outrigger-Fallback: http_503\r\n"));
        CHECK(got.ends_with("plan b"));
        CHECK(rig.timeline("r").outcome == exchange::RequestOutcome::fallback);
        // Both connections are used again, under the right hosts.
        client.send(kGet);
        CHECK(has(rig.head(upstream), "\r\nHost: h\r\n"));
        upstream.send(kBusy);
        CHECK(has(rig.head(other), host.empty() ? "\r\nHost: h\r\n" : "\r\nHost: plan.b\r\n"));
        other.send(kOk);
        CHECK(rig.message(client).ends_with("ok"));
      }
    }
  }

  TEST_CASE("a fallback's attempt that met a dead idle connection is made again under the same host") {
    EdgeRig rig{
        {.rest = "policies: {default: {fallback: {when: [exhausted], upstream: copy}}}\n", .copy = ", host: b"}};
    rig.doors[0]->close();
    Peer client = rig.client_with(kGet);
    Peer other = rig.copy();
    rig.head(other);
    other.send(kOk);
    rig.message(client);
    client.send(kGet);
    rig.head(other);
    other.close();
    Peer fresh = rig.copy();
    CHECK(has(rig.head(fresh), "\r\nHost: b\r\n"));
    fresh.send(kOk);
    CHECK(has(rig.message(client), "\r\nX-Outrigger-Fallback: connect_refused\r\n"));
  }

  TEST_CASE("where the fallback's upstream does no better, the answer that was kept is relayed whole") {
    enum class Other { fails, goes, is_not_there };
    for (const Other how : {Other::fails, Other::goes, Other::is_not_there}) {
      for (const std::size_t size : {4u, 200'000u}) {
        CAPTURE(static_cast<int>(how));
        CAPTURE(size);
        EdgeRig rig{{.rest = "policies: {default: {fallback: {when: [exhausted], upstream: copy}}}\n", .copy = ""}};
        const std::string body(size, 'x');
        Peer client = rig.client_with(kGet);
        Peer upstream = rig.upstream();
        rig.head(upstream);
        if (how == Other::is_not_there) rig.copy_door.close();
        std::string answer = "HTTP/1.1 503 Busy\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n" + body;
        answer.erase(0, upstream.send_some(answer));
        if (how != Other::is_not_there) {
          Peer other = rig.copy();
          rig.head(other);
          if (how == Other::fails) other.send("HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\noh");
        }
        std::string got;
        REQUIRE(rig.until([&] {
          answer.erase(0, upstream.send_some(answer));
          got += client.take();
          return got.size() > size && got.ends_with(body);
        }));
        CHECK(status_of(got) == "HTTP/1.1 503 Busy");
        CHECK_FALSE(has(got, "X-Outrigger-Fallback"));
      }
    }
  }

  TEST_CASE("an answer that is cut short on purpose has half of what was there, and its end is no good one") {
    const std::string config =
        "chaos_enabled: true\npolicies: {default: {chaos: {abort: {probability: 1, kind: truncate}}}}\n";
    for (const bool old : {false, true}) {
      for (const bool chunked : {false, true}) {
        for (const bool in_parts : {false, true}) {
          CAPTURE(old);
          CAPTURE(chunked);
          CAPTURE(in_parts);
          EdgeRig rig{{.rest = config}};
          Peer client = rig.client_with(old ? "GET /a HTTP/1.0\r\nX-Request-Id: r\r\n\r\n" : kGet);
          Peer upstream = rig.upstream();
          rig.head(upstream);
          const std::string framing = chunked ? "Transfer-Encoding: chunked\r\n\r\n" : "Content-Length: 6\r\n\r\n";
          const std::string body = chunked ? "6\r\nabcdef\r\n0\r\n\r\n" : "abcdef";
          upstream.send("HTTP/1.1 200 OK\r\n" + framing + (in_parts ? "" : body));
          const std::string got = rig.get_all(client);
          CHECK(status_of(got) == "HTTP/1.1 200 OK");
          CHECK(got.ends_with("\r\n0\r\n\r\n") == false);
          CHECK_FALSE(has(got, "abcd"));
          CHECK(has(got, "abc") == !in_parts);
          if (old && chunked) CHECK(client.was_reset());
          CHECK(rig.at_rest());
          const exchange::Timeline account = rig.timeline("r");
          CHECK(account.reason == Reason::closed_early);
          CHECK(account.attempts[0].fault == exchange::Fault::truncate);
        }
      }
    }
  }

  TEST_CASE("an answer without a body cannot be cut short") {
    EdgeRig rig{
        {.rest = "chaos_enabled: true\npolicies: {default: {chaos: {abort: {probability: 1, kind: truncate}}}}\n"}};
    Peer client = rig.client_with("HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n");
    Peer upstream = rig.upstream();
    rig.head(upstream);
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n");
    CHECK(status_of(rig.head(client)) == "HTTP/1.1 200 OK");
    rig.settle();
    CHECK_FALSE(client.ended());
  }

  TEST_CASE("an injected answer has no body, asks no upstream, and leaves the connection in order") {
    EdgeRig rig{
        {.rest = "chaos_enabled: true\npolicies: {default: {chaos: {abort: {probability: 1, status: 418}}}}\n"}};
    Peer client = rig.client_with(kGet);
    const std::string head = rig.head(client);
    CHECK(head.starts_with("HTTP/1.1 418 "));
    CHECK(has(head, "\r\nContent-Length: 0\r\n"));
    CHECK(rig.no_upstream());
    client.send(kGet);
    CHECK(rig.head(client).starts_with("HTTP/1.1 418 "));
    Peer poster = rig.client_with(kPost + "Content-Length: 1000\r\n\r\nsome");
    CHECK(has(rig.get_all(poster), "\r\nConnection: close\r\n"));
  }

  TEST_CASE("a request is delayed on purpose, body and all, and then sent as if nothing had been") {
    EdgeRig rig{
        {.rest = "chaos_enabled: true\npolicies: {default: {chaos: {delay: {probability: 1, fixed: 100ms}}}}\n"}};
    Peer client = rig.client_with(kPost + "Content-Length: 4\r\n\r\nbo");
    rig.settle();
    rig.pass(50ms);
    client.send("dy");
    CHECK(rig.no_upstream());
    rig.pass(50ms);
    Peer upstream = rig.upstream();
    rig.get(upstream, "\r\n\r\nbody");
    upstream.send(kOk);
    CHECK(rig.message(client).ends_with("ok"));
  }
}
