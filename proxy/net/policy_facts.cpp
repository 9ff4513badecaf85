#include "proxy/net/policy_facts.hpp"

#include <algorithm>

#include "proxy/http/cache_control.hpp"
#include "proxy/http/cache_key.hpp"

namespace outrigger::net {

std::optional<exchange::CacheFacts> cache_facts(const config::RoutePlan& plan, const http::RouteQuery& asked,
                                                std::optional<std::string_view> scheme, bool has_body, Buffer& key) {
  const policy::CacheConfig* const cache = plan.plan.cache.config;
  if (cache == nullptr) return std::nullopt;
  key.clear();
  http::write_cache_key(
      {.scheme = scheme.value_or(""), .authority = asked.host, .path = asked.path, .query = asked.query}, key);
  exchange::CacheFacts facts{.key = key.view(), .demand = std::nullopt, .fields = {}};
  const bool takes_part =
      scheme && !has_body && std::ranges::find(cache->methods, asked.method) != cache->methods.end();
  if (takes_part) facts.demand = http::read_cache_demand(asked.fields, cache->vary);
  return facts;
}

}  // namespace outrigger::net
