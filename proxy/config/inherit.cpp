#include "proxy/config/inherit.hpp"

#include <algorithm>

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

}  // namespace

Inheritance::Inheritance(Findings& findings, const Value* policies) : findings_(findings) {
  Diagnostics none;
  presets_.file = "preset";
  parse_yaml(kPresets, presets_, none);
  for (Node& node : presets_.nodes) node.place.line = 0;
  for (const Entry& preset : presets_.root->entries) resolved_.emplace(preset.key, preset.value);
  if (policies == nullptr || policies->node->kind != Node::Kind::map) return;
  path_ = policies->path;
  for (const Entry& entry : policies->node->entries) own_.emplace(entry.key, entry.value);
  for (const Entry& entry : policies->node->entries) resolve(entry.key);
}

const Node* Inheritance::effective(const std::string& key, const Node* own) const {
  const auto found = resolved_.find(key);
  return found == resolved_.end() || found->second == nullptr ? own : found->second;
}

const Node* Inheritance::resolve(const std::string& key) {
  if (const auto done = resolved_.find(key); done != resolved_.end()) return done->second;
  const Node* const own = own_.at(key);
  if (own->kind != Node::Kind::map) return resolved_[key] = nullptr;
  const Entry* const extends = own->find(kExtends);
  if (extends == nullptr || extends->value->kind == Node::Kind::null) return resolved_[key] = own;
  under_way_.push_back(key);
  const std::string path = join_path(join_path(path_, key), kExtends);
  const Node* const base = parent({extends->value, path, extends->value->place});
  under_way_.pop_back();
  // A policy within a circle may have been settled meanwhile by the walk around it.
  return resolved_[key] = base == nullptr ? own : overlay(*base, *own, true);
}

const Node* Inheritance::parent(const Value& extends) {
  std::string name;
  if (!read_text(findings_, extends, name, "the key of a policy")) return nullptr;
  if (const auto again = std::find(under_way_.begin(), under_way_.end(), name); again != under_way_.end()) {
    std::string circle;
    for (auto step = again; step != under_way_.end(); ++step) circle += *step + " -> ";
    findings_.error(extends.place, extends.path, "a circle: " + circle + name);
    return nullptr;
  }
  if (resolved_.contains(name) || own_.contains(name)) return resolve(name);
  if (name == "default") return nullptr;
  findings_.error(extends.place, extends.path, "no policy of the key \"" + name + "\"", did_you_mean(name, parents()));
  return nullptr;
}

std::vector<std::string_view> Inheritance::parents() const {
  std::vector<std::string_view> out = {"default"};
  for (const Entry& preset : presets_.root->entries) out.push_back(preset.key);
  for (const auto& policy : own_) out.push_back(policy.first);
  return out;
}

Node* Inheritance::overlay(const Node& base, const Node& own, bool by_block) {
  Node& out = made_.add(Node::Kind::map, 0, 0);
  out.place = own.place;
  out.entries = own.entries;
  for (const Entry& inherited : base.entries) {
    if (inherited.key == kExtends) continue;
    const auto mine = std::find_if(out.entries.begin(), out.entries.end(),
                                   [&](const Entry& entry) { return entry.key == inherited.key; });
    if (mine == out.entries.end()) {
      out.entries.push_back(inherited);
    } else if (by_block && mine->value->kind == Node::Kind::map && inherited.value->kind == Node::Kind::map) {
      mine->value = overlay(*inherited.value, *mine->value, false);
    }
  }
  return &out;
}

}  // namespace outrigger::config
