// tests/unit/net/upstream_rig.hpp
//
// A pool with its endpoint in the test's hand, and a request that notes what its stream tells it.
#pragma once

#include <functional>
#include <string>

#include <doctest/doctest.h>

#include "proxy/net/connection_pool.hpp"
#include "proxy/net/h1_upstream.hpp"
#include "tests/support/loop_rig.hpp"
#include "tests/support/peer.hpp"

namespace outrigger::test {

/// One request: what it was told, in order, without the body's bytes.
class Told final : public net::UpstreamSink {
 public:
  Told() = default;
  Told(const Told&) = delete;
  Told& operator=(const Told&) = delete;
  ~Told() {
    if (stream != nullptr) stream->abort(Reason::client_disconnected);
  }

  void on_connected() override { note("connected"); }
  void on_request_sent() override { note("sent"); }
  void on_drained() override { note("drained"); }
  void on_interim(const http::ResponseHead& head) override {
    note(std::to_string(head.status));
    if (then) then();
  }
  void on_response(const http::ResponseHead& head, std::string_view raw, std::string_view data, bool end,
                   std::string_view trailers) override {
    note(std::to_string(head.status));
    raw_head = raw;
    body += data;
    if (end) over(trailers);
    if (then) then();
  }
  void on_data(std::string_view data) override {
    body += data;
    if (then) then();
  }
  void on_end(std::string_view trailers) override {
    over(trailers);
    if (then) then();
  }
  void on_failed(Reason why, exchange::Exposure exposure, bool reused) override {
    constexpr const char* kExposures[] = {"nothing_sent", "partly_sent", "fully_sent"};
    note(std::string(to_string(why)) + ' ' + kExposures[static_cast<std::size_t>(exposure)]);
    if (reused) story += " reused";
    stream = nullptr;
    if (then) then();
  }
  std::size_t response_allowance() const override { return allowance; }
  std::size_t max_response_head() const override { return max_head; }

  bool has(std::string_view word) const { return story.find(word) != std::string::npos; }

  net::UpstreamStream* stream = nullptr;  // nullptr once it has ended
  std::string story;
  std::string body;
  std::string raw_head;
  std::string trailer_lines;
  std::size_t allowance = SIZE_MAX;
  std::size_t max_head = 64 * 1024;
  std::function<void()> then;  // after anything of the answer

 private:
  void note(const std::string& what) { story += (story.empty() ? "" : ", ") + what; }
  void over(std::string_view trailers) {
    note("end");
    trailer_lines = trailers;
    stream = nullptr;
  }
};

class UpstreamRig : public LoopRig {
 public:
  explicit UpstreamRig(const net::PoolSettings& settings = {}) { pool->configure(settings); }
  UpstreamRig(const UpstreamRig&) = delete;
  UpstreamRig& operator=(const UpstreamRig&) = delete;
  ~UpstreamRig() {
    pool->retire();
    pool.reset();
    settle();
  }

  /// A new connection that stands; the far end is returned.
  Peer connect(Told& told) {
    Reason why{};
    told.stream = pool->connect(told, why);
    REQUIRE(told.stream != nullptr);
    Peer peer;
    REQUIRE(until([&] {
      if (!peer.open()) peer = door.accept();
      return told.story == "connected" && peer.open();
    }));
    told.story.clear();
    return peer;
  }
  /// A request without a body on a new connection, which has reached the far end.
  Peer ask(Told& told) {
    Peer peer = connect(told);
    told.stream->start(kRequest, {}, false, false, true);
    CHECK(peer.take() == kRequest);
    CHECK(told.story == "sent");
    told.story.clear();
    return peer;
  }
  /// A connection that has served a request and idles.
  Peer idle() {
    Told told;
    Peer peer = ask(told);
    answer(peer, told);
    return peer;
  }
  /// The far end answers a request with an empty 200.
  void answer(Peer& peer, Told& told) {
    peer.send(kAnswer);
    REQUIRE(until([&] { return told.has("end"); }));
  }
  /// Takes an idle connection; true where there was one.
  bool take(Told& told, exchange::Reuse reuse = exchange::Reuse::any) {
    told.stream = pool->take(told, reuse);
    return told.stream != nullptr;
  }
  /// Whether the request of `told`, started now, is the one that this far end sees.
  bool reaches(Told& told, Peer& peer) {
    told.stream->start(kRequest, {}, false, false, true);
    return peer.take() == kRequest;
  }

  std::int64_t idle_count() const { return row.idle.value(); }
  std::int64_t active_count() const { return row.active.value(); }
  std::uint64_t connects(Reason result) const { return row.connects[static_cast<std::size_t>(result)].value(); }

  static constexpr std::string_view kRequest = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
  static constexpr std::string_view kAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

  Door door;
  telemetry::UpstreamRow& row = *metrics.upstream_row(0, "up");
  net::Ref<net::ConnectionPool> pool{new net::ConnectionPool(loop, door.address(), row)};
};

}  // namespace outrigger::test
