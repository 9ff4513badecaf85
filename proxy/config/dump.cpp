#include "proxy/config/dump.hpp"

#include <array>
#include <string_view>

#include <nlohmann/json.hpp>

#include "proxy/config/scalars.hpp"

namespace outrigger::config {
namespace {

using nlohmann::ordered_json;

/// The word of an enumerator, from the words in the order of the enumerators.
template <class Enum, std::size_t n>
std::string word(Enum value, const std::array<std::string_view, n>& words) {
  return std::string(words[static_cast<std::size_t>(value)]);
}

constexpr std::array<std::string_view, 3> kDeadlineHeaders = {"X-Request-Timeout", "Grpc-Timeout",
                                                              "X-Envoy-Expected-Rq-Timeout-Ms"};
constexpr std::array<std::string_view, 4> kJitters = {"full", "equal", "decorrelated", "none"};
constexpr std::array<std::string_view, 2> kBalances = {"least_request", "round_robin"};
constexpr std::array<std::string_view, 3> kPriorities = {"low", "standard", "critical"};
constexpr std::array<std::string_view, 4> kLevels = {"debug", "info", "warn", "error"};
constexpr std::array<std::string_view, 2> kFormats = {"json", "text"};
constexpr std::array<std::string_view, 2> kSlashes = {"keep", "reject"};
constexpr std::array<std::string_view, 5> kBudgetTypes = {"ratio", "window", "token_bucket", "success_credit",
                                                          "unlimited"};
constexpr std::array<std::string_view, 6> kHeaderMatches = {"equals", "prefix",  "contains",
                                                            "regex",  "present", "present"};

ordered_json to_json(const LimitsConfig& limits) {
  return {
      {"max_request_head", format_size(limits.max_request_head_bytes)},
      {"max_headers", limits.max_headers},
      {"max_request_body", format_size(limits.max_request_body_bytes)},
      {"max_response_head", format_size(limits.max_response_head_bytes)},
      {"head_timeout", format_duration(limits.head_timeout)},
      {"body_idle_timeout", format_duration(limits.body_idle_timeout)},
      {"idle_timeout", format_duration(limits.idle_timeout)},
      {"write_idle_timeout", format_duration(limits.write_idle_timeout)},
      {"max_connections", limits.max_connections},
      {"max_requests_per_connection", limits.max_requests_per_connection},
      {"relay_buffer", format_size(limits.relay_buffer_bytes)},
      {"escaped_slashes", word(limits.escaped_slashes, kSlashes)},
  };
}

ordered_json to_json(const ListenerConfig& listener) {
  return {
      {"name", listener.name},
      {"listen", to_string(listener.listen)},
      {"trust_priority", listener.trust_priority},
      {"trusted_hops", listener.trusted_hops},
      {"debug_headers", listener.debug_headers},
      {"limits", to_json(listener.limits)},
  };
}

ordered_json to_json(const UpstreamConfig& upstream) {
  ordered_json endpoints = ordered_json::array();
  for (const EndpointConfig& endpoint : upstream.endpoints) {
    endpoints.push_back({{"address", to_string(endpoint.address)}, {"weight", endpoint.weight}});
  }
  ordered_json out = {
      {"endpoints", std::move(endpoints)},
      {"balance", word(upstream.balance, kBalances)},
      {"connect_timeout", format_duration(upstream.connect_timeout)},
      {"read_idle_timeout", format_duration(upstream.read_idle_timeout)},
      {"idle_timeout", format_duration(upstream.idle_timeout)},
      {"max_requests_per_connection", upstream.max_requests_per_connection},
  };
  if (upstream.host) out["host"] = *upstream.host;
  return out;
}

/// A condition on a field or a parameter; the last enumerator is always "absent".
template <class Match>
ordered_json condition(const Match& match, std::string_view key) {
  ordered_json out = {{"name", match.name}};
  const bool presence = key == "present";
  if (presence) {
    out["present"] = match.kind == Match::Kind::present;
  } else {
    out[std::string(key)] = match.text;
  }
  return out;
}

ordered_json to_json(const http::RouteMatch& match) {
  ordered_json out = ordered_json::object();
  if (match.listeners.empty()) {
    out["listener"] = "any";
  } else {
    out["listener"] = match.listeners;
  }
  const auto optional = [&](const char* key, const std::optional<std::string>& text) {
    if (text) out[key] = *text;
  };
  optional("host", match.host);
  optional("path", match.path);
  optional("path_prefix", match.path_prefix);
  optional("path_template", match.path_template);
  optional("path_regex", match.path_regex);
  if (!match.methods.empty()) out["methods"] = match.methods;
  for (const http::HeaderMatch& header : match.headers) {
    out["headers"].push_back(condition(header, word(header.kind, kHeaderMatches)));
  }
  for (const http::QueryMatch& query : match.query) {
    out["query"].push_back(condition(query, query.kind == http::QueryMatch::Kind::equals ? "equals" : "present"));
  }
  return out;
}

ordered_json to_json(const RouteConfig& route) {
  ordered_json out = {{"match", to_json(route.match)}, {"policy", route.policy}, {"upstream", route.upstream}};
  if (route.priority) out["priority"] = word(*route.priority, kPriorities);
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

ordered_json to_json(const policy::RetryConfig& retry, const BudgetRef& budget) {
  return {
      {"max_attempts", retry.max_attempts},
      {"timeout_per_attempt", format_duration(retry.timeout_per_attempt)},
      {"initial_backoff", format_duration(retry.backoff.initial)},
      {"max_backoff", format_duration(retry.backoff.max)},
      {"backoff_multiplier", retry.backoff.multiplier},
      {"jitter", word(retry.backoff.jitter, kJitters)},
      {"classifier", "http"},
      {"budget", to_json(budget)},
      {"replay_buffer", format_size(retry.replay_buffer_bytes)},
      {"non_idempotent", retry.non_idempotent},
      {"idempotency_key", retry.idempotency_key},
      {"retry_after", {{"honor", retry.retry_after.honor}, {"max", format_duration(retry.retry_after.max)}}},
      {"avoid_previous_endpoint", retry.avoid_previous_endpoint},
  };
}

ordered_json to_json(const PolicyConfig& config) {
  const policy::Policy& policy = config.policy;
  ordered_json out = ordered_json::object();
  if (!policy.id.empty()) out["id"] = policy.id;
  out["mode"] = "enforce";
  out["overall_timeout"] = format_duration(policy.overall_timeout);
  out["max_duration"] = format_duration(policy.max_duration);
  out["deadline"] = to_json(policy.deadline);
  if (policy.retry) out["retry"] = to_json(*policy.retry, config.retry_budget);
  return out;
}

ordered_json to_json(const TelemetryConfig& telemetry) {
  const AccessLogConfig& access_log = telemetry.access_log;
  return {
      {"log",
       {{"level", word(telemetry.log.level, kLevels)},
        {"format", word(telemetry.log.format, kFormats)},
        {"file", telemetry.log.file}}},
      {"access_log", {{"file", access_log.file.empty() ? "none" : access_log.file}, {"headers", access_log.headers}}},
      {"timelines",
       {{"keep", telemetry.timelines.keep},
        {"sample", telemetry.timelines.sample},
        {"log_query", telemetry.timelines.log_query}}},
      {"histogram_buckets", telemetry.histogram_buckets_s},
  };
}

template <class List>
ordered_json all_of(const List& list) {
  ordered_json out = ordered_json::array();
  for (const auto& element : list) out.push_back(to_json(element));
  return out;
}

template <class Map>
ordered_json by_name(const Map& map) {
  ordered_json out = ordered_json::object();
  for (const auto& [name, element] : map) out[name] = to_json(element);
  return out;
}

}  // namespace

ordered_json to_json(const Config& config) {
  ordered_json out = {{"version", config.version}};
  if (config.instance) out["instance"] = *config.instance;
  out["workers"] = config.workers ? ordered_json(*config.workers) : ordered_json("auto");
  out["admin"] = {{"listen", to_string(config.admin.listen)}, {"allowed_hosts", config.admin.allowed_hosts}};
  out["limits"] = to_json(config.limits);
  out["limits"]["buffer_memory"] = format_size(config.buffer_memory_bytes);
  out["listeners"] = all_of(config.listeners);
  out["upstreams"] = ordered_json::object();
  for (const UpstreamConfig& upstream : config.upstreams) out["upstreams"][upstream.name] = to_json(upstream);
  out["routes"] = all_of(config.routes);
  out["policies"] = by_name(config.policies);
  out["budgets"] = by_name(config.budgets);
  out["telemetry"] = to_json(config.telemetry);
  out["drain"] = {{"delay", format_duration(config.drain.delay)}, {"grace", format_duration(config.drain.grace)}};
  return out;
}

std::string dump(const Config& config) {
  return to_json(config).dump(2, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace outrigger::config
