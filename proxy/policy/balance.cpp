#include "proxy/policy/balance.hpp"

#include <cmath>

#include "proxy/policy/siphash.hpp"

namespace outrigger::policy {

std::uint64_t balance_hash(std::string_view text) noexcept {
  // Nothing secret: whoever may choose the key chooses the endpoint, by design.
  return SipHash(0x6f75747269676765, 0x72206b6579206861)(text);
}

double hash_draw(const Endpoint& endpoint, std::uint64_t key) noexcept {
  // The generator's seeding mixes well enough for one draw; never 0, which has no logarithm.
  const double uniform = 1 - Rng{endpoint.hash ^ key}.uniform();
  return -std::log(uniform) / endpoint.weight;
}

}  // namespace outrigger::policy
