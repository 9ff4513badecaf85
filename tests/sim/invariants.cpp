#include "tests/sim/invariants.hpp"

#include <algorithm>

namespace outrigger::sim {

void Invariants::broken(std::uint64_t exchange, const std::string& what) {
  if (what.empty() || !what_.empty()) return;
  what_ = what;
  at_ = world_.now() - began_;
  exchange_ = exchange;
  world_.stop();
}

void Invariants::ended(const exchange::Timeline& timeline) {
  --running_;
  const Nanos start = timeline.start - began_;
  Ended entry{.start = start, .end = start + timeline.duration};
  entry.good = timeline.outcome == exchange::RequestOutcome::ok;
  entry.priority = parse_priority(timeline.priority).value_or(Priority::standard);
  mix(static_cast<std::uint64_t>(start.count()));
  mix(static_cast<std::uint64_t>(timeline.duration.count()));
  mix(timeline.status);
  mix(static_cast<std::uint64_t>(timeline.reason));
  mix(timeline.stop_reason ? static_cast<std::uint64_t>(*timeline.stop_reason) : 0xff);
  mix(static_cast<std::uint64_t>(timeline.who) << 8 | static_cast<std::uint64_t>(timeline.stage));
  for (const exchange::AttemptRecord& attempt : timeline.attempts) {
    mix(attempt);
    if (attempt.kind != exchange::AttemptKind::reconnect) ++entry.attempts;
  }
  for (const exchange::Decision& decision : timeline.decisions) {
    mix(static_cast<std::uint64_t>(decision.at.count()));
    mix(static_cast<std::uint64_t>(decision.reason));
  }
  ended_.push_back(entry);
}

void Invariants::at_rest() {
  if (running_ != 0) broken(0, "I1 " + std::to_string(running_) + " exchanges have not ended");
}

double Invariants::goodput(Nanos from, Nanos until) const {
  std::size_t all = 0;
  std::size_t good = 0;
  for (const Ended& entry : ended_) {
    if (entry.start < from || entry.start >= until) continue;
    ++all;
    good += entry.good ? 1 : 0;
  }
  return all == 0 ? 1 : static_cast<double>(good) / static_cast<double>(all);
}

double Invariants::goodput(Nanos from, Nanos until, Priority priority) const {
  std::size_t all = 0;
  std::size_t good = 0;
  for (const Ended& entry : ended_) {
    if (entry.start < from || entry.start >= until || entry.priority != priority) continue;
    ++all;
    good += entry.good ? 1 : 0;
  }
  return all == 0 ? 1 : static_cast<double>(good) / static_cast<double>(all);
}

double Invariants::good_per_second(Nanos from, Nanos until) const {
  const auto good = std::count_if(ended_.begin(), ended_.end(), [&](const Ended& entry) {
    return entry.good && entry.end >= from && entry.end < until;
  });
  return static_cast<double>(good) * 1e9 / static_cast<double>((until - from).count());
}

Nanos Invariants::latency(double quantile, Nanos from, Nanos until) const {
  std::vector<Nanos> taken;
  for (const Ended& entry : ended_) {
    if (entry.good && entry.start >= from && entry.start < until) taken.push_back(entry.end - entry.start);
  }
  if (taken.empty()) return Nanos{0};
  const auto at = taken.begin() + static_cast<std::ptrdiff_t>(quantile * static_cast<double>(taken.size() - 1));
  std::nth_element(taken.begin(), at, taken.end());
  return *at;
}

double Invariants::amplification(Nanos from, Nanos until) const {
  std::size_t all = 0;
  std::size_t attempts = 0;
  for (const Ended& entry : ended_) {
    if (entry.start < from || entry.start >= until) continue;
    ++all;
    attempts += entry.attempts;
  }
  return all == 0 ? 1 : static_cast<double>(attempts) / static_cast<double>(all);
}

std::uint64_t Invariants::attempts() const {
  std::uint64_t sum = 0;
  for (const Ended& entry : ended_) sum += entry.attempts;
  return sum;
}

/// FNV-1a over eight bytes at a time, with the high half folded down so that no bit is lost to the shift.
void Invariants::mix(std::uint64_t value) {
  hash_ = (hash_ ^ value) * 0x100000001b3u;
  hash_ ^= hash_ >> 29;
}

void Invariants::mix(const exchange::AttemptRecord& entry) {
  mix(static_cast<std::uint64_t>(entry.kind) << 8 | entry.n);
  mix(static_cast<std::uint64_t>(entry.outcome) << 24 | static_cast<std::uint64_t>(entry.reason) << 16 | entry.status);
  mix(static_cast<std::uint64_t>(entry.start.count()));
  mix(static_cast<std::uint64_t>(entry.duration.count()));
  mix(static_cast<std::uint64_t>(entry.ttfb.count()));
  mix(static_cast<std::uint64_t>(entry.backoff.count()));
  mix(entry.endpoint.size);
}

}  // namespace outrigger::sim
