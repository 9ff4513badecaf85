// proxy/admin/admin_backend.hpp
//
// What the admin API needs from the process: proxy/server implements it, tests fake it. Answers that must be collected
// from the workers come through a callback, so that a call never blocks the control thread.
//
// Threads: all calls, and all callbacks, on the control thread. A callback is called exactly once, possibly at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/time.hpp"
#include "proxy/telemetry/timeline_store.hpp"

namespace outrigger::admin {

struct ReloadResult {
  bool ok = false;
  std::uint64_t generation = 0;  // in force afterwards
  // As `outrigger check` prints them.
  std::vector<std::string> errors;
  std::vector<std::string> warnings;
};

/// What an operator may do to a circuit.
enum class CircuitCommand : std::uint8_t { reset, force_open, force_close, automatic };

/// What became of an order that concerns faults on purpose.
struct ChaosResult {
  enum class Kind : std::uint8_t {
    done,
    no_policy,  // there is none of that key
    not_now,    // a switch is off; `errors` says which
    not_valid,  // the block; `errors` says all that is wrong with it
    no_order,   // there is none to be ended
  };
  Kind kind = Kind::done;
  std::uint64_t generation = 0;  // in force from then on
  std::string until = {};        // when it ends, as the configuration says it; empty: it has ended
  std::vector<std::string> errors = {};
};

class AdminBackend {
 public:
  virtual ~AdminBackend() = default;

  /// The names that a Host may have besides addresses and `localhost`; valid until anything else is called.
  virtual std::span<const std::string> allowed_hosts() = 0;
  /// Takes note of a call that has ended in an exception.
  virtual void call_failed(std::string_view target, std::string_view why) = 0;

  /// Why new traffic should not be sent here; nullopt: it may.
  virtual std::optional<std::string> unready_reason() = 0;
  /// Prometheus text, version 0.0.4.
  virtual std::string metrics_text() = 0;

  // Whole JSON documents.
  virtual std::string config_json() = 0;
  virtual std::string budgets_json() = 0;
  virtual std::string circuits_json() = 0;
  virtual std::string rate_limits_json() = 0;
  virtual std::string bulkheads_json() = 0;
  virtual std::string adaptive_limits_json() = 0;
  virtual std::string adaptive_throttles_json() = 0;
  virtual std::string upstreams_json() = 0;
  virtual std::string policies_json() = 0;
  /// One policy; nullopt: there is none of that key.
  virtual std::optional<std::string> policy_json(std::string_view key) = 0;
  /// {valid, errors[], warnings[]} about a configuration that is not put in force.
  virtual std::string validate(std::string_view yaml) = 0;

  /// Timelines as JSON objects, newest first, at most `limit`.
  virtual void timelines(const telemetry::TimelineFilter& filter, std::size_t limit,
                         std::function<void(std::vector<std::string>)> done) = 0;
  virtual void timeline(const std::string& request_id, std::function<void(std::optional<std::string>)> done) = 0;

  virtual void reload(std::function<void(ReloadResult)> done) = 0;
  virtual void drain() = 0;
  /// Acts on all circuits of that name and answers with what they are then, as `circuits_json`; nullopt: there is none.
  virtual std::optional<std::string> command_circuit(std::string_view name, CircuitCommand command) = 0;
  /// Has the faults of a chaos block befall the requests of a policy for so long, in the place of what its own block
  /// says; another order replaces it, and a reload leaves it in force. Every change makes a new generation of the
  /// configuration, so that a timeline tells whether it was in force; the file's own stays what it is.
  virtual void order_chaos(std::string_view policy, std::string_view yaml, Nanos ttl,
                           std::function<void(ChaosResult)> done) = 0;
  /// Ends an order before its time.
  virtual void end_chaos(std::string_view policy, std::function<void(ChaosResult)> done) = 0;
  /// False for a level that does not exist.
  virtual bool set_log_level(std::string_view level) = 0;
};

}  // namespace outrigger::admin
