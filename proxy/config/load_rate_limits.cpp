#include <algorithm>

#include "proxy/config/load_blocks.hpp"
#include "proxy/config/near_miss.hpp"

namespace outrigger::config {
namespace {

using policy::RateLimitConfig;
using std::chrono::hours;
using std::chrono::milliseconds;

constexpr std::uint32_t kMillion = 1'000'000;

/// One pace for the policy, one per client address, or one per value of a header.
void read_key(Block& block, RateLimitConfig& limit) {
  constexpr std::string_view kWhat = "policy, client_ip or {header: NAME}";
  const auto value = block.take("key");
  if (!value) return;
  if (value->node->kind == Node::Kind::map) {
    limit.key = RateLimitConfig::Key::header;
    return block.inner(*value, "rate_limit_key", [&](Block& key) {
      const auto name = key.require("header");
      if (name) read_token(key.findings(), *name, limit.header, "a header name");
    });
  }
  std::string word;
  if (!read_text(block.findings(), *value, word, kWhat)) return;
  const auto found = std::find(kRateKeys.begin(), kRateKeys.end(), word);
  if (found != kRateKeys.end()) {
    limit.key = static_cast<RateLimitConfig::Key>(found - kRateKeys.begin());
  } else {
    block.findings().error(value->place, value->path, "must be " + std::string(kWhat) + ", got \"" + word + "\"",
                           did_you_mean(word, {kRateKeys.begin(), kRateKeys.end()}));
  }
}

void read_burst(Block& block, RateLimitConfig& limit) {
  const bool smooth = limit.shape == RateLimitConfig::Shape::smooth;
  limit.burst = smooth ? 1 : std::max(std::uint32_t{1}, static_cast<std::uint32_t>(limit.requests));
  block.integer("burst", limit.burst, {1, kMillion});
  const auto burst = block.take("burst");
  if (!burst || !smooth || limit.burst == 1) return;
  block.findings().error(burst->place, burst->path, "must be 1 with shape: smooth, which spaces requests evenly",
                         block.null_removes() ? "null removes an inherited one" : "");
}

/// A burst is repaid one request at a time, and the time until all of it is must be a time.
void check_pace(Block& block, const RateLimitConfig& limit) {
  const double seconds_each = std::chrono::duration<double>(limit.per).count() / limit.requests;
  const auto place = [&](std::string_view key) {
    const std::string path = join_path(block.path(), key);
    return std::pair(block.findings().place_of(path), path);
  };
  if (seconds_each < 1e-6) {
    const auto [at, path] = place("requests");
    block.findings().error(at, path, "more than 1000000 requests per second are as good as no limit");
  }
  if (seconds_each * limit.burst > 366.0 * 24 * 3600) {
    const auto [at, path] = place(block.has("burst") ? "burst" : "requests");
    block.findings().error(at, path, "a burst of " + std::to_string(limit.burst) + " takes more than a year to refill");
  }
}

}  // namespace

void read_rate_limit(Block& block, RateLimitConfig& limit) {
  block.number("requests", limit.requests, {0.001, kMillion});
  block.duration("per", limit.per, {milliseconds{1}, hours{24}});
  block.choice("shape", limit.shape, kRateShapes);
  read_burst(block, limit);
  check_pace(block, limit);
  block.duration("max_wait", limit.max_wait, {Nanos{0}, hours{1}});
  block.choice("counts", limit.counts, kCounts);
  read_key(block, limit);
  block.integer("max_keys", limit.max_keys, {1, kMillion});
  block.choice("headers", limit.headers, kRateHeaders);
}

}  // namespace outrigger::config
