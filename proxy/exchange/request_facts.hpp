// proxy/exchange/request_facts.hpp
//
// What decisions may know about a request. Everything else about it (bytes, fields' spelling, sockets) stays at the
// edge. Views are valid until RequestReady has been taken; what outlives that is copied into the timeline.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "proxy/base/cache_terms.hpp"
#include "proxy/base/header_view.hpp"
#include "proxy/base/priority.hpp"
#include "proxy/base/time.hpp"
#include "proxy/base/wakeups.hpp"

namespace outrigger::exchange {

/// What a cache needs to know; only where the policy has one.
struct CacheFacts {
  std::string_view key;               // which resource it is about
  std::optional<CacheDemand> demand;  // nullopt: it takes no part, but may change what is stored
  HeaderView fields = {};             // those that an upstream is asked with, on which its answer may depend
};

struct RequestFacts {
  bool idempotent = false;  // by its method, or because it bears the policy's idempotency key
  bool has_body = false;
  bool body_complete = false;            // it came with the head, as a whole
  bool upgrade = false;                  // it asks to switch protocols: sent once, and no cache has an answer to it
  bool body_fits_replay = true;          // false: known to be longer than the replay buffer
  std::optional<Nanos> client_deadline;  // what the client will still wait, from its headers
  bool deadline_unreadable = false;      // one of those headers could not be read

  std::string_view request_id;
  std::string_view trace_id;
  std::string_view method;
  std::string_view path;  // without query unless that is to be logged
  std::string_view listener;
  Priority priority = Priority::standard;
  Ticket ticket;               // by which a wait of this request is woken
  std::string_view client_ip;  // for limits by key
  HeaderView fields;           // of the request
  std::optional<CacheFacts> cache;
  bool chaos = false;              // the policy's faults are meant for it
  std::string_view logged_fields;  // the inside of a JSON object: request fields named for the access log
  bool logged_fields_cut = false;  // there was no room for all of them
  std::int64_t wall_start_us = 0;  // Unix time, for people only
};

}  // namespace outrigger::exchange
