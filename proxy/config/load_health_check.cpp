#include "proxy/config/load_blocks.hpp"
#include "proxy/http/target.hpp"

namespace outrigger::config {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;

void read_path(Block& block, std::string& path) {
  const auto value = block.require("path");
  if (!value || !read_text(block.findings(), *value, path)) return;
  Buffer scratch;
  if (path.starts_with('/') && http::normalise_target(path, http::Method::get, http::EscapedSlashes::keep, scratch)) {
    return;
  }
  block.findings().error(value->place, value->path, "must be the path of a request, got \"" + path + "\"",
                         path.starts_with('/') ? "" : "it begins with /");
}

/// One word, or a list of them.
void read_expected(Block& block, policy::StatusSet& expect) {
  const auto value = block.take("expect");
  if (!value) return;
  expect = {};
  if (value->node->kind == Node::Kind::sequence) {
    block.elements(*value, [&](const Value& item, std::size_t) { read_statuses(block.findings(), item, expect); });
    if (value->node->items.empty()) block.findings().error(value->place, value->path, "must name a status");
  } else {
    read_statuses(block.findings(), *value, expect);
  }
}

}  // namespace

void read_health_check(Block& block, std::optional<policy::HealthConfig>& health_check) {
  block.block("health_check", "health_check", [&](Block& check) {
    policy::HealthConfig& config = health_check.emplace();
    read_path(check, config.path);
    check.duration("interval", config.interval, {milliseconds{100}, hours{1}});
    check.duration("timeout", config.timeout, {milliseconds{10}, minutes{1}});
    check.integer("healthy_after", config.healthy_after, {1, 100});
    check.integer("unhealthy_after", config.unhealthy_after, {1, 100});
    read_expected(check, config.expect);
  });
}

}  // namespace outrigger::config
