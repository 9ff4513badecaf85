#include "proxy/admin/query.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <variant>

#include "proxy/base/reason.hpp"
#include "proxy/config/scalars.hpp"
#include "proxy/telemetry/wall_time.hpp"

namespace outrigger::admin {
namespace {

std::optional<int> hex_digit(char c) {
  int value = 0;
  const auto [end, error] = std::from_chars(&c, &c + 1, value, 16);
  return error == std::errc{} ? std::optional{value} : std::nullopt;
}

template <class Number>
bool parse_number(std::string_view text, Number& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size();
}

bool parse_status(std::string_view text, telemetry::TimelineFilter& filter) {
  if (text.size() == 3 && text.substr(1) == "xx" && text[0] >= '1' && text[0] <= '5') {
    filter.status_min = static_cast<std::uint16_t>((text[0] - '0') * 100);
    filter.status_max = static_cast<std::uint16_t>(filter.status_min + 99);
    return true;
  }
  if (!parse_number(text, filter.status_min)) return false;
  filter.status_max = filter.status_min;
  return true;
}

bool parse_kind(std::string_view text, telemetry::TimelineFilter& filter) {
  for (std::size_t i = 0; i < exchange::kAttemptKinds; ++i) {
    const auto kind = static_cast<exchange::AttemptKind>(i);
    if (to_string(kind) == text) filter.kind = kind;
  }
  return filter.kind.has_value();
}

bool parse_reason_filter(std::string_view text, telemetry::TimelineFilter& filter) {
  constexpr std::string_view kWould = "would_";
  filter.would = text.starts_with(kWould);
  filter.reason = parse_reason(filter.would ? text.substr(kWould.size()) : text);
  return filter.reason.has_value();
}

bool parse_min_ms(std::string_view text, telemetry::TimelineFilter& filter) {
  constexpr double kMostMs = 1e12;
  double ms = 0;
  if (!parse_number(text, ms) || !(ms >= 0 && ms <= kMostMs)) return false;
  filter.min_duration = Nanos{static_cast<std::int64_t>(ms * 1e6)};
  return true;
}

bool parse_since(std::string_view text, telemetry::TimelineFilter& filter) {
  const auto since = telemetry::parse_wall_time(text);
  if (since) filter.since_us = *since;
  return since.has_value();
}

bool parse_parameter(std::string_view name, const std::string& value, TimelineQuery& query) {
  if (name == "policy") {
    query.filter.policy = value;
    return true;
  }
  if (name == "reason") return parse_reason_filter(value, query.filter);
  if (name == "status") return parse_status(value, query.filter);
  if (name == "kind") return parse_kind(value, query.filter);
  if (name == "min_ms") return parse_min_ms(value, query.filter);
  if (name == "since") return parse_since(value, query.filter);
  if (name == "limit") return parse_number(value, query.limit) && query.limit >= 1 && query.limit <= query.kMaxLimit;
  return false;
}

}  // namespace

std::string decoded(std::string_view encoded) {
  std::string plain;
  for (std::size_t i = 0; i < encoded.size(); ++i) {
    const bool escape = encoded[i] == '%' && i + 2 < encoded.size();
    const auto high = escape ? hex_digit(encoded[i + 1]) : std::nullopt;
    const auto low = escape ? hex_digit(encoded[i + 2]) : std::nullopt;
    if (high && low) {
      plain.push_back(static_cast<char>(*high * 16 + *low));
      i += 2;
    } else {
      plain.push_back(encoded[i]);
    }
  }
  return plain;
}

std::string_view take_until(std::string_view& text, char separator) {
  const std::size_t at = std::min(text.find(separator), text.size());
  const std::string_view front = text.substr(0, at);
  text.remove_prefix(std::min(at + 1, text.size()));
  return front;
}

std::string parameter(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    std::string_view value = take_until(query, '&');
    if (take_until(value, '=') == name) return decoded(value);
  }
  return {};
}

std::optional<Nanos> parse_ttl(std::string_view query) {
  std::string text = "1m";
  while (!query.empty()) {
    std::string_view value = take_until(query, '&');
    if (take_until(value, '=') != "ttl") return std::nullopt;
    text = decoded(value);
  }
  const config::Parsed<Nanos> parsed = config::parse_duration(text);
  const Nanos* const ttl = std::get_if<Nanos>(&parsed);
  if (ttl == nullptr || *ttl < std::chrono::seconds{1} || *ttl > std::chrono::hours{24}) return std::nullopt;
  return *ttl;
}

std::optional<std::string> parse_query(std::string_view query, TimelineQuery& asked) {
  while (!query.empty()) {
    std::string_view value = take_until(query, '&');
    const std::string_view name = take_until(value, '=');
    if (!value.empty() && !parse_parameter(name, decoded(value), asked)) return std::string{name};
  }
  return std::nullopt;
}

}  // namespace outrigger::admin
