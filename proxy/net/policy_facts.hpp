// proxy/net/policy_facts.hpp
//
// What only some policies need to know of a request, read from what it was routed by: which resource it is about and
// what it asks of a cache, and whether the policy's faults are meant for it.
//
// Threads: any, each with a buffer of its own. Cost: nothing where the policy has neither; no allocation once the
// buffer is warm.
#pragma once

#include <optional>
#include <string_view>

#include "proxy/base/buffer.hpp"
#include "proxy/config/snapshot.hpp"
#include "proxy/exchange/request_facts.hpp"
#include "proxy/http/route_table.hpp"

namespace outrigger::net {

/// nullopt where the policy has no cache. `scheme` and `asked.host` are those that the client meant; a request whose
/// scheme is not known for certain takes no part. The key is written into `key`, and is good until that is written
/// again. What an upstream is asked with is not known yet.
std::optional<exchange::CacheFacts> cache_facts(const config::RoutePlan& plan, const http::RouteQuery& asked,
                                                std::optional<std::string_view> scheme, bool has_body, Buffer& key);

inline bool meets_chaos(const config::RoutePlan& plan, const http::RouteQuery& asked) noexcept {
  return plan.chaos_match != nullptr && plan.chaos_match->find(asked).has_value();
}

}  // namespace outrigger::net
