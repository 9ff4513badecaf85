// tests/bench/micro/micro_bench.cpp
//
// The program: the table of what every decision and a whole exchange cost, without sockets. See bench.hpp.
//   micro_bench [--rounds N]         the table; exit status 1 if a promise or a goal is missed
//   micro_bench --once               every row a few times, for its allocations alone
//   micro_bench --repeat N [TEXT]    the rows whose names contain TEXT, so often each, for a profiler
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "tests/bench/micro/bench.hpp"

namespace {

int usage() {
  std::fputs("usage: micro_bench [--rounds N | --once | --repeat N [TEXT]]\n", stderr);
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace outrigger::bench;
  Bench bench;
  add_attempt_rows(bench);
  add_admission_rows(bench);
  add_cache_rows(bench);
  add_exchange_rows(bench);

  const std::string_view mode = argc > 1 ? argv[1] : "--rounds";
  if (mode == "--once") return bench.smoke() ? 0 : 1;
  const int number = argc > 2 ? std::atoi(argv[2]) : mode == "--rounds" && argc == 1 ? 9 : 0;
  if (number < 1) return usage();
  if (mode == "--rounds") return bench.measure(number) ? 0 : 1;
  if (mode != "--repeat") return usage();
  bench.repeat(number, argc > 3 ? argv[3] : "");
  return 0;
}
