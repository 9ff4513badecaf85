// proxy/server/mailbox_wakeups.hpp
//
// How a shared state wakes a request that waits on another worker: by that worker's mailbox. The state knows only the
// ticket; whether the request is still there is found out where it lives.
//
// Threads: any.
#pragma once

#include "proxy/base/wakeups.hpp"
#include "proxy/server/worker.hpp"

namespace outrigger::server {

class MailboxWakeups final : public Wakeups {
 public:
  /// `workers` is complete before the first wake and outlives the last.
  explicit MailboxWakeups(Worker::Workers& workers) noexcept : workers_(workers) {}

  void wake(const Ticket& ticket) noexcept override {
    Worker& worker = *workers_[ticket.worker];
    worker.post([&worker, ticket] { worker.edge().wake(ticket, true); });
  }

 private:
  Worker::Workers& workers_;
};

}  // namespace outrigger::server
