// tests/sim/sidecar.hpp
//
// Everything of the sidecar that exchanges share: endpoints with their states, one budget, one plan at a time, and
// workers whose exchanges interleave on them. The states are the real ones; what is modelled is around them. A reload
// puts another plan in the place of the present one, on the same states, while exchanges with the old plan run on.
#pragma once

#include <deque>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proxy/exchange/exchange.hpp"
#include "tests/sim/invariants.hpp"
#include "tests/sim/model_clients.hpp"
#include "tests/sim/model_upstream.hpp"
#include "tests/sim/world.hpp"
#include "tests/support/ledger.hpp"

namespace outrigger::sim {

/// The numbers of a policy, its budget and its upstream: what a reload changes.
struct Numbers {
  policy::Policy policy;
  policy::BudgetConfig budget;
  double cost = 1;
  bool budgeted = true;
  policy::Balance balance = policy::Balance::least_request;
  Nanos connect_timeout = std::chrono::milliseconds{250};
  std::size_t endpoints = SIZE_MAX;  // of those there are: how many are in the set
  std::optional<policy::HedgeConfig> hedge;
  std::vector<policy::CircuitConfig> circuits;  // of scope key or endpoint
  std::vector<policy::RateLimitConfig> rate_limits;
  std::vector<policy::BulkheadConfig> bulkheads;
  std::optional<policy::AdaptiveLimitConfig> adaptive;
  std::optional<policy::AdaptiveThrottleConfig> throttle;
  policy::Classifier classifier;  // empty: the built-in one
  std::int64_t max_connections = std::numeric_limits<std::int64_t>::max();
  std::uint32_t max_pending = 0;
  std::optional<policy::OutlierConfig> outlier;
};

struct ModelEndpoint {
  Behaviour usual;
  std::vector<Phase> phases;
  std::uint32_t weight = 1;
};

struct Reload {
  Nanos at;
  Numbers numbers;
};

/// An operator's word on all circuits.
struct Command {
  enum class What : std::uint8_t { force_open, force_close, automatic, reset };

  Nanos at;
  What what;
};

struct Setup {
  std::uint32_t workers = 2;
  Numbers numbers;
  std::vector<ModelEndpoint> endpoints;
  Traffic traffic;
  std::vector<Reload> reloads;
  std::vector<Command> commands;
  Nanos drain_at{0};      // cuts what is running then; 0 = never
  Nanos tick{1'000'000};  // timers are this late at most, as those of a wheel are
};

/// What circuits that have just admitted an attempt must not show: "I6 ...", or nothing.
std::string circuits_refuse(const exchange::Plan& plan, policy::EndpointId endpoint);

class Edge;

/// The shared states of the policies beside the budget; a reload keeps them, so their number is that of the first
/// numbers.
struct States {
  States(const Numbers& numbers, std::size_t endpoints, Wakeups& wakeups, std::uint32_t workers);

  void refer(const Numbers& numbers, exchange::Plan& plan, TimePoint now);
  /// Answers with what is still held, or with nothing.
  std::string at_rest() const;
  /// Answers with what is over its limit, or with nothing.
  std::string over_limit() const;
  void obey(Command::What what);
  void tick(const Numbers& numbers, TimePoint now, Rng& rng);

  std::optional<policy::HedgeTrigger> hedge;
  struct RateLimit {
    std::unique_ptr<policy::RateLimit> whole;
    std::unique_ptr<policy::KeyedRateLimit> keyed;  // instead
  };
  struct Bulkhead {
    std::unique_ptr<policy::Bulkhead> state;
    std::uint32_t most = 0;  // that any numbers so far have allowed: a smaller bulkhead takes nothing back
  };

  std::vector<std::vector<std::unique_ptr<policy::CircuitBreaker>>> circuits;  // one, or one per endpoint
  std::vector<RateLimit> rate_limits;
  std::vector<Bulkhead> bulkheads;
  std::optional<policy::AdaptiveLimit> adaptive;
  std::optional<policy::AdaptiveThrottle> throttle;
};

class Sidecar final : private Wakeups {
 public:
  Sidecar(World& world, Invariants& invariants, const Setup& setup, bool replay);
  ~Sidecar();
  Sidecar(const Sidecar&) = delete;
  Sidecar& operator=(const Sidecar&) = delete;

  void send(const Request& request);
  /// At the end: nothing is held any more.
  void at_rest();

  // For the edge.
  World& world() { return world_; }
  Invariants& invariants() { return invariants_; }
  test::Ledger& ledger() { return ledger_; }
  const exchange::Plan& plan() const { return plans_.back().plan; }
  exchange::WorkerLocal& worker(std::uint32_t index) { return workers_[index]; }
  ModelUpstream& upstream(policy::EndpointId endpoint) { return *endpoints_[policy::index(endpoint)]; }
  std::string compare() const;
  /// After every fact: notes how things stand.
  void observe();
  Nanos tick() const { return tick_; }
  bool replay() const { return replay_; }
  void retired(const Edge* edge);

 private:
  /// A plan and what it points to; kept for as long as there may be exchanges that began with it.
  struct Generation {
    Numbers numbers;
    policy::EndpointSet set;
    exchange::Upstream upstream;
    exchange::Plan plan;
  };

  void wake(const Ticket& ticket) noexcept override;
  void tick_states();
  void load(const Numbers& numbers);
  void drain();

  World& world_;
  Invariants& invariants_;
  Rng rng_;
  Nanos tick_;
  TimePoint ticks_until_{};
  bool replay_;
  std::vector<std::uint32_t> weights_;
  std::vector<std::unique_ptr<ModelUpstream>> endpoints_;
  policy::ConnectionSlots slots_{*this};
  policy::OutlierDetection ejections_;
  std::int64_t most_connections_ = 0;  // that were ever allowed to one endpoint
  std::unique_ptr<policy::EndpointState[]> states_;
  policy::Budget budget_;
  States policies_;
  test::Ledger ledger_;
  policy::EndpointSet all_;  // every endpoint, whatever the plan
  std::deque<Generation> plans_;
  std::vector<exchange::WorkerLocal> workers_;
  std::vector<std::shared_ptr<Edge>> running_;
  std::uint64_t sent_ = 0;
};

}  // namespace outrigger::sim
