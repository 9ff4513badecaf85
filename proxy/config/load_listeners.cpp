#include "proxy/config/load_blocks.hpp"
#include "proxy/http/field_list.hpp"

namespace outrigger::config {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;
constexpr std::uint64_t kTiB = 1024 * 1024 * kMiB;
constexpr std::uint32_t kBillion = 1'000'000'000;

void read_limits(Block& block, LimitsConfig& limits) {
  block.size("max_request_head", limits.max_request_head_bytes, {kKiB, kMiB});
  block.integer("max_headers", limits.max_headers, {1, http::kMaxFields});
  block.size("max_request_body", limits.max_request_body_bytes, {1, kTiB, kOrZero});
  block.size("max_response_head", limits.max_response_head_bytes, {kKiB, kMiB});
  block.duration("head_timeout", limits.head_timeout, {milliseconds{10}, hours{1}});
  block.duration("body_idle_timeout", limits.body_idle_timeout, {milliseconds{10}, hours{24}});
  block.duration("idle_timeout", limits.idle_timeout, {milliseconds{10}, hours{24}});
  block.duration("write_idle_timeout", limits.write_idle_timeout, {milliseconds{10}, hours{24}});
  block.integer("max_connections", limits.max_connections, {1, 1'000'000});
  block.integer("max_requests_per_connection", limits.max_requests_per_connection, {1, kBillion, kOrZero});
  block.size("relay_buffer", limits.relay_buffer_bytes, {4 * kKiB, 16 * kMiB});
  block.choice("escaped_slashes", limits.escaped_slashes, kSlashes);
}

void read_listener_limits(Block& block, LimitsConfig& limits) {
  read_limits(block, limits);
  if (const auto value = block.take("buffer_memory")) {
    block.findings().error(value->place, value->path, "belongs to the root's limits: it counts the whole process");
  }
}

void read_listener(Block& block, Config& config) {
  Findings& findings = block.findings();
  ListenerConfig listener;
  listener.limits = config.limits;
  listener.at = findings.position(block.place());
  if (const auto name = block.require("name"); name && read_text(findings, *name, listener.name)) {
    accept_name(findings, name->place, name->path, listener.name);
  }
  if (const auto listen = block.require("listen")) read_address(findings, *listen, listener.listen, true);
  listener.tls = read_listener_tls(block);
  listener.trust_priority = is_loopback(listener.listen);
  block.boolean("trust_priority", listener.trust_priority);
  block.integer("trusted_hops", listener.trusted_hops, {0, 100});
  block.boolean("debug_headers", listener.debug_headers);
  block.block("limits", "limits", [&](Block& limits) { read_listener_limits(limits, listener.limits); });
  config.listeners.push_back(std::move(listener));
}

}  // namespace

void load_listeners(Block& root, Config& config) {
  root.block("limits", "limits", [&](Block& block) {
    read_limits(block, config.limits);
    block.size("buffer_memory", config.buffer_memory_bytes, {kMiB, kTiB});
  });
  if (!root.require("listeners")) return;
  root.list("listeners", [&](const Value& value, std::size_t) {
    Block block(root.findings(), "listener", value);
    read_listener(block, config);
    block.finish();
  });
}

}  // namespace outrigger::config
