#include "proxy/policy/cache.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "proxy/policy/cache_shard.hpp"
#include "proxy/policy/field_selection.hpp"
#include "tests/support/allocations.hpp"

using namespace outrigger;
using namespace outrigger::policy;
using namespace std::chrono_literals;

namespace {

using Kind = CacheAnswer::Kind;
using Waiting = CacheWaiter::State;

constexpr TimePoint kStart{1h};
constexpr std::uint64_t kSeed = 7;

struct WokenList final : Wakeups {
  void wake(const Ticket& ticket) noexcept override { slots.push_back(ticket.slot); }
  std::vector<std::uint32_t> slots;
};

struct Memory final : CacheMemory {
  bool take(std::uint64_t bytes) noexcept override {
    if (used + bytes > limit) return false;
    used += bytes;
    return true;
  }
  void give_back(std::uint64_t bytes) noexcept override { used -= bytes; }

  std::uint64_t limit = UINT64_MAX;
  std::uint64_t used = 0;
};

struct Asking {
  std::string_view method = "GET";
  std::vector<Field> fields = {};
  CacheDemand demand = {};
  CacheWaiter* may_wait = nullptr;
};

struct Answering {
  std::uint16_t status = 200;
  std::vector<std::string_view> vary = {};
  CacheTerms terms = {.storable = true};
  std::optional<std::uint64_t> length = {};
  std::vector<Field> fields = {};
};

/// A cache and the configuration it is asked with, which a test may change as a reload does.
struct Asked {
  Asked() { config.statuses.insert(200, 200); }

  CacheAnswer get(TimePoint now, std::string_view key, const Asking& how = {}) {
    return cache.lookup(config, {how.method, key, how.fields, how.demand}, how.may_wait, now);
  }
  Kind kind(TimePoint now, std::string_view key, const Asking& how = {}) { return get(now, key, how).kind; }
  /// What would be sent from memory; nothing if an upstream would be asked.
  std::string body(TimePoint now, std::string_view key, const Asking& how = {}) {
    const CacheAnswer answer = get(now, key, how);
    return answer.hit ? std::string{answer.hit.response->body()} : std::string{};
  }
  bool fill(CacheFill& fill, TimePoint now, std::string_view text, const Answering& how = {}) {
    const bool begun = fill.begin(config, {how.status, how.fields, how.vary, how.terms, how.length}, now);
    fill.append(config, text, now);
    fill.finish(config, true, now);
    return begun;
  }
  /// Asks, and stores this for an answer.
  void store(TimePoint now, std::string_view key, std::string_view text, const Answering& answer = {},
             const Asking& how = {}) {
    CacheAnswer asked = get(now, key, how);
    REQUIRE(asked.kind == Kind::fetch);
    fill(asked.fill, now, text, answer);
  }

  CacheConfig config;
  WokenList woken;
  Memory memory;
  Cache cache{woken, memory, kSeed};
};

CacheTerms for_seconds(int seconds, int initial_age = 0) {
  return {.storable = true, .lifetime = Nanos{1s} * seconds, .initial_age = Nanos{1s} * initial_age};
}

}  // namespace

TEST_SUITE("policy") {
  // ---- storing and answering ------------------------------------------------------------------

  TEST_CASE("a stored answer is given until its time is over, and not one nanosecond longer") {
    Asked asked;
    asked.store(kStart, "http://a/x", "body", {.fields = {{"ETag", "\"1\""}}});
    const CacheAnswer answer = asked.get(kStart + 4s, "http://a/x");
    REQUIRE(answer.kind == Kind::hit);
    CHECK(answer.hit.response->status() == 200);
    CHECK(answer.hit.response->body() == "body");
    CHECK(find_field(answer.hit.response->fields(), "etag") == "\"1\"");
    CHECK(answer.hit.age == 4s);
    CHECK_FALSE(answer.hit.stale);
    CHECK(asked.kind(kStart + 5s - 1ns, "http://a/x") == Kind::hit);
    CHECK(asked.kind(kStart + 5s, "http://a/x") == Kind::fetch);
    CHECK(asked.kind(kStart + 4s, "http://a/y") == Kind::fetch);
    CHECK(asked.kind(kStart + 24h, "http://a/x") == Kind::fetch);
  }

  TEST_CASE("what a response says of its lifetime and age wins over ttl, both ways") {
    Asked asked;
    asked.store(kStart, "long", "1", {.terms = for_seconds(60, 10)});
    CHECK(asked.kind(kStart + 50s - 1ns, "long") == Kind::hit);
    CHECK(asked.get(kStart + 20s, "long").hit.age == 30s);
    CHECK(asked.kind(kStart + 50s, "long") == Kind::fetch);
    asked.store(kStart, "short", "1", {.terms = for_seconds(1)});
    CHECK(asked.kind(kStart + 1s, "short") == Kind::fetch);
    SUBCASE("an age without a lifetime does not shorten ttl, which counts from arrival") {
      asked.store(kStart, "old", "1", {.terms = {.storable = true, .initial_age = 100s}});
      CHECK(asked.get(kStart + 4s, "old").hit.age == 104s);
      CHECK(asked.kind(kStart + 5s, "old") == Kind::fetch);
    }
    SUBCASE("one that is over on arrival is not stored") {
      asked.store(kStart, "over", "1", {.terms = for_seconds(10, 10)});
      CHECK(asked.kind(kStart, "over") == Kind::fetch);
      CHECK(asked.cache.entries() == 2);
    }
  }

  TEST_CASE("only configured statuses and storable answers are stored: never a 500 by default, never half a body") {
    Asked asked;
    for (const int status : {201, 204, 404, 500, 503}) {
      asked.store(kStart, "status", "x", {.status = static_cast<std::uint16_t>(status)});
    }
    asked.store(kStart, "private", "x", {.terms = {.storable = false}});
    CacheAnswer cut = asked.get(kStart, "cut");
    CHECK(cut.fill.begin(asked.config, {200, {}, {}, {.storable = true}, {}}, kStart));
    cut.fill.append(asked.config, "half", kStart);
    cut.fill.finish(asked.config, false, kStart);
    CHECK(asked.cache.entries() == 0);
    CHECK(asked.memory.used == 0);
    asked.config.statuses.insert(404, 404);
    asked.store(kStart, "status", "gone", {.status = 404});
    CHECK(asked.body(kStart, "status") == "gone");
  }

  TEST_CASE("methods other than GET and HEAD take no part, and those only if configured") {
    Asked asked;
    CHECK(asked.kind(kStart, "x", {.method = "POST"}) == Kind::bypass);
    asked.config.methods = {"GET", "POST"};
    CHECK(asked.kind(kStart, "x", {.method = "POST"}) == Kind::bypass);
    CHECK(asked.kind(kStart, "x", {.method = "HEAD"}) == Kind::bypass);
    CHECK(asked.kind(kStart, "x") == Kind::fetch);
  }

  TEST_CASE("HEAD is answered from what a GET stored, and stores nothing a GET could be given") {
    Asked asked;
    asked.store(kStart, "x", "", {}, {.method = "HEAD"});
    CHECK(asked.kind(kStart, "x") == Kind::fetch);
    asked.store(kStart, "x", "body");
    CHECK(asked.body(kStart, "x", {.method = "HEAD"}) == "body");
  }

  TEST_CASE("a newer answer replaces the one before it") {
    Asked asked;
    asked.store(kStart, "x", "one");
    asked.store(kStart + 1s, "x", "two", {}, {.demand = {.no_cache = true}});
    CHECK(asked.body(kStart + 2s, "x") == "two");
    CHECK(asked.get(kStart + 2s, "x").hit.age == 1s);
    CHECK(asked.cache.entries() == 1);
  }

  TEST_CASE("a request's own directives are obeyed") {
    Asked asked;
    asked.config.coalesce = false;
    asked.store(kStart, "x", "body", {.terms = for_seconds(10)});
    const auto at = [&](Nanos after, const CacheDemand& demand) {
      return asked.kind(kStart + after, "x", {.demand = demand});
    };
    CHECK(at(1s, {.no_cache = true}) == Kind::fetch);
    CHECK(at(1s, {.max_age = 1s}) == Kind::hit);
    CHECK(at(1s + 1ns, {.max_age = 1s}) == Kind::fetch);
    CHECK(at(4s, {.min_fresh = 6s}) == Kind::hit);
    CHECK(at(4s + 1ns, {.min_fresh = 6s}) == Kind::fetch);
    CHECK(at(1s, {.only_if_cached = true}) == Kind::hit);
    CHECK(at(10s, {.only_if_cached = true}) == Kind::unsatisfiable);
    CHECK(at(1s, {.no_store = true}) == Kind::hit);
    CHECK(at(12s, {.max_stale = 2s}) == Kind::hit);
    CHECK(asked.get(kStart + 12s, "x", {.demand = {.max_stale = 2s}}).hit.stale);
    CHECK(at(12s + 1ns, {.max_stale = 2s}) == Kind::fetch);
    CHECK(at(1h, {.max_stale = kForever}) == Kind::hit);
    SUBCASE("max-stale does not reach what must be revalidated") {
      asked.store(kStart, "y", "b", {.terms = {.storable = true, .may_be_stale = false, .lifetime = 1s}});
      CHECK(asked.kind(kStart + 1s, "y", {.demand = {.max_stale = kForever}}) == Kind::fetch);
    }
    SUBCASE("the answer to no-store is not stored") {
      asked.store(kStart, "z", "secret", {}, {.demand = {.no_store = true}});
      CHECK(asked.kind(kStart, "z") == Kind::fetch);
    }
  }

  // ---- variants -------------------------------------------------------------------------------

  TEST_CASE("fields named by the config or by Vary keep answers apart") {
    Asked asked;
    asked.config.vary = {"X-Tenant"};
    const auto from = [](std::string_view tenant, std::string_view language = "en") {
      return Asking{.fields = {{"x-tenant", tenant}, {"Accept-Language", language}}};
    };
    asked.store(kStart, "x", "a", {.vary = {"Accept-Language"}}, from("a"));
    asked.store(kStart, "x", "b", {.vary = {"Accept-Language"}}, from("b"));
    asked.store(kStart, "x", "b de", {.vary = {"Accept-Language"}}, from("b", "de"));
    CHECK(asked.body(kStart, "x", from("a")) == "a");
    CHECK(asked.body(kStart, "x", from("b")) == "b");
    CHECK(asked.body(kStart, "x", from("b", "de")) == "b de");
    CHECK(asked.kind(kStart, "x", from("c")) == Kind::fetch);
    CHECK(asked.kind(kStart, "x", {.fields = {{"Accept-Language", "en"}}}) == Kind::fetch);
    CHECK(asked.cache.entries() == 3);
  }

  TEST_CASE("an answer that begins to vary ends those chosen by fewer fields; one that forgets to say so is no leak") {
    Asked asked;
    const Asking en{.fields = {{"Accept-Language", "en"}}};
    const Asking de{.fields = {{"Accept-Language", "de"}}};
    asked.store(kStart, "x", "any", {}, en);
    CHECK(asked.body(kStart, "x", de) == "any");
    asked.store(kStart + 5s, "x", "en", {.vary = {"Accept-Language"}}, en);
    CHECK(asked.kind(kStart + 5s, "x", de) == Kind::fetch);
    asked.store(kStart + 5s, "x", "de", {}, de);  // without Vary this time
    CHECK(asked.body(kStart + 5s, "x", en) == "en");
    CHECK(asked.body(kStart + 5s, "x", de) == "de");
    CHECK(asked.cache.entries() == 2);
  }

  TEST_CASE("selections differ by missing and empty, not by case of names or how a list is cut into lines") {
    FieldNames names;
    CHECK(names.add("Accept"));
    CHECK_FALSE(names.add("accept"));
    const std::vector<Field> none;
    const std::vector<Field> empty = {{"Accept", ""}};
    const std::vector<Field> joined = {{"ACCEPT", "a, b"}};
    const std::vector<Field> cut = {{"accept", "a"}, {"Other", "x"}, {"accept", "b"}};
    CHECK_FALSE(same_selection(names, none, empty));
    CHECK(same_selection(names, joined, cut));
    CHECK_FALSE(same_selection(names, joined, empty));
    CHECK(same_selection(names, none, std::vector<Field>{{"Other", "y"}}));
  }

  TEST_CASE("a target with very many variants finds each of them") {
    Asked asked;
    asked.config.vary = {"User"};
    for (int i = 0; i < 500; ++i) {
      const std::string user = std::to_string(i);
      asked.store(kStart, "x", user, {}, {.fields = {{"User", user}}});
    }
    for (int i = 0; i < 500; ++i) {
      const std::string user = std::to_string(i);
      CHECK(asked.body(kStart, "x", {.fields = {{"User", user}}}) == user);
    }
  }

  TEST_CASE("an upstream cannot make the names of a target grow for ever") {
    Asked asked;
    for (int i = 0; i < 2000; ++i) {
      const std::string name = "X-Name-" + std::to_string(i);
      asked.store(kStart + i * 10s, "x", "body", {.vary = {name}});
    }
    CHECK(asked.cache.entries() == 1);
    CHECK(asked.memory.used < 8000);
  }

  TEST_CASE("a hash does not depend on how its text is cut, and on everything else") {
    const auto of = [](std::vector<std::string_view> pieces, std::uint64_t key = 1) {
      PiecesHash hash{key};
      for (const std::string_view piece : pieces) hash.add(piece);
      return hash.value();
    };
    const std::string text(300, 'x');
    const std::string_view view = text;
    CHECK(of({view}) == of({view.substr(0, 1), view.substr(1, 127), "", view.substr(128)}));
    CHECK(of({view}) != of({view.substr(1)}));
    CHECK(of({view.substr(0, 128)}) != of({view.substr(0, 127)}));
    CHECK(of({std::string_view{"a\0", 2}}) != of({"a"}));
    CHECK(of({"a"}) != of({"a"}, 2));
  }

  // ---- limits ---------------------------------------------------------------------------------

  TEST_CASE("an object of max_object_bytes is stored, one of a byte more is not, however it arrives") {
    Asked asked;
    asked.config.max_object_bytes = 1000;
    const std::string most(1000, 'x');
    const std::string more(1001, 'x');
    asked.store(kStart, "most", most);
    asked.store(kStart, "most known", most, {.length = 1000});
    asked.store(kStart, "more", more);
    asked.store(kStart, "more known", more, {.length = 1001});
    CHECK(asked.kind(kStart, "most") == Kind::hit);
    CHECK(asked.kind(kStart, "most known") == Kind::hit);
    CHECK(asked.kind(kStart, "more") == Kind::fetch);
    CHECK(asked.kind(kStart, "more known") == Kind::fetch);
    SUBCASE("in pieces") {
      CacheAnswer asking = asked.get(kStart, "pieces");
      CHECK(asking.fill.begin(asked.config, {200, {}, {}, {.storable = true}, {}}, kStart));
      for (int i = 0; i < 1000; ++i) asking.fill.append(asked.config, "y", kStart);
      CHECK(asking.fill);
      asking.fill.append(asked.config, "y", kStart);
      CHECK_FALSE(asking.fill);
    }
  }

  TEST_CASE("memory is counted to the byte and all of it comes back") {
    Asked asked;
    asked.store(kStart, "a", std::string(1000, 'x'));
    CHECK(asked.memory.used == asked.cache.bytes());
    asked.store(kStart, "b", std::string(500, 'x'), {.length = 500});
    CHECK(asked.memory.used == asked.cache.bytes());
    CHECK(asked.cache.bytes() > 1500);
    CHECK(asked.cache.bytes() < 1500 + 2 * 1024);
    asked.cache.shed(UINT64_MAX);
    CHECK(asked.cache.bytes() == 0);
    CHECK(asked.cache.entries() == 0);
    CHECK(asked.memory.used == 0);
  }

  TEST_CASE("beyond max_bytes the least recently used goes, whatever shard it is in") {
    Asked asked;
    const std::string text(10'000, 'x');
    asked.config.max_bytes = 5 * 11'000;
    TimePoint now = kStart;
    for (const char* key : {"1", "2", "3", "4", "5"}) asked.store(now += 1ms, key, text);
    CHECK(asked.cache.entries() == 5);
    CHECK(asked.kind(now += 1ms, "1") == Kind::hit);
    asked.store(now += 1ms, "6", text);
    CHECK(asked.cache.entries() == 5);
    CHECK(asked.kind(now += 1ms, "2") == Kind::fetch);
    for (const char* key : {"1", "3", "4", "5", "6"}) CHECK(asked.kind(now += 1ms, key) == Kind::hit);
    for (int i = 0; i < 200; ++i) {
      asked.store(now += 1ms, "n" + std::to_string(i), text);
      CHECK(asked.cache.bytes() <= asked.config.max_bytes);
    }
    CHECK(asked.cache.entries() == 5);
    SUBCASE("at one and the same instant the newest stays") {
      for (int i = 0; i < 50; ++i) {
        asked.store(now, "s" + std::to_string(i), text);
        CHECK(asked.kind(now, "s" + std::to_string(i)) == Kind::hit);
      }
    }
    SUBCASE("what is larger than all of it is not stored, and costs nobody his place") {
      asked.store(now += 1ms, "large", std::string(60'000, 'x'));
      CHECK(asked.cache.entries() == 5);
    }
    SUBCASE("a reload to less takes effect when it is told to, or with the next answer stored") {
      asked.config.max_bytes = 2 * 11'000;
      asked.cache.trim(asked.config);
      CHECK(asked.cache.entries() == 2);
    }
  }

  TEST_CASE("when the process has no memory left, old answers go for new ones, and without any nothing is stored") {
    Asked asked;
    const std::string text(1000, 'x');
    TimePoint now = kStart;
    for (const char* key : {"1", "2", "3"}) asked.store(now += 1ms, key, text);
    asked.memory.limit = asked.memory.used;
    asked.store(now += 1ms, "4", text);
    CHECK(asked.cache.entries() == 3);
    CHECK(asked.kind(now, "1") == Kind::fetch);
    CHECK(asked.kind(now, "4") == Kind::hit);
    CHECK(asked.memory.used <= asked.memory.limit);
    asked.memory.limit = 100;
    asked.store(now += 1ms, "5", text);
    CHECK(asked.cache.entries() == 0);
    CHECK(asked.memory.used == 0);
  }

  TEST_CASE("an answer is sent to its end while the cache forgets it, and its memory counts until then") {
    Asked asked;
    asked.store(kStart, "x", "body");
    CacheHit sending = asked.get(kStart, "x").hit;
    const std::uint64_t bytes = asked.cache.bytes();
    CHECK(asked.cache.shed(1) == bytes);
    CHECK(asked.cache.bytes() == 0);
    CHECK(asked.memory.used == bytes);
    CHECK(sending.response->body() == "body");
    sending = {};
    CHECK(asked.memory.used == 0);
  }

  TEST_CASE("a hit allocates nothing") {
    Asked asked;
    asked.config.vary = {"Accept"};
    const Asking how{.fields = {{"Accept", "text/html"}, {"User-Agent", "test"}}};
    asked.store(kStart, "http://payments.internal/v1/charges/42?expand=all", "body", {.vary = {"Accept"}}, how);
    const CacheRequest request{"GET", "http://payments.internal/v1/charges/42?expand=all", how.fields, {}};
    const std::uint64_t before = test::allocations();
    for (int i = 0; i < 10; ++i) {
      const CacheAnswer answer = asked.cache.lookup(asked.config, request, nullptr, kStart);
      if (answer.kind != Kind::hit) FAIL("no hit");
    }
    CHECK(test::allocations() == before);
  }

  // ---- coalescing -----------------------------------------------------------------------------

  TEST_CASE("the first miss leads, the others wait, and all are given what was stored") {
    Asked asked;
    CacheAnswer leader = asked.get(kStart, "x");
    CHECK(leader.fill.leads());
    CacheWaiter one{{0, 1, 0}};
    CacheWaiter two{{0, 2, 0}};
    CHECK(asked.kind(kStart, "x", {.may_wait = &one}) == Kind::wait);
    CHECK(asked.kind(kStart, "x", {.method = "HEAD", .may_wait = &two}) == Kind::wait);
    CHECK(asked.cache.waiting() == 2);
    CHECK(asked.cache.resume(asked.config, one, kStart).kind == Kind::wait);  // a wake-up that means somebody else
    asked.fill(leader.fill, kStart + 1s, "body");
    CHECK(asked.woken.slots == std::vector<std::uint32_t>{1, 2});
    CHECK(asked.cache.waiting() == 0);
    CHECK(one.state() == Waiting::served);
    const CacheAnswer first = asked.cache.resume(asked.config, one, kStart + 2s);
    REQUIRE(first.kind == Kind::hit);
    CHECK(first.hit.response->body() == "body");
    CHECK(first.hit.age == 1s);
    CHECK(one.state() == Waiting::idle);
    CHECK(asked.cache.resume(asked.config, two, kStart + 2s).kind == Kind::hit);
  }

  TEST_CASE("followers may come while the body arrives, and are given it even if it is evicted before they look") {
    Asked asked;
    CacheAnswer leader = asked.get(kStart, "x");
    CHECK(leader.fill.begin(asked.config, {200, {}, {}, for_seconds(1), {}}, kStart));
    leader.fill.append(asked.config, "bo", kStart);
    CacheWaiter late{{0, 1, 0}};
    CHECK(asked.kind(kStart, "x", {.may_wait = &late}) == Kind::wait);
    leader.fill.append(asked.config, "dy", kStart);
    leader.fill.finish(asked.config, true, kStart);
    asked.cache.shed(UINT64_MAX);
    const CacheAnswer answer = asked.cache.resume(asked.config, late, kStart + 2s);
    REQUIRE(answer.kind == Kind::hit);
    CHECK(answer.hit.response->body() == "body");
  }

  TEST_CASE("whatever becomes of the leader, its followers go on alone at once, each with its own chance to store") {
    Asked asked;
    CacheAnswer leader = asked.get(kStart, "x");
    CacheWaiter one{{0, 1, 0}};
    CacheWaiter two{{0, 2, 0}};
    asked.kind(kStart, "x", {.may_wait = &one});
    asked.kind(kStart, "x", {.may_wait = &two});
    SUBCASE("it leaves or is refused") { leader.fill.give_up(asked.config, kStart); }
    SUBCASE("its exchange is gone") { leader = {}; }
    SUBCASE("its answer is not to be stored: they go at its head") {
      CHECK_FALSE(leader.fill.begin(asked.config, {503, {}, {}, {.storable = true}, {}}, kStart));
      CHECK_FALSE(leader.fill);
    }
    SUBCASE("its answer says it is private") {
      CHECK_FALSE(leader.fill.begin(asked.config, {200, {}, {}, {.storable = false}, {}}, kStart));
    }
    SUBCASE("its answer dies half-way") {
      leader.fill.begin(asked.config, {200, {}, {}, {.storable = true}, {}}, kStart);
      leader.fill.finish(asked.config, false, kStart);
    }
    SUBCASE("its answer grows too large") {
      leader.fill.begin(asked.config, {200, {}, {}, {.storable = true}, {}}, kStart);
      leader.fill.append(asked.config, std::string(asked.config.max_object_bytes + 1, 'x'), kStart);
    }
    CHECK(asked.woken.slots == std::vector<std::uint32_t>{1, 2});
    CHECK(one.state() == Waiting::alone);
    CacheAnswer first = asked.cache.resume(asked.config, one, kStart);
    CacheAnswer second = asked.cache.resume(asked.config, two, kStart);
    CHECK(first.kind == Kind::fetch);
    CHECK(second.kind == Kind::fetch);
    CHECK_FALSE(first.fill.leads());
    CHECK_FALSE(second.fill.leads());
    // Nobody waits for this key for a ttl, then somebody leads again.
    CacheWaiter three{{0, 3, 0}};
    CHECK(asked.kind(kStart + 5s - 1ns, "x", {.may_wait = &three}) == Kind::fetch);
    CHECK_FALSE(asked.get(kStart + 5s - 1ns, "x", {.may_wait = &three}).fill.leads());
    CHECK(asked.get(kStart + 5s, "x", {.may_wait = &three}).fill.leads());
    // What one of them stores serves everybody.
    asked.fill(second.fill, kStart, "body");
    CHECK(asked.body(kStart, "x") == "body");
  }

  TEST_CASE("the time without coalescing is that of one key") {
    Asked asked;
    asked.get(kStart, "x").fill.give_up(asked.config, kStart);
    CHECK_FALSE(asked.get(kStart, "x").fill.leads());
    CHECK(asked.get(kStart, "y").fill.leads());
  }

  TEST_CASE("the time without coalescing is counted from the failure, however long nobody asks after it") {
    Asked asked;
    asked.get(kStart, "x").fill.give_up(asked.config, kStart + 3s);
    CHECK_FALSE(asked.get(kStart + 8s - 1ns, "x").fill.leads());
    CHECK(asked.get(kStart + 8s, "x").fill.leads());
    asked.get(kStart, "y").fill.give_up(asked.config, kStart);
    CHECK(asked.get(kStart + 1h, "y").fill.leads());
  }

  TEST_CASE("a follower that leaves is neither woken nor counted, first, last or between") {
    Asked asked;
    CacheAnswer leader = asked.get(kStart, "x");
    std::vector<std::unique_ptr<CacheWaiter>> waiters;
    for (std::uint32_t slot = 0; slot < 5; ++slot) {
      waiters.push_back(std::make_unique<CacheWaiter>(Ticket{0, slot, 0}));
      asked.kind(kStart, "x", {.may_wait = waiters.back().get()});
    }
    waiters[2]->leave();
    waiters[0].reset();
    waiters[4].reset();
    CHECK(asked.cache.waiting() == 2);
    CHECK(waiters[2]->state() == Waiting::idle);
    asked.fill(leader.fill, kStart, "body");
    CHECK(asked.woken.slots == std::vector<std::uint32_t>{1, 3});
    // One may leave after it was given the answer, and wait again.
    waiters[1]->leave();
    CHECK(waiters[1]->state() == Waiting::idle);
    CacheAnswer next = asked.get(kStart + 5s, "x");
    CHECK(asked.kind(kStart + 5s, "x", {.may_wait = waiters[1].get()}) == Kind::wait);
  }

  TEST_CASE("a follower whose fields Vary tells apart is not given the leader's answer") {
    Asked asked;
    const std::vector<Field> en = {{"Accept-Language", "en"}};
    const std::vector<Field> de = {{"Accept-Language", "de"}};
    CacheAnswer leader = asked.get(kStart, "x", {.fields = en});
    CacheWaiter other{{0, 1, 0}};
    CacheWaiter same{{0, 2, 0}};
    CHECK(asked.kind(kStart, "x", {.fields = de, .may_wait = &other}) == Kind::wait);
    CHECK(asked.kind(kStart, "x", {.fields = en, .may_wait = &same}) == Kind::wait);
    asked.fill(leader.fill, kStart, "en", {.vary = {"Accept-Language"}});
    CacheAnswer alone = asked.cache.resume(asked.config, other, kStart);
    CHECK(alone.kind == Kind::fetch);
    CHECK(asked.cache.resume(asked.config, same, kStart).kind == Kind::hit);
    asked.fill(alone.fill, kStart, "de", {.vary = {"Accept-Language"}});
    SUBCASE("once that is known, each variant has a leader of its own") {
      CacheAnswer leads_en = asked.get(kStart + 5s, "x", {.fields = en});
      CacheAnswer leads_de = asked.get(kStart + 5s, "x", {.fields = de, .may_wait = &other});
      CHECK(leads_en.fill.leads());
      CHECK(leads_de.fill.leads());
      CHECK(asked.kind(kStart + 5s, "x", {.fields = en, .may_wait = &same}) == Kind::wait);
    }
  }

  TEST_CASE("configured fields keep followers apart from the start") {
    Asked asked;
    asked.config.vary = {"X-Tenant"};
    CacheWaiter waiter;
    const CacheAnswer a = asked.get(kStart, "x", {.fields = {{"X-Tenant", "a"}}});
    const CacheAnswer b = asked.get(kStart, "x", {.fields = {{"X-Tenant", "b"}}, .may_wait = &waiter});
    CHECK(a.fill.leads());
    CHECK(b.fill.leads());
  }

  TEST_CASE("who wants an answer of its own does not wait, and who may not wait goes on beside the leader") {
    Asked asked;
    CacheAnswer leader = asked.get(kStart, "x");
    CacheWaiter waiter;
    CHECK(asked.kind(kStart, "x", {.demand = {.no_cache = true}, .may_wait = &waiter}) == Kind::fetch);
    CHECK(asked.kind(kStart, "x", {.demand = {.max_age = 0s}, .may_wait = &waiter}) == Kind::fetch);
    CHECK_FALSE(asked.get(kStart, "x").fill.leads());
    CHECK(asked.kind(kStart, "x", {.demand = {.only_if_cached = true}, .may_wait = &waiter}) == Kind::unsatisfiable);
    CHECK(asked.cache.waiting() == 0);
    SUBCASE("nor does anybody with coalesce off") {
      asked.config.coalesce = false;
      CHECK(asked.kind(kStart, "x", {.may_wait = &waiter}) == Kind::fetch);
    }
    SUBCASE("a follower's own max-age is asked of what it is given") {
      CHECK(asked.kind(kStart, "x", {.demand = {.max_age = 1s}, .may_wait = &waiter}) == Kind::wait);
      asked.fill(leader.fill, kStart, "old", {.terms = for_seconds(60, 30)});
      CHECK(asked.cache.resume(asked.config, waiter, kStart).kind == Kind::fetch);
    }
  }

  TEST_CASE("an answer kept for failures alone is given to no follower") {
    Asked asked;
    asked.config.stale_if_error = 1min;
    CacheAnswer leader = asked.get(kStart, "x");
    CacheWaiter waiter;
    asked.kind(kStart, "x", {.may_wait = &waiter});
    CHECK(asked.fill(leader.fill, kStart, "body", {.terms = for_seconds(0)}));
    CHECK(waiter.state() == Waiting::alone);
    CHECK(asked.cache.entries() == 1);
    CHECK(asked.kind(kStart, "x") == Kind::fetch);
  }

  // ---- stale ----------------------------------------------------------------------------------

  TEST_CASE("when the upstream fails, an answer is good for stale_if_error longer, at the limit and not past it") {
    Asked asked;
    asked.config.stale_if_error = 30s;
    asked.store(kStart, "x", "body");
    const auto at = [&](Nanos after, const CacheDemand& demand = {}) {
      const CacheAnswer asking = asked.get(kStart + after, "x", {.demand = demand});
      return asked.cache.stale(asked.config, asking.fill, kStart + after);
    };
    CHECK(at(5s));
    CHECK(at(5s).stale);
    CHECK(at(35s).age == 35s);
    CHECK_FALSE(at(35s + 1ns));
    CHECK_FALSE(at(6s, {.no_cache = true}));
    CHECK_FALSE(at(6s, {.max_age = 5s}));
    CHECK_FALSE(at(6s, {.min_fresh = 1s}));
    CHECK_FALSE(asked.cache.stale(asked.config, CacheFill{}, kStart));
    SUBCASE("a follower whose own time is up may have it, too") {
      asked.store(kStart, "waited", "body");
      const CacheAnswer leader = asked.get(kStart + 6s, "waited");
      CacheWaiter waiter;
      CHECK_FALSE(asked.cache.stale(asked.config, waiter, kStart + 6s));
      CHECK(asked.kind(kStart + 6s, "waited", {.may_wait = &waiter}) == Kind::wait);
      CHECK(asked.cache.stale(asked.config, waiter, kStart + 7s).age == 7s);
    }
    SUBCASE("HEAD and no-store are served, too") {
      CHECK(asked.cache.stale(asked.config, asked.get(kStart + 6s, "x", {.method = "HEAD"}).fill, kStart + 6s));
      CHECK(at(6s, {.no_store = true}));
    }
    SUBCASE("what another request has stored meanwhile is not stale at all") {
      CacheAnswer failing = asked.get(kStart + 6s, "x");
      asked.store(kStart + 7s, "x", "new");
      const CacheHit hit = asked.cache.stale(asked.config, failing.fill, kStart + 8s);
      CHECK(hit.response->body() == "new");
      CHECK_FALSE(hit.stale);
    }
    SUBCASE("a response that must be revalidated is never used") {
      asked.store(kStart, "y", "b", {.terms = {.storable = true, .may_be_stale = false, .lifetime = 5s}});
      CHECK_FALSE(asked.cache.stale(asked.config, asked.get(kStart + 6s, "y").fill, kStart + 6s));
    }
    SUBCASE("after a reload without it there is none") {
      asked.config.stale_if_error = 0s;
      CHECK_FALSE(at(5s));
    }
  }

  // ---- invalidation ---------------------------------------------------------------------------

  TEST_CASE("a change of a target invalidates all its variants and nothing else") {
    Asked asked;
    asked.config.vary = {"User"};
    asked.store(kStart, "x", "1", {}, {.fields = {{"User", "1"}}});
    asked.store(kStart, "x", "2", {}, {.fields = {{"User", "2"}}});
    asked.store(kStart, "y", "3");
    asked.cache.invalidate(asked.cache.target("x"));
    CHECK(asked.kind(kStart, "x", {.fields = {{"User", "1"}}}) == Kind::fetch);
    CHECK(asked.kind(kStart, "x", {.fields = {{"User", "2"}}}) == Kind::fetch);
    CHECK(asked.kind(kStart, "y") == Kind::hit);
    CHECK(asked.cache.entries() == 1);
    asked.cache.invalidate(asked.cache.target("never seen"));
  }

  TEST_CASE("an answer asked for before a change is not stored after it, and its followers ask for their own") {
    Asked asked;
    CacheAnswer leader = asked.get(kStart, "x");
    CacheAnswer beside = asked.get(kStart, "x");
    CacheWaiter waiter{{0, 1, 0}};
    asked.kind(kStart, "x", {.may_wait = &waiter});
    CHECK(leader.fill.begin(asked.config, {200, {}, {}, {.storable = true}, {}}, kStart));
    asked.cache.invalidate(asked.cache.target("x"));
    CHECK(asked.woken.slots == std::vector<std::uint32_t>{1});
    CacheAnswer fresh = asked.cache.resume(asked.config, waiter, kStart);
    CHECK(fresh.kind == Kind::fetch);
    leader.fill.append(asked.config, "old", kStart);
    leader.fill.finish(asked.config, true, kStart);
    asked.fill(beside.fill, kStart, "old");
    CHECK(asked.kind(kStart, "x") == Kind::fetch);
    asked.fill(fresh.fill, kStart, "new");
    CHECK(asked.body(kStart, "x") == "new");
  }

  // ---- reload ---------------------------------------------------------------------------------

  TEST_CASE("after a reload the same answers are judged by the new numbers") {
    Asked asked;
    asked.store(kStart, "ttl", "1");
    asked.store(kStart, "own", "2", {.terms = for_seconds(60)});
    asked.config.ttl = 1s;
    CHECK(asked.kind(kStart + 1s, "ttl") == Kind::fetch);
    CHECK(asked.kind(kStart + 1s, "own") == Kind::hit);
    asked.config.ttl = 1min;
    CHECK(asked.kind(kStart + 59s, "ttl") == Kind::hit);
    SUBCASE("a status that is no longer stored is no longer given") {
      asked.config.statuses = StatusSet{};
      asked.config.statuses.insert(404, 404);
      CHECK(asked.kind(kStart, "own") == Kind::fetch);
    }
    SUBCASE("a field that now counts ends what was chosen without it") {
      asked.config.vary = {"X-Tenant"};
      CHECK(asked.kind(kStart, "own", {.fields = {{"X-Tenant", "a"}}, .demand = {.only_if_cached = true}}) ==
            Kind::unsatisfiable);
      CHECK(asked.cache.entries() == 1);
    }
    CHECK(same_structure(asked.config, CacheConfig{}));
  }
}
