#include "proxy/policy/rate_scale.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

namespace outrigger::policy {
namespace {

using Wide = unsigned __int128;

constexpr std::int64_t kSlowest = std::int64_t{1} << 55;  // ns from permit to permit
// Reading `now` rounds down by less than a unit: a permit that is due at exactly `now` may seem one unit away.
constexpr std::int64_t kRounding = 1;

int bits(Wide value) noexcept {
  const auto high = static_cast<std::uint64_t>(value >> 64);
  return high != 0 ? 64 + static_cast<int>(std::bit_width(high))
                   : static_cast<int>(std::bit_width(static_cast<std::uint64_t>(value)));
}

}  // namespace

RateScale::RateScale(double requests, Nanos per, std::uint32_t burst, TimePoint anchor, std::uint32_t serial) noexcept
    : requests_(requests),
      per_ns_(per.count()),
      burst_(burst),
      serial_(serial),
      anchor_ns_(anchor.time_since_epoch().count()) {
  double count = requests;
  std::int64_t per_ns = std::max<std::int64_t>(1, per_ns_);
  if (!(count / static_cast<double>(per_ns) > 1.0 / static_cast<double>(kSlowest))) {
    count = 1;
    per_ns = kSlowest;
  } else if (count > static_cast<double>(per_ns)) {
    count = 1;
    per_ns = 1;
  }
  // count = mantissa x 2^(exponent - 53), exactly. The quotient's first 64 bits are the units of a nanosecond, and
  // where its binary point lies says how many units a permit is.
  int exponent = 0;
  const auto mantissa = static_cast<std::uint64_t>(std::ldexp(std::frexp(count, &exponent), 53));
  const Wide quotient = (Wide{mantissa} << 74) / static_cast<std::uint64_t>(per_ns);
  const int surplus = bits(quotient) - 64;
  units_per_ns_ = static_cast<std::uint64_t>(quotient >> surplus);
  permit_bits_ = 67 - surplus - exponent;
  const int over = static_cast<int>(permit_bits_) + static_cast<int>(std::bit_width(burst)) - kBucketBits;
  if (over > 0) {
    units_per_ns_ >>= over;
    permit_bits_ -= over;
  }
}

Nanos RateScale::wait(std::int64_t after, TimePoint now) const noexcept {
  const std::int64_t missing = after - kRounding - units(now);
  if (missing <= 0) return Nanos{0};
  const Wide scaled = static_cast<Wide>(missing) << 60;
  const auto ns = static_cast<std::int64_t>((scaled + units_per_ns_ - 1) / units_per_ns_);
  // Where `now` itself was rounded down, the nanosecond before may do.
  const bool sooner = units(now + Nanos{ns - 1}) + kRounding >= after;
  return Nanos{sooner ? ns - 1 : ns};
}

std::int64_t RateScale::without(const RatePlace& place, std::int64_t empty_since, std::uint32_t returned,
                                std::int64_t now_units) const noexcept {
  if (empty_since == place.after) return place.before;  // nobody came after it: as if it had never been
  // Had it never been taken, the bucket might have been full since, and would have lost what came on top. What it can
  // have held when the place was due, plus all that came until the last place now taken, less a full bucket, is the
  // most that is to be held back, so that nobody is granted more than a bucket has.
  const std::int64_t others = std::min<std::int64_t>(returned - place.returned, burst_);
  const std::int64_t held = std::min(full(), place.due - place.after + permit() + (others << permit_bits_));
  const std::int64_t came = std::max(now_units, empty_since) - place.due;
  const std::int64_t spilled = std::clamp<std::int64_t>(held + came - full(), 0, permit());
  return empty_since - (permit() - spilled);
}

std::int64_t RateScale::carried_over(const RateScale& former, std::int64_t empty_since, TimePoint now) const noexcept {
  const std::int64_t held = std::min(former.units(now) - empty_since, former.full());
  const int shift = static_cast<int>(permit_bits_ - former.permit_bits_);
  // Permits are powers of two in both: only where units become coarser is anything rounded, down.
  const Wide magnitude = static_cast<Wide>(held < 0 ? -held : held);
  std::int64_t here = 0;
  if (held >= 0) {
    here =
        shift < 0 ? held >> -shift : static_cast<std::int64_t>(std::min(magnitude << shift, static_cast<Wide>(full())));
  } else {
    const Wide owed = shift < 0 ? (magnitude + (Wide{1} << -shift) - 1) >> -shift : magnitude << shift;
    here = -static_cast<std::int64_t>(std::min(owed, static_cast<Wide>(kLongestQueue)));
  }
  return units(now) - std::min(here, full());
}

std::int64_t RateScale::permits(std::int64_t empty_since, TimePoint now) const noexcept {
  return std::min(units(now) + kRounding - empty_since, full()) >> permit_bits_;
}

}  // namespace outrigger::policy
