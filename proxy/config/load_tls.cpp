#include "proxy/config/load_blocks.hpp"
#include "proxy/http/target.hpp"

namespace outrigger::config {
namespace {

void read_file(Block& block, const Value& value, FileConfig& file) {
  file.at = block.findings().position(value.place);
  read_named_file(block.findings(), value, file.path, file.text);
}

void take_file(Block& block, std::string_view key, FileConfig& file) {
  if (const auto value = block.take(key)) read_file(block, *value, file);
}

void require_file(Block& block, std::string_view key, FileConfig& file) {
  if (const auto value = block.require(key)) read_file(block, *value, file);
}

void read_sni(Block& block, std::string& sni) {
  const auto value = block.take("sni");
  std::string name;
  if (!value || !read_text(block.findings(), *value, name)) return;
  if (!http::is_valid_authority(name) || http::without_port(name).size() != name.size() || name.starts_with('[')) {
    block.findings().error(value->place, value->path, "must be a host name without a port, got \"" + name + "\"");
  } else {
    sni = name;
  }
}

/// A certificate is of no use without its key, nor the other way round.
void read_identity(Block& block, UpstreamTlsConfig& tls) {
  if (!block.has("certificate") && !block.has("private_key")) {
    block.take("certificate");
    block.take("private_key");
    return;
  }
  require_file(block, "certificate", tls.certificate);
  require_file(block, "private_key", tls.private_key);
}

}  // namespace

std::optional<ListenerTlsConfig> read_listener_tls(Block& block) {
  std::optional<ListenerTlsConfig> tls;
  block.block("tls", "tls", [&](Block& keys) {
    tls.emplace();
    require_file(keys, "certificate", tls->certificate);
    require_file(keys, "private_key", tls->private_key);
    take_file(keys, "client_ca", tls->client_ca);
    keys.choice("min_version", tls->min_version, kTlsVersions);
  });
  return tls;
}

std::optional<UpstreamTlsConfig> read_upstream_tls(Block& block) {
  std::optional<UpstreamTlsConfig> tls;
  block.block("tls", "tls", [&](Block& keys) {
    tls.emplace();
    take_file(keys, "ca", tls->ca);
    read_identity(keys, *tls);
    read_sni(keys, tls->sni);
    keys.boolean("verify", tls->verify);
    keys.choice("min_version", tls->min_version, kTlsVersions);
    if (!tls->verify) {
      keys.findings().warning_at(join_path(keys.path(), "verify"),
                                 "the upstream's certificate is not checked: anybody in between can pass for it");
    }
  });
  return tls;
}

}  // namespace outrigger::config
