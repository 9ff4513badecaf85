#include "proxy/server/chaos_orders.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace outrigger::server {

config::ChaosOrder chaos_order(config::ChaosBlock block, Nanos ttl, std::int64_t now_us) {
  const std::int64_t end = now_us + std::chrono::duration_cast<std::chrono::microseconds>(ttl).count();
  std::int64_t& until = block.chaos.until_us;
  until = until == 0 ? end : std::min(until, end);
  return {.block = std::move(block)};
}

std::optional<std::int64_t> first_end(const config::ChaosOrders& orders) {
  std::optional<std::int64_t> first;
  for (const auto& [policy, order] : orders) {
    const std::int64_t end = order.block.chaos.until_us;
    first = first ? std::min(*first, end) : end;
  }
  return first;
}

std::vector<std::string> drop_ended(config::ChaosOrders& orders, const config::Config& config, std::int64_t now_us) {
  std::vector<std::string> dropped;
  std::erase_if(orders, [&](const auto& entry) {
    const auto& [policy, order] = entry;
    const bool goes_on =
        config.chaos_enabled && config.policies.contains(policy) && order.block.chaos.until_us > now_us;
    if (!goes_on) dropped.push_back(policy);
    return !goes_on;
  });
  return dropped;
}

}  // namespace outrigger::server
