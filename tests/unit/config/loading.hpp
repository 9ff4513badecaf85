// tests/unit/config/loading.hpp
//
// Loads small texts with an environment of the test's own, and says what came of it in one line per finding.
#pragma once

#include <map>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/config/check.hpp"
#include "proxy/config/load.hpp"

namespace outrigger::config {

/// The smallest configuration without a warning, with room for one more key in each of its blocks.
struct Sample {
  std::string listener;
  std::string upstream;
  std::string route;
  std::string rest;

  std::string text() const {
    return "version: 1\nlisteners:\n- {name: in, listen: '127.0.0.1:0'" + listener +
           "}\nupstreams:\n  up: {endpoints: ['127.0.0.1:1']" + upstream + "}\nroutes:\n- {upstream: up" + route +
           "}\n" + rest;
  }
};

inline LoadResult load(std::string_view text, const std::map<std::string, std::string>& variables = {}) {
  const auto variable = [&](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  };
  return load_text(text, "t.yaml", variable);
}

/// Printed one below the other when a comparison fails.
struct Lines : std::vector<std::string> {
  using vector::vector;
  friend std::ostream& operator<<(std::ostream& out, const Lines& lines) {
    for (const std::string& line : lines) out << "\n  " << line;
    return out;
  }
};

/// What is wrong with a text, a line each.
inline Lines findings(std::string_view text, const std::map<std::string, std::string>& variables = {}) {
  Lines lines;
  for (const Diagnostic& diagnostic : load(text, variables).diagnostics) lines.push_back(to_string(diagnostic));
  return lines;
}

/// The same for a text with `rest` as its last lines; the line numbers of `rest` begin at 8.
inline Lines findings_in(const std::string& rest, const std::map<std::string, std::string>& variables = {}) {
  return findings(Sample{"", "", "", rest}.text(), variables);
}

}  // namespace outrigger::config
