#include "proxy/config/load_blocks.hpp"
#include "proxy/config/reason_words.hpp"

namespace outrigger::config {
namespace {

using policy::CircuitConfig;
using std::chrono::hours;
using std::chrono::milliseconds;

// A rate of 0 is reached by nothing at all.
constexpr Range<double> kRate{0.001, 1};
constexpr std::uint32_t kMaxCalls = policy::CallWindow::kMaxCalls;

/// Which of the trip rules is meant; giving two is an error, because only one can be right.
CircuitConfig::Trip read_trip(Block& block) {
  using Trip = CircuitConfig::Trip;
  const std::string null_hint = block.null_removes() ? "null removes an inherited one" : "";
  const auto consecutive = block.take("consecutive_failures");
  const auto rate = block.take("failure_rate");
  const auto window = block.take("window");
  const auto calls = block.take("window_calls");
  if (consecutive && rate) {
    block.findings().error(consecutive->place, consecutive->path,
                           "a circuit has one rule: consecutive_failures or failure_rate", null_hint);
  }
  if (window && calls) {
    block.findings().error(calls->place, calls->path, "a rate has one window: window or window_calls", null_hint);
  }
  if (!rate) return Trip::consecutive;
  return calls ? Trip::rate_by_calls : Trip::rate_by_time;
}

void read_half_open(Block& block, CircuitConfig& circuit) {
  block.integer("max_probes", circuit.max_probes, {1, policy::CircuitBreaker::kMaxProbes});
  block.integer("successes", circuit.successes, {1, 1000});
  block.duration("probe_timeout", circuit.probe_timeout, {milliseconds{1}, hours{1}});
}

}  // namespace

void read_circuit(Block& block, CircuitConfig& circuit) {
  circuit.failure_statuses.insert(500, 500);
  circuit.failure_statuses.insert(502, 504);
  circuit.trip = read_trip(block);
  block.integer("consecutive_failures", circuit.consecutive_failures, {1, 100'000});
  block.fraction("failure_rate", circuit.failure_rate, kRate);
  block.integer("minimum_calls", circuit.minimum_calls, {1, kMaxCalls});
  block.duration("window", circuit.window, {milliseconds{100}, hours{1}});
  block.integer("window_calls", circuit.window_calls, {1, kMaxCalls});
  block.block("slow_call", "slow_call", [&](Block& slow_call) {
    policy::SlowCallConfig& slow = circuit.slow_call.emplace();
    if (const auto threshold = slow_call.require("threshold")) {
      read_duration(slow_call.findings(), *threshold, slow.threshold, {milliseconds{1}, hours{1}});
    }
    slow_call.fraction("rate", slow.rate, kRate);
  });
  block.duration("cooldown", circuit.cooldown, {milliseconds{100}, hours{1}});
  block.fraction("cooldown_jitter", circuit.cooldown_jitter, {0, 0.5});
  block.number("cooldown_multiplier", circuit.cooldown_multiplier, {1, 10});
  block.duration("max_cooldown", circuit.max_cooldown, {milliseconds{100}, hours{24}});
  block.block("half_open", "half_open", [&](Block& half_open) { read_half_open(half_open, circuit); });
  block.choice("scope", circuit.scope, kScopes);
  block.choice("counts", circuit.counts, kCounts);
  read_failures(block, "failure_on", circuit.failure_reasons, circuit.failure_statuses);
}

}  // namespace outrigger::config
