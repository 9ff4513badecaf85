#include "tests/support/ledger.hpp"

#include <algorithm>

namespace outrigger::test {
namespace {

// The token bucket counts whole milliseconds and sixteenths of a token: over any interval it may give what one
// millisecond brings and one sixteenth more than an ideal one.
double bucket_size(const policy::BudgetConfig& config) {
  return config.capacity + config.refill_per_second / 1000 + 1.0 / 16;
}

// Equality admits, whatever the products round to.
constexpr double kRounding = 1e-9;

double seconds(Nanos duration) { return static_cast<double>(duration.count()) / 1e9; }

}  // namespace

BudgetAccount::BudgetAccount(const policy::Budget& state, const policy::BudgetConfig& first)
    : state_(&state), tokens_(bucket_size(first)), credits_(first.capacity) {}

void BudgetAccount::request_entered(TimePoint now) {
  ++in_loop_;
  request_times_.push_back(now);
}

void BudgetAccount::request_succeeded(const policy::BudgetConfig& config) {
  credits_ = std::min(config.capacity, credits_ + config.success_credit);
}

std::string BudgetAccount::window(const policy::BudgetConfig& config, TimePoint now) {
  // Strict for both: a request that left the window an instant ago no longer counts, an extra at its edge still does.
  while (!request_times_.empty() && request_times_.front() <= now - config.window) request_times_.pop_front();
  while (!extra_times_.empty() && extra_times_.front() < now - config.window) extra_times_.pop_front();
  const double allowed =
      config.max_rate * static_cast<double>(request_times_.size()) + config.min_per_second * seconds(config.window);
  const auto extras = static_cast<double>(extra_times_.size());  // this one included
  if (extras <= allowed + kRounding) return {};
  return "window: " + std::to_string(extras) + " extras, " + std::to_string(allowed) + " allowed";
}

std::string BudgetAccount::ratio(const policy::BudgetConfig& config) const {
  const std::int64_t before = extras_ - 1;
  const std::int64_t all = in_loop_ + before;
  if (before < static_cast<std::int64_t>(config.min_concurrency)) return {};
  if (static_cast<double>(before) <= config.max_rate * static_cast<double>(all) + kRounding) return {};
  return "ratio: " + std::to_string(before) + " extras of " + std::to_string(all) + " in flight";
}

std::string BudgetAccount::tokens(const policy::BudgetConfig& config, double cost, TimePoint now) {
  if (now > tokens_at_) {
    const double gained = seconds(now - tokens_at_) * config.refill_per_second;
    tokens_ = std::min(bucket_size(config), tokens_ + gained);
    tokens_at_ = now;
  }
  tokens_ -= cost;
  return tokens_ >= -1e-6 ? "" : "token_bucket: overdrawn by " + std::to_string(-tokens_);
}

std::string BudgetAccount::credit(const policy::BudgetConfig& config, TimePoint now) {
  credits_ = std::min(credits_, config.capacity);
  if (credits_ >= config.retry_cost) {
    credits_ -= config.retry_cost;
    return {};
  }
  if (config.min_per_second > 0 && now >= floor_free_at_) {
    floor_free_at_ = now + Nanos{static_cast<std::int64_t>(1e9 / config.min_per_second)};
    return {};
  }
  return "success_credit: only " + std::to_string(credits_) + " left";
}

std::string BudgetAccount::extra_began(const policy::BudgetConfig& config, double cost, TimePoint now) {
  ++extras_;
  extra_times_.push_back(now);
  switch (config.type) {
    case policy::BudgetType::window: return window(config, now);
    case policy::BudgetType::ratio: return ratio(config);
    case policy::BudgetType::token_bucket: return tokens(config, cost, now);
    case policy::BudgetType::success_credit: return credit(config, now);
    case policy::BudgetType::unlimited: break;
  }
  return {};
}

std::string BudgetAccount::compare() const {
  if (state_->extras_in_flight() != extras_) {
    return "budget counts " + std::to_string(state_->extras_in_flight()) + " extras, " + std::to_string(extras_) +
           " are in flight";
  }
  if (state_->requests_in_flight() != in_loop_) {
    return "budget counts " + std::to_string(state_->requests_in_flight()) + " requests, " + std::to_string(in_loop_) +
           " are in their loop";
  }
  return {};
}

BudgetAccount& Ledger::of(const policy::Budget& state) {
  return *std::ranges::find_if(budgets_, [&](const BudgetAccount& each) { return each.is_of(state); });
}

std::string Ledger::compare(const policy::EndpointSet& set) const {
  for (std::size_t i = 0; i < in_flight_.size(); ++i) {
    const std::int64_t counted = set.endpoints[i].state->in_flight.load();
    // A slot that was handed to somebody who waits is taken before he knows.
    const bool handed_over = set.endpoints[i].state->slots != nullptr && counted > in_flight_[i];
    if (counted != in_flight_[i] && !handed_over) {
      return "endpoint " + std::to_string(i) + " counts " + std::to_string(counted) + " in flight, " +
             std::to_string(in_flight_[i]) + " are";
    }
  }
  for (const BudgetAccount& budget : budgets_) {
    if (std::string difference = budget.compare(); !difference.empty()) return difference;
  }
  return {};
}

}  // namespace outrigger::test
