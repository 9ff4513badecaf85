#include "proxy/http/forward.hpp"

#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/support/allocations.hpp"
#include "tests/unit/http/heads.hpp"

using namespace outrigger;
using namespace outrigger::http;
using namespace outrigger::test;
using namespace std::chrono_literals;
using namespace std::string_literals;

namespace {

RequestForward usual() {
  RequestForward how;
  how.instance = "me";
  how.path = "/p";
  how.query = "?q";
  how.client_ip = "10.0.0.9";
  how.request_id = "id-1";
  return how;
}

/// The base of the request head after its first line and without what is added to every request.
std::string sent(const std::string& request, const RequestForward& how) {
  Buffer out;
  write_request_head(ParsedRequest{request}.head(), how, out);
  return std::string{out.view()};
}

std::string relayed(const std::string& response, ResponseForward how = {}, bool answers_head = false) {
  Buffer out;
  how.instance = "me";
  how.date = "today";
  write_response_head(ParsedResponse{response, answers_head}.head(), how, out);
  return std::string{out.view()};
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

}  // namespace

TEST_SUITE("http") {
  TEST_CASE("a head that was written can be read back, field by field, and allocates nothing once there is room") {
    Buffer out;
    write_request_head(
        ParsedRequest{
            "GET /x HTTP/1.1\r\nHost: a\r\nConnection: X-Gone\r\nX-Gone: 1\r\nx-kept:  a:b\t\r\nX-None:\r\n\r\n"}
            .head(),
        usual(), out);
    std::vector<Field> fields{{"of", "before"}};
    read_written_fields(out.view(), fields);
    std::string seen;
    for (const Field& field : fields) seen += std::string{field.name} + "=" + std::string{field.value} + ";";
    CHECK(seen ==
          "Host=a;x-kept=a:b;X-None=;Via=1.1 me;X-Forwarded-For=10.0.0.9;X-Forwarded-Proto=http;"
          "X-Forwarded-Host=a;X-Request-Id=id-1;");
    const std::uint64_t before = allocations();
    read_written_fields(out.view(), fields);
    CHECK(allocations() == before);
  }

  TEST_CASE("a request goes upstream with its fields in order and ours after them") {
    CHECK(sent("GET /x HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nx-TWO:2\r\nX-One:   3  \r\nConnection: keep-alive\r\nX-Last: "
               "\r\n\r\n",
               usual()) ==
          "GET /p?q HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nx-TWO: 2\r\nX-One: 3\r\nX-Last: \r\nVia: 1.1 me\r\n"
          "X-Forwarded-For: 10.0.0.9\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nX-Request-Id: id-1\r\n");
  }

  TEST_CASE("fields for one hop end here, and so do those that Connection names") {
    for (const char* line :
         {"Connection: close", "Keep-Alive: 5", "Proxy-Connection: close", "TE: gzip", "TE: trailers, gzip",
          "Upgrade: websocket", "Proxy-Authenticate: x", "Proxy-Authorization: x", "Expect: 100-continue",
          "X-Forwarded-Client-Cert: x", "X-Outrigger-Attempt: 7", "X-Outrigger-Reason: x", "X-Outrigger-Anything: x",
          "X-Request-Timeout: 5", "Grpc-Timeout: 5S", "X-Envoy-Expected-Rq-Timeout-Ms: 5", "X-Request-Priority: low"}) {
      CAPTURE(line);
      const std::string name = std::string{line}.substr(0, std::string{line}.find(':') + 1);
      CHECK_FALSE(contains(sent(get_with(line + "\r\n"s), usual()), "\r\n" + name));
    }
    const std::string out =
        sent(get_with("Connection: X-Secret,  x-other , close\r\nX-Secret: 1\r\nX-Other: 2\r\nX-Kept: 3\r\n"), usual());
    CHECK_FALSE(contains(out, "X-Secret"));
    CHECK_FALSE(contains(out, "X-Other"));
    CHECK(contains(out, "X-Kept: 3\r\n"));
  }

  TEST_CASE("TE is passed on where it asks for trailers alone") {
    const std::string named = "\r\nConnection: TE\r\nTE: trailers\r\n";
    CHECK(contains(sent(get_with("TE: trailers\r\nConnection: TE\r\n"), usual()), named));
    CHECK(contains(sent(get_with("te: Trailers\r\n"), usual()), named));
  }

  TEST_CASE("Connection cannot take away what frames, routes or identifies a request") {
    RequestForward trusted = usual();
    trusted.trusted = true;
    const std::string out = sent(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nAuthorization: b\r\nCookie: c\r\nX-Forwarded-For: d\r\n"
        "Forwarded: for=e\r\nX-Forwarded-Port: 1\r\nIdempotency-Key: f\r\nVia: 1.0 g\r\n"
        "Connection: Host, Content-Length, Authorization, Cookie, X-Forwarded-For, Forwarded, X-Forwarded-Port, "
        "Idempotency-Key, Via\r\n\r\n",
        trusted);
    for (const char* line :
         {"Host: a", "Content-Length: 3", "Authorization: b", "Cookie: c", "X-Forwarded-For: d, 10.0.0.9",
          "Forwarded: for=e", "X-Forwarded-Port: 1", "Idempotency-Key: f", "Via: 1.0 g", "Via: 1.1 me"}) {
      CAPTURE(line);
      CHECK(count(out, "\r\n"s + line + "\r\n") == 1);
    }
  }

  TEST_CASE("nor the field that makes a request idempotent, whatever its policy calls it") {
    RequestForward keyed = usual();
    keyed.idempotency_key = "X-Key";
    const std::string out = sent(get_with("x-key: f\r\nX-Other: g\r\nConnection: X-KEY, X-Other\r\n"), keyed);
    CHECK(contains(out, "\r\nx-key: f\r\n"));
    CHECK_FALSE(contains(out, "X-Other"));
    CHECK_FALSE(contains(sent(get_with("X-Key: f\r\nConnection: X-Key\r\n"), usual()), "X-Key"));
  }

  TEST_CASE("exactly one framing goes upstream") {
    CHECK(contains(sent(get_with("Content-Length: 007\r\n"), usual()), "Content-Length: 007\r\n"));
    const std::string chunked = sent(get_with("transfer-encoding: CHUNKED\r\n"), usual());
    CHECK(count(chunked, "ncoding") == 1);
    CHECK(contains(chunked, "\r\nTransfer-Encoding: chunked\r\n"));
    const std::string none = sent(get_with(""), usual());
    CHECK_FALSE(contains(none, "Content-Length"));
    CHECK_FALSE(contains(none, "Transfer-Encoding"));
  }

  TEST_CASE("what an untrusted client says about those before it is replaced") {
    const std::string out =
        sent(get_with("X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n"
                      "Forwarded: for=1.2.3.4\r\nX-Forwarded-Port: 1\r\nX-Forwarded-For: 5.6.7.8\r\n"),
             usual());
    CHECK(count(out, "orwarded") == 3);
    CHECK(contains(out, "X-Forwarded-For: 10.0.0.9\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\n"));
  }

  TEST_CASE("a client's certificate is told by us alone") {
    RequestForward how = usual();
    const std::string forged = get_with("X-Forwarded-Client-Cert: Subject=\"CN=admin\"\r\n");
    for (const bool trusted : {false, true}) {
      how.trusted = trusted;
      how.client_certificate = {};
      CHECK_FALSE(contains(sent(forged, how), "Client-Cert"));
      how.client_certificate = "Hash=00;Subject=\"CN=c\"";
      how.scheme = "https";
      const std::string out = sent(forged, how);
      CHECK(count(out, "X-Forwarded-Client-Cert: Hash=00;Subject=\"CN=c\"\r\n") == 1);
      CHECK(count(out, "Client-Cert") == 1);
      CHECK(contains(out, "X-Forwarded-Proto: https\r\n"));
    }
  }

  TEST_CASE("what a trusted client says about those before it is continued") {
    RequestForward how = usual();
    how.trusted = true;
    const std::string request = get_with(
        "X-Forwarded-For: 1.2.3.4, 9.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\n"
        "Forwarded: for=1.2.3.4\r\nX-Forwarded-Port: 1\r\nX-Forwarded-For: 5.6.7.8\r\n");
    const std::string out = sent(request, how);
    CHECK(contains(out, "X-Forwarded-For: 1.2.3.4, 9.9.9.9, 5.6.7.8, 10.0.0.9\r\n"));
    CHECK(count(out, "X-Forwarded-For") == 1);
    CHECK(contains(out, "X-Forwarded-Proto: https\r\n"));
    CHECK(contains(out, "X-Forwarded-Host: b\r\n"));
    CHECK(contains(out, "\r\nForwarded: for=1.2.3.4\r\n"));
    CHECK(contains(out, "X-Forwarded-Port: 1\r\n"));
    CHECK(count(out, "orwarded") == 5);
    how.client_ip = "";
    CHECK(contains(sent(request, how), "X-Forwarded-For: 5.6.7.8\r\n"));
    CHECK(count(sent(request, how), "X-Forwarded-For") == 2);
    CHECK(contains(sent(get_with(""), usual()), "X-Forwarded-Host: a\r\n"));
  }

  TEST_CASE("Host is as received, or the target's authority, or what the upstream is to see") {
    RequestForward how = usual();
    CHECK(contains(sent(get_with(""), how), "Host: a\r\n"));
    how.authority = "target:1";
    std::string out = sent(get_with(""), how);
    CHECK(contains(out, "HTTP/1.1\r\nHost: target:1\r\n"));
    CHECK(contains(out, "X-Forwarded-Host: target:1\r\n"));
    CHECK(count(out, "\r\nHost:") == 1);
    how.host = "upstream";
    out = sent(get_with(""), how);
    CHECK(contains(out, "\r\nHost: upstream\r\n"));
    CHECK(contains(out, "X-Forwarded-Host: target:1\r\n"));
    CHECK(count(out, "\r\nHost:") == 1);
    CHECK(contains(sent("GET / HTTP/1.0\r\n\r\n", usual()), "HTTP/1.1\r\nHost: \r\n"));
    CHECK_FALSE(contains(sent("GET / HTTP/1.0\r\n\r\n", usual()), "X-Forwarded-Host"));
  }

  TEST_CASE("the request id and the priority are those decided here") {
    RequestForward how = usual();
    how.priority = "critical";
    const std::string out = sent(get_with("X-Request-Id: theirs\r\nX-Request-Priority: low\r\n"), how);
    CHECK(count(out, "X-Request-") == 2);
    CHECK(contains(out, "X-Request-Id: id-1\r\nX-Request-Priority: critical\r\n"));
  }

  TEST_CASE("a wish for a timeline passes on, and so does everything unknown") {
    const std::string out =
        sent(get_with("X-Outrigger-Timeline: 1\r\nTraceparent: 00-a-b-01\r\nPriority: u=1\r\n"), usual());
    CHECK(contains(out, "X-Outrigger-Timeline: 1\r\nTraceparent: 00-a-b-01\r\nPriority: u=1\r\n"));
  }

  TEST_CASE("Max-Forwards counts down for TRACE and OPTIONS alone") {
    const auto with = [](const char* method, const char* value) {
      return method + " / HTTP/1.1\r\nHost: a\r\nMax-Forwards: "s + value + "\r\n\r\n";
    };
    CHECK(contains(sent(with("TRACE", "5"), usual()), "\r\nMax-Forwards: 4\r\n"));
    CHECK(contains(sent(with("GET", "5"), usual()), "\r\nMax-Forwards: 5\r\n"));
    CHECK(contains(sent(with("OPTIONS", "x"), usual()), "\r\nMax-Forwards: x\r\n"));
    CHECK(is_last_forward(ParsedRequest{with("OPTIONS", "0")}.head()));
    CHECK(is_last_forward(ParsedRequest{with("TRACE", "00")}.head()));
    CHECK_FALSE(is_last_forward(ParsedRequest{with("TRACE", "1")}.head()));
    CHECK_FALSE(is_last_forward(ParsedRequest{with("GET", "0")}.head()));
    CHECK_FALSE(is_last_forward(ParsedRequest{with("OPTIONS", "-0")}.head()));
    CHECK_FALSE(is_last_forward(ParsedRequest{with("OPTIONS", "")}.head()));
    CHECK_FALSE(is_last_forward(ParsedRequest{"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"}.head()));
  }

  TEST_CASE("an upgrade that is allowed is asked for in words of our own") {
    const std::string head = get_with("Connection: Upgrade, X-Named\r\nUpgrade: WebSocket, h2c\r\nX-Named: 1\r\n");
    CHECK_FALSE(contains(sent(head, usual()), "pgrade"));
    RequestForward how = usual();
    how.upgrade = "websocket";
    const std::string out = sent(head, how);
    CHECK(contains(out, "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"));
    CHECK(count(out, "pgrade") == 2);
    CHECK_FALSE(contains(out, "X-Named"));
    CHECK(contains(sent(get_with("TE: trailers\r\n"), how),
                   "\r\nConnection: TE, Upgrade\r\nTE: trailers\r\nUpgrade: websocket\r\n"));
  }

  TEST_CASE("a route's edits remove, replace and add") {
    const std::vector<Field> set = {{"X-Set", "new"}};
    const std::vector<Field> add = {{"X-Add", "2"}};
    const std::vector<std::string_view> remove = {"x-gone"};
    const HeaderEdits edits{set, add, remove};
    RequestForward how = usual();
    how.edits = &edits;
    const std::string out = sent(get_with("X-SET: old\r\nX-Gone: 1\r\nX-Add: 1\r\nX-Set: older\r\n"), how);
    CHECK(count(out, "old") == 0);
    CHECK_FALSE(contains(out, "X-Gone"));
    CHECK(contains(out, "X-Add: 1\r\n"));
    CHECK(contains(out, "X-Set: new\r\nX-Add: 2\r\n"));
    ResponseForward back;
    back.edits = &edits;
    CHECK(contains(relayed(ok_with("X-Set: old\r\nX-Gone: 1\r\n"), back), "X-Set: new\r\nX-Add: 2\r\n"));
  }

  TEST_CASE("fields of our own take the place of those they replace, beside a route's edits") {
    const std::vector<std::string_view> replaced = {"X-Limit"};
    const std::vector<Field> extra = {{"X-Limit", "ours"}};
    const std::vector<std::string_view> remove = {"X-Gone"};
    const HeaderEdits edits{.remove = remove};
    ResponseForward back;
    back.replaced = replaced;
    back.extra = extra;
    back.edits = &edits;
    const std::string out = relayed(ok_with("x-limit: theirs\r\nX-Gone: 1\r\nX-Kept: 1\r\n"), back);
    CHECK_FALSE(contains(out, "theirs"));
    CHECK_FALSE(contains(out, "X-Gone"));
    CHECK(contains(out, "X-Kept: 1\r\n"));
    CHECK(contains(out, "X-Limit: ours\r\n"));
  }

  TEST_CASE("the tail says which attempt this is and how long it may take") {
    Buffer out;
    out.append("base\r\n");
    const std::size_t base = out.size();
    AttemptTail tail;
    append_attempt_tail(tail, out);
    CHECK(out.view() == "base\r\nX-Outrigger-Attempt: 1\r\n\r\n");
    tail.attempt = 3;
    tail.hedge = 2;
    tail.forward = DeadlineForms::all();
    out.truncate(base);
    append_attempt_tail(tail, out);
    CHECK(out.view() == "base\r\nX-Outrigger-Attempt: 3\r\nX-Outrigger-Hedge: 2\r\n\r\n");
    tail.time_left = 1'500ms;
    out.truncate(base);
    append_attempt_tail(tail, out);
    CHECK(out.view() ==
          "base\r\nX-Outrigger-Attempt: 3\r\nX-Outrigger-Hedge: 2\r\nX-Request-Timeout: 1500\r\n"
          "Grpc-Timeout: 1500000u\r\nX-Envoy-Expected-Rq-Timeout-Ms: 1500\r\n\r\n");
  }

  TEST_CASE("what attempts differ by is what their tail may say") {
    Buffer out;
    out.append("GET / HTTP/1.1\r\n");
    append_attempt_tail({.attempt = 2, .hedge = 1, .mirror = true, .forward = DeadlineForms::all(), .time_left = 1s},
                        out);
    std::vector<Field> written;
    read_written_fields(out.view(), written);
    REQUIRE(written.size() == 6);
    for (const Field& field : written) {
      CAPTURE(field.name);
      CHECK(differs_by_attempt(field.name));
    }
    CHECK(differs_by_attempt("x-outrigger-HEDGE"));
    CHECK_FALSE(differs_by_attempt("X-Outrigger-Attempts"));
    CHECK_FALSE(differs_by_attempt("Accept"));
  }

  TEST_CASE("the upstream is told our scheme, or the one that a trusted client sent, which nobody knows of several") {
    const auto told = [](const char* lines, bool trusted) {
      const ParsedRequest request{get_with(lines)};
      const auto scheme = told_scheme(*request.head().fields, trusted, "http");
      return scheme ? std::string{*scheme} : "?";
    };
    CHECK(told("", true) == "http");
    CHECK(told("X-Forwarded-Proto: https\r\n", false) == "http");
    CHECK(told("X-Forwarded-Proto: https\r\n", true) == "https");
    CHECK(told("X-Forwarded-Proto: https\r\nx-forwarded-proto: http\r\n", true) == "?");
    CHECK(told("X-Forwarded-Proto: https\r\nx-forwarded-proto: http\r\n", false) == "http");
  }

  TEST_CASE("a request that has passed here twice is a loop") {
    const auto loops = [](const char* lines) { return is_loop(*ParsedRequest{get_with(lines)}.head().fields, "me-1"); };
    CHECK_FALSE(loops(""));
    CHECK_FALSE(loops("Via: 1.1 me-1\r\n"));
    CHECK(loops("Via: 1.1 me-1\r\nVia: 1.1 other, 1.0 me-1\r\n"));
    CHECK(loops("Via: HTTP/1.1  me-1 (x), 1.1 ME-1\r\n"));
    CHECK_FALSE(loops("Via: 1.1 me-1, 1.1 me-12, 1.1 xme-1, me-1, 1.1\r\n"));
    CHECK_FALSE(loops("Via: 1.1 me-1, 1.1 a (1.1 me-1, 1.1 me-1), 1.1 b\r\n"));
    CHECK_FALSE(loops("Via: 1.1 a (\\), 1.1 me-1, 1.1 me-1\r\n"));
  }

  TEST_CASE("a response comes downstream with its fields in order and ours after them") {
    CHECK(relayed("HTTP/1.0 203 Some  Phrase\r\nServer: x\r\nDate: d\r\nContent-Length: 3\r\nConnection: close, "
                  "X-A\r\nX-A: 1\r\n"
                  "Set-Cookie: a\r\nSet-Cookie: b\r\n\r\n") ==
          "HTTP/1.1 203 Some  Phrase\r\nServer: x\r\nDate: d\r\nContent-Length: 3\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n"
          "Via: 1.1 me\r\n\r\n");
  }

  TEST_CASE("a response's fields for one hop and another hop's own words end here") {
    for (const char* line : {"Keep-Alive: 5", "Proxy-Connection: close", "TE: x", "Upgrade: h2c",
                             "Proxy-Authenticate: x", "Proxy-Authorization: x", "X-Outrigger-Reason: rate_limited",
                             "X-Outrigger-Timeline: {}", "X-Outrigger-Policy: x"}) {
      CAPTURE(line);
      const std::string name = std::string{line}.substr(0, std::string{line}.find(':') + 1);
      CHECK_FALSE(contains(relayed(ok_with(line + "\r\n"s)), "\r\n" + name));
    }
    CHECK(contains(relayed(ok_with("Proxy-Status: x; error=y\r\nX-Should-Retry: true\r\n")),
                   "Proxy-Status: x; error=y\r\nX-Should-Retry: true\r\n"));
  }

  TEST_CASE("a missing Date is added") {
    CHECK(count(relayed(ok_with("")), "Date: today\r\n") == 1);
    CHECK_FALSE(contains(relayed(ok_with("date: theirs\r\n")), "today"));
  }

  TEST_CASE("the body is framed as the client understands it") {
    struct Row {
      const char* lines;
      std::uint8_t client_minor;
      Framing framing;
      const char* expected;
    };
    for (const Row& row :
         {Row{"Content-Length: 3\r\n", 1, Framing::content_length, "\r\nContent-Length: 3\r\n"},
          Row{"Content-Length: 3\r\n", 0, Framing::content_length, "\r\nConnection: keep-alive\r\n"},
          Row{"Transfer-Encoding: chunked\r\n", 1, Framing::chunked, "\r\nTransfer-Encoding: chunked\r\n"},
          Row{"Transfer-Encoding: chunked\r\n", 0, Framing::until_close, "\r\nConnection: close\r\n"},
          Row{"", 1, Framing::chunked, "\r\nTransfer-Encoding: chunked\r\n"},
          Row{"", 0, Framing::until_close, "\r\nConnection: close\r\n"}}) {
      CAPTURE(row.lines);
      const std::string text = ok_with(row.lines);
      CHECK(client_framing(ParsedResponse{text}.head(), row.client_minor) == row.framing);
      ResponseForward how;
      how.client_minor = row.client_minor;
      const std::string out = relayed(text, how);
      CHECK(contains(out, row.expected));
      CHECK(contains(out, "Transfer-Encoding") == (row.framing == Framing::chunked));
    }
  }

  TEST_CASE("a client connection that will close is announced as closing") {
    ResponseForward how;
    CHECK_FALSE(contains(relayed(ok_with("Content-Length: 0\r\n"), how), "Connection"));
    how.client_keep_alive = false;
    CHECK(contains(relayed(ok_with("Content-Length: 0\r\n"), how), "\r\nConnection: close\r\n"));
    how.client_minor = 0;
    CHECK(contains(relayed(ok_with("Content-Length: 0\r\n"), how), "\r\nConnection: close\r\n"));
  }

  TEST_CASE("a response without a body keeps the length it describes, where it may have one") {
    CHECK(contains(relayed(ok_with("Content-Length: 9\r\n"), {}, true), "Content-Length: 9\r\n"));
    CHECK(contains(relayed("HTTP/1.1 304 x\r\nContent-Length: 9\r\n\r\n"), "Content-Length: 9\r\n"));
    CHECK_FALSE(contains(relayed("HTTP/1.1 204 x\r\nContent-Length: 9\r\n\r\n"), "Content-Length"));
    CHECK_FALSE(contains(relayed(ok_with("Transfer-Encoding: chunked\r\n"), {}, true), "Transfer-Encoding"));
    CHECK_FALSE(contains(relayed(ok_with(""), {}, true), "Connection"));
    CHECK(count(relayed(ok_with("Content-Length: 5\r\nContent-Length: 5\r\n")), "Content-Length") == 1);
  }

  TEST_CASE("a 101 says what it switches to and nothing of how what follows is framed") {
    ResponseForward how;
    how.instance = "me";
    how.client_keep_alive = false;
    CHECK(relayed("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade, X-Named\r\n"
                  "X-Named: 1\r\nSec-WebSocket-Accept: a\r\nContent-Length: 5\r\n\r\n",
                  how) ==
          "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: a\r\nVia: 1.1 me\r\nConnection: Upgrade\r\n"
          "Upgrade: websocket\r\n\r\n");
  }

  TEST_CASE("an interim response is relayed without framing, connection or date") {
    ResponseForward how;
    how.client_keep_alive = false;
    CHECK(relayed("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 1\r\n\r\n", how) ==
          "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nVia: 1.1 me\r\n\r\n");
  }

  TEST_CASE("our own fields come last, and our word on retrying replaces the upstream's") {
    const std::vector<Field> extra = {{"X-Outrigger-Attempts", "2"}};
    ResponseForward how;
    how.extra = extra;
    how.should_not_retry = true;
    const std::string out = relayed(ok_with("Content-Length: 0\r\nX-Should-Retry: true\r\nDate: d\r\n"), how);
    CHECK(out ==
          "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nDate: d\r\nVia: 1.1 me\r\nX-Should-Retry: false\r\n"
          "X-Outrigger-Attempts: 2\r\n\r\n");
  }

  TEST_CASE("long heads grow the buffer and lose nothing") {
    std::string lines;
    for (int i = 0; i < 90; ++i) lines += "X-" + std::to_string(i) + ":" + std::string(200, 'v') + "\r\n";
    RequestForward how = usual();
    const std::string path = "/" + std::string(3'000, 'p');
    const std::string host(5'000, 'h');
    how.path = path;
    how.host = host;
    const std::string out = sent(get_with(lines), how);
    CHECK(count(out, ": " + std::string(200, 'v') + "\r\n") == 90);
    CHECK(contains(out, "Host: " + host + "\r\n"));
    CHECK(contains(out, "GET " + path + "?q HTTP/1.1\r\n"));
    CHECK(out.ends_with("X-Request-Id: id-1\r\n"));
  }

  TEST_CASE("parsing and passing on a head asks the heap for nothing once buffers are warm") {
    const std::string request = get_with("Accept: */*\r\nConnection: keep-alive\r\nX-Request-Timeout: 5\r\n");
    const std::string response = ok_with("Content-Length: 5\r\nServer: x\r\n");
    auto parser = std::make_unique<HeadParser>();
    Buffer up;
    Buffer down;
    const auto once = [&] {
      HeadScan scan;
      bool good = parser->parse_request(request, {}, scan).complete();
      up.clear();
      write_request_head(parser->request(), usual(), up);
      AttemptTail tail;
      tail.forward = DeadlineForms::all();
      tail.time_left = incoming_deadline(*parser->request().fields, DeadlineForms::all()).left;
      append_attempt_tail(tail, up);
      HeadScan back;
      good = parser->parse_response(response, {}, false, back).complete() && good;
      down.clear();
      write_response_head(parser->response(), {.instance = "me", .date = "d"}, down);
      return good;
    };
    CHECK(once());
    const std::uint64_t before = allocations();
    const bool good = once();
    const std::uint64_t after = allocations();
    CHECK(good);
    CHECK(after == before);
  }
}
