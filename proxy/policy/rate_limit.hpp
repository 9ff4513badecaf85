// proxy/policy/rate_limit.hpp
//
// How many requests (or attempts) per time are let through: `requests` per `per` in the long run, exactly, and `burst`
// of them at once after a pause. `smooth` is a burst of one: evenly spaced, and unused intervals are not saved up.
//
// GCRA: one word, the time since which the bucket is empty, is the whole state. There is no refill timer, no window
// with an edge to crowd around (a limit that starts anew every second admits twice its number around that moment), and
// the time to the next permit falls out. In any stretch of time T at most burst + T x requests / per pass. The
// arithmetic, and how exact it is, is in rate_scale.hpp.
//
// `max_wait` turns the bucket into a queue: a request reserves the next permit and waits until it is due. Nobody waits
// in vain: who could not be served within `max_wait`, or within the time he has, is refused at once and takes nothing.
//
// A place that was not used goes back. If nobody was served after it, or the bucket can hold it, that is as if it had
// never been taken. If it is still to come and others wait behind it, the next one who would have to wait gets it
// (returned_places.hpp). It is lost only where its time has passed in a bucket that may have been full since, or where
// the limit's numbers have changed.
//
// Reload: the bucket keeps what is in it, up to the new burst, and is refilled at the new rate from then on; whoever
// waits keeps his time. That happens in `reload`, or in the first decision asked with other numbers. While requests of
// an old and a new configuration alternate, the bucket is carried over each time, and nothing is granted twice.
//
// Threads: any; lock-free, but for a decision with other numbers than the last one had, and for giving back or taking
// over places in a queue. Cost: seven loads of two cache lines, one multiplication, one compare-and-swap.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <utility>

#include "proxy/base/cache_line.hpp"
#include "proxy/base/time.hpp"
#include "proxy/base/verdict.hpp"
#include "proxy/policy/counts.hpp"
#include "proxy/policy/rate_scale.hpp"
#include "proxy/policy/returned_places.hpp"

namespace outrigger::policy {

struct RateLimitConfig {
  enum class Shape : std::uint8_t { bursty, smooth };
  enum class Key : std::uint8_t { policy, client_ip, header };
  enum class Headers : std::uint8_t { none, ietf, legacy };

  double requests = 100;
  Nanos per = std::chrono::seconds{1};
  std::uint32_t burst = 100;  // resolved: `requests`, at least 1, unless given
  Shape shape = Shape::bursty;
  Nanos max_wait{0};
  Counts counts = Counts::request;
  Key key = Key::policy;
  std::string header;  // with Key::header
  std::uint32_t max_keys = 10'000;
  Headers headers = Headers::none;
};

/// Permits that may be taken at once: 1 for a smooth limit, else `burst`, at least 1.
constexpr std::uint32_t burst_of(const RateLimitConfig& config) noexcept {
  return config.shape == RateLimitConfig::Shape::smooth || config.burst == 0 ? 1 : config.burst;
}

/// Whether a state made for one config may serve the other: what is told apart.
bool same_structure(const RateLimitConfig& a, const RateLimitConfig& b) noexcept;

/// Who hands out places, and takes them back.
class RatePlaceKeeper {
 public:
  virtual void take_back(const RatePlace& place, std::uint32_t bucket, std::uint32_t tenancy,
                         TimePoint now) noexcept = 0;

 protected:
  ~RatePlaceKeeper() = default;
};

/// A permit that was granted, to be used at its time. It is spent unless it is cancelled; the limit must outlive it.
class RateLimitPlace {
 public:
  RateLimitPlace() noexcept = default;
  RateLimitPlace(RatePlaceKeeper& keeper, const RatePlace& place, std::uint32_t bucket, std::uint32_t tenancy) noexcept
      : keeper_(&keeper), place_(place), bucket_(bucket), tenancy_(tenancy) {}
  RateLimitPlace(RateLimitPlace&& other) noexcept { *this = std::move(other); }
  RateLimitPlace& operator=(RateLimitPlace&& other) noexcept {
    keeper_ = std::exchange(other.keeper_, nullptr);
    place_ = other.place_;
    bucket_ = other.bucket_;
    tenancy_ = other.tenancy_;
    return *this;
  }

  /// True until it is cancelled.
  explicit operator bool() const noexcept { return keeper_ != nullptr; }
  /// Gives it back unused: its request was refused elsewhere, or left while it waited.
  void cancel(TimePoint now) noexcept {
    if (RatePlaceKeeper* keeper = std::exchange(keeper_, nullptr)) keeper->take_back(place_, bucket_, tenancy_, now);
  }

 private:
  RatePlaceKeeper* keeper_ = nullptr;
  RatePlace place_;
  std::uint32_t bucket_ = 0;   // of a keyed limit
  std::uint32_t tenancy_ = 0;  // whose bucket that was
};

struct RateLimitAnswer {
  Verdict verdict;  // refused: rate_limited, with the time to the next permit
  TimePoint at{};   // admitted: when the place is due; the time of asking: at once
  RateLimitPlace place{};
};

/// For response fields and the admin page.
struct RateLimitView {
  std::uint32_t limit = 0;      // permits of a full bucket
  std::uint32_t remaining = 0;  // that may be taken now
  Nanos reset{0};               // until there is one more; zero for a full bucket

  friend bool operator==(const RateLimitView&, const RateLimitView&) = default;
};

/// What a bucket of that number, counted by `scale`, shows under `config`.
RateLimitView view_of(const RateLimitConfig& config, const RateScale& scale, std::int64_t empty_since,
                      TimePoint now) noexcept;

/// The longest that a request with `longest_wait` may be kept waiting.
constexpr Nanos wait_limit(const RateLimitConfig& config, Nanos longest_wait) noexcept {
  return config.max_wait < longest_wait ? config.max_wait : longest_wait;
}

class RateLimit final : public RatePlaceKeeper {
 public:
  /// A full bucket. No number is fixed for the life of the state.
  explicit RateLimit(const RateLimitConfig& config) noexcept;

  /// Admits one request, at once or at a time at most `longest_wait` and `max_wait` away.
  RateLimitAnswer admit(const RateLimitConfig& config, Nanos longest_wait, TimePoint now) noexcept;
  RateLimitView view(const RateLimitConfig& config, TimePoint now) const noexcept;
  /// Makes `config` the numbers that the bucket is refilled by from `now` on.
  void reload(const RateLimitConfig& config, TimePoint now) noexcept;

  void take_back(const RatePlace& place, std::uint32_t bucket, std::uint32_t tenancy, TimePoint now) noexcept override;

 private:
  // The word's low bits say by which scale its number is counted. The scale in use is never changed: a new one is
  // written over one of the others, in turn, so that a thread which still computes with a former scale finds the word
  // changed.
  static constexpr int kScaleBits = 2;
  static constexpr std::size_t kScales = std::size_t{1} << kScaleBits;
  struct alignas(kCacheLine) ScaleCell {
    RateScale load() const noexcept;
    void store(const RateScale& scale) noexcept;
    std::array<std::atomic<std::uint64_t>, sizeof(RateScale) / sizeof(std::uint64_t)> words{};
  };

  static std::int64_t number_of(std::uint64_t word) noexcept { return static_cast<std::int64_t>(word) >> kScaleBits; }
  static std::size_t scale_of(std::uint64_t word) noexcept { return word & (kScales - 1); }
  static std::uint64_t word_of(std::int64_t number, std::size_t scale) noexcept {
    return (static_cast<std::uint64_t>(number) << kScaleBits) | scale;
  }

  std::size_t cell_for(const RateLimitConfig& config, TimePoint now, std::size_t current) noexcept;
  bool take_over(const RateScale& scale, const RatePlace& last, Nanos limit, TimePoint now,
                 RateLimitAnswer& answer) noexcept;
  bool park(const RatePlace& place) noexcept;
  void unpark_last() noexcept;

  alignas(kCacheLine) std::atomic<std::uint64_t> word_;
  std::atomic<std::uint32_t> returned_{0};
  std::atomic<std::size_t> parked_{0};  // size of `parked_places_`
  std::array<ScaleCell, kScales> scales_{};
  std::mutex mutex_;  // of all below, and of writing scales
  std::size_t last_cell_ = 0;
  std::uint32_t last_serial_ = 0;
  ReturnedPlaces parked_places_;
};

}  // namespace outrigger::policy
