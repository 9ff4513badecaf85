// proxy/net/loop.hpp
//
// What every edge object of one worker shares: readiness and timers, the mailbox, the one scratch buffer that all
// connections read through (an idle connection holds none), the head parser, the time of the event being handled. `now`
// is read once per event, because a clock read per step would cost more than most steps.
//
// One turn waits in epoll for readiness, for the wheel's next entry, or for mail. The mailbox is an Asio io_context, so
// that other threads use Asio's `post`; it is polled when its bell has rung and costs a request nothing.
//
// Threads: one worker; only `post` is for any.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "proxy/base/buffer.hpp"
#include "proxy/exchange/plan.hpp"
#include "proxy/http/h1_head.hpp"
#include "proxy/http/http_date.hpp"
#include "proxy/net/asio.hpp"
#include "proxy/net/buffer_account.hpp"
#include "proxy/net/clock.hpp"
#include "proxy/net/poller.hpp"
#include "proxy/net/wheel.hpp"
#include "proxy/telemetry/metric_shard.hpp"

namespace outrigger::net {

class Loop {
 public:
  /// What a single receive may bring.
  static constexpr std::size_t kScratchBytes = 64 * 1024;

  using Clock = TimePoint (*)() noexcept;

  Loop(std::uint32_t worker, std::uint64_t seed, BufferAccount& account, telemetry::WorkerRow& row,
       Clock clock = &steady_now);

  /// Turns until stopped.
  void run();
  /// Runs `task` on this worker's thread, in order.
  void post(std::function<void()> task);
  /// Once `run` has ended: all that has been posted and not been run. Threads: the one that has waited for the end.
  void read_last_mail();
  /// Ends `run` after the present turn.
  void stop() noexcept { stopped_ = true; }

  /// Reads the clock; every handler's first step.
  TimePoint refresh() noexcept;
  TimePoint now() const noexcept { return now_; }
  /// Wall-clock time in microseconds, as of the last refresh to within a second's cached offset.
  std::int64_t wall_us() noexcept;
  /// The text of a Date field for this second.
  std::string_view date() noexcept;

  /// At most `limit` bytes of the scratch buffer.
  std::span<char> scratch(std::size_t limit) noexcept {
    return {scratch_.get(), limit < kScratchBytes ? limit : kScratchBytes};
  }

  Poller poller;
  Wheel wheel;
  http::HeadParser parser;
  Buffer out;                       // a message being written; empty between events
  Buffer target;                    // a path being normalised
  Buffer rewritten;                 // the path that a route sends instead
  Buffer shown_path;                // a path with its query, where queries are logged
  Buffer cache_key;                 // of the request that is beginning
  std::vector<Field> asked_fields;  // that it is asked with upstream
  Buffer text;                      // what a request shows of itself in logs and debug headers
  exchange::WorkerLocal local;
  BufferAccount& account;
  telemetry::WorkerRow& row;

 private:
  static constexpr int kMailPerTurn = 64;
  /// Between two looks at the clock; and for how long they may keep everything else waiting. Most timers take less than
  /// a microsecond, but to close a connection may take hundreds, and thousands may run out of time together.
  static constexpr std::uint32_t kTimersAtOnce = 4;
  static constexpr Nanos kTimersPerTurn = std::chrono::microseconds{500};

  void fire_timers();
  void read_mail();

  const Clock clock_;
  IoContext mailbox_;
  bool stopped_ = false;
  std::unique_ptr<char[]> scratch_;
  TimePoint now_;
  std::int64_t wall_offset_us_ = 0;  // wall clock minus steady clock
  TimePoint wall_read_{};
  std::int64_t date_second_ = -1;
  std::array<char, http::kHttpDateLength> date_{};
};

}  // namespace outrigger::net
