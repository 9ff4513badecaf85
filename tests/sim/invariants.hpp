// tests/sim/invariants.hpp
//
// What must hold over all exchanges together, and the account that scenarios are judged by. The promises of a single
// exchange are held by ExchangeCheck and those of the shared state by Ledger; here they meet: the first that breaks
// stops the world and says when, and everything that ended goes into one hash, which a seed must reproduce.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "proxy/exchange/timeline.hpp"
#include "tests/sim/world.hpp"

namespace outrigger::sim {

struct Ended {
  Nanos start{};  // since the start of the world
  Nanos end{};
  bool good = false;
  Priority priority = Priority::standard;
  std::uint32_t attempts = 0;  // reconnects not counted
};

class Invariants {
 public:
  explicit Invariants(World& world) : world_(world), began_(world.now()) {}

  /// Notes a broken promise ("I3 ...") of an exchange and stops the world; the first one stays. Nothing for "".
  void broken(std::uint64_t exchange, const std::string& what);
  /// Notes an exchange that has begun, and one that has ended.
  void begun() { ++running_; }
  void ended(const exchange::Timeline& timeline);
  /// At rest: everything that began has ended.
  void at_rest();

  bool holds() const { return what_.empty(); }
  const std::string& what() const { return what_; }
  std::uint64_t exchange() const { return exchange_; }
  Nanos at() const { return at_; }
  std::uint64_t hash() const { return hash_; }

  /// Of the requests that began in [from, until): how many ended well.
  double goodput(Nanos from, Nanos until) const;
  /// Of those with that priority.
  double goodput(Nanos from, Nanos until, Priority priority) const;
  /// How many of them ended well per second.
  double good_per_second(Nanos from, Nanos until) const;
  /// The quantile of how long those took that ended well.
  Nanos latency(double quantile, Nanos from, Nanos until) const;
  /// Attempts per request of the same.
  double amplification(Nanos from, Nanos until) const;
  std::size_t requests() const { return ended_.size(); }
  std::uint64_t attempts() const;

 private:
  void mix(std::uint64_t value);
  void mix(const exchange::AttemptRecord& entry);

  World& world_;
  TimePoint began_;
  std::uint64_t running_ = 0;
  std::vector<Ended> ended_;
  std::uint64_t hash_ = 0xcbf29ce484222325u;
  std::string what_;
  Nanos at_{0};
  std::uint64_t exchange_ = 0;
};

}  // namespace outrigger::sim
