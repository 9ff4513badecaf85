// proxy/config/block.hpp
//
// How a YAML map is read into a struct: one call per key, naming the key, where its value goes and its bounds. Because
// every key is asked for by name, the reader itself is the list of known keys: what is left over at the end is unknown,
// and its nearest neighbour among those asked for is the "did you mean". A value that is refused leaves the default in
// place and the reading goes on.
//
// Bounds are inclusive, and stand where the key is read, not where it is used.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/time.hpp"
#include "proxy/config/findings.hpp"
#include "proxy/config/node.hpp"
#include "proxy/config/scalars.hpp"
#include "proxy/config/words.hpp"

namespace outrigger::config {

/// One value of the file: what it is, how it is called, where it stands.
struct Value {
  const Node* node = nullptr;
  std::string path;
  Place place;
};

template <class T>
struct Range {
  T min;
  T max;
  bool or_zero = false;  // 0 is allowed beside the range
};

inline constexpr bool kOrZero = true;

// Readers of one value; false (and an error) where it is refused.
bool read_duration(Findings& findings, const Value& value, Nanos& out, Range<Nanos> range);
bool read_size(Findings& findings, const Value& value, std::uint64_t& out, Range<std::uint64_t> range);
bool read_integer(Findings& findings, const Value& value, std::uint64_t& out, Range<std::uint64_t> range);
bool read_number(Findings& findings, const Value& value, double& out, Range<double> range);
bool read_fraction(Findings& findings, const Value& value, double& out, Range<double> range = {0, 1});
bool read_boolean(Findings& findings, const Value& value, bool& out);
/// Any scalar but an empty one; `what` names it in the error ("a list, got text").
bool read_text(Findings& findings, const Value& value, std::string& out, std::string_view what = "text");
/// Text of any number of lines, also none.
bool read_lines(Findings& findings, const Value& value, std::string& out);
/// `host:port` or `unix:/path`; port 0 only with `any_port`.
bool read_address(Findings& findings, const Value& value, HostPort& out, bool any_port);
/// The name of a file, relative to the file that names it, and what that file has; at most as much as a configuration.
bool read_named_file(Findings& findings, const Value& value, std::string& path, std::string& text);
/// A header name or another HTTP token.
bool read_token(Findings& findings, const Value& value, std::string& out, std::string_view what);
/// The name of an HTTP method; methods are case-sensitive, so `get` is not one.
bool read_method(Findings& findings, const Value& value, std::string& out);
/// One word for response statuses, which are added to `out`.
bool read_statuses(Findings& findings, const Value& value, policy::StatusSet& out);

class Block {
 public:
  /// Reads `value` as a map of the kind `kind` (not_yet.hpp). With `null_removes` a null is as good as absent, which is
  /// how a policy removes what it inherits.
  Block(Findings& findings, std::string_view kind, Value value, bool null_removes = false);

  const std::string& path() const noexcept { return value_.path; }
  const Place& place() const noexcept { return value_.place; }
  Findings& findings() noexcept { return findings_; }
  bool null_removes() const noexcept { return null_removes_; }

  /// The value of a key, which is known from now on; nullopt where it is absent. Null is an error.
  std::optional<Value> take(std::string_view key);
  /// The same; absence is an error.
  std::optional<Value> require(std::string_view key);
  /// Whether the file has the key; says nothing about its being known.
  bool has(std::string_view key) const noexcept { return value_.node->find(key) != nullptr; }

  void duration(std::string_view key, Nanos& out, Range<Nanos> range) {
    if (const auto value = take(key)) read_duration(findings_, *value, out, range);
  }
  void size(std::string_view key, std::uint64_t& out, Range<std::uint64_t> range) {
    if (const auto value = take(key)) read_size(findings_, *value, out, range);
  }
  void integer(std::string_view key, std::uint32_t& out, Range<std::uint32_t> range) {
    std::uint64_t wide = out;
    const auto value = take(key);
    if (value && read_integer(findings_, *value, wide, {range.min, range.max, range.or_zero})) {
      out = static_cast<std::uint32_t>(wide);
    }
  }
  void number(std::string_view key, double& out, Range<double> range) {
    if (const auto value = take(key)) read_number(findings_, *value, out, range);
  }
  void fraction(std::string_view key, double& out, Range<double> range = {0, 1}) {
    if (const auto value = take(key)) read_fraction(findings_, *value, out, range);
  }
  void boolean(std::string_view key, bool& out) {
    if (const auto value = take(key)) read_boolean(findings_, *value, out);
  }
  void text(std::string_view key, std::string& out) {
    if (const auto value = take(key)) read_text(findings_, *value, out);
  }
  void token(std::string_view key, std::string& out, std::string_view what) {
    if (const auto value = take(key)) read_token(findings_, *value, out, what);
  }

  /// One word of several, which stand in the order of the enumerators (words.hpp).
  template <class Enum, std::size_t n>
  void choice(std::string_view key, Enum& out, const Words<n>& words) {
    const auto value = take(key);
    if (!value) return;
    const std::optional<std::size_t> chosen = choose(*value, {words.begin(), words.end()});
    if (chosen) out = static_cast<Enum>(*chosen);
  }

  /// Reads a key's map by `read(Block&)`, and reports what that did not ask for.
  template <class Read>
  void block(std::string_view key, std::string_view kind, Read&& read) {
    if (const auto value = take(key)) inner(*value, kind, read);
  }

  /// The same for a map that was taken already.
  template <class Read>
  void inner(const Value& value, std::string_view kind, Read&& read) {
    Block block(findings_, kind, value, null_removes_);
    read(block);
    block.finish();
  }

  /// Reads a key's list by `read(Value, index)`.
  template <class Read>
  void list(std::string_view key, Read&& read) {
    if (const auto value = take(key)) elements(*value, read);
  }

  /// The same for a list that was taken already.
  template <class Read>
  void elements(const Value& value, Read&& read) {
    if (!is_list(value)) return;
    for (std::size_t i = 0; i < value.node->items.size(); ++i) {
      if (const auto item = element(value, i)) read(*item, i);
    }
  }

  /// Which of several keys the block has; an error unless it is exactly one.
  std::string_view only_key(std::initializer_list<std::string_view> keys);

  /// Reads a key's map of names by `read(name, Value, place of the name)`.
  template <class Read>
  void each(std::string_view key, Read&& read) {
    const auto value = take(key);
    if (!value || !is_map(findings_, *value)) return;
    for (const Entry& entry : value->node->entries) {
      read(entry.key, named_value(*value, entry), entry.key_place);
    }
  }

  /// Reports the keys that nobody asked for.
  void finish();

  /// Whether the value is a map; an error where it is not.
  static bool is_map(Findings& findings, const Value& value);

 private:
  std::optional<std::size_t> choose(const Value& value, const std::vector<std::string_view>& words);
  bool is_list(const Value& value);
  std::optional<Value> element(const Value& list, std::size_t index);
  Value named_value(const Value& map, const Entry& entry);
  void refuse_key(const Entry& entry);

  Findings& findings_;
  std::string_view kind_;
  Value value_;
  bool null_removes_;
  std::vector<std::string_view> asked_;
};

}  // namespace outrigger::config
