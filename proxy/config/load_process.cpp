#include "proxy/config/load_blocks.hpp"
#include "proxy/http/target.hpp"

namespace outrigger::config {
namespace {

using std::chrono::hours;
using std::chrono::minutes;

void read_version(Block& root, Config& config) {
  std::uint64_t version = 1;
  const auto value = root.require("version");
  if (!value || !read_integer(root.findings(), *value, version, {0, UINT32_MAX})) return;
  if (version != 1) root.findings().error(value->place, value->path, "must be 1, got " + value->node->text);
  config.version = 1;
}

void read_workers(Block& root, Config& config) {
  const auto value = root.take("workers");
  if (!value || (value->node->kind == Node::Kind::scalar && value->node->text == "auto")) return;
  std::uint64_t workers = 0;
  if (read_integer(root.findings(), *value, workers, {1, 256})) config.workers = static_cast<std::uint32_t>(workers);
}

void read_instance(Block& root, Config& config) {
  std::string name;
  const auto value = root.take("instance");
  if (!value || !read_text(root.findings(), *value, name)) return;
  if (accept_name(root.findings(), value->place, value->path, name)) config.instance = name;
}

void read_admin(Block& block, Config& config) {
  Findings& findings = block.findings();
  if (const auto listen = block.take("listen"); listen && read_address(findings, *listen, config.admin.listen, true)) {
    if (!config.admin.listen.path.empty()) {
      findings.error(listen->place, listen->path, "must be host:port: the admin API listens on TCP", "127.0.0.1:9901");
    } else if (!is_loopback(config.admin.listen)) {
      findings.error(listen->place, listen->path,
                     "must be a loopback address: others need a token, which is not supported yet",
                     "127.0.0.1:" + std::to_string(config.admin.listen.port));
    }
  }
  block.list("allowed_hosts", [&](const Value& value, std::size_t) {
    std::string host;
    if (!read_text(findings, value, host)) return;
    if (!http::is_valid_authority(host) || http::without_port(host).size() != host.size()) {
      findings.error(value.place, value.path, "must be a host name without a port, got \"" + host + "\"");
    } else {
      config.admin.allowed_hosts.push_back(host);
    }
  });
}

}  // namespace

bool accept_name(Findings& findings, const Place& place, const std::string& path, std::string_view name) {
  const ScalarError error = check_name(name);
  if (error.message.empty()) return true;
  findings.error(place, path, error.message, error.hint);
  return false;
}

void load_process(Block& root, Config& config) {
  read_version(root, config);
  read_instance(root, config);
  read_workers(root, config);
  root.block("admin", "admin", [&](Block& block) { read_admin(block, config); });
  root.block("drain", "drain", [&](Block& block) {
    block.duration("delay", config.drain.delay, {Nanos{0}, minutes{10}});
    block.duration("grace", config.drain.grace, {Nanos{0}, hours{1}});
  });
  root.boolean("chaos_enabled", config.chaos_enabled);
}

}  // namespace outrigger::config
