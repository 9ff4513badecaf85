#include "proxy/server/memory_return.hpp"

#include <doctest/doctest.h>

using outrigger::server::MemoryReturn;

TEST_SUITE("server") {
  TEST_CASE("memory goes back once a burst is over, and not while it still falls") {
    MemoryReturn memory;
    CHECK_FALSE(memory.due(5000));
    CHECK_FALSE(memory.due(3000));
    CHECK_FALSE(memory.due(100));
    CHECK(memory.due(100));
    CHECK_FALSE(memory.due(100));
  }

  TEST_CASE("what goes later goes back later") {
    MemoryReturn memory;
    CHECK_FALSE(memory.due(10'000));
    CHECK_FALSE(memory.due(5000));
    CHECK(memory.due(5000));
    CHECK_FALSE(memory.due(64));
    CHECK(memory.due(65));
  }

  TEST_CASE("a few objects more or less are not worth it, and a steady load never is") {
    MemoryReturn memory;
    const std::int64_t few = MemoryReturn::kWorthwhile - 1;
    CHECK_FALSE(memory.due(1000));
    CHECK_FALSE(memory.due(1000 - few));
    CHECK_FALSE(memory.due(1000 - few));
    for (int i = 0; i < 10; ++i) CHECK_FALSE(memory.due(1000 - i % 2 * few));
    CHECK_FALSE(memory.due(1000 - few - 1));
    CHECK(memory.due(1000 - few - 1));
  }
}
