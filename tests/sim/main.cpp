// tests/sim/main.cpp
//
// Runs scenarios by seed:
//
//   simulator [--scenario NAME] [--seed N | --seeds N | --soak] [--jobs N] [--replay] [--list]
//
// Without numbers each scenario takes as many seeds as it names itself, from 1 on; --soak takes twenty times as many,
// on all processors. Most seeds are run twice, and both runs must end in the same hash (I10). What breaks is printed
// with the command that replays it.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/sim/report.hpp"
#include "tests/sim/scenario.hpp"

namespace outrigger::sim {
namespace {

constexpr std::uint64_t kSoakTimes = 20;

std::string first_out_of_bounds(const Figures& figures) {
  for (const Figure& figure : figures) {
    if (!figure.holds()) return "I11 " + std::string{figure.name} + " is " + std::to_string(figure.value);
  }
  return {};
}

Result run(const Scenario& scenario, std::uint64_t seed, bool replay) {
  World world{seed};
  Rng choices = world.actor();
  const Setup setup = scenario.draw(choices);
  Invariants invariants{world};
  Sidecar sidecar{world, invariants, setup, replay};
  const ModelClients clients{world, setup.traffic, [&](const Request& request) { sidecar.send(request); }};
  world.run();
  if (invariants.holds()) sidecar.at_rest();
  Figures figures;
  if (invariants.holds()) figures = scenario.measure(setup, invariants.account());
  invariants.broken(0, first_out_of_bounds(figures));
  return {.seed = seed,
          .broken = invariants.what(),
          .at = invariants.at(),
          .exchange = invariants.exchange(),
          .hash = invariants.hash(),
          .requests = invariants.account().requests(),
          .attempts = invariants.account().attempts(),
          .figures = std::move(figures)};
}

Result run_checked(const Scenario& scenario, std::uint64_t seed, bool replay) {
  Result result = run(scenario, seed, replay);
  const bool again = scenario.run_twice() && !replay && result.broken.empty();
  if (again && run(scenario, seed, false).hash != result.hash) {
    result.broken = "I10 the same seed ended in another hash";
  }
  return result;
}

struct Options {
  std::string_view scenario;
  std::uint64_t first = 1;
  std::optional<std::uint64_t> last;  // absent: what the scenario says, so many times
  std::uint64_t times = 1;
  unsigned jobs = 1;
  bool replay = false;
  bool list = false;
};

/// Seeds do not know of each other, so any thread may run any of them.
std::vector<Result> run_seeds(const Scenario& scenario, const Options& options) {
  const std::uint64_t count = options.last.value_or(scenario.seeds * options.times) - options.first + 1;
  std::vector<Result> results(count);
  std::atomic<std::uint64_t> next{0};
  const auto work = [&] {
    for (std::uint64_t i = next++; i < count; i = next++) {
      results[i] = run_checked(scenario, options.first + i, options.replay);
    }
  };
  std::vector<std::jthread> others;
  for (unsigned i = 1; i < options.jobs; ++i) others.emplace_back(work);
  work();
  others.clear();
  return results;
}

/// Answers whether every seed held.
bool run_scenario(const Scenario& scenario, const Options& options, std::string_view command) {
  const std::clock_t began = std::clock();
  const std::vector<Result> results = run_seeds(scenario, options);
  print_rows(scenario, results, static_cast<double>(std::clock() - began) / CLOCKS_PER_SEC);
  print_failures(scenario, results, command);
  return std::ranges::all_of(results, [](const Result& result) { return result.broken.empty(); });
}

std::vector<Scenario> all_scenarios() {
  std::vector<Scenario> all;
  for (const auto group :
       {traffic_scenarios(), budget_scenarios(), system_scenarios(), load_scenarios(), mixture_scenarios()}) {
    all.insert(all.end(), group.begin(), group.end());
  }
  return all;
}

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    const auto number = [&] { return std::strtoull(argv[++i], nullptr, 10); };
    const bool more = i + 1 < argc;
    if (option == "--scenario" && more) {
      options.scenario = argv[++i];
    } else if (option == "--seed" && more) {
      options.last = options.first = number();
    } else if (option == "--seeds" && more) {
      options.last = number();
    } else if (option == "--jobs" && more) {
      options.jobs = static_cast<unsigned>(number());
    } else if (option == "--soak") {
      options.times = kSoakTimes;
      options.jobs = std::thread::hardware_concurrency();
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

void list() {
  for (const Scenario& scenario : all_scenarios()) {
    std::printf("%-24s %2u  %s\n", std::string{scenario.name}.c_str(), scenario.seeds,
                std::string{scenario.what}.c_str());
  }
}

int run_all(const Options& options, std::string_view command) {
  bool held = true;
  bool found = false;
  print_header();
  for (const Scenario& scenario : all_scenarios()) {
    if (!options.scenario.empty() && scenario.name != options.scenario) continue;
    found = true;
    held = run_scenario(scenario, options, command) && held;
  }
  if (!found) std::fprintf(stderr, "no such scenario\n");
  return found && held ? 0 : 1;
}

}  // namespace
}  // namespace outrigger::sim

int main(int argc, char** argv) {
  using namespace outrigger::sim;
  Options options;
  if (!parse(argc, argv, options)) {
    std::fprintf(stderr,
                 "usage: simulator [--scenario NAME] [--seed N | --seeds N | --soak] [--jobs N] [--replay] [--list]\n");
    return 2;
  }
  if (options.list) {
    list();
    return 0;
  }
  return run_all(options, argv[0]);
}
