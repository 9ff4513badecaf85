// proxy/telemetry/metric_shard.hpp
//
// Counting on the hot path: every worker has rows of its own and is their only writer, so that a count is a relaxed
// load and a relaxed store on a line no other worker touches, and costs neither a lock nor a read-modify-write. A
// scrape sums the rows of all workers (prometheus_export.hpp). prometheus-cpp's own counters and histograms are not
// used here: each of them takes a mutex or a shared line per observation.
//
// Rows are made by the control thread when a snapshot is built, by name, and live as long as the process: a counter
// survives a reload, and a worker may keep the raw pointers. Arrays are indexed by enumerators; which of their cells
// appear in the export is decided there. How a finished request gets into them is in record.hpp.
//
// Threads: a row has one writer; any thread may read.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proxy/base/cache_line.hpp"
#include "proxy/base/priority.hpp"
#include "proxy/base/reason.hpp"
#include "proxy/base/time.hpp"
#include "proxy/exchange/timeline.hpp"

namespace outrigger::telemetry {

/// A number that only grows.
class Counter {
 public:
  void add(std::uint64_t by = 1) noexcept { value_.store(value() + by, std::memory_order_relaxed); }
  std::uint64_t value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

/// A worker's share of a number that goes up and down.
class Gauge {
 public:
  void add(std::int64_t by) noexcept { value_.store(value() + by, std::memory_order_relaxed); }
  std::int64_t value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::int64_t> value_{0};
};

/// Upper bounds of the buckets all histograms share, in ascending order; fixed when the process starts.
struct Buckets {
  explicit Buckets(std::vector<double> upper_seconds);

  std::vector<double> seconds;
  std::vector<std::int64_t> ns;
};

inline constexpr std::array kDefaultBucketSeconds = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                                     0.5,    1.0,   2.5,    5.0,   10.0, 15.0,  30.0, 60.0};

/// Durations by bucket; the last bucket has no upper bound.
class Histogram {
 public:
  explicit Histogram(const Buckets& buckets);

  void observe(Nanos duration) noexcept;
  std::uint64_t count(std::size_t bucket) const noexcept { return cells_[bucket].value(); }
  Nanos sum() const noexcept { return Nanos{static_cast<std::int64_t>(cells_[bucket_count()].value())}; }
  std::size_t bucket_count() const noexcept { return buckets_->ns.size() + 1; }

 private:
  const Buckets* buckets_;
  std::unique_ptr<Counter[]> cells_;  // the buckets, then the sum in nanoseconds
};

inline constexpr std::size_t kOutcomes = 4;     // of attempts
inline constexpr std::size_t kStages = 11;      // 0 unused, 1 read .. 10 settle
inline constexpr std::size_t kCodeClasses = 4;  // 2xx..5xx
inline constexpr std::size_t kDirections = 4;
enum class Direction : std::uint8_t { downstream_in, downstream_out, upstream_in, upstream_out };
/// What a request may wait for before it is sent; the values of a label, with the names of exchange::Part.
enum class Queue : std::uint8_t { cache, rate_limit, bulkhead, adaptive_limit, pool };
inline constexpr std::size_t kQueues = 5;
enum class HedgeResult : std::uint8_t { won, lost, suppressed, failed };
inline constexpr std::size_t kHedgeResults = 4;
enum class RateLimitResult : std::uint8_t { allow, deny, would_deny };
inline constexpr std::size_t kRateLimitResults = 3;
/// What is done to an attempt on purpose; the names of exchange::Fault, with its delays in the place of `none`.
enum class ChaosKind : std::uint8_t { delay, status, reset, truncate };
inline constexpr std::size_t kChaosKinds = 4;
static_assert(kChaosKinds == exchange::kFaults);

using ByReason = std::array<Counter, kReasonCount>;
/// Answers that did not come from the upstream: their reason does not fix the code.
using ByClass = std::array<ByReason, kCodeClasses>;

/// What is counted of the requests of one policy key.
struct alignas(kCacheLine) PolicyRow {
  explicit PolicyRow(const Buckets& buckets);

  Gauge in_flight;
  ByReason requests;  // but for those below
  Counter redirects;  // of requests[success], those answered 3xx
  ByClass fallbacks;
  ByClass cached;
  ByReason retries_suppressed;
  ByReason observed;  // refusals that were only computed
  std::array<Counter, kStages> deadline_exceeded;
  std::vector<Histogram> duration;    // by RequestOutcome
  std::vector<Histogram> queue_wait;  // by Queue, of those that waited
};

/// What is counted of the attempts of one policy key at one upstream.
struct alignas(kCacheLine) AttemptRow {
  explicit AttemptRow(const Buckets& buckets);

  std::array<std::array<ByReason, kOutcomes>, exchange::kAttemptKinds> attempts;
  std::vector<Histogram> duration;  // by AttemptKind
};

struct alignas(kCacheLine) BudgetRow {
  std::array<std::array<Counter, 2>, exchange::kAttemptKinds> decisions;  // [kind][allowed]
};

/// Of one policy key that hedges.
struct alignas(kCacheLine) HedgeRow {
  std::array<Counter, kHedgeResults> results;
};

/// Of one policy key that has a fallback.
struct alignas(kCacheLine) FallbackRow {
  Counter sent;
};

/// Of one policy key that has a cache.
struct alignas(kCacheLine) CacheRow {
  std::array<Counter, exchange::kCacheShown> lookups;
};

/// Of one policy key whose attempts meet faults on purpose.
struct alignas(kCacheLine) ChaosRow {
  std::array<Counter, kChaosKinds> injected;
};

/// Of one rate limit, by one policy key.
struct alignas(kCacheLine) RateLimitRow {
  std::array<Counter, kRateLimitResults> decisions;
};

struct alignas(kCacheLine) BulkheadRow {
  std::array<ByReason, kPriorities> rejected;
};

struct alignas(kCacheLine) AdaptiveLimitRow {
  std::array<Counter, kPriorities> rejected;
};

struct alignas(kCacheLine) ThrottleRow {
  Counter rejected;
};

struct alignas(kCacheLine) ListenerRow {
  Gauge connections;
  Counter connections_total;
  ByReason rejected;
};

struct alignas(kCacheLine) UpstreamRow {
  Gauge active;
  Gauge idle;
  ByReason connects;  // `success`, or why not
};

struct alignas(kCacheLine) WorkerRow {
  std::array<Counter, kDirections> bytes;
  Counter mirrors_dropped;

  void moved(Direction direction, std::uint64_t count) noexcept {
    bytes[static_cast<std::size_t>(direction)].add(count);
  }
};

inline constexpr std::string_view kUnrouted = "_unrouted";

/// All rows of the process, by name and worker.
/// Threads: any; a mutex guards the maps, never the counting.
class MetricRegistry {
 public:
  MetricRegistry(std::uint32_t workers, std::vector<double> bucket_seconds);
  MetricRegistry(const MetricRegistry&) = delete;
  MetricRegistry& operator=(const MetricRegistry&) = delete;

  /// The row of that name for that worker, made if there is none; valid as long as the registry.
  PolicyRow* policy_row(std::uint32_t worker, std::string_view policy);
  AttemptRow* attempt_row(std::uint32_t worker, std::string_view policy, std::string_view upstream);
  BudgetRow* budget_row(std::uint32_t worker, std::string_view budget);
  /// The same where only a fallback leads there, which decides what series there are before anything has happened.
  AttemptRow* fallback_attempt_row(std::uint32_t worker, std::string_view policy, std::string_view upstream);
  HedgeRow* hedge_row(std::uint32_t worker, std::string_view policy);
  FallbackRow* fallback_row(std::uint32_t worker, std::string_view policy);
  CacheRow* cache_row(std::uint32_t worker, std::string_view policy);
  ChaosRow* chaos_row(std::uint32_t worker, std::string_view policy);
  RateLimitRow* rate_limit_row(std::uint32_t worker, std::string_view rate_limit, std::string_view policy);
  BulkheadRow* bulkhead_row(std::uint32_t worker, std::string_view bulkhead);
  AdaptiveLimitRow* adaptive_limit_row(std::uint32_t worker, std::string_view adaptive_limit);
  ThrottleRow* throttle_row(std::uint32_t worker, std::string_view adaptive_throttle);
  ListenerRow* listener_row(std::uint32_t worker, std::string_view listener);
  UpstreamRow* upstream_row(std::uint32_t worker, std::string_view upstream);
  WorkerRow* worker_row(std::uint32_t worker) noexcept { return workers_[worker].get(); }

  template <class Row>
  using PerWorker = std::vector<std::unique_ptr<Row>>;
  /// One name with its rows; both stay where they are as long as the registry.
  template <class Row>
  struct Named {
    std::string_view name;
    const PerWorker<Row>& rows;
  };
  struct NamedAttempts {
    std::string_view policy;
    std::string_view upstream;
    const PerWorker<AttemptRow>& rows;
    bool of_routes = false;     // a route of the policy leads there
    bool of_fallbacks = false;  // its fallback does
  };
  struct NamedRateLimits {
    std::string_view rate_limit;
    std::string_view policy;
    const PerWorker<RateLimitRow>& rows;
  };
  struct All {
    const Buckets& buckets;
    const PerWorker<WorkerRow>& workers;
    std::vector<Named<PolicyRow>> policies;
    std::vector<NamedAttempts> attempts;
    std::vector<Named<BudgetRow>> budgets;
    std::vector<Named<HedgeRow>> hedges;
    std::vector<Named<FallbackRow>> fallbacks;
    std::vector<Named<CacheRow>> caches;
    std::vector<Named<ChaosRow>> chaos;
    std::vector<NamedRateLimits> rate_limits;
    std::vector<Named<BulkheadRow>> bulkheads;
    std::vector<Named<AdaptiveLimitRow>> adaptive_limits;
    std::vector<Named<ThrottleRow>> throttles;
    std::vector<Named<ListenerRow>> listeners;
    std::vector<Named<UpstreamRow>> upstreams;
  };
  /// What there is to read at this moment, in the order of names.
  All all() const;

 private:
  template <class Row>
  using ByName = std::map<std::string, PerWorker<Row>>;
  template <class Row>
  using ByPair = std::map<std::pair<std::string, std::string>, PerWorker<Row>>;

  mutable std::mutex mutex_;
  const Buckets buckets_;
  PerWorker<WorkerRow> workers_;
  ByName<PolicyRow> policies_;
  ByPair<AttemptRow> attempts_;                                  // by policy and upstream
  std::set<std::pair<std::string, std::string>> routes_;         // which of them routes lead to
  std::set<std::pair<std::string, std::string>> fallback_ways_;  // and which fallbacks do
  ByName<BudgetRow> budgets_;
  ByName<HedgeRow> hedges_;
  ByName<FallbackRow> fallbacks_;
  ByName<CacheRow> caches_;
  ByName<ChaosRow> chaos_;
  ByPair<RateLimitRow> rate_limits_;  // by limit and policy
  ByName<BulkheadRow> bulkheads_;
  ByName<AdaptiveLimitRow> adaptive_limits_;
  ByName<ThrottleRow> throttles_;
  ByName<ListenerRow> listeners_;
  ByName<UpstreamRow> upstreams_;
};

}  // namespace outrigger::telemetry
