#include "proxy/policy/fallback.hpp"

namespace outrigger::policy {

bool matches(const FallbackConfig& config, const OutgoingAnswer& what) noexcept {
  return config.reasons.contains(what.reason) || (what.attempt && config.reasons.contains(*what.attempt)) ||
         config.statuses.contains(what.status) || (config.exhausted && what.exhausted);
}

}  // namespace outrigger::policy
