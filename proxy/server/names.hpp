// proxy/server/names.hpp
//
// Keeps what the names of endpoints stand for up to date beside the traffic: the table (name_table.hpp) says when to
// ask, the resolver asks, and whoever publishes configurations hears of changes. Nothing here blocks but the wait at
// the start, and that no longer than the longest `dns.timeout`.
//
// Threads: the control thread, whose loop it uses.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <vector>

#include "proxy/net/asio.hpp"
#include "proxy/net/clock.hpp"
#include "proxy/server/name_table.hpp"
#include "proxy/server/resolver.hpp"
#include "proxy/telemetry/log.hpp"

namespace outrigger::server {

class Names {
 public:
  /// `changed` is called when the endpoints of a configuration that is followed may be others than before.
  Names(net::IoContext& io, Resolver::Lookup lookup, telemetry::LogWriter& log, std::function<void()> changed);

  /// Takes up a configuration's names and waits until each has had its time. Only before the loop runs.
  void learn_now(const config::Config& config);
  /// Takes up a configuration's names; `done` is called once each has had its time, at once where there is no new one.
  /// One at a time.
  void learn(const config::Config& config, std::function<void()> done);
  /// Forgets the names that the configuration does not have.
  void keep_only(const config::Config& config) { table_.keep_only(config); }
  /// Asks about all of them now.
  void refresh();

  config::Resolved endpoints(const config::Config& config) const { return table_.endpoints(config); }

 private:
  struct Answer {
    NameTable::Id id;
    NameTable::Addresses addresses;
  };

  void ask_due();
  void turn();
  bool take_answers();
  bool tell(const NameTable::Events& events);
  void rearm();

  net::IoContext& io_;
  telemetry::LogWriter& log_;
  const std::function<void()> changed_;
  net::SteadyTimer timer_;
  NameTable table_;
  std::function<void()> learnt_;  // empty: nobody waits

  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<Answer> answers_;  // not looked at yet
  Resolver resolver_;            // the first to go: nothing arrives after it
};

}  // namespace outrigger::server
