// proxy/config/inherit.hpp
//
// `extends`: a policy begins as a copy of another and says only what differs. The copy is made on the tree, before
// anything is read, so that an inherited value is checked and pointed at exactly like one that was written, and the
// reader of policies need not know that inheritance exists. A block given replaces the inherited one key by key; null
// takes a block or a key away, which leaves its default.
//
// Presets are written in the same language and parsed like a file; their values have no place to point at.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/config/block.hpp"

namespace outrigger::config {

class Inheritance {
 public:
  /// Works out every policy of `policies` (nullptr: there are none), and reports parents that are unknown or go in a
  /// circle.
  Inheritance(Findings& findings, const Value* policies);

  /// The policy with all that it inherits; `own`, if it inherits nothing.
  const Node* effective(const std::string& key, const Node* own) const;

 private:
  const Node* resolve(const std::string& key);
  const Node* parent(const Value& extends);
  /// `own` with what only `base` has; with `by_block` so also within blocks that both have.
  Node* overlay(const Node& base, const Node& own, bool by_block);
  std::vector<std::string_view> parents() const;

  Findings& findings_;
  std::string path_;
  std::map<std::string_view, const Node*> own_;  // as written
  std::map<std::string, const Node*> resolved_;
  std::vector<std::string> under_way_;  // the chain of `extends` being followed
  Document presets_;
  Document made_;
};

}  // namespace outrigger::config
