// proxy/policy/policy.hpp
//
// Everything one policy key decides by, as numbers: immutable, part of the configuration snapshot, with every default
// filled in. State (budgets, endpoint counts) lives elsewhere and survives a reload; a decision is a function of both.
#pragma once

#include <optional>
#include <string>

#include "proxy/base/time.hpp"
#include "proxy/policy/balance.hpp"
#include "proxy/policy/deadline.hpp"
#include "proxy/policy/retry.hpp"

namespace outrigger::policy {

struct Policy {
  std::string key;
  std::string id;                                    // free label, shown in timelines
  Nanos overall_timeout = std::chrono::seconds{15};  // request head to commit; 0 = none
  Nanos max_duration{0};                             // the whole request; 0 = none
  DeadlineConfig deadline;
  std::optional<RetryConfig> retry;
};

}  // namespace outrigger::policy
