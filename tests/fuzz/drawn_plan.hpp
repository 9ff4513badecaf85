// tests/fuzz/drawn_plan.hpp
//
// A plan made of a fuzzer's bytes, and the states it refers to: any mixture of policies that a configuration file could
// ask for, with small numbers, so that every limit is reached by a few requests. What the loader refuses is not drawn.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/exchange/plan.hpp"
#include "tests/fuzz/bytes.hpp"
#include "tests/support/ledger.hpp"

namespace outrigger::fuzz {

inline constexpr std::uint32_t kWorkers = 4;

/// The times that plans and histories are made of; 0 first.
inline constexpr std::array<Nanos, 8> kTimes = {std::chrono::seconds{0},       std::chrono::nanoseconds{1},
                                                std::chrono::milliseconds{1},  std::chrono::milliseconds{5},
                                                std::chrono::milliseconds{50}, std::chrono::milliseconds{300},
                                                std::chrono::seconds{1},       std::chrono::seconds{6}};

/// The numbers, as a snapshot has them.
struct DrawnNumbers {
  explicit DrawnNumbers(Bytes& bytes);

  policy::Policy policy;
  std::uint32_t endpoints;
  policy::Balance balance;
  Nanos connect_timeout;
  policy::Classifier classifier;
  std::optional<policy::BudgetConfig> budget;
  std::optional<policy::BudgetConfig> hedge_budget;  // else hedges are on that of the retries
  std::optional<policy::HedgeConfig> hedge;
  std::vector<policy::RateLimitConfig> rate_limits;
  std::vector<policy::BulkheadConfig> bulkheads;
  std::optional<policy::AdaptiveThrottleConfig> throttle;
  std::optional<policy::AdaptiveLimitConfig> adaptive;
  std::vector<policy::CircuitConfig> circuits;
  std::uint32_t endpoints_elsewhere;  // of the fallback's upstream
  std::optional<policy::FallbackConfig> fallback;
  std::optional<policy::CacheConfig> cache;
  std::optional<policy::ChaosConfig> chaos;
  bool observes;
  std::uint32_t max_connections;  // 0: as many as there may be
  std::uint32_t max_pending;
  std::optional<policy::OutlierConfig> outlier;
};

/// The memory of a cache: little of it, and counted.
struct DrawnMemory final : policy::CacheMemory {
  bool take(std::uint64_t bytes) noexcept override {
    if (bytes > kMost - taken) return false;
    taken += bytes;
    return true;
  }
  void give_back(std::uint64_t bytes) noexcept override { taken -= bytes; }

  static constexpr std::uint64_t kMost = 3000;
  std::uint64_t taken = 0;
};

/// What requests of one plan ask a cache for.
inline constexpr std::array<std::string_view, 3> kCacheKeys = {"one", "two", "three"};

/// What the requests of all workers hold, as their checks count it.
struct Held {
  std::uint32_t attempts = 0;   // under way
  std::uint32_t requests = 0;   // let in
  std::uint32_t undecided = 0;  // may have a part of what they need
};

class DrawnPlan {
 public:
  DrawnPlan(Bytes& bytes, Wakeups& wakeups);
  DrawnPlan(const DrawnPlan&) = delete;
  DrawnPlan& operator=(const DrawnPlan&) = delete;

  const exchange::Plan& plan() const { return plan_; }
  test::Ledger& ledger() { return *ledger_; }

  /// What may happen to states without any request: the clock, an operator.
  void disturb(Bytes& bytes, TimePoint now, Rng& rng);
  void tick(TimePoint now, Rng& rng);

  /// Answers where the states disagree with what is held, or with nothing. To be asked after every fact.
  std::string compare(const Held& held);
  /// The same where only the ends are known.
  std::string at_rest(TimePoint now);
  /// Once nobody has an answer of the cache any more: empties it, and answers whether memory is still taken.
  std::string empty_cache();
  /// Whether a request that comes when all is quiet, and has been for long, gets its attempt.
  bool serves() const;
  void end_forcing();

 private:
  void refer_to_endpoints();
  void refer_to_pool(Wakeups& wakeups);
  void refer_to_budgets();
  void refer_to_hedge();
  void refer_to_circuits();
  void refer_to_limits(Wakeups& wakeups);
  void refer_to_fallback();
  void refer_to_cache(Wakeups& wakeups);
  void refer_to_chaos();
  bool fetches(TimePoint now);
  std::string compare_adaptive(const Held& held);

  DrawnNumbers numbers_;
  std::optional<policy::ConnectionSlots> slots_;
  policy::OutlierDetection ejections_;
  std::unique_ptr<policy::EndpointState[]> endpoint_states_;
  policy::EndpointSet set_;
  exchange::Upstream upstream_;
  std::optional<policy::Budget> budget_;
  std::optional<policy::Budget> hedge_budget_;
  std::optional<policy::HedgeTrigger> trigger_;
  struct Circuit {
    const policy::CircuitConfig* config;
    std::unique_ptr<policy::CircuitBreaker> state;
  };
  std::vector<Circuit> circuits_;
  std::vector<std::unique_ptr<policy::RateLimit>> rate_limits_;
  std::vector<std::unique_ptr<policy::KeyedRateLimit>> keyed_limits_;
  std::vector<std::unique_ptr<policy::Bulkhead>> bulkheads_;
  std::optional<policy::AdaptiveThrottle> throttle_;
  std::optional<policy::AdaptiveLimit> adaptive_;
  std::uint32_t adaptive_limit_ = 0;      // as it was before the last fact
  std::uint32_t adaptive_in_flight_ = 0;  // likewise
  std::unique_ptr<policy::EndpointState[]> states_elsewhere_;
  policy::EndpointSet set_elsewhere_;
  exchange::Upstream elsewhere_;
  DrawnMemory memory_;
  std::optional<policy::Cache> cache_;
  std::optional<policy::Chaos> chaos_;
  std::optional<test::Ledger> ledger_;
  exchange::Plan plan_;
};

}  // namespace outrigger::fuzz
