#include "proxy/net/edge.hpp"

#include "proxy/net/exchange_driver.hpp"
#include "proxy/net/h1_downstream.hpp"

namespace outrigger::net {

Edge::Edge(Loop& worker_loop, ProcessState& process_state, telemetry::TimelineStore& store,
           telemetry::LogWriter& writer, telemetry::PolicyRow& unrouted_row)
    : loop(worker_loop), process(process_state), timelines(store), log(writer), unrouted(unrouted_row) {}

Edge::~Edge() = default;

ExchangeDriver& Edge::take_driver() {
  if (idle_drivers_.empty()) {
    drivers_.push_back(std::make_unique<ExchangeDriver>(*this, static_cast<std::uint32_t>(drivers_.size())));
    idle_drivers_.reserve(drivers_.capacity());
    idle_drivers_.push_back(drivers_.back().get());
  }
  ExchangeDriver& driver = *idle_drivers_.back();
  idle_drivers_.pop_back();
  in_flight_.store(drivers_.size() - idle_drivers_.size(), std::memory_order_relaxed);
  return driver;
}

void Edge::give_back(ExchangeDriver& driver) {
  idle_drivers_.push_back(&driver);
  in_flight_.store(drivers_.size() - idle_drivers_.size(), std::memory_order_relaxed);
}

void Edge::wake(const Ticket& ticket, bool granted) {
  if (ticket.slot < drivers_.size()) drivers_[ticket.slot]->on_woken(ticket, granted);
}

void Edge::record(const exchange::Timeline& timeline) {
  timelines.add(timeline, loop.local.rng);
  if (log.access_enabled()) log.access(timeline);
}

void Edge::cancel_all(Reason why) {
  for (std::size_t i = 0; i < drivers_.size(); ++i) {
    if (drivers_[i]->active()) drivers_[i]->cancel(why);
  }
}

void Edge::drain_connections() {
  for (H1Downstream* connection : connections_) connection->drain();
}

void Edge::close_connections() {
  while (!connections_.empty()) connections_.back()->close();
}

void Edge::enlist(H1Downstream& connection) {
  connection.place = connections_.size();
  connections_.push_back(&connection);
}

void Edge::dismiss(H1Downstream& connection) noexcept {
  connections_[connection.place] = connections_.back();
  connections_[connection.place]->place = connection.place;
  connections_.pop_back();
}

}  // namespace outrigger::net
