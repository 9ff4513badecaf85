// proxy/config/findings.hpp
//
// What one load has found out so far: the mistakes, and where each value stood. Places are kept by path, so that a rule
// over several keys (validate.hpp) can point at one of them although the Config it reads holds values only.
#pragma once

#include <cstddef>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "proxy/config/diagnostic.hpp"
#include "proxy/config/node.hpp"
#include "proxy/config/schema.hpp"

namespace outrigger::config {

class Findings {
 public:
  /// `file`: named where a mistake has no place of its own.
  explicit Findings(std::string file) : file_(std::move(file)) {}

  Diagnostics& diagnostics() noexcept { return diagnostics_; }

  void error(const Place& place, const std::string& path, std::string message, std::string hint = "");
  void warning(const Place& place, const std::string& path, std::string message, std::string hint = "");

  /// The same where the value of that path stands.
  void error_at(const std::string& path, std::string message, std::string hint = "") {
    error(place_of(path), path, std::move(message), std::move(hint));
  }
  void warning_at(const std::string& path, std::string message, std::string hint = "") {
    warning(place_of(path), path, std::move(message), std::move(hint));
  }

  /// Remembers where the value of a path stands.
  void saw(const std::string& path, const Place& place);
  /// Where a value stands, or the nearest block around it that was written.
  Place place_of(std::string path) const;
  /// Whether a path was written in the file.
  bool has(const std::string& path) const { return places_.contains(path); }
  /// Whether no error concerns the path or anything below it.
  bool sound(std::string_view path) const;

  SourcePosition position(const Place& place) const;

  /// The diagnostics in the order of the files and lines. A mistake that was seen by several ways (an alias, an
  /// inherited block) is told once.
  Diagnostics sorted(const std::vector<std::string>& files) const;

 private:
  void add(Severity severity, const Place& place, const std::string& path, std::string message, std::string hint);

  std::string file_;
  Diagnostics diagnostics_;
  std::unordered_map<std::string, Place> places_;
  mutable std::set<std::string, std::less<>> wrong_paths_;  // of the first `indexed_` diagnostics
  mutable std::size_t indexed_ = 0;
};

/// `file:line:col`.
std::string to_string(const Place& place);

}  // namespace outrigger::config
