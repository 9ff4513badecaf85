// proxy/config/load_instances.hpp
//
// What policies share or have of their own: circuits, limits, throttles. An entry of a root map is one instance for all
// policies that name it; one written in a policy is that policy's alone and bears its key, so that metrics, the admin
// API and a reload can tell it from others. All kinds are read by the same two functions; a kind is its four words and
// the reader of its keys.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/config/load_blocks.hpp"
#include "proxy/config/near_miss.hpp"

namespace outrigger::config {

template <class InstanceConfig>
struct InstanceKind {
  std::string_view key;   // in a policy
  std::string_view map;   // in the root
  std::string_view noun;  // "circuit"
  void (*read)(Block&, InstanceConfig&);
};

inline constexpr InstanceKind<policy::CircuitConfig> kCircuitKind{"circuit", "circuits", "circuit", read_circuit};
inline constexpr InstanceKind<policy::RateLimitConfig> kRateLimitKind{"rate_limit", "rate_limits", "rate limit",
                                                                      read_rate_limit};
inline constexpr InstanceKind<policy::BulkheadConfig> kBulkheadKind{"bulkhead", "bulkheads", "bulkhead", read_bulkhead};
inline constexpr InstanceKind<policy::AdaptiveLimitConfig> kAdaptiveLimitKind{"adaptive_limit", "adaptive_limits",
                                                                              "adaptive limit", read_adaptive_limit};
inline constexpr InstanceKind<policy::AdaptiveThrottleConfig> kAdaptiveThrottleKind{
    "adaptive_throttle", "adaptive_throttles", "adaptive throttle", read_adaptive_throttle};

/// The name of a policy's n-th inline instance of one kind, from 1. No other policy key can look like it.
inline std::string own_name(const std::string& policy_key, std::size_t n) {
  return n == 1 ? policy_key : policy_key + "." + std::to_string(n);
}

/// Reads a root map of instances.
template <class InstanceConfig>
void load_instances(Block& root, const InstanceKind<InstanceConfig>& kind, std::map<std::string, InstanceConfig>& out) {
  root.each(kind.map, [&](const std::string& name, const Value& value, const Place& at) {
    accept_name(root.findings(), at, value.path, name);
    root.inner(value, kind.key, [&](Block& block) { kind.read(block, out[name]); });
  });
}

/// Reads one policy's references to instances of one kind.
template <class InstanceConfig>
class InstanceReader {
 public:
  using Ref = InstanceRef<InstanceConfig>;
  using Named = std::map<std::string, InstanceConfig>;

  InstanceReader(Block& policy, const InstanceKind<InstanceConfig>& kind, const Named& named,
                 const std::string& policy_key)
      : policy_(policy), kind_(kind), named_(named), policy_key_(policy_key) {}

  /// A name or a map.
  void read(std::optional<Ref>& out) {
    if (const auto value = policy_.take(kind_.key)) out = reference(*value);
  }

  /// A name, a map, or a list of them; in the order of their names, which is the order in which they are asked.
  void read(std::vector<Ref>& out) {
    const auto value = policy_.take(kind_.key);
    if (!value) return;
    if (value->node->kind != Node::Kind::sequence) {
      add(reference(*value), *value, out);
      return;
    }
    const std::size_t size = value->node->items.size();
    if (size < 1 || size > kMaxInstances) {
      policy_.findings().error(value->place, value->path,
                               "must have between 1 and " + std::to_string(kMaxInstances) + " " +
                                   std::string(kind_.map) + ", got " + std::to_string(size));
    }
    policy_.elements(*value, [&](const Value& element, std::size_t) { add(reference(element), element, out); });
    std::sort(out.begin(), out.end(), [](const Ref& a, const Ref& b) { return a.name < b.name; });
  }

 private:
  void add(std::optional<Ref> ref, const Value& value, std::vector<Ref>& out) {
    if (!ref) return;
    const bool again = std::any_of(out.begin(), out.end(), [&](const Ref& other) { return other.name == ref->name; });
    if (again) {
      policy_.findings().error(value.place, value.path, "\"" + ref->name + "\" is listed twice");
      return;
    }
    out.push_back(std::move(*ref));
  }

  std::optional<Ref> reference(const Value& value) {
    Ref ref;
    ref.path = value.path;
    if (value.node->kind == Node::Kind::map) {
      ref.kind = Ref::Kind::inline_;
      ref.name = own_name(policy_key_, ++inline_count_);
      policy_.inner(value, kind_.key, [&](Block& block) { kind_.read(block, ref.config); });
      return ref;
    }
    if (!read_text(policy_.findings(), value, ref.name, "the name of " + article() + ", or a map")) return std::nullopt;
    const auto found = named_.find(ref.name);
    if (found != named_.end()) {
      ref.config = found->second;
      return ref;
    }
    std::vector<std::string_view> names;
    for (const auto& entry : named_) names.push_back(entry.first);
    policy_.findings().error(value.place, value.path,
                             "no " + std::string(kind_.noun) + " of the name \"" + ref.name + "\"",
                             did_you_mean(ref.name, names));
    return std::nullopt;
  }

  std::string article() const { return (kind_.noun.starts_with('a') ? "an " : "a ") + std::string(kind_.noun); }

  Block& policy_;
  const InstanceKind<InstanceConfig>& kind_;
  const Named& named_;
  const std::string& policy_key_;
  std::size_t inline_count_ = 0;
};

}  // namespace outrigger::config
