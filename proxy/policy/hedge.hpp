// proxy/policy/hedge.hpp
//
// When a request that has no answer yet is sent once more. Either after a fixed delay, or when it has taken longer than
// almost all others did of late: at p95 one request in twenty is hedged, however fast or slow the upstream happens to
// be. Which requests may be hedged and who wins the race is the exchange's matter.
//
// The quantile is worked out at most once per period (an eightieth of the window, one second at most) by whoever asks
// first after its end; everybody else reads one word. So it may be one period old, and after a reload another
// percentile is in force one period later; `min_samples` and the limits are those of the config at once.
//
// A trigger that is not known yet does not hedge unless the config names a delay for that time. The k-th hedge of a
// round is due k delays after the round's first attempt, never all of them at once.
//
// Source: J. Dean and L. Barroso, "The Tail at Scale", CACM 2013 (deferred hedged requests); estimator as in
// latency_window.hpp.
// Threads: any; samples by one thread per worker index. Cost of `delay`: two loads of one cache line.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/cache_line.hpp"
#include "proxy/base/time.hpp"
#include "proxy/policy/latency_window.hpp"

namespace outrigger::policy {

struct HedgeConfig {
  std::uint32_t max_hedges = 1;
  std::optional<Nanos> delay;      // fixed, or until the trigger has enough samples
  std::optional<double> quantile;  // of the trigger, 0.5..0.999; resolved: 0.95 where neither is given
  std::uint32_t min_samples = 100;
  Nanos window = std::chrono::seconds{30};
  Nanos min_delay = std::chrono::milliseconds{1};
  Nanos max_delay = std::chrono::seconds{10};
  std::vector<std::string> methods = {"GET", "HEAD", "OPTIONS"};
  bool cancel_on_first_terminal = false;
};

/// Whether a state made for one config may serve the other: a fixed delay keeps no samples at all.
bool same_structure(const HedgeConfig& a, const HedgeConfig& b) noexcept;

/// Whether requests of that method, spelled as sent, may be hedged.
bool hedges_method(const HedgeConfig& config, std::string_view method) noexcept;

/// When the k-th hedge (1 = first) of a round is due whose first attempt began at `began`.
TimePoint hedge_due(TimePoint began, Nanos delay, std::uint32_t k) noexcept;

class HedgeTrigger {
 public:
  /// `workers`: how many worker indexes will be used.
  HedgeTrigger(const HedgeConfig& config, std::uint32_t workers);

  /// Gives the window the length of `config`; samples that lie within that stay.
  void reload(const HedgeConfig& config) noexcept {
    if (window_) window_->resize(config.window);
  }

  /// Counts an attempt whose answer came `latency` after it was sent: what the truth table calls a sample.
  void record(std::uint32_t worker, Nanos latency, TimePoint now) noexcept {
    if (window_) window_->record(worker, latency, now);
  }
  /// Counts an attempt that was wholly sent and cut off after `waited`: a lost race, a timeout, a client that left.
  void record_at_least(std::uint32_t worker, Nanos waited, TimePoint now) noexcept {
    if (window_) window_->record_at_least(worker, waited, now);
  }

  /// How long an attempt may take before it is hedged; nullopt: there is no hedging yet.
  std::optional<Nanos> delay(const HedgeConfig& config, TimePoint now) noexcept;

  /// The samples that were in the window when the quantile was last worked out.
  std::uint32_t samples() const noexcept;

 private:
  struct alignas(kCacheLine) Shared {
    std::atomic<std::int64_t> next_update_ns{0};
    std::atomic<std::uint64_t> quantile{0};  // samples in the high half, bucket in the low half: one word cannot tear
  };

  std::uint64_t refreshed(const HedgeConfig& config, TimePoint now) noexcept;

  std::unique_ptr<LatencyWindow> window_;  // none: the delay is fixed
  Shared shared_;
};

}  // namespace outrigger::policy
