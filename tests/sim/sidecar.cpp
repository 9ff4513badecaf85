#include "tests/sim/sidecar.hpp"

#include <algorithm>
#include <utility>

#include "tests/sim/edge.hpp"

namespace outrigger::sim {

States::States(const Numbers& numbers, Wakeups& wakeups, std::uint32_t workers) {
  if (numbers.hedge) hedge.emplace(*numbers.hedge, workers);
  for (const auto& config : numbers.circuits) circuits.push_back(std::make_unique<policy::CircuitBreaker>(config));
  for (const auto& config : numbers.rate_limits) rate_limits.push_back(std::make_unique<policy::RateLimit>(config));
  for (std::size_t i = 0; i < numbers.bulkheads.size(); ++i) {
    bulkheads.push_back(std::make_unique<policy::Bulkhead>(wakeups));
  }
  if (numbers.adaptive) adaptive.emplace(*numbers.adaptive, wakeups, workers);
  if (numbers.throttle) throttle.emplace(*numbers.throttle);
}

void States::refer(const Numbers& numbers, exchange::Plan& plan) {
  if (hedge && numbers.hedge) plan.hedge = {.config = &*numbers.hedge, .trigger = &*hedge, .budget = plan.budget};
  for (std::size_t i = 0; i < circuits.size(); ++i) {
    plan.circuits.push_back(
        {.name = "c", .config = &numbers.circuits[i], .state = circuits[i].get(), .by_endpoint = {}});
  }
  for (std::size_t i = 0; i < rate_limits.size(); ++i) {
    plan.rate_limits.push_back({{.name = "r", .config = &numbers.rate_limits[i], .state = rate_limits[i].get()}});
  }
  for (std::size_t i = 0; i < bulkheads.size(); ++i) {
    plan.bulkheads.push_back({.name = "b", .config = &numbers.bulkheads[i], .state = bulkheads[i].get()});
    bulkheads[i]->raise(numbers.bulkheads[i]);
  }
  if (adaptive) plan.adaptive_limit = {.name = "a", .config = &*numbers.adaptive, .state = &*adaptive};
  if (throttle) plan.throttle = {.name = "t", .config = &*numbers.throttle, .state = &*throttle};
}

std::string States::at_rest() const {
  for (const auto& bulkhead : bulkheads) {
    if (bulkhead->in_flight() != 0 || bulkhead->queued() != 0) return "I4 a bulkhead is not empty at rest";
  }
  if (adaptive && (adaptive->in_flight() != 0 || adaptive->queued() != 0))
    return "I4 an adaptive limit is not empty at rest";
  for (const auto& circuit : circuits) {
    if (circuit->probes_out() != 0) return "I4 a probe is out at rest";
  }
  return {};
}

void States::tick(const Numbers& numbers, TimePoint now, Rng& rng) {
  for (std::size_t i = 0; i < circuits.size(); ++i) circuits[i]->tick(numbers.circuits[i], now, rng);
}

Sidecar::Sidecar(World& world, Invariants& invariants, const Setup& setup, bool replay)
    : world_(world),
      invariants_(invariants),
      rng_(world.actor()),
      tick_(setup.tick),
      replay_(replay),
      states_(new policy::EndpointState[setup.endpoints.size()]),
      budget_(setup.numbers.budget, setup.workers),
      policies_(setup.numbers, *this, setup.workers),
      ledger_(setup.endpoints.size()),
      workers_(setup.workers) {
  for (std::uint32_t i = 0; i < setup.workers; ++i) {
    workers_[i].worker = i;
    workers_[i].rng = world.actor();
    workers_[i].cursors.resize(1);
  }
  for (std::size_t i = 0; i < setup.endpoints.size(); ++i) {
    const ModelEndpoint& model = setup.endpoints[i];
    endpoints_.push_back(std::make_unique<ModelUpstream>(world, model.usual, model.phases, setup.workers));
    all_.endpoints.push_back({.address = "e" + std::to_string(i), .weight = model.weight, .state = &states_[i]});
  }
  ledger_.add(budget_, setup.numbers.budget);
  load(setup.numbers);
  for (const Reload& reload : setup.reloads) {
    world_.after(reload.at, [this, numbers = reload.numbers] { load(numbers); });
  }
  ticks_until_ = world.now() + setup.traffic.length + std::chrono::seconds{30};
  if (!setup.numbers.circuits.empty()) tick_states();
  if (setup.drain_at > Nanos{0}) world_.after(setup.drain_at, [this] { drain(); });
}

Sidecar::~Sidecar() {
  // A world that was stopped still holds exchanges, and they hold permits of the states that end here.
  running_.clear();
  world_.clear();
}

void Sidecar::load(const Numbers& numbers) {
  Generation& next = plans_.emplace_back();
  next.numbers = numbers;
  next.set.endpoints.assign(
      all_.endpoints.begin(),
      all_.endpoints.begin() + static_cast<std::ptrdiff_t>(std::min(numbers.endpoints, all_.endpoints.size())));
  for (const policy::Endpoint& endpoint : next.set.endpoints) next.set.total_weight += endpoint.weight;
  next.upstream = {
      .name = "up", .balance = numbers.balance, .connect_timeout = numbers.connect_timeout, .endpoints = &next.set};
  next.plan.policy = &next.numbers.policy;
  next.plan.upstream = &next.upstream;
  next.plan.generation = plans_.size();
  if (numbers.budgeted) {
    next.plan.budget = {.name = "b", .config = &next.numbers.budget, .state = &budget_, .cost = numbers.cost};
  }
  policies_.refer(next.numbers, next.plan);
}

void Sidecar::send(const Request& request) {
  const auto worker = static_cast<std::uint32_t>(rng_.below(workers_.size()));
  const auto edge = std::make_shared<Edge>(*this, worker, request, ++sent_);
  running_.push_back(edge);
  edge->start();
}

void Sidecar::retired(const Edge* edge) {
  const auto found =
      std::find_if(running_.begin(), running_.end(), [edge](const auto& each) { return each.get() == edge; });
  if (found == running_.end()) return;
  // Somebody further up may still stand in a member of it.
  world_.after(Nanos{0}, [kept = *found] { static_cast<void>(kept); });
  *found = running_.back();
  running_.pop_back();
}

/// As through a mailbox: a little later, if the request is still there.
void Sidecar::wake(const Ticket& ticket) noexcept {
  world_.after(std::chrono::microseconds{20}, [this, number = ticket.generation] {
    for (const auto& edge : running_) {
      if (edge->number() == number) return edge->woken();
    }
  });
}

/// What the control thread does every ten milliseconds, for as long as there is anything to serve.
void Sidecar::tick_states() {
  policies_.tick(plans_.back().numbers, world_.now(), rng_);
  if (world_.now() < ticks_until_) world_.after(std::chrono::milliseconds{10}, [this] { tick_states(); });
}

void Sidecar::drain() {
  const auto all = running_;
  for (const auto& edge : all) edge->drain();
}

void Sidecar::observe() {
  if (!policies_.adaptive) return;
  const policy::AdaptiveLimit& limit = *policies_.adaptive;
  invariants_.read({.in_flight = limit.in_flight(),
                    .limit = limit.limit(),
                    .baseline = limit.baseline(),
                    .probing = limit.probing()});
}

std::string Sidecar::compare() const {
  std::string difference = ledger_.compare(all_);
  return difference.empty() ? difference : "I4 " + difference;
}

void Sidecar::at_rest() {
  invariants_.at_rest();
  for (std::size_t i = 0; i < all_.endpoints.size(); ++i) {
    if (states_[i].in_flight != 0) invariants_.broken(0, "I4 an endpoint counts attempts at rest");
  }
  if (budget_.extras_in_flight() != 0) invariants_.broken(0, "I4 the budget counts extras at rest");
  invariants_.broken(0, policies_.at_rest());
  if (budget_.requests_in_flight() != 0) invariants_.broken(0, "I4 the budget counts requests at rest");
}

}  // namespace outrigger::sim
