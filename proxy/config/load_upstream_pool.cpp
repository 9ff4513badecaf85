#include <algorithm>

#include "proxy/config/load_blocks.hpp"
#include "proxy/config/near_miss.hpp"

namespace outrigger::config {
namespace {

using policy::Balance;
using policy::OutlierConfig;
using std::chrono::hours;
using std::chrono::milliseconds;

/// By which of a request's properties endpoints are told apart: its client's address, or the value of a header.
void read_hash(Block& block, HashConfig& hash) {
  constexpr std::string_view kWhat = "client_ip or {header: NAME}";
  const auto value = block.require("hash");
  if (!value) return;
  if (value->node->kind == Node::Kind::map) {
    return block.inner(*value, "balance_hash", [&](Block& key) {
      const auto name = key.require("header");
      if (name) read_token(key.findings(), *name, hash.header, "a header name");
    });
  }
  std::string word;
  if (!read_text(block.findings(), *value, word, kWhat)) return;
  hash.client_ip = word == kClientIp;
  if (hash.client_ip) return;
  block.findings().error(value->place, value->path, "must be " + std::string(kWhat) + ", got \"" + word + "\"",
                         did_you_mean(word, {kClientIp}));
}

void read_outlier(Block& block, OutlierConfig& outlier) {
  block.integer("consecutive_failures", outlier.consecutive_failures, {1, 1000});
  block.duration("base_ejection", outlier.base_ejection, {milliseconds{10}, hours{24}});
  block.duration("max_ejection", outlier.max_ejection, {milliseconds{10}, hours{24}});
  block.fraction("max_ejected", outlier.max_ejected);
  if (outlier.max_ejection >= outlier.base_ejection) return;
  const std::string path = join_path(block.path(), block.has("max_ejection") ? "max_ejection" : "base_ejection");
  block.findings().error_at(path, "max_ejection (" + format_duration(outlier.max_ejection) +
                                      ") must not be below base_ejection (" + format_duration(outlier.base_ejection) +
                                      ")");
}

}  // namespace

void read_balance(Block& block, UpstreamConfig& upstream) {
  constexpr std::string_view kWhat =
      "least_request, round_robin, random or {hash: client_ip} or {hash: {header: NAME}}";
  const auto value = block.take("balance");
  if (!value) return;
  if (value->node->kind == Node::Kind::map && value->node->find("hash") != nullptr) {
    upstream.balance = Balance::hash;
    return block.inner(*value, "balance", [&](Block& hash) { read_hash(hash, upstream.hash); });
  }
  std::string word;
  if (!read_text(block.findings(), *value, word, kWhat)) return;
  const auto found = std::find(kBalances.begin(), kBalances.end(), word);
  if (found != kBalances.end()) {
    upstream.balance = static_cast<Balance>(found - kBalances.begin());
  } else {
    block.findings().error(value->place, value->path, "must be " + std::string(kWhat) + ", got \"" + word + "\"",
                           did_you_mean(word, {kBalances.begin(), kBalances.end()}));
  }
}

void read_pool(Block& block, UpstreamConfig& upstream) {
  block.integer("max_connections", upstream.max_connections, {1, 1'000'000});
  block.integer("max_pending", upstream.max_pending, {0, 100'000});
  block.boolean("panic", upstream.panic);
  block.block("outlier_detection", "outlier_detection",
              [&](Block& outlier) { read_outlier(outlier, upstream.outlier_detection.emplace()); });
}

}  // namespace outrigger::config
