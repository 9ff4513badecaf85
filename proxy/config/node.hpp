// proxy/config/node.hpp
//
// A YAML document as a tree that remembers where everything stood. It is our own, built from yaml-cpp's parser events,
// because yaml-cpp's node type loses what strict checking needs: duplicate keys, the place of a key, whether a scalar
// was quoted. Beyond this header nothing knows yaml-cpp, and none of its exceptions leaves load_yaml.cpp.
//
// Nodes are owned by their document and referred to by pointer: an alias is a second pointer to the same node, so a
// tree may be a graph, but never with a cycle (an alias to a node that is still open is refused while parsing).
//
// The file may come from anybody who may ask whether one is valid, so the work with it is bounded, per document: 1 MiB
// of text and as much more from the environment, 32 levels, keys of 256 bytes, 1,000,000 values when aliases are
// followed, 200,000 keys copied by merge keys.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/config/diagnostic.hpp"

namespace outrigger::config {

inline constexpr std::size_t kMaxFileBytes = 1 << 20;
inline constexpr std::size_t kMaxLevels = 32;
inline constexpr std::size_t kMaxKeyBytes = 256;
inline constexpr std::size_t kMaxValues = 1'000'000;
inline constexpr std::size_t kMaxMergedKeys = 200'000;

/// Where something stands. `file` points to a name that lives as long as the documents; a line of 0 means nowhere.
struct Place {
  const std::string* file = nullptr;
  int line = 0;
  int col = 0;
};

struct Node;

struct Item {
  Node* node = nullptr;
  bool alias = false;
};

struct Entry {
  std::string key;
  Place key_place;
  bool plain_key = true;  // not quoted
  Node* value = nullptr;
  bool alias = false;
};

struct Node {
  enum class Kind : std::uint8_t { null, scalar, sequence, map };
  Kind kind = Kind::null;
  bool quoted = false;       // a scalar in quotes, or a block scalar
  bool expanded = false;     // the environment had a part in a scalar
  bool broken = false;       // already reported; its text means nothing
  bool open = true;          // its end has not been parsed
  std::uint32_t values = 1;  // it and all within, as often as it is met when aliases are followed; kMaxValues + 1: more
  Place place;
  std::string text;
  std::vector<Item> items;
  std::vector<Entry> entries;

  const Entry* find(std::string_view key) const noexcept;
};

/// "a map", "a list", "text", "nothing".
std::string_view kind_name(Node::Kind kind) noexcept;

struct Document {
  std::string file;
  std::deque<Node> nodes;
  Node* root = nullptr;  // nullptr where there is no document

  Node& add(Node::Kind kind, int line, int col);
};

/// Counts `child` as met once more within `parent`; false where that is too often.
bool count_values(Node& parent, const Node& child) noexcept;

/// Reads one document into `document`, whose `file` is set. False after an error that leaves no tree to look at.
bool parse_yaml(std::string_view text, Document& document, Diagnostics& diagnostics);

/// Reports duplicate keys, resolves merge keys (`<<`) and expands the environment, in that order and in place. Keys
/// beginning with `x-` at the root are dropped afterwards.
void resolve(Document& document, const std::function<std::optional<std::string>(const std::string&)>& environment,
             Diagnostics& diagnostics);

/// What to do about a syntax error at that place (from 1), as far as the text there tells; empty where it does not.
std::string syntax_hint(std::string_view text, std::string_view message, int line, int col);

/// Joins a path and a key: "a" and "b" make "a.b".
std::string join_path(const std::string& path, std::string_view key);

}  // namespace outrigger::config
