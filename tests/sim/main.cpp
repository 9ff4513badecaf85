// tests/sim/main.cpp
//
// Runs scenarios by seed: simulator [--scenario NAME] [--seed N | --seeds N] [--replay] [--list]. Each seed is run
// twice, and both runs must end in the same hash (I10). What breaks is printed with the command that replays it.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "tests/sim/scenario.hpp"

namespace outrigger::sim {

std::string good_at_least(const Invariants& outcome, double share) {
  const double good = outcome.goodput(Nanos{0}, kForever);
  return good >= share ? "" : "I11 goodput " + std::to_string(good);
}

std::string attempts_at_most(const Invariants& outcome, double most) {
  const double made = outcome.amplification(Nanos{0}, kForever);
  // A budget may be spent to the last attempt, where both sides are the same number rounded differently.
  return made <= most + 1e-9 ? "" : "I11 " + std::to_string(made) + " attempts per request";
}

namespace {

struct Result {
  std::string broken;
  Nanos at{0};
  std::uint64_t exchange = 0;
  std::uint64_t hash = 0;
  std::size_t requests = 0;
  std::uint64_t attempts = 0;
  double goodput = 0;
};

Result run(const Scenario& scenario, std::uint64_t seed, bool replay) {
  World world{seed};
  Rng choices = world.actor();
  const Setup setup = scenario.draw(choices);
  Invariants invariants{world};
  Sidecar sidecar{world, invariants, setup, replay};
  const ModelClients clients{world, setup.traffic, [&](const Request& request) { sidecar.send(request); }};
  world.run();
  if (invariants.holds()) sidecar.at_rest();
  if (invariants.holds()) invariants.broken(0, scenario.judge(setup, invariants));
  return {.broken = invariants.what(),
          .at = invariants.at(),
          .exchange = invariants.exchange(),
          .hash = invariants.hash(),
          .requests = invariants.requests(),
          .attempts = invariants.attempts(),
          .goodput = invariants.goodput(Nanos{0}, kForever)};
}

void print_failure(const Scenario& scenario, std::uint64_t seed, const Result& result) {
  const std::string_view what = result.broken;
  const std::size_t space = what.find(' ');
  const std::string name{scenario.name};
  std::printf("seed=%llu scenario=%s at=%.6fs invariant=%s exchange=%llu: %s\n", static_cast<unsigned long long>(seed),
              name.c_str(), static_cast<double>(result.at.count()) / 1e9, std::string{what.substr(0, space)}.c_str(),
              static_cast<unsigned long long>(result.exchange), std::string{what.substr(space + 1)}.c_str());
  std::printf("replay: simulator --scenario %s --seed %llu --replay\n", name.c_str(),
              static_cast<unsigned long long>(seed));
}

/// Answers whether every seed held.
bool run_seeds(const Scenario& scenario, std::uint64_t first, std::uint64_t last, bool replay) {
  const auto began = std::clock();
  std::uint64_t hash = 0;
  std::size_t requests = 0;
  std::uint64_t attempts = 0;
  double goodput = 0;
  for (std::uint64_t seed = first; seed <= last; ++seed) {
    Result result = run(scenario, seed, replay);
    if (result.broken.empty() && !replay && run(scenario, seed, false).hash != result.hash) {
      result.broken = "I10 the same seed ended in another hash";
    }
    if (!result.broken.empty()) {
      print_failure(scenario, seed, result);
      return false;
    }
    hash = (hash ^ result.hash) * 0x100000001b3u;
    requests += result.requests;
    attempts += result.attempts;
    goodput += result.goodput / static_cast<double>(last - first + 1);
  }
  std::printf("%s: %llu seeds, %zu requests, %llu attempts, goodput %.4f, hash %016llx, %.2f s\n",
              std::string{scenario.name}.c_str(), static_cast<unsigned long long>(last - first + 1), requests,
              static_cast<unsigned long long>(attempts), goodput, static_cast<unsigned long long>(hash),
              static_cast<double>(std::clock() - began) / CLOCKS_PER_SEC);
  return true;
}

std::vector<Scenario> all_scenarios() {
  std::vector<Scenario> all;
  for (const auto group : {traffic_scenarios(), budget_scenarios(), system_scenarios(), policy_scenarios()}) {
    all.insert(all.end(), group.begin(), group.end());
  }
  return all;
}

struct Options {
  std::string_view scenario;
  std::uint64_t first = 1;
  std::uint64_t last = 50;
  bool replay = false;
  bool list = false;
};

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    const bool more = i + 1 < argc;
    if (option == "--scenario" && more) {
      options.scenario = argv[++i];
    } else if (option == "--seed" && more) {
      options.first = options.last = std::strtoull(argv[++i], nullptr, 10);
    } else if (option == "--seeds" && more) {
      options.last = std::strtoull(argv[++i], nullptr, 10);
    } else if (option == "--replay") {
      options.replay = true;
    } else if (option == "--list") {
      options.list = true;
    } else {
      return false;
    }
  }
  return true;
}

int run_all(const Options& options) {
  bool held = true;
  bool found = false;
  for (const Scenario& scenario : all_scenarios()) {
    if (options.list) {
      std::printf("%-16s %s\n", std::string{scenario.name}.c_str(), std::string{scenario.what}.c_str());
      continue;
    }
    if (!options.scenario.empty() && scenario.name != options.scenario) continue;
    found = true;
    held = run_seeds(scenario, options.first, options.last, options.replay) && held;
  }
  if (!found && !options.list) std::fprintf(stderr, "no such scenario\n");
  return (found && held) || options.list ? 0 : 1;
}

}  // namespace
}  // namespace outrigger::sim

int main(int argc, char** argv) {
  outrigger::sim::Options options;
  if (!outrigger::sim::parse(argc, argv, options)) {
    std::fprintf(stderr, "usage: simulator [--scenario NAME] [--seed N | --seeds N] [--replay] [--list]\n");
    return 2;
  }
  return outrigger::sim::run_all(options);
}
