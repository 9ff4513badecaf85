#include "tests/sim/account.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

namespace outrigger::sim {

using namespace std::chrono_literals;

namespace {

constexpr Nanos kSecond = 1s;
constexpr Nanos kLeastCounted = 200ms;
constexpr Nanos kBin = 200ms;
constexpr double kWell = 0.99;
constexpr double kWellInBin = 0.9;

double share(std::size_t part, std::size_t all) {
  return all == 0 ? 1 : static_cast<double>(part) / static_cast<double>(all);
}

}  // namespace

// ---- requests -------------------------------------------------------------------------------

double Account::goodput(Span span) const {
  std::size_t all = 0;
  std::size_t good = 0;
  for (const Ended& entry : ended_) {
    if (!span.has(entry.start)) continue;
    ++all;
    good += entry.good ? 1 : 0;
  }
  return share(good, all);
}

double Account::goodput(Span span, Priority priority) const {
  std::size_t all = 0;
  std::size_t good = 0;
  for (const Ended& entry : ended_) {
    if (!span.has(entry.start) || entry.priority != priority) continue;
    ++all;
    good += entry.good ? 1 : 0;
  }
  return share(good, all);
}

double Account::good_per_second(Span span) const {
  const auto good =
      std::ranges::count_if(ended_, [&](const Ended& entry) { return entry.good && span.has(entry.end); });
  return static_cast<double>(good) / span.seconds();
}

Nanos Account::latency(double quantile, Span span) const {
  std::vector<Nanos> taken;
  for (const Ended& entry : ended_) {
    if (entry.good && span.has(entry.start)) taken.push_back(entry.end - entry.start);
  }
  if (taken.empty()) return Nanos{0};
  const auto at = taken.begin() + static_cast<std::ptrdiff_t>(quantile * static_cast<double>(taken.size() - 1));
  std::nth_element(taken.begin(), at, taken.end());
  return *at;
}

double Account::amplification(Span span) const {
  std::size_t all = 0;
  std::size_t attempts = 0;
  for (const Ended& entry : ended_) {
    if (!span.has(entry.start)) continue;
    ++all;
    attempts += entry.attempts;
  }
  return share(attempts, all);
}

double Account::seconds_to_recovery(Span span) const {
  struct Bin {
    std::size_t all = 0;
    std::size_t good = 0;
  };
  std::vector<Bin> bins(static_cast<std::size_t>((span.until - span.from) / kBin));
  for (const Ended& entry : ended_) {
    const auto index = static_cast<std::size_t>((entry.start - span.from) / kBin);
    if (!span.has(entry.start) || index >= bins.size()) continue;
    ++bins[index].all;
    bins[index].good += entry.good ? 1 : 0;
  }
  std::size_t well_from = bins.size();
  while (well_from > 0 && share(bins[well_from - 1].good, bins[well_from - 1].all) >= kWellInBin) --well_from;
  while (goodput({span.from + static_cast<std::int64_t>(well_from) * kBin, span.until}) < kWell) ++well_from;
  return static_cast<double>(well_from) * Span{0ns, kBin}.seconds();
}

std::uint64_t Account::attempts() const {
  return std::accumulate(ended_.begin(), ended_.end(), std::uint64_t{0},
                         [](std::uint64_t sum, const Ended& entry) { return sum + entry.attempts; });
}

// ---- the adaptive limit ---------------------------------------------------------------------

void Account::read(const LimitReading& reading, Nanos at) {
  spread(at);
  reading_ = reading;
}

/// The last reading held until then: it is counted in every second that it touched.
void Account::spread(Nanos until) {
  while (read_at_ < until) {
    const auto index = static_cast<std::size_t>(read_at_ / kSecond);
    const Nanos end = std::min(until, (read_at_ / kSecond + 1) * kSecond);
    if (seconds_.size() <= index) seconds_.resize(index + 1);
    Second& second = seconds_[index];
    second.last = reading_;
    if (!reading_.probing) {
      second.held_ns += static_cast<double>(reading_.in_flight) * static_cast<double>((end - read_at_).count());
      second.counted += end - read_at_;
      second.least_limit = std::min(second.least_limit, static_cast<double>(reading_.limit));
    }
    read_at_ = end;
  }
}

std::optional<double> Account::Second::in_flight() const {
  if (counted < kLeastCounted) return std::nullopt;
  return held_ns / static_cast<double>(counted.count());
}

/// Calls `take(seconds since the span began, second)` until it answers true.
template <class Take>
void Account::each_second(Span span, Take take) const {
  const auto first = static_cast<std::size_t>(span.from / kSecond);
  const auto end = std::min(seconds_.size(), static_cast<std::size_t>(span.until / kSecond));
  for (std::size_t i = first; i < end; ++i) {
    if (take(static_cast<double>(i - first), seconds_[i])) return;
  }
}

double Account::least_in_flight(Span span) const {
  double least = std::numeric_limits<double>::infinity();
  each_second(span, [&](double, const Second& second) {
    least = std::min(least, second.in_flight().value_or(least));
    return false;
  });
  return least;
}

double Account::most_in_flight(Span span) const {
  double most = 0;
  each_second(span, [&](double, const Second& second) {
    most = std::max(most, second.in_flight().value_or(most));
    return false;
  });
  return most;
}

double Account::seconds_to_in_flight(Span span, double wanted) const {
  double after = span.seconds();
  each_second(span, [&](double at, const Second& second) {
    if (second.in_flight().value_or(0) < wanted) return false;
    after = at + 1;
    return true;
  });
  return after;
}

double Account::seconds_to_baseline(Span span, Nanos wanted) const {
  double after = span.seconds();
  each_second(span, [&](double at, const Second& second) {
    if (second.last.baseline < wanted) return false;
    after = at + 1;
    return true;
  });
  return after;
}

double Account::least_limit(Span span) const {
  double least = std::numeric_limits<double>::infinity();
  each_second(span, [&](double, const Second& second) {
    least = std::min(least, second.least_limit);
    return false;
  });
  return least;
}

std::uint32_t Account::limit_at(Nanos at) const {
  if (seconds_.empty()) return 0;
  return seconds_[std::min(static_cast<std::size_t>(at / kSecond), seconds_.size() - 1)].last.limit;
}

}  // namespace outrigger::sim
