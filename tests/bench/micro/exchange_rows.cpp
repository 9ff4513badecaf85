// What a whole exchange costs, from RequestReady to Delivered, answered with 200 at once: with nothing switched on,
// with one protection after the other, and with all of them. Every worker begins one each 10 us, so what is worked out
// once per window or period is in the mean.
#include <array>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>

#include "proxy/base/cache_line.hpp"
#include "proxy/exchange/exchange.hpp"
#include "tests/bench/micro/bench.hpp"
#include "tests/bench/micro/samples.hpp"

namespace outrigger::bench {
namespace {

using namespace outrigger::exchange;
using namespace std::chrono_literals;

constexpr Nanos kStep = 10us;
constexpr Nanos kAnswerAfter = 5us;
constexpr Nanos kMostForAllPolicies = 1us;

/// A policy with the states it is applied to, and workers that run requests of it.
class Service {
 public:
  Service() {
    for (policy::EndpointState& state : endpoints_) {
      set_.endpoints.push_back({.address = "127.0.0.1:9001", .state = &state});
      ++set_.total_weight;
    }
    upstream_.name = "payments";
    upstream_.endpoints = &set_;
    policy_.overall_timeout = 0s;
    plan_.policy = &policy_;
    plan_.upstream = &upstream_;
    plan_.policy_key = "payments.Charge";
    for (std::uint32_t i = 0; i < kWorkers; ++i) workers_[i].begin(i);
  }

  // What may be switched on.
  void deadline() {
    policy_.overall_timeout = 15s;
    for (Worker& worker : workers_) worker.facts.client_deadline = 2s;
  }
  void retry() {
    policy_.retry.emplace().timeout_per_attempt = 1s;
    budget_.emplace(budget_config_, kWorkers);
    plan_.budget = {.name = "default/payments", .config = &budget_config_, .state = &*budget_, .cost = 1};
  }
  void rate_limit() {
    limit_.emplace(limit_config_);
    plan_.rate_limits.push_back({{.name = "all", .config = &limit_config_, .state = &*limit_}});
  }
  void keyed_rate_limit() {
    keyed_config_.key = policy::RateLimitConfig::Key::client_ip;
    keyed_.emplace(keyed_config_, 1);
    plan_.rate_limits.push_back({{.name = "each", .config = &keyed_config_}, &*keyed_});
  }
  void throttle() {
    throttle_.emplace(throttle_config_);
    plan_.throttle = {.name = "throttle", .config = &throttle_config_, .state = &*throttle_};
  }
  void request_bulkhead() {
    request_places_config_.counts = policy::Counts::request;
    plan_.bulkheads.push_back({.name = "b", .config = &request_places_config_, .state = &request_places_});
  }
  void attempt_bulkhead() {
    plan_.bulkheads.push_back({.name = "a", .config = &attempt_places_config_, .state = &attempt_places_});
  }
  void adaptive_limit() {
    adaptive_.emplace(adaptive_config_, wakeups_, kWorkers);
    plan_.adaptive_limit = {.name = "limit", .config = &adaptive_config_, .state = &*adaptive_};
  }
  void circuit() {
    circuit_config_.trip = policy::CircuitConfig::Trip::rate_by_time;
    circuit_config_.failure_statuses.insert(500, 500);
    circuit_config_.failure_statuses.insert(502, 504);
    circuit_.emplace(circuit_config_);
    CircuitRef& ref = plan_.circuits.emplace_back();
    ref.name = "circuit";
    ref.config = &circuit_config_;
    ref.state = &*circuit_;
  }
  /// Armed for every request by what the others took; it never comes to launching one.
  void hedge() {
    hedge_config_.quantile = 0.95;
    trigger_.emplace(hedge_config_, kWorkers);
    for (int i = 0; i < 1000; ++i) trigger_->record(0, (5 + i % 10) * 1ms, TimePoint{1h});
    plan_.hedge = {.config = &hedge_config_, .trigger = &*trigger_, .budget = plan_.budget};
  }
  void classifier() { plan_.classifier = &rules_; }
  /// Asked about every answer, and for none of them.
  void fallback() {
    fallback_config_.exhausted = true;
    plan_.fallback.config = &fallback_config_;
  }
  /// Rolled for every attempt, and nothing befalls any.
  void chaos() {
    chaos_config_.delay.emplace();
    chaos_config_.abort.emplace();
    plan_.chaos.config = &chaos_config_;
    plan_.chaos.state = &chaos_;
    for (Worker& worker : workers_) worker.facts.chaos = true;
  }
  /// The requests take no part: a miss keeps a copy of its request, which is not the exchange's cost.
  void cache() {
    plan_.cache = {.name = "payments.Charge", .config = &cache_config_, .state = &cache_};
    for (Worker& worker : workers_) worker.facts.cache = CacheFacts{"http://payments/v1/charges/42", std::nullopt};
  }

  void plain_request(Turn turn) {
    Worker& worker = workers_[turn.worker];
    Request request{*this, worker, turn};
    request.feed(RequestReady{});
    request.serve(0, 200);
    request.finish(0);
  }
  void retried_request(Turn turn) {
    Worker& worker = workers_[turn.worker];
    Request request{*this, worker, turn};
    request.feed(RequestReady{});
    request.serve(0, 503);
    request.now = std::max(request.now, request.exchange.wakeup());
    request.feed(Tick{});
    request.serve(1, 200);
    request.finish(1);
  }
  const Timeline& timeline(Turn turn) const { return workers_[turn.worker].timeline; }

 private:
  struct alignas(kCacheLine) Worker {
    void begin(std::uint32_t index) {
      local.worker = index;
      local.rng = Rng{index};
      local.cursors.resize(1);
      facts.idempotent = true;
      facts.request_id = "018f3c1e-7b1a-7c3e-9d2a-0123456789ab";
      facts.method = "GET";
      facts.path = "/v1/charges/42";
      facts.listener = "outbound";
    }
    WorkerLocal local;
    RequestFacts facts;
    Timeline timeline;
  };

  struct Request {
    Request(Service& service, Worker& of, Turn turn)
        : worker(of), now(turn.at(kStep)), exchange(service.started(of, turn), of.facts, of.local, of.timeline) {}

    void feed(const Event& fact) {
      Actions orders;
      exchange.on(now, fact, orders);
      keep(orders);
      keep(exchange.wakeup());
    }
    void serve(int attempt, std::uint16_t status) {
      const auto id = static_cast<AttemptId>(attempt);
      feed(Connected{id, true});
      feed(RequestSent{id});
      now += kAnswerAfter;
      feed(ResponseHead{id, status, kAnswerFields, std::nullopt});
    }
    void finish(int attempt) {
      feed(ResponseDone{static_cast<AttemptId>(attempt)});
      feed(Delivered{});
      // A refusal would be quick, and the row a lie.
      if (!exchange.finished() || worker.timeline.status != 200) std::abort();
    }

    Worker& worker;
    TimePoint now;
    Exchange exchange;
  };

  const Plan& started(Worker& worker, Turn turn) {
    worker.timeline.reset();
    worker.facts.client_ip = clients_.of(turn);
    return plan_;
  }

  policy::EndpointState endpoints_[3];
  policy::EndpointSet set_;
  Upstream upstream_;
  policy::Policy policy_;
  NobodyWaits wakeups_;
  Clients clients_;

  policy::BudgetConfig budget_config_{.min_per_second = 1e9};  // every retry is affordable
  std::optional<policy::Budget> budget_;
  policy::RateLimitConfig limit_config_ = plenty_of_permits();
  std::optional<policy::RateLimit> limit_;
  policy::RateLimitConfig keyed_config_ = plenty_of_permits();
  std::optional<policy::KeyedRateLimit> keyed_;
  policy::AdaptiveThrottleConfig throttle_config_;
  std::optional<policy::AdaptiveThrottle> throttle_;
  policy::BulkheadConfig request_places_config_{.max_concurrent = 1000};
  policy::Bulkhead request_places_{wakeups_};
  policy::BulkheadConfig attempt_places_config_{.max_concurrent = 1000};
  policy::Bulkhead attempt_places_{wakeups_};
  policy::AdaptiveLimitConfig adaptive_config_;
  std::optional<policy::AdaptiveLimit> adaptive_;
  policy::CircuitConfig circuit_config_;
  std::optional<policy::CircuitBreaker> circuit_;
  policy::HedgeConfig hedge_config_;
  std::optional<policy::HedgeTrigger> trigger_;
  policy::Classifier rules_ = sample_rules();
  policy::FallbackConfig fallback_config_;
  policy::ChaosConfig chaos_config_;
  policy::Chaos chaos_;
  EnoughMemory memory_;
  policy::CacheConfig cache_config_;
  policy::Cache cache_{wakeups_, memory_, 1};

  Plan plan_;
  std::array<Worker, kWorkers> workers_;
};

struct Protection {
  const char* name;
  void (Service::*switch_on)();
};
constexpr std::array kProtections = {Protection{"deadline", &Service::deadline},
                                     Protection{"retry and budget", &Service::retry},
                                     Protection{"rate limit", &Service::rate_limit},
                                     Protection{"keyed rate limit", &Service::keyed_rate_limit},
                                     Protection{"adaptive throttle", &Service::throttle},
                                     Protection{"bulkhead of requests", &Service::request_bulkhead},
                                     Protection{"bulkhead of attempts", &Service::attempt_bulkhead},
                                     Protection{"adaptive limit", &Service::adaptive_limit},
                                     Protection{"circuit", &Service::circuit},
                                     Protection{"hedge trigger", &Service::hedge},
                                     Protection{"classifier", &Service::classifier},
                                     Protection{"fallback", &Service::fallback},
                                     Protection{"cache, not taken part in", &Service::cache},
                                     Protection{"chaos, no fault", &Service::chaos}};

}  // namespace

void add_exchange_rows(Bench& bench) {
  const auto row = [&](const std::string& name, const std::shared_ptr<Service>& service) {
    bench.row(name, [service](Turn turn) { service->plain_request(turn); });
  };
  row("exchange, plain", std::make_shared<Service>());
  for (const Protection& protection : kProtections) {
    const auto service = std::make_shared<Service>();
    (*service.*protection.switch_on)();
    row(std::string{"exchange, "} + protection.name, service);
  }
  const auto all = std::make_shared<Service>();
  for (const Protection& protection : kProtections) (*all.*protection.switch_on)();
  row("exchange, all policies", all);
  bench.row("timeline of that, copied into a ring",
            [all, copies = std::make_shared<std::array<Timeline, kWorkers>>()](Turn turn) {
              keep((*copies)[turn.worker] = all->timeline(turn));
            });
  const auto retrying = std::make_shared<Service>();
  retrying->retry();
  bench.row("exchange, one retry", [retrying](Turn turn) { retrying->retried_request(turn); });

  bench.difference("all policies add", "exchange, all policies", "exchange, plain", kMostForAllPolicies);
}

}  // namespace outrigger::bench
