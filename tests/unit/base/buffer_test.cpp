#include "proxy/base/buffer.hpp"

#include <string>

#include <doctest/doctest.h>

#include "tests/support/allocations.hpp"

using namespace outrigger;

TEST_SUITE("base") {
  TEST_CASE("a buffer gives back what was put in, from the front") {
    Buffer buffer;
    buffer.append("hello ");
    buffer.append("world");
    buffer.push_back('!');
    CHECK(buffer.view() == "hello world!");
    buffer.consume(6);
    CHECK(buffer.view() == "world!");
    buffer.truncate(5);
    CHECK(buffer.view() == "world");
    buffer.consume(5);
    CHECK(buffer.empty());
  }

  TEST_CASE("bytes written into prepared room become content only when committed") {
    Buffer buffer;
    buffer.append("ab");
    char* room = buffer.prepare(4);
    room[0] = 'c';
    room[1] = 'd';
    CHECK(buffer.view() == "ab");
    buffer.commit(2);
    CHECK(buffer.view() == "abcd");
  }

  TEST_CASE("a buffer through which much flows stays as small as its content") {
    Buffer buffer;
    std::string expected;
    const std::string block(700, 'x');
    for (int i = 0; i < 1000; ++i) {
      buffer.append(block);
      buffer.consume(i % 2 == 0 ? 600 : 700);
      buffer.consume(std::min<std::size_t>(buffer.size(), 50));
    }
    CHECK(buffer.capacity() <= 4096);
  }

  TEST_CASE("a cleared buffer keeps its memory and a released one does not") {
    Buffer buffer;
    buffer.append(std::string(10'000, 'x'));
    buffer.clear();
    const std::uint64_t before = test::allocations();
    for (int i = 0; i < 100; ++i) buffer.push_back('y');
    CHECK(test::allocations() == before);
    CHECK(buffer.capacity() >= 10'000);
    buffer.release();
    CHECK(buffer.capacity() == 0);
    CHECK(buffer.empty());
    buffer.append("alive");
    CHECK(buffer.view() == "alive");
  }

  TEST_CASE("nothing appended to an empty buffer needs no memory") {
    Buffer buffer;
    buffer.append("");
    CHECK(buffer.capacity() == 0);
    CHECK(buffer.view().empty());
  }

  TEST_CASE("content survives growth and being moved to the front") {
    Buffer buffer;
    std::string expected;
    for (int i = 0; i < 300; ++i) {
      const std::string piece = std::to_string(i) + ",";
      buffer.append(piece);
      expected += piece;
      if (i % 3 == 0) {
        buffer.consume(2);
        expected.erase(0, 2);
      }
      REQUIRE(buffer.view() == expected);
    }
  }
}
