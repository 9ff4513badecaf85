#include <algorithm>
#include <atomic>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "proxy/policy/circuit_breaker.hpp"
#include "tests/race/crowd.hpp"
#include "tests/race/threads.hpp"

using namespace outrigger;
using namespace outrigger::policy;
using namespace outrigger::test;
using namespace std::chrono_literals;

namespace {

constexpr TimePoint kStart{1h};
constexpr int kRounds = 20'000;

using State = CircuitState;
using Result = CircuitResult;

CircuitConfig tripping_after(std::uint32_t failures) {
  CircuitConfig config;
  config.consecutive_failures = failures;
  config.cooldown_jitter = 0;
  return config;
}

/// A circuit that has just half-opened at kStart, and stays so by a great many successes needed.
struct Probing {
  explicit Probing(std::uint32_t max_probes, std::uint32_t successes = 1'000'000)
      : config(tripping_after(1)), circuit(config) {
    config.max_probes = max_probes;
    config.successes = successes;
    config.probe_timeout = 1h;
    circuit.force_open();
    circuit.automatic();
  }

  CircuitConfig config;
  CircuitBreaker circuit;
};

}  // namespace

TEST_SUITE("race") {
  TEST_CASE("threads that probe a half-open circuit never have more probes out than it allows") {
    for (const std::uint32_t max_probes : {1u, 3u, CircuitBreaker::kMaxProbes}) {
      Probing probing{max_probes};
      Crowd crowd;
      std::atomic<int> admitted{0};
      race([&](std::uint32_t thread) {
        Rng rng{thread};
        std::vector<CircuitPermit> held;
        for (int i = 0; i < kRounds; ++i) {
          CircuitAnswer answer = probing.circuit.admit(probing.config, 0ns, kStart, rng);
          if (answer.permit) {
            crowd.enter();
            admitted.fetch_add(1);
            held.push_back(std::move(answer.permit));
          }
          if (!held.empty() && rng.below(3) != 0) {
            crowd.leave();
            // Settled, given back, or dropped: each returns the probe once.
            if (rng.below(3) == 0) held.back().settle(probing.config, Result::neutral, 1ms, kStart, rng);
            if (rng.below(2) == 0) held.back().release();
            held.pop_back();
          }
        }
        for (std::size_t i = 0; i < held.size(); ++i) crowd.leave();
      });
      CHECK(crowd.most <= max_probes);
      CHECK(admitted > kRounds / 10);
      CHECK(probing.circuit.probes_out() == 0);
      CHECK(probing.circuit.state() == State::half_open);
    }
  }

  TEST_CASE("every success of a probe counts once: the last one needed closes, and none is lost") {
    constexpr std::uint32_t kNeeded = 10'000;
    Probing probing{4, kNeeded};
    std::atomic<std::uint32_t> succeeded{0};
    race([&](std::uint32_t thread) {
      Rng rng{thread};
      while (probing.circuit.state() == State::half_open) {
        CircuitAnswer answer = probing.circuit.admit(probing.config, 0ns, kStart, rng);
        if (!answer.permit.probe()) continue;
        // Counted before it is settled: those of the last moment come too late and are ignored.
        succeeded.fetch_add(1);
        answer.permit.settle(probing.config, Result::success, 1ms, kStart, rng);
      }
    });
    CHECK(probing.circuit.state() == State::closed);
    CHECK(succeeded >= kNeeded);
    CHECK(succeeded < kNeeded + kThreads);
    CHECK(probing.circuit.transitions(State::half_open, State::closed) == 1);
  }

  TEST_CASE("failures of all threads in a row open once, at exactly the number that was asked for") {
    constexpr std::uint32_t kPerThread = 5000;
    const CircuitConfig config = tripping_after(kThreads * kPerThread);
    CircuitBreaker circuit{config};
    race([&](std::uint32_t thread) {
      Rng rng{thread};
      for (std::uint32_t i = 0; i + 1 < kPerThread; ++i) {
        circuit.admit(config, 0ns, kStart, rng).permit.settle(config, Result::failure, 1ms, kStart, rng);
      }
    });
    CHECK(circuit.failures_in_a_row() == kThreads * (kPerThread - 1));
    CHECK(circuit.state() == State::closed);
    race([&](std::uint32_t thread) {
      Rng rng{thread};
      circuit.admit(config, 0ns, kStart, rng).permit.settle(config, Result::failure, 1ms, kStart, rng);
    });
    CHECK(circuit.state() == State::open);
    CHECK(circuit.transitions(State::closed, State::open) == 1);
  }

  TEST_CASE("an outage seen by all threads at once opens once, half-opens once, and is probed by one of them") {
    const CircuitConfig config = tripping_after(5);
    for (int round = 0; round < 200; ++round) {
      CircuitBreaker circuit{config};
      std::atomic<int> probes{0};
      race([&](std::uint32_t thread) {
        Rng rng{thread};
        for (int i = 0; i < 20; ++i) {
          circuit.admit(config, 0ns, kStart, rng).permit.settle(config, Result::failure, 1ms, kStart, rng);
        }
      });
      CHECK(circuit.transitions(State::closed, State::open) == 1);
      std::vector<CircuitPermit> held(kThreads);
      race([&](std::uint32_t thread) {
        Rng rng{thread};
        circuit.tick(config, kStart + 10s, rng);
        held[thread] = circuit.admit(config, 0ns, kStart + 10s, rng).permit;
        if (held[thread].probe()) probes.fetch_add(1);
      });
      CHECK(circuit.transitions(State::open, State::half_open) == 1);
      CHECK(probes == 1);
    }
  }

  TEST_CASE("an overdue probe re-opens once, whoever notices, and its own late result changes nothing") {
    for (int round = 0; round < 200; ++round) {
      Probing probing{1};
      Rng own{1};
      CircuitPermit lost = probing.circuit.admit(probing.config, 0ns, kStart, own).permit;
      race([&](std::uint32_t thread) {
        Rng rng{thread};
        const TimePoint now = kStart + 1h + 1ms;
        if (thread == 0) lost.settle(probing.config, Result::success, 1h, now, rng);
        if (thread == 1) probing.circuit.tick(probing.config, now, rng);
        if (thread >= 2) static_cast<void>(probing.circuit.admit(probing.config, 0ns, now, rng));
      });
      CHECK(probing.circuit.state() == State::open);
      CHECK(probing.circuit.transitions(State::half_open, State::open) == 1);
      CHECK(probing.circuit.transitions(State::half_open, State::closed) == 0);
    }
  }

  TEST_CASE("a circuit that opens, probes and closes all the time, with operators at work, keeps its books") {
    CircuitConfig config;
    config.trip = CircuitConfig::Trip::rate_by_time;
    config.minimum_calls = 3;
    config.window = 1s;
    config.cooldown = 1ms;
    config.probe_timeout = 5ms;
    config.max_probes = 3;
    config.successes = 2;
    config.slow_call = SlowCallConfig{50ms, 0.5};
    CircuitBreaker circuit{config};
    std::atomic<int> too_many{0};
    race([&](std::uint32_t thread) {
      Rng rng{thread};
      std::vector<CircuitPermit> held;
      for (int i = 0; i < kRounds; ++i) {
        const TimePoint now = kStart + i * 100us - thread * 300us;
        CircuitAnswer answer = circuit.admit(config, 0ns, now, rng);
        if (answer.permit) held.push_back(std::move(answer.permit));
        if (!held.empty() && rng.below(2) == 0) {
          const auto result = static_cast<Result>(rng.below(3));
          held.back().settle(config, result, rng.below(2) == 0 ? 1ms : 60ms, now, rng);
          held.pop_back();
        }
        if (held.size() > 20) held.clear();
        if (thread == 0) circuit.tick(config, now, rng);
        if (thread == 1 && rng.below(200) == 0) circuit.reset();
        if (thread == 2 && rng.below(200) == 0) circuit.force_open();
        if (thread == 3 && rng.below(50) == 0) circuit.automatic();
        static_cast<void>(circuit.peek(config, now));
        if (circuit.probes_out() > config.max_probes) too_many.fetch_add(1);
      }
    });
    CHECK(too_many == 0);
    CHECK(circuit.probes_out() == 0);
    // Each state was left as often as it was entered, but for the one it is in.
    const auto moves = [&](State from, State to) { return static_cast<std::int64_t>(circuit.transitions(from, to)); };
    for (const State state : {State::closed, State::half_open, State::open}) {
      std::int64_t balance = state == State::closed ? 1 : 0;
      for (const State other : {State::closed, State::half_open, State::open}) {
        balance += moves(other, state) - moves(state, other);
      }
      CHECK(balance == (state == circuit.state() ? 1 : 0));
    }
    CHECK(moves(State::half_open, State::closed) > 0);
  }

  TEST_CASE("a time window loses no result and counts none twice") {
    constexpr std::uint32_t kWindows = 4000 * kRepeats;
    constexpr std::uint32_t kResults = 80;  // per window; eight of its ten buckets are begun anew
    std::deque<TimeWindow> windows;
    for (std::uint32_t i = 0; i < kWindows; ++i) windows.emplace_back(100us);
    // One clock for all, so that they meet at the borders of buckets, some a little earlier than others.
    std::atomic<std::uint32_t> clock{0};
    race([&](std::uint32_t thread) {
      for (std::uint32_t i = clock.fetch_add(1); i < kWindows * kResults; i = clock.fetch_add(1)) {
        const TimePoint now = kStart + i * 1us - thread * 3us;
        TimeWindow& window = windows[i / kResults];
        window.record({.failed = i % 2 == 0, .slow = i % 5 == 0, .neutral = i % 5 == 0 && i % 2 != 0}, now);
        if (i % 64 == 0) static_cast<void>(window.counts(now));
      }
    });
    const OutcomeCounts all{
        .calls = kResults * 9 / 10, .failures = kResults / 2, .timed = kResults, .slow = kResults / 5};
    std::uint32_t exact = 0;
    for (std::uint32_t i = 0; i < kWindows; ++i) {
      if (windows[i].counts(kStart + ((i + 1) * kResults - 1) * 1us) == all) ++exact;
    }
    CHECK(exact == kWindows);
  }

  TEST_CASE("a time window that is cut under traffic counts no more than there was, and all that enters afterwards") {
    constexpr std::uint64_t kEach = 200'000;
    TimeWindow window{10s};
    race([&](std::uint32_t thread) {
      for (std::uint64_t i = 0; i < kEach; ++i) {
        if (thread == 0 && i % 100 == 0) window.cut(Nanos{1s} * static_cast<int>(1 + i / 100 % 60), kStart);
        window.record({.failed = true}, kStart);
      }
    });
    window.cut(10s, kStart);
    const OutcomeCounts before = window.counts(kStart);
    CHECK(before.calls <= kEach * kThreads);
    CHECK(before.calls > 0);
    for (int i = 0; i < 10; ++i) window.record({.failed = true}, kStart);
    CHECK(window.counts(kStart).calls == before.calls + 10);
    CHECK(window.counts(kStart + 10s).calls == 0);
  }

  TEST_CASE("a call window loses no call: each of those that enter at once has its own place") {
    constexpr std::uint32_t kCalls = CallWindow::kMaxCalls;
    const auto window = std::make_unique<CallWindow>(kCalls);
    for (int round = 0; round < 8 * kRepeats; ++round) {
      window->clear();
      race([&](std::uint32_t) {
        for (std::uint32_t i = 0; i < kCalls / kThreads; ++i) window->record({.failed = true, .slow = i % 2 == 0});
      });
      CHECK(window->counts() == OutcomeCounts{kCalls, kCalls, kCalls, kCalls / 2});
    }
  }

  TEST_CASE("a call window's sums are what its calls were, after any race, clearing included") {
    constexpr std::uint32_t kWindows = 2000;
    constexpr std::uint32_t kCalls = 100;  // per window, which is cleared and cut among them
    for (int round = 0; round < 2 * kRepeats; ++round) {
      std::deque<CallWindow> windows;
      for (std::uint32_t i = 0; i < kWindows; ++i) windows.emplace_back(kCalls);
      std::atomic<std::uint32_t> clock{0};
      race([&](std::uint32_t) {
        for (std::uint32_t i = clock.fetch_add(1); i < kWindows * kCalls; i = clock.fetch_add(1)) {
          CallWindow& window = windows[i / kCalls];
          if (i % kCalls == 10) window.clear();
          if (i % kCalls == 70) window.cut(2);
          window.record({.failed = i % 5 != 0, .slow = i % 3 != 0});
          if (i % 64 == 0) static_cast<void>(window.counts());
        }
      });
      // The calls of the race leave as others enter, and take with them what they had brought.
      std::uint32_t exact = 0;
      for (CallWindow& window : windows) {
        for (int i = 0; i < 2; ++i) window.record({.failed = true});
        const bool failed = window.counts() == OutcomeCounts{.calls = 2, .failures = 2, .timed = 2, .slow = 0};
        for (int i = 0; i < 2; ++i) window.record({});
        if (failed && window.counts() == OutcomeCounts{.calls = 2, .failures = 0, .timed = 2, .slow = 0}) ++exact;
      }
      CHECK(exact == kWindows);
    }
  }
}
