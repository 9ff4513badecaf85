#include "proxy/http/http_date.hpp"

#include <algorithm>
#include <cstring>

#include "proxy/http/chars.hpp"

namespace outrigger::http {
namespace {

constexpr std::int64_t kDay = 86'400;
constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";
constexpr std::string_view kDays = "SunMonTueWedThuFriSat";
constexpr std::array<std::string_view, 7> kLongDays = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                       "Thursday", "Friday", "Saturday"};
constexpr std::int64_t kYear0 = -62'167'219'200;     // 0000-01-01
constexpr std::int64_t kYear9999 = 253'402'300'799;  // 9999-12-31 23:59:59

struct Civil {
  std::int64_t year = 0;
  int month = 1;  // 1..12
  int day = 1;    // 1..31
};

/// Years begin in March here, so that the leap day is a year's last.
constexpr std::int64_t days_from_civil(const Civil& date) noexcept {
  const std::int64_t year = date.month <= 2 ? date.year - 1 : date.year;
  const std::int64_t era = (year >= 0 ? year : year - 399) / 400;
  const std::int64_t year_of_era = year - era * 400;
  const std::int64_t day_of_year = (153 * (date.month + (date.month > 2 ? -3 : 9)) + 2) / 5 + date.day - 1;
  return era * 146'097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719'468;
}

constexpr Civil civil_from_days(std::int64_t days) noexcept {
  const std::int64_t shifted = days + 719'468;
  const std::int64_t era = (shifted >= 0 ? shifted : shifted - 146'096) / 146'097;
  const std::int64_t day_of_era = shifted - era * 146'097;
  const std::int64_t year_of_era = (day_of_era - day_of_era / 1'460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
  const std::int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const std::int64_t month = (5 * day_of_year + 2) / 153;
  Civil date;
  date.day = static_cast<int>(day_of_year - (153 * month + 2) / 5 + 1);
  date.month = static_cast<int>(month < 10 ? month + 3 : month - 9);
  date.year = year_of_era + era * 400 + (date.month <= 2 ? 1 : 0);
  return date;
}

constexpr std::int64_t floor_div(std::int64_t a, std::int64_t b) noexcept { return a / b - (a % b < 0 ? 1 : 0); }

constexpr bool is_leap(std::int64_t year) noexcept { return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0; }

constexpr int days_in(int month, std::int64_t year) noexcept {
  if (month == 2) return is_leap(year) ? 29 : 28;
  return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

/// Takes the parts of a date off the front; once something did not fit, `good` stays false.
class DateReader {
 public:
  explicit DateReader(std::string_view text) noexcept : text_{text} {}

  void literal(std::string_view wanted) noexcept {
    good_ = good_ && text_.starts_with(wanted);
    if (good_) text_.remove_prefix(wanted.size());
  }
  int number(std::size_t digits) noexcept {
    int value = 0;
    good_ = good_ && text_.size() >= digits;
    for (std::size_t i = 0; good_ && i < digits; ++i) {
      good_ = is_digit(text_[i]);
      value = value * 10 + (text_[i] - '0');
    }
    if (good_) text_.remove_prefix(digits);
    return value;
  }
  /// The day of the month in asctime form: a blank may stand for the first digit.
  int padded_day() noexcept {
    if (!text_.starts_with(' ')) return number(2);
    literal(" ");
    return number(1);
  }
  int month() noexcept {
    const std::size_t at = text_.size() < 3 ? std::string_view::npos : kMonths.find(text_.substr(0, 3));
    good_ = good_ && at != std::string_view::npos && at % 3 == 0;
    if (good_) text_.remove_prefix(3);
    return static_cast<int>(at / 3) + 1;
  }
  /// Seconds into the day.
  std::int64_t time() noexcept {
    const int hour = number(2);
    literal(":");
    const int minute = number(2);
    literal(":");
    const int second = number(2);
    good_ = good_ && hour < 24 && minute < 60 && second <= 60;
    return hour * 3'600 + minute * 60 + second;
  }
  bool finished() const noexcept { return good_ && text_.empty(); }

 private:
  std::string_view text_;
  bool good_ = true;
};

std::optional<std::int64_t> seconds_of(const DateReader& reader, const Civil& date, std::int64_t time) noexcept {
  if (!reader.finished() || date.day < 1 || date.day > days_in(date.month, date.year)) return std::nullopt;
  return days_from_civil(date) * kDay + time;
}

bool is_short_day(std::string_view text) noexcept {
  const std::size_t at = text.size() < 3 ? std::string_view::npos : kDays.find(text.substr(0, 3));
  return at != std::string_view::npos && at % 3 == 0;
}

// Sun, 06 Nov 1994 08:49:37 GMT
std::optional<std::int64_t> parse_imf(std::string_view after_day) noexcept {
  DateReader reader{after_day};
  Civil date;
  reader.literal(", ");
  date.day = reader.number(2);
  reader.literal(" ");
  date.month = reader.month();
  reader.literal(" ");
  date.year = reader.number(4);
  reader.literal(" ");
  const std::int64_t time = reader.time();
  reader.literal(" GMT");
  return seconds_of(reader, date, time);
}

// Sunday, 06-Nov-94 08:49:37 GMT
std::optional<std::int64_t> parse_rfc850(std::string_view after_day, std::int64_t now) noexcept {
  DateReader reader{after_day};
  Civil date;
  reader.literal(", ");
  date.day = reader.number(2);
  reader.literal("-");
  date.month = reader.month();
  reader.literal("-");
  const int two_digits = reader.number(2);
  reader.literal(" ");
  const std::int64_t time = reader.time();
  reader.literal(" GMT");
  const std::int64_t this_year = civil_from_days(floor_div(std::clamp(now, kYear0, kYear9999), kDay)).year;
  date.year = this_year - this_year % 100 + two_digits + 100;
  while (date.year > this_year + 50 || date.year > 9999) date.year -= 100;
  if (date.year < 0) date.year += 100;
  return seconds_of(reader, date, time);
}

// Sun Nov  6 08:49:37 1994
std::optional<std::int64_t> parse_asctime(std::string_view after_day) noexcept {
  DateReader reader{after_day};
  Civil date;
  reader.literal(" ");
  date.month = reader.month();
  reader.literal(" ");
  date.day = reader.padded_day();
  reader.literal(" ");
  const std::int64_t time = reader.time();
  reader.literal(" ");
  date.year = reader.number(4);
  return seconds_of(reader, date, time);
}

void put_number(char* at, std::int64_t value, int digits) noexcept {
  for (int i = digits - 1; i >= 0; --i) {
    at[i] = static_cast<char>('0' + value % 10);
    value /= 10;
  }
}

}  // namespace

std::array<char, kHttpDateLength> http_date(std::int64_t unix_seconds) noexcept {
  const std::int64_t seconds = std::clamp(unix_seconds, kYear0, kYear9999);
  const std::int64_t days = floor_div(seconds, kDay);
  const std::int64_t time = seconds - days * kDay;
  const Civil date = civil_from_days(days);
  const auto weekday = static_cast<std::size_t>(((days + 4) % 7 + 7) % 7);  // 1970-01-01 was a Thursday
  std::array<char, kHttpDateLength> text;
  std::memcpy(text.data(), "Ddd, dd Mmm yyyy hh:mm:ss GMT", kHttpDateLength);
  std::memcpy(text.data(), kDays.data() + weekday * 3, 3);
  put_number(text.data() + 5, date.day, 2);
  std::memcpy(text.data() + 8, kMonths.data() + (date.month - 1) * 3, 3);
  put_number(text.data() + 12, date.year, 4);
  put_number(text.data() + 17, time / 3'600, 2);
  put_number(text.data() + 20, time / 60 % 60, 2);
  put_number(text.data() + 23, time % 60, 2);
  return text;
}

std::optional<std::int64_t> parse_http_date(std::string_view text, std::int64_t now) noexcept {
  for (std::string_view day : kLongDays) {
    if (text.starts_with(day)) return parse_rfc850(text.substr(day.size()), now);
  }
  if (!is_short_day(text)) return std::nullopt;
  const std::string_view rest = text.substr(3);
  return rest.starts_with(',') ? parse_imf(rest) : parse_asctime(rest);
}

}  // namespace outrigger::http
