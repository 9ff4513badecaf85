// proxy/server/chaos_orders.hpp
//
// Faults that an operator ordered, as they come and go: each has an end on the wall clock, so that an experiment that
// was forgotten ends by itself. The process keeps them beside the file's configuration and builds every snapshot with
// them (config::ChaosTerms).
//
// Threads: the control thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "proxy/config/snapshot.hpp"

namespace outrigger::server {

/// An order that begins at `now_us` and ends after `ttl`, or before, where the block says so itself.
config::ChaosOrder chaos_order(config::ChaosBlock block, Nanos ttl, std::int64_t now_us);

/// When the first of them ends; nullopt: there is none.
std::optional<std::int64_t> first_end(const config::ChaosOrders& orders);

/// Takes out those that are over, and those that the configuration has no policy for or does not permit. Returns whose
/// they were.
std::vector<std::string> drop_ended(config::ChaosOrders& orders, const config::Config& config, std::int64_t now_us);

}  // namespace outrigger::server
