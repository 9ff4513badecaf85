#include "proxy/net/rate_limit_answer.hpp"

#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/support/edge_rig.hpp"

using namespace outrigger;
using namespace outrigger::net;
using namespace outrigger::test;
using namespace std::chrono_literals;

namespace {

const std::string kGet = "GET /a HTTP/1.1\r\nHost: h\r\nX-Tenant: blue\r\n\r\n";

EdgeConfig limited(const std::string& limits) {
  return {.rest = "policies: {default: {rate_limit: [" + limits + "]}}\n"};
}
const std::string kIetf = "{requests: 4, per: 1h, headers: ietf}";
const std::string kLegacy = "{requests: 3, per: 1h, headers: legacy}";

/// The fields of a head that speak of rate limits, in their order.
std::string limits_in(std::string head) {
  head.resize(head.find("\r\n\r\n") + 2);
  std::string lines;
  for (std::size_t at = head.find("\r\n") + 2; at < head.size();) {
    const std::size_t end = head.find("\r\n", at) + 2;
    const std::string line = head.substr(at, end - at);
    if (line.find("RateLimit") != std::string::npos || line.find("ratelimit") != std::string::npos) lines += line;
    at = end;
  }
  return lines;
}

/// What a client reads in the answer to a request that an upstream answers with these fields.
std::string relayed(EdgeRig& rig, Peer& client, const std::string& fields = "") {
  client.send(kGet);
  Peer upstream = rig.upstream();
  rig.head(upstream);
  upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n" + fields + "\r\nok");
  return limits_in(rig.message(client));
}

}  // namespace

TEST_SUITE("net") {
  TEST_CASE("answers say what is left, less with each, and so does the refusal") {
    EdgeRig rig{limited("{requests: 2, per: 1h, headers: ietf}")};
    Peer client = rig.client();
    const std::string policy = "RateLimit-Policy: \"default\";q=2;w=3600\r\n";
    CHECK(relayed(rig, client) == policy + "RateLimit: \"default\";r=1;t=1800\r\n");
    CHECK(relayed(rig, client) == policy + "RateLimit: \"default\";r=0;t=1800\r\n");
    client.send(kGet);
    const std::string refused = rig.message(client);
    CHECK(refused.starts_with("HTTP/1.1 429 "));
    CHECK(limits_in(refused) == policy + "RateLimit: \"default\";r=0;t=1800\r\n");
    CHECK(refused.find("\r\nRetry-After: 1800\r\n") != std::string::npos);
  }

  TEST_CASE("several limits share the list, and of those in the legacy style the one with least left is shown") {
    EdgeRig rig{limited(kIetf + ", " + kLegacy + ", {requests: 9, per: 1h, headers: ietf}, " +
                        "{requests: 2, per: 1h, headers: legacy}")};
    Peer client = rig.client();
    CHECK(relayed(rig, client) ==
          "RateLimit-Policy: \"default\";q=4;w=3600, \"default.3\";q=9;w=3600\r\n"
          "RateLimit: \"default\";r=3;t=900, \"default.3\";r=8;t=400\r\n"
          "X-RateLimit-Limit: 2\r\nX-RateLimit-Remaining: 1\r\nX-RateLimit-Reset: 1800\r\n");
  }

  TEST_CASE("an upstream's own list stays, and ours stands behind it") {
    EdgeRig rig{limited(kIetf)};
    Peer client = rig.client();
    const std::string theirs = "RateLimit-Policy: \"api\";q=9;w=60\r\nRateLimit: \"api\";r=5\r\n";
    CHECK(relayed(rig, client, theirs + "X-RateLimit-Remaining: 1\r\n") ==
          theirs + "X-RateLimit-Remaining: 1\r\n" +
              "RateLimit-Policy: \"default\";q=4;w=3600\r\nRateLimit: \"default\";r=3;t=900\r\n");
  }

  TEST_CASE("of two sets of legacy fields the client gets the one with less left, whole") {
    const auto theirs = [](const std::string& left) {
      return "x-ratelimit-limit: 9\r\nX-RateLimit-Remaining: " + left + "\r\nX-RateLimit-Reset: 1700000000\r\n";
    };
    const std::string ours = "X-RateLimit-Limit: 3\r\nX-RateLimit-Remaining: 2\r\nX-RateLimit-Reset: 1200\r\n";
    for (const char* left : {"2", "3", "many", "", "-1", "1, 1", "99999999999"}) {
      CAPTURE(left);
      EdgeRig rig{limited(kLegacy)};
      Peer client = rig.client();
      CHECK(relayed(rig, client, theirs(left)) == ours);
    }
    for (const char* left : {"1", "0"}) {
      EdgeRig rig{limited(kLegacy)};
      Peer client = rig.client();
      CHECK(relayed(rig, client, theirs(left)) == theirs(left));
    }
    // Without legacy fields of ours nothing of theirs is touched.
    EdgeRig rig{limited("{requests: 3, per: 1h}")};
    Peer client = rig.client();
    CHECK(relayed(rig, client, theirs("99")) == theirs("99"));
  }

  TEST_CASE("a limit that was not asked says nothing") {
    EdgeRig rig{limited(kIetf)};
    Peer client = rig.client_with("GET /a HTTP/1.1\r\nHost: h\r\nX-Request-Timeout: 1\r\n\r\n");
    const std::string too_short = rig.message(client);
    CHECK(too_short.starts_with("HTTP/1.1 504 "));
    CHECK(limits_in(too_short) == "");
    client.send("GET /a HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n");
    const std::string malformed = rig.head(client);
    CHECK(malformed.starts_with("HTTP/1.1 400 "));
    CHECK(limits_in(malformed) == "");
  }

  TEST_CASE("all that an answer may say of ourselves fits") {
    EdgeConfig config = limited(kIetf + ", " + kLegacy);
    config.listener = ", debug_headers: true";
    EdgeRig rig{config};
    Peer client = rig.client();
    client.send("GET /a HTTP/1.1\r\nHost: h\r\nX-Outrigger-Timeline: 1\r\n\r\n");
    Peer upstream = rig.upstream();
    rig.head(upstream);
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    const std::string answer = rig.message(client);
    for (const char* name :
         {"RateLimit-Policy", "RateLimit", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset",
          "X-Outrigger-Request-Id", "X-Outrigger-Attempts", "X-Outrigger-Policy", "X-Outrigger-Timeline"}) {
      CAPTURE(name);
      CHECK(answer.find("\r\n" + std::string(name) + ": ") != std::string::npos);
    }
  }
}
