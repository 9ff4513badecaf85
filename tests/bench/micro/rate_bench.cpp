#include <array>
#include <chrono>
#include <string>

#include "proxy/policy/adaptive_throttle.hpp"
#include "proxy/policy/keyed_rate_limit.hpp"
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

RateLimitConfig limit_of(double requests, std::uint32_t burst) {
  RateLimitConfig config;
  config.requests = requests;
  config.burst = burst;
  return config;
}

void rate_limits(const Bench& bench) {
  std::array<Padded<Worker>, kWorkers> workers{};
  const auto tick = [&](std::uint32_t worker) { return workers[worker].value.now += 1us; };

  const RateLimitConfig plenty = limit_of(1e9, 1'000'000);
  RateLimit admitting{plenty};
  bench.shared("rate limit, admit", [&](std::uint32_t worker) { keep(admitting.admit(plenty, 0ns, tick(worker)).at); });
  RateLimit returning{plenty};
  bench.shared("rate limit, admit and cancel", [&](std::uint32_t worker) {
    const TimePoint now = tick(worker);
    returning.admit(plenty, 0ns, now).place.cancel(now);
  });
  const RateLimitConfig none = limit_of(1e-6, 1);
  RateLimit refusing{none};
  bench.shared("rate limit, refusal", [&](std::uint32_t worker) { keep(refusing.admit(none, 0ns, tick(worker)).at); });
  bench.shared("rate limit, view", [&](std::uint32_t worker) { keep(admitting.view(plenty, tick(worker))); });

  KeyedRateLimit keyed{plenty, 1};
  std::array<std::string, 1024> keys;
  for (std::size_t i = 0; i < keys.size(); ++i) keys[i] = "192.168.17." + std::to_string(i);
  bench.shared("keyed limit, one of 1,024 keys", [&](std::uint32_t worker) {
    keep(keyed.admit(plenty, keys[workers[worker].value.rng.below(keys.size())], 0ns, tick(worker)).at);
  });
  RateLimitConfig small = plenty;
  small.max_keys = 64;
  KeyedRateLimit evicting{small, 1};
  bench.shared("keyed limit, new key for old", [&](std::uint32_t worker) {
    keep(evicting.admit(small, keys[workers[worker].value.rng.below(keys.size())], 0ns, tick(worker)).at);
  });
}

void throttles(const Bench& bench) {
  std::array<Padded<Worker>, kWorkers> workers{};
  const auto decide = [&](AdaptiveThrottle& throttle, const AdaptiveThrottleConfig& config, bool success) {
    return [&workers, &throttle, &config, success](std::uint32_t worker) {
      Worker& mine = workers[worker].value;
      mine.now += 10us;
      keep(throttle.admit(config, Priority::standard, mine.now, mine.rng));
      throttle.settle(config, success, mine.now);
    };
  };
  const AdaptiveThrottleConfig config;
  AdaptiveThrottle healthy{config};
  bench.shared("adaptive throttle, admit and success", decide(healthy, config, true));
  AdaptiveThrottle failing{config};
  bench.shared("adaptive throttle, admit and failure", decide(failing, config, false));
}

const BenchGroup rate_limit_group{rate_limits};
const BenchGroup throttle_group{throttles};

}  // namespace
