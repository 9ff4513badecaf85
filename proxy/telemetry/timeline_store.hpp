// proxy/telemetry/timeline_store.hpp
//
// Which finished timelines a worker still remembers: everything that failed or was retried, hedged or rejected (those
// are asked for), the slowest of the last two minutes, and a sample of the rest to compare with, those included that
// were among the slowest for a while. Each timeline is kept in one place only. The three are apart so that a flood of
// one kind cannot push out the others.
//
// An entry is one block of memory of the size the timeline really uses, a few hundred bytes instead of the kilobytes of
// the working object; blocks are reused, so that memory grows only as far as used and a warm store does not allocate.
//
// Threads: the owning worker's only; what `collect` and `find` return may travel. Cost: a request that is not kept
// costs a comparison and one draw; one that is kept, a copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/rng.hpp"
#include "proxy/base/time.hpp"
#include "proxy/exchange/timeline.hpp"

namespace outrigger::telemetry {

/// What a caller of /timelines asks for; everything left empty matches.
struct TimelineFilter {
  std::string policy = {};
  // Of the request, its stop reason, or, where only attempts can have it, of an attempt.
  std::optional<Reason> reason = {};
  bool would = false;  // `reason` is that of a decision that was only computed
  std::uint16_t status_min = 0;
  std::uint16_t status_max = 999;
  std::optional<exchange::AttemptKind> kind = {};  // of any attempt
  Nanos min_duration{0};
  std::int64_t since_us = 0;  // Unix time of the start
};

/// A finished timeline in one block of its own size.
class StoredTimeline {
 public:
  StoredTimeline() noexcept = default;
  explicit StoredTimeline(const exchange::Timeline& timeline) { assign(timeline); }

  /// Nothing has been assigned; nothing else may be asked of it then.
  bool empty() const noexcept { return block_.empty(); }
  /// Takes over the content of `timeline`; allocates only where the block is too small.
  void assign(const exchange::Timeline& timeline);
  /// Writes the content back.
  void restore(exchange::Timeline& timeline) const;

  std::int64_t wall_start_us() const noexcept { return scalars().wall_start_us; }
  Nanos duration() const noexcept { return scalars().duration; }
  std::string_view request_id() const noexcept;
  bool matches(const TimelineFilter& filter) const;

 private:
  // In the block, in this order: the scalars, the attempts, the decisions, the texts.
  const exchange::TimelineScalars& scalars() const noexcept;
  std::span<const exchange::AttemptRecord> attempts() const noexcept;
  std::span<const exchange::Decision> decisions() const noexcept;
  std::string_view texts() const noexcept;

  std::vector<std::byte> block_;
  std::size_t attempt_count_ = 0;
  std::size_t decision_count_ = 0;
};

/// True where something other than a plain success on the first attempt happened.
bool is_notable(const exchange::Timeline& timeline) noexcept;

class TimelineStore {
 public:
  static constexpr std::size_t kSlowest = 64;
  static constexpr Nanos kSlowestPeriod = std::chrono::minutes{1};

  /// Remembers `keep` notable timelines and a quarter as many of the rest, of which a fraction `sample` is taken.
  TimelineStore(std::size_t keep, double sample);

  void add(const exchange::Timeline& timeline, Rng& rng);

  /// The newest that match, newest first, at most `limit`.
  std::vector<StoredTimeline> collect(const TimelineFilter& filter, std::size_t limit) const;
  /// The newest of that id.
  std::optional<StoredTimeline> find(std::string_view request_id) const;

 private:
  /// The last `capacity` entries.
  struct Ring {
    std::size_t capacity = 0;
    std::size_t next = 0;
    std::vector<StoredTimeline> entries;

    /// The entry to be written next; nullptr: there is none.
    StoredTimeline* turn();
  };

  /// The slowest of one period, as a heap with the fastest of them in front.
  struct Slowest {
    std::int64_t period = -1;
    std::size_t used = 0;
    std::vector<StoredTimeline> entries;

    bool takes(const exchange::Timeline& timeline) const noexcept;
    /// The entry to be written before `settle`, with whatever it holds so far.
    StoredTimeline& make_room();
    void settle();
  };

  template <class Visit>
  void for_each(Visit&& visit) const;

  double sample_;
  Ring notable_;
  Ring sampled_;
  Slowest slowest_[2];  // of this period and of the one before, by the parity of the period
};

}  // namespace outrigger::telemetry
