#include "proxy/telemetry/timeline_store.hpp"

#include <string>

#include <doctest/doctest.h>

#include "proxy/telemetry/timeline_json.hpp"
#include "tests/unit/telemetry/sample_timeline.hpp"

using namespace outrigger;
using namespace outrigger::telemetry;

namespace {

constexpr TimelineFilter kAll{};

SampleTimeline failed(std::string_view id) {
  SampleTimeline sample{id};
  sample.attempt(AttemptKind::primary, Outcome::retryable, Reason::http_503, 503).ended(Reason::http_5xx, 503);
  return sample;
}

SampleTimeline plain(std::string_view id, Nanos took = 12ms) {
  SampleTimeline sample{id};
  sample.good_attempt().took(took);
  return sample;
}

/// A store whose two minutes of slowest are full of requests that took an hour.
struct Store {
  TimelineStore timelines;
  Rng rng{1};

  explicit Store(std::size_t keep, double sample = 0) : timelines(keep, sample) {}
  void add(const Timeline& timeline) { timelines.add(timeline, rng); }
  std::size_t count(const TimelineFilter& filter = kAll) const { return timelines.collect(filter, 10'000).size(); }
  bool has(std::string_view id) const { return timelines.find(id).has_value(); }
};

}  // namespace

TEST_SUITE("telemetry") {
  TEST_CASE("a stored timeline reads back as it was written") {
    SampleTimeline sample = retried();
    sample.stopped(Reason::budget_denied, Part::budget);
    sample.get().truncated = true;
    const StoredTimeline stored{sample};
    Timeline restored;
    stored.restore(restored);
    CHECK(timeline_json(restored) == timeline_json(sample));
    // A block that held a longer one serves a shorter one, and the other way round.
    StoredTimeline reused{sample};
    reused.assign(SampleTimeline{"b"});
    reused.restore(restored);
    CHECK(timeline_json(restored) == timeline_json(SampleTimeline{"b"}));
    reused.assign(sample);
    reused.restore(restored);
    CHECK(timeline_json(restored) == timeline_json(sample));
  }

  TEST_CASE("a timeline whose storage is full to the last byte and attempt reads back") {
    SampleTimeline sample{std::string(128, 'i'), std::string(512, 'p')};
    for (std::size_t i = 0; i < exchange::kMaxAttempts; ++i) sample.good_attempt();
    for (std::size_t i = 0; i < Timeline::kMaxDecisions; ++i) sample.get().decide(1ms, Part::retry, Reason::pushback);
    sample.get().keep(std::string(Timeline::kTextBytes - sample.get().texts().size(), 'x'), Timeline::kTextBytes);
    CHECK_FALSE(sample.get().truncated);
    Timeline restored;
    StoredTimeline{sample}.restore(restored);
    CHECK(timeline_json(restored) == timeline_json(sample));
    CHECK(restored.texts() == sample.get().texts());
  }

  TEST_CASE("the ring keeps as many failures as it may and then forgets the oldest") {
    Store store{4};
    for (const char* id : {"a", "b", "c", "d"}) store.add(failed(id));
    CHECK(store.count() == 4);
    CHECK(store.has("a"));
    store.add(failed("e"));
    CHECK(store.count() == 4);
    CHECK_FALSE(store.has("a"));
    CHECK(store.has("b"));
    CHECK(store.has("e"));
  }

  TEST_CASE("a flood of failures does not push out the slowest successes") {
    Store store{4};
    store.add(plain("slow", 2s));
    for (int i = 0; i < 100; ++i) store.add(failed("f"));
    CHECK(store.has("slow"));
  }

  TEST_CASE("retried, rejected and suppressed requests are kept, plain ones are not once faster ones fill the minute") {
    Store store{100};
    for (std::size_t i = 0; i < TimelineStore::kSlowest; ++i) store.add(plain("slow", 1s));
    store.add(plain("plain"));
    CHECK_FALSE(store.has("plain"));
    store.add(retried());
    CHECK(store.has("id-1"));
    store.add(SampleTimeline{"rejected"}.ended(Reason::deadline_too_short, 504, 'P', '3'));
    CHECK(store.has("rejected"));
    store.add(plain("suppressed").stopped(Reason::budget_denied, Part::budget));
    CHECK(store.has("suppressed"));
  }

  TEST_CASE("what a cache answered is as plain as what an upstream answered at once") {
    SampleTimeline hit = plain("hit");
    hit.get().attempts.clear();
    hit.get().outcome = exchange::RequestOutcome::cached;
    CHECK_FALSE(is_notable(hit));
    hit.get().outcome = exchange::RequestOutcome::fallback;
    CHECK(is_notable(hit));
  }

  TEST_CASE("of one minute exactly the slowest stay") {
    Store store{100};
    for (std::size_t i = 0; i < TimelineStore::kSlowest; ++i)
      store.add(plain("slow-" + std::to_string(i), 100ms + i * 1ms));
    CHECK(store.count() == TimelineStore::kSlowest);
    store.add(plain("as slow as the fastest", 100ms));
    CHECK_FALSE(store.has("as slow as the fastest"));
    store.add(plain("slower", 101ms));
    CHECK(store.has("slower"));
    CHECK_FALSE(store.has("slow-0"));
    CHECK(store.has("slow-1"));
    CHECK(store.count() == TimelineStore::kSlowest);
  }

  TEST_CASE("the slowest of the last minute stay beside those of this one, and go with the next") {
    Store store{100};
    store.add(plain("first minute"));
    store.add(plain("second minute").later_by(1min));
    CHECK(store.has("first minute"));
    CHECK(store.has("second minute"));
    store.add(plain("third minute").later_by(2min));
    CHECK_FALSE(store.has("first minute"));
    CHECK(store.has("second minute"));
    store.add(plain("much later").later_by(7min));
    CHECK(store.count() == 1);
  }

  TEST_CASE("the sample takes about its fraction of what is neither notable nor slow") {
    Store store{40'000, 0.01};
    for (std::size_t i = 0; i < TimelineStore::kSlowest; ++i) store.add(plain("slow", 1s));
    for (int i = 0; i < 50'000; ++i) store.add(plain("plain"));
    const std::size_t sampled = store.count() - TimelineStore::kSlowest;
    CHECK(sampled > 400);
    CHECK(sampled < 600);
  }

  TEST_CASE("what is among the slowest no more is one of the rest: a sample of everything misses nothing") {
    Store store{4000, 1.0};
    std::size_t added = 0;
    for (int minute = 0; minute < 4; ++minute) {
      for (int i = 0; i < 100; ++i)
        store.add(plain(std::to_string(added++), (i % 3) * 1s + i * 1ms).later_by(minute * 1min));
    }
    CHECK(store.count() == added);
    for (std::size_t i = 0; i < added; ++i) CHECK(store.has(std::to_string(i)));
  }

  TEST_CASE("a sample of everything is bounded, too") {
    Store store{40, 1.0};
    for (std::size_t i = 0; i < TimelineStore::kSlowest + 1000; ++i) store.add(plain("plain"));
    CHECK(store.count() == TimelineStore::kSlowest + 10);
  }

  TEST_CASE("a store that may keep nothing keeps nothing") {
    Store store{0, 1.0};
    store.add(plain("plain"));
    store.add(failed("failed"));
    CHECK(store.count() == 0);
  }

  TEST_CASE("the newest come first, wherever they are kept, and the limit holds") {
    Store store{10};
    store.add(plain("old"));
    store.add(failed("newer").later_by(1s));
    store.add(plain("newest").later_by(2s));
    const auto all = store.timelines.collect(kAll, 10);
    REQUIRE(all.size() == 3);
    CHECK(all[0].request_id() == "newest");
    CHECK(all[1].request_id() == "newer");
    CHECK(all[2].request_id() == "old");
    const auto one = store.timelines.collect(kAll, 1);
    REQUIRE(one.size() == 1);
    CHECK(one[0].request_id() == "newest");
  }

  TEST_CASE("of two requests with one id the newer is found") {
    Store store{10};
    store.add(failed("twice"));
    store.add(plain("twice", 3s).later_by(1s));
    REQUIRE(store.has("twice"));
    CHECK(store.timelines.find("twice")->duration() == 3s);
    CHECK_FALSE(store.has("never"));
  }

  TEST_CASE("each filter lets through what it names and nothing else") {
    Store store{10};
    store.add(failed("failed").later_by(1s));
    store.add(retried().took(80ms));
    store.add(plain("plain"));
    const auto only = [&](const TimelineFilter& filter) {
      const auto found = store.timelines.collect(filter, 10);
      return found.size() == 1 ? std::string{found[0].request_id()} : std::to_string(found.size()) + " found";
    };
    CHECK(only({.status_min = 503, .status_max = 503}) == "failed");
    CHECK(only({.reason = Reason::http_5xx}) == "failed");
    CHECK(only({.kind = AttemptKind::retry}) == "id-1");
    CHECK(only({.min_duration = 80ms}) == "id-1");
    CHECK(only({.since_us = 1'714'566'896'789'013}) == "failed");
    CHECK(only({.policy = "payments", .kind = AttemptKind::retry}) == "id-1");
    CHECK(only({.policy = "users"}) == "0 found");
    CHECK(only({.reason = Reason::success, .min_duration = 50ms}) == "id-1");
    // What only an attempt can end with is looked for in the attempts.
    CHECK(only({.reason = Reason::http_503}) == "2 found");
  }

  TEST_CASE("a stop reason is found by the reason filter") {
    Store store{10};
    store.add(failed("stopped").stopped(Reason::budget_denied, Part::budget));
    CHECK(store.count({.reason = Reason::budget_denied}) == 1);
    CHECK(store.count({.reason = Reason::attempts_exhausted}) == 0);
  }

  TEST_CASE("what was only computed is found by its own filter and by no other") {
    Store store{10};
    SampleTimeline sample = SampleTimeline{}.good_attempt();
    sample.get().decide({.part = Part::circuit, .reason = Reason::circuit_open, .would = true, .name = "guard"});
    store.add(sample);
    CHECK(store.count({.reason = Reason::circuit_open, .would = true}) == 1);
    CHECK(store.count({.reason = Reason::rate_limited, .would = true}) == 0);
    CHECK(store.count({.reason = Reason::circuit_open}) == 0);
  }
}
