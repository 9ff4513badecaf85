// tests/support/ledger.hpp
//
// What all exchanges on one shared state hold and have spent, counted from outside by the orders alone. It knows
// nothing of how a budget stores its numbers: it keeps every request and every extra attempt with its time and applies
// the documented rule to that exact list, so a budget that is too generous in any window shows at the attempt that was
// one too many.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "proxy/exchange/plan.hpp"

namespace outrigger::test {

/// What one budget's rule is about, and the rule itself applied to it.
class BudgetAccount {
 public:
  /// `first` is the configuration the budget's state was made with; buckets start full.
  BudgetAccount(const policy::Budget& state, const policy::BudgetConfig& first);

  void request_entered(TimePoint now);
  void request_left() { --in_loop_; }
  void request_succeeded(const policy::BudgetConfig& config);
  /// Notes an extra attempt; answers with the rule it broke, or with nothing.
  std::string extra_began(const policy::BudgetConfig& config, double cost, TimePoint now);
  void extra_over() { --extras_; }

  /// Answers where the state and this account differ, or with nothing.
  std::string compare() const;
  bool is_of(const policy::Budget& state) const { return state_ == &state; }

 private:
  std::string window(const policy::BudgetConfig& config, TimePoint now);
  std::string ratio(const policy::BudgetConfig& config) const;
  std::string tokens(const policy::BudgetConfig& config, double cost, TimePoint now);
  std::string credit(const policy::BudgetConfig& config, TimePoint now);

  const policy::Budget* state_;
  std::int64_t in_loop_ = 0;
  std::int64_t extras_ = 0;
  std::deque<TimePoint> request_times_;
  std::deque<TimePoint> extra_times_;
  double tokens_ = 0;
  TimePoint tokens_at_{};
  double credits_ = 0;
  TimePoint floor_free_at_{};
};

class Ledger {
 public:
  explicit Ledger(std::size_t endpoints) : in_flight_(endpoints) {}

  /// Keeps an account of that budget, too.
  void add(const policy::Budget& state, const policy::BudgetConfig& first) { budgets_.emplace_back(state, first); }
  /// The account of a budget that was added.
  BudgetAccount& of(const policy::Budget& state);

  void attempt_began(policy::EndpointId endpoint) { ++in_flight_[policy::index(endpoint)]; }
  void attempt_over(policy::EndpointId endpoint) { --in_flight_[policy::index(endpoint)]; }

  /// Answers where the shared states and this account differ, or with nothing.
  std::string compare(const policy::EndpointSet& set) const;

 private:
  std::vector<std::int64_t> in_flight_;  // by endpoint
  std::vector<BudgetAccount> budgets_;
};

}  // namespace outrigger::test
