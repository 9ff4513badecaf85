#include "proxy/config/block.hpp"

#include <algorithm>
#include <filesystem>

#include "proxy/config/near_miss.hpp"
#include "proxy/config/not_yet.hpp"
#include "proxy/config/read_file.hpp"
#include "proxy/http/chars.hpp"
#include "proxy/http/methods.hpp"

namespace outrigger::config {
namespace {

/// What is read in place of something that is no map.
const Node kNothing{.kind = Node::Kind::map, .open = false, .place = {}, .text = {}, .items = {}, .entries = {}};

constexpr std::string_view kNotSupported = "not supported yet";

std::string in_words(const std::vector<std::string_view>& words) {
  std::string out;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) out += i + 1 == words.size() ? " or " : ", ";
    out += words[i];
  }
  return out;
}

/// A list or map where one value was meant is most often a value that begins with its bracket.
std::string bracket_hint(const Node& node) {
  if (node.kind == Node::Kind::sequence && node.items.size() == 1 && node.items[0].node->kind == Node::Kind::scalar) {
    return "a value that begins with [ must be quoted: \"[" + node.items[0].node->text + "]...\"";
  }
  if (node.kind == Node::Kind::map && node.entries.size() == 1 && node.entries[0].value->kind == Node::Kind::null) {
    return "a value that begins with { must be quoted: \"{" + node.entries[0].key + "}\"";
  }
  return "";
}

bool is_scalar(Findings& findings, const Value& value, std::string_view what) {
  if (value.node->broken) return false;
  if (value.node->kind == Node::Kind::scalar) return true;
  findings.error(value.place, value.path,
                 "must be " + std::string(what) + ", got " + std::string(kind_name(value.node->kind)),
                 bracket_hint(*value.node));
  return false;
}

/// Numbers and booleans lose their type in quotes; what came from the environment may need them.
bool is_plain(Findings& findings, const Value& value, std::string_view what) {
  if (!is_scalar(findings, value, what)) return false;
  if (!value.node->quoted || value.node->expanded) return true;
  findings.error(value.place, value.path, "must be " + std::string(what) + ", got text in quotes", "remove the quotes");
  return false;
}

template <class T, class Show>
std::string range_message(const Range<T>& range, std::string_view got, Show&& as_text) {
  const std::string zero = range.or_zero ? "0 or " : "";
  return "must be " + zero + "between " + as_text(range.min) + " and " + as_text(range.max) + ", got " +
         std::string(got);
}

template <class T>
bool within(const Range<T>& range, const T& value) {
  return (range.or_zero && value == T{}) || (value >= range.min && value <= range.max);
}

template <class T, class Show>
bool accept(Findings& findings, const Value& value, const Parsed<T>& parsed, T& out, const Range<T>& range,
            Show&& as_text) {
  if (const auto* error = std::get_if<ScalarError>(&parsed)) {
    findings.error(value.place, value.path, error->message, error->hint);
    return false;
  }
  const T& got = std::get<T>(parsed);
  if (!within(range, got)) {
    findings.error(value.place, value.path, range_message(range, value.node->text, as_text));
    return false;
  }
  out = got;
  return true;
}

}  // namespace

bool read_duration(Findings& findings, const Value& value, Nanos& out, Range<Nanos> range) {
  if (!is_scalar(findings, value, "a duration")) return false;
  return accept(findings, value, parse_duration(value.node->text), out, range, format_duration);
}

bool read_size(Findings& findings, const Value& value, std::uint64_t& out, Range<std::uint64_t> range) {
  if (!is_scalar(findings, value, "a size")) return false;
  return accept(findings, value, parse_size(value.node->text), out, range, format_size);
}

bool read_integer(Findings& findings, const Value& value, std::uint64_t& out, Range<std::uint64_t> range) {
  if (!is_plain(findings, value, "a whole number")) return false;
  return accept(findings, value, parse_integer(value.node->text), out, range,
                [](std::uint64_t n) { return std::to_string(n); });
}

bool read_number(Findings& findings, const Value& value, double& out, Range<double> range) {
  if (!is_plain(findings, value, "a number")) return false;
  return accept(findings, value, parse_number(value.node->text), out, range, format_number);
}

bool read_fraction(Findings& findings, const Value& value, double& out, Range<double> range) {
  if (!is_scalar(findings, value, "a fraction")) return false;
  return accept(findings, value, parse_fraction(value.node->text, range.min, range.max), out, range, format_number);
}

bool read_boolean(Findings& findings, const Value& value, bool& out) {
  if (!is_plain(findings, value, "true or false")) return false;
  return accept(findings, value, parse_bool(value.node->text), out, {false, true}, [](bool) { return ""; });
}

bool read_text(Findings& findings, const Value& value, std::string& out, std::string_view what) {
  if (!is_scalar(findings, value, what)) return false;
  const std::string& text = value.node->text;
  if (text.empty() || !http::all(http::kValue, text)) {
    findings.error(value.place, value.path, text.empty() ? "must not be empty" : "must be one line of text");
    return false;
  }
  out = text;
  return true;
}

bool read_lines(Findings& findings, const Value& value, std::string& out) {
  if (!is_scalar(findings, value, "text")) return false;
  const bool good = std::all_of(value.node->text.begin(), value.node->text.end(),
                                [](char c) { return c == '\n' || c == '\r' || http::is(http::kValue, c); });
  if (!good) {
    findings.error(value.place, value.path, "must not have control characters");
    return false;
  }
  out = value.node->text;
  return true;
}

bool read_address(Findings& findings, const Value& value, HostPort& out, bool any_port) {
  std::string text;
  if (!read_text(findings, value, text, "host:port, [v6]:port or unix:/path")) return false;
  const Parsed<HostPort> parsed = parse_address(text, any_port);
  if (const auto* error = std::get_if<ScalarError>(&parsed)) {
    findings.error(value.place, value.path, error->message, error->hint);
    return false;
  }
  out = std::get<HostPort>(parsed);
  return true;
}

bool read_named_file(Findings& findings, const Value& value, std::string& path, std::string& text) {
  std::string name;
  if (!read_text(findings, value, name, "a file name")) return false;
  std::filesystem::path found(name);
  if (found.is_relative() && value.place.file != nullptr) {
    found = std::filesystem::path(*value.place.file).parent_path() / found;
  }
  std::string why;
  const auto content = read_regular_file(found.string(), why);
  if (content && content->size() > kMaxFileBytes) why = "is larger than 1MiB";
  if (!content) why = "cannot be read: " + why;
  if (!why.empty()) {
    findings.error(value.place, value.path, found.string() + " " + why);
    return false;
  }
  path = found.string();
  text = *content;
  return true;
}

bool read_token(Findings& findings, const Value& value, std::string& out, std::string_view what) {
  std::string text;
  if (!read_text(findings, value, text, what)) return false;
  if (!http::all(http::kToken, text)) {
    findings.error(value.place, value.path, "must be " + std::string(what) + ", got \"" + text + "\"");
    return false;
  }
  out = std::move(text);
  return true;
}

bool read_method(Findings& findings, const Value& value, std::string& out) {
  if (!read_token(findings, value, out, "a method")) return false;
  std::string upper = out;
  for (char& c : upper) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  if (out != upper && http::parse_method(upper) != http::Method::other) {
    findings.error(value.place, value.path, "never matches: methods are case-sensitive, got \"" + out + "\"",
                   "write " + upper);
    return false;
  }
  return true;
}

bool read_statuses(Findings& findings, const Value& value, policy::StatusSet& out) {
  if (!is_scalar(findings, value, "a status, a class or a range")) return false;
  const Parsed<StatusRange> parsed = parse_statuses(value.node->text);
  if (const auto* error = std::get_if<ScalarError>(&parsed)) {
    findings.error(value.place, value.path, error->message, error->hint);
    return false;
  }
  const StatusRange& range = std::get<StatusRange>(parsed);
  out.insert(range.first, range.last);
  return true;
}

Block::Block(Findings& findings, std::string_view kind, Value value, bool null_removes)
    : findings_(findings), kind_(kind), value_(std::move(value)), null_removes_(null_removes) {
  if (!is_map(findings_, value_)) value_.node = &kNothing;
}

bool Block::is_map(Findings& findings, const Value& value) {
  if (value.node->kind == Node::Kind::map) return true;
  findings.error(value.place, value.path, "must be a map, got " + std::string(kind_name(value.node->kind)),
                 value.node->kind == Node::Kind::null ? "an empty one is written {}" : "");
  return false;
}

std::optional<Value> Block::take(std::string_view key) {
  asked_.push_back(key);
  const Entry* const entry = value_.node->find(key);
  if (entry == nullptr) return std::nullopt;
  Value value = named_value(value_, *entry);
  if (value.node->kind != Node::Kind::null) return value;
  if (!null_removes_) findings_.error(value.place, value.path, "the value is missing");
  return std::nullopt;
}

std::optional<Value> Block::require(std::string_view key) {
  std::optional<Value> value = take(key);
  const bool reported = value_.node == &kNothing || (has(key) && !null_removes_);
  if (!value && !reported) findings_.error(value_.place, join_path(value_.path, key), "required, but missing");
  return value;
}

Value Block::named_value(const Value& map, const Entry& entry) {
  const bool null = entry.value->kind == Node::Kind::null;
  Value value{entry.value, join_path(map.path, entry.key), null ? entry.key_place : entry.value->place};
  findings_.saw(value.path, value.place);
  return value;
}

std::string_view Block::only_key(std::initializer_list<std::string_view> keys) {
  std::string_view found;
  int count = 0;
  std::string words;
  for (const std::string_view key : keys) {
    words += (words.empty() ? "" : ", ") + std::string(key);
    if (!take(key)) continue;
    found = key;
    ++count;
  }
  if (count == 1) return found;
  if (value_.node != &kNothing) {
    findings_.error(place(), path(), "must have exactly one of " + words,
                    count > 1 && null_removes_ ? "null removes an inherited one" : "");
  }
  return {};
}

std::optional<std::size_t> Block::choose(const Value& value, const std::vector<std::string_view>& words) {
  const Node& node = *value.node;
  if (!is_scalar(findings_, value, in_words(words))) return std::nullopt;
  const auto found = std::find(words.begin(), words.end(), node.text);
  if (found != words.end()) return static_cast<std::size_t>(found - words.begin());
  findings_.error(value.place, value.path, "must be " + in_words(words) + ", got \"" + node.text + "\"",
                  did_you_mean(node.text, words));
  return std::nullopt;
}

bool Block::is_list(const Value& value) {
  if (value.node->kind == Node::Kind::sequence) return true;
  const bool scalar = value.node->kind == Node::Kind::scalar;
  findings_.error(value.place, value.path, "must be a list, got " + std::string(kind_name(value.node->kind)),
                  scalar ? "write [" + value.node->text + "]" : "");
  return false;
}

std::optional<Value> Block::element(const Value& list, std::size_t index) {
  const Node& node = *list.node->items[index].node;
  Value value{&node, list.path + "[" + std::to_string(index) + "]", node.place};
  findings_.saw(value.path, value.place);
  if (node.kind != Node::Kind::null) return value;
  findings_.error(value.place, value.path, "the value is missing");
  return std::nullopt;
}

void Block::finish() {
  for (const Entry& entry : value_.node->entries) {
    if (std::find(asked_.begin(), asked_.end(), entry.key) == asked_.end()) refuse_key(entry);
  }
}

void Block::refuse_key(const Entry& entry) {
  const std::string path = join_path(value_.path, entry.key);
  const bool null = entry.value->kind == Node::Kind::null;
  if (is_not_yet(kind_, entry.key)) {
    if (!null || !null_removes_) findings_.error(entry.key_place, path, std::string(kNotSupported));
    return;
  }
  std::string hint = did_you_mean(entry.key, asked_);
  if (const std::size_t colon = entry.key.find(':'); colon != std::string::npos) {
    hint = "a blank must follow the colon: " + entry.key.substr(0, colon) + ": " + entry.key.substr(colon + 1);
  } else if (hint.empty() && null) {
    hint = "if this is the rest of a value that holds a comma, quote the value";
  }
  findings_.error(entry.key_place, path, "unknown key", std::move(hint));
}

}  // namespace outrigger::config
