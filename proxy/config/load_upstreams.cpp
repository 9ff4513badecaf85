#include <algorithm>

#include "proxy/config/load_blocks.hpp"
#include "proxy/http/target.hpp"

namespace outrigger::config {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr std::size_t kMaxEndpoints = 1000;
constexpr std::uint32_t kBillion = 1'000'000'000;

void read_endpoint(Findings& findings, const Value& value, UpstreamConfig& upstream) {
  EndpointConfig endpoint;
  bool good = false;
  if (value.node->kind == Node::Kind::map) {
    Block block(findings, "endpoint", value);
    const auto address = block.require("address");
    good = address && read_address(findings, *address, endpoint.address, false);
    block.integer("weight", endpoint.weight, {1, 100});
    block.finish();
  } else {
    good = read_address(findings, value, endpoint.address, false);
  }
  if (!good) return;
  const bool again = std::any_of(upstream.endpoints.begin(), upstream.endpoints.end(),
                                 [&](const EndpointConfig& other) { return other.address == endpoint.address; });
  if (again) {
    findings.warning(value.place, value.path, to_string(endpoint.address) + " is listed twice", "use its weight");
  }
  upstream.endpoints.push_back(std::move(endpoint));
}

void read_endpoints(Block& block, UpstreamConfig& upstream) {
  const auto list = block.require("endpoints");
  if (!list) return;
  const std::size_t size = list->node->items.size();
  if (list->node->kind == Node::Kind::sequence && (size < 1 || size > kMaxEndpoints)) {
    block.findings().error(list->place, list->path,
                           "must have between 1 and 1000 endpoints, got " + std::to_string(size));
    return;
  }
  block.list("endpoints", [&](const Value& value, std::size_t) { read_endpoint(block.findings(), value, upstream); });
}

void read_host(Block& block, UpstreamConfig& upstream) {
  std::string host;
  const auto value = block.take("host");
  if (!value || !read_text(block.findings(), *value, host)) return;
  if (http::is_valid_authority(host)) {
    upstream.host = host;
  } else {
    block.findings().error(value->place, value->path, "must be a host name, got \"" + host + "\"",
                           "for example api.example.com");
  }
}

/// A certificate bears names, and a socket's path is none.
void check_names_to_verify(Block& block, const UpstreamConfig& upstream) {
  if (!upstream.tls || !upstream.tls->verify || !upstream.tls->sni.empty()) return;
  const bool nameless = std::ranges::any_of(
      upstream.endpoints, [](const EndpointConfig& endpoint) { return !endpoint.address.path.empty(); });
  if (!nameless) return;
  block.findings().error_at(join_path(block.path(), "tls"),
                            "sni is required, but missing: a Unix socket has no name that its certificate could bear");
}

void read_upstream(Block& block, UpstreamConfig& upstream) {
  read_endpoints(block, upstream);
  block.block("dns", "dns", [&](Block& dns) {
    dns.duration("refresh", upstream.dns.refresh, {seconds{1}, hours{24}});
    dns.duration("timeout", upstream.dns.timeout, {milliseconds{10}, minutes{1}});
  });
  read_health_check(block, upstream.health_check);
  read_balance(block, upstream);
  block.duration("connect_timeout", upstream.connect_timeout, {milliseconds{1}, minutes{5}});
  block.duration("read_idle_timeout", upstream.read_idle_timeout, {milliseconds{10}, hours{24}});
  block.duration("idle_timeout", upstream.idle_timeout, {milliseconds{10}, hours{1}});
  block.integer("max_requests_per_connection", upstream.max_requests_per_connection, {1, kBillion, kOrZero});
  read_pool(block, upstream);
  read_host(block, upstream);
  upstream.tls = read_upstream_tls(block);
  check_names_to_verify(block, upstream);
}

}  // namespace

void load_upstreams(Block& root, Config& config) {
  Findings& findings = root.findings();
  if (!root.require("upstreams")) return;
  root.each("upstreams", [&](const std::string& name, const Value& value, const Place& at) {
    UpstreamConfig upstream;
    upstream.name = name;
    upstream.at = findings.position(at);
    accept_name(findings, at, value.path, name);
    Block block(findings, "upstream", value);
    read_upstream(block, upstream);
    block.finish();
    config.upstreams.push_back(std::move(upstream));
  });
}

}  // namespace outrigger::config
