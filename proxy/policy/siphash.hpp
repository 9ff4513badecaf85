// proxy/policy/siphash.hpp
//
// A hash that nobody can aim without its key: tables filled by what clients send stay tables, and values kept instead
// of their text do not collide on purpose.
//
// Source: SipHash-2-4 with 64 bits, J.-P. Aumasson and D. J. Bernstein, 2012. Cost: some 20 ns for a short text.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace outrigger::policy {

class SipHash {
 public:
  constexpr SipHash(std::uint64_t key_low, std::uint64_t key_high) noexcept : key_low_(key_low), key_high_(key_high) {}

  constexpr std::uint64_t operator()(std::string_view text) const noexcept {
    State state{key_low_ ^ 0x736f6d6570736575u, key_high_ ^ 0x646f72616e646f6du, key_low_ ^ 0x6c7967656e657261u,
                key_high_ ^ 0x7465646279746573u};
    const std::uint64_t length = text.size();
    for (; text.size() >= 8; text.remove_prefix(8)) state.take(word(text.substr(0, 8)));
    state.take(word(text) | (length << 56));
    state.v2 ^= 0xff;
    state.rounds(4);
    return state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
  }

 private:
  struct State {
    std::uint64_t v0, v1, v2, v3;

    constexpr void rounds(int count) noexcept {
      for (int i = 0; i < count; ++i) {
        v0 += v1;
        v2 += v3;
        v1 = std::rotl(v1, 13) ^ v0;
        v3 = std::rotl(v3, 16) ^ v2;
        v0 = std::rotl(v0, 32) + v3;
        v2 += v1;
        v3 = std::rotl(v3, 21) ^ v0;
        v1 = std::rotl(v1, 17) ^ v2;
        v2 = std::rotl(v2, 32);
      }
    }
    constexpr void take(std::uint64_t word) noexcept {
      v3 ^= word;
      rounds(2);
      v0 ^= word;
    }
  };

  /// Up to eight bytes, the first one lowest, whatever the machine.
  static constexpr std::uint64_t word(std::string_view bytes) noexcept {
    std::uint64_t word = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      word |= std::uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
    }
    return word;
  }

  std::uint64_t key_low_;
  std::uint64_t key_high_;
};

}  // namespace outrigger::policy
