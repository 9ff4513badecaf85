// Faults on purpose that an operator orders: the part of Server that takes the orders, and lets them end.

#include <algorithm>
#include <utility>
#include <variant>

#include <nlohmann/json.hpp>

#include "proxy/config/check.hpp"
#include "proxy/config/dump.hpp"
#include "proxy/config/dump_blocks.hpp"
#include "proxy/config/load.hpp"
#include "proxy/config/scalars.hpp"
#include "proxy/net/clock.hpp"
#include "proxy/server/chaos_orders.hpp"
#include "proxy/server/redact.hpp"
#include "proxy/server/server.hpp"

namespace outrigger::server {

using admin::ChaosResult;
using nlohmann::ordered_json;

namespace {

constexpr std::string_view kDrained = "draining is over: there are no requests left";

}  // namespace

/// Why no faults may be ordered; empty: they may.
std::string Server::why_no_chaos() const {
  const bool enabled = snapshot_->config.chaos_enabled;
  if (stage_ == Stage::stopped) return std::string(kDrained);
  if (!enabled && !options_.allow_chaos) return "chaos_enabled is not true, and --allow-chaos was not given";
  if (!enabled) return "chaos_enabled is not true in the configuration";
  return options_.allow_chaos ? "" : "--allow-chaos was not given on the command line";
}

void Server::order_chaos(std::string_view policy, std::string_view yaml, Nanos ttl,
                         std::function<void(ChaosResult)> done) {
  const std::string key(policy);
  if (!snapshot_->config.policies.contains(key)) return done({.kind = ChaosResult::Kind::no_policy});
  if (std::string why = why_no_chaos(); !why.empty()) {
    return done({.kind = ChaosResult::Kind::not_now, .errors = {std::move(why)}});
  }
  auto loaded = config::load_chaos(yaml, "body", key, snapshot_->config);
  if (const auto* wrong = std::get_if<config::Diagnostics>(&loaded)) {
    ChaosResult refused{.kind = ChaosResult::Kind::not_valid};
    for (const config::Diagnostic& diagnostic : *wrong) refused.errors.push_back(config::to_string(diagnostic));
    return done(std::move(refused));
  }
  config::ChaosOrder order = chaos_order(std::move(std::get<config::ChaosBlock>(loaded)), ttl, net::wall_now_us());
  const std::string until = config::format_timestamp(order.block.chaos.until_us);
  log_.control().write(telemetry::LogLevel::warn, "faults were ordered", {{"policy", policy}, {"until", until}});
  config::ChaosOrders orders = chaos_orders_;
  orders.insert_or_assign(key, std::move(order));
  put_in_force(std::move(orders), [until, done = std::move(done)](std::uint64_t generation) {
    done({.generation = generation, .until = until});
  });
}

void Server::end_chaos(std::string_view policy, std::function<void(ChaosResult)> done) {
  config::ChaosOrders orders = chaos_orders_;
  if (orders.erase(std::string(policy)) == 0) {
    const bool known = snapshot_->config.policies.contains(std::string(policy));
    return done({.kind = known ? ChaosResult::Kind::no_order : ChaosResult::Kind::no_policy});
  }
  // No worker is left to put anything in force on.
  if (stage_ == Stage::stopped) {
    return done({.kind = ChaosResult::Kind::not_now, .errors = {std::string(kDrained)}});
  }
  log_.control().write(telemetry::LogLevel::warn, "ordered faults were ended", {{"policy", policy}});
  put_in_force(std::move(orders),
               [done = std::move(done)](std::uint64_t generation) { done({.generation = generation}); });
}

/// Publishes the configuration that is in force with other orders.
void Server::put_in_force(config::ChaosOrders orders, std::function<void(std::uint64_t)> done) {
  std::vector<std::string> errors;
  auto next = build(snapshot_->config, orders, snapshot_->generation + 1, errors);
  if (!next) {  // cannot be: its patterns were built once already
    for (const std::string& error : errors) {
      log_.control().write(telemetry::LogLevel::error, "the orders were not put in force", {{"error", error}});
    }
    return done(snapshot_->generation);
  }
  publish(std::move(next), std::move(orders), std::move(done));
  log_chaos();
}

/// Lets orders end by the clock; until then rolls go by their end themselves.
void Server::watch_chaos() {
  const auto end = first_end(chaos_orders_);
  if (!end) {
    chaos_clock_.cancel();
    return;
  }
  chaos_clock_.expires_after(std::chrono::microseconds{std::max<std::int64_t>(*end - net::wall_now_us(), 1000)});
  chaos_clock_.async_wait([this](const net::error_code& error) {
    if (error || stage_ == Stage::stopped) return;
    config::ChaosOrders orders = chaos_orders_;
    const std::vector<std::string> ended = drop_ended(orders, snapshot_->config, net::wall_now_us());
    if (ended.empty()) return watch_chaos();
    for (const std::string& policy : ended) {
      log_.control().write(telemetry::LogLevel::info, "ordered faults are over", {{"policy", policy}});
    }
    put_in_force(std::move(orders), [](std::uint64_t) {});
  });
}

/// Says what a configuration that comes into force does on purpose, and what of that it does not.
void Server::log_chaos() {
  const bool wanted = snapshot_->config.chaos_enabled &&
                      std::ranges::any_of(snapshot_->config.policies,
                                          [](const auto& policy) { return policy.second.chaos.has_value(); });
  if (wanted && !options_.allow_chaos) {
    log_.control().write(telemetry::LogLevel::info, "chaos blocks do not act: --allow-chaos was not given");
  }
  for (const auto& [policy, chaos] : snapshot_->chaos) {
    log_.control().write(telemetry::LogLevel::warn, "requests meet faults on purpose",
                         {{"policy", policy}, {"ordered", snapshot_->chaos_orders.contains(policy) ? "yes" : "no"}});
  }
}

/// The configuration with what was ordered in the place of what the file says, for people to see.
ordered_json Server::effective_config() const {
  ordered_json config = config::to_json(snapshot_->config);
  for (const auto& [policy, order] : snapshot_->chaos_orders) {
    config["policies"][policy]["chaos"] = config::to_json(order.block);
  }
  redact(config);
  return config;
}

}  // namespace outrigger::server
