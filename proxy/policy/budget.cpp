#include "proxy/policy/budget.hpp"

#include <algorithm>
#include <cmath>

namespace outrigger::policy {
namespace {

constexpr double kTokenUnits = 16;     // fixed point of the token bucket: a capacity of 1e6 fits its 24 bits
constexpr double kCreditUnits = 1024;  // fixed point of the credit bucket
// Equality admits, also where a share such as 29 % has no exact binary form.
constexpr double kRounding = 1e-9;

constexpr std::uint64_t pack(std::uint32_t high, std::uint32_t low) noexcept {
  return (std::uint64_t{high} << 32) | low;
}
constexpr std::uint32_t high_of(std::uint64_t word) noexcept { return static_cast<std::uint32_t>(word >> 32); }
constexpr std::uint32_t low_of(std::uint64_t word) noexcept { return static_cast<std::uint32_t>(word); }

// The token bucket's word: milliseconds of the last refill above, sixteenths of a token in the low 24 bits.
constexpr std::uint64_t bucket_word(std::uint64_t ms, double fill) noexcept {
  return (ms << 24) | static_cast<std::uint64_t>(fill);
}
constexpr std::uint64_t bucket_ms(std::uint64_t word) noexcept { return word >> 24; }
constexpr std::uint64_t bucket_fill(std::uint64_t word) noexcept { return word & 0xffffff; }

std::uint64_t credit_units(double credits) noexcept { return static_cast<std::uint64_t>(credits * kCreditUnits); }

}  // namespace

Budget::Budget(const BudgetConfig& config, std::uint32_t workers)
    : slot_ns_(slot_of(config).count()), workers_(workers), shares_(new WorkerShare[workers]) {
  // Buckets start full; the first refill of tokens finds them so whatever time it reads, and sets the time.
  if (config.type == BudgetType::token_bucket) bucket_.value.store(bucket_word(0, config.capacity * kTokenUnits));
  if (config.type == BudgetType::success_credit) bucket_.value.store(credit_units(config.capacity));
}

Nanos Budget::slot_of(const BudgetConfig& config) noexcept { return std::max(Nanos{1}, config.window / kSlots); }

std::uint32_t Budget::epoch(TimePoint now) const noexcept {
  return static_cast<std::uint32_t>(now.time_since_epoch() / slot());
}

void Budget::reload(const BudgetConfig& config, TimePoint now) noexcept {
  const Nanos former = slot();
  const Nanos slot = slot_of(config);
  if (slot == former) return;
  cuts_.fetch_add(1, std::memory_order_relaxed);
  slot_ns_.store(slot.count(), std::memory_order_release);
  for (std::uint32_t i = 0; i < workers_; ++i) cut(shares_[i].requests, former, slot, now);
  cut(extras_.value, former, slot, now);
  cuts_.fetch_add(1, std::memory_order_release);
}

/// Numbers the slots of a ring anew: each count goes where its time lies.
void Budget::cut(Ring& ring, Nanos former, Nanos slot, TimePoint now) noexcept {
  std::uint64_t words[kRingSlots];
  for (std::uint32_t i = 0; i < kRingSlots; ++i) words[i] = ring[i].exchange(0, std::memory_order_acq_rel);
  const auto before = static_cast<std::uint32_t>(now.time_since_epoch() / former);
  const auto current = static_cast<std::uint32_t>(now.time_since_epoch() / slot);
  for (const std::uint64_t word : words) {
    const auto slots_ago = static_cast<std::int32_t>(before - high_of(word));
    if (low_of(word) == 0 || slots_ago > std::int32_t{kSlots} || slots_ago < -std::int32_t{kSlots}) continue;
    const auto then = static_cast<std::uint32_t>((now.time_since_epoch() - std::max(slots_ago, 0) * former) / slot);
    if (current - then > kSlots) continue;
    std::atomic<std::uint64_t>& place = ring[then % kRingSlots];
    const std::uint64_t there = place.load(std::memory_order_relaxed);
    place.store(pack(then, low_of(word) + (high_of(there) == then ? low_of(there) : 0)), std::memory_order_release);
  }
}

void Budget::enter_loop(std::uint32_t worker, TimePoint now) noexcept {
  WorkerShare& share = shares_[worker];
  share.in_loop.store(share.in_loop.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  const std::uint32_t current = epoch(now);
  std::atomic<std::uint64_t>& slot = share.requests[current % kRingSlots];
  const std::uint64_t word = slot.load(std::memory_order_relaxed);
  const std::uint32_t before = high_of(word) == current ? low_of(word) : 0;
  slot.store(pack(current, before + 1), std::memory_order_relaxed);
}

void Budget::leave_loop(std::uint32_t worker) noexcept {
  std::atomic<std::int64_t>& in_loop = shares_[worker].in_loop;
  in_loop.store(in_loop.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
}

std::int64_t Budget::requests_in_flight() const noexcept {
  std::int64_t sum = 0;
  for (std::uint32_t i = 0; i < workers_; ++i) sum += shares_[i].in_loop.load(std::memory_order_relaxed);
  return sum;
}

std::uint64_t Budget::count(const Ring& ring, std::uint32_t now_epoch, std::uint32_t slots) const noexcept {
  std::uint64_t sum = 0;
  for (const auto& slot : ring) {
    const std::uint64_t word = slot.load(std::memory_order_acquire);  // who sees a part of a cut sees that there is one
    // A slot of the future is current: another worker's clock is ahead, or this one's `now` is old. Less than `slots`
    // away in either direction is one comparison.
    sum += now_epoch - high_of(word) + (slots - 1) < 2 * slots - 1 ? low_of(word) : 0;
  }
  return sum;
}

double Budget::window_room(const BudgetConfig& config, TimePoint now) const noexcept {
  const std::uint32_t cuts = cuts_.load(std::memory_order_acquire);
  const std::uint32_t current = epoch(now);
  std::uint64_t requests = 0;
  for (std::uint32_t i = 0; i < workers_; ++i) requests += count(shares_[i].requests, current, kSlots);
  // The window of the state, not of the config: an older one may be asking.
  const double seconds = static_cast<double>((slot() * kSlots).count()) / 1e9;
  const double allowed = config.max_rate * static_cast<double>(requests) + config.min_per_second * seconds;
  const std::uint64_t extras = count(extras_.value, current, kRingSlots);
  // What is being moved from slot to slot was not counted.
  if (cuts % 2 != 0 || cuts_.load(std::memory_order_relaxed) != cuts) return 0;
  return allowed + kRounding - static_cast<double>(extras);
}

bool Budget::take_window(const BudgetConfig& config, TimePoint now) noexcept {
  if (window_room(config, now) < 1.0) return false;
  const std::uint32_t current = epoch(now);
  std::atomic<std::uint64_t>& slot = extras_.value[current % kRingSlots];
  std::uint64_t word = slot.load(std::memory_order_relaxed);
  std::uint64_t next = 0;
  do {
    next = high_of(word) == current ? word + 1 : pack(current, 1);
  } while (!slot.compare_exchange_weak(word, next, std::memory_order_relaxed));
  return true;
}

bool Budget::ratio_admits(const BudgetConfig& config, std::int64_t extras) const noexcept {
  if (extras < static_cast<std::int64_t>(config.min_concurrency)) return true;
  const std::int64_t all = requests_in_flight() + extras;
  return all == 0 || static_cast<double>(extras) <= config.max_rate * static_cast<double>(all) + kRounding;
}

bool Budget::take_ratio(const BudgetConfig& config) noexcept {
  std::int64_t extras = extras_in_flight_.value.load(std::memory_order_relaxed);
  do {
    if (!ratio_admits(config, extras)) return false;
  } while (!extras_in_flight_.value.compare_exchange_weak(extras, extras + 1, std::memory_order_relaxed));
  return true;
}

std::uint64_t Budget::refilled(const BudgetConfig& config, std::uint64_t word, TimePoint now) const noexcept {
  const double full = config.capacity * kTokenUnits;
  const auto now_ms = static_cast<std::uint64_t>(now.time_since_epoch().count() / 1'000'000);
  const double fill = std::min(static_cast<double>(bucket_fill(word)), full);
  // Another worker may have read its clock a little later; time never runs backwards in the word.
  if (now_ms <= bucket_ms(word)) return bucket_word(bucket_ms(word), fill);
  if (fill >= full) return bucket_word(now_ms, full);
  const double rate = config.refill_per_second * kTokenUnits / 1000;  // units per millisecond
  const auto elapsed = static_cast<double>(now_ms - bucket_ms(word));
  const double gained = std::floor(elapsed * rate);
  if (gained < 1) return bucket_word(bucket_ms(word), fill);
  if (fill + gained >= full) return bucket_word(now_ms, full);
  // Time moves only by what was credited, rounded up, so that fractions are neither lost for long nor given twice.
  const double credited_ms = std::min(elapsed, std::ceil(gained / rate));
  return bucket_word(bucket_ms(word) + static_cast<std::uint64_t>(credited_ms), fill + gained);
}

bool Budget::take_tokens(const BudgetConfig& config, double cost, TimePoint now) noexcept {
  const auto price = static_cast<std::uint64_t>(std::ceil(cost * kTokenUnits));
  std::uint64_t word = bucket_.value.load(std::memory_order_relaxed);
  std::uint64_t next = 0;
  do {
    next = refilled(config, word, now);
    if (bucket_fill(next) < price) return false;
    next -= price;
  } while (!bucket_.value.compare_exchange_weak(word, next, std::memory_order_relaxed));
  return true;
}

double Budget::credits(const BudgetConfig& config) const noexcept {
  const double fill = static_cast<double>(bucket_.value.load(std::memory_order_relaxed)) / kCreditUnits;
  return std::min(config.capacity, fill);
}

void Budget::earn(const BudgetConfig& config) noexcept {
  if (config.type != BudgetType::success_credit) return;
  const std::uint64_t gain = credit_units(config.success_credit);
  const std::uint64_t full = credit_units(config.capacity);
  std::uint64_t fill = bucket_.value.load(std::memory_order_relaxed);
  // A full bucket, which is the healthy state, is only read.
  while (fill < full &&
         !bucket_.value.compare_exchange_weak(fill, std::min(full, fill + gain), std::memory_order_relaxed)) {
  }
}

Nanos Budget::floor_wait(const BudgetConfig& config, TimePoint now) const noexcept {
  if (config.min_per_second <= 0) return kForever;
  const std::int64_t paid_until = floor_paid_until_.value.load(std::memory_order_relaxed);
  return Nanos{std::max<std::int64_t>(0, paid_until - now.time_since_epoch().count())};
}

bool Budget::take_credit(const BudgetConfig& config, TimePoint now) noexcept {
  const std::uint64_t price = credit_units(config.retry_cost);
  const std::uint64_t full = credit_units(config.capacity);
  std::uint64_t fill = bucket_.value.load(std::memory_order_relaxed);
  while (std::min(fill, full) >= price) {
    if (bucket_.value.compare_exchange_weak(fill, std::min(fill, full) - price, std::memory_order_relaxed)) return true;
  }
  if (config.min_per_second <= 0) return false;
  const std::int64_t now_ns = now.time_since_epoch().count();
  const auto interval = static_cast<std::int64_t>(1e9 / config.min_per_second);
  std::int64_t paid_until = floor_paid_until_.value.load(std::memory_order_relaxed);
  do {
    if (paid_until > now_ns) return false;
  } while (!floor_paid_until_.value.compare_exchange_weak(paid_until, now_ns + interval, std::memory_order_relaxed));
  return true;
}

bool Budget::peek(const BudgetConfig& config, double cost, TimePoint now) const noexcept {
  switch (config.type) {
    case BudgetType::ratio: return ratio_admits(config, extras_in_flight());
    case BudgetType::window: return window_room(config, now) >= 1.0;
    case BudgetType::token_bucket: return available(config, now) >= cost;
    case BudgetType::success_credit:
      return credits(config) >= config.retry_cost || floor_wait(config, now).count() == 0;
    case BudgetType::unlimited: return true;
  }
  return true;
}

BudgetPermit Budget::admit(const BudgetConfig& config, double cost, TimePoint now, Extra extra) noexcept {
  bool taken = true;
  switch (config.type) {
    case BudgetType::ratio: taken = take_ratio(config); break;
    case BudgetType::window: taken = take_window(config, now); break;
    case BudgetType::token_bucket: taken = take_tokens(config, cost, now); break;
    case BudgetType::success_credit: taken = take_credit(config, now); break;
    case BudgetType::unlimited: break;
  }
  BudgetPermit permit;
  if (!taken) return permit;
  // `ratio` has counted it while it decided.
  if (config.type != BudgetType::ratio) extras_in_flight_.value.fetch_add(1, std::memory_order_relaxed);
  permit.extra_ = Permit<Budget>{*this};
  if (extra == Extra::hedge) {
    hedges_in_flight_.value.count.fetch_add(1, std::memory_order_relaxed);
    permit.hedge_ = Permit<HedgesInFlight>{hedges_in_flight_.value};
  }
  return permit;
}

double Budget::available(const BudgetConfig& config, TimePoint now) const noexcept {
  switch (config.type) {
    case BudgetType::ratio: {
      const std::int64_t extras = extras_in_flight();
      const double floor = static_cast<double>(config.min_concurrency) - static_cast<double>(extras);
      if (config.max_rate >= 1) return HUGE_VAL;
      // The largest x with (x - 1) / (requests + x - 1) <= max_rate, less what is in flight.
      const double by_rate =
          std::floor(config.max_rate * static_cast<double>(requests_in_flight()) / (1 - config.max_rate) + kRounding) +
          1 - static_cast<double>(extras);
      return std::max(0.0, std::max(floor, by_rate));
    }
    case BudgetType::window: return std::max(0.0, std::floor(window_room(config, now)));
    case BudgetType::token_bucket:
      return static_cast<double>(bucket_fill(refilled(config, bucket_.value.load(std::memory_order_relaxed), now))) /
             kTokenUnits;
    case BudgetType::success_credit: return credits(config);
    case BudgetType::unlimited: return HUGE_VAL;
  }
  return 0;
}

}  // namespace outrigger::policy
