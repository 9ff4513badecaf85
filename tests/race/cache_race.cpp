#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "proxy/base/rng.hpp"
#include "proxy/policy/cache.hpp"
#include "tests/race/threads.hpp"

using namespace outrigger;
using namespace outrigger::policy;
using namespace outrigger::test;
using namespace std::chrono_literals;

namespace {

using Kind = CacheAnswer::Kind;

constexpr TimePoint kStart{1h};

struct CountedWakes final : Wakeups {
  void wake(const Ticket&) noexcept override { count.fetch_add(1); }
  std::atomic<int> count{0};
};

struct Memory final : CacheMemory {
  bool take(std::uint64_t bytes) noexcept override {
    std::uint64_t before = used.load();
    do {
      if (before + bytes > limit) return false;
    } while (!used.compare_exchange_weak(before, before + bytes));
    return true;
  }
  void give_back(std::uint64_t bytes) noexcept override { used.fetch_sub(bytes); }

  std::atomic<std::uint64_t> used{0};
  std::uint64_t limit = UINT64_MAX;
};

struct Shared {
  Shared() { config.statuses.insert(200, 200); }

  /// Stores a body that says which key it is for; whoever reads a mixture of two would see it.
  void fill(CacheFill& to, const std::string& key, bool whole, TimePoint now) {
    if (!to.begin(config, {200, {}, {}, {.storable = true}, {}}, now)) return;
    for (int i = 0; i < 8; ++i) to.append(config, key + ";", now);
    to.finish(config, whole, now);
  }
  static bool is_for(const CacheHit& hit, const std::string& key) {
    std::string expected;
    for (int i = 0; i < 8; ++i) expected += key + ";";
    return hit.response->body() == expected;
  }

  CacheConfig config;
  CountedWakes wakes;
  Memory memory;
};

}  // namespace

TEST_SUITE("race") {
  TEST_CASE("of those who miss at once one leads, and every follower gets its answer") {
    for (int round = 0; round < 300; ++round) {
      Shared shared;
      Cache cache{shared.wakes, shared.memory, 1};
      std::atomic<int> leaders{0};
      std::atomic<int> served{0};
      race([&](std::uint32_t thread) {
        CacheWaiter waiter{{thread, 0, 0}};
        CacheAnswer answer = cache.lookup(shared.config, {"GET", "x", {}, {}}, &waiter, kStart);
        if (answer.kind == Kind::fetch) {
          leaders.fetch_add(1);
          shared.fill(answer.fill, "x", true, kStart);
        }
        while (answer.kind == Kind::wait) {
          std::this_thread::yield();
          answer = cache.resume(shared.config, waiter, kStart);
        }
        if (answer.kind == Kind::hit && Shared::is_for(answer.hit, "x")) served.fetch_add(1);
      });
      CHECK(leaders.load() == 1);
      CHECK(served.load() == static_cast<int>(kThreads) - 1);
      CHECK(cache.waiting() == 0);
      CHECK(shared.memory.used.load() == cache.bytes());
    }
  }

  TEST_CASE("leaders that leave release all followers, and followers may leave at any moment") {
    Shared shared;
    shared.config.ttl = 1ns;  // so that there is a leader again in every round
    Cache cache{shared.wakes, shared.memory, 1};
    std::atomic<int> waits{0};
    std::atomic<int> ended{0};
    race([&](std::uint32_t thread) {
      Rng rng{thread};
      for (int i = 0; i < 5000; ++i) {
        const TimePoint now = kStart + i * 1us;
        auto waiter = std::make_unique<CacheWaiter>(Ticket{thread, 0, 0});
        CacheAnswer answer = cache.lookup(shared.config, {"GET", "x", {}, {}}, waiter.get(), now);
        if (answer.kind == Kind::wait) {
          waits.fetch_add(1);
          for (int looks = 0; answer.kind == Kind::wait && looks < 20; ++looks) {
            std::this_thread::yield();
            answer = cache.resume(shared.config, *waiter, now);
          }
          if (answer.kind == Kind::wait && rng.below(2) == 0) waiter->leave();
          waiter.reset();
          ended.fetch_add(1);
        }
        if (answer.fill) {
          std::this_thread::yield();
          if (rng.below(4) == 0) shared.fill(answer.fill, "x", rng.below(2) == 0, now);
        }
      }
    });
    CHECK(waits.load() == ended.load());
    CHECK(cache.waiting() == 0);
    CHECK(shared.memory.used.load() == cache.bytes());
  }

  TEST_CASE("hits, stores, evictions and invalidations at once: bytes are conserved and no answer is another's") {
    Shared shared;
    shared.config.max_bytes = 20'000;
    shared.config.ttl = 20ms;  // so that answers replace those before them
    shared.memory.limit = 30'000;
    auto cache = std::make_unique<Cache>(shared.wakes, shared.memory, 1);
    std::atomic<int> wrong{0};
    std::atomic<int> hits{0};
    std::atomic<int> over{0};
    race([&](std::uint32_t thread) {
      Rng rng{thread + 100};
      CacheHit sending;
      for (int i = 0; i < 20'000; ++i) {
        const TimePoint now = kStart + i * 10us;
        const std::string key = "http://a/" + std::to_string(rng.below(60));
        const std::string user = std::to_string(rng.below(3));
        const Field fields[] = {{"User", user}};
        const std::vector<std::string_view> vary = {"User"};
        const std::uint64_t dice = rng.below(100);
        if (dice == 0) cache->invalidate(cache->target(key));
        if (dice == 1) cache->shed(2000);
        CacheAnswer answer = cache->lookup(shared.config, {"GET", key, fields, {}}, nullptr, now);
        if (answer.kind == Kind::hit) {
          hits.fetch_add(1);
          if (!Shared::is_for(answer.hit, key + user)) wrong.fetch_add(1);
          sending = std::move(answer.hit);
        } else if (answer.fill.begin(shared.config, {200, {}, vary, {.storable = true}, {}}, now)) {
          for (int part = 0; part < 8; ++part) answer.fill.append(shared.config, key + user + ";", now);
          answer.fill.finish(shared.config, dice != 2, now);
        }
        // Every thread may be storing one that does not count against the limit yet.
        if (cache->bytes() > shared.config.max_bytes + kThreads * 1000) over.fetch_add(1);
      }
    });
    CHECK(wrong.load() == 0);
    CHECK(over.load() == 0);
    CHECK(hits.load() > 1000);
    CHECK(cache->bytes() <= shared.config.max_bytes);
    CHECK(shared.memory.used.load() == cache->bytes());
    cache->shed(UINT64_MAX);
    CHECK(cache->entries() == 0);
    CHECK(cache->bytes() == 0);
    cache.reset();
    CHECK(shared.memory.used.load() == 0);
  }
}
