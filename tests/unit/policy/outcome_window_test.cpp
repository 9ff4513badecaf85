#include "proxy/policy/outcome_window.hpp"

#include <memory>

#include <doctest/doctest.h>

#include "proxy/base/rng.hpp"

using namespace outrigger;
using namespace outrigger::policy;
using namespace std::chrono_literals;

namespace {

constexpr TimePoint kStart{1h};
constexpr CallEnd kSuccess{};
constexpr CallEnd kFailure{.failed = true};
constexpr CallEnd kSlowSuccess{.slow = true};
constexpr CallEnd kSlowNeutral{.slow = true, .neutral = true};

std::unique_ptr<CallWindow> last(std::uint32_t calls) { return std::make_unique<CallWindow>(calls); }

}  // namespace

TEST_SUITE("policy") {
  // ---- by time --------------------------------------------------------------------------------

  TEST_CASE("a time window counts calls, failures and slow calls, neutral ones among the timed only") {
    TimeWindow window{10s};
    CHECK(window.counts(kStart) == OutcomeCounts{});
    window.record(kSuccess, kStart);
    window.record(kFailure, kStart);
    window.record(kSlowSuccess, kStart);
    window.record({.failed = true, .slow = true}, kStart);
    window.record(kSlowNeutral, kStart);
    CHECK(window.counts(kStart) == OutcomeCounts{.calls = 4, .failures = 2, .timed = 5, .slow = 3});
  }

  TEST_CASE("calls and failures alone are the same numbers, however far the reader's clock is from the writer's") {
    TimeWindow window{10s};
    window.record(kSuccess, kStart);
    window.record({.failed = true, .slow = true}, kStart);
    window.record(kSlowNeutral, kStart);
    CHECK(window.untimed_counts(kStart) == OutcomeCounts{.calls = 2, .failures = 1, .timed = 0, .slow = 0});
    for (int buckets = -20; buckets <= 20; ++buckets) {
      // A reader may be five buckets behind: the ring has no more room for what is to come.
      const std::uint64_t calls = buckets >= -5 && buckets <= 9 ? 2 : 0;
      CHECK(window.counts(kStart + buckets * 1s).calls == calls);
      CHECK(window.counts(kStart + buckets * 1s).slow == calls);
      CHECK(window.untimed_counts(kStart + buckets * 1s).calls == calls);
      CHECK(window.untimed_counts(kStart + buckets * 1s).failures == calls / 2);
    }
  }

  TEST_CASE("a time window keeps a call until nine further buckets have begun, and not a moment longer") {
    TimeWindow window{10s};
    window.record(kFailure, kStart);
    CHECK(window.counts(kStart + 9999ms).failures == 1);
    CHECK(window.counts(kStart + 10s).failures == 0);
    window.record(kFailure, kStart + 10s + 999ms);
    CHECK(window.counts(kStart + 19'999ms).failures == 1);
    CHECK(window.counts(kStart + 20s).failures == 0);
  }

  TEST_CASE("a time window slides under steady traffic: a call every tenth of a bucket never makes the past stay") {
    TimeWindow window{30s};
    for (int i = 0; i < 3000; ++i) {
      window.record(kSuccess, kStart + i * 100ms);
      CHECK(window.counts(kStart + i * 100ms).calls <= 300);
    }
    CHECK(window.counts(kStart + 299'900ms).calls == 300);
    // An outage fills the window in its own length, not in the age of the process.
    int failures = 0;
    for (; failures < 300; ++failures) {
      const TimePoint now = kStart + 300s + failures * 100ms;
      window.record(kFailure, now);
      const OutcomeCounts seen = window.counts(now);
      if (seen.failures * 2 >= seen.calls) break;
    }
    CHECK(failures + 1 >= 135);
    CHECK(failures + 1 <= 150);
  }

  TEST_CASE("a time window expires when it is read, not only when something is recorded") {
    TimeWindow window{1s};
    for (int i = 0; i < 100; ++i) window.record(kFailure, kStart + i * 10ms);
    CHECK(window.counts(kStart + 990ms).failures == 100);
    CHECK(window.counts(kStart + 1490ms).failures == 50);
    CHECK(window.counts(kStart + 3s).failures == 0);
  }

  TEST_CASE("a time window after a long silence counts nothing of what was before, whatever slot it meets") {
    for (const Nanos silence : {Nanos{1s}, Nanos{1600ms}, Nanos{16s}, Nanos{1h}, Nanos{std::chrono::hours{24 * 400}}}) {
      TimeWindow window{1s};
      for (int i = 0; i < 200; ++i) window.record(kFailure, kStart + i * 10ms);
      const TimePoint later = kStart + 2s + silence;
      CHECK(window.counts(later).calls == 0);
      window.record(kSuccess, later);
      CHECK(window.counts(later) == OutcomeCounts{.calls = 1, .failures = 0, .timed = 1, .slow = 0});
    }
  }

  TEST_CASE("a time window holds what a worker recorded whose clock was read a little earlier or later") {
    TimeWindow window{10s};
    window.record(kFailure, kStart + 3s);
    window.record(kFailure, kStart + 1s);
    window.record(kFailure, kStart);
    CHECK(window.counts(kStart).failures == 3);
    CHECK(window.counts(kStart + 3s).failures == 3);
    window.record(kFailure, kStart + 16s);
    // Sixteen buckets late: its slot belongs to a later bucket now.
    window.record(kFailure, kStart);
    CHECK(window.counts(kStart + 16s).failures == 1);
  }

  TEST_CASE("a time window works from the first nanosecond of the clock and with one shorter than its buckets") {
    TimeWindow window{1s};
    window.record(kFailure, TimePoint{});
    CHECK(window.counts(TimePoint{}).failures == 1);
    window.record(kFailure, TimePoint{150ms});
    CHECK(window.counts(TimePoint{150ms}).failures == 2);
    CHECK(window.counts(TimePoint{1s}).failures == 1);
    TimeWindow shortest{3ns};
    shortest.record(kFailure, kStart);
    CHECK(shortest.counts(kStart).failures == 1);
    CHECK(shortest.counts(kStart + 10ns).failures == 0);
  }

  TEST_CASE("a time window cut to another length keeps what lies within that, for as long as it does") {
    for (const Nanos length : {Nanos{59s}, Nanos{61s}, Nanos{10min}}) {
      TimeWindow window{1min};
      for (int i = 0; i < 54; ++i) window.record(i % 2 == 0 ? kFailure : kSlowNeutral, kStart + i * 1s);
      const TimePoint cut = kStart + 54s;
      const OutcomeCounts before = window.counts(cut);
      REQUIRE(before.calls == 27);
      window.cut(length, cut);
      CHECK(window.counts(cut) == before);
      CHECK(window.counts(cut + length / 2).calls > 0);
      CHECK(window.counts(cut + length) == OutcomeCounts{});
    }
    TimeWindow window{1min};
    for (int i = 0; i < 54; ++i) window.record(kFailure, kStart + i * 1s);
    window.cut(20s, kStart + 54s);
    CHECK(window.counts(kStart + 54s).calls >= 18);
    CHECK(window.counts(kStart + 54s).calls <= 24);
  }

  TEST_CASE("a time window cut to another length is exact at once; the same length changes nothing") {
    TimeWindow window{1s};
    for (int i = 0; i < 50; ++i) window.record(kFailure, kStart + i * 10ms);
    window.cut(1s, kStart + 500ms);
    CHECK(window.counts(kStart + 500ms).failures == 50);
    for (const Nanos length : {Nanos{1h}, Nanos{30s}, Nanos{100ms}, Nanos{1s}}) {
      window.clear();
      window.cut(length, kStart + 500ms);
      for (int i = 0; i < 7; ++i) window.record(kFailure, kStart + 500ms);
      CHECK(window.counts(kStart + 500ms).failures == 7);
      CHECK(window.counts(kStart + 500ms + length).failures == 0);
    }
    window.clear();
    CHECK(window.counts(kStart + 500ms) == OutcomeCounts{});
  }

  TEST_CASE("a time window agrees with an exact log of what each bucket held") {
    Rng rng{7};
    TimeWindow window{10s};
    std::array<OutcomeCounts, 400> log{};
    TimePoint now = kStart;
    for (int i = 0; i < 5000; ++i) {
      now += Nanos{static_cast<std::int64_t>(rng.below(100'000'000))} + (rng.below(500) == 0 ? 12s : 0s);
      const CallEnd end{.failed = rng.below(3) == 0, .slow = rng.below(5) == 0};
      const auto bucket = static_cast<std::size_t>((now - kStart) / 1s);
      REQUIRE(bucket < log.size());
      window.record(end, now);
      log[bucket].calls += 1;
      log[bucket].failures += end.failed ? 1 : 0;
      log[bucket].slow += end.slow ? 1 : 0;
      OutcomeCounts expected;
      for (std::size_t b = bucket < 9 ? 0 : bucket - 9; b <= bucket; ++b) {
        expected.calls += log[b].calls;
        expected.timed += log[b].calls;
        expected.failures += log[b].failures;
        expected.slow += log[b].slow;
      }
      REQUIRE(window.counts(now) == expected);
    }
  }

  // ---- by calls -------------------------------------------------------------------------------

  TEST_CASE("a call window holds the last calls: a ring of three through success and failure") {
    const auto window = last(3);
    for (const CallEnd end : {kSuccess, kFailure, kSuccess}) window->record(end);
    CHECK(window->counts() == OutcomeCounts{.calls = 3, .failures = 1, .timed = 3, .slow = 0});
    window->record(kFailure);
    CHECK(window->counts().failures == 2);
    window->record(kSuccess);
    CHECK(window->counts() == OutcomeCounts{.calls = 3, .failures = 1, .timed = 3, .slow = 0});
  }

  TEST_CASE("a call window counts what it has before it is full, and exactly its size after") {
    const auto window = last(100);
    for (int i = 0; i < 99; ++i) window->record(kFailure);
    CHECK(window->counts().calls == 99);
    window->record(kFailure);
    CHECK(window->counts().calls == 100);
    window->record(kSuccess);
    CHECK(window->counts() == OutcomeCounts{.calls = 100, .failures = 99, .timed = 100, .slow = 0});
    for (int i = 0; i < 99; ++i) window->record(kSuccess);
    CHECK(window->counts().failures == 0);
  }

  TEST_CASE("a call window of one call and of the most calls") {
    const auto one = last(1);
    one->record(kFailure);
    one->record(kSlowSuccess);
    CHECK(one->counts() == OutcomeCounts{.calls = 1, .failures = 0, .timed = 1, .slow = 1});
    const auto most = last(CallWindow::kMaxCalls);
    for (std::uint32_t i = 0; i < CallWindow::kMaxCalls + 5; ++i) most->record(kFailure);
    CHECK(most->counts().failures == CallWindow::kMaxCalls);
  }

  TEST_CASE("a slow neutral call in a call window is no call of the failure rate") {
    const auto window = last(4);
    for (const CallEnd end : {kFailure, kSlowNeutral, kSlowNeutral, kSuccess}) window->record(end);
    CHECK(window->counts() == OutcomeCounts{.calls = 2, .failures = 1, .timed = 4, .slow = 2});
    for (int i = 0; i < 3; ++i) window->record(kSuccess);
    CHECK(window->counts() == OutcomeCounts{.calls = 4, .failures = 0, .timed = 4, .slow = 0});
  }

  TEST_CASE("a call window of another size keeps the last calls, and is forgotten by clearing") {
    const auto window = last(5);
    for (int i = 0; i < 5; ++i) window->record(kFailure);
    window->cut(5);
    CHECK(window->counts().failures == 5);
    window->record(kSlowSuccess);
    window->cut(3);
    CHECK(window->counts() == OutcomeCounts{.calls = 3, .failures = 2, .timed = 3, .slow = 1});
    window->record(kSuccess);
    window->record(kSuccess);
    CHECK(window->counts() == OutcomeCounts{.calls = 3, .failures = 0, .timed = 3, .slow = 1});
    window->cut(4);
    CHECK(window->counts().calls == 3);
    window->record(kFailure);
    CHECK(window->counts() == OutcomeCounts{.calls = 4, .failures = 1, .timed = 4, .slow = 1});
    window->record(kFailure);
    CHECK(window->counts() == OutcomeCounts{.calls = 4, .failures = 2, .timed = 4, .slow = 0});
    window->cut(200);
    CHECK(window->counts().calls == 4);
    for (int i = 0; i < 250; ++i) window->record(kFailure);
    CHECK(window->counts().failures == 200);
    window->clear();
    CHECK(window->counts() == OutcomeCounts{});
  }
}
