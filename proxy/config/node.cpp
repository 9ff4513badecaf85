#include "proxy/config/node.hpp"

#include <algorithm>

namespace outrigger::config {

const Entry* Node::find(std::string_view key) const noexcept {
  const auto found = std::find_if(entries.begin(), entries.end(), [&](const Entry& entry) { return entry.key == key; });
  return found == entries.end() ? nullptr : &*found;
}

std::string_view kind_name(Node::Kind kind) noexcept {
  switch (kind) {
    case Node::Kind::null: return "nothing";
    case Node::Kind::scalar: return "text";
    case Node::Kind::sequence: return "a list";
    case Node::Kind::map: break;
  }
  return "a map";
}

Node& Document::add(Node::Kind kind, int line, int col) {
  Node& node = nodes.emplace_back();
  node.kind = kind;
  node.place = {&file, line, col};
  return node;
}

bool count_values(Node& parent, const Node& child) noexcept {
  parent.values = static_cast<std::uint32_t>(std::min<std::size_t>(parent.values + child.values, kMaxValues + 1));
  return parent.values <= kMaxValues;
}

std::string join_path(const std::string& path, std::string_view key) {
  if (path.empty()) return std::string(key);
  return path + "." + std::string(key);
}

}  // namespace outrigger::config
