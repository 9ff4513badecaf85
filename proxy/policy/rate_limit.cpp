#include "proxy/policy/rate_limit.hpp"

#include <algorithm>
#include <bit>

namespace outrigger::policy {

bool same_structure(const RateLimitConfig& a, const RateLimitConfig& b) noexcept {
  if (a.key != b.key) return false;
  return a.key == RateLimitConfig::Key::policy || a.header == b.header;
}

RateLimitView view_of(const RateLimitConfig& config, const RateScale& scale, std::int64_t empty_since,
                      TimePoint now) noexcept {
  const RateScale asked{config.requests, config.per, burst_of(config), now, 0};
  const std::int64_t number = asked.carried_over(scale, empty_since, now);
  const std::int64_t permits = asked.permits(number, now);
  const std::uint32_t burst = burst_of(config);
  if (permits >= burst) return {burst, burst, Nanos{0}};
  const auto remaining = static_cast<std::uint32_t>(std::max<std::int64_t>(0, permits));
  return {burst, remaining, asked.wait(number + (std::int64_t{remaining} + 1) * asked.permit(), now)};
}

RateScale RateLimit::ScaleCell::load() const noexcept {
  std::array<std::uint64_t, sizeof(RateScale) / sizeof(std::uint64_t)> raw;
  for (std::size_t i = 0; i < raw.size(); ++i) raw[i] = words[i].load(std::memory_order_relaxed);
  return std::bit_cast<RateScale>(raw);
}

void RateLimit::ScaleCell::store(const RateScale& scale) noexcept {
  const auto raw = std::bit_cast<std::array<std::uint64_t, sizeof(RateScale) / sizeof(std::uint64_t)>>(scale);
  for (std::size_t i = 0; i < raw.size(); ++i) words[i].store(raw[i], std::memory_order_relaxed);
}

RateLimit::RateLimit(const RateLimitConfig& config) noexcept : word_(word_of(RateScale::kFull, 0)) {
  scales_[0].store(RateScale{config.requests, config.per, burst_of(config), TimePoint{}, 0});
}

std::size_t RateLimit::cell_for(const RateLimitConfig& config, TimePoint now, std::size_t current) noexcept {
  for (std::size_t i = 0; i < kScales; ++i) {
    if (scales_[i].load().fits(config.requests, config.per, burst_of(config), now)) return i;
  }
  do {
    last_cell_ = (last_cell_ + 1) % kScales;
  } while (last_cell_ == current);
  scales_[last_cell_].store(RateScale{config.requests, config.per, burst_of(config), now, ++last_serial_});
  return last_cell_;
}

void RateLimit::reload(const RateLimitConfig& config, TimePoint now) noexcept {
  const std::lock_guard lock{mutex_};
  std::uint64_t word = word_.load(std::memory_order_relaxed);
  const RateScale former = scales_[scale_of(word)].load();
  if (former.fits(config.requests, config.per, burst_of(config), now)) return;
  const std::size_t cell = cell_for(config, now, scale_of(word));
  const RateScale scale = scales_[cell].load();
  std::uint64_t next = 0;
  do {
    next = word_of(scale.carried_over(former, number_of(word), now), cell);
  } while (!word_.compare_exchange_weak(word, next, std::memory_order_release, std::memory_order_relaxed));
  parked_places_.clear();
  parked_.store(0, std::memory_order_relaxed);
}

RateLimitAnswer RateLimit::admit(const RateLimitConfig& config, Nanos longest_wait, TimePoint now) noexcept {
  const std::uint32_t burst = burst_of(config);
  std::uint64_t word = word_.load(std::memory_order_acquire);
  for (;;) {
    const RateScale scale = scales_[scale_of(word)].load();
    if (!scale.fits(config.requests, config.per, burst, now)) {
      reload(config, now);
      word = word_.load(std::memory_order_acquire);
      continue;
    }
    const std::int64_t now_units = scale.units(now);
    RatePlace place = scale.next(number_of(word), now_units);
    const Nanos wait = place.after > now_units ? scale.wait(place.after, now) : Nanos{0};
    if (wait.count() > 0) {
      const Nanos limit = wait_limit(config, longest_wait);
      RateLimitAnswer answer;
      if (parked_.load(std::memory_order_relaxed) > 0 && take_over(scale, place, limit, now, answer)) return answer;
      if (wait > limit || scale.beyond_reach(place.after, now_units)) return {Verdict{Reason::rate_limited, wait}};
    }
    place.returned = returned_.load(std::memory_order_relaxed);
    if (word_.compare_exchange_weak(word, word_of(place.after, scale_of(word)), std::memory_order_acquire,
                                    std::memory_order_acquire)) {
      return {Verdict{}, now + wait, RateLimitPlace{*this, place, 0, 0}};
    }
  }
}

RateLimitView RateLimit::view(const RateLimitConfig& config, TimePoint now) const noexcept {
  const std::uint64_t word = word_.load(std::memory_order_acquire);
  return view_of(config, scales_[scale_of(word)].load(), number_of(word), now);
}

bool RateLimit::take_over(const RateScale& scale, const RatePlace& last, Nanos limit, TimePoint now,
                          RateLimitAnswer& answer) noexcept {
  const std::lock_guard lock{mutex_};
  // What is parked is counted by the word's scale: nobody changes that without this lock.
  if (scales_[scale_of(word_.load(std::memory_order_relaxed))].load().serial() != scale.serial()) return false;
  const std::optional<std::int64_t> after = parked_places_.first(0, scale.units(now));
  const bool taken = after && *after < last.after && scale.wait(*after, now) <= limit && parked_places_.take(0, *after);
  parked_.store(parked_places_.size(), std::memory_order_relaxed);
  if (!taken) return false;
  RatePlace place = scale.place_at(*after);
  place.returned = returned_.load(std::memory_order_relaxed);
  answer = {Verdict{}, now + scale.wait(*after, now), RateLimitPlace{*this, place, 0, 0}};
  return true;
}

bool RateLimit::park(const RatePlace& place) noexcept {
  const std::lock_guard lock{mutex_};
  const std::uint64_t word = word_.load(std::memory_order_relaxed);
  if (scales_[scale_of(word)].load().serial() != place.serial) return true;  // lost: counted by other numbers
  if (number_of(word) == place.after) return false;                          // those behind it have left meanwhile
  parked_places_.put(0, place.after);
  parked_.store(parked_places_.size(), std::memory_order_relaxed);
  return true;
}

void RateLimit::unpark_last() noexcept {
  const std::lock_guard lock{mutex_};
  std::uint64_t word = word_.load(std::memory_order_relaxed);
  while (parked_places_.take(0, number_of(word))) {
    const std::int64_t after = number_of(word);
    const std::int64_t before = after - scales_[scale_of(word)].load().permit();
    const std::uint64_t shorter = word_of(before, scale_of(word));
    if (word_.compare_exchange_strong(word, shorter, std::memory_order_relaxed)) {
      word = shorter;
    } else {
      parked_places_.put(0, after);
    }
  }
  parked_.store(parked_places_.size(), std::memory_order_relaxed);
}

void RateLimit::take_back(const RatePlace& place, std::uint32_t, std::uint32_t, TimePoint now) noexcept {
  std::uint64_t word = word_.load(std::memory_order_acquire);
  for (;;) {
    const RateScale scale = scales_[scale_of(word)].load();
    if (scale.serial() != place.serial) return;
    const bool last = number_of(word) == place.after;
    if (!last && scale.wait(place.after, now).count() > 0) {
      if (park(place)) return;
      word = word_.load(std::memory_order_acquire);
      continue;
    }
    const std::uint32_t returned = returned_.load(std::memory_order_relaxed);
    const std::int64_t number = scale.without(place, number_of(word), returned, scale.units(now));
    if (!word_.compare_exchange_weak(word, word_of(number, scale_of(word)), std::memory_order_acquire,
                                     std::memory_order_acquire)) {
      continue;
    }
    if (!last) returned_.fetch_add(1, std::memory_order_relaxed);
    break;
  }
  if (parked_.load(std::memory_order_relaxed) > 0) unpark_last();
}

}  // namespace outrigger::policy
