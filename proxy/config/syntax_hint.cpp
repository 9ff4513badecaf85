#include <algorithm>
#include <array>
#include <cstddef>

#include "proxy/config/node.hpp"

namespace outrigger::config {
namespace {

std::string_view line_of(std::string_view text, int line) noexcept {
  for (; line > 1; --line) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) return {};
    text.remove_prefix(end + 1);
  }
  text = text.substr(0, text.find('\n'));
  if (text.ends_with('\r')) text.remove_suffix(1);
  return text;
}

std::string_view trimmed(std::string_view text) noexcept {
  while (text.ends_with(' ')) text.remove_suffix(1);
  while (text.starts_with(' ')) text.remove_prefix(1);
  return text;
}

/// Cuts a value where its flow map or list ends: at a comma, or at the bracket that closes more than it opened.
std::string_view flow_value(std::string_view text) noexcept {
  int depth = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '{' || c == '[') ++depth;
    if ((c == '}' || c == ']') && --depth < 0) return trimmed(text.substr(0, i));
    if (depth == 0 && (c == ',' || text.substr(i).starts_with(" #"))) return trimmed(text.substr(0, i));
  }
  return trimmed(text);
}

/// The value that the position belongs to, as the author meant it: from the blank after its key, or from the bracket
/// or comma of its list.
std::string_view value_around(std::string_view line, std::size_t position) noexcept {
  std::size_t start = 0;
  const std::string_view before = line.substr(0, position);
  for (const std::string_view opener : std::array<std::string_view, 4>{": ", ", ", "- ", "[ "}) {
    const std::size_t found = before.rfind(opener);
    if (found != std::string_view::npos) start = std::max(start, found + opener.size());
  }
  // A list without a blank after its bracket: [*.example.com]
  if (position > 0 && line[position - 1] == '[' && position > start) start = position;
  return flow_value(line.substr(start));
}

std::string quote_it(std::string_view value) {
  if (value.empty()) return "quote the value";
  const char mark =
      value.find('"') != std::string_view::npos || value.find('\\') != std::string_view::npos ? '\'' : '"';
  return "quote the value: " + (mark + std::string(value) + mark);
}

bool indented_by_tab(std::string_view line) noexcept {
  return line.substr(0, line.find_first_not_of(" \t")).find('\t') != std::string_view::npos;
}

std::string bracket_hint(std::string_view line, std::size_t position) {
  if (position >= line.size()) return "is a bracket or a quote left open?";
  const std::string_view value = value_around(line, position);
  const bool begins_with_bracket = value.starts_with('[') || value.starts_with('{');
  const char c = line[position];
  if (c == '{' || c == '[') return quote_it(value);
  if (begins_with_bracket) return quote_it(value);
  if (value.starts_with('"') || value.starts_with('\'')) return "the quotes must hold the whole value";
  const std::size_t first = line.find_first_not_of(' ');
  if (first == position) return "check the indentation: it fits none of the lines above";
  return "a comma or a closing bracket is missing";
}

}  // namespace

std::string syntax_hint(std::string_view text, std::string_view message, int line_number, int col) {
  const std::string_view line = line_of(text, line_number);
  const std::size_t position = col > 0 ? static_cast<std::size_t>(col - 1) : 0;
  const char c = position < line.size() ? line[position] : '\0';
  const auto says = [&](std::string_view part) { return message.find(part) != std::string_view::npos; };
  if (indented_by_tab(line)) return "indent with blanks, not with tabs";
  if (says("anchor is not defined")) {
    return "a plain value that begins with * refers to an anchor; if it is text, " +
           quote_it(value_around(line, position));
  }
  if (says("unknown token") || says("block scalar")) {
    return "a plain value cannot begin with @ ` % > or |; " + quote_it(value_around(line, position));
  }
  if (says("illegal map value")) {
    const std::size_t colon = line.find(": ");
    if (colon == std::string_view::npos || colon >= position) return "the line above may lack its colon";
    const std::string_view value = trimmed(line.substr(colon + 2));
    return "a value that holds a colon and a blank: " + quote_it(value);
  }
  if (says("illegal block entry")) return "begin the list on a line of its own, or write [a, b]";
  if (says("illegal EOF in scalar")) return "the quote is opened here or before";
  if (says("escape")) return "in double quotes a backslash begins an escape: use single quotes";
  if (says("not found")) return bracket_hint(line, position);
  if (c == '\t') return "indent with blanks, not with tabs";
  return "";
}

}  // namespace outrigger::config
