#include "proxy/net/response_store.hpp"

#include <string>

#include <doctest/doctest.h>

#include "tests/support/edge_rig.hpp"

using namespace outrigger;
using namespace outrigger::net;
using namespace outrigger::test;
using namespace std::chrono_literals;

namespace {

const std::string kGet = "GET /a HTTP/1.1\r\nHost: h\r\nX-Request-Id: r\r\n\r\n";
const std::string kHead = "HEAD /a HTTP/1.1\r\nHost: h\r\nX-Request-Id: r\r\n\r\n";
const std::string kOldGet = "GET /a HTTP/1.0\r\nHost: h\r\n\r\n";
const std::string kOk = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nstored";

/// A cache, and further keys of its block.
EdgeConfig caching(const std::string& more = "", const std::string& policy = "") {
  return {.listener = ", debug_headers: true",
          .upstream = ", idle_timeout: 10m",
          .rest = "policies: {default: {cache: {ttl: 5s" + more + "}" + policy + "}}\n"};
}
bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

/// An answer of an upstream to the request of a client, in these pieces; what the client got by then.
std::string relay(EdgeRig& rig, Peer& client, Peer& upstream, std::initializer_list<std::string_view> pieces) {
  rig.head(upstream);
  std::string got;
  for (const std::string_view piece : pieces) {
    upstream.send(piece);
    rig.settle();
    got += client.take();
  }
  return got;
}

/// What another client gets who asks; the upstream must not be asked.
std::string served(EdgeRig& rig, std::string_view request = kGet) {
  Peer client = rig.client_with(request);
  rig.settle();
  CHECK(rig.no_upstream());
  return client.take();
}

/// Whether the upstream is asked for the same once more.
bool asked_again(EdgeRig& rig, Peer& upstream) {
  Peer client = rig.client_with(kGet);
  rig.settle();
  const bool asked = upstream.open() && has(upstream.take(), "GET /a");
  if (asked) upstream.send(kOk);
  if (!asked && client.take().empty()) {
    Peer fresh = rig.upstream();
    rig.head(fresh);
    fresh.send(kOk);
    rig.settle();
    return true;
  }
  rig.settle();
  return asked;
}

}  // namespace

TEST_SUITE("net") {
  TEST_CASE("an answer that came in pieces is served whole to others, with its length and its age") {
    EdgeRig rig{caching()};
    Peer client = rig.client_with(kGet);
    Peer upstream = rig.upstream();
    std::string_view framing;
    SUBCASE("with a length") {
      relay(rig, client, upstream, {kOk.substr(0, kOk.size() - 4), "or", "ed"});
      framing = "";
    }
    SUBCASE("in chunks, with trailers") {
      relay(rig, client, upstream,
            {"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n",
             "2\r\nst\r\n", "4\r\nored\r\n", "0\r\nX-Sum: 1\r\n\r\n"});
    }
    SUBCASE("up to the end of the connection") {
      relay(rig, client, upstream, {"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nsto", "red"});
      upstream.close();
      rig.settle();
    }
    SUBCASE("all at once") { relay(rig, client, upstream, {kOk}); }
    rig.pass(3s);
    const std::string got = served(rig);
    CHECK(got.starts_with("HTTP/1.1 200 OK\r\n"));
    CHECK(has(got, "\r\nContent-Type: text/plain\r\n"));
    CHECK(has(got, "\r\nAge: 3\r\n"));
    CHECK(has(got, "\r\nContent-Length: 6\r\n"));
    CHECK(has(got, "\r\nX-Outrigger-Attempts: 0\r\n"));
    CHECK_FALSE(has(got, "Transfer-Encoding"));
    CHECK_FALSE(has(got, "X-Sum"));
    CHECK_FALSE(has(got, "Trailer"));
    CHECK(got.ends_with("\r\n\r\nstored"));
    rig.pass(3s);
    CHECK(asked_again(rig, upstream));
  }

  TEST_CASE("a connection goes on behind a stored answer") {
    EdgeRig rig{caching()};
    Peer client = rig.client_with(kGet);
    Peer upstream = rig.upstream();
    relay(rig, client, upstream, {kOk});
    client.send(kGet + kGet);
    CHECK(rig.message(client).ends_with("stored"));
    CHECK(rig.message(client).ends_with("stored"));
    CHECK(rig.no_upstream());
    CHECK_FALSE(client.ended());
  }

  TEST_CASE("HEAD is answered from what a GET stored, without its body, and stores nothing itself") {
    EdgeRig rig{caching()};
    Peer client = rig.client_with(kHead);
    Peer upstream = rig.upstream();
    relay(rig, client, upstream, {kOk.substr(0, kOk.size() - 6)});
    REQUIRE(asked_again(rig, upstream));
    const std::string got = served(rig, kHead);
    CHECK(has(got, "\r\nContent-Length: 6\r\n"));
    CHECK(has(got, "\r\nAge: 0\r\n"));
    CHECK(got.ends_with("\r\n\r\n"));
  }

  TEST_CASE("a client of HTTP/1.0 is served, too, and closed behind it") {
    EdgeRig rig{caching()};
    Peer client = rig.client_with(kGet);
    Peer upstream = rig.upstream();
    relay(rig, client, upstream, {kOk});
    Peer old = rig.client_with(kOldGet);
    const std::string got = rig.get_all(old);
    CHECK(got.starts_with("HTTP/1.1 200 OK\r\n"));
    CHECK(has(got, "\r\nContent-Length: 6\r\n"));
    CHECK(got.ends_with("stored"));
  }

  TEST_CASE("what a client of HTTP/1.0 was given to the end of its connection is stored all the same") {
    EdgeRig rig{caching()};
    Peer client = rig.client_with(kOldGet);
    Peer upstream = rig.upstream();
    relay(rig, client, upstream, {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nstored\r\n", "0\r\n\r\n"});
    CHECK(has(served(rig), "\r\nContent-Length: 6\r\n"));
  }

  TEST_CASE("an answer without a body has no length when it is served") {
    EdgeRig rig{caching(", statuses: [200, 204]")};
    Peer client = rig.client_with(kGet);
    Peer upstream = rig.upstream();
    relay(rig, client, upstream, {"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n"});
    const std::string got = served(rig);
    CHECK(got.starts_with("HTTP/1.1 204 No Content\r\nX-A: b\r\n"));
    CHECK_FALSE(has(got, "Content-Length"));
    CHECK(got.ends_with("\r\n\r\n"));
  }

  TEST_CASE("a body may be as large as an object, and not a byte larger") {
    for (const std::size_t size : {1024u, 1025u}) {
      for (const bool chunked : {false, true}) {
        CAPTURE(size);
        CAPTURE(chunked);
        EdgeRig rig{caching(", max_object: 1KiB")};
        Peer client = rig.client_with(kGet);
        Peer upstream = rig.upstream();
        const std::string half(512, 'a');
        const std::string rest(size - 512, 'b');
        char number[16];
        std::snprintf(number, sizeof number, "%zx", rest.size());
        if (chunked) {
          relay(rig, client, upstream,
                {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n200\r\n" + half + "\r\n",
                 number + ("\r\n" + rest) + "\r\n0\r\n\r\n"});
        } else {
          relay(rig, client, upstream,
                {"HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n" + half, rest});
        }
        CHECK(asked_again(rig, upstream) == (size == 1025));
      }
    }
  }

  TEST_CASE("an answer that breaks off is not stored") {
    EdgeRig rig{caching()};
    Peer client = rig.client_with(kGet);
    Peer upstream = rig.upstream();
    SUBCASE("with a length") { relay(rig, client, upstream, {kOk.substr(0, kOk.size() - 4)}); }
    SUBCASE("in chunks") {
      relay(rig, client, upstream, {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nstored\r\n"});
    }
    upstream.close();
    rig.settle();
    CHECK(client.ended());
    CHECK(asked_again(rig, upstream));
  }

  TEST_CASE("an answer whose client leaves is not stored") {
    EdgeRig rig{caching()};
    Peer client = rig.client_with(kGet);
    Peer upstream = rig.upstream();
    relay(rig, client, upstream, {kOk.substr(0, kOk.size() - 4)});
    client.reset();
    rig.settle();
    upstream.close();
    CHECK(asked_again(rig, upstream));
  }

  TEST_CASE("an answer that a client takes slowly is stored when it has come, not when it has gone") {
    EdgeRig rig{caching(", max_object: 1MiB")};
    Peer client = rig.client(4096, 4096);
    client.send(kGet);
    Peer upstream = rig.upstream();
    rig.head(upstream);
    const std::string body(32 * 1024, 'x');
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 32768\r\n\r\n" + body);
    rig.settle();
    const std::string got = served(rig);
    CHECK(got.ends_with(body));
    REQUIRE(rig.until([&] { return client.received().ends_with(body); }));
  }

  TEST_CASE("what a change of the resource makes useless is asked for again") {
    EdgeRig rig{caching()};
    Peer client = rig.client_with(kGet);
    Peer upstream = rig.upstream();
    relay(rig, client, upstream, {kOk});
    client.send("DELETE /a HTTP/1.1\r\nHost: h\r\n\r\n");
    relay(rig, client, upstream, {"HTTP/1.1 204 No Content\r\n\r\n"});
    CHECK(asked_again(rig, upstream));
  }

  TEST_CASE("an old answer that stands in for a failure says what for") {
    EdgeRig rig{caching(", stale_if_error: 1m")};
    Peer client = rig.client_with(kGet);
    Peer upstream = rig.upstream();
    relay(rig, client, upstream, {kOk});
    rig.pass(10s);
    client.send(kGet);
    const std::string got = relay(rig, client, upstream, {"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"});
    CHECK(got.starts_with("HTTP/1.1 200 OK\r\n"));
    CHECK(has(got, "\r\nX-Outrigger-Fallback: http_503\r\n"));
    CHECK(has(got, "\r\nAge: 10\r\n"));
    CHECK(got.ends_with("stored"));
    CHECK_FALSE(client.ended());
  }

  TEST_CASE("two who ask for the same at once cost the upstream one answer") {
    EdgeRig rig{caching()};
    Peer first = rig.client_with(kGet);
    Peer upstream = rig.upstream();
    rig.head(upstream);
    Peer second = rig.client_with("GET /a HTTP/1.1\r\nHost: h\r\nX-Request-Id: second\r\n\r\n");
    CHECK(rig.no_upstream());
    upstream.send(kOk);
    rig.settle();
    CHECK(first.take().ends_with("stored"));
    rig.wake_all();
    const std::string got = rig.message(second);
    CHECK(got.ends_with("stored"));
    CHECK(has(got, "\r\nAge: 0\r\n"));
    CHECK(rig.timeline("second").cache == exchange::CacheShown::coalesced);
  }
}
