#include "proxy/policy/keyed_rate_limit.hpp"

#include <optional>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/support/allocations.hpp"

using namespace outrigger;
using namespace outrigger::policy;
using namespace std::chrono_literals;

namespace {

constexpr TimePoint kStart{1h};

RateLimitConfig per_client(double requests, std::uint32_t burst, std::uint32_t max_keys, Nanos max_wait = 0ns) {
  RateLimitConfig config;
  config.requests = requests;
  config.burst = burst;
  config.max_keys = max_keys;
  config.max_wait = max_wait;
  config.key = RateLimitConfig::Key::client_ip;
  return config;
}

struct Asked {
  explicit Asked(const RateLimitConfig& given, std::uint64_t seed = 42) : config(given), limit(given, seed) {}

  RateLimitAnswer ask(std::optional<std::string_view> key, TimePoint now, Nanos longest_wait = kForever) {
    return limit.admit(config, key, longest_wait, now);
  }
  int take_all(std::optional<std::string_view> key, TimePoint now) {
    int taken = 0;
    while (taken < 10'000 && ask(key, now, 0ns).verdict.admitted()) ++taken;
    return taken;
  }
  RateLimitView view(std::optional<std::string_view> key, TimePoint now) const { return limit.view(config, key, now); }

  RateLimitConfig config;
  KeyedRateLimit limit;
};

std::string key_number(int i) { return "10.0." + std::to_string(i / 256) + "." + std::to_string(i % 256); }

}  // namespace

TEST_SUITE("policy") {
  TEST_CASE("the hash is SipHash-2-4") {
    const SipHash hash{0x0706050403020100u, 0x0f0e0d0c0b0a0908u};
    std::string text;
    CHECK(hash(text) == 0x726fdb47dd0e0e31u);
    for (char c = 0; c < 15; ++c) text.push_back(c);
    CHECK(hash(std::string_view{text}.substr(0, 1)) == 0x74f839c593dc67fdu);
    CHECK(hash(std::string_view{text}.substr(0, 8)) == 0x93f5f5799a932462u);
    CHECK(hash(text) == 0xa129ca6149be45e5u);
  }

  TEST_CASE("each key has a bucket of its own") {
    Asked asked{per_client(10, 3, 100)};
    CHECK(asked.take_all("a", kStart) == 3);
    CHECK(asked.take_all("b", kStart) == 3);
    CHECK(asked.take_all("a", kStart) == 0);
    const RateLimitAnswer answer = asked.ask("a", kStart);
    CHECK(answer.verdict.refused == Reason::rate_limited);
    CHECK(answer.verdict.retry_after == Nanos{100ms});
    CHECK(asked.take_all("a", kStart + 100ms) == 1);
    CHECK(asked.take_all("b", kStart + 1h) == 3);
    CHECK(asked.limit.keys() == 2);
    CHECK(asked.view("b", kStart + 1h) == RateLimitView{3, 0, 100ms});
    CHECK(asked.view("never seen", kStart) == RateLimitView{3, 3, 0ns});
    CHECK(asked.limit.keys() == 2);
  }

  TEST_CASE("requests without the header share one bucket, which no number of keys refreshes") {
    Asked asked{per_client(10, 3, 2)};
    CHECK(asked.take_all(std::nullopt, kStart) == 3);
    for (int i = 0; i < 1000; ++i) CHECK(asked.take_all(key_number(i), kStart) == 3);
    CHECK(asked.take_all(std::nullopt, kStart) == 0);
    CHECK(asked.take_all("", kStart) == 3);  // a header without a value is a value
    CHECK(asked.view(std::nullopt, kStart).remaining == 0);
    CHECK(asked.limit.keys() == 2);
  }

  TEST_CASE("a table holds max_keys and not one more, and forgets who was silent for longest") {
    Asked asked{per_client(1, 1, 4)};
    for (const char* key : {"a", "b", "c", "d"}) CHECK(asked.take_all(key, kStart) == 1);
    CHECK(asked.take_all("a", kStart) == 0);  // a refusal is a use, too
    CHECK(asked.limit.evictions() == 0);
    CHECK(asked.take_all("e", kStart) == 1);
    CHECK(asked.limit.keys() == 4);
    CHECK(asked.limit.evictions() == 1);
    for (const char* key : {"a", "c", "d", "e"}) CHECK(asked.take_all(key, kStart) == 0);
    CHECK(asked.take_all("b", kStart) == 1);  // forgotten: as fresh as a key that never came
    CHECK(asked.take_all("a", kStart) == 1);  // and now the oldest was this one
  }

  TEST_CASE("forgetting a key grants what a fresh bucket holds and no more") {
    Asked asked{per_client(1, 5, 1)};
    int taken = 0;
    for (int round = 0; round < 100; ++round) {
      for (const char* key : {"a", "b"}) {
        const int now_taken = asked.take_all(key, kStart);
        CHECK(now_taken <= 5);
        taken += now_taken;
      }
    }
    CHECK(taken == 200 * 5);
    CHECK(asked.limit.evictions() == 199);
  }

  TEST_CASE("large tables are bounded exactly, shard by shard") {
    for (const std::uint32_t max_keys : {1u, 2u, 1023u, 1024u, 1025u, 3000u, 10'000u}) {
      CAPTURE(max_keys);
      Asked asked{per_client(1, 1, max_keys)};
      for (int i = 0; i < 50'000; ++i) static_cast<void>(asked.ask(key_number(i), kStart));
      CHECK(asked.limit.keys() == max_keys);
      CHECK(asked.limit.evictions() == 50'000 - max_keys);
    }
  }

  TEST_CASE("keys spread evenly over the shards, whatever the seed") {
    for (const std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{1}, ~std::uint64_t{0}}) {
      Asked asked{per_client(1, 1, 10'240), seed};
      for (int i = 0; i < 8'000; ++i) static_cast<void>(asked.ask(key_number(i), kStart));
      CHECK(asked.limit.keys() == 8'000);  // no shard of 1,024 was full
      CHECK(asked.limit.evictions() == 0);
    }
  }

  TEST_CASE("a hit does not allocate") {
    Asked asked{per_client(1000, 10, 2000, 1s)};
    const std::string key(500, 'k');
    for (int i = 0; i < 100; ++i) static_cast<void>(asked.ask(key_number(i), kStart));
    static_cast<void>(asked.ask(key, kStart));
    const std::uint64_t before = test::allocations();
    for (int i = 0; i < 1000; ++i) {
      RateLimitAnswer answer = asked.ask(key, kStart + i * 1ms);
      if (i % 7 == 0) answer.place.cancel(kStart + i * 1ms);
      static_cast<void>(asked.ask(std::nullopt, kStart));
      static_cast<void>(asked.view(key, kStart));
    }
    CHECK(test::allocations() == before);
  }

  TEST_CASE("one who waits for his key waits at most max_wait and the time he has") {
    Asked asked{per_client(10, 1, 10, 200ms)};
    CHECK(asked.ask("a", kStart).at == kStart);
    CHECK(asked.ask("a", kStart, 99ms).verdict.retry_after == Nanos{100ms});
    CHECK(asked.ask("a", kStart, 100ms).at == kStart + 100ms);
    CHECK(asked.ask("a", kStart).at == kStart + 200ms);
    CHECK(asked.ask("a", kStart).verdict.retry_after == Nanos{300ms});
    CHECK(asked.ask("b", kStart).at == kStart);
  }

  TEST_CASE("places that are given back go to the same key, in whatever order") {
    for (const bool first_come : {true, false}) {
      CAPTURE(first_come);
      Asked asked{per_client(10, 1, 10, 1h)};
      for (const char* key : {"a", "b"}) CHECK(asked.ask(key, kStart).at == kStart);
      std::vector<RateLimitAnswer> waiting;
      for (int i = 0; i < 5; ++i) waiting.push_back(asked.ask("a", kStart));
      static_cast<void>(asked.ask("b", kStart));
      for (int i = 0; i < 5; ++i) waiting[static_cast<std::size_t>(first_come ? i : 4 - i)].place.cancel(kStart);
      CHECK(asked.ask("b", kStart).at == kStart + 200ms);
      CHECK(asked.ask("a", kStart).at == kStart + 100ms);
      CHECK(asked.ask("a", kStart).at == kStart + 200ms);
    }
    Asked asked{per_client(10, 1, 10, 300ms)};
    std::vector<RateLimitAnswer> waiting;
    for (int i = 0; i < 4; ++i) waiting.push_back(asked.ask("a", kStart));
    waiting[1].place.cancel(kStart);
    CHECK(asked.ask("b", kStart).at == kStart);
    CHECK(asked.ask("a", kStart).at == kStart + 100ms);
    CHECK_FALSE(asked.ask("a", kStart).verdict.admitted());
  }

  TEST_CASE("a place of a key that was forgotten is given back to nobody") {
    Asked asked{per_client(10, 2, 1, 1h)};
    RateLimitAnswer place = asked.ask("a", kStart);
    CHECK(asked.take_all("b", kStart) == 2);
    place.place.cancel(kStart);
    CHECK(asked.take_all("b", kStart) == 0);
    CHECK(asked.take_all("a", kStart) == 2);
  }

  TEST_CASE("after a reload every key keeps its permits, up to the new burst") {
    Asked asked{per_client(1, 10, 5000)};
    for (int i = 0; i < 3000; ++i) static_cast<void>(asked.ask(key_number(i), kStart));
    CHECK(asked.take_all("empty", kStart) == 10);
    CHECK(asked.take_all(std::nullopt, kStart) == 10);
    asked.config = per_client(100, 50, 5000);
    asked.limit.reload(asked.config, kStart);
    for (int i = 0; i < 3000; i += 100) CHECK(asked.view(key_number(i), kStart).remaining == 9);
    CHECK(asked.take_all("empty", kStart + 30ms) == 3);
    CHECK(asked.take_all(std::nullopt, kStart + 30ms) == 3);
    asked.config = per_client(100, 5, 5000);
    CHECK(asked.take_all(key_number(0), kStart + 30ms) == 5);
    CHECK(asked.take_all(key_number(0), kStart + 24h) == 5);
  }

  TEST_CASE("a table of another size keeps its keys, in a smaller one those that came last") {
    Asked asked{per_client(1, 10, 4)};
    for (const char* key : {"a", "b", "c", "d"}) CHECK(asked.take_all(key, kStart) == 10);
    RateLimitPlace place = asked.ask("d", kStart + 1s).place;
    asked.config.max_keys = 5;
    asked.limit.reload(asked.config, kStart + 1s);
    CHECK(asked.limit.max_keys() == 5);
    place.cancel(kStart + 1s);  // void, as after other numbers
    CHECK(asked.take_all("d", kStart + 1s) == 0);
    for (const char* key : {"a", "b", "c"}) CHECK(asked.take_all(key, kStart + 1s) == 1);
    CHECK(asked.take_all("e", kStart + 1s) == 10);
    CHECK(asked.limit.evictions() == 0);
    place = asked.ask("a", kStart + 2s).place;
    asked.config.max_keys = 2;
    asked.limit.reload(asked.config, kStart + 2s);
    CHECK(asked.limit.keys() == 2);
    place.cancel(kStart + 2s);
    CHECK(asked.view("a", kStart + 2s).remaining == 0);
    CHECK(asked.view("e", kStart + 2s).remaining == 1);
    for (const char* key : {"b", "c", "d"}) CHECK(asked.view(key, kStart + 2s).remaining == 10);
    CHECK(asked.take_all("f", kStart + 2s) == 10);
    CHECK(asked.limit.keys() == 2);
  }

  TEST_CASE("a table of many shards may become one of few keys and large again") {
    Asked asked{per_client(1, 10, 5000)};
    for (int i = 0; i < 6000; ++i) static_cast<void>(asked.ask(key_number(i), kStart));
    asked.config.max_keys = 4000;
    asked.limit.reload(asked.config, kStart);
    CHECK(asked.limit.keys() == 4000);
    CHECK(asked.view(key_number(5999), kStart).remaining == 9);
    for (const std::uint32_t most : {4u, 1u, 3u, 5000u}) {
      asked.config.max_keys = most;
      asked.limit.reload(asked.config, kStart);
      for (int i = 0; i < 20'000; ++i) static_cast<void>(asked.ask(key_number(i), kStart));
      CHECK(asked.limit.keys() == most);
    }
  }

  TEST_CASE("buckets serve on when their process is older than what can be counted at once") {
    Asked asked{per_client(10, 5, 10)};
    for (int month = 1; month < 60; ++month) CHECK(asked.take_all("a", kStart + 24h * 30 * month) == 5);
  }
}
