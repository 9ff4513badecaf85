// proxy/policy/outlier.hpp
//
// Takes an endpoint out of service after so many failures in a row, for a time that grows with every time it happens
// again and ends by itself: what a health check's own probe cannot see, requests do. A quiet time as long as the first
// ejection makes the next one count one less. Ejections are up to a tenth shorter than asked for, so that endpoints
// that failed together do not come back together.
//
// Never more than `max_ejected` of the endpoints are out at a time, and never the last that is usable, however bad it
// is: a bad answer is better than none. An ejection that this forbids is asked for again by as many further failures.
//
// Source: Envoy's outlier detection (consecutive errors).
// Threads: any. Cost: a load of a line that is seldom written per success, a read-modify-write per failure; a mutex
// only where an ejection is due.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include "proxy/base/rng.hpp"
#include "proxy/base/time.hpp"
#include "proxy/policy/endpoint.hpp"

namespace outrigger::policy {

struct OutlierConfig {
  std::uint32_t consecutive_failures = 5;
  Nanos base_ejection = std::chrono::seconds{30};
  Nanos max_ejection = std::chrono::seconds{300};
  double max_ejected = 0.5;  // of the endpoints
};

/// What one result says about the endpoint it came from.
enum class OutlierResult : std::uint8_t { success, failure, neutral };

/// The ejections of one upstream.
class OutlierDetection {
 public:
  /// Counts how an attempt at one of the set's endpoints ended; true: that has ejected it.
  bool on_result(const OutlierConfig& config, const EndpointSet& set, EndpointId endpoint, OutlierResult result,
                 TimePoint now, Rng& rng) noexcept;

  /// Whether endpoints may be ejected at all (at first they may): requests of an earlier configuration go on for a
  /// while.
  void set_active(bool active) noexcept;

  /// So far, of all endpoints.
  std::uint64_t ejections() const noexcept { return ejections_.load(std::memory_order_relaxed); }

 private:
  bool eject(const OutlierConfig& config, const EndpointSet& set, EndpointState& state, TimePoint now,
             Rng& rng) noexcept;

  std::mutex mutex_;  // one ejection after the other, so that each sees who is left
  bool active_ = true;
  std::atomic<std::uint64_t> ejections_{0};
};

/// Ends an ejection before its time; the endpoint begins with a clean record.
void pardon(EndpointState& state) noexcept;

}  // namespace outrigger::policy
