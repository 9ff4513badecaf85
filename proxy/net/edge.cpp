#include "proxy/net/edge.hpp"

#include "proxy/net/exchange_driver.hpp"
#include "proxy/net/h1_downstream.hpp"
#include "proxy/net/mirror.hpp"

namespace outrigger::net {

Edge::Edge(Loop& worker_loop, ProcessState& process_state, telemetry::TimelineStore& store,
           telemetry::LogWriter& writer, telemetry::PolicyRow& unrouted_row)
    : loop(worker_loop), process(process_state), timelines(store), log(writer), unrouted(unrouted_row) {}

Edge::~Edge() = default;

ExchangeDriver& Edge::take_driver() {
  in_flight_.store(in_flight() + 1, std::memory_order_relaxed);
  if (!idle_drivers_.empty()) {
    ExchangeDriver& driver = *idle_drivers_.back();
    idle_drivers_.pop_back();
    return driver;
  }
  if (free_slots_.empty()) {
    free_slots_.push_back(static_cast<std::uint32_t>(drivers_.size()));
    drivers_.emplace_back();
    idle_drivers_.reserve(drivers_.capacity());
  }
  const std::uint32_t slot = free_slots_.back();
  free_slots_.pop_back();
  drivers_[slot] = std::make_unique<ExchangeDriver>(*this, slot);
  process.drivers.fetch_add(1, std::memory_order_relaxed);
  return *drivers_[slot];
}

void Edge::give_back(ExchangeDriver& driver) {
  in_flight_.store(in_flight() - 1, std::memory_order_relaxed);
  idle_drivers_.push_back(&driver);
  if (idle_drivers_.size() > kSpareDrivers && due() == kNever) set(loop.wheel, saturating_add(loop.now(), kTrimEvery));
}

void Edge::on_due(TimePoint) {
  // The front of the list has not been used for longest.
  const std::size_t spare = idle_drivers_.size() > kSpareDrivers ? idle_drivers_.size() - kSpareDrivers : 0;
  for (std::size_t i = 0; i < spare; ++i) {
    free_slots_.push_back(idle_drivers_[i]->slot());
    drivers_[idle_drivers_[i]->slot()].reset();
  }
  idle_drivers_.erase(idle_drivers_.begin(), idle_drivers_.begin() + static_cast<std::ptrdiff_t>(spare));
  process.drivers.fetch_sub(static_cast<std::int64_t>(spare), std::memory_order_relaxed);
}

void Edge::wake(const Ticket& ticket, bool granted) {
  if (ticket.slot < drivers_.size() && drivers_[ticket.slot]) drivers_[ticket.slot]->on_woken(ticket, granted);
}

void Edge::record(const exchange::Timeline& timeline) {
  timelines.add(timeline, loop.local.rng);
  if (log.access_enabled()) log.access(timeline);
}

void Edge::cancel_all(Reason why) {
  for (std::size_t i = 0; i < drivers_.size(); ++i) {
    if (drivers_[i] && drivers_[i]->active()) drivers_[i]->cancel(why);
  }
}

void Edge::drain_connections() {
  for (H1Downstream* connection : connections_) connection->drain();
}

void Edge::close_connections() {
  while (!connections_.empty()) connections_.back()->close();
}

void Edge::end_mirrors() noexcept { mirrors_.clear(); }

Mirror& Edge::adopt(std::unique_ptr<Mirror> mirror) {
  mirror->place = mirrors_.size();
  return *mirrors_.emplace_back(std::move(mirror));
}

void Edge::end(Mirror& mirror) noexcept {
  const std::unique_ptr<Mirror> ended = std::exchange(mirrors_[mirror.place], std::move(mirrors_.back()));
  mirrors_.pop_back();
  if (ended->place < mirrors_.size()) mirrors_[ended->place]->place = ended->place;
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
