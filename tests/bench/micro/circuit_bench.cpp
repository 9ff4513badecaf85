#include <chrono>

#include "proxy/policy/circuit_breaker.hpp"
#include "tests/bench/micro/bench.hpp"

namespace {

using namespace outrigger;
using namespace outrigger::bench;
using namespace outrigger::policy;
using namespace std::chrono_literals;

constexpr std::uint32_t kWorkers = 2;

struct Worker {
  Rng rng{1};
  TimePoint now{1h};
};

void circuits(const Bench& bench) {
  Padded<Worker> workers[kWorkers] = {};
  const auto decide = [&](CircuitBreaker& circuit, const CircuitConfig& config, CircuitResult result) {
    return [&workers, &circuit, &config, result](std::uint32_t worker) {
      Worker& mine = workers[worker].value;
      mine.now += 10us;
      CircuitAnswer answer = circuit.admit(config, 0ns, mine.now, mine.rng);
      answer.permit.settle(config, result, 1ms, mine.now, mine.rng);
      keep(answer);
    };
  };

  CircuitConfig row;
  row.consecutive_failures = 4'000'000'000;
  CircuitBreaker by_row{row};
  bench.shared("circuit closed, peek",
               [&](std::uint32_t worker) { keep(by_row.peek(row, workers[worker].value.now)); });
  bench.shared("circuit in a row, admit and success", decide(by_row, row, CircuitResult::success));
  bench.shared("circuit in a row, admit and failure", decide(by_row, row, CircuitResult::failure));

  CircuitConfig rate;
  rate.trip = CircuitConfig::Trip::rate_by_time;
  rate.failure_rate = 2;  // never reached
  CircuitBreaker by_time{rate};
  bench.shared("circuit by time, admit and success", decide(by_time, rate, CircuitResult::success));
  bench.shared("circuit by time, admit and failure", decide(by_time, rate, CircuitResult::failure));

  CircuitConfig calls = rate;
  calls.trip = CircuitConfig::Trip::rate_by_calls;
  CircuitBreaker by_calls{calls};
  bench.shared("circuit by calls, admit and success", decide(by_calls, calls, CircuitResult::success));
  bench.shared("circuit by calls, admit and failure", decide(by_calls, calls, CircuitResult::failure));

  CircuitBreaker refusing{row};
  refusing.force_open();
  bench.shared("circuit open, refusal", decide(refusing, row, CircuitResult::neutral));

  CircuitConfig probes = row;
  probes.max_probes = kWorkers;
  CircuitBreaker probing{probes};
  probing.force_open();
  probing.automatic();
  bench.shared("circuit half-open, probe and neutral", decide(probing, probes, CircuitResult::neutral));
}

const BenchGroup group{circuits};

}  // namespace
