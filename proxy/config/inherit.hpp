// proxy/config/inherit.hpp
//
// `extends`: a policy begins as a copy of another and says only what differs. The copy is made on the tree, before
// anything is read, so that an inherited value is checked and pointed at exactly like one that was written, and the
// reader of policies need not know that inheritance exists. A block given replaces the inherited one key by key; null
// takes a block or a key away, which leaves its default.
//
// The file may come from anybody who may ask whether one is valid, so the work is bounded: a chain of parents is no
// longer than 32, and what inherits and is inherited has no more than 200,000 values in all.
//
// Presets are written in the same language and parsed like a file; their values have no place to point at.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/config/block.hpp"

namespace outrigger::config {

class Inheritance {
 public:
  static constexpr std::size_t kMaxParents = 32;

  /// Works out every policy of `policies` (nullptr: there are none), and reports parents that are unknown, too many, or
  /// go in a circle.
  Inheritance(Findings& findings, const Value* policies);

  /// The policy with all that it inherits; `own`, if it inherits nothing.
  const Node* effective(const std::string& key, const Node* own) const;

 private:
  /// What a policy has become, and how many policies it begins as a copy of, one after the other.
  struct Resolved {
    const Node* node = nullptr;  // nullptr: there is nothing to inherit
    std::size_t parents = 0;
  };

  /// A policy that was written, on the way to the first one of its parents that has none.
  struct Step {
    std::string_view key;
    const Node* own;
    Value extends;
  };

  void resolve(std::string_view key);
  Resolved follow(std::string_view key, std::vector<Step>& chain);
  std::optional<std::string> parent(const Value& extends);
  void report_circle(const std::vector<Step>& chain, std::size_t first);
  Resolved inherit(const Step& step, const Resolved& base);
  /// `own` with what only `base` has; with `by_block` so also within blocks that both have. nullptr: too much of it.
  Node* overlay(const Node& base, const Node& own, bool by_block);
  std::vector<std::string_view> parents() const;

  Findings& findings_;
  std::string path_;
  std::map<std::string_view, const Node*> own_;  // as written
  std::map<std::string, Resolved, std::less<>> resolved_;
  std::size_t inherited_ = 0;  // values
  std::size_t hints_ = 0;      // given
  Document presets_;
  Document made_;
};

}  // namespace outrigger::config
