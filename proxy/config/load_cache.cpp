#include <algorithm>

#include "proxy/config/load_blocks.hpp"

namespace outrigger::config {
namespace {

using policy::CacheConfig;
using std::chrono::hours;

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;

/// Reads a list that replaces the default; an empty one would leave the block without effect.
template <class Read>
void replace(Block& block, std::string_view key, std::string_view what, Read&& read) {
  const auto list = block.take(key);
  if (!list) return;
  if (list->node->kind == Node::Kind::sequence && list->node->items.empty()) {
    block.findings().error(list->place, list->path, "must have at least one " + std::string(what));
  }
  block.elements(*list, read);
}

void read_methods(Block& block, CacheConfig& cache) {
  if (block.has("methods")) cache.methods.clear();
  replace(block, "methods", "method", [&](const Value& value, std::size_t) {
    std::string method;
    if (!read_method(block.findings(), value, method)) return;
    // The key of an entry does not know the request's body.
    if (method != "GET" && method != "HEAD") {
      block.findings().error(value.place, value.path, "must be GET or HEAD, got \"" + method + "\"");
    }
    cache.methods.push_back(std::move(method));
  });
}

}  // namespace

void read_cache(Block& block, CacheConfig& cache) {
  block.duration("ttl", cache.ttl, {Nanos{0}, hours{24}});
  block.size("max_bytes", cache.max_bytes, {64 * kKiB, 1024 * 1024 * kMiB});
  block.size("max_object", cache.max_object_bytes, {kKiB, 16 * kMiB});
  if (!block.has("statuses")) cache.statuses.insert(200, 200);
  replace(block, "statuses", "status",
          [&](const Value& value, std::size_t) { read_statuses(block.findings(), value, cache.statuses); });
  read_methods(block, cache);
  block.list("vary", [&](const Value& value, std::size_t) {
    std::string name;
    if (read_token(block.findings(), value, name, "a header name")) cache.vary.push_back(std::move(name));
  });
  block.boolean("coalesce", cache.coalesce);
  block.duration("stale_if_error", cache.stale_if_error, {Nanos{0}, hours{24}});
}

}  // namespace outrigger::config
