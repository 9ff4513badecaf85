#include "tests/sim/model_upstream.hpp"

#include <algorithm>
#include <utility>

namespace outrigger::sim {
namespace {

using namespace std::chrono_literals;

constexpr Nanos kIdleTimeout = 4s;
constexpr Nanos kRecent = 1s;
constexpr std::uint32_t kLongBody = 1'000'000;

}  // namespace

ModelUpstream::ModelUpstream(World& world, const Behaviour& usual, std::vector<Phase> phases, std::uint32_t workers)
    : world_(world),
      rng_(world.actor()),
      usual_(usual),
      phases_(std::move(phases)),
      began_(world.now()),
      pools_(workers) {}

const Behaviour& ModelUpstream::behaviour() const {
  const Nanos age = world_.now() - began_;
  for (const Phase& phase : phases_) {
    if (age >= phase.from && age < phase.until) return phase.behaviour;
  }
  return usual_;
}

bool ModelUpstream::take_pooled(std::uint32_t worker, exchange::Reuse reuse, bool& stale) {
  std::vector<TimePoint>& pool = pools_[worker];
  const TimePoint now = world_.now();
  const Nanos oldest = reuse == exchange::Reuse::recent ? kRecent : kIdleTimeout;
  if (reuse == exchange::Reuse::none || pool.empty() || now - pool.back() >= oldest) return false;
  pool.pop_back();
  stale = chance(rng_, behaviour().stale);
  return true;
}

void ModelUpstream::connect(const std::shared_ptr<Caller>& caller) {
  const Behaviour& now = behaviour();
  if (chance(rng_, now.silent)) return;
  const bool refuses = chance(rng_, now.refuse);
  world_.after(now.connect.draw(rng_), [caller, refuses] {
    if (caller->closed()) return;
    if (refuses) return caller->unreachable(Reason::connect_refused);
    caller->connected();
  });
}

void ModelUpstream::request(const std::shared_ptr<Caller>& caller, bool whole) {
  if (!whole) {
    if (chance(rng_, behaviour().early)) reply(caller, chance(rng_, 0.5) ? 413 : 503);
    return;
  }
  ++requests_seen_;
  const Behaviour& now = behaviour();
  if (waiting_.empty() && has_room()) return begin(caller);
  if (waiting_.size() >= now.queue && !has_room()) return reply(caller, 503);
  waiting_.push_back(caller);
  next();
}

void ModelUpstream::begin(const std::shared_ptr<Caller>& caller) {
  const Behaviour& now = behaviour();
  ++busy_;
  if (!caller->closed() && chance(rng_, now.hang)) return hanging_.push_back(caller.get());
  if (chance(rng_, now.interim) && !caller->closed()) caller->interim(103);
  const bool slow = now.slow > 0 && chance(rng_, now.slow);
  world_.after((slow ? now.slow_service : now.service).draw(rng_), [this, caller] { complete(caller); });
}

void ModelUpstream::complete(const std::shared_ptr<Caller>& caller) {
  --busy_;
  next();
  if (caller->closed()) return;
  const Behaviour& now = behaviour();
  if (chance(rng_, now.reset)) return caller->died(Reason::reset);
  if (chance(rng_, now.broken)) return caller->died(Reason::protocol_error);
  reply(caller, chance(rng_, now.fail) ? now.statuses[rng_.below(now.statuses.size())] : std::uint16_t{200});
}

bool ModelUpstream::has_room() const {
  const std::uint32_t most = behaviour().concurrency;
  return most == 0 || busy_ < most;
}

/// There may be room for several: another phase may have more workers, or fewer than are still busy.
void ModelUpstream::next() {
  while (!waiting_.empty() && has_room()) {
    const std::shared_ptr<Caller> caller = std::move(waiting_.front());
    waiting_.pop_front();
    begin(caller);
  }
}

void ModelUpstream::reply(const std::shared_ptr<Caller>& caller, std::uint16_t status) {
  if (caller->closed()) return;
  const Behaviour& now = behaviour();
  Answer answer{.status = status, .retry_after = std::nullopt};
  if (status >= 400 && chance(rng_, now.says_when)) answer.retry_after = constant(100ms).draw(rng_) * rng_.below(25);
  answer.pushback = status >= 400 && chance(rng_, now.pushback);
  answer.body_bytes = chance(rng_, now.long_body) ? kLongBody : now.body_bytes;
  answer.body_time = now.body.draw(rng_);
  answer.dies_in_body = chance(rng_, now.dies_in_body);
  answer.dies_unread = chance(rng_, now.dies_unread);
  caller->head(answer);
}

void ModelUpstream::hung_up(const Caller* caller) {
  const auto hanging = std::find(hanging_.begin(), hanging_.end(), caller);
  if (hanging == hanging_.end()) return;
  hanging_.erase(hanging);
  --busy_;
  next();
}

}  // namespace outrigger::sim
