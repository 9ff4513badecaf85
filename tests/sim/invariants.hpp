// tests/sim/invariants.hpp
//
// What must hold over all exchanges together. The promises of a single exchange are held by ExchangeCheck and those of
// the shared state by Ledger; here they meet: the first that breaks stops the world and says when, and everything that
// ended goes into the account and into one hash, which a seed must reproduce.
#pragma once

#include <cstdint>
#include <string>

#include "proxy/exchange/timeline.hpp"
#include "tests/sim/account.hpp"
#include "tests/sim/world.hpp"

namespace outrigger::sim {

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
  /// Notes how an adaptive limit stands now.
  void read(const LimitReading& reading) { account_.read(reading, world_.now() - began_); }

  bool holds() const { return what_.empty(); }
  const std::string& what() const { return what_; }
  std::uint64_t exchange() const { return exchange_; }
  Nanos at() const { return at_; }
  std::uint64_t hash() const { return hash_; }

  const Account& account() const { return account_; }

 private:
  void mix(std::uint64_t value);
  void mix(const exchange::AttemptRecord& entry);

  World& world_;
  TimePoint began_;
  std::uint64_t running_ = 0;
  Account account_;
  std::uint64_t hash_ = 0xcbf29ce484222325u;
  std::string what_;
  Nanos at_{0};
  std::uint64_t exchange_ = 0;
};

}  // namespace outrigger::sim
