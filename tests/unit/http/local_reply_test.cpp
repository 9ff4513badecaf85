#include "proxy/http/local_reply.hpp"

#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "proxy/http/field_list.hpp"
#include "tests/unit/http/heads.hpp"

using namespace outrigger;
using namespace outrigger::http;
using namespace outrigger::test;

namespace {

LocalReply usual(Reason reason) {
  LocalReply reply;
  reply.reason = reason;
  reply.instance = "me-1";
  reply.date = "today";
  reply.request_id = "id-1";
  return reply;
}

std::string written(const LocalReply& reply) {
  Buffer out;
  write_local_reply(reply, out);
  return std::string{out.view()};
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_SUITE("http") {
  TEST_CASE("an answer's head that has too many fields is not said to be too long") {
    const std::string text = written(usual(Reason::response_head_too_large));
    CHECK(contains(text, " or has more than " + std::to_string(kMaxFields) + " fields\""));
  }

  TEST_CASE("a local reply says what happened to people, proxies and code") {
    LocalReply reply = usual(Reason::pool_full);
    reply.policy = "payments.Charge";
    reply.retry_after = 1;
    reply.keep_alive = true;
    const std::string body =
        R"({"type":"about:blank","title":"Service Unavailable","status":503,)"
        R"("detail":"no connection was free, and no room or time to wait for one","reason":"pool_full",)"
        R"("policy":"payments.Charge","request_id":"id-1"})"
        "\n";
    CHECK(written(reply) ==
          "HTTP/1.1 503 Service Unavailable\r\nDate: today\r\nVia: 1.1 me-1\r\n"
          "Proxy-Status: me-1; error=connection_limit_reached; details=\"pool_full\"\r\n"
          "X-Outrigger-Reason: pool_full\r\nRetry-After: 1\r\nContent-Type: application/problem+json\r\n"
          "Content-Length: " +
              std::to_string(body.size()) + "\r\n\r\n" + body);
  }

  TEST_CASE("every reason that has a status makes a well-formed reply of that status") {
    for (std::size_t i = 0; i < kReasonCount; ++i) {
      const auto reason = static_cast<Reason>(i);
      const std::string text = written(usual(reason));
      CAPTURE(text);
      const ParsedResponse parsed{text};
      const std::uint16_t status = info(reason).status;
      CHECK(parsed.head().status == (status == 0 ? 500 : status));
      CHECK_FALSE(parsed.head().reason_phrase.empty());
      CHECK(parsed.verdict.size + parsed.head().body.bytes == text.size());
      CHECK(find_field(parsed.head().fields->view(), "X-Outrigger-Reason") == to_string(reason));
    }
  }

  TEST_CASE("a reply to HEAD announces the body and leaves it out") {
    LocalReply reply = usual(Reason::no_route);
    const std::string whole = written(reply);
    reply.answers_head = true;
    const std::string head = written(reply);
    CHECK(whole.starts_with(head));
    CHECK(head.ends_with("\r\n\r\n"));
    CHECK_FALSE(contains(head, "Content-Length: 0"));
  }

  TEST_CASE("a reply says whether its connection stays") {
    LocalReply reply = usual(Reason::no_route);
    CHECK(contains(written(reply), "\r\nConnection: close\r\n"));
    reply.keep_alive = true;
    CHECK_FALSE(contains(written(reply), "Connection"));
    reply.client_minor = 0;
    CHECK(contains(written(reply), "\r\nConnection: keep-alive\r\n"));
  }

  TEST_CASE("before a route is known the policy is null") {
    CHECK(contains(written(usual(Reason::no_route)), R"("policy":null)"));
  }

  TEST_CASE("the next hop is told not to retry where that is asked, and a refused method names those that are served") {
    LocalReply reply = usual(Reason::method_refused);
    reply.should_not_retry = true;
    const std::vector<Field> extra = {{"X-Outrigger-Attempts", "0"}};
    reply.extra = extra;
    const std::string text = written(reply);
    CHECK(contains(text, "\r\nX-Should-Retry: false\r\n"));
    CHECK(contains(text, "\r\nAllow: GET, HEAD"));
    CHECK(contains(text, "\r\nX-Outrigger-Attempts: 0\r\n"));
    CHECK_FALSE(contains(written(usual(Reason::no_route)), "Allow"));
  }

  TEST_CASE("what stands in the body cannot break out of it") {
    LocalReply reply = usual(Reason::bad_request);
    reply.request_id = "a\"b\\c\n\x01\x7f\xc3\xa4";
    reply.detail = "</script>";
    const std::string text = written(reply);
    CHECK(contains(text, R"("request_id":"a\"b\\c\u000a\u0001\u007f\ufffd\ufffd")"));
    CHECK(contains(text, R"("detail":"</script>")"));
  }

  TEST_CASE("an instance that is no token is quoted in Proxy-Status") {
    LocalReply reply = usual(Reason::no_route);
    for (const char* name : {"9lives", "two words", "quo\"te", ""}) {
      CAPTURE(name);
      reply.instance = name;
      CHECK(contains(written(reply), "\r\nProxy-Status: \""));
    }
    reply.instance = "quo\"te";
    CHECK(contains(written(reply), "\r\nProxy-Status: \"quo\\\"te\"; error="));
  }

  TEST_CASE("text is appended to what is already in the buffer") {
    Buffer out;
    out.append("before");
    append_json_escaped("\t", out);
    CHECK(out.view() == "before\\u0009");
    write_local_reply(usual(Reason::no_route), out);
    CHECK(out.view().starts_with("before\\u0009HTTP/1.1 404 Not Found\r\n"));
  }
}
