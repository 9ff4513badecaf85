#include "proxy/base/rng.hpp"

#include <array>

#include <doctest/doctest.h>

using namespace outrigger;

TEST_SUITE("base") {
  TEST_CASE("a seed means the same sequence everywhere") {
    // The reference sequence of xoshiro256** seeded by splitmix64 from 42.
    Rng rng{42};
    CHECK(rng.next() == 1546998764402558742u);
    CHECK(rng.next() == 6990951692964543102u);
    CHECK(rng.next() == 12544586762248559009u);
    Rng zero{0};
    CHECK(zero.next() == 11091344671253066420u);
  }

  TEST_CASE("a draw below a bound never reaches it and covers all values evenly") {
    Rng rng{7};
    std::array<int, 5> seen{};
    for (int i = 0; i < 50'000; ++i) ++seen.at(rng.below(5));
    for (const int count : seen) CHECK(count == doctest::Approx(10'000).epsilon(0.05));
    CHECK(rng.below(0) == 0);
    CHECK(rng.below(1) == 0);
  }

  TEST_CASE("a uniform draw lies in [0, 1) and has its mean in the middle") {
    Rng rng{7};
    double sum = 0;
    for (int i = 0; i < 50'000; ++i) {
      const double u = rng.uniform();
      REQUIRE(u >= 0);
      REQUIRE(u < 1);
      sum += u;
    }
    CHECK(sum / 50'000 == doctest::Approx(0.5).epsilon(0.01));
  }

  TEST_CASE("a split generator goes its own way, and the same way each time") {
    Rng first{3};
    Rng second{3};
    Rng child = first.split();
    CHECK(child.next() == second.split().next());
    CHECK(first.next() == second.next());
    CHECK(child.next() != first.next());
  }
}
