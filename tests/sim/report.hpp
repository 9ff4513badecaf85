// tests/sim/report.hpp
//
// Gathers what the seeds of one scenario came to, and prints it as rows of one table: what was run, how many seeds
// broke a promise, and the median, the least and the most of each figure beside its bound.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "tests/sim/scenario.hpp"

namespace outrigger::sim {

/// What one seed came to. Nothing is broken if `broken` is empty.
struct Result {
  std::uint64_t seed = 0;
  std::string broken;
  Nanos at{0};
  std::uint64_t exchange = 0;
  std::uint64_t hash = 0;
  std::size_t requests = 0;
  std::uint64_t attempts = 0;
  Figures figures;
};

void print_header();
/// `results` in order of their seeds; `command` is how this program was started.
void print_rows(const Scenario& scenario, const std::vector<Result>& results, double cpu_seconds);
void print_failures(const Scenario& scenario, const std::vector<Result>& results, std::string_view command);

}  // namespace outrigger::sim
