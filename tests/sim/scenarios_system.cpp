#include <array>

#include "tests/sim/scenario.hpp"

// Whether the whole survives: an outage must not be made worse by retries, and must be over when it is over.
namespace outrigger::sim {

using namespace std::chrono_literals;

namespace {

// Two windows of the default budget: what a calm before it has saved up is spent and forgotten within the first.
constexpr Nanos kOutageBegins = 5s;
constexpr Nanos kOutageEnds = kOutageBegins + 20s;
constexpr Nanos kRecovered = kOutageEnds + 5s;
constexpr Nanos kOver = kRecovered + 5s;

Behaviour outage(Rng& rng, Behaviour usual) {
  switch (rng.below(3)) {
    case 0: usual.refuse = usual.stale = usual.reset = 1; break;
    case 1: usual.fail = 1; break;
    default: usual.hang = 1; break;
  }
  return usual;
}

/// Servers at two thirds of what they can do, which all fail at once for a while.
Setup draw_outage(Rng& rng) {
  Behaviour usual;
  usual.service = exponential(20ms);
  usual.concurrency = 2;
  usual.queue = 50;
  Setup setup;
  setup.numbers.policy.overall_timeout = 1s;
  setup.numbers.policy.retry.emplace();
  setup.numbers.policy.retry->timeout_per_attempt = 300ms;
  setup.endpoints.resize(3,
                         {.usual = usual, .phases = {{kOutageBegins, kOutageEnds, outage(rng, usual)}}, .weight = 1});
  setup.traffic.rate = 200;
  setup.traffic.length = kOver;
  setup.traffic.posts = 0;
  return setup;
}

std::string judge_outage(const Setup&, const Invariants& outcome) {
  const double during = outcome.amplification(kOutageBegins, kOutageEnds);
  if (during > 1.25) return "I11 " + std::to_string(during) + " attempts per request during the outage";
  const double after = outcome.goodput(kRecovered, kOver);
  if (after < 0.99) return "I11 goodput " + std::to_string(after) + " five seconds after the outage";
  return {};
}

/// One of several endpoints is out; retries elsewhere must hide most of it.
Setup draw_partial(Rng& rng) {
  Setup setup = draw_outage(rng);
  setup.numbers.balance = policy::Balance::round_robin;
  setup.endpoints.resize(6, setup.endpoints[0]);
  for (std::size_t i = 1; i < setup.endpoints.size(); ++i) setup.endpoints[i].phases.clear();
  return setup;
}

std::string judge_partial(const Setup&, const Invariants& outcome) {
  const double during = outcome.goodput(kOutageBegins, kOutageEnds);
  if (during < 0.98) return "I11 goodput " + std::to_string(during) + " with one endpoint out of six";
  const double cost = outcome.amplification(kOutageBegins, kOutageEnds);
  return cost <= 1.25 ? "" : "I11 " + std::to_string(cost) + " attempts per request with one endpoint out";
}

}  // namespace

std::span<const Scenario> system_scenarios() {
  static constexpr std::array kScenarios = {
      Scenario{"outage", "everything is out, and recovers", draw_outage, judge_outage},
      Scenario{"partial_outage", "one endpoint of six is out", draw_partial, judge_partial}};
  return kScenarios;
}

}  // namespace outrigger::sim
