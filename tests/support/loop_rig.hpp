// tests/support/loop_rig.hpp
//
// A worker's loop that is turned by hand, with a clock that stands still until it is moved: peers and the loop share
// one thread, so that a test says what happens first, and a timeout of an hour costs nothing.
#pragma once

#include "proxy/net/buffer_account.hpp"
#include "proxy/net/clock.hpp"
#include "proxy/net/loop.hpp"
#include "proxy/telemetry/metric_shard.hpp"

namespace outrigger::test {

class LoopRig {
  static inline TimePoint time_{std::chrono::hours{1}};
  static TimePoint read_clock() noexcept { return time_; }

 public:
  /// One turn: what is ready is told, what is due fires. Waits for nothing.
  void turn() {
    loop.poller.turn(Nanos{0});
    loop.wheel.advance(loop.refresh());
  }
  /// Turns until `condition` holds; false where it does not come true.
  template <class Condition>
  bool until(Condition condition) {
    // What a peer in this thread has sent is there at once; the limit is for machines that are busy elsewhere.
    const TimePoint end = net::steady_now() + std::chrono::seconds{10};
    while (!condition()) {
      if (net::steady_now() >= end) return false;
      turn();
    }
    return true;
  }
  /// As many turns as anything under way needs to come to rest.
  void settle() {
    for (int i = 0; i < 20; ++i) turn();
  }
  /// Lets time pass, and does what falls due.
  void pass(Nanos by) {
    move_clock(by);
    settle();
  }
  void move_clock(Nanos by) noexcept { time_ += by; }

  net::BufferAccount account{std::uint64_t{1} << 30};
  telemetry::MetricRegistry metrics{1, {}};
  net::Loop loop{0, 1, account, *metrics.worker_row(0), &read_clock};
};

}  // namespace outrigger::test
