// proxy/net/view.hpp
//
// A worker's own handle on a configuration snapshot: the snapshot itself, and what this worker alone has for each of
// its rows (metric rows, connection pools). A request pins the view it began with by a plain count, so that no word is
// shared between workers; a reload hands every worker a new view between two events.
//
// Threads: built by the control thread, used by one worker.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "proxy/config/snapshot.hpp"
#include "proxy/net/connection_pool.hpp"
#include "proxy/net/intrusive.hpp"
#include "proxy/net/tls_context.hpp"
#include "proxy/telemetry/record.hpp"

namespace outrigger::net {

using RouteRow = telemetry::RouteRows;

struct View final : Counted<View> {
  std::shared_ptr<const config::Snapshot> snapshot;
  std::vector<RouteRow> rows;                                   // by route
  std::vector<std::vector<Ref<ConnectionPool>>> pools;          // by upstream, then endpoint
  std::vector<const config::ListenerConfig*> listeners;         // in the order in which they were opened
  std::vector<std::shared_ptr<const TlsContext>> listener_tls;  // likewise; nullptr: none

  void last_reference_gone() noexcept { delete this; }
};

}  // namespace outrigger::net
