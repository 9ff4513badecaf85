#include "proxy/telemetry/timeline_store.hpp"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

namespace outrigger::telemetry {
namespace {

using exchange::AttemptRecord;
using exchange::Decision;
using exchange::Timeline;
using exchange::TimelineScalars;

static_assert(std::is_trivially_copyable_v<TimelineScalars> && std::is_trivially_copyable_v<AttemptRecord> &&
              std::is_trivially_copyable_v<Decision>);
static_assert(sizeof(TimelineScalars) % alignof(AttemptRecord) == 0 && sizeof(AttemptRecord) % alignof(Decision) == 0);

std::byte* put(std::byte* to, const void* from, std::size_t bytes) {
  if (bytes != 0) std::memcpy(to, from, bytes);
  return to + bytes;
}

bool is_slower(const StoredTimeline& a, const StoredTimeline& b) { return a.duration() > b.duration(); }

/// True for a reason that an attempt may have while its request ends with another.
bool is_of_attempts(Reason reason) { return reason >= Reason::http_408 && reason <= Reason::response_committed; }

}  // namespace

// ---- one entry --------------------------------------------------------------------------------

void StoredTimeline::assign(const Timeline& timeline) {
  attempt_count_ = timeline.attempts.size();
  decision_count_ = timeline.decisions.size();
  const std::size_t attempt_bytes = attempt_count_ * sizeof(AttemptRecord);
  const std::size_t decision_bytes = decision_count_ * sizeof(Decision);
  const std::string_view all_texts = timeline.texts();
  block_.resize(sizeof(TimelineScalars) + attempt_bytes + decision_bytes + all_texts.size());

  const TimelineScalars& all_scalars = timeline;
  std::byte* at = put(block_.data(), &all_scalars, sizeof all_scalars);
  at = put(at, timeline.attempts.begin(), attempt_bytes);
  at = put(at, timeline.decisions.begin(), decision_bytes);
  put(at, all_texts.data(), all_texts.size());
}

void StoredTimeline::restore(Timeline& timeline) const {
  timeline.reset();
  // The texts first: keeping them must find the mark `truncated` as it was, and may not set it.
  timeline.keep(texts(), Timeline::kTextBytes);
  static_cast<TimelineScalars&>(timeline) = scalars();
  for (const AttemptRecord& attempt : attempts()) timeline.attempts.push_back(attempt);
  for (const Decision& decision : decisions()) timeline.decisions.push_back(decision);
}

const TimelineScalars& StoredTimeline::scalars() const noexcept {
  return *reinterpret_cast<const TimelineScalars*>(block_.data());
}

std::span<const AttemptRecord> StoredTimeline::attempts() const noexcept {
  return {reinterpret_cast<const AttemptRecord*>(block_.data() + sizeof(TimelineScalars)), attempt_count_};
}

std::span<const Decision> StoredTimeline::decisions() const noexcept {
  return {reinterpret_cast<const Decision*>(attempts().data() + attempt_count_), decision_count_};
}

std::string_view StoredTimeline::texts() const noexcept {
  const char* begin = reinterpret_cast<const char*>(decisions().data() + decision_count_);
  return {begin, static_cast<std::size_t>(reinterpret_cast<const char*>(block_.data() + block_.size()) - begin)};
}

std::string_view StoredTimeline::request_id() const noexcept {
  return texts().substr(scalars().request_id.offset, scalars().request_id.size);
}

bool StoredTimeline::matches(const TimelineFilter& filter) const {
  const TimelineScalars& timeline = scalars();
  if (!filter.policy.empty() && timeline.policy_key != filter.policy) return false;
  if (timeline.status < filter.status_min || timeline.status > filter.status_max) return false;
  if (timeline.duration < filter.min_duration || timeline.wall_start_us < filter.since_us) return false;
  const auto any_attempt = [&](auto&& holds) { return std::ranges::any_of(attempts(), holds); };
  if (filter.kind && !any_attempt([&](const AttemptRecord& attempt) { return attempt.kind == *filter.kind; }))
    return false;
  if (filter.reason && filter.would) {
    return std::ranges::any_of(
        decisions(), [&](const Decision& decision) { return decision.would && decision.reason == *filter.reason; });
  }
  if (!filter.reason || timeline.reason == *filter.reason || timeline.stop_reason == *filter.reason) return true;
  return is_of_attempts(*filter.reason) &&
         any_attempt([&](const AttemptRecord& attempt) { return attempt.reason == *filter.reason; });
}

// ---- the store --------------------------------------------------------------------------------

bool is_notable(const Timeline& timeline) noexcept {
  // What a cache answered is no more remarkable than what an upstream answered at once.
  const bool cached = timeline.outcome == exchange::RequestOutcome::cached;
  const bool good = cached || timeline.outcome == exchange::RequestOutcome::ok;
  return !good || timeline.attempts.size() != (cached ? 0 : 1) || !timeline.decisions.empty();
}

TimelineStore::TimelineStore(std::size_t keep, double sample) : sample_(sample) {
  notable_.capacity = keep;
  sampled_.capacity = keep / 4;
}

void TimelineStore::add(const Timeline& timeline, Rng& rng) {
  if (is_notable(timeline)) {
    if (StoredTimeline* const entry = notable_.turn()) entry->assign(timeline);
    return;
  }
  const TimePoint end = saturating_add(timeline.start, timeline.duration);
  const std::int64_t period = end.time_since_epoch() / kSlowestPeriod;
  Slowest& slowest = slowest_[period & 1];
  if (slowest.period != period) {
    slowest.period = period;
    slowest.used = 0;
  }
  if (notable_.capacity == 0) return;
  const auto sampled = [&] { return rng.uniform() < sample_ ? sampled_.turn() : nullptr; };
  if (!slowest.takes(timeline)) {
    if (StoredTimeline* const entry = sampled()) entry->assign(timeline);
    return;
  }
  StoredTimeline& place = slowest.make_room();
  // What has to go from there is one of the rest now.
  if (!place.empty()) {
    if (StoredTimeline* const entry = sampled()) std::swap(*entry, place);
  }
  place.assign(timeline);
  slowest.settle();
}

StoredTimeline* TimelineStore::Ring::turn() {
  if (capacity == 0) return nullptr;
  if (entries.size() < capacity) return &entries.emplace_back();
  StoredTimeline& entry = entries[next];
  next = (next + 1) % capacity;
  return &entry;
}

bool TimelineStore::Slowest::takes(const Timeline& timeline) const noexcept {
  return used < kSlowest || timeline.duration > entries.front().duration();
}

StoredTimeline& TimelineStore::Slowest::make_room() {
  if (used == kSlowest) {
    std::pop_heap(entries.begin(), entries.end(), is_slower);
    return entries.back();
  }
  return used < entries.size() ? entries[used++] : (++used, entries.emplace_back());
}

void TimelineStore::Slowest::settle() {
  std::push_heap(entries.begin(), entries.begin() + static_cast<std::ptrdiff_t>(used), is_slower);
}

template <class Visit>
void TimelineStore::for_each(Visit&& visit) const {
  for (const StoredTimeline& entry : notable_.entries) visit(entry);
  for (const StoredTimeline& entry : sampled_.entries) visit(entry);
  const std::int64_t latest = std::max(slowest_[0].period, slowest_[1].period);
  for (const Slowest& slowest : slowest_) {
    if (slowest.period + 1 < latest) continue;
    for (std::size_t i = 0; i < slowest.used; ++i) visit(slowest.entries[i]);
  }
}

std::vector<StoredTimeline> TimelineStore::collect(const TimelineFilter& filter, std::size_t limit) const {
  std::vector<const StoredTimeline*> found;
  for_each([&](const StoredTimeline& entry) {
    if (entry.matches(filter)) found.push_back(&entry);
  });
  const std::size_t count = std::min(limit, found.size());
  std::partial_sort(
      found.begin(), found.begin() + static_cast<std::ptrdiff_t>(count), found.end(),
      [](const StoredTimeline* a, const StoredTimeline* b) { return a->wall_start_us() > b->wall_start_us(); });
  std::vector<StoredTimeline> copies;
  copies.reserve(count);
  for (std::size_t i = 0; i < count; ++i) copies.push_back(*found[i]);
  return copies;
}

std::optional<StoredTimeline> TimelineStore::find(std::string_view request_id) const {
  const StoredTimeline* newest = nullptr;
  for_each([&](const StoredTimeline& entry) {
    if (entry.request_id() != request_id) return;
    if (newest == nullptr || entry.wall_start_us() > newest->wall_start_us()) newest = &entry;
  });
  if (newest == nullptr) return std::nullopt;
  return *newest;
}

}  // namespace outrigger::telemetry
