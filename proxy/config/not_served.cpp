#include "proxy/config/not_served.hpp"

#include <string>

namespace outrigger::config {
namespace {

void refuse(Findings& findings, const std::string& path) { findings.error_at(path, "not supported yet"); }

void refuse_headers(const std::string& path, const policy::RateLimitConfig& limit, Findings& findings) {
  if (limit.headers != policy::RateLimitConfig::Headers::none) refuse(findings, path + ".headers");
}

}  // namespace

void refuse_what_does_not_act(const Config& config, Findings& findings) {
  for (const auto& [key, policy] : config.policies) {
    const std::string path = "policies." + key;
    if (policy.fallback) refuse(findings, path + ".fallback");
    if (policy.cache) refuse(findings, path + ".cache");
    if (policy.chaos) refuse(findings, path + ".chaos");
    if (policy.mode == Mode::observe) refuse(findings, path + ".mode");
    for (const RateLimitRef& limit : policy.rate_limits) {
      if (limit.kind == RateLimitRef::Kind::inline_) refuse_headers(limit.path, limit.config, findings);
    }
  }
  for (const auto& [name, limit] : config.rate_limits) refuse_headers("rate_limits." + name, limit, findings);
  for (std::size_t i = 0; i < config.routes.size(); ++i) {
    if (config.routes[i].mirror) refuse(findings, "routes[" + std::to_string(i) + "].mirror");
  }
}

}  // namespace outrigger::config
