#include "proxy/net/wheel.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "proxy/base/rng.hpp"

using namespace outrigger;
using namespace outrigger::net;
using namespace std::chrono_literals;

namespace {

constexpr TimePoint kOrigin{1h};
constexpr Nanos kTick = 1ms;
// How far the wheel turns before its highest digit comes round again.
constexpr Nanos kRound = 1ms * (std::int64_t{1} << 30);

struct Alarm final : WheelEntry {
  void on_time(TimePoint now) override {
    fired = now;
    ++times;
    if (then) then(now);
  }
  int times = 0;
  std::optional<TimePoint> fired;
  std::function<void(TimePoint)> then;
};

struct Lazy final : LazyTimer {
  void on_due(TimePoint now) override {
    fired = now;
    ++times;
  }
  int times = 0;
  std::optional<TimePoint> fired;
};

/// A wheel beside the plainest thing that could be right: a list of times.
class Model {
 public:
  explicit Model(std::uint64_t seed, Nanos age) : rng_(seed), now_(kOrigin + age), wheel_(kOrigin) {
    wheel_.advance(now_);
  }

  void arm() {
    Item& item = any();
    // Sometimes in the past; the step back may not be longer than the wheel is old.
    const TimePoint at = rng_.below(10) == 0 ? now_ - Nanos{any_distance().count() % (now_ - kOrigin + 1ns).count()}
                                             : now_ + any_distance();
    item.due = std::max(at, now_);
    item.alarm.fired.reset();
    wheel_.arm(item.alarm, at);
  }
  void cancel() {
    Item& item = any();
    item.due.reset();
    wheel_.cancel(item.alarm);
  }
  void advance() {
    // Either somewhere, or to where a loop that sleeps as long as it may would wake up.
    const TimePoint due = wheel_.next_due();
    now_ = due != kNever && rng_.below(2) == 0 ? std::max(now_, due) : now_ + any_distance();
    // In one go, or in small parts, as a loop does that has other things to do between them.
    const std::uint32_t most = rng_.below(2) == 0 ? UINT32_MAX : 1 + static_cast<std::uint32_t>(rng_.below(3));
    do wheel_.advance(now_, most);
    while (wheel_.next_due() <= now_);
    for (Item& item : items_) settle(item);
  }
  void check_next_due() {
    TimePoint earliest = kNever;
    for (const Item& item : items_) earliest = std::min(earliest, item.due.value_or(kNever));
    const TimePoint due = wheel_.next_due();
    if (earliest == kNever) {
      wrong_ += due != kNever;
    } else {
      // Not after the first tick at which it may fire, and ahead of us, or a loop would not sleep at all.
      wrong_ += due > earliest + kTick || due <= now_ - kTick;
    }
  }
  std::size_t fired() const { return fired_; }
  std::size_t wrong() const { return wrong_; }
  Rng& rng() { return rng_; }

 private:
  struct Item {
    Alarm alarm;
    std::optional<TimePoint> due;
  };

  Item& any() { return items_[rng_.below(items_.size())]; }
  /// Every scale from below a tick to weeks is as likely.
  Nanos any_distance() { return Nanos{static_cast<std::int64_t>(rng_.next() >> (13 + rng_.below(45)))}; }

  void settle(Item& item) {
    if (!item.due) {
      wrong_ += item.alarm.fired.has_value();
    } else if (item.alarm.fired) {
      ++fired_;
      wrong_ += *item.due > now_ || item.alarm.fired != now_ || item.alarm.armed();
      item.due.reset();
    } else {
      wrong_ += now_ >= *item.due + kTick || !item.alarm.armed();
    }
    item.alarm.fired.reset();
  }

  Rng rng_;
  TimePoint now_;
  Wheel wheel_;
  std::vector<Item> items_{100};
  std::size_t fired_ = 0;
  std::size_t wrong_ = 0;
};

}  // namespace

TEST_SUITE("net") {
  TEST_CASE("whatever is armed, cancelled and waited for, nothing fires early, more than a tick late, or twice") {
    for (std::uint64_t seed = 0; seed < 100; ++seed) {
      // Half of them close to where the highest digit comes round.
      Model model{seed, seed % 2 == 0 ? Nanos{seed} : kRound - 1s * static_cast<std::int64_t>(seed)};
      for (int step = 0; step < 3000; ++step) {
        switch (model.rng().below(5)) {
          case 0: model.cancel(); break;
          case 1: model.advance(); break;
          default: model.arm();
        }
        model.check_next_due();
      }
      CAPTURE(seed);
      CHECK(model.wrong() == 0);
      CHECK(model.fired() > 100);
    }
  }

  TEST_CASE("an entry fires at its tick, and not a nanosecond before it") {
    Wheel wheel{kOrigin};
    Alarm alarm;
    wheel.arm(alarm, kOrigin + 5ms);
    CHECK(wheel.next_due() == kOrigin + 5ms);
    wheel.advance(kOrigin + 5ms - 1ns);
    CHECK(alarm.times == 0);
    wheel.advance(kOrigin + 5ms);
    CHECK(alarm.fired == kOrigin + 5ms);
    CHECK_FALSE(alarm.armed());
    wheel.advance(kOrigin + 1h);
    CHECK(alarm.times == 1);
  }

  TEST_CASE("of what is due, no more fires than was asked for, and the rest comes before all else") {
    Wheel wheel{kOrigin};
    std::string story;
    std::vector<Alarm> alarms(6);
    for (std::size_t i = 0; i < alarms.size(); ++i) {
      alarms[i].then = [&story, i](TimePoint) { story += std::to_string(i); };
      wheel.arm(alarms[i], i < 4 ? kOrigin + 64ms : kOrigin + 65ms);
    }
    wheel.advance(kOrigin + 1s, 0);
    CHECK(story.empty());
    wheel.advance(kOrigin + 1s, 3);
    CHECK(story == "012");
    CHECK(wheel.next_due() == kOrigin + 64ms);
    wheel.cancel(alarms[3]);
    wheel.arm(alarms[0], kOrigin);
    wheel.advance(kOrigin + 1s, 1);
    CHECK(story == "0124");
    CHECK(wheel.next_due() <= kOrigin + 65ms);
    wheel.advance(kOrigin + 1s, 2);
    CHECK(story == "012450");
    CHECK(wheel.next_due() == kNever);
    wheel.advance(kOrigin + 1s, 1);
    CHECK(story == "012450");
  }

  TEST_CASE("a time between two ticks waits for the second") {
    Wheel wheel{kOrigin};
    Alarm alarm;
    wheel.arm(alarm, kOrigin + 5ms + 1ns);
    wheel.advance(kOrigin + 5ms + 999us);
    CHECK(alarm.times == 0);
    wheel.advance(kOrigin + 6ms);
    CHECK(alarm.times == 1);
  }

  TEST_CASE("a time that has passed, even before the wheel began, fires at the next tick") {
    Wheel wheel{kOrigin};
    Alarm alarm;
    wheel.advance(kOrigin + 10s);
    TimePoint now = kOrigin + 10s;
    for (const TimePoint past : {now, kOrigin, kOrigin - 30min, TimePoint::min()}) {
      alarm.times = 0;
      wheel.arm(alarm, past);
      wheel.advance(now);
      CHECK(alarm.times == 0);
      now += 1ms;
      wheel.advance(now);
      CHECK(alarm.times == 1);
    }
  }

  TEST_CASE("deadlines of weeks and years keep to their tick") {
    Wheel wheel{kOrigin};
    const std::vector<Nanos> waits = {24h, 7 * 24h, kRound - 1ms, kRound, kRound + 1ms, 30 * 24h, 10 * 365 * 24h};
    std::vector<Alarm> alarms(waits.size());
    for (std::size_t i = 0; i < waits.size(); ++i) wheel.arm(alarms[i], kOrigin + waits[i]);
    for (std::size_t i = 0; i < waits.size(); ++i) {
      wheel.advance(kOrigin + waits[i] - 1ns);
      CHECK(alarms[i].times == 0);
      wheel.advance(kOrigin + waits[i]);
      CHECK(alarms[i].times == 1);
    }
    CHECK(wheel.next_due() == kNever);
  }

  TEST_CASE("a short wait that crosses the end of the wheel's round is as short as any other") {
    Wheel wheel{kOrigin};
    Alarm alarm;
    const TimePoint now = kOrigin + kRound - 10ms;
    wheel.advance(now);
    wheel.arm(alarm, now + 100ms);
    CHECK(wheel.next_due() <= now + 100ms);
    wheel.advance(now + 99ms);
    CHECK(alarm.times == 0);
    wheel.advance(now + 100ms);
    CHECK(alarm.times == 1);
  }

  TEST_CASE("a wait without end never fires, and the wheel still turns") {
    Wheel wheel{kOrigin};
    Alarm endless;
    Alarm alarm;
    wheel.arm(endless, kNever);
    wheel.arm(alarm, kOrigin + 20ms);
    wheel.advance(kOrigin + 365 * 24h);
    CHECK(alarm.times == 1);
    CHECK(endless.times == 0);
    CHECK(wheel.next_due() > kOrigin + 365 * 24h);
  }

  TEST_CASE("arming again moves an entry, earlier or later") {
    Wheel wheel{kOrigin};
    Alarm alarm;
    wheel.arm(alarm, kOrigin + 10ms);
    wheel.arm(alarm, kOrigin + 10s);
    wheel.advance(kOrigin + 5s);
    CHECK(alarm.times == 0);
    wheel.arm(alarm, kOrigin + 6s);
    wheel.advance(kOrigin + 6s);
    CHECK(alarm.times == 1);
    wheel.advance(kOrigin + 1min);
    CHECK(alarm.times == 1);
  }

  TEST_CASE("an entry may arm itself again while it fires, even for a time that has passed") {
    Wheel wheel{kOrigin};
    Alarm alarm;
    alarm.then = [&](TimePoint now) {
      if (alarm.times < 4) wheel.arm(alarm, now - 1s);
    };
    wheel.arm(alarm, kOrigin + 2ms);
    wheel.advance(kOrigin + 2ms);
    CHECK(alarm.times == 1);
    wheel.advance(kOrigin + 3ms);
    CHECK(alarm.times == 2);
    wheel.advance(kOrigin + 1s);
    CHECK(alarm.times == 4);
  }

  TEST_CASE("what fires may cancel, move and destroy what was to fire with it") {
    Wheel wheel{kOrigin};
    Alarm first;
    Alarm cancelled;
    Alarm moved;
    auto destroyed = std::make_unique<Alarm>();
    first.then = [&](TimePoint now) {
      wheel.cancel(cancelled);
      wheel.arm(moved, now + 1s);
      destroyed.reset();
    };
    wheel.arm(first, kOrigin + 5ms);
    wheel.arm(cancelled, kOrigin + 5ms);
    wheel.arm(*destroyed, kOrigin + 5ms);
    wheel.arm(moved, kOrigin + 5ms);
    wheel.advance(kOrigin + 5ms);
    CHECK(first.times == 1);
    CHECK(cancelled.times == 0);
    CHECK(moved.times == 0);
    wheel.advance(kOrigin + 2s);
    CHECK(moved.times == 1);
    CHECK(cancelled.times == 0);
  }

  TEST_CASE("an entry may destroy itself when it fires") {
    Wheel wheel{kOrigin};
    auto alarm = std::make_unique<Alarm>();
    bool fired = false;
    alarm->then = [&](TimePoint) {
      fired = true;
      // The function lives in what is destroyed.
      const auto keep = std::move(alarm->then);
      alarm.reset();
    };
    wheel.arm(*alarm, kOrigin + 5ms);
    wheel.advance(kOrigin + 5ms);
    CHECK(fired);
    CHECK(alarm == nullptr);
    CHECK(wheel.next_due() == kNever);
  }

  TEST_CASE("cancelling is harmless at any time, and an empty wheel has nothing due") {
    Wheel wheel{kOrigin};
    Alarm alarm;
    wheel.cancel(alarm);
    CHECK(wheel.next_due() == kNever);
    for (const Nanos wait : {Nanos{1ms}, Nanos{1s}, Nanos{1h}, Nanos{30 * 24h}}) {
      wheel.arm(alarm, kOrigin + wait);
      wheel.cancel(alarm);
      wheel.cancel(alarm);
      CHECK(wheel.next_due() == kNever);
    }
    wheel.advance(kOrigin + 60 * 24h);
    CHECK(alarm.times == 0);
  }

  TEST_CASE("a wheel that goes forgets what is armed") {
    Alarm alarm;
    {
      Wheel wheel{kOrigin};
      wheel.arm(alarm, kOrigin + 5ms);
    }
    CHECK_FALSE(alarm.armed());
  }

  TEST_CASE("a clock that stands still or is read late does no harm") {
    Wheel wheel{kOrigin};
    Alarm alarm;
    wheel.advance(kOrigin + 10s);
    wheel.arm(alarm, kOrigin + 11s);
    wheel.advance(kOrigin + 9s);
    wheel.advance(kOrigin - 1h);
    CHECK(alarm.times == 0);
    wheel.advance(kOrigin + 11s);
    CHECK(alarm.times == 1);
  }

  TEST_CASE("a lazy timer fires once, at the time it was moved to last") {
    Wheel wheel{kOrigin};
    Lazy timer;
    timer.set(wheel, kOrigin + 10ms);
    timer.set(wheel, kOrigin + 1s);
    CHECK(timer.due() == kOrigin + 1s);
    // Moving it later has not touched the wheel, which still looks at the earlier time.
    CHECK(wheel.next_due() == kOrigin + 10ms);
    wheel.advance(kOrigin + 999ms);
    CHECK(timer.times == 0);
    timer.set(wheel, kOrigin + 2s);
    wheel.advance(kOrigin + 2s - 1ns);
    CHECK(timer.times == 0);
    wheel.advance(kOrigin + 2s);
    CHECK(timer.fired == kOrigin + 2s);
    CHECK(timer.due() == kNever);
    wheel.advance(kOrigin + 1h);
    CHECK(timer.times == 1);
  }

  TEST_CASE("a lazy timer that is moved earlier fires earlier, and not again at the later time") {
    Wheel wheel{kOrigin};
    Lazy timer;
    timer.set(wheel, kOrigin + 1h);
    timer.set(wheel, kOrigin + 1s);
    wheel.advance(kOrigin + 1s);
    CHECK(timer.times == 1);
    wheel.advance(kOrigin + 2h);
    CHECK(timer.times == 1);
  }

  TEST_CASE("a lazy timer that was cleared stays silent until it is set again") {
    Wheel wheel{kOrigin};
    Lazy timer;
    timer.set(wheel, kOrigin + 1s);
    timer.clear();
    wheel.advance(kOrigin + 2s);
    CHECK(timer.times == 0);
    CHECK(wheel.next_due() == kNever);

    timer.set(wheel, kOrigin + 4s);
    timer.set(wheel, kNever);
    timer.set(wheel, kOrigin + 3s);
    wheel.advance(kOrigin + 3s);
    CHECK(timer.times == 1);
    wheel.advance(kOrigin + 5s);
    CHECK(timer.times == 1);
  }

  TEST_CASE("a lazy timer that was never set may go, cleared or not") {
    Lazy timer;
    timer.clear();
    CHECK(timer.due() == kNever);
    CHECK_FALSE(timer.armed());
  }
}
