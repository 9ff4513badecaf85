// tests/sim/account.hpp
//
// What a run has come to, as scenarios are judged by it: how every request ended and what it cost, and, where an
// adaptive limit stands before the upstream, how many attempts were in flight, second by second. The mean of a second
// is weighted by time, and what happens while the limit probes is left out of it: then the limit is low on purpose.
//
// All times are counted from the start of the world.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "proxy/base/priority.hpp"
#include "proxy/exchange/timeline.hpp"

namespace outrigger::sim {

/// Requests are counted by when they began.
struct Span {
  Nanos from{0};
  Nanos until = kForever;

  bool has(Nanos at) const { return at >= from && at < until; }
  double seconds() const { return static_cast<double>((until - from).count()) / 1e9; }
};

struct Ended {
  Nanos start{};
  Nanos end{};
  bool good = false;
  Priority priority = Priority::standard;
  std::uint8_t attempts = 0;  // reconnects not counted
};

/// The state of an adaptive limit at one moment.
struct LimitReading {
  std::uint32_t in_flight = 0;
  std::uint32_t limit = 0;
  Nanos baseline{0};
  bool probing = false;
};

class Account {
 public:
  void add(const Ended& entry) { ended_.push_back(entry); }
  /// Notes what holds from `at` on.
  void read(const LimitReading& reading, Nanos at);

  /// Which share of the requests ended well; 1 if there are none.
  double goodput(Span span) const;
  double goodput(Span span, Priority priority) const;
  /// How many ended well per second, counted by when they ended.
  double good_per_second(Span span) const;
  /// The quantile of how long those took that ended well.
  Nanos latency(double quantile, Span span) const;
  /// Attempts per request.
  double amplification(Span span) const;
  /// After how many seconds from `span.from` on it is well: 99 % of all that begins from then on, and at least 90 % of
  /// what begins in any fifth of a second.
  double seconds_to_recovery(Span span) const;

  /// The least and the most of the means by second of what was in flight.
  double least_in_flight(Span span) const;
  double most_in_flight(Span span) const;
  /// After how many seconds from `span.from` on that mean was at least `wanted`; the length of the span if never.
  double seconds_to_in_flight(Span span, double wanted) const;
  /// After how many seconds from `span.from` on the baseline was at least `wanted`, at the end of that second.
  double seconds_to_baseline(Span span, Nanos wanted) const;
  /// The least that the limit was outside probes.
  double least_limit(Span span) const;
  /// The limit at the end of the second in which `at` lies.
  std::uint32_t limit_at(Nanos at) const;

  std::size_t requests() const { return ended_.size(); }
  std::uint64_t attempts() const;

 private:
  struct Second {
    double held_ns = 0;                                            // places times time
    Nanos counted{0};                                              // without probes
    double least_limit = std::numeric_limits<double>::infinity();  // nor here
    LimitReading last;

    /// Absent where hardly anything of it is not a probe.
    std::optional<double> in_flight() const;
  };

  void spread(Nanos until);
  template <class Take>
  void each_second(Span span, Take take) const;

  std::vector<Ended> ended_;
  std::vector<Second> seconds_;
  LimitReading reading_;
  Nanos read_at_{0};
};

}  // namespace outrigger::sim
