#include "proxy/base/bounded_vec.hpp"

#include <memory>
#include <string>

#include <doctest/doctest.h>

using namespace outrigger;

TEST_SUITE("base") {
  TEST_CASE("a bounded vector holds its capacity and not one more") {
    BoundedVec<int, 3> numbers;
    CHECK(numbers.empty());
    for (int i = 0; i < 3; ++i) CHECK(numbers.try_push_back(i));
    CHECK(numbers.full());
    CHECK_FALSE(numbers.try_push_back(3));
    CHECK(numbers.size() == 3);
    CHECK(numbers.back() == 2);
    int sum = 0;
    for (const int number : numbers) sum += number;
    CHECK(sum == 3);
  }

  TEST_CASE("what a bounded vector holds is destroyed once") {
    const auto counted = std::make_shared<int>(0);
    {
      BoundedVec<std::shared_ptr<int>, 4> owners;
      owners.push_back(counted);
      owners.push_back(counted);
      CHECK(counted.use_count() == 3);
      const BoundedVec<std::shared_ptr<int>, 4> copy = owners;
      CHECK(counted.use_count() == 5);
      owners.clear();
      CHECK(counted.use_count() == 3);
      owners = copy;
      CHECK(counted.use_count() == 5);
      owners = *&owners;
      CHECK(owners.size() == 2);
    }
    CHECK(counted.use_count() == 1);
  }

  TEST_CASE("a bounded vector can be filled again after it was cleared") {
    BoundedVec<std::string, 2> words;
    words.push_back("a long text that does not fit into the object itself");
    words.clear();
    words.push_back("again");
    CHECK(words[0] == "again");
  }
}
