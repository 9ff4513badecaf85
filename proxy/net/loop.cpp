#include "proxy/net/loop.hpp"

#include <utility>

namespace outrigger::net {

Loop::Loop(std::uint32_t worker, std::uint64_t seed, BufferAccount& buffer_account, telemetry::WorkerRow& worker_row,
           Clock clock)
    : wheel(clock()),
      account(buffer_account),
      row(worker_row),
      clock_(clock),
      mailbox_(BOOST_ASIO_CONCURRENCY_HINT_UNSAFE_IO),
      scratch_(new char[kScratchBytes]),
      now_(clock()) {
  local.worker = worker;
  local.rng = Rng{seed};
}

TimePoint Loop::refresh() noexcept {
  now_ = clock_();
  return now_;
}

std::int64_t Loop::wall_us() noexcept {
  // The wall clock may be set at any time; once a second is often enough to follow it.
  if (wall_read_ == TimePoint{} || now_ - wall_read_ >= std::chrono::seconds{1}) {
    wall_read_ = now_;
    wall_offset_us_ = wall_now_us() - now_.time_since_epoch().count() / 1000;
  }
  return wall_offset_us_ + now_.time_since_epoch().count() / 1000;
}

std::string_view Loop::date() noexcept {
  const std::int64_t second = wall_us() / 1'000'000;
  if (second != date_second_) {
    date_second_ = second;
    date_ = http::http_date(second);
  }
  return {date_.data(), date_.size()};
}

void Loop::run() {
  while (!stopped_) {
    const TimePoint due = wheel.next_due();
    const Nanos patience = due == kNever ? kForever : due - refresh();
    const bool mail = poller.turn(patience);
    fire_timers();
    if (mail) read_mail();
  }
}

/// What there is no time for comes behind what is ready by then.
void Loop::fire_timers() {
  const TimePoint until = refresh() + kTimersPerTurn;
  while (!wheel.advance(now_, kTimersAtOnce) && refresh() < until) {
  }
}

/// A part of it at a time: a flood of mail must not keep connections waiting.
void Loop::read_mail() {
  mailbox_.restart();
  for (int i = 0; i < kMailPerTurn; ++i) {
    if (mailbox_.poll_one() == 0) return;
  }
  poller.interrupt();
}

void Loop::read_last_mail() {
  mailbox_.restart();
  mailbox_.poll();
}

void Loop::post(std::function<void()> task) {
  asio::post(mailbox_, [this, task = std::move(task)] {
    refresh();
    task();
  });
  poller.interrupt();
}

}  // namespace outrigger::net
