// tests/sim/model_clients.hpp
//
// Who sends requests: an open stream of clients who arrive whether or not the system keeps up, alone or in bursts, some
// of them impatient, with deadlines of their own, with bodies that come slowly, are too long to keep, or go wrong, or
// unable to read what they get.
#pragma once

#include <functional>
#include <optional>

#include "proxy/base/priority.hpp"
#include "proxy/base/reason.hpp"
#include "tests/sim/world.hpp"

namespace outrigger::sim {

struct Traffic {
  double rate = 200;  // requests per second, Poisson
  Nanos length = std::chrono::seconds{10};
  Nanos burst_every{0};  // 0 = no bursts
  std::uint32_t burst_size = 0;
  double posts = 0.2;
  double bodies = 0.2;
  double slow_bodies = 0;  // of the bodies
  double long_bodies = 0;  // beyond the replay buffer
  double bad_bodies = 0;   // time out or are too large half way
  double impatient = 0;
  Times patience = exponential(std::chrono::milliseconds{100});
  double with_deadline = 0;
  Times deadline = uniform(std::chrono::milliseconds{1}, std::chrono::milliseconds{500});
  double not_reading = 0;
  double low = 0;       // of that priority
  double critical = 0;  // the rest is standard
  Times reading = constant(std::chrono::microseconds{100});
  std::uint32_t clients = 1;  // that may be told apart
};

struct Request {
  bool idempotent = true;
  bool reads = true;
  Priority priority = Priority::standard;
  std::uint32_t client = 0;
  std::uint32_t body_bytes = 0;  // 0 = no body
  Nanos body_time{0};
  Nanos reading{0};
  std::optional<Reason> body_fails;  // half way
  std::optional<Nanos> patience;
  std::optional<Nanos> deadline;
};

class ModelClients {
 public:
  using Send = std::function<void(const Request&)>;

  ModelClients(World& world, const Traffic& traffic, Send send);

 private:
  void arrive();
  void burst();
  bool over() const { return world_.now() - began_ >= traffic_.length; }
  Request draw();

  World& world_;
  Rng rng_;
  Traffic traffic_;
  Send send_;
  TimePoint began_;
};

}  // namespace outrigger::sim
