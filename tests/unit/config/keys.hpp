// tests/unit/config/keys.hpp
//
// What is true of every key with a range: it has its default, takes its bounds, and says them where a value lies
// beyond.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "proxy/config/dump.hpp"
#include "tests/unit/config/loading.hpp"

namespace outrigger::config {

/// `a.b.c` and a value as `a: {b: {c: value}}`.
inline std::string nested(std::string_view keys, const std::string& value) {
  std::string out;
  std::string closing;
  for (std::size_t dot = keys.find('.'); dot != std::string_view::npos; dot = keys.find('.')) {
    out += std::string(keys.substr(0, dot)) + ": {";
    closing += "}";
    keys.remove_prefix(dot + 1);
  }
  return out + std::string(keys) + ": " + value + closing;
}

/// The key's value in the effective configuration, as JSON text without the quotes of strings.
inline std::string effective(const Config& config, std::string_view path) {
  std::string pointer = "/";
  for (const char c : path) {
    if (c == '.' || c == '[') pointer += '/';
    if (c != '.' && c != '[' && c != ']') pointer += c;
  }
  const nlohmann::ordered_json all = to_json(config);
  const nlohmann::ordered_json::json_pointer at(pointer);
  if (!all.contains(at)) return "absent";
  const nlohmann::ordered_json& value = all[at];
  return value.is_string() ? value.get<std::string>() : value.dump();
}

struct Key {
  const char* path;
  const char* by_default;
  const char* lowest;
  const char* highest;
  const char* too_low;   // "" where nothing is
  const char* too_high;  // "" where nothing is
  const char* bounds;    // as the error tells them
};

/// Everything that was found, a line each.
inline std::string all(const LoadResult& result) {
  std::string out;
  for (const Diagnostic& diagnostic : result.diagnostics) out += to_string(diagnostic) + "\n";
  return out;
}

/// `text` writes a configuration in which the key has a value.
inline void check_key(const Key& key, const std::string& path, const Config& defaults,
                      const std::function<std::string(std::string_view path, const std::string& value)>& text) {
  CAPTURE(path);
  CHECK(effective(defaults, path) == key.by_default);
  for (const std::string value : {key.lowest, key.highest}) {
    const LoadResult result = load(text(key.path, value));
    CAPTURE(value);
    CHECK(all(result).empty());
    CHECK(effective(result.config, path) == value);
  }
  for (const std::string value : {key.too_low, key.too_high}) {
    if (value.empty()) continue;
    const LoadResult result = load(text(key.path, value));
    CAPTURE(value);
    CAPTURE(all(result));
    REQUIRE(!result.diagnostics.empty());
    CHECK(result.diagnostics[0].path == path);
    CHECK(result.diagnostics[0].message == "must be " + std::string(key.bounds) + ", got " + value);
    CHECK_FALSE(result.ok());
  }
}

}  // namespace outrigger::config
