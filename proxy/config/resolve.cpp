#include <algorithm>
#include <unordered_map>

#include "proxy/config/node.hpp"
#include "proxy/config/text.hpp"

namespace outrigger::config {
namespace {

using Lookup = std::function<std::optional<std::string>(const std::string&)>;

constexpr std::string_view kMergeKey = "<<";

bool is_variable(std::string_view name) noexcept {
  const auto good = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  return !name.empty() && good(name[0]) &&
         std::all_of(name.begin(), name.end(), [&](char c) { return good(c) || (c >= '0' && c <= '9'); });
}

/// One walk over a document in the order of its text. Aliases are not followed: what they refer to stands earlier and
/// has been visited there, so that every mistake is found once and a graph costs no more than its text.
class Resolver {
 public:
  Resolver(Document& document, const Lookup& lookup, Diagnostics& diagnostics)
      : document_(document), lookup_(lookup), diagnostics_(diagnostics) {}

  void visit(Node& node, const std::string& path) {
    switch (node.kind) {
      case Node::Kind::null: break;
      case Node::Kind::scalar: expand(node, path); break;
      case Node::Kind::sequence:
        for (std::size_t i = 0; i < node.items.size(); ++i) {
          if (!node.items[i].alias) visit(*node.items[i].node, path + "[" + std::to_string(i) + "]");
        }
        break;
      case Node::Kind::map:
        drop_duplicates(node, path);
        for (const Entry& entry : node.entries) {
          if (!entry.alias) visit(*entry.value, join_path(path, entry.key));
        }
        merge(node, path);
        break;
    }
  }

 private:
  void error(const Place& place, const std::string& path, std::string message, std::string hint = "") {
    diagnostics_.push_back(
        {Severity::error, document_.file, place.line, place.col, path, std::move(message), std::move(hint)});
  }

  void refuse(Node& scalar, const std::string& path, std::string message, std::string hint) {
    scalar.broken = true;
    error(scalar.place, path, std::move(message), std::move(hint));
  }

  void drop_duplicates(Node& map, const std::string& path) {
    std::unordered_map<std::string_view, Place> seen;
    std::vector<Entry> kept;
    seen.reserve(map.entries.size());
    kept.reserve(map.entries.size());
    for (const Entry& entry : map.entries) {
      const auto [first, is_new] = seen.emplace(entry.key, entry.key_place);
      if (is_new) {
        kept.push_back(entry);
      } else {
        const Place& at = first->second;
        error(entry.key_place, join_path(path, entry.key), "duplicate key",
              "first at " + std::to_string(at.line) + ":" + std::to_string(at.col));
      }
    }
    map.entries = std::move(kept);
  }

  void merge(Node& map, const std::string& path) {
    const auto found = std::find_if(map.entries.begin(), map.entries.end(),
                                    [](const Entry& entry) { return entry.plain_key && entry.key == kMergeKey; });
    if (found == map.entries.end()) return;
    const Entry merge_entry = *found;
    map.entries.erase(found);
    std::vector<const Node*> sources;
    if (merge_entry.value->kind == Node::Kind::sequence) {
      for (const Item& item : merge_entry.value->items) sources.push_back(item.node);
    } else {
      sources.push_back(merge_entry.value);
    }
    std::unordered_map<std::string, bool> own;
    for (const Entry& entry : map.entries) own.emplace(entry.key, true);
    for (const Node* source : sources) {
      if (source->kind != Node::Kind::map) {
        error(merge_entry.key_place, join_path(path, kMergeKey), "takes a map or a list of maps",
              "refer to an anchor: <<: *name");
        return;
      }
      if (!copy_entries(*source, map, own)) return error(map.place, path, "too many keys after merging");
    }
  }

  /// False once the document has grown beyond its limit.
  bool copy_entries(const Node& source, Node& map, std::unordered_map<std::string, bool>& own) {
    for (const Entry& entry : source.entries) {
      if (!own.emplace(entry.key, true).second) continue;
      if (++merged_ > kMaxMergedKeys) return false;
      map.entries.push_back(entry);
      map.entries.back().alias = true;
    }
    return true;
  }

  void expand(Node& scalar, const std::string& path) {
    if (scalar.text.find('$') == std::string::npos) return;
    std::string out;
    std::string_view rest = scalar.text;
    while (!rest.empty()) {
      const std::size_t dollar = rest.find('$');
      out += rest.substr(0, dollar);
      if (dollar == std::string_view::npos) break;
      rest.remove_prefix(dollar);
      if (rest.starts_with("$$")) {
        out += '$';
        rest.remove_prefix(2);
      } else if (rest.starts_with("${")) {
        const std::size_t close = rest.find('}');
        if (close == std::string_view::npos) {
          return refuse(scalar, path, "`${` without its `}`", "a dollar is written $$");
        }
        if (!append_variable(rest.substr(2, close - 2), scalar, path, out)) return;
        scalar.expanded = true;
        rest.remove_prefix(close + 1);
      } else {
        out += '$';
        rest.remove_prefix(1);
      }
    }
    scalar.text = std::move(out);
  }

  /// `NAME` or `NAME:-default`; as in a shell the default also stands for an empty value.
  bool append_variable(std::string_view inside, Node& scalar, const std::string& path, std::string& out) {
    const std::size_t dash = inside.find(":-");
    const std::string name(inside.substr(0, dash));
    if (!is_variable(name)) {
      refuse(scalar, path, "`" + name + "` is not the name of a variable", "a dollar is written $$");
      return false;
    }
    const std::optional<std::string> value = lookup_(name);
    if (dash != std::string_view::npos && (!value || value->empty())) {
      out += inside.substr(dash + 2);
    } else if (value && !is_utf8(*value)) {
      refuse(scalar, path, "the environment variable " + name + " is not valid UTF-8", "");
      return false;
    } else if (value) {
      expanded_bytes_ += value->size();
      if (expanded_bytes_ > kMaxFileBytes) {
        refuse(scalar, path, "more than 1 MiB from the environment", "");
        return false;
      }
      out += *value;
    } else {
      refuse(scalar, path, "the environment variable " + name + " is not set",
             "set it, or give a default: ${" + name + ":-default}");
      return false;
    }
    return true;
  }

  Document& document_;
  const Lookup& lookup_;
  Diagnostics& diagnostics_;
  std::size_t merged_ = 0;
  std::size_t expanded_bytes_ = 0;
};

}  // namespace

void resolve(Document& document, const Lookup& lookup, Diagnostics& diagnostics) {
  if (document.root == nullptr) return;
  Resolver(document, lookup, diagnostics).visit(*document.root, "");
  std::erase_if(document.root->entries, [](const Entry& entry) { return entry.key.starts_with("x-"); });
}

}  // namespace outrigger::config
