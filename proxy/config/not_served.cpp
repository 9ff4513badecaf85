#include "proxy/config/not_served.hpp"

#include <string>

namespace outrigger::config {
namespace {

void refuse(Findings& findings, const std::string& path) { findings.error_at(path, "not supported yet"); }

}  // namespace

void refuse_what_does_not_act(const Config& config, Findings& findings) {
  for (const auto& [key, policy] : config.policies) {
    const std::string path = "policies." + key;
    if (policy.fallback) refuse(findings, path + ".fallback");
    if (policy.cache) refuse(findings, path + ".cache");
    if (policy.chaos) refuse(findings, path + ".chaos");
    if (policy.mode == Mode::observe) refuse(findings, path + ".mode");
  }
}

}  // namespace outrigger::config
