#include "proxy/http/h1_head.hpp"

#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/unit/http/heads.hpp"

using namespace outrigger;
using namespace outrigger::http;
using namespace outrigger::test;
using namespace std::string_literals;

TEST_SUITE("http") {
  TEST_CASE("a usual request is parsed into views of what was received") {
    const std::string text =
        "POST /v1/charges?x=1 HTTP/1.1\r\nHost: pay.example:8080\r\nContent-Length: 12\r\nX-Empty:\r\n"
        "Accept: \t a, b \t\r\n\r\nhello, world";
    const ParsedRequest request{text};
    const RequestHead& head = request.head();
    CHECK(request.verdict.size == text.size() - 12);
    CHECK(head.method_name == "POST");
    CHECK(head.method == Method::post);
    CHECK(head.target == "/v1/charges?x=1");
    CHECK(head.minor == 1);
    CHECK(head.host == "pay.example:8080");
    CHECK(head.body.framing == Framing::content_length);
    CHECK(head.body.bytes == 12);
    CHECK(head.keep_alive);
    CHECK_FALSE(head.expects_continue);
    CHECK_FALSE(head.upgrade);
    REQUIRE(head.fields->size() == 4);
    CHECK((*head.fields)[0].name == "Host");
    CHECK((*head.fields)[2].name == "X-Empty");
    CHECK((*head.fields)[2].value == "");
    CHECK((*head.fields)[3].value == "a, b");
    CHECK(head.fields->id(1) == FieldId::content_length);
    CHECK(head.fields->find(FieldId::host) == "pay.example:8080");
    CHECK(find_field(head.fields->view(), "accept") == "a, b");
    CHECK(head.target.data() == request.bytes.data() + 5);
  }

  TEST_CASE("a usual response is parsed into views of what was received") {
    const ParsedResponse response{"HTTP/1.1 404 Not  Found\r\nContent-Length: 3\r\nServer: x\r\n\r\nabc"};
    const ResponseHead& head = response.head();
    CHECK(response.verdict.size == response.bytes.size() - 3);
    CHECK(head.status == 404);
    CHECK(head.reason_phrase == "Not  Found");
    CHECK(head.body.framing == Framing::content_length);
    CHECK(head.body.bytes == 3);
    CHECK(head.keep_alive);
    CHECK(head.fields->size() == 2);
  }

  TEST_CASE("a head that ends with the last byte received is complete, one byte less is not") {
    const std::string text = get_with("");
    CHECK(request_outcome(text) == "complete");
    CHECK(request_outcome(text.substr(0, text.size() - 1)) == "need_more");
    CHECK(request_outcome("") == "need_more");
    CHECK(response_outcome("") == "need_more");
  }

  // One case for each rule of the table in the header.

  TEST_CASE("lines end in CRLF: bare LF and bare CR are refused wherever they stand") {
    for (const char* text :
         {"GET / HTTP/1.1\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\n",
          "GET / HTTP/1.1\rHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
          "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\r\n",
          "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET\r/ HTTP/1.1\r\nHost: a\r\n\r\n",
          "GET / HTTP/1.1\r\nHo\rst: a\r\n\r\n", "GET / HTTP/1.1\r\nHost:\r a\r\n\r\n"}) {
      CAPTURE(text);
      CHECK(request_outcome(text) == "bad_request");
    }
    for (const char* text :
         {"HTTP/1.1 200 OK\nA: b\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\n\r\n", "HTTP/1.1 200 O\rK\r\n\r\n"}) {
      CAPTURE(text);
      CHECK(response_outcome(text) == "protocol_error");
    }
  }

  TEST_CASE("up to two empty lines before the request line are tolerated and count as bytes of the head") {
    const std::string text = get_with("");
    CHECK(ParsedRequest{"\r\n" + text}.verdict.size == text.size() + 2);
    CHECK(ParsedRequest{"\r\n\r\n" + text}.verdict.size == text.size() + 4);
    CHECK(request_outcome("\r\n\r\n\r\n" + text) == "bad_request");
    CHECK(request_outcome("\r\n\r\n\r\n") == "bad_request");
    CHECK(request_outcome("\r\n\r\n") == "need_more");
    CHECK(response_outcome("\r\n" + ok_with("")) == "protocol_error");
  }

  TEST_CASE("a request line is method, one blank, target, one blank, version, and nothing else") {
    for (const char* line : {"GET  / HTTP/1.1",  "GET /  HTTP/1.1", " GET / HTTP/1.1",
                             "GET / HTTP/1.1 ",  "GET\t/ HTTP/1.1", "GET /\tHTTP/1.1",
                             "GET / HTTP/1.1x",  "GET /",           "GET",
                             "GET / ",           "GET HTTP/1.1",    "G(T / HTTP/1.1",
                             "GET / a HTTP/1.1", "GET / http/1.1",  "GET / HTTP/1",
                             "GET / HTTP/11",    "GET / HTTP/1.1.", "GET / HTTP/01.1",
                             "GET / HTTP/1.10",  "GET / HTTQ/1.1",  "G\xe9T / HTTP/1.1",
                             "GET / HTTP/x.1"}) {
      CAPTURE(line);
      CHECK(request_outcome(line + "\r\nHost: a\r\n\r\n"s) == "bad_request");
    }
    CHECK(ParsedRequest{"X!#$%&'*+-.^_`|~9 / HTTP/1.1\r\nHost: a\r\n\r\n"}.head().method == Method::other);
  }

  TEST_CASE("a target holds visible ASCII without a fragment") {
    for (const std::string& target : {"/a#b"s, "/a\x01"s, "/a\x7f"s, "/\xc3\xa4"s, "/a\0b"s, "/a\tb"s, "#"s}) {
      CAPTURE(target);
      CHECK(request_outcome("GET " + target + " HTTP/1.1\r\nHost: a\r\n\r\n") == "bad_request");
    }
    CHECK(request_outcome("GET /\"<>[]^`{|}~!$&'()*+,;=:@%41?\\? HTTP/1.1\r\nHost: a\r\n\r\n") == "complete");
  }

  TEST_CASE("a target is in origin-form, in absolute-form of http, or an asterisk for OPTIONS") {
    const auto outcome = [](const char* method_and_target) {
      return request_outcome(method_and_target + " HTTP/1.1\r\nHost: a\r\n\r\n"s);
    };
    for (const char* good : {"GET /", "GET http://a/", "GET HTTPS://a:8443?x", "GET http://[::1]:80", "OPTIONS *"}) {
      CAPTURE(good);
      CHECK(outcome(good) == "complete");
    }
    for (const char* bad : {"GET *", "GET a", "GET a:80", "GET ftp://a/", "GET http:/a", "GET http://", "GET http:///x",
                            "GET http://u@a/", "GET http://a:x/", "OPTIONS **", "GET ?x", "GET http://a\\b/"}) {
      CAPTURE(bad);
      CHECK(outcome(bad) == "bad_request");
    }
  }

  TEST_CASE("CONNECT is refused as a method") {
    CHECK(request_outcome("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n") == "method_refused");
    CHECK(request_outcome("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n") == "method_refused");
    CHECK(ParsedRequest{"connect / HTTP/1.1\r\nHost: a\r\n\r\n"}.head().method == Method::other);
  }

  TEST_CASE("versions other than 1.0 and 1.1 are not supported") {
    for (const char* version : {"HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/9.9"}) {
      CAPTURE(version);
      CHECK(request_outcome("GET / "s + version + "\r\nHost: a\r\n\r\n") == "unsupported_version");
    }
    CHECK(request_outcome("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") == "unsupported_version");
    CHECK(ParsedRequest{"GET / HTTP/1.0\r\n\r\n"}.head().minor == 0);
  }

  TEST_CASE("a status line has version 1.0 or 1.1, three digits from 100 to 599, and perhaps a phrase") {
    for (const char* line : {"HTTP/1.1 200 OK", "HTTP/1.0 200 OK", "HTTP/1.1 200 ", "HTTP/1.1 200", "HTTP/1.1 100 ",
                             "HTTP/1.1 599 \xe9\t!"}) {
      CAPTURE(line);
      CHECK(response_outcome(line + "\r\n\r\n"s) == "complete");
    }
    for (const char* line :
         {"HTTP/1.2 200 OK", "HTTP/2.0 200 OK", "HTTP/1.1  200 OK", "HTTP/1.1 20 OK", "HTTP/1.1 2000 OK",
          "HTTP/1.1 099 x", "HTTP/1.1 600 x", "HTTP/1.1 2x0 OK", "http/1.1 200 OK", "HTTP/1.1200 OK",
          "HTTP/1.1 200\tOK", "HTTP/1.1 200 O\x01K", "ICY 200 OK", "HTTP/1.1", ""}) {
      CAPTURE(line);
      CHECK(response_outcome(line + "\r\n\r\n"s) == "protocol_error");
    }
    CHECK(ParsedResponse{"HTTP/1.1 204\r\n\r\n"}.head().reason_phrase == "");
  }

  TEST_CASE("what cannot become a status line is refused without waiting for the line's end") {
    CHECK(response_outcome("SSH-2.0") == "protocol_error");
    CHECK(response_outcome("HTTP/2") == "protocol_error");
    CHECK(response_outcome("HTTP/1.") == "need_more");
  }

  TEST_CASE("a name is a token directly followed by its colon") {
    for (const std::string& line : {"A : b"s, "A\t: b"s, ": b"s, "A"s, "A b: c"s, "A(: b"s, "A\0: b"s, "A\x7f: b"s,
                                    "\xc3\xa4: b"s, "A\": b"s, "A@b: c"s, "A/b: c"s, "Transfer-Encoding : chunked"s}) {
      CAPTURE(line);
      CHECK(request_outcome(get_with(line + "\r\n")) == "bad_request");
      CHECK(response_outcome(ok_with(line + "\r\n")) == "protocol_error");
    }
    CHECK(request_outcome(get_with("!#$%&'*+-.^_`|~09azAZ: b\r\n")) == "complete");
  }

  TEST_CASE("no line begins with a blank, neither the first field nor a continuation") {
    for (const char* text :
         {"GET / HTTP/1.1\r\n Host: a\r\n\r\n", "GET / HTTP/1.1\r\n\tHost: a\r\n\r\n",
          "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\tfolded\r\n\r\n",
          "GET / HTTP/1.1\r\nHost: a\r\n \r\n\r\n"}) {
      CAPTURE(text);
      CHECK(request_outcome(text) == "bad_request");
    }
    CHECK(response_outcome(ok_with("A: b\r\n c\r\n")) == "protocol_error");
  }

  TEST_CASE("values hold no control byte but tab; other bytes are passed on as they are") {
    for (int byte = 0; byte < 256; ++byte) {
      const bool allowed = byte == '\t' || (byte >= 0x20 && byte != 0x7f);
      CAPTURE(byte);
      // At each distance from the end, so that both halves of the scanner see it.
      for (const std::size_t behind : {0u, 1u, 15u, 16u, 70u}) {
        const std::string value = "x" + std::string(1, static_cast<char>(byte)) + "y" + std::string(behind, 'z');
        CHECK(request_outcome(get_with("A: " + value + "\r\n")) == (allowed ? "complete" : "bad_request"));
      }
    }
  }

  TEST_CASE("Content-Length is given once, in digits, below 2^63") {
    for (const char* value : {"0", "5", "0005", "9223372036854775807"}) {
      CAPTURE(value);
      CHECK(request_outcome(get_with("Content-Length: "s + value + "\r\n")) == "complete");
    }
    for (const char* value : {"", "+5", "-5", "5 5", "5,5", "5, 5", "0x5", "5_0", "5.0", "5a", "9223372036854775808",
                              "18446744073709551616", "99999999999999999999999999"}) {
      CAPTURE(value);
      CHECK(request_outcome(get_with("Content-Length: "s + value + "\r\n")) == "bad_request");
      CHECK(response_outcome(ok_with("Content-Length: "s + value + "\r\n")) == "protocol_error");
    }
    CHECK(request_outcome(get_with("Content-Length: 5\r\nContent-Length: 5\r\n")) == "bad_request");
    CHECK(request_outcome(get_with("Content-Length: 5\r\ncontent-length: 6\r\n")) == "bad_request");
  }

  TEST_CASE("a response may repeat the same length, and it is then one field") {
    const ParsedResponse same{ok_with("Content-Length: 5\r\nContent-Length: 5\r\n")};
    CHECK(same.head().body.bytes == 5);
    CHECK(same.head().fields->size() == 1);
    CHECK(response_outcome(ok_with("Content-Length: 5\r\nContent-Length: 6\r\n")) == "protocol_error");
  }

  TEST_CASE("Content-Length and Transfer-Encoding together are refused in either order") {
    CHECK(request_outcome(get_with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")) == "bad_request");
    CHECK(request_outcome(get_with("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n")) == "bad_request");
    CHECK(request_outcome(get_with("Transfer-Encoding: gzip\r\nContent-Length: 5\r\n")) == "bad_request");
    CHECK(response_outcome(ok_with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")) == "protocol_error");
    CHECK(response_outcome("HTTP/1.1 204 x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n") ==
          "protocol_error");
  }

  TEST_CASE("HTTP/1.0 has no Transfer-Encoding") {
    CHECK(request_outcome("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n") == "bad_request");
    CHECK(response_outcome("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") == "protocol_error");
  }

  TEST_CASE("the last transfer coding is chunked, and it is named once") {
    for (const char* codings : {"chunked", "Chunked", "CHUNKED", " chunked ", "\tchunked"}) {
      CAPTURE(codings);
      CHECK(ParsedRequest{get_with("Transfer-Encoding: "s + codings + "\r\n")}.head().body.framing == Framing::chunked);
    }
    for (const char* codings : {"", "identity", "gzip", "chunked, gzip", "chunked, chunked", "chunked,", "chunked;q=1",
                                "chunked chunked", "\"chunked\"", "xchunked", "chunkedx", "chunked, identity", ",",
                                "gzip, chunked, chunked", ", chunked", "gzip,, chunked", " , \t, chunked"}) {
      CAPTURE(codings);
      CHECK(request_outcome(get_with("Transfer-Encoding: "s + codings + "\r\n")) == "bad_request");
      CHECK(response_outcome(ok_with("Transfer-Encoding: "s + codings + "\r\n")) == "protocol_error");
    }
    CHECK(request_outcome(get_with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")) == "bad_request");
    CHECK(request_outcome(get_with("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n")) == "bad_request");
  }

  TEST_CASE("a coding other than chunked is not supported") {
    CHECK(request_outcome(get_with("Transfer-Encoding: gzip, chunked\r\n")) == "unsupported_transfer_coding");
    CHECK(request_outcome(get_with("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n")) ==
          "unsupported_transfer_coding");
    CHECK(response_outcome(ok_with("Transfer-Encoding: gzip, chunked\r\n")) == "protocol_error");
  }

  TEST_CASE("Host is given once and valid, and may be missing in HTTP/1.0 alone") {
    CHECK(request_outcome("GET / HTTP/1.1\r\n\r\n") == "bad_request");
    CHECK(request_outcome("GET / HTTP/1.0\r\n\r\n") == "complete");
    CHECK(request_outcome(get_with("Host: a\r\n")) == "bad_request");
    CHECK(request_outcome("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n") == "bad_request");
    for (const char* host : {"a", "a.b-c_d", "127.0.0.1:80", "[::1]", "[2001:db8::1]:65535", "a:", "%41b"}) {
      CAPTURE(host);
      CHECK(request_outcome("GET / HTTP/1.1\r\nHost: "s + host + "\r\n\r\n") == "complete");
    }
    for (const char* host :
         {"",    "a b",    "a/b",    "a?b",  "a@b",      "a:b", "a:65536", "a:-1", "a:1:2", "[::1", "::1",
          "[1]", "[g::1]", "[::1]x", "a\\b", "\xc3\xa4", "%4",  "%zz",     ":80",  "a\"b",  "<a>"}) {
      CAPTURE(host);
      CHECK(request_outcome("GET / HTTP/1.1\r\nHost: "s + host + "\r\n\r\n") == "bad_request");
    }
  }

  TEST_CASE("the only expectation that is met is 100-continue") {
    const auto expecting = [](const char* value) {
      return "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: "s + value + "\r\n\r\n";
    };
    CHECK(ParsedRequest{expecting("100-continue")}.head().expects_continue);
    CHECK(ParsedRequest{expecting("100-Continue")}.head().expects_continue);
    for (const char* value : {"", "200-ok", "100-continue, x", "100-continue;a"}) {
      CAPTURE(value);
      CHECK(request_outcome(expecting(value)) == "expectation_failed");
    }
    // Nothing to continue with, or a client that knows no interim responses.
    CHECK_FALSE(ParsedRequest{get_with("Expect: 100-continue\r\n")}.head().expects_continue);
    CHECK_FALSE(
        ParsedRequest{"POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"}.head().expects_continue);
    CHECK(response_outcome(ok_with("Expect: nonsense\r\n")) == "complete");
  }

  TEST_CASE("a head of exactly max_head bytes is taken, one byte more is refused") {
    const std::string text = get_with("A: " + std::string(100, 'x') + "\r\n");
    CHECK(request_outcome(text, {.max_head = text.size()}) == "complete");
    CHECK(request_outcome(text, {.max_head = text.size() - 1}) == "head_too_large");
    CHECK(request_outcome(text + "body", {.max_head = text.size()}) == "complete");
    // It is refused when the limit is reached, not when the end comes.
    CHECK(request_outcome(text.substr(0, 60), {.max_head = 60}) == "head_too_large");
    CHECK(request_outcome(text.substr(0, 59), {.max_head = 60}) == "need_more");
    const std::string answer = ok_with("A: " + std::string(100, 'x') + "\r\n");
    CHECK(response_outcome(answer, {.max_head = answer.size()}) == "complete");
    CHECK(response_outcome(answer, {.max_head = answer.size() - 1}) == "response_head_too_large");
  }

  TEST_CASE("a request line beyond the limit is a target too long") {
    const std::string text = "GET /" + std::string(100, 'x') + " HTTP/1.1\r\nHost: a\r\n\r\n";
    CHECK(request_outcome(text, {.max_head = 50}) == "uri_too_long");
    CHECK(request_outcome(std::string(64, 'G'), {.max_head = 64}) == "uri_too_long");
    CHECK(request_outcome(text, {.max_head = 120}) == "head_too_large");
  }

  TEST_CASE("a malformed head beyond the limit is malformed where that comes first") {
    CHECK(request_outcome("GET / HTTP/1.1\r\nbad line\r\n" + std::string(100, 'x'), {.max_head = 50}) == "bad_request");
  }

  TEST_CASE("as many fields as allowed are taken, one more is refused") {
    std::string lines;
    for (int i = 1; i < 100; ++i) lines += "A: b\r\n";
    CHECK(request_outcome(get_with(lines)) == "complete");
    CHECK(request_outcome(get_with(lines + "A: b\r\n")) == "head_too_large");
    CHECK(response_outcome(ok_with(lines + "A: b\r\n")) == "complete");
    CHECK(response_outcome(ok_with(lines + "A: b\r\nA: b\r\n")) == "response_head_too_large");
    for (int i = 100; i < 300; ++i) lines += "A: b\r\n";
    CHECK(request_outcome(get_with(lines), {.max_fields = 1000}) == "head_too_large");
  }

  TEST_CASE("Connection has no more options than there may be fields") {
    std::string options = "Connection: a";
    for (int i = 1; i < 100; ++i) options += ",a";
    CHECK(request_outcome(get_with(options + "\r\n")) == "complete");
    CHECK(request_outcome(get_with(options + ",a\r\n")) == "head_too_large");
    CHECK(response_outcome(ok_with(options + ",a\r\n")) == "response_head_too_large");
  }

  TEST_CASE("HEAD, 1xx, 204 and 304 have no body whatever their fields say") {
    for (const char* status : {"100", "103", "199", "204", "304"}) {
      CAPTURE(status);
      const ParsedResponse response{"HTTP/1.1 "s + status + " x\r\nContent-Length: 5\r\n\r\n"};
      CHECK(response.head().body.framing == Framing::none);
      CHECK(response.head().keep_alive);
    }
    CHECK(ParsedResponse{ok_with("Transfer-Encoding: chunked\r\n"), true}.head().body.framing == Framing::none);
    CHECK(ParsedResponse{ok_with(""), true}.head().keep_alive);
  }

  TEST_CASE("a response without framing lasts until its connection closes, a request without framing has no body") {
    const ParsedResponse response{ok_with("")};
    CHECK(response.head().body.framing == Framing::until_close);
    CHECK_FALSE(response.head().keep_alive);
    CHECK(ParsedRequest{get_with("")}.head().body.framing == Framing::none);
    CHECK(ParsedResponse{ok_with("Transfer-Encoding: chunked\r\n")}.head().body.framing == Framing::chunked);
  }

  TEST_CASE("a connection is kept by version and option, and close wins") {
    const auto keeps = [](const char* version, const char* lines) {
      return ParsedRequest{"GET / HTTP/"s + version + "\r\nHost: a\r\n" + lines + "\r\n"}.head().keep_alive;
    };
    CHECK(keeps("1.1", ""));
    CHECK(keeps("1.1", "Connection: keep-alive\r\n"));
    CHECK_FALSE(keeps("1.1", "Connection: close\r\n"));
    CHECK_FALSE(keeps("1.1", "Connection: x ,, CLOSE\r\n"));
    CHECK_FALSE(keeps("1.1", "Connection: close\r\nConnection: keep-alive\r\n"));
    CHECK_FALSE(keeps("1.0", ""));
    CHECK(keeps("1.0", "Connection: Keep-Alive\r\n"));
    CHECK_FALSE(keeps("1.0", "Connection: keep-alive, close\r\n"));
    CHECK(keeps("1.1", "Proxy-Connection: close\r\n"));
    CHECK_FALSE(ParsedResponse{"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"}.head().keep_alive);
    CHECK(ParsedResponse{"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"}.head().keep_alive);
    CHECK_FALSE(ParsedResponse{ok_with("Content-Length: 0\r\nConnection: close\r\n")}.head().keep_alive);
  }

  TEST_CASE("an upgrade is asked for with the field and the option together") {
    CHECK(ParsedRequest{get_with("Connection: Upgrade\r\nUpgrade: websocket\r\n")}.head().upgrade);
    CHECK_FALSE(ParsedRequest{get_with("Upgrade: websocket\r\n")}.head().upgrade);
    CHECK_FALSE(ParsedRequest{get_with("Connection: upgrade\r\n")}.head().upgrade);
    CHECK_FALSE(ParsedRequest{"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"}.head().upgrade);
  }

  TEST_CASE("options that name fields are told apart from those that do not") {
    CHECK_FALSE(ParsedRequest{get_with("Connection: keep-alive, close, Upgrade\r\n")}.head().names_fields);
    CHECK(ParsedRequest{get_with("Connection: keep-alive, X-Secret\r\n")}.head().names_fields);
  }
}
