#include "tests/sim/invariants.hpp"

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
  account_.add(entry);
}

void Invariants::at_rest() {
  if (running_ != 0) broken(0, "I1 " + std::to_string(running_) + " exchanges have not ended");
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
