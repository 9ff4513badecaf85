#include "proxy/policy/hedge.hpp"

#include <algorithm>
#include <limits>

namespace outrigger::policy {
namespace {

constexpr double kUsualQuantile = 0.95;
constexpr Nanos kLongestPeriod = std::chrono::seconds{1};

bool is_fixed(const HedgeConfig& config) noexcept { return config.delay && !config.quantile; }

std::uint64_t pack(const LatencyWindow::Quantile& quantile) noexcept {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint32_t>::max();
  return std::min(quantile.samples, kMost) << 32 | quantile.bucket;
}
constexpr std::uint32_t samples_of(std::uint64_t word) noexcept { return static_cast<std::uint32_t>(word >> 32); }
constexpr std::uint32_t bucket_in(std::uint64_t word) noexcept { return static_cast<std::uint32_t>(word); }

}  // namespace

bool same_structure(const HedgeConfig& a, const HedgeConfig& b) noexcept { return is_fixed(a) == is_fixed(b); }

bool hedges_method(const HedgeConfig& config, std::string_view method) noexcept {
  return std::find(config.methods.begin(), config.methods.end(), method) != config.methods.end();
}

TimePoint hedge_due(TimePoint began, Nanos delay, std::uint32_t k) noexcept {
  std::int64_t after = 0;
  if (__builtin_mul_overflow(delay.count(), std::int64_t{k}, &after)) return kNever;
  return saturating_add(began, Nanos{after});
}

HedgeTrigger::HedgeTrigger(const HedgeConfig& config, std::uint32_t workers)
    : window_(is_fixed(config) ? nullptr : std::make_unique<LatencyWindow>(config.window, workers)) {}

std::uint64_t HedgeTrigger::refreshed(const HedgeConfig& config, TimePoint now) noexcept {
  std::int64_t due = shared_.next_update_ns.load(std::memory_order_relaxed);
  const std::int64_t now_ns = now.time_since_epoch().count();
  const auto next = [&] {
    const Nanos period = std::clamp(config.window / 80, Nanos{1}, kLongestPeriod);
    return saturating_add(now, period).time_since_epoch().count();
  };
  // One of those who find the period over works it out; the others go on with what there is.
  if (now_ns >= due && shared_.next_update_ns.compare_exchange_strong(due, next(), std::memory_order_relaxed)) {
    const std::uint64_t word = pack(window_->quantile(config.quantile.value_or(kUsualQuantile), now));
    shared_.quantile.store(word, std::memory_order_relaxed);
    return word;
  }
  return shared_.quantile.load(std::memory_order_relaxed);
}

std::optional<Nanos> HedgeTrigger::delay(const HedgeConfig& config, TimePoint now) noexcept {
  if (!window_ || is_fixed(config)) return config.delay;
  const std::uint64_t word = refreshed(config, now);
  if (samples_of(word) == 0 || samples_of(word) < config.min_samples) return config.delay;
  return std::clamp(LatencyWindow::upper_edge(bucket_in(word)), config.min_delay,
                    std::max(config.min_delay, config.max_delay));
}

std::uint32_t HedgeTrigger::samples() const noexcept {
  return samples_of(shared_.quantile.load(std::memory_order_relaxed));
}

}  // namespace outrigger::policy
