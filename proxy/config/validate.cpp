#include "proxy/config/validate.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <variant>

#include "proxy/config/near_miss.hpp"
#include "proxy/config/scalars.hpp"

namespace outrigger::config {
namespace {

constexpr std::size_t kMaxUpstreams = 1000;

std::string indexed(std::string_view list, std::size_t index) {
  return std::string(list) + "[" + std::to_string(index) + "]";
}

/// One pass over a Config; its members are the rules, block by block.
class Validator {
 public:
  Validator(const Config& config, Findings& findings) : config_(config), findings_(findings) {}

  void run() {
    check_listeners();
    for (std::size_t i = 0; i < config_.routes.size(); ++i) check_route(config_.routes[i], indexed("routes", i));
    check_route_matches();
    check_unreachable();
    for (const auto& [key, policy] : config_.policies) {
      const std::string path = join_path("policies", key);
      if (policy.fallback) check_upstream_name(policy.fallback->upstream, path + ".fallback.upstream");
      if (policy.chaos) check_chaos(*policy.chaos, path + ".chaos");
    }
    check_policies(config_, findings_);
    check_unused();
  }

  /// Patterns of a chaos block are judged like those of a route.
  void check_chaos(const ChaosBlock& chaos, const std::string& path) {
    const std::string match = path + ".match.";
    check_listener_names(chaos.match, match + "listener");
    const auto table = http::build_route_table({chaos.match});
    const auto* errors = std::get_if<std::vector<http::RouteError>>(&table);
    if (errors == nullptr) return;
    for (const http::RouteError& wrong : *errors) {
      if (findings_.sound(match + wrong.key)) error(match + wrong.key, wrong.message);
    }
  }

 private:
  void error(const std::string& path, std::string message, std::string hint = "") {
    findings_.error_at(path, std::move(message), std::move(hint));
  }
  void warning(const std::string& path, std::string message, std::string hint = "") {
    findings_.warning_at(path, std::move(message), std::move(hint));
  }
  std::string where(const std::string& path) const { return to_string(findings_.place_of(path)); }

  void check_listeners() {
    if (config_.listeners.empty() && findings_.sound("listeners")) {
      error("listeners", "must have at least one listener");
    }
    if (config_.upstreams.empty() && findings_.sound("upstreams")) {
      error("upstreams", "must have at least one upstream");
    } else if (config_.upstreams.size() > kMaxUpstreams) {
      error("upstreams", "must have at most 1000 upstreams, got " + std::to_string(config_.upstreams.size()));
    }
    std::map<std::string, std::string> names;
    std::map<std::string, std::string> addresses;
    if (config_.admin.listen.port != 0) addresses.emplace(to_string(config_.admin.listen), "admin.listen");
    for (std::size_t i = 0; i < config_.listeners.size(); ++i) {
      const ListenerConfig& listener = config_.listeners[i];
      const std::string path = indexed("listeners", i);
      if (!listener.name.empty()) check_unique(names, listener.name, path + ".name", "the name is taken");
      if (listener.listen.port == 0 && listener.listen.path.empty()) continue;
      check_unique(addresses, to_string(listener.listen), path + ".listen", "the address is taken");
    }
  }

  void check_unique(std::map<std::string, std::string>& seen, const std::string& value, const std::string& path,
                    std::string_view what) {
    const auto [first, is_new] = seen.emplace(value, path);
    if (is_new) return;
    const std::string& other = first->second;
    error(path, std::string(what) + ": " + value,
          findings_.has(other) ? "first at " + where(other) : "by the default of " + other);
  }

  void check_route(const RouteConfig& route, const std::string& path) {
    const std::string listener = path + ".match.listener";
    const bool wrong_match = !findings_.sound(path + ".match");
    if (config_.listeners.size() > 1 && !findings_.has(listener) && !wrong_match) {
      findings_.error(findings_.place_of(path + ".match"), listener,
                      "required, but missing: there is more than one listener", "the name of one, or any");
    }
    check_listener_names(route.match, listener);
    check_route_names(route, path);
    check_respond(route, path);
  }

  /// What is done to requests on their way is done to none of a route that answers by itself.
  void check_respond(const RouteConfig& route, const std::string& path) {
    if (!route.respond) return;
    for (const char* key : {".mirror", ".rewrite", ".request_headers"}) {
      if (findings_.has(path + key)) warning(path + key, "has no effect: the route answers by itself");
    }
  }

  void check_listener_names(const http::RouteMatch& match, const std::string& path) {
    std::vector<std::string_view> names;
    for (const ListenerConfig& listener : config_.listeners) names.push_back(listener.name);
    for (std::size_t i = 0; i < match.listeners.size(); ++i) {
      const std::string& name = match.listeners[i];
      if (std::find(names.begin(), names.end(), name) != names.end()) continue;
      const std::string element = indexed(path, i);
      error(findings_.has(element) ? element : path, "no listener of the name \"" + name + "\"",
            did_you_mean(name, names));
    }
  }

  void check_upstream_name(const std::string& name, const std::string& path) {
    if (name.empty()) return;
    std::vector<std::string_view> names;
    for (const UpstreamConfig& upstream : config_.upstreams) names.push_back(upstream.name);
    if (std::find(names.begin(), names.end(), name) != names.end()) return;
    error(path, "no upstream of the name \"" + name + "\"", did_you_mean(name, names));
  }

  void check_route_names(const RouteConfig& route, const std::string& path) {
    check_upstream_name(route.upstream, path + ".upstream");
    if (route.mirror) check_upstream_name(route.mirror->upstream, path + ".mirror.upstream");
    if (config_.policies.contains(route.policy)) return;
    std::vector<std::string_view> policies;
    for (const auto& policy : config_.policies) policies.push_back(policy.first);
    error(path + ".policy", "no policy of the key \"" + route.policy + "\"",
          route.policy.starts_with("preset/") ? "a preset is taken up by a policy: extends: " + route.policy
                                              : did_you_mean(route.policy, policies));
  }

  /// Patterns are judged by the code that will match them.
  void check_route_matches() {
    std::vector<http::RouteMatch> matches;
    for (const RouteConfig& route : config_.routes) matches.push_back(route.match);
    const auto table = http::build_route_table(matches);
    const auto* errors = std::get_if<std::vector<http::RouteError>>(&table);
    if (errors == nullptr) return;
    for (const http::RouteError& wrong : *errors) {
      const std::string path = indexed("routes", wrong.route) + ".match." + wrong.key;
      if (findings_.sound(path)) error(path, wrong.message);
    }
  }

  /// A route that takes everything from a listener leaves nothing to those after it.
  void check_unreachable() {
    std::map<std::string, std::size_t> taken;  // by listener; "" = all
    for (std::size_t i = 0; i < config_.routes.size(); ++i) {
      const http::RouteMatch& match = config_.routes[i].match;
      const std::string path = indexed("routes", i);
      if (const auto by = taken_by(taken, match)) {
        warning(path, "never reached: " + indexed("routes", *by) + " takes every request before it",
                "the first match wins: move the catch-all to the end");
      }
      if (!takes_everything(match) || !findings_.sound(path)) continue;
      if (match.listeners.empty()) taken.emplace("", i);
      for (const std::string& listener : match.listeners) taken.emplace(listener, i);
    }
  }

  static bool takes_everything(const http::RouteMatch& match) {
    return !match.host && !match.path && (!match.path_prefix || match.path_prefix == "/") && !match.path_template &&
           !match.path_regex && match.methods.empty() && match.headers.empty() && match.query.empty();
  }

  static std::optional<std::size_t> taken_by(const std::map<std::string, std::size_t>& taken,
                                             const http::RouteMatch& match) {
    if (const auto all = taken.find(""); all != taken.end()) return all->second;
    std::optional<std::size_t> by;
    for (const std::string& listener : match.listeners) {
      const auto found = taken.find(listener);
      if (found == taken.end()) return std::nullopt;
      by = found->second;
    }
    return by;
  }

  void check_unused() {
    if (!findings_.sound("routes")) return;
    if (config_.routes.empty()) warning("routes", "no routes: every request is answered with 404");
    std::set<std::string> upstreams;
    for (const RouteConfig& route : config_.routes) {
      upstreams.insert(route.upstream);
      if (route.mirror) upstreams.insert(route.mirror->upstream);
    }
    for (const auto& policy : config_.policies) {
      if (policy.second.fallback) upstreams.insert(policy.second.fallback->upstream);
    }
    for (const UpstreamConfig& upstream : config_.upstreams) {
      if (!upstreams.contains(upstream.name)) warning("upstreams." + upstream.name, "no route uses this upstream");
    }
    check_unused_policies();
  }

  void check_unused_policies() {
    std::set<std::string> used = {"default"};
    for (const RouteConfig& route : config_.routes) used.insert(route.policy);
    for (const auto& policy : config_.policies) used.insert(policy.second.extends);
    for (const auto& policy : config_.policies) {
      if (!used.contains(policy.first)) warning("policies." + policy.first, "no route uses this policy");
    }
  }

  const Config& config_;
  Findings& findings_;
};

}  // namespace

void validate(const Config& config, Findings& findings) { Validator(config, findings).run(); }

void check_chaos(const Config& config, const ChaosBlock& chaos, const std::string& path, Findings& findings) {
  Validator(config, findings).check_chaos(chaos, path);
}

}  // namespace outrigger::config
