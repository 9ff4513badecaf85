#include "proxy/config/dump_blocks.hpp"
#include "proxy/config/reason_words.hpp"
#include "proxy/config/scalars.hpp"
#include "proxy/config/words.hpp"

namespace outrigger::config {
namespace {

using config::to_json;
using nlohmann::ordered_json;

ordered_json to_json(const BudgetRef& budget) {
  const bool has_cost = budget.config.type == policy::BudgetType::token_bucket;
  switch (budget.kind) {
    case BudgetRef::Kind::builtin: return "default";
    case BudgetRef::Kind::unlimited: return "none";
    case BudgetRef::Kind::named:
      if (!has_cost) return budget.name;
      return {{"name", budget.name}, {"cost", budget.cost}};
    case BudgetRef::Kind::inline_: break;
  }
  ordered_json out = to_json(budget.config);
  if (has_cost) out["cost"] = budget.cost;
  return out;
}

ordered_json to_json(const policy::DeadlineConfig& deadline) {
  const auto names = [](const std::vector<policy::DeadlineHeader>& headers) {
    ordered_json out = ordered_json::array();
    for (const policy::DeadlineHeader header : headers) out.push_back(word(header, kDeadlineHeaders));
    return out;
  };
  return {
      {"accept", names(deadline.accept)},
      {"forward", names(deadline.forward)},
      {"min_remaining", format_duration(deadline.min_remaining)},
      {"margin", format_duration(deadline.margin)},
      {"on_invalid", deadline.reject_invalid ? "reject" : "ignore"},
  };
}

ordered_json to_json(const policy::RetryConfig& retry, const PolicyConfig& config) {
  return {
      {"max_attempts", retry.max_attempts},
      {"timeout_per_attempt", format_duration(retry.timeout_per_attempt)},
      {"initial_backoff", format_duration(retry.backoff.initial)},
      {"max_backoff", format_duration(retry.backoff.max)},
      {"backoff_multiplier", retry.backoff.multiplier},
      {"jitter", word(retry.backoff.jitter, kJitters)},
      {"classifier", config.classifier},
      {"budget", to_json(config.retry_budget)},
      {"replay_buffer", format_size(retry.replay_buffer_bytes)},
      {"non_idempotent", retry.non_idempotent},
      {"idempotency_key", retry.idempotency_key},
      {"retry_after", {{"honor", retry.retry_after.honor}, {"max", format_duration(retry.retry_after.max)}}},
      {"avoid_previous_endpoint", retry.avoid_previous_endpoint},
  };
}

ordered_json to_json(const policy::HedgeConfig& hedge, const BudgetRef& budget) {
  ordered_json out = {{"max_hedges", hedge.max_hedges}};
  if (hedge.delay) out["delay"] = format_duration(*hedge.delay);
  if (hedge.quantile) {
    out["trigger"] = format_percentile(*hedge.quantile);
    out["min_samples"] = hedge.min_samples;
    out["window"] = format_duration(hedge.window);
    out["min_delay"] = format_duration(hedge.min_delay);
    out["max_delay"] = format_duration(hedge.max_delay);
  }
  out["methods"] = hedge.methods;
  out["cancel_on_first_terminal"] = hedge.cancel_on_first_terminal;
  out["budget"] = to_json(budget);
  return out;
}

template <class InstanceConfig>
ordered_json to_json(const InstanceRef<InstanceConfig>& ref) {
  if (ref.kind == InstanceRef<InstanceConfig>::Kind::named) return ref.name;
  return to_json(ref.config);
}

/// One as it is, several as a list, none not at all.
template <class Ref>
void add_refs(ordered_json& out, const char* key, const std::vector<Ref>& refs) {
  if (refs.size() == 1) out[key] = to_json(refs.front());
  if (refs.size() < 2) return;
  for (const Ref& ref : refs) out[key].push_back(to_json(ref));
}

ordered_json to_json(const policy::PriorityThresholds& thresholds) {
  ordered_json out;
  for (std::size_t i = 0; i < kPriorities; ++i) out[std::string(kPriorityNames[i])] = thresholds.fraction[i];
  return out;
}

/// Reasons and statuses in one list, as they are written.
ordered_json words_of(const policy::ReasonSet& reasons, const policy::StatusSet& statuses) {
  ordered_json out = format_reasons(reasons);
  for (const std::string& status : format_statuses(statuses)) out.push_back(status);
  return out;
}

ordered_json to_json(const FallbackBlock& fallback) {
  using Answer = policy::FallbackConfig::Answer;
  ordered_json out = {{"when", words_of(fallback.rule.reasons, fallback.rule.statuses)}};
  if (fallback.rule.exhausted) out["when"].push_back("exhausted");
  switch (fallback.rule.answer) {
    case Answer::respond: out["respond"] = to_json(fallback.respond); break;
    case Answer::upstream: out["upstream"] = fallback.upstream; break;
    case Answer::stale: out["stale"] = true; break;
  }
  return out;
}

ordered_json to_json(const policy::CacheConfig& cache) {
  return {
      {"ttl", format_duration(cache.ttl)},
      {"max_bytes", format_size(cache.max_bytes)},
      {"max_object", format_size(cache.max_object_bytes)},
      {"statuses", format_statuses(cache.statuses)},
      {"methods", cache.methods},
      {"vary", cache.vary},
      {"coalesce", cache.coalesce},
      {"stale_if_error", format_duration(cache.stale_if_error)},
  };
}

ordered_json to_json(const policy::ChaosDelay& delay) {
  ordered_json out = {{"probability", delay.probability}};
  if (delay.min == delay.max) {
    out["fixed"] = format_duration(delay.min);
  } else {
    out["min"] = format_duration(delay.min);
    out["max"] = format_duration(delay.max);
  }
  return out;
}

ordered_json to_json(const policy::ChaosAbort& abort) {
  using Kind = policy::ChaosAbort::Kind;
  ordered_json out = {{"probability", abort.probability}};
  if (abort.kind == Kind::status) {
    out["status"] = abort.status;
  } else {
    out["kind"] = word(abort.kind == Kind::truncate, kChaosKinds);
  }
  return out;
}

ordered_json to_json(const policy::ClassifierRule& rule) {
  ordered_json when = ordered_json::object();
  if (rule.status) when["status"] = format_statuses(*rule.status);
  if (rule.method) when["method"] = *rule.method;
  if (rule.header) when["header"] = {{"name", rule.header->name}, {"equals", rule.header->equals}};
  if (rule.grpc_status) when["grpc_status"] = *rule.grpc_status;
  if (rule.failure) when["failure"] = to_string(*rule.failure);
  ordered_json out = {{"when", std::move(when)}, {"outcome", word(rule.outcome, kOutcomes)}};
  if (!rule.reason.empty()) out["reason"] = rule.reason;
  return out;
}

}  // namespace

ordered_json to_json(const RespondConfig& respond) {
  ordered_json out = {{"status", respond.status}, {"headers", ordered_json::object()}};
  for (const auto& [name, value] : respond.headers) out["headers"][name] = value;
  if (respond.body_file.empty()) {
    out["body"] = respond.body;
  } else {
    out["body_file"] = respond.body_file;
  }
  return out;
}

ordered_json to_json(const policy::BudgetConfig& budget) {
  using policy::BudgetType;
  ordered_json out = {{"type", word(budget.type, kBudgetTypes)}};
  switch (budget.type) {
    case BudgetType::ratio:
      out["max_rate"] = budget.max_rate;
      out["min_concurrency"] = budget.min_concurrency;
      break;
    case BudgetType::window:
      out["max_rate"] = budget.max_rate;
      out["min_per_second"] = budget.min_per_second;
      out["window"] = format_duration(budget.window);
      break;
    case BudgetType::token_bucket:
      out["capacity"] = budget.capacity;
      out["refill_per_second"] = budget.refill_per_second;
      break;
    case BudgetType::success_credit:
      out["capacity"] = budget.capacity;
      out["retry_cost"] = budget.retry_cost;
      out["success_credit"] = budget.success_credit;
      out["min_per_second"] = budget.min_per_second;
      break;
    case BudgetType::unlimited: break;
  }
  return out;
}

/// Only what the trip rule goes by.
ordered_json to_json(const policy::CircuitConfig& circuit) {
  using Trip = policy::CircuitConfig::Trip;
  ordered_json out;
  if (circuit.trip == Trip::consecutive) {
    out["consecutive_failures"] = circuit.consecutive_failures;
  } else {
    out["failure_rate"] = circuit.failure_rate;
  }
  if (circuit.trip != Trip::consecutive || circuit.slow_call) out["minimum_calls"] = circuit.minimum_calls;
  if (circuit.trip == Trip::rate_by_calls) {
    out["window_calls"] = circuit.window_calls;
  } else if (circuit.trip == Trip::rate_by_time || circuit.slow_call) {
    out["window"] = format_duration(circuit.window);
  }
  if (circuit.slow_call) {
    out["slow_call"] = {{"threshold", format_duration(circuit.slow_call->threshold)},
                        {"rate", circuit.slow_call->rate}};
  }
  out["cooldown"] = format_duration(circuit.cooldown);
  out["cooldown_jitter"] = circuit.cooldown_jitter;
  out["cooldown_multiplier"] = circuit.cooldown_multiplier;
  out["max_cooldown"] = format_duration(circuit.max_cooldown);
  out["half_open"] = {{"max_probes", circuit.max_probes}, {"successes", circuit.successes}};
  if (circuit.probe_timeout.count() != 0) out["half_open"]["probe_timeout"] = format_duration(circuit.probe_timeout);
  out["scope"] = word(circuit.scope, kScopes);
  out["counts"] = word(circuit.counts, kCounts);
  out["failure_on"] = words_of(circuit.failure_reasons, circuit.failure_statuses);
  return out;
}

ordered_json to_json(const policy::RateLimitConfig& limit) {
  ordered_json out = {
      {"requests", limit.requests},
      {"per", format_duration(limit.per)},
      {"burst", limit.burst},
      {"shape", word(limit.shape, kRateShapes)},
      {"max_wait", format_duration(limit.max_wait)},
      {"counts", word(limit.counts, kCounts)},
  };
  if (limit.key == policy::RateLimitConfig::Key::header) {
    out["key"] = {{"header", limit.header}};
  } else {
    out["key"] = word(limit.key, kRateKeys);
  }
  out["max_keys"] = limit.max_keys;
  out["headers"] = word(limit.headers, kRateHeaders);
  return out;
}

ordered_json to_json(const policy::BulkheadConfig& bulkhead) {
  return {
      {"max_concurrent", bulkhead.max_concurrent},      {"max_queue", bulkhead.max_queue},
      {"max_wait", format_duration(bulkhead.max_wait)}, {"priorities", to_json(bulkhead.priorities)},
      {"counts", word(bulkhead.counts, kCounts)},
  };
}

/// Only what the algorithm goes by.
ordered_json to_json(const policy::AdaptiveLimitConfig& limit) {
  ordered_json out = {
      {"algorithm", word(limit.algorithm, kLimitAlgorithms)},
      {"initial", limit.initial},
      {"min", limit.min},
      {"max", limit.max},
      {"queue", limit.queue},
      {"max_wait", format_duration(limit.max_wait)},
      {"priorities", to_json(limit.priorities)},
  };
  if (limit.algorithm == policy::AdaptiveLimitConfig::Algorithm::aimd) {
    const policy::AimdConfig& aimd = limit.aimd;
    out["aimd"] = {{"tolerance", aimd.tolerance},
                   {"decrease", aimd.decrease},
                   {"increase", aimd.increase},
                   {"smoothing", aimd.smoothing},
                   {"baseline_window", format_duration(aimd.baseline_window)}};
  } else {
    const policy::GradientConfig& gradient = limit.gradient;
    out["gradient"] = {{"quantile", gradient.quantile},
                       {"window",
                        {{"min", format_duration(gradient.window_min)},
                         {"max", format_duration(gradient.window_max)},
                         {"min_samples", gradient.min_samples}}},
                       {"baseline_age", gradient.baseline_age},
                       {"correlation_window", gradient.correlation_window},
                       {"max_factor", gradient.max_factor}};
  }
  return out;
}

ordered_json to_json(const policy::AdaptiveThrottleConfig& throttle) {
  return {
      {"failure_rate", throttle.failure_rate},      {"minimum_calls", throttle.minimum_calls},
      {"window", format_duration(throttle.window)}, {"max_rejection", throttle.max_rejection},
      {"priorities", throttle.priorities},
  };
}

ordered_json to_json(const policy::Classifier& classifier) {
  ordered_json out = ordered_json::array();
  for (const policy::ClassifierRule& rule : classifier) out.push_back(to_json(rule));
  return out;
}

ordered_json to_json(const ChaosBlock& block) {
  const policy::ChaosConfig& chaos = block.chaos;
  ordered_json out = {{"seed", chaos.seed}, {"match", to_json(block.match)}};
  if (chaos.delay) out["delay"] = to_json(*chaos.delay);
  if (chaos.abort) out["abort"] = to_json(*chaos.abort);
  if (chaos.until_us != 0) out["until"] = format_timestamp(chaos.until_us);
  return out;
}

ordered_json to_json(const PolicyConfig& config) {
  const policy::Policy& policy = config.policy;
  ordered_json out = ordered_json::object();
  if (!policy.id.empty()) out["id"] = policy.id;
  out["mode"] = word(config.mode, kModes);
  out["overall_timeout"] = format_duration(policy.overall_timeout);
  out["max_duration"] = format_duration(policy.max_duration);
  out["deadline"] = to_json(policy.deadline);
  if (policy.retry) out["retry"] = to_json(*policy.retry, config);
  if (config.hedge) out["hedge"] = to_json(*config.hedge, config.hedge_budget);
  add_refs(out, "circuit", config.circuits);
  add_refs(out, "rate_limit", config.rate_limits);
  add_refs(out, "bulkhead", config.bulkheads);
  if (config.adaptive_limit) out["adaptive_limit"] = to_json(*config.adaptive_limit);
  if (config.adaptive_throttle) out["adaptive_throttle"] = to_json(*config.adaptive_throttle);
  if (config.fallback) out["fallback"] = to_json(*config.fallback);
  if (config.cache) out["cache"] = to_json(*config.cache);
  if (config.chaos) out["chaos"] = to_json(*config.chaos);
  return out;
}

}  // namespace outrigger::config
