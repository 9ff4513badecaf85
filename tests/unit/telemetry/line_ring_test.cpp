#include "proxy/telemetry/line_ring.hpp"

#include <string>
#include <thread>

#include <doctest/doctest.h>

using namespace outrigger::telemetry;

TEST_SUITE("telemetry") {
  TEST_CASE("lines come out as they went in, with their tags") {
    LineRing ring{64};
    CHECK(ring.push(1, "first"));
    CHECK(ring.push(200, ""));
    std::uint8_t tag = 0;
    std::string line;
    REQUIRE(ring.pop(tag, line));
    CHECK(tag == 1);
    CHECK(line == "first");
    REQUIRE(ring.pop(tag, line));
    CHECK(tag == 200);
    CHECK(line.empty());
    CHECK_FALSE(ring.pop(tag, line));
  }

  TEST_CASE("a line that fills the ring fits, one byte more is dropped and counted") {
    LineRing ring{64};
    CHECK_FALSE(ring.push(0, std::string(61, 'x')));
    CHECK(ring.dropped() == 1);
    CHECK(ring.push(0, std::string(60, 'x')));
    CHECK_FALSE(ring.push(0, ""));
    CHECK(ring.dropped() == 2);
    std::uint8_t tag = 0;
    std::string line;
    REQUIRE(ring.pop(tag, line));
    CHECK(line == std::string(60, 'x'));
    CHECK(ring.push(0, ""));
  }

  TEST_CASE("lines wrap around the end at every offset") {
    LineRing ring{64};
    std::uint8_t tag = 0;
    std::string line;
    for (int i = 0; i < 1000; ++i) {
      const std::string sent(static_cast<std::size_t>(i % 41), static_cast<char>('a' + i % 26));
      REQUIRE(ring.push(static_cast<std::uint8_t>(i), sent));
      REQUIRE(ring.pop(tag, line));
      REQUIRE(tag == static_cast<std::uint8_t>(i));
      REQUIRE(line == sent);
    }
    CHECK(ring.dropped() == 0);
  }

  TEST_CASE("half full begins at half of the bytes") {
    LineRing ring{64};
    ring.push(0, std::string(27, 'x'));
    CHECK_FALSE(ring.half_full());
    LineRing other{64};
    other.push(0, std::string(28, 'x'));
    CHECK(other.half_full());
  }

  TEST_CASE("between two threads every line arrives in order or is counted as dropped") {
    LineRing ring{256};
    constexpr int kLines = 20'000;
    std::thread producer([&] {
      for (int i = 0; i < kLines; ++i) ring.push(7, std::to_string(i));
      while (!ring.push(8, "end")) std::this_thread::yield();
    });
    std::uint64_t received = 0;
    int last = -1;
    std::uint8_t tag = 0;
    std::string line;
    bool in_order = true;
    while (tag != 8) {
      if (!ring.pop(tag, line)) {
        std::this_thread::yield();
        continue;
      }
      if (tag == 8) break;
      const int number = std::stoi(line);
      in_order = in_order && number > last;
      last = number;
      ++received;
    }
    producer.join();
    CHECK(in_order);
    // Attempts to push the end that found no room count as well.
    CHECK(received + ring.dropped() >= kLines);
  }
}
