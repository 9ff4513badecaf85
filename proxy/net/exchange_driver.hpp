// proxy/net/exchange_driver.hpp
//
// Owns one request at the edge: feeds the exchange with facts and performs its orders. It decides nothing. It keeps
// what every attempt needs (the edited head, the body) independently of the client's connection, and may outlive or
// lack one.
//
// Facts are queued and taken one after the other: performing an order may cause the next fact at once (a pooled
// connection takes the whole request, the client takes the whole answer), and the exchange is never re-entered.
//
// Drivers are pooled per worker with their buffers, so that a request allocates nothing.
//
// Threads: one worker.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "proxy/base/buffer.hpp"
#include "proxy/exchange/exchange.hpp"
#include "proxy/http/forward.hpp"
#include "proxy/net/downstream.hpp"
#include "proxy/net/edge.hpp"
#include "proxy/net/mirror.hpp"
#include "proxy/net/request_body.hpp"
#include "proxy/net/response_store.hpp"
#include "proxy/net/upstream.hpp"

namespace outrigger::net {

class ExchangeDriver final : private LazyTimer {
 public:
  /// `slot`: its place in the edge, part of its tickets.
  ExchangeDriver(Edge& edge, std::uint32_t slot);
  ~ExchangeDriver() override;

  /// What a new request brings.
  struct Request {
    const http::RequestHead* head = nullptr;
    const http::RequestForward* forward = nullptr;
    std::size_t route = 0;
    exchange::RequestFacts facts;
    std::uint64_t replay_limit = 0;
    std::string_view body;  // what came with the head, decoded
    bool body_complete = false;
    std::string_view trailers;  // once it is complete
  };
  /// Begins a request; `downstream` hears of it from now on until `exchange_over`.
  void begin(Downstream& downstream, Ref<View> view, const Request& request);

  // What the downstream reports.
  /// How many bytes of the body may be received now; 0: none until `resume_body`.
  std::size_t body_allowance() noexcept;
  void on_body(std::string_view data);
  void on_body_end(std::string_view trailers);
  void on_downstream_drained();
  void on_delivered() { feed(exchange::Delivered{}); }
  void on_downstream_failed(Reason why) { feed(exchange::DownstreamFailed{why}); }

  /// For how long neither side of a tunnel may say anything.
  Nanos tunnel_idle_timeout() const noexcept { return route_->tunnel_idle_timeout; }

  void cancel(Reason why) { feed(exchange::Cancelled{why}); }
  bool active() const noexcept { return exchange_.has_value(); }
  /// What a state that lets the present request wait keeps of it.
  Ticket ticket() const noexcept { return {edge_.loop.local.worker, slot_, generation_}; }
  std::uint32_t slot() const noexcept { return slot_; }
  void on_woken(const Ticket& ticket, bool granted);
  const exchange::Timeline& timeline() const noexcept { return timeline_; }
  exchange::RateLimitsShown rate_limits() const noexcept;
  /// What the route changes in the heads of answers; nullptr: nothing.
  const http::HeaderEdits* response_edits() const noexcept { return route_->response_edits; }

 private:
  enum class Phase : std::uint8_t { unused, connecting, running, held, relaying, over };

  struct Attempt;

  /// The response head being reported; its views are valid until the report has been dealt with.
  struct HeadInHand {
    Attempt* attempt = nullptr;
    const http::ResponseHead* head = nullptr;
    std::string_view raw;
    std::string_view data;
    std::string_view trailers;  // with `end`
    bool end = false;
  };

  /// One try at an upstream, and what is kept of its answer.
  struct Attempt final : UpstreamSink {
    ExchangeDriver* driver = nullptr;
    exchange::AttemptId id{};
    Phase phase = Phase::unused;
    UpstreamStream* stream = nullptr;  // nullptr once it has ended
    std::uint64_t body_at = 0;         // how much of the request body it was given
    bool body_ended = false;           // and whether it was told the end
    bool whole = false;                // all of the answer's body has been received
    bool elsewhere = false;            // at the upstream of the fallback
    std::optional<Nanos> forward;
    std::uint8_t n = 1;
    std::uint8_t hedge = 0;
    Buffer held;  // raw head, then body
    std::size_t held_head = 0;
    Buffer held_trailers;
    void on_connected() override { driver->connected(*this, false); }
    void on_request_sent() override { driver->request_sent(*this); }
    void on_drained() override { driver->push_body(*this); }
    void on_interim(const http::ResponseHead& head) override { driver->interim(*this, head); }
    void on_response(const http::ResponseHead& head, std::string_view raw, std::string_view data, bool end,
                     std::string_view trailers) override {
      driver->response(*this, {this, &head, raw, data, trailers, end});
    }
    void on_data(std::string_view data) override { driver->response_data(*this, data); }
    void on_end(std::string_view trailers) override { driver->response_end(*this, trailers); }
    void on_failed(Reason why, exchange::Exposure exposure, bool reused) override {
      driver->failed(*this, why, exposure, reused);
    }
    std::size_t response_allowance() const override { return driver->allowance(*this); }
    bool is_relayed() const override { return phase == Phase::relaying; }
    std::size_t max_response_head() const override { return driver->downstream_->max_response_head(); }
    std::string_view asked_upgrade() const override { return driver->upgrade_; }
    void on_half_closed() override { driver->downstream_->half_close(); }
  };

  static constexpr std::size_t kMaxHeldBody = 64 * 1024;
  static constexpr std::size_t kQueue = 32;

  void feed(const exchange::Event& event);
  void drain_facts();
  void on_due(TimePoint now) override;
  void finish();

  // Orders.
  void perform(const exchange::ReadBody&);
  void perform(const exchange::StartAttempt& order);
  void perform(const exchange::AbortAttempt& order) { end_attempt(attempt(order.id), order.why); }
  void perform(const exchange::HoldResponse& order);
  void perform(const exchange::DropHeld& order) { end_attempt(attempt(order.id)); }
  void perform(const exchange::DropReplay&);
  void perform(const exchange::RelayInterim& order);
  void perform(const exchange::RelayResponse& order);
  void perform(const exchange::DiscardResponse& order) { end_attempt(attempt(order.id)); }
  void perform(const exchange::CloseDownstream&);
  void perform(const exchange::Reply& order);
  void perform(const exchange::ServeCached& order);
  void perform(const exchange::StoreResponse& order);

  // What attempts report.
  void connected(Attempt& attempt, bool reused);
  void request_sent(Attempt& attempt);
  void interim(Attempt& attempt, const http::ResponseHead& head);
  void response(Attempt& attempt, const HeadInHand& head);
  void response_data(Attempt& attempt, std::string_view data);
  void response_end(Attempt& attempt, std::string_view trailers);
  void failed(Attempt& attempt, Reason why, exchange::Exposure exposure, bool reused);
  std::size_t allowance(const Attempt& attempt) const noexcept;

  http::AttemptTail tail_of(const Attempt& attempt) const;
  void send_request(Attempt& attempt);
  void push_body(Attempt& attempt);
  std::string_view next_piece(const Attempt& attempt) const noexcept;
  void forget_body(const Attempt& attempt) noexcept;
  void drop_replay() noexcept;
  void open_tunnel(Attempt& attempt);
  void relay_held(Attempt& attempt, const exchange::RelayResponse& order);
  void relay_half(Attempt& attempt, const exchange::RelayResponse& order);
  /// `why`: counted where it was still connecting.
  void end_attempt(Attempt& attempt, Reason why = Reason::internal);
  Attempt& attempt(exchange::AttemptId id) noexcept { return attempts_[exchange::index(id)]; }
  /// The attempt that took all of the request's body that is there, and can take more.
  Attempt* body_taker() noexcept;
  void report_overflow();

  Edge& edge_;
  const std::uint32_t slot_;
  std::uint64_t generation_ = 0;  // of the present request
  Ref<View> view_;
  Downstream* downstream_ = nullptr;
  const RouteRow* row_ = nullptr;
  const config::RoutePlan* route_ = nullptr;
  std::optional<exchange::Exchange> exchange_;
  exchange::Timeline timeline_;
  bool draining_facts_ = false;
  BoundedVec<exchange::Event, kQueue> facts_;
  std::size_t next_fact_ = 0;

  bool has_body_ = false;
  bool answers_head_ = false;
  bool chunked_ = false;
  std::string_view upgrade_;  // the protocol that was asked for; empty: none
  bool overflow_reported_ = false;
  bool replay_dropped_ = false;  // no further attempt needs what the last ones have got
  std::uint64_t bytes_in_ = 0;
  Buffer head_;  // edited, then the tail of the attempt last sent
  std::size_t head_base_ = 0;
  Buffer fallback_head_;  // the base for the fallback's upstream, where that gets another Host; else empty
  RequestBody body_;
  BufferCharge held_charge_;
  Buffer trailers_;
  std::unique_ptr<Mirror> mirror_;  // until it is sent

  std::array<Attempt, exchange::kMaxAttempts> attempts_;
  std::size_t attempts_used_ = 0;
  Attempt* relaying_ = nullptr;
  ResponseStore store_;  // of what is relayed
  HeadInHand in_hand_;
};

}  // namespace outrigger::net
