// tests/support/script.hpp
//
// An exchange as a script: facts left, orders right, time in between. `Given` says what differs from a plain GET to two
// endpoints taken in turn without jitter; `Script` feeds the facts, compares the orders as text, and holds every
// promise of ExchangeCheck after every fact. A script that ends has given everything back, or its destructor fails the
// test.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

#include "proxy/exchange/exchange.hpp"
#include "tests/support/exchange_check.hpp"
#include "tests/support/ledger.hpp"
#include "tests/support/show.hpp"

namespace outrigger::test {

using namespace std::chrono_literals;
using exchange::Exposure;

// ---- facts ----------------------------------------------------------------------------------

inline exchange::AttemptId id(int attempt) { return static_cast<exchange::AttemptId>(attempt); }
inline exchange::Event ready() { return exchange::RequestReady{}; }
inline exchange::Event woken() { return exchange::Woken{}; }
inline exchange::Event tick() { return exchange::Tick{}; }
inline exchange::Event connected(int attempt) { return exchange::Connected{id(attempt), false}; }
inline exchange::Event reused(int attempt) { return exchange::Connected{id(attempt), true}; }
inline exchange::Event sent(int attempt) { return exchange::RequestSent{id(attempt)}; }
inline exchange::Event interim(int attempt, int status) {
  return exchange::InterimHead{id(attempt), static_cast<std::uint16_t>(status)};
}
inline exchange::Event head(int attempt, int status, std::optional<Nanos> retry_after = {}, HeaderView headers = {}) {
  return exchange::ResponseHead{id(attempt), static_cast<std::uint16_t>(status), headers, retry_after};
}
inline exchange::Event done(int attempt) { return exchange::ResponseDone{id(attempt)}; }
inline exchange::Event delivered() { return exchange::Delivered{}; }
inline exchange::Event in_memory(int attempt) { return exchange::HeldState{id(attempt), true, false}; }
inline exchange::Event lost(int attempt) { return exchange::HeldState{id(attempt), false, true}; }
inline exchange::Event body_complete() { return exchange::BodyState{true, false}; }
inline exchange::Event body_overflowed() { return exchange::BodyState{false, true}; }
inline exchange::Event client(Reason why) { return exchange::DownstreamFailed{why}; }
inline exchange::Event client_gone() { return client(Reason::client_disconnected); }
inline exchange::Event drained() { return exchange::Cancelled{Reason::drained}; }
inline exchange::Event failed(int attempt, Reason why, Exposure exposure = Exposure::fully_sent) {
  return exchange::AttemptFailed{id(attempt), why, exposure, false};
}
inline exchange::Event unreachable(int attempt, Reason why = Reason::connect_refused) {
  return failed(attempt, why, Exposure::nothing_sent);
}
inline exchange::Event died_idle(int attempt, Reason why = Reason::closed_early,
                                 Exposure exposure = Exposure::fully_sent) {
  return exchange::AttemptFailed{id(attempt), why, exposure, true};
}

// ---- what is given --------------------------------------------------------------------------

struct Given {
  policy::Policy policy;
  exchange::RequestFacts facts;
  exchange::Upstream upstream;
  std::optional<policy::BudgetConfig> budget_config;
  std::optional<policy::HedgeConfig> hedge_config;
  std::optional<policy::BudgetConfig> hedge_budget_config;  // else hedges are on the budget of retries
  std::vector<policy::CircuitConfig> circuits;
  policy::Classifier classifier;
  std::vector<policy::RateLimitConfig> rate_limits;
  std::vector<policy::BulkheadConfig> bulkheads;
  std::optional<policy::AdaptiveLimitConfig> adaptive;
  std::optional<policy::FallbackConfig> fallback_rule;
  exchange::StaticResponse fallback_response;
  std::optional<std::uint16_t> own_status;
  std::optional<policy::CacheConfig> cache_config;
  std::optional<policy::ChaosConfig> chaos_config;
  bool only_observes = false;
  std::optional<policy::AdaptiveThrottleConfig> throttle;
  std::optional<policy::OutlierConfig> outlier_config;
  bool few_connections = false;
  double budget_cost = 1;
  std::size_t endpoint_count = 2;

  Given() {
    facts.idempotent = true;
    facts.method = "GET";
    facts.path = "/";
    upstream.name = "up";
    upstream.balance = policy::Balance::round_robin;
  }

  policy::RetryConfig& retry() { return policy.retry ? *policy.retry : policy.retry.emplace(); }

  Given& backoff(Nanos initial, double multiplier = 1) {
    retry().backoff = {.initial = initial, .max = 30s, .multiplier = multiplier, .jitter = policy::Jitter::none};
    return *this;
  }
  Given& attempt_timeout(Nanos limit) { return retry().timeout_per_attempt = limit, *this; }
  Given& resend_any_method() { return retry().non_idempotent = true, *this; }
  Given& overall(Nanos limit) { return policy.overall_timeout = limit, *this; }
  Given& max_duration(Nanos limit) { return policy.max_duration = limit, *this; }
  Given& min_remaining(Nanos least) { return policy.deadline.min_remaining = least, *this; }
  Given& connect_timeout(Nanos limit) { return upstream.connect_timeout = limit, *this; }
  Given& endpoints(std::size_t count) { return endpoint_count = count, *this; }
  Given& post() { return facts.idempotent = false, facts.method = "POST", *this; }
  Given& body(bool fits_replay = true) { return facts.has_body = true, facts.body_fits_replay = fits_replay, *this; }
  Given& upgrade() { return facts.upgrade = true, *this; }
  Given& client_waits(Nanos limit) { return facts.client_deadline = limit, *this; }
  Given& hedge(Nanos delay, std::uint32_t most = 1) {
    if (!hedge_config) hedge_config.emplace();
    hedge_config->delay = delay;
    hedge_config->max_hedges = most;
    return *this;
  }
  /// Opens after so many failures in a row.
  Given& circuit(std::uint32_t failures, policy::CircuitScope scope = policy::CircuitScope::key,
                 policy::Counts counts = policy::Counts::attempt) {
    policy::CircuitConfig& config = circuits.emplace_back();
    config.counts = counts;
    config.consecutive_failures = failures;
    config.cooldown_jitter = 0;
    config.scope = scope;
    config.failure_statuses.insert(500, 500);
    config.failure_statuses.insert(502, 504);
    return *this;
  }
  /// So many places, and a queue of so many for so long.
  Given& bulkhead(std::uint32_t places, std::uint32_t queue = 0, Nanos max_wait = 1s,
                  policy::Counts counts = policy::Counts::attempt) {
    bulkheads.push_back({.max_concurrent = places, .max_queue = queue, .max_wait = max_wait, .counts = counts});
    return *this;
  }
  /// One per `interval`, so many at once.
  Given& rate_limit(Nanos interval, std::uint32_t burst = 1, Nanos max_wait = 0s,
                    policy::Counts counts = policy::Counts::request) {
    policy::RateLimitConfig& config = rate_limits.emplace_back();
    config.requests = 1;
    config.per = interval;
    config.burst = burst;
    config.max_wait = max_wait;
    config.counts = counts;
    return *this;
  }
  Given& adaptive_limit(std::uint32_t limit, std::uint32_t queue = 0) {
    adaptive.emplace();
    adaptive->initial = adaptive->min = adaptive->max = limit;
    adaptive->queue = queue;
    return *this;
  }
  /// Refuses all it may as soon as anything has failed.
  Given& throttling() {
    throttle.emplace();
    throttle->minimum_calls = 1;
    throttle->max_rejection = 1;
    throttle->failure_rate = 0;
    return *this;
  }
  /// So many connections to each endpoint, and a queue of so many for one.
  Given& connections(std::int64_t limit, std::uint32_t pending = 0) {
    upstream.max_connections = limit;
    upstream.max_pending = pending;
    few_connections = true;
    return *this;
  }
  /// Ejects after so many failures in a row, for ten seconds at the most.
  Given& outlier(std::uint32_t failures) {
    outlier_config.emplace();
    outlier_config->consecutive_failures = failures;
    outlier_config->base_ejection = outlier_config->max_ejection = 10s;
    return *this;
  }
  Given& priority(Priority priority) { return facts.priority = priority, *this; }
  Given& hedge_method(std::string method) { return hedge_config->methods.push_back(std::move(method)), *this; }
  Given& hedge_budget(const policy::BudgetConfig& config) { return hedge_budget_config = config, *this; }
  Given& first_head_wins() { return hedge_config->cancel_on_first_terminal = true, *this; }
  /// Answers 200 "plan b" instead of what `rule` matches.
  Given& fallback(policy::FallbackConfig rule) {
    fallback_rule = rule;
    fallback_response.status = 200;
    fallback_response.body = "plan b";
    return *this;
  }
  /// Sends what `rule` matches to another upstream, with one endpoint.
  Given& fallback_upstream(policy::FallbackConfig rule) {
    fallback_rule = rule;
    fallback_rule->answer = policy::FallbackConfig::Answer::upstream;
    return *this;
  }
  Given& fallback_stale(policy::FallbackConfig rule) {
    fallback_rule = rule;
    fallback_rule->answer = policy::FallbackConfig::Answer::stale;
    return *this;
  }
  /// Keeps answers of 200 for `ttl`; the request asks for `key`.
  Given& cache(Nanos ttl, Nanos stale_if_error = 0s, std::string_view key = "k") {
    cache_config.emplace();
    cache_config->ttl = ttl;
    cache_config->stale_if_error = stale_if_error;
    cache_config->statuses.insert(200, 200);
    facts.cache = exchange::CacheFacts{key, CacheDemand{}};
    return *this;
  }
  /// The route answers by itself.
  Given& respond(std::uint16_t status) { return own_status = status, *this; }
  Given& chaos(policy::ChaosConfig config) {
    chaos_config = config;
    facts.chaos = true;
    return *this;
  }
  Given& observes() { return only_observes = true, *this; }
  Given& budget(const policy::BudgetConfig& config, double cost = 1) {
    return budget_config = config, budget_cost = cost, *this;
  }
};

/// No retry block.
inline Given plain() { return {}; }

/// A retry block with a fixed back-off of 100 ms and no limit per attempt.
inline Given retrying(std::uint32_t max_attempts) {
  Given given;
  given.retry().max_attempts = max_attempts;
  given.backoff(100ms);
  return given;
}

/// A budget that never admits an extra attempt.
inline policy::BudgetConfig no_extras() {
  return {.type = policy::BudgetType::window, .max_rate = 0, .min_per_second = 0};
}

// ---- the script -----------------------------------------------------------------------------

class Script {
 public:
  using Where = std::source_location;

  explicit Script(const Given& given) : given_(given), states_(new policy::EndpointState[given.endpoint_count]) {
    for (std::size_t i = 0; i < given.endpoint_count; ++i) {
      set_.endpoints.push_back({.address = "127.0.0.1:" + std::to_string(9000 + i), .state = &states_[i]});
      ++set_.total_weight;
    }
    given_.upstream.endpoints = &set_;
    if (given_.few_connections) {
      given_.upstream.slots = &slots_;
      slots_.set_limit(given_.upstream.max_connections);
      for (std::size_t i = 0; i < given.endpoint_count; ++i) states_[i].slots = &slots_;
    }
    if (given_.outlier_config) given_.upstream.outlier = &*given_.outlier_config;
    given_.upstream.ejections = &ejections_;
    local_.cursors.resize(2);
    plan_.policy = &given_.policy;
    if (given_.own_status) {
      plan_.respond.status = *given_.own_status;
    } else {
      plan_.upstream = &given_.upstream;
    }
    if (given_.budget_config) {
      budget_.emplace(*given_.budget_config, 1);
      plan_.budget = {.name = "b", .config = &*given_.budget_config, .state = &*budget_, .cost = given_.budget_cost};
    }
    if (given_.hedge_config) {
      trigger_.emplace(*given_.hedge_config, 1);
      plan_.hedge = {.config = &*given_.hedge_config, .trigger = &*trigger_, .budget = plan_.budget};
      if (given_.hedge_budget_config) {
        hedge_budget_.emplace(*given_.hedge_budget_config, 1);
        plan_.hedge.budget = {.name = "h", .config = &*given_.hedge_budget_config, .state = &*hedge_budget_};
      }
    }
    for (const policy::CircuitConfig& config : given_.circuits) {
      exchange::CircuitRef& ref = plan_.circuits.emplace_back();
      ref.name = "c";
      ref.config = &config;
      const bool each = config.scope == policy::CircuitScope::endpoint;
      for (std::size_t i = 0; i < (each ? given_.endpoint_count : 1); ++i) {
        circuits_.push_back(std::make_unique<policy::CircuitBreaker>(config));
        if (each) ref.by_endpoint.push_back(circuits_.back().get());
      }
      if (!each) ref.state = circuits_.back().get();
    }
    for (const policy::RateLimitConfig& config : given_.rate_limits) {
      exchange::RateLimitRef& ref = plan_.rate_limits.emplace_back();
      ref.name = "r";
      ref.config = &config;
      if (config.key == policy::RateLimitConfig::Key::policy) {
        rate_limits_.push_back(std::make_unique<policy::RateLimit>(config));
        ref.state = rate_limits_.back().get();
      } else {
        keyed_limits_.push_back(std::make_unique<policy::KeyedRateLimit>(config, 1));
        ref.keyed = keyed_limits_.back().get();
      }
    }
    for (const policy::BulkheadConfig& config : given_.bulkheads) {
      bulkheads_.push_back(std::make_unique<policy::Bulkhead>(wakeups_));
      plan_.bulkheads.push_back({.name = "b", .config = &config, .state = bulkheads_.back().get()});
    }
    if (given_.adaptive) {
      adaptive_.emplace(*given_.adaptive, wakeups_, 1);
      plan_.adaptive_limit = {.name = "a", .config = &*given_.adaptive, .state = &*adaptive_};
    }
    if (given_.throttle) {
      throttle_.emplace(*given_.throttle);
      plan_.throttle = {.name = "t", .config = &*given_.throttle, .state = &*throttle_};
    }
    if (!given_.classifier.empty()) plan_.classifier = &given_.classifier;
    if (given_.fallback_rule) {
      elsewhere_.name = "elsewhere";
      elsewhere_.id = static_cast<policy::UpstreamId>(1);
      elsewhere_.endpoints = &elsewhere_set_;
      elsewhere_set_.endpoints.push_back({.address = "127.0.0.1:9900", .state = &elsewhere_state_});
      elsewhere_set_.total_weight = 1;
      plan_.fallback = {&*given_.fallback_rule, given_.fallback_response, &elsewhere_};
    }
    if (given_.cache_config) {
      cache_.emplace(wakeups_, memory_, 1);
      plan_.cache = {.name = "k", .config = &*given_.cache_config, .state = &*cache_};
    }
    if (given_.chaos_config) {
      chaos_.emplace();
      plan_.chaos.config = &*given_.chaos_config;
      plan_.chaos.state = &*chaos_;
      if (given_.chaos_config->abort) plan_.chaos.answer.status = given_.chaos_config->abort->status;
    }
    plan_.observes = given_.only_observes;
    ledger_.emplace(set_.endpoints.size());
    if (budget_) ledger_->add(*budget_, *given_.budget_config);
    if (hedge_budget_) ledger_->add(*hedge_budget_, *given_.hedge_budget_config);
    check_.emplace(plan_, given_.facts, timeline_, *ledger_);
    exchange_.emplace(plan_, given_.facts, local_, timeline_);
  }

  ~Script() {
    if (!exchange_->finished()) return;
    CHECK(in_flight() == 0);
    CHECK(slots_.queued() == 0);
    CHECK(extras() == 0);
    CHECK(requests_in_loop() == 0);
    for (const auto& bulkhead : bulkheads_) CHECK((bulkhead->in_flight() == 0 && bulkhead->queued() == 0));
    if (adaptive_) CHECK((adaptive_->in_flight() == 0 && adaptive_->queued() == 0));
    CHECK(elsewhere_state_.in_flight.load() == 0);
    if (cache_) CHECK(cache_->waiting() == 0);
    for (const auto& circuit : circuits_) CHECK(circuit->probes_out() == 0);
    CHECK(exchange_->wakeup() == kNever);
  }
  Script(const Script&) = delete;
  Script& operator=(const Script&) = delete;

  /// Feeds one fact at `when` after the start and compares the orders.
  void at(Nanos when, const exchange::Event& fact, std::string_view expected, Where where = Where::current()) {
    const exchange::Actions orders = feed(when, fact, where);
    equal("orders", when, fact, show(orders), expected, where);
  }

  /// Feeds one fact whose orders the test does not know beforehand.
  exchange::Actions orders_of(Nanos when, const exchange::Event& fact, Where where = Where::current()) {
    return feed(when, fact, where);
  }

  /// Feeds `ready` and lets attempt 0 connect and send at once, without a look at the orders.
  void begin(Where where = Where::current()) {
    feed(0ms, ready(), where);
    send(0ms, 0, where);
  }
  /// Lets an attempt connect and send its request wholly.
  void send(Nanos when, int attempt, Where where = Where::current()) {
    feed(when, connected(attempt), where);
    feed(when, sent(attempt), where);
  }
  /// The answer reaches the client, and the exchange ends.
  void finish(Nanos when, Where where = Where::current()) {
    feed(when, delivered(), where);
    if (!exchange_->finished()) fail(where, "not finished after delivery");
  }

  void wakeup_is(Nanos when, Where where = Where::current()) {
    const TimePoint expected = when == kForever ? kNever : kStart + when;
    if (exchange_->wakeup() != expected) {
      fail(where, "wakes at " + show(exchange_->wakeup() - kStart) + " ms, expected " + show(when));
    }
  }
  void attempts_are(std::string_view expected, Where where = Where::current()) {
    equal("attempts", show_attempts(timeline_), expected, where);
  }
  void decisions_are(std::string_view expected, Where where = Where::current()) {
    equal("decisions", show_decisions(timeline_), expected, where);
  }
  void ends(std::string_view expected, Where where = Where::current()) {
    if (!exchange_->finished()) return fail(where, "not finished");
    equal("ending", show_ending(timeline_), expected, where);
  }

  std::optional<Reason> stop_reason() const { return timeline_.stop_reason; }
  bool finished() const { return exchange_->finished(); }
  std::int64_t in_flight() const {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < given_.endpoint_count; ++i) sum += states_[i].in_flight.load();
    return sum;
  }
  std::int64_t extras() const { return budget_ ? budget_->extras_in_flight() : 0; }
  std::int64_t requests_in_loop() const { return budget_ ? budget_->requests_in_flight() : 0; }
  policy::Budget& budget() { return *budget_; }
  policy::Budget& hedge_budget() { return *hedge_budget_; }
  policy::CircuitBreaker& circuit(std::size_t index = 0) { return *circuits_[index]; }
  policy::HedgeTrigger& trigger() { return *trigger_; }
  policy::EndpointState& endpoint(std::size_t index) { return states_[index]; }
  policy::ConnectionSlots& slots() { return slots_; }
  const policy::EndpointSet& endpoints() const { return set_; }
  std::uint64_t ejections() const { return ejections_.ejections(); }
  bool ejected(std::size_t index, Nanos when) const { return policy::is_ejected(states_[index], kStart + when); }
  /// Takes a connection as another request would.
  policy::EndpointPermit take_connection(std::size_t index) {
    return states_[index].try_enter(given_.upstream.max_connections);
  }
  policy::Bulkhead& bulkhead(std::size_t index = 0) { return *bulkheads_[index]; }
  policy::RateLimit& rate_limit(std::size_t index = 0) { return *rate_limits_[index]; }
  policy::AdaptiveLimit& adaptive() { return *adaptive_; }
  /// The share of requests that the throttle refuses at that time.
  double rejection(Nanos when) const { return throttle_->rejection(*given_.throttle, kStart + when); }
  /// Other requests fail, so many that the throttle refuses everything but one in as many.
  void others_fail(Nanos when, int count) {
    for (int i = 0; i < count; ++i) throttle_->settle(*given_.throttle, false, kStart + when);
  }
  /// The permits that a rate limit has left at that time.
  std::uint32_t permits_left(Nanos when, std::size_t index = 0) const {
    return rate_limits_[index]->view(given_.rate_limits[index], kStart + when).remaining;
  }
  /// The trigger's delay at that time, as it is worked out anew.
  std::optional<Nanos> hedge_delay(Nanos when) { return trigger_->delay(*given_.hedge_config, kStart + when); }
  /// What differs from here on, for the requests after `again`.
  exchange::RequestFacts& facts() { return given_.facts; }
  /// Takes a place as another request would.
  policy::GatePermit take_place(std::size_t index = 0) {
    return bulkheads_[index]->admit(given_.bulkheads[index], Priority::critical, nullptr).permit;
  }
  policy::GatePermit take_adaptive_place() {
    return adaptive_->admit(*given_.adaptive, Priority::critical, nullptr).permit;
  }
  /// Waits for a place as another request would.
  policy::GateAnswer join_queue(policy::GateWaiter& waiter, Priority priority) {
    return bulkheads_[0]->admit(given_.bulkheads[0], priority, &waiter).answer;
  }
  std::size_t woken() const { return wakeups_.tickets.size(); }
  policy::Cache& cache() { return *cache_; }
  /// Asks the cache what this request asks it, as another request would.
  policy::CacheAnswer ask_cache(Nanos when, policy::CacheWaiter* waiter = nullptr) {
    const policy::CacheRequest request{.method = given_.facts.method,
                                       .key = given_.facts.cache->key,
                                       .fields = given_.facts.cache->fields,
                                       .demand = *given_.facts.cache->demand};
    return cache_->lookup(*given_.cache_config, request, waiter, kStart + when);
  }
  /// The answer of another request arrives, with this head and an empty body.
  bool store(policy::CacheFill& fill, Nanos when, const policy::CacheHead& head = stored_head()) {
    const bool stores = fill.begin(*given_.cache_config, head, kStart + when);
    if (stores) fill.finish(*given_.cache_config, true, kStart + when);
    return stores;
  }
  void give_up(policy::CacheFill& fill, Nanos when) { fill.give_up(*given_.cache_config, kStart + when); }
  static policy::CacheHead stored_head() { return {.status = 200, .terms = {.storable = true}, .length = 0}; }
  /// From now on answers are still arriving when they are relayed, so that none is stored.
  void answers_keep_coming() { stores_ = false; }
  /// How many faults the experiment has been asked for.
  std::uint64_t chaos_rolls() const { return chaos_->rolls(); }
  /// The upstream of the fallback has no endpoint.
  void empty_elsewhere() { elsewhere_set_ = {}; }
  /// The next request of the same policy, on the same states.
  void again() { again(given_.facts); }
  void again(const exchange::RequestFacts& facts) {
    given_.facts = facts;
    exchange_.reset();
    timeline_.reset();
    check_.emplace(plan_, given_.facts, timeline_, *ledger_);
    exchange_.emplace(plan_, given_.facts, local_, timeline_);
  }
  const exchange::Timeline& timeline() const { return timeline_; }
  /// What the attempt started last was told of the deadline.
  std::optional<Nanos> forwarded() const { return forwarded_; }
  /// Drops the exchange as it is, as a crash of the edge would.
  void abandon() {
    exchange_.reset();
    CHECK(in_flight() == 0);
    CHECK(extras() == 0);
    CHECK(requests_in_loop() == 0);
    exchange_.emplace(plan_, given_.facts, local_, timeline_);
  }

 private:
  static constexpr TimePoint kStart{1h};

  exchange::Actions feed(Nanos when, const exchange::Event& fact, Where where) {
    exchange::Actions orders;
    exchange_->on(kStart + when, fact, orders);
    for (const exchange::Action& order : orders) {
      if (const auto* start = std::get_if<exchange::StartAttempt>(&order)) forwarded_ = start->forward;
      if (const auto* kept = std::get_if<exchange::StoreResponse>(&order); kept != nullptr && stores_) {
        policy::CacheHead head = stored_head();
        head.status = timeline_.attempts[exchange::index(kept->id)].status;
        store(*kept->fill, when, head);
      }
    }
    std::string broken = check_->observe(kStart + when, fact, orders, *exchange_);
    if (broken.empty()) broken = ledger_->compare(set_);
    if (!broken.empty()) fail(where, "at " + show(when) + " ms, " + show(fact) + ": " + broken);
    return orders;
  }
  void equal(std::string_view what, Nanos when, const exchange::Event& fact, const std::string& is,
             std::string_view expected, Where where) {
    equal("at " + show(when) + " ms, " + show(fact) + ": " + std::string{what}, is, expected, where);
  }
  void equal(std::string_view what, const std::string& is, std::string_view expected, Where where) {
    if (is != expected)
      fail(where, std::string{what} + "\n    are      " + is + "\n    expected " + std::string{expected});
    CHECK_MESSAGE(true, "counted");
  }
  static void fail(Where where, const std::string& what) {
    ADD_FAIL_CHECK_AT(where.file_name(), static_cast<int>(where.line()), what);
  }

  Given given_;
  std::unique_ptr<policy::EndpointState[]> states_;
  policy::EndpointSet set_;
  std::optional<policy::Budget> budget_;
  std::optional<policy::HedgeTrigger> trigger_;
  std::optional<policy::Budget> hedge_budget_;
  std::vector<std::unique_ptr<policy::CircuitBreaker>> circuits_;
  /// Notes who is woken.
  struct Woken final : Wakeups {
    void wake(const Ticket& ticket) noexcept override { tickets.push_back(ticket); }
    std::vector<Ticket> tickets;
  };
  Woken wakeups_;
  policy::ConnectionSlots slots_{wakeups_};
  policy::OutlierDetection ejections_;
  /// As much as is asked for.
  struct Memory final : policy::CacheMemory {
    bool take(std::uint64_t) noexcept override { return true; }
    void give_back(std::uint64_t) noexcept override {}
  };
  Memory memory_;
  exchange::Upstream elsewhere_;
  policy::EndpointSet elsewhere_set_;
  policy::EndpointState elsewhere_state_;
  std::optional<policy::Cache> cache_;
  std::optional<policy::Chaos> chaos_;
  std::vector<std::unique_ptr<policy::RateLimit>> rate_limits_;
  std::vector<std::unique_ptr<policy::KeyedRateLimit>> keyed_limits_;
  std::vector<std::unique_ptr<policy::Bulkhead>> bulkheads_;
  std::optional<policy::AdaptiveLimit> adaptive_;
  std::optional<policy::AdaptiveThrottle> throttle_;
  exchange::Plan plan_;
  exchange::WorkerLocal local_;
  exchange::Timeline timeline_;
  std::optional<Ledger> ledger_;
  std::optional<ExchangeCheck> check_;
  std::optional<exchange::Exchange> exchange_;
  std::optional<Nanos> forwarded_;
  bool stores_ = true;
};

}  // namespace outrigger::test
