#include "tests/sim/model_clients.hpp"

#include <utility>

namespace outrigger::sim {

using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t kShortBody = 4'000;
constexpr std::uint32_t kLongBody = 200'000;

}  // namespace

ModelClients::ModelClients(World& world, const Traffic& traffic, Send send)
    : world_(world), rng_(world.actor()), traffic_(traffic), send_(std::move(send)), began_(world.now()) {
  world_.after(0ns, [this] { arrive(); });
  if (traffic_.burst_every > 0ns) world_.after(traffic_.burst_every, [this] { burst(); });
}

void ModelClients::arrive() {
  if (over()) return;
  send_(draw());
  const Times gap = exponential(Nanos{static_cast<std::int64_t>(1e9 / traffic_.rate)});
  world_.after(gap.draw(rng_), [this] { arrive(); });
}

void ModelClients::burst() {
  if (over()) return;
  for (std::uint32_t i = 0; i < traffic_.burst_size; ++i) send_(draw());
  world_.after(traffic_.burst_every, [this] { burst(); });
}

Request ModelClients::draw() {
  Request request;
  request.idempotent = !chance(rng_, traffic_.posts);
  if (chance(rng_, traffic_.bodies)) {
    request.body_bytes = chance(rng_, traffic_.long_bodies) ? kLongBody : kShortBody;
    if (chance(rng_, traffic_.slow_bodies)) request.body_time = exponential(50ms).draw(rng_);
    if (chance(rng_, traffic_.bad_bodies)) {
      request.body_fails = chance(rng_, 0.5) ? Reason::body_timeout : Reason::body_too_large;
    }
  }
  if (chance(rng_, traffic_.impatient)) request.patience = traffic_.patience.draw(rng_);
  if (chance(rng_, traffic_.with_deadline)) request.deadline = traffic_.deadline.draw(rng_);
  request.reads = !chance(rng_, traffic_.not_reading);
  request.reading = traffic_.reading.draw(rng_);
  if (traffic_.low + traffic_.critical > 0) {
    const double which = rng_.uniform();
    request.priority = which < traffic_.critical                  ? Priority::critical
                       : which < traffic_.critical + traffic_.low ? Priority::low
                                                                  : Priority::standard;
  }
  if (traffic_.clients > 1) request.client = static_cast<std::uint32_t>(rng_.below(traffic_.clients));
  return request;
}

}  // namespace outrigger::sim
