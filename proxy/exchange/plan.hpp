// proxy/exchange/plan.hpp
//
// One row of the configuration snapshot, as a request that matched its route needs it: immutable numbers beside the
// shared states they are applied to. An exchange keeps the plan it began with for its whole life.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "proxy/base/rng.hpp"
#include "proxy/policy/balance.hpp"
#include "proxy/policy/budget.hpp"
#include "proxy/policy/policy.hpp"

namespace outrigger::exchange {

struct Upstream {
  std::string_view name;
  policy::UpstreamId id{};
  policy::Balance balance = policy::Balance::least_request;
  Nanos connect_timeout = std::chrono::seconds{1};
  const policy::EndpointSet* endpoints = nullptr;
  bool unresolved = false;  // its names gave no address: an empty set means dns_failure
};

/// A budget as a policy refers to it. Without a state, extra attempts are not limited.
struct BudgetRef {
  std::string_view name;
  const policy::BudgetConfig* config = nullptr;
  policy::Budget* state = nullptr;
  double cost = 1;
};

/// Names are interned for the life of the process, so that a timeline may outlive the snapshot.
struct Plan {
  const policy::Policy* policy = nullptr;
  const Upstream* upstream = nullptr;
  BudgetRef budget;
  std::string_view policy_key;
  std::string_view policy_id;
  std::string_view route;
  std::uint64_t generation = 0;
};

/// What belongs to the worker that runs an exchange: its index, its randomness, its round-robin positions by upstream.
struct WorkerLocal {
  std::uint32_t worker = 0;
  Rng rng{0};
  std::vector<policy::BalanceCursor> cursors;
};

}  // namespace outrigger::exchange
