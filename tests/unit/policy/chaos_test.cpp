#include "proxy/policy/chaos.hpp"

#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace outrigger;
using namespace outrigger::policy;
using namespace std::chrono_literals;

namespace {

constexpr std::int64_t kWall = 1'800'000'000'000'000;

ChaosConfig chaos(double late, double fails, std::uint64_t seed = 42) {
  ChaosConfig config;
  config.seed = seed;
  config.delay = ChaosDelay{.probability = late, .min = 10ms, .max = 20ms};
  config.abort = ChaosAbort{.probability = fails, .kind = ChaosAbort::Kind::reset};
  return config;
}

struct Counted {
  int delays = 0;
  int aborts = 0;
  int both = 0;
};

Counted count(const ChaosConfig& config, int rolls) {
  Chaos state;
  Counted counted;
  for (int i = 0; i < rolls; ++i) {
    const ChaosRoll roll = state.roll(config, kWall);
    counted.delays += roll.delay.has_value();
    counted.aborts += roll.abort.has_value();
    counted.both += roll.delay && roll.abort;
  }
  return counted;
}

bool same(const ChaosRoll& a, const ChaosRoll& b) {
  return a.delay == b.delay && a.abort.has_value() == b.abort.has_value();
}

}  // namespace

TEST_SUITE("policy") {
  TEST_CASE("probability one always acts, zero never") {
    const Counted always = count(chaos(1, 1), 1000);
    CHECK(always.both == 1000);
    const Counted never = count(chaos(0, 0), 1000);
    CHECK(never.delays + never.aborts == 0);
    const ChaosConfig nothing;
    CHECK_FALSE(Chaos{}.roll(nothing, kWall).acts());
  }

  TEST_CASE("delay and abort come as often as they are asked for, independently of each other") {
    const Counted counted = count(chaos(0.3, 0.1), 100'000);
    CHECK(counted.delays == doctest::Approx(30'000).epsilon(0.03));
    CHECK(counted.aborts == doctest::Approx(10'000).epsilon(0.05));
    CHECK(counted.both == doctest::Approx(3'000).epsilon(0.1));
  }

  TEST_CASE("a delay is between its bounds, both included, and a fixed one is itself") {
    ChaosConfig config = chaos(1, 0);
    config.delay->min = 3ns;
    config.delay->max = 5ns;
    std::vector<int> seen(9);
    for (std::uint64_t n = 0; n < 300; ++n) ++seen[static_cast<std::size_t>(chaos_roll(config, n).delay->count())];
    CHECK(seen[3] + seen[4] + seen[5] == 300);
    for (int length = 3; length <= 5; ++length) CHECK(seen[static_cast<std::size_t>(length)] > 60);
    config.delay->min = config.delay->max = 100ms;
    for (std::uint64_t n = 0; n < 100; ++n) CHECK(chaos_roll(config, n).delay == 100ms);
  }

  TEST_CASE("a delay of nothing is no delay") {
    ChaosConfig config = chaos(1, 0);
    config.delay->min = config.delay->max = 0ns;
    CHECK_FALSE(chaos_roll(config, 0).acts());
  }

  TEST_CASE("what is injected is what is configured") {
    ChaosConfig config = chaos(0, 1);
    config.abort->kind = ChaosAbort::Kind::status;
    config.abort->status = 418;
    const ChaosRoll roll = chaos_roll(config, 0);
    CHECK(roll.abort->kind == ChaosAbort::Kind::status);
    CHECK(roll.abort->status == 418);
  }

  TEST_CASE("the same seed gives the same sequence again") {
    const ChaosConfig config = chaos(0.5, 0.5);
    Chaos once;
    Chaos again;
    for (std::uint64_t n = 0; n < 1000; ++n) {
      const ChaosRoll roll = once.roll(config, kWall);
      CHECK(same(roll, again.roll(config, kWall)));
      CHECK(same(roll, chaos_roll(config, n)));
    }
    CHECK(once.rolls() == 1000);
  }

  TEST_CASE("a seed means the same sequence in every version") {
    const ChaosConfig config = chaos(0.5, 0.5);
    std::string sequence;
    for (std::uint64_t n = 0; n < 16; ++n) {
      const ChaosRoll roll = chaos_roll(config, n);
      sequence += roll.delay ? (roll.abort ? 'b' : 'd') : (roll.abort ? 'a' : '.');
    }
    CHECK(sequence == "ab.dd..b.db.dbd.");
    CHECK(chaos_roll(chaos(1, 0), 0).delay->count() == 10'642'033);
  }

  TEST_CASE("neighbouring seeds and neighbouring rolls have nothing in common") {
    const ChaosConfig config = chaos(0.5, 0);
    for (std::uint64_t shift = 0; shift < 8; ++shift) {
      for (std::uint64_t seed = 43; seed < 47; ++seed) {
        const ChaosConfig other = chaos(0.5, 0, seed);
        int equal = 0;
        for (std::uint64_t n = 0; n < 4000; ++n) {
          equal += chaos_roll(config, n + shift).delay.has_value() == chaos_roll(other, n).delay.has_value();
        }
        CHECK(equal == doctest::Approx(2000).epsilon(0.1));
      }
    }
    int runs = 0;
    for (std::uint64_t n = 0; n < 4000; ++n) {
      runs += chaos_roll(config, n).delay.has_value() == chaos_roll(config, n + 1).delay.has_value();
    }
    CHECK(runs == doctest::Approx(2000).epsilon(0.1));
  }

  TEST_CASE("after the end of the experiment nothing happens and no roll is used up") {
    ChaosConfig config = chaos(1, 1);
    config.until_us = kWall;
    Chaos state;
    CHECK(state.roll(config, kWall - 1).acts());
    CHECK_FALSE(state.roll(config, kWall).acts());
    CHECK_FALSE(state.roll(config, kWall + 3'600'000'000).acts());
    CHECK(state.rolls() == 1);
  }

  TEST_CASE("after a reload the sequence goes on, and a new probability changes only its own kind of fault") {
    const ChaosConfig before = chaos(0.5, 0.5);
    const ChaosConfig after = chaos(1, 0.5);
    CHECK(same_structure(before, after));
    CHECK_FALSE(same_structure(before, chaos(0.5, 0.5, 43)));
    Chaos state;
    for (int i = 0; i < 100; ++i) static_cast<void>(state.roll(before, kWall));
    for (std::uint64_t n = 100; n < 300; ++n) {
      const ChaosRoll roll = state.roll(after, kWall);
      const ChaosRoll unchanged = chaos_roll(before, n);
      CHECK(roll.delay.has_value());
      if (unchanged.delay) CHECK(roll.delay == unchanged.delay);
      CHECK(roll.abort.has_value() == unchanged.abort.has_value());
    }
  }
}
