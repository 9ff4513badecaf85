#include "tests/fuzz/drawn_plan.hpp"

#include <algorithm>
#include <array>

namespace outrigger::fuzz {

namespace {

using namespace std::chrono_literals;
using policy::Counts;

constexpr std::array<double, 4> kRates = {0.01, 0.3, 0.5, 1};
constexpr std::array<double, 3> kChances = {0, 0.5, 1};
constexpr std::array<Nanos, 4> kShort = {1ms, 5ms, 50ms, 300ms};
constexpr std::array<Nanos, 4> kWindows = {1s, 2s, 10s, 60s};
constexpr std::array<Reason, 4> kFailures = {Reason::connect_refused, Reason::reset, Reason::attempt_timeout,
                                             Reason::protocol_error};

constexpr std::array kReplaced = {Reason::overall_timeout, Reason::attempt_timeout, Reason::connect_refused,
                                  Reason::reset,           Reason::circuit_open,    Reason::bulkhead_full,
                                  Reason::rate_limited,    Reason::throttled,       Reason::no_healthy_endpoint,
                                  Reason::budget_denied,   Reason::closed_early,    Reason::not_cached};

template <class T>
std::optional<T> perhaps(Bytes& bytes, T (*draw)(Bytes&)) {
  if (bytes.up_to(3) == 0) return std::nullopt;
  return draw(bytes);
}

template <class T>
std::vector<T> several(Bytes& bytes, T (*draw)(Bytes&)) {
  std::vector<T> all;
  for (std::uint32_t i = bytes.up_to(3); i > 0; --i) all.push_back(draw(bytes));
  return all;
}

void draw_deadline(Bytes& bytes, policy::DeadlineConfig& deadline) {
  deadline.min_remaining = bytes.one_of(kTimes);
  deadline.margin = bytes.one_of(kTimes);
  deadline.reject_invalid = bytes.flag();
}

policy::RetryConfig draw_retry(Bytes& bytes) {
  policy::RetryConfig retry;
  retry.max_attempts = 1 + bytes.up_to(9);
  retry.timeout_per_attempt = bytes.one_of(kTimes);
  retry.backoff = {.initial = bytes.one_of(kTimes),
                   .max = 6s,
                   .multiplier = 1.0 + bytes.up_to(9),
                   .jitter = bytes.value<policy::Jitter>(4)};
  retry.non_idempotent = bytes.flag();
  retry.retry_after.honor = bytes.flag();
  retry.retry_after.max = bytes.one_of(kTimes);
  retry.avoid_previous_endpoint = bytes.flag();
  return retry;
}

policy::Policy draw_policy(Bytes& bytes) {
  policy::Policy policy;
  policy.overall_timeout = bytes.one_of(kTimes);
  policy.max_duration = bytes.flag() ? bytes.one_of(kTimes) : 0ns;
  draw_deadline(bytes, policy.deadline);
  policy.retry = perhaps(bytes, draw_retry);
  return policy;
}

policy::BudgetConfig draw_budget(Bytes& bytes) {
  policy::BudgetConfig budget;
  budget.type = bytes.value<policy::BudgetType>(5);
  budget.max_rate = bytes.one_of(kRates);
  budget.min_concurrency = bytes.up_to(2);
  budget.min_per_second = bytes.up_to(3);
  budget.window = bytes.one_of(kWindows);
  budget.capacity = 1 + bytes.up_to(7);
  budget.refill_per_second = bytes.up_to(7);
  budget.retry_cost = 1;
  return budget;
}

policy::HedgeConfig draw_hedge(Bytes& bytes) {
  policy::HedgeConfig hedge;
  hedge.max_hedges = 1 + bytes.up_to(2);
  const std::uint32_t when = bytes.up_to(2);
  if (when != 1) hedge.delay = bytes.one_of(kShort);
  if (when != 0) hedge.quantile = bytes.flag() ? 0.5 : 0.95;
  hedge.min_samples = 1 + bytes.up_to(7);
  hedge.window = bytes.one_of(kWindows);
  hedge.max_delay = bytes.one_of(kShort);
  if (bytes.flag()) hedge.methods.emplace_back("POST");
  hedge.cancel_on_first_terminal = bytes.flag();
  return hedge;
}

policy::PriorityThresholds draw_priorities(Bytes& bytes) {
  constexpr std::array<policy::PriorityThresholds, 3> kLevels = {
      policy::PriorityThresholds{{1, 1, 1}}, {{0.5, 0.8, 1}}, {{0.001, 0.4, 1}}};
  return bytes.one_of(kLevels);
}

policy::RateLimitConfig draw_rate_limit(Bytes& bytes) {
  policy::RateLimitConfig limit;
  limit.requests = 1 + bytes.up_to(15);
  limit.per = bytes.one_of(std::array<Nanos, 4>{50ms, 300ms, 1s, 6s});
  limit.burst = 1 + bytes.up_to(3);
  limit.shape = bytes.value<policy::RateLimitConfig::Shape>(2);
  limit.max_wait = bytes.one_of(kTimes);
  limit.counts = bytes.value<Counts>(2);
  limit.key = bytes.value<policy::RateLimitConfig::Key>(3);
  limit.header = "X-Key";
  limit.max_keys = 1 + bytes.up_to(2);
  return limit;
}

policy::BulkheadConfig draw_bulkhead(Bytes& bytes) {
  policy::BulkheadConfig bulkhead;
  bulkhead.max_concurrent = 1 + bytes.up_to(4);
  bulkhead.max_queue = bytes.up_to(3);
  bulkhead.max_wait = bytes.one_of(kTimes);
  bulkhead.priorities = draw_priorities(bytes);
  bulkhead.counts = bytes.value<Counts>(2);
  return bulkhead;
}

policy::AdaptiveThrottleConfig draw_throttle(Bytes& bytes) {
  policy::AdaptiveThrottleConfig throttle;
  throttle.failure_rate = bytes.flag() ? 0.1 : 0;
  throttle.minimum_calls = 1 + bytes.up_to(5);
  throttle.window = bytes.one_of(kWindows);
  throttle.max_rejection = bytes.one_of(kRates);
  throttle.priorities = bytes.flag();
  return throttle;
}

policy::OutlierConfig draw_outlier(Bytes& bytes) {
  policy::OutlierConfig outlier;
  outlier.consecutive_failures = 1 + bytes.up_to(3);
  outlier.base_ejection = std::max(bytes.one_of(kTimes), Nanos{10ms});
  outlier.max_ejection = std::max(bytes.one_of(kTimes), outlier.base_ejection);
  outlier.max_ejected = bytes.up_to(2) / 2.0;
  return outlier;
}

policy::AdaptiveLimitConfig draw_adaptive(Bytes& bytes) {
  policy::AdaptiveLimitConfig limit;
  limit.algorithm = bytes.value<policy::AdaptiveLimitConfig::Algorithm>(2);
  limit.min = 1 + bytes.up_to(1);
  limit.initial = limit.min + bytes.up_to(3);
  limit.max = limit.initial + bytes.up_to(3);
  limit.queue = bytes.up_to(3);
  limit.max_wait = bytes.one_of(kTimes);
  limit.priorities = draw_priorities(bytes);
  limit.aimd.baseline_window = bytes.one_of(kWindows);
  limit.gradient.window_min = 10ms;
  limit.gradient.window_max = bytes.flag() ? 10ms : 1s;
  limit.gradient.min_samples = 1 + bytes.up_to(9);
  limit.gradient.correlation_window = 10;
  return limit;
}

policy::CircuitConfig draw_circuit(Bytes& bytes) {
  policy::CircuitConfig circuit;
  circuit.trip = bytes.value<policy::CircuitConfig::Trip>(3);
  circuit.consecutive_failures = 1 + bytes.up_to(2);
  circuit.failure_rate = bytes.one_of(kRates);
  circuit.window_calls = 1 + bytes.up_to(5);
  circuit.minimum_calls = std::min(1 + bytes.up_to(3), circuit.window_calls);
  circuit.window = bytes.one_of(kWindows);
  if (bytes.flag()) circuit.slow_call = {.threshold = bytes.one_of(kShort), .rate = bytes.one_of(kRates)};
  circuit.cooldown = bytes.one_of(std::array<Nanos, 3>{100ms, 300ms, 2s});
  circuit.max_cooldown = bytes.flag() ? 5s : circuit.cooldown;
  circuit.cooldown_jitter = bytes.flag() ? 0.5 : 0;
  circuit.cooldown_multiplier = 1.0 + bytes.up_to(9);
  circuit.max_probes = 1 + bytes.up_to(2);
  circuit.successes = 1 + bytes.up_to(2);
  circuit.probe_timeout = bytes.one_of(std::array<Nanos, 3>{0ms, 1ms, 300ms});
  circuit.counts = bytes.value<Counts>(2);
  const bool of_endpoints = bytes.flag() && circuit.counts == Counts::attempt;
  if (of_endpoints) circuit.scope = policy::CircuitScope::endpoint;
  circuit.failure_statuses.insert(500, 500);
  circuit.failure_statuses.insert(502, 504);
  return circuit;
}

policy::ClassifierRule draw_rule(Bytes& bytes) {
  policy::ClassifierRule rule;
  switch (bytes.up_to(4)) {
    case 0: {
      const auto first = static_cast<std::uint16_t>(200 + 100 * bytes.up_to(3));
      rule.status.emplace().insert(first, static_cast<std::uint16_t>(first + 99));
      break;
    }
    case 1: rule.method = bytes.flag() ? "GET" : "POST"; break;
    case 2: rule.header = {.name = "X-Odd", .equals = "1"}; break;
    case 3: rule.grpc_status = 14; break;
    default: rule.failure = bytes.one_of(kFailures); break;
  }
  rule.outcome = bytes.value<policy::Outcome>(4);
  if (bytes.flag()) rule.reason = "odd";
  return rule;
}

policy::Classifier draw_classifier(Bytes& bytes) {
  policy::Classifier rules = several(bytes, draw_rule);
  std::erase_if(rules, [](const policy::ClassifierRule& rule) { return policy::contradiction_in(rule).has_value(); });
  return rules;
}

Reason draw_replaced(Bytes& bytes) { return bytes.one_of(kReplaced); }

policy::FallbackConfig draw_fallback(Bytes& bytes) {
  policy::FallbackConfig fallback;
  for (const Reason reason : several(bytes, draw_replaced)) fallback.reasons.insert(reason);
  if (bytes.flag()) fallback.statuses.insert(500, 599);
  if (bytes.flag()) fallback.statuses.insert(404, 429);
  fallback.exhausted = bytes.flag();
  fallback.answer = bytes.value<policy::FallbackConfig::Answer>(3);
  return fallback;
}

policy::CacheConfig draw_cache(Bytes& bytes) {
  policy::CacheConfig cache;
  cache.ttl = bytes.one_of(kTimes);
  cache.max_bytes = bytes.flag() ? 1000 : 1'000'000;
  cache.max_object_bytes = bytes.flag() ? 10 : 1000;
  cache.statuses.insert(200, 200);
  if (bytes.flag()) cache.statuses.insert(404, 404);
  if (bytes.flag()) cache.vary.emplace_back("X-Key");
  cache.coalesce = !bytes.flag();
  cache.stale_if_error = bytes.one_of(kTimes);
  return cache;
}

policy::ChaosDelay draw_chaos_delay(Bytes& bytes) {
  policy::ChaosDelay delay{.probability = bytes.one_of(kChances), .min = bytes.one_of(kTimes)};
  delay.max = std::max(delay.min, bytes.one_of(kTimes));
  return delay;
}

policy::ChaosAbort draw_chaos_abort(Bytes& bytes) {
  policy::ChaosAbort abort{.probability = bytes.one_of(kChances)};
  abort.kind = bytes.value<policy::ChaosAbort::Kind>(3);
  abort.status = bytes.one_of(std::array<std::uint16_t, 4>{503, 200, 404, 429});
  return abort;
}

policy::ChaosConfig draw_chaos(Bytes& bytes) {
  policy::ChaosConfig chaos;
  chaos.seed = bytes.next();
  chaos.delay = perhaps(bytes, draw_chaos_delay);
  chaos.abort = perhaps(bytes, draw_chaos_abort);
  return chaos;
}

std::string outside(const char* what, std::uint32_t counted, std::uint32_t least, std::uint32_t most) {
  return std::string{"I4 "} + what + " counts " + std::to_string(counted) + ", it should be " + std::to_string(least) +
         ".." + std::to_string(most);
}

}  // namespace

DrawnNumbers::DrawnNumbers(Bytes& bytes)
    : policy(draw_policy(bytes)),
      endpoints(bytes.up_to(3)),
      balance(bytes.value<policy::Balance>(4)),
      connect_timeout(bytes.one_of(kShort)),
      classifier(draw_classifier(bytes)),
      budget(perhaps(bytes, draw_budget)),
      hedge_budget(perhaps(bytes, draw_budget)),
      hedge(perhaps(bytes, draw_hedge)),
      rate_limits(several(bytes, draw_rate_limit)),
      bulkheads(several(bytes, draw_bulkhead)),
      throttle(perhaps(bytes, draw_throttle)),
      adaptive(perhaps(bytes, draw_adaptive)),
      circuits(several(bytes, draw_circuit)),
      endpoints_elsewhere(bytes.up_to(2)),
      fallback(perhaps(bytes, draw_fallback)),
      cache(perhaps(bytes, draw_cache)),
      chaos(perhaps(bytes, draw_chaos)),
      observes(bytes.up_to(7) == 1),
      max_connections(bytes.up_to(3)),
      max_pending(bytes.up_to(2)),
      outlier(perhaps(bytes, draw_outlier)) {}

DrawnPlan::DrawnPlan(Bytes& bytes, Wakeups& wakeups) : numbers_(bytes) {
  plan_.policy = &numbers_.policy;
  plan_.upstream = &upstream_;
  if (!numbers_.classifier.empty()) plan_.classifier = &numbers_.classifier;
  refer_to_endpoints();
  refer_to_pool(wakeups);
  refer_to_budgets();
  refer_to_hedge();
  refer_to_circuits();
  refer_to_limits(wakeups);
  refer_to_fallback();
  refer_to_cache(wakeups);
  refer_to_chaos();
  plan_.observes = numbers_.observes;
}

void DrawnPlan::refer_to_endpoints() {
  endpoint_states_ = std::make_unique<policy::EndpointState[]>(numbers_.endpoints);
  for (std::uint32_t i = 0; i < numbers_.endpoints; ++i) {
    set_.endpoints.push_back({.address = "e" + std::to_string(i), .weight = 1 + i, .state = &endpoint_states_[i]});
    set_.total_weight += 1 + i;
  }
  upstream_ = {
      .name = "up", .balance = numbers_.balance, .connect_timeout = numbers_.connect_timeout, .endpoints = &set_};
  ledger_.emplace(numbers_.endpoints);
}

void DrawnPlan::refer_to_pool(Wakeups& wakeups) {
  upstream_.outlier = numbers_.outlier ? &*numbers_.outlier : nullptr;
  upstream_.ejections = &ejections_;
  if (numbers_.max_connections == 0) return;
  slots_.emplace(wakeups);
  upstream_.max_connections = numbers_.max_connections;
  slots_->set_limit(numbers_.max_connections);
  upstream_.max_pending = numbers_.max_pending;
  upstream_.slots = &*slots_;
  for (const policy::Endpoint& endpoint : set_.endpoints) endpoint.state->slots = &*slots_;
}

void DrawnPlan::refer_to_budgets() {
  if (numbers_.budget) {
    budget_.emplace(*numbers_.budget, kWorkers);
    ledger_->add(*budget_, *numbers_.budget);
    plan_.budget = {.name = "b", .config = &*numbers_.budget, .state = &*budget_};
  }
  plan_.hedge.budget = plan_.budget;
  if (numbers_.hedge && numbers_.hedge_budget) {
    hedge_budget_.emplace(*numbers_.hedge_budget, kWorkers);
    ledger_->add(*hedge_budget_, *numbers_.hedge_budget);
    plan_.hedge.budget = {.name = "h", .config = &*numbers_.hedge_budget, .state = &*hedge_budget_};
  }
}

void DrawnPlan::refer_to_hedge() {
  if (!numbers_.hedge) return;
  trigger_.emplace(*numbers_.hedge, kWorkers);
  plan_.hedge.config = &*numbers_.hedge;
  plan_.hedge.trigger = &*trigger_;
}

void DrawnPlan::refer_to_circuits() {
  for (const policy::CircuitConfig& config : numbers_.circuits) {
    const bool of_endpoints = config.scope == policy::CircuitScope::endpoint;
    if (of_endpoints && numbers_.endpoints == 0) continue;
    exchange::CircuitRef& ref = plan_.circuits.emplace_back();
    ref.name = "c";
    ref.config = &config;
    for (std::uint32_t i = 0; i < (of_endpoints ? numbers_.endpoints : 1); ++i) {
      circuits_.push_back({&config, std::make_unique<policy::CircuitBreaker>(config)});
      policy::CircuitBreaker* state = circuits_.back().state.get();
      if (of_endpoints) {
        ref.by_endpoint.push_back(state);
      } else {
        ref.state = state;
      }
    }
  }
}

void DrawnPlan::refer_to_limits(Wakeups& wakeups) {
  for (const policy::RateLimitConfig& config : numbers_.rate_limits) {
    exchange::RateLimitRef& ref = plan_.rate_limits.emplace_back();
    ref.name = "r";
    ref.config = &config;
    if (config.key == policy::RateLimitConfig::Key::policy) {
      ref.state = rate_limits_.emplace_back(std::make_unique<policy::RateLimit>(config)).get();
    } else {
      ref.keyed = keyed_limits_.emplace_back(std::make_unique<policy::KeyedRateLimit>(config, 1)).get();
    }
  }
  for (const policy::BulkheadConfig& config : numbers_.bulkheads) {
    bulkheads_.push_back(std::make_unique<policy::Bulkhead>(wakeups));
    plan_.bulkheads.push_back({.name = "b", .config = &config, .state = bulkheads_.back().get()});
  }
  if (numbers_.throttle) {
    throttle_.emplace(*numbers_.throttle);
    plan_.throttle = {.name = "t", .config = &*numbers_.throttle, .state = &*throttle_};
  }
  if (numbers_.adaptive) {
    adaptive_.emplace(*numbers_.adaptive, wakeups, kWorkers);
    plan_.adaptive_limit = {.name = "a", .config = &*numbers_.adaptive, .state = &*adaptive_};
    adaptive_limit_ = adaptive_->limit();
  }
}

void DrawnPlan::refer_to_fallback() {
  if (!numbers_.fallback) return;
  states_elsewhere_ = std::make_unique<policy::EndpointState[]>(numbers_.endpoints_elsewhere);
  for (std::uint32_t i = 0; i < numbers_.endpoints_elsewhere; ++i) {
    set_elsewhere_.endpoints.push_back({.address = "f" + std::to_string(i), .state = &states_elsewhere_[i]});
    ++set_elsewhere_.total_weight;
  }
  elsewhere_ = {.name = "elsewhere", .id = policy::UpstreamId{1}, .endpoints = &set_elsewhere_};
  plan_.fallback = {.config = &*numbers_.fallback, .respond = {}, .upstream = &elsewhere_};
}

void DrawnPlan::refer_to_cache(Wakeups& wakeups) {
  if (!numbers_.cache) return;
  cache_.emplace(wakeups, memory_, 1);
  plan_.cache = {.name = "k", .config = &*numbers_.cache, .state = &*cache_};
}

void DrawnPlan::refer_to_chaos() {
  if (!numbers_.chaos) return;
  chaos_.emplace();
  plan_.chaos.config = &*numbers_.chaos;
  plan_.chaos.state = &*chaos_;
  if (numbers_.chaos->abort) plan_.chaos.answer.status = numbers_.chaos->abort->status;
}

void DrawnPlan::tick(TimePoint now, Rng& rng) {
  for (const Circuit& circuit : circuits_) circuit.state->tick(*circuit.config, now, rng);
  if (slots_) slots_->offer(set_, now);
}

void DrawnPlan::disturb(Bytes& bytes, TimePoint now, Rng& rng) {
  const std::uint8_t what = bytes.next();
  if (what % 8 >= 4 || circuits_.empty()) return tick(now, rng);
  policy::CircuitBreaker& circuit = *circuits_[what / 8 % circuits_.size()].state;
  switch (what % 8) {
    case 0: return circuit.force_open();
    case 1: return circuit.force_close();
    case 2: return circuit.automatic();
    default: return circuit.reset();
  }
}

void DrawnPlan::end_forcing() {
  for (const Circuit& circuit : circuits_) circuit.state->automatic();
}

/// Limits that count attempts know those under way, and those that count requests the ones let in; beside them only
/// what requests hold that wait for something else. Who only observes goes on without a place where there was none.
std::string DrawnPlan::compare(const Held& held) {
  for (const policy::Endpoint& endpoint : set_.endpoints) {
    if (endpoint.state->in_flight > upstream_.max_connections) return "I4 more connections are in use than may be";
  }
  std::string difference = ledger_->compare(set_);
  if (!difference.empty()) return "I4 " + difference;
  for (const exchange::BulkheadRef& each : plan_.bulkheads) {
    const std::uint32_t known = each.config->counts == Counts::attempt ? held.attempts : held.requests;
    const std::uint32_t least = numbers_.observes ? 0 : known;
    const std::uint32_t most = std::min(known + held.undecided, each.config->max_concurrent);
    const std::uint32_t counted = each.state->in_flight();
    if (counted < least || counted > most) return outside("a bulkhead", counted, least, most);
    const std::uint32_t room = std::min(each.config->max_queue, held.undecided);
    if (each.state->queued() > room) return outside("a bulkhead's queue", each.state->queued(), 0, room);
  }
  for (const Circuit& circuit : circuits_) {
    // Those of requests are taken before the attempt's own limits are waited for.
    const bool by_attempt = circuit.config->counts == Counts::attempt;
    const std::uint32_t admitted = by_attempt ? held.attempts : held.requests + held.undecided;
    const std::uint32_t most = std::min(admitted, circuit.config->max_probes);
    if (circuit.state->probes_out() > most) return outside("a circuit's probes", circuit.state->probes_out(), 0, most);
  }
  const std::uint64_t waiting = cache_ ? cache_->waiting() : 0;
  if (waiting > held.undecided)
    return outside("a cache's waiters", static_cast<std::uint32_t>(waiting), 0, held.undecided);
  return compare_adaptive(held);
}

/// A limit that falls takes nothing back, so what is above it was there before.
std::string DrawnPlan::compare_adaptive(const Held& held) {
  if (!adaptive_) return {};
  const std::uint32_t limit = adaptive_->limit();
  if (limit < numbers_.adaptive->min || limit > numbers_.adaptive->max) {
    return outside("an adaptive limit", limit, numbers_.adaptive->min, numbers_.adaptive->max);
  }
  const std::uint32_t ceiling = std::max({limit, adaptive_limit_, adaptive_in_flight_});
  const std::uint32_t most = std::min(held.attempts + held.undecided, ceiling);
  const std::uint32_t least = numbers_.observes ? 0 : held.attempts;
  const std::uint32_t counted = adaptive_->in_flight();
  if (counted < least || counted > most) return outside("an adaptive limit", counted, least, most);
  const std::uint32_t room = std::min(numbers_.adaptive->queue, held.undecided);
  if (adaptive_->queued() > room) return outside("an adaptive limit's queue", adaptive_->queued(), 0, room);
  adaptive_limit_ = limit;
  adaptive_in_flight_ = counted;
  return {};
}

std::string DrawnPlan::at_rest(TimePoint now) {
  if (slots_ && slots_->queued() != 0) return "I4 somebody waits for a connection at rest";
  for (const policy::Endpoint& endpoint : set_.endpoints) {
    if (endpoint.state->in_flight != 0) return "I4 an endpoint counts attempts at rest";
  }
  for (const policy::Endpoint& endpoint : set_elsewhere_.endpoints) {
    if (endpoint.state->in_flight != 0) return "I4 an endpoint of the fallback counts attempts at rest";
  }
  if (cache_ && cache_->waiting() != 0) return "I4 somebody waits for the cache at rest";
  if (fetches(now)) return "I4 an answer is being fetched at rest";
  for (const auto& budget : {&budget_, &hedge_budget_}) {
    if (!*budget) continue;
    if ((*budget)->extras_in_flight() != 0) return "I4 a budget counts extras at rest";
    if ((*budget)->requests_in_flight() != 0) return "I4 a budget counts requests at rest";
  }
  for (const auto& bulkhead : bulkheads_) {
    if (bulkhead->in_flight() != 0 || bulkhead->queued() != 0) return "I4 a bulkhead is not empty at rest";
  }
  if (adaptive_ && (adaptive_->in_flight() != 0 || adaptive_->queued() != 0)) {
    return "I4 an adaptive limit is not empty at rest";
  }
  for (const Circuit& circuit : circuits_) {
    if (circuit.state->probes_out() != 0) return "I4 a probe is out at rest";
  }
  return {};
}

/// Nobody who asks is told to wait for an answer that is being fetched.
bool DrawnPlan::fetches(TimePoint now) {
  if (!cache_) return false;
  return std::ranges::any_of(kCacheKeys, [&](std::string_view key) {
    policy::CacheWaiter waiter;
    const policy::CacheRequest request{.method = "GET", .key = key, .fields = {}, .demand = {.no_cache = true}};
    return cache_->lookup(*numbers_.cache, request, &waiter, now).kind == policy::CacheAnswer::Kind::wait;
  });
}

std::string DrawnPlan::empty_cache() {
  if (cache_) cache_->shed(memory_.taken);
  return memory_.taken == 0 ? "" : "I4 memory is taken for answers that nobody has";
}

bool DrawnPlan::serves() const {
  const Nanos allowed = numbers_.policy.overall_timeout;
  return numbers_.endpoints != 0 && (allowed == 0ns || allowed > numbers_.policy.deadline.min_remaining);
}

}  // namespace outrigger::fuzz
