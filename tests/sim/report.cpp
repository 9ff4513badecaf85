#include "tests/sim/report.hpp"

#include <algorithm>
#include <cstdio>
#include <string>

namespace outrigger::sim {
namespace {

constexpr std::size_t kFailuresShown = 5;

/// A width for text and one for each number; the last column is as long as it is.
constexpr const char* kRow = "%-24s %6s %11s %9s %7s %8s %-16s  %-34s %9s %9s %9s  %s\n";

std::string shown(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", value < 10 ? 4 : value < 1000 ? 2 : 0, value);
  return text;
}

std::string shown(std::uint64_t value) { return std::to_string(value); }

std::string bound_of(const Figure& figure) {
  const bool least = figure.least != -Figure::kNoBound;
  const bool most = figure.most != Figure::kNoBound;
  std::string text = least ? ">= " + shown(figure.least) : "";
  if (least && most) text += ", ";
  return most ? text + "<= " + shown(figure.most) : text;
}

/// Of that figure over all seeds that have it, in order of size; a run that was stopped has none.
std::vector<double> values_of(const std::vector<Result>& results, std::size_t index) {
  std::vector<double> values;
  for (const Result& result : results) {
    if (index < result.figures.size()) values.push_back(result.figures[index].value);
  }
  std::sort(values.begin(), values.end());
  return values;
}

}  // namespace

void print_header() {
  std::printf(kRow, "scenario", "seeds", "requests", "att/req", "broken", "cpu s", "hash", "figure", "median", "least",
              "most", "bound");
}

void print_rows(const Scenario& scenario, const std::vector<Result>& results, double cpu_seconds) {
  std::uint64_t hash = 0;
  std::uint64_t requests = 0;
  std::uint64_t attempts = 0;
  std::uint64_t broken = 0;
  Figures figures;
  for (const Result& result : results) {
    hash = (hash ^ result.hash) * 0x100000001b3u;
    requests += result.requests;
    attempts += result.attempts;
    broken += result.broken.empty() ? 0 : 1;
    if (figures.empty()) figures = result.figures;
  }
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(hash));
  const double cost = requests == 0 ? 0 : static_cast<double>(attempts) / static_cast<double>(requests);
  std::vector<std::string> row = {std::string{scenario.name},
                                  shown(results.size()),
                                  shown(requests),
                                  shown(cost),
                                  shown(broken),
                                  shown(cpu_seconds),
                                  digits};
  for (std::size_t i = 0; i < std::max<std::size_t>(1, figures.size()); ++i) {
    const std::vector<double> values = values_of(results, i);
    const auto value = [&](std::size_t at) { return values.empty() ? "" : shown(values[at]); };
    std::printf(kRow, row[0].c_str(), row[1].c_str(), row[2].c_str(), row[3].c_str(), row[4].c_str(), row[5].c_str(),
                row[6].c_str(), values.empty() ? "" : std::string{figures[i].name}.c_str(),
                value(values.size() / 2).c_str(), value(0).c_str(), value(values.size() - 1).c_str(),
                values.empty() ? "" : bound_of(figures[i]).c_str());
    std::fill(row.begin(), row.end(), "");
  }
  std::fflush(stdout);
}

void print_failures(const Scenario& scenario, const std::vector<Result>& results, std::string_view command) {
  std::size_t left = kFailuresShown;
  for (const Result& result : results) {
    if (result.broken.empty() || left-- == 0) continue;
    const std::string name{scenario.name};
    const std::size_t space = result.broken.find(' ');
    std::printf("seed=%llu scenario=%s at=%.6fs invariant=%s exchange=%llu: %s\n",
                static_cast<unsigned long long>(result.seed), name.c_str(),
                static_cast<double>(result.at.count()) / 1e9, result.broken.substr(0, space).c_str(),
                static_cast<unsigned long long>(result.exchange), result.broken.substr(space + 1).c_str());
    std::printf("replay: %s --scenario %s --seed %llu --replay\n", std::string{command}.c_str(), name.c_str(),
                static_cast<unsigned long long>(result.seed));
    if (left == 0) break;
  }
}

}  // namespace outrigger::sim
