#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "proxy/config/scalars.hpp"
#include "proxy/config/validate.hpp"

namespace outrigger::config {
namespace {

using policy::AdaptiveLimitConfig;
using policy::CircuitConfig;

/// Whether it stands for one address, not for all that a name resolves to.
bool is_numeric(const HostPort& address) {
  return !address.path.empty() || address.host.find(':') != std::string::npos ||
         address.host.find_first_not_of("0123456789.") == std::string::npos;
}

bool is_off(Nanos limit) { return limit.count() == 0; }

/// Where the numbers of an instance stand.
template <class Ref>
std::string path_of(const Ref& ref, std::string_view map) {
  return ref.kind == Ref::Kind::inline_ ? ref.path : join_path(std::string(map), ref.name);
}

/// One instance, whoever refers to it.
class InstanceChecks {
 public:
  explicit InstanceChecks(Findings& findings) : findings_(findings) {}

  void check(const CircuitConfig& circuit, const std::string& path) {
    if (circuit.max_cooldown < circuit.cooldown) {
      const bool given = findings_.has(path + ".max_cooldown");
      findings_.error_at(path + (given ? ".max_cooldown" : ".cooldown"),
                         "max_cooldown (" + format_duration(circuit.max_cooldown) + ") must not be below cooldown (" +
                             format_duration(circuit.cooldown) + ")");
    }
    if (circuit.trip == CircuitConfig::Trip::rate_by_calls && circuit.minimum_calls > circuit.window_calls) {
      const bool given = findings_.has(path + ".minimum_calls");
      findings_.error_at(path + (given ? ".minimum_calls" : ".window_calls"),
                         "minimum_calls (" + std::to_string(circuit.minimum_calls) +
                             ") must not be above window_calls (" + std::to_string(circuit.window_calls) + ")");
    }
    if (circuit.scope == policy::CircuitScope::endpoint && circuit.counts == policy::Counts::request) {
      findings_.error_at(path + ".scope", "a circuit of endpoints counts attempts: a request has no endpoint yet");
    }
    check_window(circuit, path);
  }

  void check(const policy::RateLimitConfig&, const std::string&) {}

  void check(const policy::BulkheadConfig& bulkhead, const std::string& path) {
    check_queue(bulkhead.max_queue, bulkhead.max_wait, path, "max_queue", policy::BulkheadConfig{}.max_wait);
  }

  void check(const AdaptiveLimitConfig& limit, const std::string& path) {
    check_order(path, "min", limit.min, "initial", limit.initial);
    check_order(path, "initial", limit.initial, "max", limit.max);
    if (limit.gradient.window_max < limit.gradient.window_min) {
      findings_.error_at(path + ".gradient.window", "max (" + format_duration(limit.gradient.window_max) +
                                                        ") must not be below min (" +
                                                        format_duration(limit.gradient.window_min) + ")");
    }
    check_queue(limit.queue, limit.max_wait, path, "queue", AdaptiveLimitConfig{}.max_wait);
    const bool aimd = limit.algorithm == AdaptiveLimitConfig::Algorithm::aimd;
    const std::string other = path + (aimd ? ".gradient" : ".aimd");
    if (findings_.has(other)) {
      findings_.warning_at(other, std::string("has no effect: the algorithm is ") + (aimd ? "aimd" : "gradient"));
    }
  }

  void check(const policy::AdaptiveThrottleConfig&, const std::string&) {}

 private:
  void check_window(const CircuitConfig& circuit, const std::string& path) {
    if (circuit.trip != CircuitConfig::Trip::consecutive) return;
    constexpr std::array<std::string_view, 3> kOfRates = {"minimum_calls", "window", "window_calls"};
    for (const std::string_view key : kOfRates) {
      const std::string at = join_path(path, key);
      if (!findings_.has(at)) continue;
      if (!circuit.slow_call) {
        findings_.warning_at(at, "has no effect without failure_rate or slow_call");
      } else if (key == "window_calls") {
        findings_.warning_at(at, "has no effect: beside consecutive_failures slow calls are counted over window");
      }
    }
  }

  void check_order(const std::string& path, std::string_view low, std::uint32_t low_value, std::string_view high,
                   std::uint32_t high_value) {
    if (low_value <= high_value) return;
    const bool given = findings_.has(join_path(path, high));
    findings_.error_at(join_path(path, given ? high : low), std::string(high) + " (" + std::to_string(high_value) +
                                                                ") must not be below " + std::string(low) + " (" +
                                                                std::to_string(low_value) + ")");
  }

  void check_queue(std::uint32_t queue, Nanos max_wait, const std::string& path, std::string_view queue_key,
                   Nanos default_wait) {
    const std::string wait_path = path + ".max_wait";
    if (queue > 0 && is_off(max_wait)) {
      findings_.warning_at(join_path(path, queue_key), "nobody waits: max_wait is 0");
    } else if (queue == 0 && !is_off(max_wait) && max_wait != default_wait) {
      findings_.warning_at(wait_path, "nobody waits: " + std::string(queue_key) + " is 0");
    }
  }

  Findings& findings_;
};

/// One pass over the policies; its members are the rules, block by block.
class PolicyChecks {
 public:
  PolicyChecks(const Config& config, Findings& findings) : config_(config), findings_(findings), instances_(findings) {}

  void run() {
    for (const auto& [key, policy] : config_.policies) check_policy(policy, join_path("policies", key));
    check_named(config_.circuits, "circuits", "circuit", used_by(&PolicyConfig::circuits));
    check_named(config_.rate_limits, "rate_limits", "rate limit", used_by(&PolicyConfig::rate_limits));
    check_named(config_.bulkheads, "bulkheads", "bulkhead", used_by(&PolicyConfig::bulkheads));
    check_named(config_.adaptive_limits, "adaptive_limits", "adaptive limit", used_by(&PolicyConfig::adaptive_limit));
    check_named(config_.adaptive_throttles, "adaptive_throttles", "adaptive throttle",
                used_by(&PolicyConfig::adaptive_throttle));
    check_unused_budgets();
    check_unused_classifiers();
  }

 private:
  void error(const std::string& path, std::string message, std::string hint = "") {
    findings_.error_at(path, std::move(message), std::move(hint));
  }
  void warning(const std::string& path, std::string message, std::string hint = "") {
    findings_.warning_at(path, std::move(message), std::move(hint));
  }

  void check_policy(const PolicyConfig& config, const std::string& path) {
    const policy::Policy& policy = config.policy;
    if (!findings_.sound(path)) return;
    const Nanos overall = policy.overall_timeout;
    if (!is_off(overall) && policy.deadline.min_remaining >= overall) {
      warning(path + ".deadline.min_remaining",
              "not below overall_timeout (" + format_duration(overall) + "): every request is refused");
    }
    if (overall > policy.max_duration && !is_off(policy.max_duration)) {
      warning(path + ".max_duration", "below overall_timeout (" + format_duration(overall) + "), which never acts");
    }
    if (policy.retry) check_retry(config, path + ".retry");
    if (config.hedge) check_hedge(config, path + ".hedge");
    check_instances(config);
    if (config.fallback) check_fallback(config, path + ".fallback");
    if (config.cache) check_cache(*config.cache, path + ".cache");
    if (config.chaos && !config.chaos->chaos.delay && !config.chaos->chaos.abort) {
      warning(path + ".chaos", "does nothing: it has neither delay nor abort");
    }
  }

  // ---- retry and hedge ---------------------------------------------------------------------

  void check_retry(const PolicyConfig& config, const std::string& path) {
    const policy::RetryConfig& retry = *config.policy.retry;
    if (retry.backoff.max < retry.backoff.initial) {
      const bool given = findings_.has(path + ".max_backoff");
      error(path + (given ? ".max_backoff" : ".initial_backoff"), "max_backoff (" + format_duration(retry.backoff.max) +
                                                                      ") must not be below initial_backoff (" +
                                                                      format_duration(retry.backoff.initial) + ")");
    }
    check_attempt_time(config.policy, path);
    if (retry.max_attempts > 1) {
      check_budget_is_on(config.retry_budget, path, "an outage is answered with ", retry.max_attempts);
    }
    check_own_name(config.retry_budget, config, config_.budgets, "budgets", "budget", path + ".budget");
  }

  void check_attempt_time(const policy::Policy& policy, const std::string& path) {
    const Nanos each = policy.retry->timeout_per_attempt;
    const Nanos overall = policy.overall_timeout;
    if (is_off(each) || is_off(overall)) return;
    const std::uint32_t attempts = policy.retry->max_attempts;
    if (each >= overall) {
      warning(path + ".timeout_per_attempt", "not below overall_timeout (" + format_duration(overall) +
                                                 "): a slow first attempt leaves no time for another");
    } else if (each * attempts > overall) {
      warning(path + ".timeout_per_attempt", std::to_string(attempts) + " attempts of " + format_duration(each) +
                                                 " do not fit overall_timeout (" + format_duration(overall) +
                                                 "): not all may happen");
    }
  }

  void check_budget_is_on(const BudgetRef& budget, const std::string& path, const std::string& what,
                          std::uint32_t times) {
    if (budget.config.type != policy::BudgetType::unlimited) return;
    warning(path + ".budget", "the budget is switched off: " + what + std::to_string(times) + " times the load");
  }

  void check_hedge(const PolicyConfig& config, const std::string& path) {
    const policy::HedgeConfig& hedge = *config.hedge;
    if (hedge.max_delay < hedge.min_delay) {
      const bool given = findings_.has(path + ".max_delay");
      error(path + (given ? ".max_delay" : ".min_delay"), "max_delay (" + format_duration(hedge.max_delay) +
                                                              ") must not be below min_delay (" +
                                                              format_duration(hedge.min_delay) + ")");
    }
    check_hedge_delay(config, path);
    check_hedge_methods(hedge, path + ".methods");
    check_hedge_endpoints(config, path);
    check_budget_is_on(config.hedge_budget, path, "a slow upstream is answered with ", hedge.max_hedges + 1);
    if (findings_.has(path + ".budget")) {
      check_own_name(config.hedge_budget, config, config_.budgets, "budgets", "budget", path + ".budget");
    }
  }

  void check_hedge_delay(const PolicyConfig& config, const std::string& path) {
    const policy::HedgeConfig& hedge = *config.hedge;
    const Nanos overall = config.policy.overall_timeout;
    if (hedge.delay && !is_off(overall) && *hedge.delay >= overall) {
      warning(path + ".delay", "not below overall_timeout (" + format_duration(overall) + "): no hedge is ever sent");
    }
    if (hedge.quantile) return;
    constexpr std::array<std::string_view, 4> kOfTrigger = {"min_samples", "window", "min_delay", "max_delay"};
    for (const std::string_view key : kOfTrigger) {
      const std::string at = join_path(path, key);
      if (findings_.has(at)) warning(at, "has no effect without trigger: the delay is fixed");
    }
  }

  void check_hedge_methods(const policy::HedgeConfig& hedge, const std::string& path) {
    if (hedge.methods.empty()) warning(path, "no methods: nothing is hedged");
    for (std::size_t i = 0; i < hedge.methods.size(); ++i) {
      const std::string& method = hedge.methods[i];
      if (method == "GET" || method == "HEAD" || method == "OPTIONS") continue;
      warning(path + "[" + std::to_string(i) + "]", "a hedged " + method + " is executed twice");
    }
  }

  void check_hedge_endpoints(const PolicyConfig& config, const std::string& path) {
    for (const UpstreamConfig& upstream : config_.upstreams) {
      if (upstream.endpoints.size() != 1 || !is_numeric(upstream.endpoints[0].address)) continue;
      if (!is_routed(config.policy.key, upstream.name)) continue;
      warning(path, "upstream " + upstream.name + " has one endpoint: a hedge goes where the first attempt waits");
    }
  }

  bool is_routed(const std::string& policy, const std::string& upstream) const {
    return std::any_of(config_.routes.begin(), config_.routes.end(),
                       [&](const RouteConfig& route) { return route.policy == policy && route.upstream == upstream; });
  }

  // ---- circuits and limits -----------------------------------------------------------------

  void check_instances(const PolicyConfig& config) {
    check_own(config.circuits, config, config_.circuits, "circuits", "circuit");
    check_own(config.rate_limits, config, config_.rate_limits, "rate_limits", "rate limit");
    check_own(config.bulkheads, config, config_.bulkheads, "bulkheads", "bulkhead");
    check_own(config.adaptive_limit, config, config_.adaptive_limits, "adaptive_limits", "adaptive limit");
    check_own(config.adaptive_throttle, config, config_.adaptive_throttles, "adaptive_throttles", "adaptive throttle");
    for (const CircuitRef& ref : config.circuits) check_circuit_times(config, ref);
    for (const RateLimitRef& ref : config.rate_limits) {
      check_wait(config, ref.config.max_wait, path_of(ref, "rate_limits"));
    }
    for (const BulkheadRef& ref : config.bulkheads) {
      if (ref.config.max_queue > 0) check_wait(config, ref.config.max_wait, path_of(ref, "bulkheads"));
    }
    if (const auto& ref = config.adaptive_limit; ref && ref->config.queue > 0) {
      check_wait(config, ref->config.max_wait, path_of(*ref, "adaptive_limits"));
    }
  }

  template <class Ref, class Named>
  void check_own(const std::vector<Ref>& refs, const PolicyConfig& config, const Named& named, std::string_view map,
                 std::string_view noun) {
    for (const Ref& ref : refs) check_own(std::optional(ref), config, named, map, noun);
  }

  template <class Ref, class Named>
  void check_own(const std::optional<Ref>& ref, const PolicyConfig& config, const Named& named, std::string_view map,
                 std::string_view noun) {
    if (!ref || ref->kind != Ref::Kind::inline_) return;
    check_own_name(*ref, config, named, map, noun, ref->path);
    instances_.check(ref->config, ref->path);
  }

  template <class Ref, class Named>
  void check_own_name(const Ref& ref, const PolicyConfig& config, const Named& named, std::string_view map,
                      std::string_view noun, const std::string& path) {
    if (ref.kind != Ref::Kind::inline_ || !named.contains(ref.name)) return;
    const std::string article = noun.starts_with('a') ? "an " : "a ";
    const std::string name = ref.name == config.policy.key ? "of this policy" : "\"" + ref.name + "\"";
    error(path,
          article + std::string(noun) + " in " + std::string(map) + " has the name " + name +
              ", which is that of its own " + std::string(noun) + ", too",
          "defined at " + to_string(findings_.place_of(join_path(std::string(map), ref.name))));
  }

  void check_circuit_times(const PolicyConfig& config, const CircuitRef& ref) {
    const Nanos each = config.policy.retry ? config.policy.retry->timeout_per_attempt : Nanos{0};
    if (is_off(each) || ref.config.counts != policy::Counts::attempt) return;
    const std::string path = path_of(ref, "circuits");
    const std::string limit = "timeout_per_attempt (" + format_duration(each) + ") of " + config.policy.key;
    if (!is_off(ref.config.probe_timeout) && ref.config.probe_timeout < each) {
      warning(path + ".half_open.probe_timeout", "below " + limit + ": a probe fails before its attempt does");
    }
    if (ref.config.slow_call && ref.config.slow_call->threshold >= each) {
      warning(path + ".slow_call.threshold", "not below " + limit + ": an attempt is given up before it is slow");
    }
  }

  void check_wait(const PolicyConfig& config, Nanos max_wait, const std::string& path) {
    const Nanos overall = config.policy.overall_timeout;
    if (is_off(max_wait) || is_off(overall) || max_wait < overall) return;
    warning(path + ".max_wait", "not below overall_timeout (" + format_duration(overall) + ") of " + config.policy.key +
                                    ", which ends the wait first");
  }

  // ---- fallback and cache ------------------------------------------------------------------

  void check_fallback(const PolicyConfig& config, const std::string& path) {
    using Answer = policy::FallbackConfig::Answer;
    const FallbackBlock& fallback = *config.fallback;
    if (fallback.rule.answer == Answer::upstream) {
      if (fallback.rule.reasons.contains(Reason::overall_timeout)) {
        warning(path + ".when", "after overall_timeout no time is left for an attempt at " + fallback.upstream);
      }
      if (is_routed(config.policy.key, fallback.upstream)) {
        warning(path + ".upstream", "the requests of this policy go to " + fallback.upstream + " anyway");
      }
    }
    if (fallback.rule.answer == Answer::stale && (!config.cache || is_off(config.cache->stale_if_error))) {
      warning(path + ".stale", "there is nothing stale to send without a cache that has stale_if_error");
    }
  }

  void check_cache(const policy::CacheConfig& cache, const std::string& path) {
    if (cache.max_object_bytes > cache.max_bytes) {
      const bool given = findings_.has(path + ".max_object");
      error(path + (given ? ".max_object" : ".max_bytes"), "max_object (" + format_size(cache.max_object_bytes) +
                                                               ") must not be above max_bytes (" +
                                                               format_size(cache.max_bytes) + ")");
    }
    if (cache.max_bytes > config_.buffer_memory_bytes) {
      warning(path + ".max_bytes", "above limits.buffer_memory (" + format_size(config_.buffer_memory_bytes) +
                                       "), which bounds all caches together");
    }
  }

  // ---- what has a name ---------------------------------------------------------------------

  template <class Ref>
  std::set<std::string> used_by(std::vector<Ref> PolicyConfig::*refs) const {
    std::set<std::string> used;
    for (const auto& policy : config_.policies) {
      for (const Ref& ref : policy.second.*refs) used.insert(ref.name);
    }
    return used;
  }

  template <class Ref>
  std::set<std::string> used_by(std::optional<Ref> PolicyConfig::*ref) const {
    std::set<std::string> used;
    for (const auto& policy : config_.policies) {
      if (policy.second.*ref) used.insert((policy.second.*ref)->name);
    }
    return used;
  }

  template <class Named>
  void check_named(const Named& named, const std::string& map, std::string_view noun,
                   const std::set<std::string>& used) {
    for (const auto& [name, config] : named) {
      const std::string path = join_path(map, name);
      if (findings_.sound(path)) instances_.check(config, path);
      if (!used.contains(name)) warning(path, "no policy uses this " + std::string(noun));
    }
  }

  void check_unused_budgets() {
    std::set<std::string> used;
    for (const auto& policy : config_.policies) {
      used.insert(policy.second.retry_budget.name);
      if (policy.second.hedge) used.insert(policy.second.hedge_budget.name);
    }
    for (const auto& budget : config_.budgets) {
      if (!used.contains(budget.first)) warning("budgets." + budget.first, "no policy uses this budget");
    }
  }

  void check_unused_classifiers() {
    std::set<std::string> used;
    for (const auto& policy : config_.policies) used.insert(policy.second.classifier);
    for (const auto& classifier : config_.classifiers) {
      if (!used.contains(classifier.first))
        warning("classifiers." + classifier.first, "no policy uses this classifier");
    }
  }

  const Config& config_;
  Findings& findings_;
  InstanceChecks instances_;
};

}  // namespace

void check_policies(const Config& config, Findings& findings) { PolicyChecks(config, findings).run(); }

}  // namespace outrigger::config
