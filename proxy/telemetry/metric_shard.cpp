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

template <class E>
constexpr std::size_t at(E enumerator) noexcept {
  return static_cast<std::size_t>(enumerator);
}

constexpr std::size_t kAttemptStage = 8;

std::size_t stage_of(char digit) noexcept {
  const int stage = digit >= 'a' ? digit - 'a' + 10 : digit - '0';
  return stage >= 0 && stage < static_cast<int>(kStages) ? static_cast<std::size_t>(stage) : 0;
}

bool is_deadline(Reason reason) noexcept {
  return reason == Reason::deadline_too_short || reason == Reason::overall_timeout;
}

/// The deadline may also pass behind a response that was kept and is relayed then: only the attempts tell.
void record_deadline(const exchange::Timeline& timeline, PolicyRow& policy) noexcept {
  if (is_deadline(timeline.reason)) return policy.deadline_exceeded[stage_of(timeline.stage)].add();
  for (const exchange::AttemptRecord& attempt : timeline.attempts) {
    if (attempt.reason == Reason::overall_timeout) return policy.deadline_exceeded[kAttemptStage].add();
  }
}

void record_request(const exchange::Timeline& timeline, PolicyRow& policy) noexcept {
  policy.requests[at(timeline.reason)].add();
  if (timeline.reason == Reason::success && timeline.status >= 300) policy.redirects.add();
  policy.duration[at(timeline.outcome)].observe(timeline.duration);
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

PolicyRow::PolicyRow(const Buckets& buckets) : duration(histograms(exchange::kRequestOutcomes, buckets)) {}
AttemptRow::AttemptRow(const Buckets& buckets) : duration(histograms(exchange::kAttemptKinds, buckets)) {}

void record(const exchange::Timeline& timeline, PolicyRow& policy, AttemptRow& attempts, BudgetRow* budget) noexcept {
  policy.in_flight.add(-1);
  record_request(timeline, policy);
  record_deadline(timeline, policy);
  // A result that no other attempt would have mended was not stopped by anything.
  if (timeline.stop_reason && *timeline.stop_reason != Reason::non_retryable) {
    policy.retries_suppressed[at(*timeline.stop_reason)].add();
  }
  for (const exchange::AttemptRecord& attempt : timeline.attempts) {
    attempts.attempts[at(attempt.kind)][at(attempt.outcome)][at(attempt.reason)].add();
    attempts.duration[at(attempt.kind)].observe(attempt.duration);
    if (budget != nullptr && attempt.budget_asked) budget->decisions[at(attempt.kind)][attempt.budget_allowed].add();
  }
  if (budget == nullptr) return;
  for (const exchange::Decision& decision : timeline.decisions) {
    if (decision.reason == Reason::budget_denied) budget->decisions[at(exchange::AttemptKind::retry)][false].add();
  }
}

void record_refusal(const exchange::Timeline& timeline, PolicyRow& policy) noexcept {
  record_request(timeline, policy);
}

MetricRegistry::All MetricRegistry::all() const {
  const std::lock_guard lock(mutex_);
  All found{.buckets = buckets_,
            .workers = workers_,
            .policies = list(policies_),
            .attempts = {},
            .budgets = list(budgets_),
            .listeners = list(listeners_),
            .upstreams = list(upstreams_)};
  for (const auto& [key, rows] : attempts_) found.attempts.push_back({key.first, key.second, rows});
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
  return row(attempts_, std::pair{std::string{policy}, std::string{upstream}}, workers_.size(), worker, buckets_);
}

BudgetRow* MetricRegistry::budget_row(std::uint32_t worker, std::string_view budget) {
  const std::lock_guard lock(mutex_);
  return row(budgets_, std::string{budget}, workers_.size(), worker);
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
