#include "proxy/config/inherit.hpp"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "proxy/config/near_miss.hpp"

namespace outrigger::config {
namespace {

constexpr std::string_view kPresets = R"(
preset/none: {}
preset/http:
  overall_timeout: 30s
  retry: { max_attempts: 3, initial_backoff: 100ms, max_backoff: 2s, timeout_per_attempt: 10s }
preset/low_latency:
  overall_timeout: 1s
  retry: { max_attempts: 2, initial_backoff: 10ms, max_backoff: 50ms, timeout_per_attempt: 500ms }
  hedge: { max_hedges: 1, trigger: p95 }
preset/background:
  overall_timeout: 5m
  retry: { max_attempts: 5, initial_backoff: 1s, max_backoff: 30s }
)";

constexpr std::string_view kExtends = "extends";
constexpr std::size_t kMaxInherited = 200'000;  // values
constexpr std::size_t kMaxHints = 16;           // each looks at all keys
constexpr std::size_t kMaxShownOfCircle = 8;

}  // namespace

Inheritance::Inheritance(Findings& findings, const Value* policies) : findings_(findings) {
  Diagnostics none;
  presets_.file = "preset";
  parse_yaml(kPresets, presets_, none);
  for (Node& node : presets_.nodes) node.place.line = 0;
  for (const Entry& preset : presets_.root->entries) resolved_.emplace(preset.key, Resolved{preset.value, 0});
  if (policies == nullptr || policies->node->kind != Node::Kind::map) return;
  path_ = policies->path;
  for (const Entry& entry : policies->node->entries) own_.emplace(entry.key, entry.value);
  for (const Entry& entry : policies->node->entries) resolve(entry.key);
}

const Node* Inheritance::effective(const std::string& key, const Node* own) const {
  const auto found = resolved_.find(key);
  return found == resolved_.end() || found->second.node == nullptr ? own : found->second.node;
}

void Inheritance::resolve(std::string_view key) {
  std::vector<Step> chain;
  Resolved base = follow(key, chain);
  for (auto step = chain.rbegin(); step != chain.rend(); ++step) {
    base = inherit(*step, base);
    resolved_.emplace(step->key, base);
  }
}

/// Walks from a policy to one that is known already, or begins as nobody's copy; what lies before it is the chain. In a
/// loop and not by recursion: a chain is as long as whoever wrote the file likes.
Inheritance::Resolved Inheritance::follow(std::string_view key, std::vector<Step>& chain) {
  std::unordered_map<std::string_view, std::size_t> places;  // in the chain
  for (std::string name(key);;) {
    if (const auto done = resolved_.find(name); done != resolved_.end()) return done->second;
    const auto& [own_key, own] = *own_.find(name);
    if (const auto [again, is_new] = places.emplace(own_key, chain.size()); !is_new) {
      report_circle(chain, again->second);
      return {};
    }
    const bool map = own->kind == Node::Kind::map;
    const Entry* const extends = map ? own->find(kExtends) : nullptr;
    if (extends == nullptr || extends->value->kind == Node::Kind::null) {
      return resolved_.emplace(own_key, Resolved{map ? own : nullptr, 0}).first->second;
    }
    const std::string path = join_path(join_path(path_, own_key), kExtends);
    chain.push_back({own_key, own, {extends->value, path, extends->value->place}});
    const std::optional<std::string> next = parent(chain.back().extends);
    if (!next) return {};
    name = *next;
  }
}

/// The key of a parent; nullopt where there is nothing to inherit.
std::optional<std::string> Inheritance::parent(const Value& extends) {
  std::string name;
  if (!read_text(findings_, extends, name, "the key of a policy")) return std::nullopt;
  if (resolved_.contains(name) || own_.contains(name)) return name;
  if (name == "default") return std::nullopt;
  std::string hint = ++hints_ <= kMaxHints ? did_you_mean(name, parents()) : "";
  findings_.error(extends.place, extends.path, "no policy of the key \"" + name + "\"", std::move(hint));
  return std::nullopt;
}

void Inheritance::report_circle(const std::vector<Step>& chain, std::size_t first) {
  std::string circle;
  for (std::size_t i = first; i < chain.size(); ++i) {
    if (i == first + kMaxShownOfCircle) {
      circle += "... -> ";
      break;
    }
    circle += std::string(chain[i].key) + " -> ";
  }
  const Value& last = chain.back().extends;
  findings_.error(last.place, last.path, "a circle: " + circle + std::string(chain[first].key));
}

Inheritance::Resolved Inheritance::inherit(const Step& step, const Resolved& base) {
  if (base.node == nullptr) return {step.own, 0};
  const auto report = [&](std::string message) {
    findings_.error(step.extends.place, step.extends.path, std::move(message));
  };
  // What comes behind a policy that has too much behind it is not told: it would be the rest of the file.
  const std::size_t parents = base.parents + 1;
  if (parents > kMaxParents) {
    if (parents == kMaxParents + 1) report("a chain of parents must be no longer than " + std::to_string(kMaxParents));
    return {step.own, parents};
  }
  const bool full = inherited_ > kMaxInherited;
  const Node* const both = full ? nullptr : overlay(*base.node, *step.own, true);
  if (inherited_ > kMaxInherited && !full) report("too much is inherited");
  return {both == nullptr ? step.own : both, parents};
}

std::vector<std::string_view> Inheritance::parents() const {
  std::vector<std::string_view> out = {"default"};
  for (const Entry& preset : presets_.root->entries) out.push_back(preset.key);
  for (const auto& policy : own_) out.push_back(policy.first);
  return out;
}

Node* Inheritance::overlay(const Node& base, const Node& own, bool by_block) {
  inherited_ += base.values + own.values;
  if (inherited_ > kMaxInherited) return nullptr;
  Node& out = made_.add(Node::Kind::map, 0, 0);
  out.place = own.place;
  out.entries = own.entries;
  std::unordered_map<std::string_view, std::size_t> mine;
  for (std::size_t i = 0; i < own.entries.size(); ++i) mine.emplace(own.entries[i].key, i);
  for (const Entry& inherited : base.entries) {
    if (inherited.key == kExtends) continue;
    const auto found = mine.find(inherited.key);
    if (found == mine.end()) {
      out.entries.push_back(inherited);
      continue;
    }
    Node*& value = out.entries[found->second].value;
    if (!by_block || value->kind != Node::Kind::map || inherited.value->kind != Node::Kind::map) continue;
    if (Node* const both = overlay(*inherited.value, *value, false)) value = both;
  }
  for (const Entry& entry : out.entries) count_values(out, *entry.value);
  return &out;
}

}  // namespace outrigger::config
