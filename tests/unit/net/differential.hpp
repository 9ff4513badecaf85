// tests/unit/net/differential.hpp
//
// What the differential tests beside Beast's parser have in common: mutations of messages, and fields in a form in
// which two parsers' can be compared.
#pragma once

#include <algorithm>
#include <regex>
#include <string>
#include <vector>

#include "proxy/base/rng.hpp"
#include "proxy/http/field_list.hpp"

namespace outrigger::test {

inline char any_byte(Rng& rng) {
  static const std::string kBytes = std::string{"\r\n\t :/,;?#%*aZ05.\\\x01\x7f\xe9"} + '\0';
  return kBytes[rng.below(kBytes.size())];
}

/// Changes a byte or a line of a message, or puts one of `lines` behind its first.
inline void mutate(std::string& text, Rng& rng, const std::vector<std::string>& lines) {
  const std::size_t at = rng.below(text.size());
  switch (rng.below(6)) {
    case 0: text[at] = any_byte(rng); break;
    case 1: text.insert(at, 1, any_byte(rng)); break;
    case 2: text.erase(at, 1); break;
    case 3: text[at] = static_cast<char>(text[at] ^ (1 << rng.below(8))); break;
    case 4: {  // a line once more
      const std::size_t begin = text.rfind("\r\n", at);
      const std::size_t end = text.find("\r\n", at);
      if (begin < end && end != std::string::npos) text.insert(end, text.substr(begin, end - begin));
      break;
    }
    default: {
      const std::size_t first_line_end = text.find("\r\n");
      if (first_line_end != std::string::npos) text.insert(first_line_end + 2, lines[rng.below(lines.size())]);
    }
  }
}

template <class Text>
std::string text_of(const Text& text) {
  return {text.data(), text.size()};
}

/// Whether some Connection value is no list of tokens.
inline bool has_odd_options(const http::FieldList& fields) {
  static const std::regex kTokens{R"([-!#$%&'*+.^_`|~0-9A-Za-z, \t]*)"};
  static const std::regex kTwoWords{R"(.*[^, \t][ \t]+[^, \t].*)"};
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (fields.id(i) != http::FieldId::connection) continue;
    const std::string value{fields[i].value};
    if (!std::regex_match(value, kTokens) || std::regex_match(value, kTwoWords)) return true;
  }
  return false;
}

/// One line for each field, sorted: Beast keeps fields of one name together.
template <class Fields, class Name, class Value>
std::string lines_of(const Fields& fields, Name name, Value value) {
  std::vector<std::string> lines;
  for (const auto& field : fields) lines.push_back(text_of(name(field)) + ": " + text_of(value(field)) + "\n");
  std::sort(lines.begin(), lines.end());
  std::string all;
  for (const std::string& line : lines) all += line;
  return all;
}

}  // namespace outrigger::test
