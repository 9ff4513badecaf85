// proxy/policy/health.hpp
//
// Whether an endpoint is in service, as the results of its health checks say: so many bad ones in a row take it out, so
// many good ones bring it back. One that has not been checked yet is in service, because a proxy that has just started
// knows nothing against it.
//
// Threads: one owner; who else wants to know reads EndpointState::healthy.
#pragma once

#include <cstdint>
#include <string>

#include "proxy/base/time.hpp"
#include "proxy/policy/status_set.hpp"

namespace outrigger::policy {

struct HealthConfig {
  std::string path;
  Nanos interval = std::chrono::seconds{5};
  Nanos timeout = std::chrono::seconds{1};
  std::uint32_t healthy_after = 2;
  std::uint32_t unhealthy_after = 3;
  StatusSet expect = successes();

  static StatusSet successes() noexcept {
    StatusSet statuses;
    statuses.insert(200, 299);
    return statuses;
  }

  friend bool operator==(const HealthConfig&, const HealthConfig&) = default;
};

class Health {
 public:
  /// Takes the result of a check; true where that changes whether the endpoint is in service.
  bool take(const HealthConfig& config, bool good) noexcept {
    if (good == healthy_) {
      against_ = 0;
      return false;
    }
    // The numbers may have been others when the last result came.
    if (++against_ < (healthy_ ? config.unhealthy_after : config.healthy_after)) return false;
    healthy_ = !healthy_;
    against_ = 0;
    return true;
  }

  bool healthy() const noexcept { return healthy_; }
  /// Results in a row that speak for the other state.
  std::uint32_t against() const noexcept { return against_; }

 private:
  bool healthy_ = true;
  std::uint32_t against_ = 0;
};

}  // namespace outrigger::policy
