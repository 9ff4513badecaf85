#include "proxy/net/loop.hpp"

#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "proxy/net/clock.hpp"
#include "tests/support/loop_rig.hpp"

using namespace outrigger;
using namespace outrigger::net;
using namespace outrigger::test;
using namespace std::chrono_literals;

namespace {

/// A loop that turns on a thread of its own, by the real clock.
class Running {
 public:
  Running() {
    thread_ = std::thread([this] { loop.run(); });
    id = thread_.get_id();
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  ~Running() { stop(); }

  /// What `ask` says on the loop's thread.
  template <class Ask>
  auto on_loop(Ask ask) {
    using Answer = decltype(ask());
    auto answer = std::make_shared<std::promise<Answer>>();
    std::future<Answer> given = answer->get_future();
    loop.post([answer, ask] { answer->set_value(ask()); });
    return given.get();
  }
  void stop() {
    if (!thread_.joinable()) return;
    loop.post([this] { loop.stop(); });
    thread_.join();
  }

  BufferAccount account{1 << 20};
  telemetry::MetricRegistry metrics{1, {}};
  Loop loop{0, 1, account, *metrics.worker_row(0)};
  std::thread::id id;

 private:
  std::thread thread_;
};

/// Notes in `story` when it fires.
class Alarm final : public LazyTimer {
 public:
  Alarm(Loop& loop, std::string name, std::string& story) : loop_(loop), name_(std::move(name)), story_(story) {}

  TimePoint fired = kNever;

 private:
  void on_due(TimePoint now) override {
    fired = now;
    CHECK(loop_.now() == now);
    story_ += name_;
  }
  Loop& loop_;
  const std::string name_;
  std::string& story_;
};

TEST_SUITE("net") {
  TEST_CASE("what is posted runs on the loop's thread, also while the loop sleeps") {
    Running running;
    // Each answer is waited for, so that the loop has nothing else to do and lies in epoll when the next one comes.
    for (int i = 0; i < 100; ++i) CHECK(running.on_loop([] { return std::this_thread::get_id(); }) == running.id);
  }

  TEST_CASE("what one thread posts runs in its order, beside what others post") {
    constexpr int kTasks = 2000;
    constexpr std::size_t kPosters = 3;
    Running running;
    std::vector<std::vector<int>> seen(kPosters);  // touched by the loop's thread alone
    std::vector<std::thread> posters;
    for (std::size_t poster = 0; poster < kPosters; ++poster) {
      posters.emplace_back([&, poster] {
        for (int i = 0; i < kTasks; ++i) running.loop.post([&seen, poster, i] { seen[poster].push_back(i); });
      });
    }
    for (std::thread& poster : posters) poster.join();
    // A last one behind all of them finds them done.
    const auto all = running.on_loop([&seen] { return seen; });
    for (const std::vector<int>& one : all) {
      REQUIRE(one.size() == kTasks);
      for (int i = 0; i < kTasks; ++i) REQUIRE(one[static_cast<std::size_t>(i)] == i);
    }
  }

  TEST_CASE("a task may post another one, which runs after it and never inside it") {
    Running running;
    auto story = std::make_shared<std::string>();
    auto done = std::make_shared<std::promise<void>>();
    running.loop.post([&running, story, done] {
      running.loop.post([&running, story, done] {
        *story += "inner ";
        running.loop.post([done] { done->set_value(); });
      });
      *story += "outer ";
    });
    done->get_future().get();
    CHECK(*story == "outer inner ");
  }

  TEST_CASE("what was posted before the loop runs is not forgotten, and stop ends it after the present turn") {
    LoopRig rig;
    std::string story;
    rig.loop.post([&] { story += "a"; });
    rig.loop.post([&] { rig.loop.stop(); });
    rig.loop.post([&] { story += "b"; });
    rig.loop.run();
    CHECK(story == "ab");
  }

  TEST_CASE("a task that was never run is let go with its loop") {
    auto kept = std::make_shared<int>(1);
    {
      LoopRig rig;
      rig.loop.post([kept] {});
      CHECK(kept.use_count() == 2);
    }
    CHECK(kept.use_count() == 1);
  }

  TEST_CASE("a timer set by a task of another thread wakes the loop by itself") {
    Running running;
    auto fired = std::make_shared<std::promise<TimePoint>>();
    struct Once final : LazyTimer {
      explicit Once(std::shared_ptr<std::promise<TimePoint>> promise) : fired(std::move(promise)) {}
      void on_due(TimePoint now) override { fired->set_value(now); }
      std::shared_ptr<std::promise<TimePoint>> fired;
    };
    auto timer = std::make_shared<Once>(fired);
    const TimePoint due = running.on_loop([&running, timer] {
      const TimePoint at = running.loop.now() + 3ms;
      timer->set(running.loop.wheel, at);
      return at;
    });
    CHECK(fired->get_future().get() >= due);
    running.stop();
  }

  TEST_CASE("a task sees the time at which it runs, not the one at which the loop fell asleep") {
    Running running;
    const TimePoint before = running.on_loop([&running] { return running.loop.now(); });
    const TimePoint asked = steady_now();
    const TimePoint after = running.on_loop([&running] { return running.loop.now(); });
    CHECK(after >= asked);
    CHECK(after >= before);
  }

  TEST_CASE("timers fire in the order of their times, with the time of the turn as the present") {
    LoopRig rig;
    std::string story;
    Alarm late(rig.loop, "late ", story);
    Alarm soon(rig.loop, "soon ", story);
    Alarm never(rig.loop, "never ", story);
    const TimePoint start = rig.loop.refresh();
    late.set(rig.loop.wheel, start + 2h);
    soon.set(rig.loop.wheel, start + 1s);
    never.set(rig.loop.wheel, start + 1h);
    never.clear();
    rig.pass(999ms);
    CHECK(story.empty());
    rig.pass(3h);
    CHECK(story == "soon late ");
    CHECK(soon.fired == rig.loop.now());
  }

  TEST_CASE("a crowd of timers that are due at once does not keep mail and connections waiting") {
    struct Costly final : LazyTimer {
      void on_due(TimePoint) override {
        ++*fired;
        rig->move_clock(takes);
      }
      LoopRig* rig = nullptr;
      int* fired = nullptr;
      Nanos takes{};
    };
    for (const Nanos takes : {Nanos{100us}, Nanos{100ns}}) {
      LoopRig rig;
      int fired = 0;
      std::vector<Costly> crowd(100);
      for (Costly& one : crowd) {
        one.rig = &rig;
        one.fired = &fired;
        one.takes = takes;
        one.set(rig.loop.wheel, rig.loop.refresh() - 1s);
      }
      int seen = 0;
      std::function<void()> look = [&] {
        if (seen == 0) seen = fired;
        if (fired == 100) return rig.loop.stop();
        rig.move_clock(1ms);
        rig.loop.post(look);
      };
      rig.loop.post(look);
      rig.loop.run();
      CHECK(fired == 100);
      // Half a millisecond of them; what costs nothing is not held up.
      if (takes == 100us) CHECK(seen == 8);
      if (takes == 100ns) CHECK(seen == 100);
    }
  }

  TEST_CASE("the wall clock follows the loop's own between two looks at it, and the date changes with the second") {
    LoopRig rig;
    rig.loop.refresh();
    const std::int64_t wall = rig.loop.wall_us();
    const std::string date(rig.loop.date());
    CHECK(date.size() == http::kHttpDateLength);
    rig.pass(900us);
    CHECK(rig.loop.wall_us() == wall + 900);
    // The rig's clock has run ahead of the real one: looked at again, the wall clock is the real one.
    rig.pass(1h);
    CHECK(rig.loop.wall_us() < wall + std::int64_t{60} * 1'000'000);
  }

  TEST_CASE("never more of the scratch buffer is lent than there is") {
    LoopRig rig;
    CHECK(rig.loop.scratch(10).size() == 10);
    CHECK(rig.loop.scratch(SIZE_MAX).size() == Loop::kScratchBytes);
    CHECK(rig.loop.scratch(10).data() == rig.loop.scratch(20).data());
  }
}

}  // namespace
