#include "tests/sim/sidecar.hpp"

#include <algorithm>
#include <utility>

#include "tests/sim/edge.hpp"

namespace outrigger::sim {

std::string circuits_refuse(const exchange::Plan& plan, policy::EndpointId endpoint) {
  for (const exchange::CircuitRef& circuit : plan.circuits) {
    if (circuit.config->counts != policy::Counts::attempt) continue;
    const policy::CircuitBreaker& state =
        circuit.per_endpoint() ? *circuit.by_endpoint[policy::index(endpoint)] : *circuit.state;
    if (state.state() == policy::CircuitState::open) return "I6 an attempt starts while a circuit is open";
    const bool probing = state.state() == policy::CircuitState::half_open;
    if (probing && state.probes_out() > circuit.config->max_probes) return "I6 too many probes are out";
  }
  return {};
}

States::States(const Numbers& numbers, std::size_t endpoints, Wakeups& wakeups, std::uint32_t workers) {
  if (numbers.hedge) hedge.emplace(*numbers.hedge, workers);
  for (const auto& config : numbers.circuits) {
    auto& states = circuits.emplace_back();
    const bool per_endpoint = config.scope == policy::CircuitScope::endpoint;
    for (std::size_t i = 0; i < (per_endpoint ? endpoints : 1); ++i) {
      states.push_back(std::make_unique<policy::CircuitBreaker>(config));
    }
  }
  for (const auto& config : numbers.rate_limits) {
    RateLimit& limit = rate_limits.emplace_back();
    if (config.key == policy::RateLimitConfig::Key::policy) {
      limit.whole = std::make_unique<policy::RateLimit>(config);
    } else {
      limit.keyed = std::make_unique<policy::KeyedRateLimit>(config, 7);
    }
  }
  for (std::size_t i = 0; i < numbers.bulkheads.size(); ++i) {
    bulkheads.push_back({.state = std::make_unique<policy::Bulkhead>(wakeups)});
  }
  if (numbers.adaptive) adaptive.emplace(*numbers.adaptive, wakeups, workers);
  if (numbers.throttle) throttle.emplace(*numbers.throttle);
}

void States::refer(const Numbers& numbers, exchange::Plan& plan, TimePoint now) {
  if (hedge && numbers.hedge) plan.hedge = {.config = &*numbers.hedge, .trigger = &*hedge, .budget = plan.budget};
  for (std::size_t i = 0; i < circuits.size(); ++i) {
    exchange::CircuitRef& circuit = plan.circuits.emplace_back();
    circuit.name = "c";
    circuit.config = &numbers.circuits[i];
    circuit.state = circuits[i].front().get();
    if (numbers.circuits[i].scope != policy::CircuitScope::endpoint) continue;
    for (const auto& state : circuits[i]) circuit.by_endpoint.push_back(state.get());
  }
  for (std::size_t i = 0; i < rate_limits.size(); ++i) {
    exchange::RateLimitRef& limit = plan.rate_limits.emplace_back();
    limit.name = "r";
    limit.config = &numbers.rate_limits[i];
    limit.state = rate_limits[i].whole.get();
    limit.keyed = rate_limits[i].keyed.get();
    if (limit.state != nullptr) limit.state->reload(*limit.config, now);
    if (limit.keyed != nullptr) limit.keyed->reload(*limit.config, now);
  }
  for (std::size_t i = 0; i < bulkheads.size(); ++i) {
    const policy::BulkheadConfig& config = numbers.bulkheads[i];
    plan.bulkheads.push_back({.name = "b", .config = &config, .state = bulkheads[i].state.get()});
    bulkheads[i].most = std::max(bulkheads[i].most, config.max_concurrent);
    bulkheads[i].state->raise(config);
  }
  if (adaptive) plan.adaptive_limit = {.name = "a", .config = &*numbers.adaptive, .state = &*adaptive};
  if (throttle) plan.throttle = {.name = "t", .config = &*numbers.throttle, .state = &*throttle};
  if (!numbers.classifier.empty()) plan.classifier = &numbers.classifier;
}

std::string States::at_rest() const {
  for (const Bulkhead& bulkhead : bulkheads) {
    if (bulkhead.state->in_flight() != 0 || bulkhead.state->queued() != 0) return "I4 a bulkhead is not empty at rest";
  }
  if (adaptive && (adaptive->in_flight() != 0 || adaptive->queued() != 0))
    return "I4 an adaptive limit is not empty at rest";
  for (const auto& states : circuits) {
    for (const auto& circuit : states) {
      if (circuit->probes_out() != 0) return "I4 a probe is out at rest";
    }
  }
  return {};
}

std::string States::over_limit() const {
  for (const Bulkhead& bulkhead : bulkheads) {
    if (bulkhead.state->in_flight() > bulkhead.most) return "I4 more is in flight than the bulkhead has places";
  }
  return {};
}

void States::obey(Command::What what) {
  for (const auto& states : circuits) {
    for (const auto& circuit : states) {
      switch (what) {
        case Command::What::force_open: circuit->force_open(); break;
        case Command::What::force_close: circuit->force_close(); break;
        case Command::What::automatic: circuit->automatic(); break;
        case Command::What::reset: circuit->reset(); break;
      }
    }
  }
}

void States::tick(const Numbers& numbers, TimePoint now, Rng& rng) {
  for (std::size_t i = 0; i < circuits.size(); ++i) {
    for (const auto& circuit : circuits[i]) circuit->tick(numbers.circuits[i], now, rng);
  }
}

Sidecar::Sidecar(World& world, Invariants& invariants, const Setup& setup, bool replay)
    : world_(world),
      invariants_(invariants),
      rng_(world.actor()),
      tick_(setup.tick),
      replay_(replay),
      states_(new policy::EndpointState[setup.endpoints.size()]),
      budget_(setup.numbers.budget, setup.workers),
      policies_(setup.numbers, setup.endpoints.size(), *this, setup.workers),
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
    const std::string address = "e" + std::to_string(i);
    states_[i].slots = &slots_;
    all_.endpoints.push_back(
        {.address = address, .weight = model.weight, .state = &states_[i], .hash = policy::balance_hash(address)});
  }
  ledger_.add(budget_, setup.numbers.budget);
  load(setup.numbers);
  for (const Reload& reload : setup.reloads) {
    world_.after(reload.at, [this, numbers = reload.numbers] { load(numbers); });
  }
  for (const Command& command : setup.commands) {
    world_.after(command.at, [this, what = command.what] { policies_.obey(what); });
  }
  ticks_until_ = world.now() + setup.traffic.length + std::chrono::seconds{30};
  if (!setup.numbers.circuits.empty() || setup.numbers.outlier) tick_states();
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
  next.upstream.max_connections = numbers.max_connections;
  next.upstream.max_pending = numbers.max_pending;
  next.upstream.slots = &slots_;
  next.upstream.outlier = next.numbers.outlier ? &*next.numbers.outlier : nullptr;
  next.upstream.ejections = &ejections_;
  most_connections_ = std::max(most_connections_, numbers.max_connections);
  slots_.set_limit(numbers.max_connections);
  slots_.offer(next.set, world_.now());
  next.plan.policy = &next.numbers.policy;
  next.plan.upstream = &next.upstream;
  next.plan.generation = plans_.size();
  if (numbers.budgeted) {
    next.plan.budget = {.name = "b", .config = &next.numbers.budget, .state = &budget_, .cost = numbers.cost};
  }
  policies_.refer(next.numbers, next.plan, world_.now());
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
  slots_.offer(plans_.back().set, world_.now());
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
  for (const policy::Endpoint& endpoint : all_.endpoints) {
    if (endpoint.state->in_flight > most_connections_) return "I4 an endpoint has more connections in use than it may";
  }
  const std::string difference = ledger_.compare(all_);
  return difference.empty() ? policies_.over_limit() : "I4 " + difference;
}

void Sidecar::at_rest() {
  invariants_.at_rest();
  if (slots_.queued() != 0) invariants_.broken(0, "I4 somebody waits for a connection at rest");
  for (std::size_t i = 0; i < all_.endpoints.size(); ++i) {
    if (states_[i].in_flight != 0) invariants_.broken(0, "I4 an endpoint counts attempts at rest");
  }
  if (budget_.extras_in_flight() != 0) invariants_.broken(0, "I4 the budget counts extras at rest");
  invariants_.broken(0, policies_.at_rest());
  if (budget_.requests_in_flight() != 0) invariants_.broken(0, "I4 the budget counts requests at rest");
}

}  // namespace outrigger::sim
