// tests/sim/edge.hpp
//
// The edge of one request as its contract says: it turns what clients and servers do into facts, queues facts that
// arise while an order is performed, performs orders one after the other and never decides. Held responses are kept in
// memory up to a limit and left unread beyond it; timers come late by up to a tick, and some come for nothing.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "tests/sim/sidecar.hpp"
#include "tests/support/exchange_check.hpp"

namespace outrigger::sim {

class Edge : public std::enable_shared_from_this<Edge> {
 public:
  Edge(Sidecar& sidecar, std::uint32_t worker, const Request& request, std::uint64_t number);
  ~Edge();
  Edge(const Edge&) = delete;
  Edge& operator=(const Edge&) = delete;

  void start();
  void drain() { feed(exchange::Cancelled{Reason::drained}); }
  std::uint64_t number() const { return number_; }
  void woken() { feed(exchange::Woken{facts_.ticket, true}); }

 private:
  class Try;  // one attempt's connection
  friend class Try;

  void feed(const exchange::Event& fact);
  void take(const exchange::Event& fact);
  void arm();
  void retire();
  void print() const;

  void perform(const exchange::ReadBody&);
  void perform(const exchange::StartAttempt& order);
  void perform(const exchange::AbortAttempt& order);
  void perform(const exchange::HoldResponse& order);
  void perform(const exchange::DropHeld& order);
  void perform(const exchange::DropReplay&);
  void perform(const exchange::RelayInterim&) {}
  void perform(const exchange::RelayResponse& order);
  void perform(const exchange::DiscardResponse& order);
  void perform(const exchange::CloseDownstream&) {}
  void perform(const exchange::Reply&);
  void perform(const exchange::ServeCached&) {}
  void perform(const exchange::StoreResponse&) {}

  // The request body.
  void chunk(int index);
  void body_arrived();
  void lose_what_was_sent();
  // The answer on its way to the client.
  void deliver();
  void client_stops_reading();

  Sidecar& sidecar_;
  World& world_;
  std::uint32_t worker_;
  Request request_;
  std::string client_;
  std::uint64_t number_;
  const exchange::Plan& plan_;
  exchange::RequestFacts facts_;
  exchange::Timeline timeline_;
  test::ExchangeCheck check_;
  exchange::Exchange exchange_;

  std::deque<exchange::Event> pending_;
  bool draining_ = false;
  TimePoint armed_ = kNever;
  std::vector<std::shared_ptr<Try>> tries_;
  std::uint32_t replay_limit_ = 64 * 1024;
  std::uint32_t arrived_ = 0;  // of the request's body
  int paused_chunk_ = -1;      // not read for want of room
  bool body_complete_ = false;
  bool overflowed_ = false;
  bool exposed_ = false;  // some attempt has sent something
  bool delivering_ = false;
  bool retired_ = false;
  std::string trace_;  // for a replay
};

}  // namespace outrigger::sim
