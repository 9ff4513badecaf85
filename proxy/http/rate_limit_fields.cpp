#include "proxy/http/rate_limit_fields.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

namespace outrigger::http {
namespace {

constexpr double kLargest = 999'999'999'999'999;  // an Integer of structured fields has 15 digits

std::uint64_t whole_seconds(Nanos time) noexcept {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, std::chrono::ceil<std::chrono::seconds>(time).count()));
}

struct Quota {
  std::uint64_t permits = 0;
  std::uint64_t seconds = 1;
};

Quota quota_of(const RateLimitState& limit) noexcept {
  const double seconds = static_cast<double>(limit.per.count()) / 1e9;
  if (!(limit.requests > 0) || !(seconds > 0)) return {};
  double window = std::max(1.0, std::ceil(seconds));
  // A rate such as 100 per 0.1 s is a whole number per second, but not in binary.
  double permits = std::floor(limit.requests * window / seconds * (1 + 1e-12));
  if (permits < 1) {
    window = std::ceil(seconds / limit.requests * (1 - 1e-12));
    permits = 1;
  }
  return {static_cast<std::uint64_t>(std::min(permits, kLargest)),
          static_cast<std::uint64_t>(std::min(window, kLargest))};
}

}  // namespace

/// A field's value under construction; what does not fit can be taken back.
class RateLimitFields::Text {
 public:
  explicit Text(RateLimitFields& fields) noexcept : fields_{fields}, start_{fields.used_} {}

  void text(std::string_view text) noexcept {
    if (text.size() > kText - fields_.used_) {
      fits_ = false;
      return;
    }
    std::memcpy(fields_.text_.data() + fields_.used_, text.data(), text.size());
    fields_.used_ += text.size();
  }
  void number(std::string_view opening, std::uint64_t value) noexcept {
    char digits[20];
    text(opening);
    text({digits, static_cast<std::size_t>(std::to_chars(digits, digits + sizeof digits, value).ptr - digits)});
  }
  /// A String of structured fields.
  void quoted(std::string_view name) noexcept {
    text("\"");
    for (const char& c : name) {
      if (c == '"' || c == '\\') text("\\");
      if (c >= ' ' && c < 0x7f) text({&c, 1});
    }
    text("\"");
  }
  /// Ends a member of a list: all of it stays, or nothing.
  void end_member(std::size_t began) noexcept {
    if (!fits_) fields_.used_ = began;
    fits_ = true;
  }
  std::size_t begin_member() noexcept {
    const std::size_t began = fields_.used_;
    if (began != start_) text(", ");
    return began;
  }
  void end_field(std::string_view name) noexcept {
    if (fields_.used_ == start_) return;
    fields_.fields_[fields_.count_++] = {name, {fields_.text_.data() + start_, fields_.used_ - start_}};
  }

 private:
  RateLimitFields& fields_;
  std::size_t start_;
  bool fits_ = true;
};

RateLimitFields::RateLimitFields(RateLimitStyle style, std::span<const RateLimitState> limits) noexcept {
  if (limits.empty()) return;
  style == RateLimitStyle::ietf ? write_ietf(limits) : write_legacy(limits);
}

void RateLimitFields::write_ietf(std::span<const RateLimitState> limits) noexcept {
  Text policy{*this};
  for (const RateLimitState& limit : limits) {
    const Quota quota = quota_of(limit);
    const std::size_t began = policy.begin_member();
    policy.quoted(limit.name);
    policy.number(";q=", quota.permits);
    policy.number(";w=", quota.seconds);
    policy.end_member(began);
  }
  policy.end_field("RateLimit-Policy");
  Text left{*this};
  for (const RateLimitState& limit : limits) {
    const std::size_t began = left.begin_member();
    left.quoted(limit.name);
    left.number(";r=", limit.remaining);
    if (limit.reset.count() > 0) left.number(";t=", whole_seconds(limit.reset));
    left.end_member(began);
  }
  left.end_field("RateLimit");
}

void RateLimitFields::write_legacy(std::span<const RateLimitState> limits) noexcept {
  const auto tightest = std::min_element(limits.begin(), limits.end(), [](const auto& a, const auto& b) {
    return a.remaining != b.remaining ? a.remaining < b.remaining : a.reset > b.reset;
  });
  const auto write = [this](std::string_view name, std::uint64_t value) {
    Text text{*this};
    text.number("", value);
    text.end_field(name);
  };
  write("X-RateLimit-Limit", tightest->limit);
  write("X-RateLimit-Remaining", tightest->remaining);
  write("X-RateLimit-Reset", whole_seconds(tightest->reset));
}

}  // namespace outrigger::http
