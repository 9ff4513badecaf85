#include <string>

#include <doctest/doctest.h>

#include "tests/support/allocations.hpp"
#include "tests/support/edge_rig.hpp"

using namespace outrigger;
using namespace outrigger::test;
using namespace std::chrono_literals;

namespace {

/// A client and an upstream that both keep their connection, and what the edge between them asks of the heap.
class WarmPath {
 public:
  explicit WarmPath(const std::string& policy = "")
      : rig_({.upstream = ", idle_timeout: 10m", .rest = policy}, 16), client_(rig_.client()) {}

  /// One request and its answer; what the peers themselves allocate does not count.
  void serve(std::string_view request, std::string_view answer) {
    client_.send(request);
    turn();
    // A POST makes a new one when the last has idled for long.
    if (Peer fresh = rig_.doors[0]->accept(); fresh.open()) upstream_ = std::move(fresh);
    turn();
    arrived_ += upstream_.take().size() >= request.size();
    upstream_.send(answer);
    turn();
    answered_ += client_.take().starts_with("HTTP/1.1 200 OK\r\n");
  }

  /// Calls of operator new in a thousand requests behind some that warm up.
  std::uint64_t allocations(std::string_view request, std::string_view answer) {
    // The slowest requests are remembered minute by minute, of two minutes: both must have been filled.
    for (int minute = 0; minute < 2; ++minute) {
      for (int i = 0; i < 100; ++i) serve(request, answer);
      rig_.pass(1min);
    }
    serve(request, answer);
    const std::uint64_t connects = rig_.connects(Reason::success);
    arrived_ = answered_ = 0;
    counted_ = 0;
    for (int i = 0; i < 1000; ++i) serve(request, answer);
    CHECK(arrived_ == 1000);
    CHECK(answered_ == 1000);
    CHECK(rig_.connects(Reason::success) == connects);
    CHECK(rig_.clients() == 1);
    CHECK(rig_.at_rest());
    return counted_;
  }

 private:
  void turn() {
    const std::uint64_t before = test::allocations();
    rig_.pass(1ms);
    counted_ += test::allocations() - before;
  }

  EdgeRig rig_;
  Peer client_;
  Peer upstream_;
  std::uint64_t counted_ = 0;
  int arrived_ = 0;
  int answered_ = 0;
};

constexpr std::string_view kGet =
    "GET /v1/users/42?full=1 HTTP/1.1\r\nHost: users.internal\r\nUser-Agent: test\r\nAccept: */*\r\n"
    "X-Request-Timeout: 2000\r\n\r\n";
constexpr std::string_view kPost =
    "POST /v1/charges HTTP/1.1\r\nHost: charges.internal\r\nContent-Length: 11\r\n\r\n{\"cents\":1}";
constexpr std::string_view kChunkedPost =
    "POST /v1/charges HTTP/1.1\r\nHost: charges.internal\r\nTransfer-Encoding: chunked\r\n\r\n"
    "b\r\n{\"cents\":1}\r\n0\r\n\r\n";
constexpr std::string_view kAnswer =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"name\":\"a\"}";
constexpr std::string_view kChunkedAnswer =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    "c\r\n{\"name\":\"a\"}\r\n0\r\n\r\n";

}  // namespace

TEST_SUITE("net") {
  TEST_CASE("a warm request allocates nothing, from the client's connection to the upstream's and back") {
    WarmPath plain;
    CHECK(plain.allocations(kGet, kChunkedAnswer) == 0);
    CHECK(plain.allocations(kPost, kChunkedAnswer) == 0);
    CHECK(plain.allocations(kChunkedPost, kChunkedAnswer) == 0);
  }

  TEST_CASE("telling clients what is left of their rate limits allocates nothing") {
    WarmPath limited{
        "policies: {default: {rate_limit: [{requests: 100000, per: 1s, headers: ietf}, {requests: 100000, per: 1s, "
        "key: client_ip, headers: legacy}]}}\n"};
    CHECK(limited.allocations(kGet, kAnswer) == 0);
  }

  TEST_CASE("a policy that may retry allocates nothing either, as long as nothing fails") {
    WarmPath retrying{"policies: {default: {overall_timeout: 2s, retry: {max_attempts: 3}}}\n"};
    CHECK(retrying.allocations(kGet, kAnswer) == 0);
    CHECK(retrying.allocations(kPost, kAnswer) == 0);
  }

  TEST_CASE("an answer from the cache allocates nothing") {
    EdgeRig rig{
        {.upstream = ", idle_timeout: 10m", .rest = "policies: {default: {cache: {ttl: 1h, vary: [Accept]}}}\n"}, 16};
    Peer client = rig.client_with(kGet);
    Peer upstream = rig.upstream();
    rig.head(upstream);
    upstream.send(kAnswer);
    rig.settle();
    client.take();
    int answered = 0;
    const auto serve = [&] {
      client.send(kGet);
      const std::uint64_t before = allocations();
      rig.pass(1ms);
      const std::uint64_t made = allocations() - before;
      answered += client.take().ends_with("{\"name\":\"a\"}");
      return made;
    };
    for (int minute = 0; minute < 2; ++minute) {
      for (int i = 0; i < 100; ++i) serve();
      rig.pass(1min);
    }
    serve();
    answered = 0;
    std::uint64_t counted = 0;
    for (int i = 0; i < 1000; ++i) counted += serve();
    CHECK(counted == 0);
    CHECK(answered == 1000);
    CHECK(upstream.take().empty());
  }

  TEST_CASE("a policy of all blocks allocates nothing, as long as none of them has to act") {
    WarmPath all{
        "chaos_enabled: true\npolicies: {default: {overall_timeout: 2s, retry: {max_attempts: 3}, hedge: {delay: 1s},"
        " circuit: {consecutive_failures: 5}, bulkhead: {max_concurrent: 10}, rate_limit: {requests: 1000000},"
        " adaptive_limit: {}, adaptive_throttle: {}, fallback: {when: [exhausted], respond: {status: 200}},"
        " chaos: {delay: {probability: 0, fixed: 1ms}}}}\n"};
    CHECK(all.allocations(kGet, kAnswer) == 0);
    CHECK(all.allocations(kPost, kAnswer) == 0);
  }
}
