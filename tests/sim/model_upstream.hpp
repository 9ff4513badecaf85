// tests/sim/model_upstream.hpp
//
// One endpoint of an upstream: a server with a number of workers and a queue before them, which may refuse, stay
// silent, fail, hang, break off, or answer, as its behaviour of the moment has it. It keeps serving callers who have
// gone, as real servers do: that is what makes retry storms last. Idle connections to it are pooled per worker of the
// sidecar and may have died meanwhile.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "proxy/base/reason.hpp"
#include "proxy/exchange/action.hpp"
#include "tests/sim/world.hpp"

namespace outrigger::sim {

/// Probabilities are per connection or per request.
struct Behaviour {
  Times connect = constant(std::chrono::microseconds{200});
  Times service = exponential(std::chrono::milliseconds{5});
  Times body = constant(std::chrono::milliseconds{1});
  double slow = 0;  // requests that take `slow_service` instead
  Times slow_service = constant(std::chrono::milliseconds{200});
  std::uint32_t concurrency = 0;  // served at once; 0 = as many as come
  std::uint32_t queue = 0;        // waiting beyond that; more get 503 at once
  std::uint32_t body_bytes = 1000;
  double refuse = 0;   // connections
  double silent = 0;   // connections that are never made
  double stale = 0;    // reused connections that turn out dead
  double fail = 0;     // answers with one of `statuses`
  double hang = 0;     // never answers
  double reset = 0;    // dies before an answer
  double broken = 0;   // answers with garbage
  double early = 0;    // answers before it has the whole request
  double interim = 0;  // sends a 103 first
  double dies_in_body = 0;
  double dies_unread = 0;  // a held connection that is not read is closed
  double long_body = 0;    // body far beyond what a held response may keep in memory
  double says_when = 0;    // failing answers with Retry-After
  double pushback = 0;     // failing answers with X-Should-Retry: false
  std::vector<std::uint16_t> statuses = {503};
};

/// Behaves otherwise in [from, until), counted from the start of the world.
struct Phase {
  Nanos from;
  Nanos until;
  Behaviour behaviour;
};

struct Answer {
  std::uint16_t status = 200;
  std::optional<Nanos> retry_after;
  bool pushback = false;
  std::uint32_t body_bytes = 0;
  Nanos body_time{0};
  bool dies_in_body = false;
  bool dies_unread = false;
};

/// The caller's end of one request on one connection.
class Caller {
 public:
  virtual ~Caller() = default;
  virtual void connected() = 0;
  virtual void unreachable(Reason why) = 0;
  virtual void interim(std::uint16_t status) = 0;
  virtual void head(const Answer& answer) = 0;
  virtual void died(Reason why) = 0;
  virtual bool closed() const = 0;
};

class ModelUpstream {
 public:
  ModelUpstream(World& world, const Behaviour& usual, std::vector<Phase> phases, std::uint32_t workers);

  /// Takes a pooled connection where `reuse` allows one; `stale` tells whether it is dead.
  bool take_pooled(std::uint32_t worker, exchange::Reuse reuse, bool& stale);
  void pool(std::uint32_t worker) { pools_[worker].push_back(world_.now()); }
  /// Begins a connection; the caller learns how it went.
  void connect(const std::shared_ptr<Caller>& caller);
  /// The request, or its head, has arrived: `whole` tells which.
  void request(const std::shared_ptr<Caller>& caller, bool whole);
  /// The caller has closed; only a hanging worker notices.
  void hung_up(const Caller* caller);

  std::uint64_t requests_seen() const { return requests_seen_; }

 private:
  const Behaviour& behaviour() const;
  void begin(const std::shared_ptr<Caller>& caller);
  void complete(const std::shared_ptr<Caller>& caller);
  void next();
  bool has_room() const;
  void reply(const std::shared_ptr<Caller>& caller, std::uint16_t status);

  World& world_;
  Rng rng_;
  Behaviour usual_;
  std::vector<Phase> phases_;
  TimePoint began_;
  std::vector<std::vector<TimePoint>> pools_;  // by worker: since when idle
  std::deque<std::shared_ptr<Caller>> waiting_;
  std::vector<const Caller*> hanging_;
  std::uint32_t busy_ = 0;
  std::uint64_t requests_seen_ = 0;
};

}  // namespace outrigger::sim
