// proxy/base/rng.hpp
//
// Randomness as an argument. The generator and the distributions are our own code because the standard library's
// distributions differ between implementations, and a seed must mean the same sequence everywhere: the simulator's
// replay and `chaos.seed` depend on it.
//
// Source: xoshiro256** 1.0 and splitmix64, D. Blackman and S. Vigna, 2018 (public domain).
// Threads: one owner. Cost: a few nanoseconds per draw.
#pragma once

#include <bit>
#include <cstdint>

namespace outrigger {

class Rng {
 public:
  /// Any seed is good, 0 included: it is spread by splitmix64.
  explicit constexpr Rng(std::uint64_t seed) noexcept {
    for (std::uint64_t& word : state_) {
      seed += 0x9e3779b97f4a7c15u;
      std::uint64_t z = seed;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
      word = z ^ (z >> 31);
    }
  }

  constexpr std::uint64_t next() noexcept {
    const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const std::uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  /// Uniform in [0, bound); 0 when `bound` is 0. The bias is below bound / 2^64.
  constexpr std::uint64_t below(std::uint64_t bound) noexcept {
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(next()) * bound) >> 64);
  }

  /// Uniform in [0, 1).
  constexpr double uniform() noexcept { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

  /// A generator of its own whose sequence depends only on this one's state.
  constexpr Rng split() noexcept { return Rng{next()}; }

 private:
  std::uint64_t state_[4]{};
};

}  // namespace outrigger
