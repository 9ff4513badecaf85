#include "proxy/telemetry/json_writer.hpp"

#include <algorithm>
#include <charconv>

#include "proxy/telemetry/wall_time.hpp"

namespace outrigger::telemetry {
namespace {

constexpr std::uint32_t kReplacement = 0xfffd;

void append_unit(Buffer& out, std::uint32_t unit) {
  constexpr char kHex[] = "0123456789abcdef";
  const char text[] = {'\\', 'u', kHex[unit >> 12 & 15], kHex[unit >> 8 & 15], kHex[unit >> 4 & 15], kHex[unit & 15]};
  out.append({text, sizeof text});
}

void append_code_point(Buffer& out, std::uint32_t code) {
  if (code < 0x10000) return append_unit(out, code);
  append_unit(out, 0xd800 + ((code - 0x10000) >> 10));
  append_unit(out, 0xdc00 + (code & 0x3ff));
}

/// Takes one code point of UTF-8 off the front, or one byte and U+FFFD where there is none.
std::uint32_t take_code_point(std::string_view& text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  const std::size_t size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  constexpr std::uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};  // of a sequence of that size: no overlong forms
  std::uint32_t code = lead & (0xffu >> (size + 1));
  bool valid = lead >= 0xc2 && lead <= 0xf4 && text.size() >= size;
  for (std::size_t i = 1; valid && i < size; ++i) {
    valid = (byte(i) & 0xc0) == 0x80;
    code = code << 6 | (byte(i) & 0x3f);
  }
  valid = valid && code >= kSmallest[size] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
  text.remove_prefix(valid ? size : 1);
  return valid ? code : kReplacement;
}

bool is_plain(char c) { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'; }

}  // namespace

void append_json_text(Buffer& out, std::string_view text) {
  while (!text.empty()) {
    const auto plain = static_cast<std::size_t>(std::find_if_not(text.begin(), text.end(), is_plain) - text.begin());
    out.append(text.substr(0, plain));
    text.remove_prefix(plain);
    if (text.empty()) return;
    const char c = text.front();
    if (static_cast<unsigned char>(c) >= 0x80) {
      append_code_point(out, take_code_point(text));
      continue;
    }
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else {
      append_unit(out, static_cast<unsigned char>(c));
    }
    text.remove_prefix(1);
  }
}

void append_json_string(Buffer& out, std::string_view text) {
  out.push_back('"');
  append_json_text(out, text);
  out.push_back('"');
}

void append_number(Buffer& out, std::int64_t value) {
  constexpr std::size_t kMaxDigits = 20;
  char* begin = out.prepare(kMaxDigits);
  const auto end = std::to_chars(begin, begin + kMaxDigits, value).ptr;
  out.commit(static_cast<std::size_t>(end - begin));
}

void append_ms(Buffer& out, Nanos duration) {
  const std::int64_t us = (std::max<std::int64_t>(duration.count(), 0) + 500) / 1000;
  append_number(out, us / 1000);
  const auto rest = static_cast<int>(us % 1000);
  const char decimals[] = {'.', static_cast<char>('0' + rest / 100), static_cast<char>('0' + rest / 10 % 10),
                           static_cast<char>('0' + rest % 10)};
  out.append({decimals, sizeof decimals});
}

JsonWriter& JsonWriter::key(std::string_view name) {
  separate();
  out_.push_back('"');
  out_.append(name);
  out_.append("\":");
  first_ = true;
  return *this;
}

void JsonWriter::string(std::string_view text) {
  separate();
  append_json_string(out_, text);
}

void JsonWriter::number(std::int64_t value) {
  separate();
  append_number(out_, value);
}

void JsonWriter::ms(Nanos duration) {
  separate();
  append_ms(out_, duration);
}

void JsonWriter::time(std::int64_t unix_us) {
  separate();
  out_.push_back('"');
  append_rfc3339(out_, unix_us);
  out_.push_back('"');
}

void JsonWriter::literal(std::string_view json) {
  separate();
  out_.append(json);
}

}  // namespace outrigger::telemetry
