// proxy/net/mirror.hpp
//
// One copy of a request on its way to a second upstream, for its effect there alone: sent once the request itself has
// been sent, never waited for, its answer read and thrown away. Nothing of it is seen by a policy, a timeline or a
// client, whatever becomes of it; a copy that fails is lost, and none is retried.
//
// It has everything of its own (head, body, connection, time limit), because it outlives its request: the edge owns it
// until its answer is whole. Four bounds keep it harmless: the route's copies under way, the memory account, the
// upstream's connections, for which it never waits, and the policy's overall timeout from the moment it was sent. A
// copy that one of the first three refuses is dropped and counted.
//
// A copy goes out as one that could not be sent again: over a connection that idled for less than a second or a new
// one.
//
// Threads: one worker; the bound on copies is shared. Cost: an object, a head and a body for each copy; a request that
// the dice leave out costs their throw.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "proxy/base/buffer.hpp"
#include "proxy/exchange/placing.hpp"
#include "proxy/http/forward.hpp"
#include "proxy/net/edge.hpp"
#include "proxy/net/upstream.hpp"
#include "proxy/policy/bulkhead.hpp"

namespace outrigger::net {

class Mirror final : private UpstreamSink, private LazyTimer {
 public:
  /// The copy of a request that begins on a route with a mirror, if the dice say so. `max_response_head`: of the
  /// request's own answer.
  static std::unique_ptr<Mirror> of(Edge& edge, const Ref<View>& view, std::size_t route, const http::RequestHead& head,
                                    const http::RequestForward& forward, const exchange::RequestFacts& facts,
                                    std::size_t max_response_head);
  ~Mirror() override;

  /// Sends it on its way, or drops it. `tail`: of the attempt that it is a copy of.
  static void send(std::unique_ptr<Mirror> mirror, http::AttemptTail tail, std::string_view body,
                   std::string_view trailers);

  std::size_t place = 0;  // in the edge's list

 private:
  static constexpr Nanos kLongest = std::chrono::seconds{60};  // where the policy has no overall timeout

  Mirror(Edge& edge, const Ref<View>& view, std::size_t route, const http::RequestHead& head,
         std::size_t max_response_head);

  bool admit(std::size_t body) noexcept;
  void write(const http::AttemptTail& tail, std::string_view body, std::string_view trailers);
  void begin();
  void start();
  void end();

  void on_connected() override { start(); }
  void on_request_sent() override { charge_.set(0); }
  void on_drained() override {}
  void on_interim(const http::ResponseHead&) override {}
  void on_response(const http::ResponseHead&, std::string_view, std::string_view, bool last,
                   std::string_view) override {
    if (last) end();
  }
  void on_data(std::string_view) override {}
  void on_end(std::string_view) override { end(); }
  void on_failed(Reason, exchange::Exposure, bool) override { end(); }
  std::size_t response_allowance() const override { return Loop::kScratchBytes; }
  std::size_t max_response_head() const override { return max_response_head_; }
  void on_due(TimePoint now) override;

  Edge& edge_;
  const Ref<View> view_;  // goes last: all below belongs to it
  const config::RoutePlan& route_;
  const std::size_t max_response_head_;
  const bool chunked_;
  const bool answers_head_;
  Buffer request_;       // until it is sent
  BufferCharge charge_;  // for it, until it is in the kernel
  std::optional<std::uint64_t> balance_key_;
  policy::GatePermit among_mirrors_;
  policy::EndpointPermit slot_;
  UpstreamStream* stream_ = nullptr;
  TimePoint ends_ = kNever;
};

}  // namespace outrigger::net
