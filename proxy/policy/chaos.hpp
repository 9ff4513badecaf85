// proxy/policy/chaos.hpp
//
// Faults on purpose, per attempt, as if the upstream had done them: first it is slow, then it fails. Both are rolled
// for each attempt and either may come without the other.
//
// The n-th roll is a function of the seed and n and of nothing else, so an experiment can be repeated: the same
// requests in the same order meet the same faults, in whatever worker they run. Delay, its length and the abort are
// drawn from separate numbers of the n-th sequence, so that turning one knob does not reshuffle the others. Who may act
// at all (two switches, the match of the block) is decided before it is asked here.
//
// Threads: any. Cost: one atomic addition and four generator steps per attempt that is rolled for; nothing otherwise.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "proxy/base/cache_line.hpp"
#include "proxy/base/time.hpp"

namespace outrigger::policy {

struct ChaosDelay {
  double probability = 0;
  Nanos min{0};
  Nanos max{0};  // equal to `min`: fixed
};

struct ChaosAbort {
  enum class Kind : std::uint8_t { status, reset, truncate };
  double probability = 0;
  Kind kind = Kind::status;
  std::uint16_t status = 503;
};

struct ChaosConfig {
  std::uint64_t seed = 0;
  std::optional<ChaosDelay> delay;
  std::optional<ChaosAbort> abort;
  std::int64_t until_us = 0;  // Unix time from which on it does nothing; 0: none
};

/// What is done to one attempt.
struct ChaosRoll {
  std::optional<Nanos> delay;  // before the abort, or before the attempt goes on its way
  std::optional<ChaosAbort> abort;

  bool acts() const noexcept { return delay || abort; }
};

/// The n-th roll (0 = first) of a config, without regard to `until_us`.
ChaosRoll chaos_roll(const ChaosConfig& config, std::uint64_t n) noexcept;

/// Whether a state may be kept: another seed begins another sequence.
bool same_structure(const ChaosConfig& a, const ChaosConfig& b) noexcept;

class Chaos {
 public:
  /// The next roll. `wall_us`: Unix time; after the end of the experiment nothing happens and no roll is used up.
  ChaosRoll roll(const ChaosConfig& config, std::int64_t wall_us) noexcept;

  /// How many rolls were used.
  std::uint64_t rolls() const noexcept { return next_.value.load(std::memory_order_relaxed); }

 private:
  Padded<std::atomic<std::uint64_t>> next_;
};

}  // namespace outrigger::policy
