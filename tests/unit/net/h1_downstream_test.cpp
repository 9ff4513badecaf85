#include "proxy/net/h1_downstream.hpp"

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
const std::string kPost = "POST /a HTTP/1.1\r\nHost: h\r\nX-Request-Id: r\r\n";
const std::string kChunkedPost = kPost + "Transfer-Encoding: chunked\r\n\r\n";
const std::string kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

std::string get(std::string_view path) { return "GET " + std::string(path) + " HTTP/1.1\r\nHost: h\r\n\r\n"; }
std::string post(std::string_view body) {
  return kPost + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}
std::string ok(std::string_view body) {
  return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}
bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }
bool closes(std::string_view head) { return has(head, "\r\nConnection: close\r\n"); }
std::string status_of(std::string_view head) { return std::string(head.substr(0, head.find("\r\n"))); }

/// Answers the request that is under way on this connection, and returns its head.
std::string serve(EdgeRig& rig, Peer& upstream, std::string_view answer = kOk) {
  std::string head = rig.head(upstream);
  upstream.send(answer);
  return head;
}

/// Nothing is under way, and the client's connection is gone.
void check_gone(EdgeRig& rig, Peer& client) {
  rig.settle();
  CHECK(client.ended());
  CHECK(rig.clients() == 0);
  CHECK(rig.at_rest());
}

/// All that a client gets for these bytes until its connection is closed.
std::string refusal(EdgeRig& rig, std::string_view bytes) {
  Peer client = rig.client_with(bytes);
  rig.settle();
  client.half_close();  // the answer must be there before
  std::string all = rig.get_all(client);
  CHECK(rig.no_upstream());
  CHECK(closes(all));
  check_gone(rig, client);
  return all;
}

/// A client that has begun to receive an answer longer than all the memory between it and the upstream.
struct SlowReader {
  explicit SlowReader(EdgeRig& rig, int send_buffer = 4096) : client(rig.client(4096, send_buffer)) {
    client.send(kGet);
    upstream = rig.upstream();
    rig.head(upstream);
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n");
    push(rig);
  }
  /// As much as fits in between.
  void push(EdgeRig& rig) {
    for (;;) {
      const std::size_t more = upstream.send_some(std::string_view{body}.substr(sent));
      sent += more;
      rig.settle();
      if (more == 0) return;
    }
  }
  std::string body = std::string(16 << 20, 'x');
  std::size_t sent = 0;
  Peer client;
  Peer upstream;
};

/// A client whose upload the upstream does not take: some of it lies unread before us, and nothing is stuck behind
/// that.
struct StuckUpload {
  explicit StuckUpload(EdgeRig& rig)
      : client(rig.client_with(kPost + "Content-Length: 67108864\r\n\r\n")), upstream(rig.upstream()) {
    rig.head(upstream);
    const auto& read = rig.metrics.worker_row(0)->bytes[static_cast<std::size_t>(telemetry::Direction::downstream_in)];
    const std::string piece(64 * 1024, 'x');
    for (std::uint64_t before = 0; before != read.value();) {
      before = read.value();
      client.send(piece);
      rig.settle();
    }
  }
  Peer client;
  Peer upstream;
};

}  // namespace

TEST_SUITE("net") {
  // ---- one request after the other ----------------------------------------------------------

  TEST_CASE("a client's connection carries one request after the other, over the same connection upstream") {
    EdgeRig rig;
    Peer client = rig.client();
    Peer upstream;
    for (int i = 0; i < 3; ++i) {
      const std::string path = "/" + std::to_string(i);
      client.send(get(path));
      if (i == 0) upstream = rig.upstream();
      CHECK(serve(rig, upstream, ok(path)).starts_with("GET " + path + " HTTP/1.1\r\n"));
      const std::string head = rig.head(client);
      CHECK(status_of(head) == "HTTP/1.1 200 OK");
      CHECK_FALSE(closes(head));
      CHECK(rig.get(client, path) == path);
      CHECK(rig.at_rest());
    }
    CHECK(rig.connects(Reason::success) == 1);
    CHECK(rig.clients() == 1);
    client.close();
    rig.settle();
    CHECK(rig.clients() == 0);
  }

  TEST_CASE("requests that were sent without waiting are answered in order, each in its turn") {
    EdgeRig rig;
    Peer client = rig.client_with(get("/1") + get("/2") + get("/3"));
    Peer upstream = rig.upstream();
    for (const std::string path : {"/1", "/2", "/3"}) {
      CHECK(rig.head(upstream).starts_with("GET " + path + " "));
      rig.settle();
      CHECK(upstream.take().empty());
      CHECK(client.received().empty());
      upstream.send(ok(path));
      CHECK(status_of(rig.head(client)) == "HTTP/1.1 200 OK");
      CHECK(rig.get(client, path) == path);
    }
    CHECK(rig.at_rest());
    CHECK(rig.clients() == 1);
  }

  TEST_CASE("a request behind a body is told from it, however the bytes come") {
    const std::vector<std::pair<std::string, std::string>> cases = {
        {post("hello"), "hello"}, {kChunkedPost + "5\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n"}};
    for (const auto& [first, body] : cases) {
      const std::string bytes = first + get("/2") + get("/3");
      for (const std::size_t piece : {bytes.size(), std::size_t{7}, std::size_t{1}}) {
        EdgeRig rig;
        Peer client = rig.client();
        for (std::size_t at = 0; at < bytes.size(); at += piece) {
          client.send(std::string_view{bytes}.substr(at, piece));
          rig.turn();
          rig.turn();
        }
        Peer upstream = rig.upstream();
        CHECK(rig.head(upstream).starts_with("POST /a "));
        std::string got;
        rig.settle();
        got += upstream.take();
        if (body == "hello") {
          CHECK(got == body);
        } else {
          CHECK(got.ends_with("0\r\n\r\n"));
        }
        upstream.send(kOk);
        for (const char* path : {"/2", "/3"}) CHECK(serve(rig, upstream).starts_with(std::string("GET ") + path + ' '));
        for (int i = 0; i < 3; ++i) {
          CHECK(status_of(rig.head(client)) == "HTTP/1.1 200 OK");
          rig.get(client, "ok");
        }
        CHECK(rig.at_rest());
      }
    }
  }

  TEST_CASE("more requests may wait in the socket than are kept in memory, and none is lost") {
    EdgeRig rig;
    constexpr int kRequests = 2000;
    std::string bytes;
    for (int i = 0; i < kRequests; ++i) bytes += get("/" + std::to_string(i));
    Peer client = rig.client_with(bytes);
    Peer upstream = rig.upstream();
    int answered = 0;
    for (int i = 0; i < kRequests; ++i) {
      if (!serve(rig, upstream).starts_with("GET /" + std::to_string(i) + ' ')) break;
      if (rig.get(client, "ok").starts_with("HTTP/1.1 200")) ++answered;
    }
    CHECK(answered == kRequests);
    CHECK(rig.at_rest());
  }

  TEST_CASE("requests that we answer ourselves keep their order, too, and the connection") {
    EdgeRig rig{{.route = ", match: {path_prefix: /here}"}};
    Peer client = rig.client_with(get("/1") + get("/here/2") + get("/3"));
    CHECK(status_of(rig.message(client)) == "HTTP/1.1 404 Not Found");
    Peer upstream = rig.upstream();
    serve(rig, upstream);
    CHECK(status_of(rig.head(client)) == "HTTP/1.1 200 OK");
    rig.get(client, "ok");
    const std::string last = rig.head(client);
    CHECK(status_of(last) == "HTTP/1.1 404 Not Found");
    CHECK_FALSE(closes(last));
    CHECK(rig.clients() == 1);
    CHECK(rig.rejected(Reason::no_route) == 2);
  }

  TEST_CASE("an answer of our own to a request whose body is still to come ends the connection") {
    EdgeRig rig{{.route = ", match: {path: /b}"}};
    CHECK(status_of(refusal(rig, kPost + "Content-Length: 9\r\n\r\npart")) == "HTTP/1.1 404 Not Found");
    CHECK(rig.rejected(Reason::no_route) == 1);
  }

  TEST_CASE("a connection serves as many requests as it may, and says so with the last answer") {
    EdgeRig rig{{.listener = ", limits: {max_requests_per_connection: 2}"}};
    Peer client = rig.client_with(kGet + kGet + kGet);
    Peer upstream = rig.upstream();
    serve(rig, upstream);
    CHECK_FALSE(closes(rig.head(client)));
    rig.get(client, "ok");
    serve(rig, upstream);
    CHECK(closes(rig.head(client)));
    CHECK(rig.get_all(client) == "ok");
    rig.settle();
    CHECK(upstream.take().empty());
    client.close();
    check_gone(rig, client);
  }

  TEST_CASE("a client that asks for it is closed after its answer") {
    EdgeRig rig;
    Peer client = rig.client_with("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    Peer upstream = rig.upstream();
    CHECK_FALSE(has(serve(rig, upstream), "Connection"));
    CHECK(closes(rig.head(client)));
    CHECK(rig.get_all(client) == "ok");
    CHECK_FALSE(client.was_reset());
  }

  // ---- kinds of answers ---------------------------------------------------------------------

  TEST_CASE("a client of HTTP/1.0 is closed after its answer, unless it asks to be kept") {
    for (const bool keep : {false, true}) {
      EdgeRig rig;
      Peer client =
          rig.client_with(std::string("GET / HTTP/1.0\r\n") + (keep ? "Connection: keep-alive\r\n" : "") + "\r\n");
      Peer upstream = rig.upstream();
      serve(rig, upstream);
      const std::string head = rig.head(client);
      CHECK(closes(head) == !keep);
      CHECK(has(head, "Connection: keep-alive") == keep);
      CHECK(rig.get(client, "ok") == "ok");
      rig.settle();
      CHECK(client.ended() == !keep);
      CHECK(rig.at_rest());
    }
  }

  TEST_CASE("a client of HTTP/1.0 gets an answer in chunks as plain bytes that end with the connection") {
    for (const char* asked : {"", "Connection: keep-alive\r\n"}) {
      EdgeRig rig;
      Peer client = rig.client_with("GET / HTTP/1.0\r\n" + std::string(asked) + "\r\n");
      Peer upstream = rig.upstream();
      serve(rig, upstream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n");
      const std::string head = rig.head(client);
      CHECK(closes(head));
      CHECK_FALSE(has(head, "chunked"));
      CHECK(rig.get(client, "hel") == "hel");
      upstream.send("2\r\nlo\r\n0\r\nX-Sum: 1\r\n\r\n");
      CHECK(rig.get_all(client) == "lo");
      CHECK_FALSE(client.was_reset());
    }
  }

  TEST_CASE("an answer whose end is the end of the connection is reset where it is not whole") {
    EdgeRig rig;
    Peer client = rig.client_with("GET / HTTP/1.0\r\n\r\n");
    Peer upstream = rig.upstream();
    serve(rig, upstream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n");
    rig.get(client, "hel");
    upstream.close();
    rig.get_all(client);
    CHECK(client.was_reset());
    check_gone(rig, client);
  }

  TEST_CASE("an answer that is cut is not taken for whole") {
    for (const bool chunked : {false, true}) {
      EdgeRig rig;
      Peer client = rig.client_with(kGet);
      Peer upstream = rig.upstream();
      serve(rig, upstream,
            chunked ? "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n"
                    : "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel");
      rig.head(client);
      rig.settle();
      upstream.close();
      CHECK(rig.get_all(client) == (chunked ? "3\r\nhel\r\n" : "hel"));
      CHECK(rig.timeline("r").reason == Reason::closed_early);
    }
  }

  TEST_CASE("an answer without a length is relayed in chunks, and the client's connection lives on") {
    EdgeRig rig;
    Peer client = rig.client_with(kGet);
    {
      Peer upstream = rig.upstream();
      serve(rig, upstream, "HTTP/1.1 200 OK\r\n\r\nhel");
      const std::string head = rig.head(client);
      CHECK(has(head, "Transfer-Encoding: chunked\r\n"));
      CHECK_FALSE(closes(head));
      CHECK(rig.get(client, "hel\r\n") == "3\r\nhel\r\n");
      upstream.send("lo");
    }
    CHECK(rig.get(client, "0\r\n\r\n") == "2\r\nlo\r\n0\r\n\r\n");
    CHECK(rig.at_rest());
    client.send(kGet);
    Peer upstream = rig.upstream();
    serve(rig, upstream);
    CHECK(status_of(rig.head(client)) == "HTTP/1.1 200 OK");
  }

  TEST_CASE("an answer to HEAD has no body, be it an upstream's or our own") {
    EdgeRig rig{{.route = ", match: {path: /a}"}};
    Peer client = rig.client();
    Peer upstream;
    for (const char* framing : {"Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", ""}) {
      client.send("HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n");
      if (!upstream.open()) upstream = rig.upstream();
      serve(rig, upstream, "HTTP/1.1 200 OK\r\n" + std::string(framing) + "\r\n");
      const std::string head = rig.head(client);
      CHECK(has(head, "Content-Length: 5") == has(framing, "5"));
      CHECK_FALSE(closes(head));
    }
    client.send("HEAD /b HTTP/1.1\r\nHost: h\r\n\r\n" + kGet);
    CHECK(status_of(rig.head(client)) == "HTTP/1.1 404 Not Found");
    serve(rig, upstream);
    CHECK(status_of(rig.head(client)) == "HTTP/1.1 200 OK");
    CHECK(rig.connects(Reason::success) == 1);
  }

  TEST_CASE("early hints reach a client of HTTP/1.1 before the answer, others do not") {
    for (const bool old : {false, true}) {
      EdgeRig rig;
      Peer client = rig.client_with(old ? "GET / HTTP/1.0\r\n\r\n" : kGet);
      Peer upstream = rig.upstream();
      serve(rig, upstream, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
      rig.settle();
      const std::string hints = client.take();
      CHECK(hints.starts_with("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n") == !old);
      CHECK(hints.empty() == old);
      upstream.send(kOk);
      CHECK(status_of(rig.head(client)) == "HTTP/1.1 200 OK");
    }
  }

  TEST_CASE("an answer that the configuration gives is written like one of an upstream, without a body for HEAD") {
    for (const bool head_only : {false, true}) {
      EdgeRig rig;
      Peer client = rig.client_with(head_only ? "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n" : kGet);
      Peer upstream = rig.upstream();
      rig.head(upstream);
      const exchange::StaticResponse fixed{.status = 418, .headers = {{"X-Tea", "pot"}}, .body = "short"};
      rig.newest->send_reply({.status = 418, .fixed = &fixed});
      const std::string head = rig.head(client);
      CHECK(head.starts_with("HTTP/1.1 418 "));
      CHECK(has(head, "\r\nX-Tea: pot\r\nContent-Length: 5\r\nVia: 1.1 rig\r\nDate: "));
      CHECK_FALSE(closes(head));
      CHECK(client.take() == (head_only ? "" : "short"));
    }
  }

  // ---- 100 Continue -------------------------------------------------------------------------

  TEST_CASE("a client that waits for 100 Continue gets it once its request is admitted") {
    for (const bool chunked : {false, true}) {
      EdgeRig rig;
      Peer client = rig.client_with(kPost + "Expect: 100-continue\r\n" +
                                    (chunked ? "Transfer-Encoding: chunked\r\n\r\n" : "Content-Length: 5\r\n\r\n"));
      CHECK(rig.head(client) == "HTTP/1.1 100 Continue\r\n\r\n");
      Peer upstream = rig.upstream();
      CHECK_FALSE(has(rig.head(upstream), "Expect"));
      client.send(chunked ? "5\r\nhello\r\n0\r\n\r\n" : "hello");
      rig.get(upstream, chunked ? "0\r\n\r\n" : "hello");
      upstream.send(kOk);
      const std::string head = rig.head(client);
      CHECK(status_of(head) == "HTTP/1.1 200 OK");
      CHECK_FALSE(closes(head));
    }
  }

  TEST_CASE("nobody is told to continue who has begun already, has nothing to send, or speaks HTTP/1.0") {
    for (const std::string& request :
         {kPost + "Expect: 100-continue\r\nContent-Length: 5\r\n\r\nh", kPost + "Expect: 100-continue\r\n\r\n",
          std::string{"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"}}) {
      EdgeRig rig;
      Peer client = rig.client_with(request);
      Peer upstream = rig.upstream();
      rig.head(upstream);
      CHECK(client.take().empty());
    }
  }

  TEST_CASE("a client that waits for 100 Continue is refused by a final answer instead") {
    EdgeRig rig{{.listener = ", limits: {max_request_body: 4B}", .route = ", match: {path: /a}"}};
    const std::string rest = " HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: ";
    CHECK(status_of(refusal(rig, "POST /a" + rest + "5\r\n\r\n")) == "HTTP/1.1 413 Content Too Large");
    CHECK(status_of(refusal(rig, "POST /b" + rest + "4\r\n\r\n")) == "HTTP/1.1 404 Not Found");
    CHECK(status_of(refusal(rig, kPost + "Expect: wonders\r\nContent-Length: 4\r\n\r\n")) ==
          "HTTP/1.1 417 Expectation Failed");
  }

  TEST_CASE("a HEAD that is refused has an answer without a body, whatever is wrong with it") {
    EdgeRig rig{{.listener = ", limits: {max_request_head: 1KiB, max_headers: 10}"}};
    const std::string many = [] {
      std::string fields;
      for (int i = 0; i < 11; ++i) fields += "X: y\r\n";
      return fields;
    }();
    const std::string start = "HEAD / HTTP/1.1\r\nHost: h\r\n";
    const std::vector<std::vector<std::string>> cases = {
        {start + "Expect: x\r\n\r\n", "417"},
        {"HEAD / HTTP/1.1\r\n\r\n", "400"},
        {"\r\nHEAD / HTTP/1.1\r\n\r\n", "400"},
        {start + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "400"},
        {start + "Transfer-Encoding: gzip, chunked\r\n\r\n", "501"},
        {"HEAD / HTTP/2.0\r\n\r\n", "505"},
        {start + many + "\r\n", "431"},
        {"HEAD /" + std::string(1024, 'a'), "414"},
    };
    for (const auto& each : cases) {
      CAPTURE(each[0]);
      const std::string answer = refusal(rig, each[0]);
      CHECK(answer.starts_with("HTTP/1.1 " + each[1] + " "));
      CHECK(answer.ends_with("\r\n\r\n"));
      CHECK(has(answer, "\r\nContent-Length: "));
    }
    // Other methods have one, as before.
    for (const char* method : {"HEADS", "GET", "head"}) {
      CHECK(refusal(rig, std::string(method) + " / HTTP/1.1\r\n\r\n").ends_with("}\n"));
    }
  }

  TEST_CASE("a HEAD whose head does not come in time is told so without a body") {
    EdgeRig rig;
    Peer client = rig.client_with("HEAD / HTTP/1.1\r\nHo");
    rig.settle();
    rig.pass(10s + 2ms);
    const std::string answer = rig.get_all(client);
    CHECK(status_of(answer) == "HTTP/1.1 408 Request Timeout");
    CHECK(answer.ends_with("\r\n\r\n"));
  }

  // ---- a client that leaves -----------------------------------------------------------------

  TEST_CASE("a client that closes its side, or resets, while it waits gives its request up") {
    for (const bool reset : {false, true}) {
      for (const std::string& request : {kGet, post("hello"), kChunkedPost + "5\r\nhello\r\n"}) {
        EdgeRig rig;
        Peer client = rig.client_with(request);
        Peer upstream = rig.upstream();
        rig.head(upstream);
        reset ? client.reset() : client.half_close();
        rig.settle();
        CHECK(upstream.ended());
        CHECK(rig.clients() == 0);
        CHECK(rig.at_rest());
        CHECK(rig.timeline("r").reason == Reason::client_disconnected);
        CHECK(rig.timeline("r").status == 499);
        if (!reset) CHECK(rig.get_all(client).empty());
      }
    }
  }

  TEST_CASE("behind bytes that we do not read, a reset is seen at once and a closed side within a second") {
    for (const bool reset : {false, true}) {
      EdgeRig rig;
      StuckUpload stuck(rig);
      Peer& client = stuck.client;
      reset ? client.reset() : client.half_close();
      rig.settle();
      CHECK(rig.clients() == (reset ? 0 : 1));
      rig.pass(1s + 2ms);
      CHECK(rig.clients() == 0);
      CHECK(rig.at_rest());
      CHECK(rig.timeline("r").reason == Reason::client_disconnected);
    }
  }

  TEST_CASE("behind more requests than are kept, a client that leaves is noticed, too") {
    for (const bool reset : {false, true}) {
      EdgeRig rig;
      Peer client = rig.client_with(kGet);
      Peer upstream = rig.upstream();
      rig.head(upstream);
      for (int i = 0; i < 2000; ++i) client.send(kGet);
      rig.settle();
      reset ? client.reset() : client.half_close();
      rig.settle();
      CHECK(rig.clients() == (reset ? 0 : 1));
      rig.pass(1s + 2ms);
      CHECK(rig.clients() == 0);
      CHECK(upstream.ended());
      CHECK(rig.at_rest());
    }
  }

  TEST_CASE("a client may reset while its answer pours in: its end is told once the bytes in hand are dealt with") {
    // The upstream is told first in that turn, so that it is the write of its bytes that fails.
    const std::vector<std::vector<std::string>> answers = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nab", "cd", "ef"},  // in send_body
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", "2\r\ncd\r\n", "0\r\n\r\n"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab", "cd"},                           // with the last bytes
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", "0\r\n\r\n"},  // in send_end
        {"", "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nab", "cd"},                       // in send_head
        {"", "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
        {"", "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + std::string(50000, 'x'), std::string(50000, 'x')},
        {"", "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + std::string(100000, 'x')},
        {"", "nonsense\r\n\r\n"},  // in send_reply
    };
    for (const auto& answer : answers) {
      CAPTURE(answer[1]);
      EdgeRig rig;
      Peer client = rig.client_with(kGet);
      Peer upstream = rig.upstream();
      rig.head(upstream);
      upstream.send(answer[0]);
      rig.settle();
      upstream.send(answer[1]);
      client.reset();
      rig.turn();
      if (answer.size() > 2) upstream.send_some(answer[2]);
      rig.settle();
      CHECK(rig.clients() == 0);
      CHECK(rig.at_rest());
      const bool replied = answer[1].starts_with("nonsense");
      CHECK(rig.timeline("r").reason == (replied ? Reason::protocol_error : Reason::client_disconnected));
    }
  }

  TEST_CASE("a client that resets behind a flood of nonsense cannot be refused, and is forgotten") {
    EdgeRig rig;
    Peer client = rig.client_with(post("hello"));
    Peer upstream = rig.upstream();
    rig.get(upstream, "hello");
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    rig.get(client, "ok");
    client.send_some("BAD\r\n" + std::string(200'000, 'x'));
    client.reset();
    rig.settle();
    CHECK(rig.clients() == 0);
    CHECK(rig.rejected(Reason::bad_request) == 1);
    CHECK(rig.at_rest());
  }

  TEST_CASE("a client that resets between two requests is forgotten") {
    EdgeRig rig;
    Peer client = rig.client_with(kGet);
    Peer upstream = rig.upstream();
    serve(rig, upstream);
    rig.get(client, "ok");
    client.reset();
    rig.settle();
    CHECK(rig.clients() == 0);
    CHECK(rig.at_rest());
  }

  // ---- a client that is slow ----------------------------------------------------------------

  TEST_CASE("an answer that the client does not take holds the upstream back, and all of it arrives when it does") {
    EdgeRig rig;
    SlowReader slow(rig);
    CHECK(slow.sent < slow.body.size());
    CHECK(rig.newest->backlog() > 0);
    CHECK(rig.newest->backlog() <= 2 * rig.newest->relay_limit());
    rig.head(slow.client);
    std::size_t got = 0;
    REQUIRE(rig.until([&] {
      got += slow.client.take().size();
      slow.sent += slow.upstream.send_some(std::string_view{slow.body}.substr(slow.sent));
      return got == slow.body.size();
    }));
    CHECK(rig.newest->backlog() == 0);
    CHECK(rig.at_rest());
    CHECK(rig.timeline("r").reason == Reason::success);
    CHECK(rig.clients() == 1);
  }

  TEST_CASE("a client that stops reading is given up after the time allowed, and its upstream with it") {
    EdgeRig rig;
    SlowReader slow(rig);
    for (int i = 0; i < 3; ++i) {
      // Anything that is taken begins the time anew.
      rig.pass(29s);
      CHECK(slow.client.received().size() > 0);
      slow.push(rig);
    }
    rig.pass(29s);
    CHECK(rig.clients() == 1);
    rig.pass(1s + 2ms);
    CHECK(rig.clients() == 0);
    CHECK(slow.upstream.ended());
    CHECK(rig.at_rest());
    CHECK(rig.timeline("r").reason == Reason::client_not_reading);
    rig.get_all(slow.client);
    CHECK(slow.client.was_reset());
  }

  TEST_CASE("a client that reads what the kernel holds is reading, though the kernel takes no more for that") {
    EdgeRig rig;
    SlowReader slow(rig, 0);  // the kernel takes megabytes
    const std::uint64_t taken = rig.newest->bytes_sent();
    for (int i = 0; i < 20; ++i) {
      rig.pass(20s);
      REQUIRE(rig.clients() == 1);
      CHECK(slow.client.take_some(8 * 1024) > 0);
    }
    CHECK(rig.newest->bytes_sent() == taken);
    // And then no more: it has one whole period from the end of the one in which it took something.
    rig.pass(30s);
    rig.pass(29s);
    CHECK(rig.clients() == 1);
    rig.pass(1s + 2ms);
    CHECK(rig.clients() == 0);
    CHECK(slow.upstream.ended());
    CHECK(rig.at_rest());
    CHECK(rig.timeline("r").reason == Reason::client_not_reading);
  }

  TEST_CASE("a head must be whole within its time, counted from its first byte") {
    EdgeRig rig;
    Peer client = rig.client();
    rig.pass(60s);
    client.send("GET / ");
    rig.settle();
    for (int i = 0; i < 9; ++i) {
      rig.pass(1s);
      client.send("x");
      rig.settle();
    }
    CHECK(client.take().empty());
    rig.pass(1s + 2ms);
    const std::string head = rig.head(client);
    CHECK(status_of(head) == "HTTP/1.1 408 Request Timeout");
    CHECK(closes(head));
    client.close();
    check_gone(rig, client);
    CHECK(rig.rejected(Reason::head_timeout) == 1);
    CHECK(rig.no_upstream());
  }

  TEST_CASE("empty lines before a request begin none: the connection idles, and closes without a word") {
    for (const std::string lines : {"\r", "\r\n", "\r\n\r", "\r\n\r\n"}) {
      for (const bool first : {true, false}) {
        CAPTURE(lines.size());
        CAPTURE(first);
        EdgeRig rig;
        Peer client = rig.client_with(first ? lines : kGet + lines);
        Peer upstream;
        if (!first) {
          upstream = rig.upstream();
          serve(rig, upstream);
          rig.get(client, "ok");
        }
        rig.settle();
        rig.pass(74s);
        CHECK(rig.clients() == 1);
        rig.pass(1s + 2ms);
        CHECK(rig.get_all(client).empty());
        client.close();
        rig.settle();
        CHECK(rig.clients() == 0);
        CHECK(rig.rejected(Reason::head_timeout) == 0);
      }
    }
  }

  TEST_CASE("a head behind empty lines has its time from its own first byte") {
    EdgeRig rig;
    Peer client = rig.client_with("\r");
    for (const char* more : {"\n", "\r", "\n"}) {
      rig.pass(15s);
      client.send(more);
      rig.settle();
    }
    rig.pass(15s);
    client.send("G");
    rig.settle();
    rig.pass(9s);
    client.send("ET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    Peer upstream = rig.upstream();
    serve(rig, upstream);
    CHECK(rig.get(client, "ok").starts_with("HTTP/1.1 200 OK"));
    client.send("\r\nG");
    rig.settle();
    rig.pass(10s + 2ms);
    CHECK(status_of(rig.head(client)) == "HTTP/1.1 408 Request Timeout");
  }

  TEST_CASE("more empty lines than two are refused, in however many pieces they come") {
    for (const bool first : {true, false}) {
      for (const bool in_pieces : {true, false}) {
        CAPTURE(first);
        CAPTURE(in_pieces);
        EdgeRig rig;
        Peer client = rig.client();
        const std::string sent = (first ? "" : kGet) + "\r\n\r\n\r\n";
        for (std::size_t at = 0; at < sent.size();) {
          const std::size_t size = in_pieces ? 1 : sent.size();
          client.send(std::string_view{sent}.substr(at, size));
          rig.settle();
          at += size;
        }
        Peer upstream;
        if (!first) {
          upstream = rig.upstream();
          serve(rig, upstream);
          rig.get(client, "ok");
        }
        CHECK(status_of(rig.head(client)) == "HTTP/1.1 400 Bad Request");
      }
    }
  }

  TEST_CASE("a second head on a connection has its own time") {
    EdgeRig rig;
    Peer client = rig.client_with(kGet + "GET /b");
    Peer upstream = rig.upstream();
    rig.pass(9s);
    serve(rig, upstream);
    rig.get(client, "ok");
    rig.pass(9s);
    client.send(" HTTP/1.1\r\nHost: h\r\n\r\n");
    Peer second = rig.upstream();
    serve(rig, second);
    CHECK(status_of(rig.head(client)) == "HTTP/1.1 200 OK");
  }

  TEST_CASE("a body may pause only for so long between bytes") {
    EdgeRig rig{{.rest = "policies: {default: {overall_timeout: 0}}\n"}};
    Peer client = rig.client_with(kPost + "Content-Length: 9\r\n\r\n");
    Peer upstream = rig.upstream();
    rig.head(upstream);
    for (int i = 0; i < 4; ++i) {
      rig.pass(29s);
      client.send("x");
      rig.settle();
    }
    CHECK(client.take().empty());
    rig.pass(30s + 2ms);
    const std::string head = rig.head(client);
    CHECK(status_of(head) == "HTTP/1.1 408 Request Timeout");
    CHECK(has(head, "X-Outrigger-Reason: body_timeout"));
    CHECK(closes(head));
    CHECK(upstream.ended());
    CHECK(rig.at_rest());
    CHECK(rig.timeline("r").reason == Reason::body_timeout);
  }

  TEST_CASE("a body that we do not read is not timed") {
    EdgeRig rig{{.rest = "policies: {default: {overall_timeout: 0}}\n"}};
    StuckUpload stuck(rig);
    Peer& client = stuck.client;
    Peer& upstream = stuck.upstream;
    rig.pass(1h);
    CHECK(client.take().empty());
    CHECK(rig.clients() == 1);
    // Once it is read again, it is: all of it is taken, and nothing more comes.
    std::size_t taken = 0;
    while (const std::size_t more = upstream.take().size()) {
      taken += more;
      rig.settle();
    }
    CHECK(taken > 0);
    rig.pass(29s);
    CHECK(client.take().empty());
    rig.pass(1s + 2ms);
    CHECK(status_of(rig.head(client)) == "HTTP/1.1 408 Request Timeout");
  }

  TEST_CASE("a connection without a request is closed without a word when it has idled too long") {
    EdgeRig rig;
    Peer silent = rig.client();
    Peer client = rig.client_with(kGet);
    Peer upstream = rig.upstream();
    rig.pass(10s);
    serve(rig, upstream);
    rig.get(client, "ok");
    rig.pass(65s + 2ms);
    CHECK(rig.get_all(silent).empty());
    CHECK(rig.clients() == 1);
    rig.pass(10s - 4ms);
    CHECK(rig.clients() == 1);
    rig.pass(4ms);
    CHECK(rig.get_all(client).empty());
    check_gone(rig, client);
  }

  TEST_CASE("while its request is under way, a connection neither idles nor waits for a head") {
    EdgeRig rig{{.rest = "policies: {default: {overall_timeout: 0}}\n"}};
    Peer client = rig.client_with(kGet.substr(0, 9));
    rig.settle();
    client.send(kGet.substr(9));
    Peer upstream = rig.upstream();
    rig.head(upstream);
    rig.pass(1h);
    upstream.send(kOk);
    CHECK(status_of(rig.head(client)) == "HTTP/1.1 200 OK");
  }

  // ---- limits -------------------------------------------------------------------------------

  TEST_CASE("a head may be as large as the limit, and not a byte larger") {
    EdgeRig rig{{.listener = ", limits: {max_request_head: 1KiB, max_headers: 8}"}};
    const auto filled = [](std::string begin, std::size_t size) {
      return begin + std::string(size - begin.size() - 4, 'f') + "\r\n\r\n";
    };
    const std::string field = "GET / HTTP/1.1\r\nHost: h\r\nX-Fill: ";
    Peer client = rig.client_with(filled(field, 1024));
    Peer upstream = rig.upstream();
    serve(rig, upstream);
    CHECK(status_of(rig.head(client)) == "HTTP/1.1 200 OK");
    client.close();

    CHECK(refusal(rig, filled(field, 1025)).starts_with("HTTP/1.1 431 "));
    CHECK(refusal(rig, "GET /" + std::string(1100, 'p')).starts_with("HTTP/1.1 414 "));
    CHECK(rig.rejected(Reason::head_too_large) == 1);
    CHECK(rig.rejected(Reason::uri_too_long) == 1);

    std::string fields = "GET / HTTP/1.1\r\nHost: h\r\n";
    for (int i = 0; i < 7; ++i) fields += "X-F: 1\r\n";
    Peer many = rig.client_with(fields + "\r\n");
    serve(rig, upstream);
    CHECK(status_of(rig.head(many)) == "HTTP/1.1 200 OK");
    many.close();
    CHECK(refusal(rig, fields + "X-F: 1\r\n\r\n").starts_with("HTTP/1.1 431 "));
  }

  TEST_CASE("a body may be as large as the limit, and not a byte larger") {
    EdgeRig rig{{.listener = ", limits: {max_request_body: 5B}"}};
    Peer client = rig.client();
    Peer upstream;
    for (const std::string& request : {post("hello"), kChunkedPost + "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"}) {
      client.send(request);
      if (!upstream.open()) upstream = rig.upstream();
      serve(rig, upstream);
      CHECK(status_of(rig.head(client)) == "HTTP/1.1 200 OK");
      rig.get(client, "ok");
      upstream.take();
    }
    client.close();
    rig.settle();
    CHECK(refusal(rig, post("hello!")).starts_with("HTTP/1.1 413 "));
    CHECK(refusal(rig, kChunkedPost + "2\r\nhe\r\n4\r\nllo!\r\n").starts_with("HTTP/1.1 413 "));
    CHECK(rig.rejected(Reason::body_too_large) == 2);

    // The same where it shows only later, be it with the last bytes.
    for (const char* rest : {"1\r\n!\r\n", "1\r\n!\r\n0\r\n\r\n"}) {
      Peer late = rig.client_with(kChunkedPost + "5\r\nhello\r\n");
      rig.settle();
      if (Peer fresh = rig.doors[0]->accept(); fresh.open()) upstream = std::move(fresh);
      rig.head(upstream);
      late.send(rest);
      const std::string head = rig.head(late);
      CHECK(status_of(head) == "HTTP/1.1 413 Content Too Large");
      CHECK(closes(head));
      CHECK(upstream.ended());
      CHECK(rig.at_rest());
    }
  }

  // ---- what goes no further -----------------------------------------------------------------

  TEST_CASE("a TRACE that may go no further is answered with what was received") {
    EdgeRig rig{{.route = ", match: {path: /elsewhere}"}};
    const std::string head = "TRACE /a HTTP/1.1\r\nHost: h\r\nX-Request-Id: r\r\nX-Seen: 1\r\n";
    Peer client = rig.client_with(head + "Cookie: secret\r\nMax-Forwards: 0\r\n\r\n" + get("/next"));
    const std::string answer = rig.message(client);
    CHECK(status_of(answer) == "HTTP/1.1 200 OK");
    CHECK(has(answer, "\r\nContent-Type: message/http\r\n"));
    CHECK(has(answer, "\r\nVia: 1.1 rig\r\n"));
    CHECK(answer.ends_with("\r\n\r\n" + head + "Max-Forwards: 0\r\n\r\n"));
    // The connection goes on, and no route was asked for: the next request finds none.
    CHECK(status_of(rig.message(client)) == "HTTP/1.1 404 Not Found");
    CHECK(rig.no_upstream());
    const exchange::Timeline timeline = rig.timeline("r");
    CHECK(timeline.status == 200);
    CHECK(timeline.reason == Reason::success);
    CHECK(timeline.outcome == exchange::RequestOutcome::ok);
    CHECK(timeline.policy_key == "_unrouted");
    CHECK(timeline.who == '-');
    CHECK(timeline.stage == 'a');
    CHECK(timeline.decisions.empty());
    CHECK(timeline.bytes_out > 0);
    CHECK(rig.rejected(Reason::success) == 0);
    CHECK(rig.rejected(Reason::no_route) == 1);
    CHECK(rig.at_rest());
  }

  TEST_CASE("an OPTIONS that may go no further is told what is served, and one hop earlier it is passed on") {
    EdgeRig rig;
    const auto options = [](const std::string& left) {
      return "OPTIONS * HTTP/1.1\r\nHost: h\r\nMax-Forwards: " + left + "\r\n\r\n";
    };
    Peer client = rig.client_with(options("0"));
    const std::string answer = rig.message(client);
    CHECK(status_of(answer) == "HTTP/1.1 200 OK");
    CHECK(has(answer, "\r\nAllow: GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS, TRACE\r\n"));
    CHECK(has(answer, "\r\nContent-Length: 0\r\n"));
    CHECK(rig.no_upstream());
    client.send(options("1"));
    Peer upstream = rig.upstream();
    CHECK(has(serve(rig, upstream), "\r\nMax-Forwards: 0\r\n"));
    CHECK(status_of(rig.message(client)) == "HTTP/1.1 200 OK");
  }

  TEST_CASE("what goes no further and has a body ends the connection: nobody reads that") {
    EdgeRig rig;
    Peer client = rig.client_with("OPTIONS /a HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\nContent-Length: 3\r\n\r\nabc");
    CHECK(closes(rig.head(client)));
    client.half_close();
    check_gone(rig, client);
  }

  // ---- refusals, and the end of a connection ------------------------------------------------

  TEST_CASE("a request that breaks the rules is refused, and nothing behind it is read as another") {
    EdgeRig rig;
    CHECK(refusal(rig, "GET / HTTP/1.1\r\n\r\n" + kGet).starts_with("HTTP/1.1 400 "));
    CHECK(refusal(rig, kPost + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + kGet)
              .starts_with("HTTP/1.1 400 "));
    CHECK(refusal(rig, "GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n" + kGet).starts_with("HTTP/1.1 400 "));
    CHECK(refusal(rig, kChunkedPost + "x\r\n" + kGet).starts_with("HTTP/1.1 400 "));
    CHECK(refusal(rig, "GET / HTTP/1.2\r\nHost: h\r\n\r\n").starts_with("HTTP/1.1 505 "));
    CHECK(rig.rejected(Reason::bad_request) == 4);
    for (const std::string& answer : {refusal(rig, "GET / HTTP/1.1\r\n\r\n" + kGet)}) {
      CHECK(answer.find("HTTP/1.1", 1) == std::string::npos);
    }
  }

  TEST_CASE("a refusal says nothing of the request before it") {
    EdgeRig rig{{.listener = ", debug_headers: true"}};
    for (const bool timeout : {false, true}) {
      Peer client = rig.client_with(kGet);
      Peer upstream = rig.upstream();
      serve(rig, upstream, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
      rig.get(client, "ok");
      client.send(timeout ? "G" : "GET / HTTP/1.1\r\n\r\n");
      rig.settle();
      if (timeout) rig.pass(10s + 2ms);
      const std::string all = rig.get_all(client);
      CHECK(has(all, timeout ? "408 Request Timeout" : "400 Bad Request"));
      CHECK(has(all, "\"policy\":null"));
      CHECK_FALSE(has(all, "\"request_id\":\"r\""));
      client.close();
      rig.settle();
    }
  }

  TEST_CASE("a chunk that breaks the rules ends a request that is under way") {
    EdgeRig rig;
    Peer client = rig.client_with(kChunkedPost + "5\r\nhello\r\n");
    Peer upstream = rig.upstream();
    rig.head(upstream);
    client.send("nonsense\r\n");
    CHECK(status_of(rig.head(client)) == "HTTP/1.1 400 Bad Request");
    CHECK(upstream.ended());
    CHECK_FALSE(has(upstream.take(), "0\r\n\r\n"));
    CHECK(rig.at_rest());
    CHECK(rig.timeline("r").reason == Reason::bad_request);
  }

  TEST_CASE("a connection that ends gives its client a second to read what was said, and takes only some bytes more") {
    constexpr std::size_t kMuch = 64 * 1024 * 1024;
    EdgeRig rig;
    for (const bool much : {false, true}) {
      Peer client = rig.client_with("GET / HTTP/1.1\r\n\r\n");
      rig.head(client);
      rig.get_all(client);  // our side is closed
      CHECK_FALSE(client.was_reset());
      CHECK(rig.clients() == 1);
      std::size_t taken = 0;
      for (std::size_t more = 1; more != 0; taken += more) {
        more = client.send_some(std::string((much ? kMuch : 60 * 1024) - taken, 'x'));
        rig.settle();
      }
      CHECK((taken == 60 * 1024) == !much);
      CHECK(taken < kMuch);
      CHECK(rig.clients() == 1);
      rig.pass(999ms);
      CHECK(rig.clients() == 1);
      rig.pass(3ms);
      CHECK(rig.clients() == 0);
    }
  }

  TEST_CASE("an early answer reaches a client that is still sending, which is then drained and closed") {
    EdgeRig rig;
    Peer client = rig.client_with(kPost + "Content-Length: 100\r\n\r\npart");
    Peer upstream = rig.upstream();
    serve(rig, upstream, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    const std::string head = rig.head(client);
    CHECK(status_of(head) == "HTTP/1.1 403 Forbidden");
    CHECK(closes(head));
    CHECK(rig.get_all(client) == "no");
    CHECK_FALSE(client.was_reset());
    CHECK(upstream.ended());
    client.send(std::string(96, 'x'));
    client.close();
    check_gone(rig, client);
  }

  TEST_CASE("Connection does not take away the key that makes a request idempotent, from whoever is asked") {
    EdgeRig rig{{.rest = "policies: {default: {retry: {idempotency_key: X-Key}}}\n", .mirror = ""}};
    Peer client = rig.client_with(
        "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: x-key, X-Gone\r\n"
        "X-KEY: k\r\nX-Gone: 1\r\n\r\n");
    Peer upstream = rig.upstream();
    Peer copy = rig.copy();
    for (Peer* each : {&upstream, &copy}) {
      const std::string head = serve(rig, *each);
      CHECK(has(head, "\r\nX-KEY: k\r\n"));
      CHECK_FALSE(has(head, "X-Gone"));
      CHECK_FALSE(has(head, "\r\nConnection:"));
    }
    CHECK(status_of(rig.head(client)) == "HTTP/1.1 200 OK");
  }

  // ---- draining -----------------------------------------------------------------------------

  TEST_CASE("who was told that the connection stays may use it once more though the process drains meanwhile") {
    for (const bool asks_again : {true, false}) {
      EdgeRig rig;
      Peer client = rig.client_with("GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
      Peer upstream = rig.upstream();
      rig.head(upstream);
      upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha");
      CHECK(rig.get(client, "ha").find("Connection: close") == std::string::npos);
      rig.process.draining = true;
      rig.edge.drain_connections();
      upstream.send("lf");
      rig.get(client, "lf");
      rig.pass(999ms);
      CHECK_FALSE(client.ended());
      if (asks_again) {
        client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
        rig.head(upstream);
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        CHECK(rig.get(client, "ok").find("\r\nConnection: close\r\n") != std::string::npos);
      } else {
        rig.pass(1ms);
      }
      CHECK(rig.until([&] { return client.ended(); }));
    }
  }

  TEST_CASE("draining closes who has sent an empty line as what idles") {
    EdgeRig rig;
    Peer client = rig.client_with("\r\n");
    rig.settle();
    rig.process.draining = true;
    rig.edge.drain_connections();
    rig.pass(1s);
    CHECK(rig.get_all(client).empty());
    client.close();
    check_gone(rig, client);
  }

  TEST_CASE("draining closes what idles after a second, and everything else behind its answer") {
    EdgeRig rig;
    Peer idle = rig.client();
    Peer late = rig.client();
    Peer busy = rig.client_with(kGet);
    Peer upstream = rig.upstream();
    rig.head(upstream);
    rig.process.draining = true;
    rig.edge.drain_connections();
    rig.pass(900ms);
    CHECK(rig.clients() == 3);
    late.send(kGet);
    Peer second = rig.upstream();
    rig.head(second);
    rig.pass(102ms);
    CHECK(rig.clients() == 2);
    CHECK(rig.get_all(idle).empty());
    for (Peer* peer : {&upstream, &second}) peer->send(kOk);
    for (Peer* peer : {&busy, &late}) {
      CHECK(closes(rig.head(*peer)));
      CHECK(rig.get_all(*peer) == "ok");
      peer->close();
    }
    rig.settle();
    CHECK(rig.clients() == 0);
    CHECK(rig.at_rest());
  }

  TEST_CASE("what is still under way at the end of the grace is cut, or refused where nothing was said yet") {
    EdgeRig rig;
    Peer waiting = rig.client_with(kGet);
    Peer upstream = rig.upstream();
    rig.head(upstream);
    Peer begun = rig.client_with(kGet);
    Peer second = rig.upstream();
    serve(rig, second, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart");
    rig.get(begun, "part");
    rig.process.draining = true;
    rig.edge.cancel_all(Reason::drained);
    const std::string head = rig.head(waiting);
    CHECK(status_of(head) == "HTTP/1.1 503 Service Unavailable");
    CHECK(has(head, "X-Outrigger-Reason: draining"));
    CHECK(closes(head));
    CHECK(rig.get_all(begun).empty());
    CHECK(upstream.ended());
    CHECK(second.ended());
    CHECK(rig.at_rest());
  }

  TEST_CASE("a reload decides from the next request on whether a client is believed about those before it") {
    EdgeRig rig;
    rig.listener.local = false;
    Peer client = rig.client();
    const auto forwarded = [&] {
      client.send("GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n");
      Peer upstream = rig.upstream();
      const std::string head = rig.head(upstream);
      upstream.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
      rig.head(client);
      return head;
    };
    CHECK(has(forwarded(), "X-Forwarded-For: 127.0.0.1\r\n"));
    rig.use({.listener = ", trusted_hops: 1"});
    CHECK(has(forwarded(), "X-Forwarded-For: 192.0.2.1, 127.0.0.1\r\n"));
    rig.use({});
    CHECK(has(forwarded(), "X-Forwarded-For: 127.0.0.1\r\n"));
  }

  // ---- accounts -----------------------------------------------------------------------------

  TEST_CASE("bytes are counted as they pass, both ways, and for each request") {
    EdgeRig rig;
    Peer client = rig.client_with(post("hello"));
    Peer upstream = rig.upstream();
    serve(rig, upstream);
    const std::string answer = rig.get(client, "ok");
    const auto& bytes = rig.metrics.worker_row(0)->bytes;
    CHECK(bytes[static_cast<std::size_t>(telemetry::Direction::downstream_in)].value() == post("hello").size());
    CHECK(bytes[static_cast<std::size_t>(telemetry::Direction::downstream_out)].value() == answer.size());
    CHECK(rig.timeline("r").bytes_in == 5);
    CHECK(rig.timeline("r").bytes_out == answer.size());
    CHECK(rig.listener.row->connections.value() == 1);
    CHECK(rig.listener.row->connections_total.value() == 1);
    CHECK(rig.edge.load.load() == 1);
  }
}
