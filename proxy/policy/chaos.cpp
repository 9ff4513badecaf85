#include "proxy/policy/chaos.hpp"

#include "proxy/base/rng.hpp"

namespace outrigger::policy {

ChaosRoll chaos_roll(const ChaosConfig& config, std::uint64_t n) noexcept {
  // The seed is spread before n is added: neighbouring seeds must not be shifted copies of one sequence.
  Rng rng{Rng{config.seed}.next() + n};
  const double late = rng.uniform();
  const std::uint64_t length = rng.next();
  const double fails = rng.uniform();

  ChaosRoll roll;
  if (config.delay && late < config.delay->probability && config.delay->max > Nanos{0}) {
    const auto span = static_cast<std::uint64_t>((config.delay->max - config.delay->min).count()) + 1;
    const auto within = static_cast<std::int64_t>((static_cast<unsigned __int128>(length) * span) >> 64);
    roll.delay = config.delay->min + Nanos{within};
  }
  if (config.abort && fails < config.abort->probability) roll.abort = config.abort;
  return roll;
}

bool same_structure(const ChaosConfig& a, const ChaosConfig& b) noexcept { return a.seed == b.seed; }

ChaosRoll Chaos::roll(const ChaosConfig& config, std::int64_t wall_us) noexcept {
  if (config.until_us != 0 && wall_us >= config.until_us) return {};
  return chaos_roll(config, next_.value.fetch_add(1, std::memory_order_relaxed));
}

}  // namespace outrigger::policy
