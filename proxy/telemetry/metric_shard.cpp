#include "proxy/telemetry/metric_shard.hpp"

#include <algorithm>
#include <cmath>

namespace outrigger::telemetry {
namespace {

std::vector<Histogram> histograms(std::size_t count, const Buckets& buckets) {
  std::vector<Histogram> made;
  made.reserve(count);
  for (std::size_t i = 0; i < count; ++i) made.emplace_back(buckets);
  return made;
}

template <class Rows, class Key, class... Args>
auto* row(Rows& rows, Key&& key, std::size_t workers, std::uint32_t worker, const Args&... args) {
  using Row = typename Rows::mapped_type::value_type::element_type;
  auto [found, is_new] = rows.try_emplace(std::forward<Key>(key));
  if (is_new) {
    for (std::size_t i = 0; i < workers; ++i) found->second.push_back(std::make_unique<Row>(args...));
  }
  return found->second[worker].get();
}

template <class Row>
std::vector<MetricRegistry::Named<Row>> list(const std::map<std::string, MetricRegistry::PerWorker<Row>>& rows) {
  std::vector<MetricRegistry::Named<Row>> listed;
  for (const auto& [name, per_worker] : rows) listed.push_back({name, per_worker});
  return listed;
}

}  // namespace

Buckets::Buckets(std::vector<double> upper_seconds) : seconds(std::move(upper_seconds)) {
  ns.reserve(seconds.size());
  for (const double bound : seconds) ns.push_back(std::llround(bound * 1e9));
}

Histogram::Histogram(const Buckets& buckets) : buckets_(&buckets), cells_(new Counter[buckets.ns.size() + 2]) {}

void Histogram::observe(Nanos duration) noexcept {
  const std::int64_t ns = std::max<std::int64_t>(duration.count(), 0);
  const auto bound = std::lower_bound(buckets_->ns.begin(), buckets_->ns.end(), ns);
  cells_[static_cast<std::size_t>(bound - buckets_->ns.begin())].add();
  cells_[bucket_count()].add(static_cast<std::uint64_t>(ns));
}

PolicyRow::PolicyRow(const Buckets& buckets)
    : duration(histograms(exchange::kRequestOutcomes, buckets)), queue_wait(histograms(kQueues, buckets)) {}
AttemptRow::AttemptRow(const Buckets& buckets) : duration(histograms(exchange::kAttemptKinds, buckets)) {}

MetricRegistry::All MetricRegistry::all() const {
  const std::lock_guard lock(mutex_);
  All found{.buckets = buckets_,
            .workers = workers_,
            .policies = list(policies_),
            .attempts = {},
            .budgets = list(budgets_),
            .hedges = list(hedges_),
            .fallbacks = list(fallbacks_),
            .caches = list(caches_),
            .chaos = list(chaos_),
            .rate_limits = {},
            .bulkheads = list(bulkheads_),
            .adaptive_limits = list(adaptive_limits_),
            .throttles = list(throttles_),
            .listeners = list(listeners_),
            .upstreams = list(upstreams_)};
  for (const auto& [key, rows] : attempts_) {
    found.attempts.push_back({key.first, key.second, rows, routes_.contains(key), fallback_ways_.contains(key)});
  }
  for (const auto& [key, rows] : rate_limits_) found.rate_limits.push_back({key.first, key.second, rows});
  return found;
}

MetricRegistry::MetricRegistry(std::uint32_t workers, std::vector<double> bucket_seconds)
    : buckets_(std::move(bucket_seconds)) {
  for (std::uint32_t i = 0; i < workers; ++i) workers_.push_back(std::make_unique<WorkerRow>());
}

PolicyRow* MetricRegistry::policy_row(std::uint32_t worker, std::string_view policy) {
  const std::lock_guard lock(mutex_);
  return row(policies_, std::string{policy}, workers_.size(), worker, buckets_);
}

AttemptRow* MetricRegistry::attempt_row(std::uint32_t worker, std::string_view policy, std::string_view upstream) {
  const std::lock_guard lock(mutex_);
  const std::pair key{std::string{policy}, std::string{upstream}};
  routes_.insert(key);
  return row(attempts_, key, workers_.size(), worker, buckets_);
}

AttemptRow* MetricRegistry::fallback_attempt_row(std::uint32_t worker, std::string_view policy,
                                                 std::string_view upstream) {
  const std::lock_guard lock(mutex_);
  const std::pair key{std::string{policy}, std::string{upstream}};
  fallback_ways_.insert(key);
  return row(attempts_, key, workers_.size(), worker, buckets_);
}

BudgetRow* MetricRegistry::budget_row(std::uint32_t worker, std::string_view budget) {
  const std::lock_guard lock(mutex_);
  return row(budgets_, std::string{budget}, workers_.size(), worker);
}

HedgeRow* MetricRegistry::hedge_row(std::uint32_t worker, std::string_view policy) {
  const std::lock_guard lock(mutex_);
  return row(hedges_, std::string{policy}, workers_.size(), worker);
}

FallbackRow* MetricRegistry::fallback_row(std::uint32_t worker, std::string_view policy) {
  const std::lock_guard lock(mutex_);
  return row(fallbacks_, std::string{policy}, workers_.size(), worker);
}

CacheRow* MetricRegistry::cache_row(std::uint32_t worker, std::string_view policy) {
  const std::lock_guard lock(mutex_);
  return row(caches_, std::string{policy}, workers_.size(), worker);
}

ChaosRow* MetricRegistry::chaos_row(std::uint32_t worker, std::string_view policy) {
  const std::lock_guard lock(mutex_);
  return row(chaos_, std::string{policy}, workers_.size(), worker);
}

RateLimitRow* MetricRegistry::rate_limit_row(std::uint32_t worker, std::string_view rate_limit,
                                             std::string_view policy) {
  const std::lock_guard lock(mutex_);
  return row(rate_limits_, std::pair{std::string{rate_limit}, std::string{policy}}, workers_.size(), worker);
}

BulkheadRow* MetricRegistry::bulkhead_row(std::uint32_t worker, std::string_view bulkhead) {
  const std::lock_guard lock(mutex_);
  return row(bulkheads_, std::string{bulkhead}, workers_.size(), worker);
}

AdaptiveLimitRow* MetricRegistry::adaptive_limit_row(std::uint32_t worker, std::string_view adaptive_limit) {
  const std::lock_guard lock(mutex_);
  return row(adaptive_limits_, std::string{adaptive_limit}, workers_.size(), worker);
}

ThrottleRow* MetricRegistry::throttle_row(std::uint32_t worker, std::string_view adaptive_throttle) {
  const std::lock_guard lock(mutex_);
  return row(throttles_, std::string{adaptive_throttle}, workers_.size(), worker);
}

ListenerRow* MetricRegistry::listener_row(std::uint32_t worker, std::string_view listener) {
  const std::lock_guard lock(mutex_);
  return row(listeners_, std::string{listener}, workers_.size(), worker);
}

UpstreamRow* MetricRegistry::upstream_row(std::uint32_t worker, std::string_view upstream) {
  const std::lock_guard lock(mutex_);
  return row(upstreams_, std::string{upstream}, workers_.size(), worker);
}

}  // namespace outrigger::telemetry
