#include <algorithm>
#include <atomic>
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
    constexpr std::uint32_t kMany = 200'000;  // so many, and looked at so seldom, that the threads are sure to meet
    TimeWindow window{10s};
    race([&](std::uint32_t thread) {
      for (std::uint32_t i = 0; i < kMany; ++i) {
        // All threads cross the borders of buckets, each a little earlier than the other.
        const TimePoint now = kStart + i * 40us - thread * 50us;
        window.record({.failed = i % 2 == 0, .slow = i % 5 == 0, .neutral = i % 5 == 0 && i % 2 != 0}, now);
        if (i % 64 == 0) static_cast<void>(window.counts(now));
      }
    });
    const OutcomeCounts seen = window.counts(kStart + 8s);
    CHECK(seen.timed == kThreads * kMany);
    CHECK(seen.calls == kThreads * kMany * 9 / 10);
    CHECK(seen.failures == kThreads * kMany / 2);
    CHECK(seen.slow == kThreads * kMany / 5);
  }

  TEST_CASE("a call window's sums are what its calls were, after any race, clearing included") {
    const auto window = std::make_unique<CallWindow>(7);
    race([&](std::uint32_t thread) {
      Rng rng{thread};
      for (int i = 0; i < kRounds; ++i) {
        window->record({.failed = rng.below(2) == 0, .slow = rng.below(2) == 0, .neutral = false});
        if (thread == 0 && i % 1000 == 0) window->clear();
        if (thread == 1 && i % 1500 == 0) window->cut(static_cast<std::uint32_t>(5 + i % 4));
        static_cast<void>(window->counts());
      }
    });
    window->cut(7);
    for (int i = 0; i < 7; ++i) window->record({.failed = true});
    CHECK(window->counts() == OutcomeCounts{.calls = 7, .failures = 7, .timed = 7, .slow = 0});
    for (int i = 0; i < 7; ++i) window->record({});
    CHECK(window->counts() == OutcomeCounts{.calls = 7, .failures = 0, .timed = 7, .slow = 0});
  }
}
