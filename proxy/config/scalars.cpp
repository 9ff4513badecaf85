#include "proxy/config/scalars.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <optional>

#include "proxy/config/text.hpp"
#include "proxy/http/chars.hpp"

namespace outrigger::config {
namespace {

using http::is_digit;

constexpr std::size_t kMaxPolicyKey = 96;
constexpr std::size_t kMaxName = 64;
constexpr std::size_t kMaxUnixPath = 107;
constexpr std::string_view kUnix = "unix:";

constexpr bool is_alpha(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_hex(char c) noexcept { return http::is(http::kHexDigit, c); }
constexpr bool is_word(char c) noexcept { return is_alpha(c) || is_digit(c) || c == '_' || c == '-'; }

bool all_digits(std::string_view text) noexcept {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_digit);
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  out += cut(text, 60);
  if (text.size() > 60) out += "...";
  return out + '"';
}

/// A number and the unit that follows it.
struct Quantity {
  std::string_view whole;
  std::string_view fraction;
  std::string_view unit;
};

std::optional<Quantity> split_quantity(std::string_view text) noexcept {
  const auto digits = [&](std::size_t from) {
    std::size_t end = from;
    while (end < text.size() && is_digit(text[end])) ++end;
    return end;
  };
  const std::size_t point = digits(0);
  if (point == 0) return std::nullopt;
  Quantity out{text.substr(0, point), {}, text.substr(point)};
  if (point < text.size() && text[point] == '.') {
    const std::size_t end = digits(point + 1);
    if (end == point + 1) return std::nullopt;
    out.fraction = text.substr(point + 1, end - point - 1);
    out.unit = text.substr(end);
  }
  return out;
}

/// whole.fraction x scale as an integer; nullopt where that overflows or is not whole.
std::optional<std::uint64_t> scaled(const Quantity& quantity, std::uint64_t scale) noexcept {
  if (quantity.fraction.size() > 18) return std::nullopt;
  unsigned __int128 digits = 0;
  unsigned __int128 divisor = 1;
  for (const char c : quantity.whole) {
    digits = digits * 10 + static_cast<unsigned>(c - '0');
    if (digits > UINT64_MAX) return std::nullopt;
  }
  for (const char c : quantity.fraction) {
    digits = digits * 10 + static_cast<unsigned>(c - '0');
    divisor *= 10;
  }
  // 2^64 x 10^18 fits 128 bits, that times an hour does not: refuse before multiplying.
  if (digits > (~static_cast<unsigned __int128>(0)) / scale) return std::nullopt;
  const unsigned __int128 value = digits * scale;
  if (value % divisor != 0 || value / divisor > INT64_MAX) return std::nullopt;
  return static_cast<std::uint64_t>(value / divisor);
}

struct Unit {
  std::string_view name;
  std::uint64_t scale;
};

constexpr std::array kTimeUnits = {Unit{"h", 3'600'000'000'000}, Unit{"m", 60'000'000'000}, Unit{"s", 1'000'000'000},
                                   Unit{"ms", 1'000'000}, Unit{"us", 1'000}};
constexpr std::array kSizeUnits = {Unit{"GiB", 1 << 30}, Unit{"MiB", 1 << 20}, Unit{"KiB", 1 << 10}, Unit{"B", 1}};

template <std::size_t n>
const Unit* find_unit(const std::array<Unit, n>& units, std::string_view name) noexcept {
  const auto found = std::find_if(units.begin(), units.end(), [&](const Unit& unit) { return unit.name == name; });
  return found == units.end() ? nullptr : &*found;
}

template <std::size_t n>
std::string format_quantity(const std::array<Unit, n>& units, std::uint64_t value) {
  for (const Unit& unit : units) {
    if (value != 0 && value % unit.scale == 0) return std::to_string(value / unit.scale) + std::string(unit.name);
  }
  return "0";
}

/// `1:30`, which some YAML readers take for a number in base 60.
bool looks_like_clock(std::string_view text) noexcept {
  const std::size_t colon = text.find(':');
  return colon != std::string_view::npos && all_digits(text.substr(0, colon)) && is_digit(text.back());
}

ScalarError duration_error(std::string_view text) {
  ScalarError error{"must be a duration, got " + quoted(text), "write a number and a unit: 250us, 10ms, 1.5s, 2m, 1h"};
  if (all_digits(text)) {
    error.hint = "a duration needs a unit: " + std::string(text) + "ms, " + std::string(text) + "s";
  } else if (looks_like_clock(text)) {
    error.hint = "a duration has one unit: 90s, 1.5m";
  } else if (text.starts_with('-')) {
    error.hint = "a duration is not negative";
  }
  return error;
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return out;
}

/// The spelling that is meant by `64k`, `64KB`, `64Kib`.
std::string size_hint(const std::optional<Quantity>& quantity) {
  std::string fallback = "write a number and a unit: 512B, 64KiB, 1MiB";
  if (!quantity) return fallback;
  const std::string number =
      std::string(quantity->whole) + (quantity->fraction.empty() ? "" : "." + std::string(quantity->fraction));
  if (quantity->unit.empty()) return "a size needs a unit: " + number + "B, " + number + "KiB, " + number + "MiB";
  switch (lower(quantity->unit)[0]) {
    case 'k': return "sizes are in powers of 1024: " + number + "KiB";
    case 'm': return "sizes are in powers of 1024: " + number + "MiB";
    case 'g': return "sizes are in powers of 1024: " + number + "GiB";
    default: return fallback;
  }
}

std::optional<double> to_double(std::string_view text) noexcept {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  if (error != std::errc{} || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

/// A decimal number as people write it: no sign, no `inf`, no exponent.
std::optional<double> plain_decimal(std::string_view text) noexcept {
  const std::optional<Quantity> quantity = split_quantity(text);
  if (!quantity || !quantity->unit.empty()) return std::nullopt;
  return to_double(text);
}

std::optional<std::uint16_t> parse_status(std::string_view text) noexcept {
  if (text.size() != 3 || !all_digits(text) || text[0] < '1' || text[0] > '5') return std::nullopt;
  return static_cast<std::uint16_t>((text[0] - '0') * 100 + (text[1] - '0') * 10 + (text[2] - '0'));
}

std::optional<std::uint16_t> parse_port(std::string_view text) noexcept {
  if (!all_digits(text) || text.size() > 5) return std::nullopt;
  unsigned port = 0;
  std::from_chars(text.data(), text.data() + text.size(), port);
  if (port > 65535) return std::nullopt;
  return static_cast<std::uint16_t>(port);
}

bool is_v6(std::string_view text) noexcept {
  const bool charset = std::all_of(text.begin(), text.end(), [](char c) { return is_hex(c) || c == ':' || c == '.'; });
  return charset && std::count(text.begin(), text.end(), ':') >= 2;
}

bool is_host(std::string_view text) noexcept {
  return !text.empty() && text.size() <= 253 && text.front() != '.' && text.front() != '-' &&
         std::all_of(text.begin(), text.end(), [](char c) { return is_word(c) || c == '.'; });
}

/// Four decimal numbers up to 255, or not digits and dots at all: `127.0.0` and `300.1.1.1` are nobody's name.
bool is_v4_or_name(std::string_view host) noexcept {
  if (!std::all_of(host.begin(), host.end(), [](char c) { return is_digit(c) || c == '.'; })) return true;
  int parts = 0;
  std::size_t from = 0;
  for (;;) {
    const std::size_t dot = std::min(host.find('.', from), host.size());
    const std::string_view part = host.substr(from, dot - from);
    if (!all_digits(part) || part.size() > 3 || (part.size() == 3 && part > "255")) return false;
    ++parts;
    if (dot == host.size()) return parts == 4;
    from = dot + 1;
  }
}

ScalarError address_error(std::string_view text) {
  ScalarError error{"must be host:port, [v6]:port or unix:/path, got " + quoted(text), "for example 127.0.0.1:8080"};
  const std::string address(text);
  if (text.find("://") != std::string_view::npos) {
    error.hint = "an address has no scheme: host:port";
  } else if (is_v6(text)) {
    error.hint = "an IPv6 address stands in brackets, and in quotes: \"[" + address + "]:8080\"";
  } else if (text.starts_with(':') || text.starts_with("*:")) {
    const std::string port(text.substr(text.rfind(':')));
    error.hint = "name the address: 127.0.0.1" + port + ", or 0.0.0.0" + port + " for every one";
  } else if (all_digits(text)) {
    error.hint = "name the address, too: 127.0.0.1:" + address;
  } else if (is_host(text)) {
    error.hint = "the port is missing: " + address + ":8080";
  }
  return error;
}

Parsed<HostPort> parse_unix_address(std::string_view text) {
  const std::string_view path = text.substr(kUnix.size());
  if (!path.starts_with('/') || path.ends_with('/')) {
    return ScalarError{"must be unix: and the absolute path of a socket, got " + quoted(text),
                       "for example unix:/run/outrigger.sock"};
  }
  if (path.size() > kMaxUnixPath) {
    return ScalarError{"must have a path of at most 107 bytes, got " + std::to_string(path.size()),
                       "the kernel takes no longer one for a socket"};
  }
  return HostPort{.path = std::string(path)};
}

/// Takes the parts of an RFC 3339 time off a text, one after the other.
class TimestampScanner {
 public:
  explicit TimestampScanner(std::string_view text) : rest_(text) {}

  bool at_end() const noexcept { return rest_.empty(); }

  bool one_of(std::string_view chars) noexcept {
    if (rest_.empty() || chars.find(rest_.front()) == std::string_view::npos) return false;
    rest_.remove_prefix(1);
    return true;
  }

  std::optional<std::chrono::sys_days> date() noexcept {
    const auto year = digits(4);
    if (!year || !one_of("-")) return std::nullopt;
    const auto month = digits(2);
    if (!month || !one_of("-")) return std::nullopt;
    const auto day = digits(2);
    if (!day) return std::nullopt;
    const std::chrono::year_month_day date{std::chrono::year{static_cast<int>(*year)}, std::chrono::month{*month},
                                           std::chrono::day{*day}};
    if (!date.ok()) return std::nullopt;
    return std::chrono::sys_days{date};
  }

  std::optional<std::chrono::microseconds> time_of_day() noexcept {
    const auto minutes = hours_and_minutes();
    if (!minutes || !one_of(":")) return std::nullopt;
    const auto seconds = digits(2);
    if (!seconds || *seconds > 60) return std::nullopt;
    const auto micros = one_of(".") ? fraction() : std::optional(std::chrono::microseconds{0});
    if (!micros) return std::nullopt;
    return *minutes + std::chrono::seconds{*seconds} + *micros;
  }

  /// How far the written time is ahead of UTC.
  std::optional<std::chrono::minutes> offset() noexcept {
    if (one_of("Zz")) return std::chrono::minutes{0};
    const bool behind = rest_.starts_with('-');
    if (!one_of("+-")) return std::nullopt;
    const auto ahead = hours_and_minutes();
    if (!ahead) return std::nullopt;
    return behind ? -*ahead : *ahead;
  }

 private:
  std::optional<unsigned> digits(std::size_t count) noexcept {
    if (rest_.size() < count || !all_digits(rest_.substr(0, count))) return std::nullopt;
    unsigned value = 0;
    std::from_chars(rest_.data(), rest_.data() + count, value);
    rest_.remove_prefix(count);
    return value;
  }

  std::optional<std::chrono::minutes> hours_and_minutes() noexcept {
    const auto hours = digits(2);
    if (!hours || *hours > 23 || !one_of(":")) return std::nullopt;
    const auto minutes = digits(2);
    if (!minutes || *minutes > 59) return std::nullopt;
    return std::chrono::hours{*hours} + std::chrono::minutes{*minutes};
  }

  /// At least one digit; what is finer than a microsecond is left out.
  std::optional<std::chrono::microseconds> fraction() noexcept {
    std::int64_t micros = 0;
    std::int64_t place = 100'000;
    if (rest_.empty() || !is_digit(rest_.front())) return std::nullopt;
    for (; !rest_.empty() && is_digit(rest_.front()); rest_.remove_prefix(1)) {
      micros += (rest_.front() - '0') * place;
      place /= 10;
    }
    return std::chrono::microseconds{micros};
  }

  std::string_view rest_;
};

/// An identifier in a key would give every thing its own policy and its own metric series.
bool looks_like_identifier(std::string_view segment) noexcept {
  if (segment.size() >= 16 && std::all_of(segment.begin(), segment.end(), is_hex)) return true;
  if (segment.size() != 36) return false;
  for (std::size_t i = 0; i < segment.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? segment[i] != '-' : !is_hex(segment[i])) return false;
  }
  return true;
}

}  // namespace

std::string to_string(const HostPort& address) {
  if (!address.path.empty()) return std::string(kUnix) + address.path;
  const bool v6 = address.host.find(':') != std::string::npos;
  return (v6 ? "[" + address.host + "]" : address.host) + ":" + std::to_string(address.port);
}

Parsed<Nanos> parse_duration(std::string_view text) {
  if (text == "0") return Nanos{0};
  const std::optional<Quantity> quantity = split_quantity(text);
  const Unit* unit = quantity ? find_unit(kTimeUnits, quantity->unit) : nullptr;
  if (unit == nullptr) return duration_error(text);
  const std::optional<std::uint64_t> nanos = scaled(*quantity, unit->scale);
  if (!nanos || *nanos % 1000 != 0) return ScalarError{"is too large or too fine for a duration: " + quoted(text), ""};
  return Nanos{static_cast<std::int64_t>(*nanos)};
}

Parsed<std::uint64_t> parse_size(std::string_view text) {
  if (text == "0") return std::uint64_t{0};
  const std::optional<Quantity> quantity = split_quantity(text);
  const Unit* unit = quantity ? find_unit(kSizeUnits, quantity->unit) : nullptr;
  if (unit == nullptr) return ScalarError{"must be a size, got " + quoted(text), size_hint(quantity)};
  const std::optional<std::uint64_t> bytes = scaled(*quantity, unit->scale);
  if (!bytes) return ScalarError{"must be a whole number of bytes, got " + quoted(text), ""};
  return *bytes;
}

Parsed<double> parse_fraction(std::string_view text, double min, double max) {
  const bool percent = text.ends_with('%');
  const std::optional<double> number = plain_decimal(percent ? text.substr(0, text.size() - 1) : text);
  if (!number) return ScalarError{"must be a fraction, got " + quoted(text), "write 0.2 or 20%"};
  const double value = percent ? *number / 100 : *number;
  if (value >= min && value <= max) return value;
  const bool forgot_percent = !percent && *number > 1 && *number <= max * 100;
  return ScalarError{
      "must be between " + format_number(min) + " and " + format_number(max) + ", got " + std::string(text),
      forgot_percent ? "for per cent write " + std::string(text) + "%" : ""};
}

Parsed<double> parse_number(std::string_view text) {
  const std::optional<double> number = plain_decimal(text);
  if (!number) return ScalarError{"must be a number, got " + quoted(text), ""};
  return *number;
}

Parsed<std::uint64_t> parse_integer(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc{} && end == text.data() + text.size()) return value;
  if (error == std::errc::result_out_of_range) return ScalarError{"is too large: " + quoted(text), ""};
  const bool grouped = !text.empty() && is_digit(text[0]) && text.find_first_of("_,") != std::string_view::npos;
  return ScalarError{"must be a whole number, got " + quoted(text), grouped ? "write digits only" : ""};
}

Parsed<bool> parse_bool(std::string_view text) {
  if (text == "true") return true;
  if (text == "false") return false;
  const std::string word = lower(text);
  const bool yes = word == "yes" || word == "on" || word == "y" || word == "true" || word == "1";
  const bool no = word == "no" || word == "off" || word == "n" || word == "false" || word == "0";
  return ScalarError{"must be true or false, got " + quoted(text), yes ? "write true" : no ? "write false" : ""};
}

Parsed<StatusRange> parse_statuses(std::string_view text) {
  if (text.size() == 3 && text[0] >= '1' && text[0] <= '5' && lower(text.substr(1)) == "xx") {
    const auto first = static_cast<std::uint16_t>((text[0] - '0') * 100);
    return StatusRange{first, static_cast<std::uint16_t>(first + 99)};
  }
  const std::size_t dash = std::min(text.find('-'), text.size());
  const std::optional<std::uint16_t> from = parse_status(text.substr(0, dash));
  const std::optional<std::uint16_t> to = dash == text.size() ? from : parse_status(text.substr(dash + 1));
  if (from && to && *from <= *to) return StatusRange{*from, *to};
  return ScalarError{"must be a status, a class or a range, got " + quoted(text), "write 503, 5xx or 502-504"};
}

Parsed<double> parse_percentile(std::string_view text) {
  const std::optional<double> number = text.starts_with('p') ? plain_decimal(text.substr(1)) : std::nullopt;
  if (!number) {
    const bool forgot_p = plain_decimal(text).has_value();
    return ScalarError{"must be a percentile, got " + quoted(text),
                       forgot_p ? "write p" + std::string(text) : "write p50, p95 or p99.9"};
  }
  // In steps of a thousandth of a per cent, so that p99.9 is the very number 0.999.
  const double quantile = std::round(*number * 1000) / 100'000;
  if (quantile >= 0.5 && quantile <= 0.999) return quantile;
  return ScalarError{"must be between p50 and p99.9, got " + std::string(text), ""};
}

Parsed<std::int64_t> parse_timestamp(std::string_view text) {
  const ScalarError error{"must be an RFC 3339 time, got " + quoted(text), "for example 2030-01-31T12:00:00Z"};
  TimestampScanner scan(text);
  const auto date = scan.date();
  if (!date || !scan.one_of("Tt ")) return error;
  const auto time = scan.time_of_day();
  const auto offset = time ? scan.offset() : std::nullopt;
  if (!offset || !scan.at_end()) return error;
  const std::chrono::microseconds instant = date->time_since_epoch() + *time - *offset;
  if (instant.count() < 0) return ScalarError{"must not be before 1970, got " + quoted(text), ""};
  return std::int64_t{instant.count()};
}

Parsed<HostPort> parse_address(std::string_view text, bool any_port) {
  if (text.starts_with(kUnix)) return parse_unix_address(text);
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return address_error(text);
  std::string_view host = text.substr(0, colon);
  const std::optional<std::uint16_t> port = parse_port(text.substr(colon + 1));
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (!(bracketed ? is_v6(host) : is_host(host) && is_v4_or_name(host))) return address_error(text);
  if (!port) return ScalarError{"must end in a port up to 65535, got " + quoted(text), ""};
  if (*port == 0 && !any_port) return ScalarError{"must end in a port from 1 to 65535, got " + quoted(text), ""};
  return HostPort{std::string(host), *port};
}

bool is_loopback(const HostPort& address) noexcept {
  return !address.path.empty() || address.host == "::1" || address.host == "localhost" ||
         address.host.starts_with("127.");
}

ScalarError check_policy_key(std::string_view key) {
  if (key.size() > kMaxPolicyKey) return {"must have at most 96 characters, got " + std::to_string(key.size()), ""};
  std::size_t from = 0;
  while (from <= key.size()) {
    const std::size_t dot = std::min(key.find('.', from), key.size());
    const std::string_view segment = key.substr(from, dot - from);
    if (looks_like_identifier(segment)) {
      return {"segment " + quoted(segment) + " looks like an identifier", "a key names an operation, not a thing"};
    }
    if (segment.empty() || !is_alpha(segment[0]) || !std::all_of(segment.begin(), segment.end(), is_word)) {
      return {"is not a policy key: " + quoted(key),
              "words of letters, digits, - and _ that begin with a letter, joined by dots: payments.Charge"};
    }
    from = dot + 1;
  }
  return {};
}

ScalarError check_name(std::string_view name) {
  if (name.size() > kMaxName) return {"must have at most 64 characters, got " + std::to_string(name.size()), ""};
  const bool good = !name.empty() && is_alpha(name[0]) &&
                    std::all_of(name.begin(), name.end(), [](char c) { return is_word(c) || c == '.'; });
  if (good) return {};
  return {"is not a name: " + quoted(name), "a letter, then letters, digits, - _ and dots"};
}

std::string format_number(double number) {
  std::string out = std::to_string(number);
  out.erase(out.find_last_not_of('0') + 1);
  if (out.ends_with('.')) out.pop_back();
  return out;
}

std::string format_duration(Nanos duration) {
  return format_quantity(kTimeUnits, static_cast<std::uint64_t>(duration.count()));
}

std::string format_size(std::uint64_t bytes) { return format_quantity(kSizeUnits, bytes); }

std::vector<std::string> format_statuses(const policy::StatusSet& statuses) {
  std::vector<std::string> out;
  for (unsigned status = policy::StatusSet::kFirst; status <= policy::StatusSet::kLast; ++status) {
    const auto in_set = [&](unsigned other) { return statuses.contains(static_cast<std::uint16_t>(other)); };
    if (!in_set(status)) continue;
    const unsigned from = status;
    while (in_set(status + 1)) ++status;
    const bool whole_class = from % 100 == 0 && status == from + 99;
    out.push_back(whole_class ? std::to_string(from / 100) + "xx"
                              : std::to_string(from) + (status == from ? "" : "-" + std::to_string(status)));
  }
  return out;
}

std::string format_percentile(double quantile) {
  const auto thousandths = std::llround(quantile * 100'000);
  std::string digits = std::to_string(thousandths % 1000);
  digits.insert(0, 3 - digits.size(), '0');
  digits.erase(digits.find_last_not_of('0') + 1);
  return "p" + std::to_string(thousandths / 1000) + (digits.empty() ? "" : "." + digits);
}

std::string format_timestamp(std::int64_t unix_us) {
  const std::chrono::sys_time<std::chrono::microseconds> instant{std::chrono::microseconds{unix_us}};
  const auto day = std::chrono::floor<std::chrono::days>(instant);
  const std::chrono::year_month_day date{day};
  const std::chrono::hh_mm_ss time{instant - day};
  std::array<char, 64> text{};
  const int length = std::snprintf(text.data(), text.size(), "%04d-%02u-%02uT%02d:%02d:%02d",
                                   static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                                   static_cast<unsigned>(date.day()), static_cast<int>(time.hours().count()),
                                   static_cast<int>(time.minutes().count()), static_cast<int>(time.seconds().count()));
  std::string out(text.data(), static_cast<std::size_t>(length));
  if (time.subseconds().count() != 0) {
    std::string micros = std::to_string(time.subseconds().count());
    micros.insert(0, 6 - micros.size(), '0');
    out += "." + micros.substr(0, micros.find_last_not_of('0') + 1);
  }
  return out + "Z";
}

}  // namespace outrigger::config
