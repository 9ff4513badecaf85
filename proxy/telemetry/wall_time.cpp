#include "proxy/telemetry/wall_time.hpp"

#include <charconv>
#include <chrono>

namespace outrigger::telemetry {
namespace {

using std::chrono::days;
using std::chrono::microseconds;
using std::chrono::sys_days;

constexpr std::int64_t kUsPerSecond = 1'000'000;
constexpr std::int64_t kSecondsPerDay = 86'400;
constexpr std::int64_t kMaxUnixSeconds = 253'402'300'799;  // the end of the year 9999

char* put_digits(char* to, std::uint64_t value, int digits) {
  for (int i = digits - 1; i >= 0; --i) {
    to[i] = static_cast<char>('0' + value % 10);
    value /= 10;
  }
  return to + digits;
}

/// Takes exactly `digits` digits off the front.
bool take_number(std::string_view& text, std::size_t digits, std::int64_t& value) {
  if (text.size() < digits) return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + digits, value);
  if (error != std::errc{} || end != text.data() + digits || value < 0) return false;
  text.remove_prefix(digits);
  return true;
}

bool take(std::string_view& text, std::string_view any_of) {
  if (text.empty() || any_of.find(text.front()) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

/// Takes ".123" off the front, if it is there, as microseconds.
bool take_fraction(std::string_view& text, std::int64_t& us) {
  us = 0;
  if (!take(text, ".")) return true;
  std::size_t digits = 0;
  std::int64_t place = kUsPerSecond / 10;
  for (; !text.empty() && text.front() >= '0' && text.front() <= '9'; ++digits, place /= 10) {
    us += place * (text.front() - '0');
    text.remove_prefix(1);
  }
  return digits >= 1 && digits <= 9;
}

/// Takes "Z" or "+02:00" off the front, as seconds to take away.
bool take_offset(std::string_view& text, std::int64_t& seconds) {
  seconds = 0;
  if (take(text, "Zz")) return true;
  if (text.empty()) return false;
  const std::int64_t sign = text.front() == '-' ? -1 : 1;
  std::int64_t hours = 0;
  std::int64_t minutes = 0;
  if (!take(text, "+-") || !take_number(text, 2, hours) || !take(text, ":") || !take_number(text, 2, minutes))
    return false;
  seconds = sign * (hours * 3600 + minutes * 60);
  return hours < 24 && minutes < 60;
}

std::optional<std::int64_t> parse_rfc3339(std::string_view text) {
  std::int64_t year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, us = 0, offset = 0;
  const bool read = take_number(text, 4, year) && take(text, "-") && take_number(text, 2, month) && take(text, "-") &&
                    take_number(text, 2, day) && take(text, "Tt ") && take_number(text, 2, hour) && take(text, ":") &&
                    take_number(text, 2, minute) && take(text, ":") && take_number(text, 2, second) &&
                    take_fraction(text, us) && take_offset(text, offset);
  if (!read || !text.empty() || hour > 23 || minute > 59 || second > 60) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year{static_cast<int>(year)},
                                         std::chrono::month{static_cast<unsigned>(month)},
                                         std::chrono::day{static_cast<unsigned>(day)}};
  if (!date.ok()) return std::nullopt;
  const std::int64_t whole_days = sys_days{date}.time_since_epoch().count();
  const std::int64_t seconds = whole_days * kSecondsPerDay + hour * 3600 + minute * 60 + second - offset;
  return seconds * kUsPerSecond + us;
}

std::optional<std::int64_t> parse_unix_seconds(std::string_view text) {
  std::int64_t seconds = 0;
  std::int64_t us = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc{} || seconds < 0 || seconds > kMaxUnixSeconds) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  if (!take_fraction(text, us) || !text.empty()) return std::nullopt;
  return seconds * kUsPerSecond + us;
}

}  // namespace

void append_rfc3339(Buffer& out, std::int64_t unix_us) {
  const std::chrono::sys_time<microseconds> time{microseconds{unix_us}};
  const sys_days day = std::chrono::floor<days>(time);
  const std::chrono::year_month_day date{day};
  const auto us = static_cast<std::uint64_t>((time - day).count());
  const std::uint64_t seconds = us / kUsPerSecond;

  constexpr std::size_t kSize = sizeof("2024-05-01T12:34:56.789012Z") - 1;
  char* at = out.prepare(kSize);
  at = put_digits(at, static_cast<std::uint64_t>(static_cast<int>(date.year())), 4);
  *at++ = '-';
  at = put_digits(at, static_cast<unsigned>(date.month()), 2);
  *at++ = '-';
  at = put_digits(at, static_cast<unsigned>(date.day()), 2);
  *at++ = 'T';
  at = put_digits(at, seconds / 3600, 2);
  *at++ = ':';
  at = put_digits(at, seconds / 60 % 60, 2);
  *at++ = ':';
  at = put_digits(at, seconds % 60, 2);
  *at++ = '.';
  at = put_digits(at, us % kUsPerSecond, 6);
  *at++ = 'Z';
  out.commit(kSize);
}

std::optional<std::int64_t> parse_wall_time(std::string_view text) {
  const bool is_date = text.size() > 4 && text[4] == '-';
  return is_date ? parse_rfc3339(text) : parse_unix_seconds(text);
}

}  // namespace outrigger::telemetry
