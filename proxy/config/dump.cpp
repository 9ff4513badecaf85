#include "proxy/config/dump.hpp"

#include <nlohmann/json.hpp>

#include "proxy/config/dump_blocks.hpp"
#include "proxy/config/scalars.hpp"
#include "proxy/config/words.hpp"

namespace outrigger::config {
namespace {

using config::to_json;
using nlohmann::ordered_json;

constexpr Words<6> kHeaderMatches = {"equals", "prefix", "contains", "regex", "present", "present"};

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

void add_file(ordered_json& out, const char* key, const FileConfig& file) {
  if (!file.path.empty()) out[key] = file.path;
}

ordered_json to_json(const ListenerTlsConfig& tls) {
  ordered_json out;
  add_file(out, "certificate", tls.certificate);
  add_file(out, "private_key", tls.private_key);
  add_file(out, "client_ca", tls.client_ca);
  out["min_version"] = word(tls.min_version, kTlsVersions);
  return out;
}

ordered_json to_json(const UpstreamTlsConfig& tls) {
  ordered_json out;
  add_file(out, "ca", tls.ca);
  add_file(out, "certificate", tls.certificate);
  add_file(out, "private_key", tls.private_key);
  if (!tls.sni.empty()) out["sni"] = tls.sni;
  out["verify"] = tls.verify;
  out["min_version"] = word(tls.min_version, kTlsVersions);
  return out;
}

ordered_json to_json(const ListenerConfig& listener) {
  ordered_json out = {
      {"name", listener.name},
      {"listen", to_string(listener.listen)},
      {"trust_priority", listener.trust_priority},
      {"trusted_hops", listener.trusted_hops},
      {"debug_headers", listener.debug_headers},
      {"limits", to_json(listener.limits)},
  };
  if (listener.tls) out["tls"] = to_json(*listener.tls);
  return out;
}

ordered_json to_json(const policy::HealthConfig& check) {
  return {
      {"path", check.path},
      {"interval", format_duration(check.interval)},
      {"timeout", format_duration(check.timeout)},
      {"healthy_after", check.healthy_after},
      {"unhealthy_after", check.unhealthy_after},
      {"expect", format_statuses(check.expect)},
  };
}

ordered_json balance_of(const UpstreamConfig& upstream) {
  if (upstream.balance != policy::Balance::hash) return word(upstream.balance, kBalances);
  if (upstream.hash.client_ip) return {{"hash", kClientIp}};
  return {{"hash", {{"header", upstream.hash.header}}}};
}

ordered_json to_json(const policy::OutlierConfig& outlier) {
  return {{"consecutive_failures", outlier.consecutive_failures},
          {"base_ejection", format_duration(outlier.base_ejection)},
          {"max_ejection", format_duration(outlier.max_ejection)},
          {"max_ejected", outlier.max_ejected}};
}

ordered_json to_json(const UpstreamConfig& upstream) {
  ordered_json endpoints = ordered_json::array();
  for (const EndpointConfig& endpoint : upstream.endpoints) {
    endpoints.push_back({{"address", to_string(endpoint.address)}, {"weight", endpoint.weight}});
  }
  ordered_json out = {
      {"endpoints", std::move(endpoints)},
      {"dns", {{"refresh", format_duration(upstream.dns.refresh)}, {"timeout", format_duration(upstream.dns.timeout)}}},
      {"balance", balance_of(upstream)},
      {"connect_timeout", format_duration(upstream.connect_timeout)},
      {"read_idle_timeout", format_duration(upstream.read_idle_timeout)},
      {"idle_timeout", format_duration(upstream.idle_timeout)},
      {"max_requests_per_connection", upstream.max_requests_per_connection},
      {"max_connections", upstream.max_connections},
      {"max_pending", upstream.max_pending},
      {"panic", upstream.panic},
  };
  if (upstream.outlier_detection) out["outlier_detection"] = to_json(*upstream.outlier_detection);
  if (upstream.host) out["host"] = *upstream.host;
  if (upstream.health_check) out["health_check"] = to_json(*upstream.health_check);
  if (upstream.tls) out["tls"] = to_json(*upstream.tls);
  return out;
}

ordered_json to_json(const HeaderEditsConfig& edits) {
  ordered_json out = ordered_json::object();
  for (const auto& [name, value] : edits.set) out["set"][name] = value;
  for (const auto& [name, value] : edits.add) out["add"][name] = value;
  if (!edits.remove.empty()) out["remove"] = edits.remove;
  return out;
}

void add_edits(const RouteConfig& route, ordered_json& out) {
  if (route.rewrite.path) out["rewrite"]["path"] = *route.rewrite.path;
  if (route.rewrite.prefix) out["rewrite"]["prefix"] = *route.rewrite.prefix;
  if (route.rewrite.host) out["rewrite"]["host"] = *route.rewrite.host;
  if (!route.request_headers.empty()) out["request_headers"] = to_json(route.request_headers);
  if (!route.response_headers.empty()) out["response_headers"] = to_json(route.response_headers);
}

ordered_json to_json(const RouteConfig& route) {
  ordered_json out = {{"match", to_json(route.match)}, {"policy", route.policy}};
  if (route.respond) {
    out["respond"] = to_json(*route.respond);
  } else {
    out["upstream"] = route.upstream;
  }
  if (route.priority) out["priority"] = to_string(*route.priority);
  add_edits(route, out);
  if (route.mirror) {
    out["mirror"] = {{"upstream", route.mirror->upstream},
                     {"fraction", route.mirror->fraction},
                     {"max_in_flight", route.mirror->max_in_flight}};
  }
  out["upgrade"] = route.upgrade;
  out["tunnel_idle_timeout"] = format_duration(route.tunnel_idle_timeout);
  return out;
}

ordered_json to_json(const TelemetryConfig& telemetry) {
  const AccessLogConfig& access_log = telemetry.access_log;
  return {
      {"log",
       {{"level", word(telemetry.log.level, kLogLevels)},
        {"format", word(telemetry.log.format, kLogFormats)},
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
  out["circuits"] = by_name(config.circuits);
  out["rate_limits"] = by_name(config.rate_limits);
  out["bulkheads"] = by_name(config.bulkheads);
  out["adaptive_limits"] = by_name(config.adaptive_limits);
  out["adaptive_throttles"] = by_name(config.adaptive_throttles);
  out["classifiers"] = by_name(config.classifiers);
  out["telemetry"] = to_json(config.telemetry);
  out["drain"] = {{"delay", format_duration(config.drain.delay)}, {"grace", format_duration(config.drain.grace)}};
  out["chaos_enabled"] = config.chaos_enabled;
  return out;
}

std::string json_text(const ordered_json& value, int indent) {
  return value.dump(indent, ' ', false, ordered_json::error_handler_t::replace);
}

std::string dump(const Config& config) { return json_text(to_json(config), 2); }

}  // namespace outrigger::config
