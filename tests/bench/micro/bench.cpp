#include "tests/bench/micro/bench.hpp"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <thread>

#include "tests/support/allocations.hpp"

namespace outrigger::bench {
namespace {

constexpr Nanos kLength = std::chrono::milliseconds{20};  // of a measurement
constexpr std::int64_t kWarmUp = 2048;                    // turns; more than there are keys in any table
constexpr std::int64_t kSmoke = 64;
constexpr std::uint32_t kParts = 100;  // short ones, or there is always somebody in between

using Run = std::function<void(std::uint32_t worker, std::int64_t first, std::int64_t count)>;

struct Span {
  double cpu_ns = 0;
  double began_ns = 0;
  double ended_ns = 0;
  long preemptions = 0;
  std::uint64_t allocations = 0;

  double wall_ns() const { return ended_ns - began_ns; }
};

/// The bench alone reads clocks: it measures.
double clock_ns(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

/// How often the calling thread had to make way for another process.
long preemptions() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nivcsw;
}

template <class Work>
Span timed(Work work) {
  const long before = preemptions();
  const std::uint64_t allocations = test::allocations();
  const double began = clock_ns(CLOCK_MONOTONIC);
  const double cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
  work();
  const double spent = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
  const double ended = clock_ns(CLOCK_MONOTONIC);
  return {spent, began, ended, preemptions() - before, test::allocations() - allocations};
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// How much of the measured time the processor was the measured thread's own.
double share_of(const Span& span) { return span.cpu_ns / std::max(1.0, span.wall_ns()); }

/// Keeps the calling thread on the n-th of the processors that it may use, so that two do not share one.
void stay_on_processor(std::uint32_t n) {
  cpu_set_t all;
  if (sched_getaffinity(0, sizeof all, &all) != 0) return;
  n %= static_cast<std::uint32_t>(CPU_COUNT(&all));
  for (std::uint32_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &all) || n-- > 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    pthread_setaffinity_np(pthread_self(), sizeof one, &one);
    return;
  }
}

using Parts = std::array<std::array<Span, kParts>, kWorkers>;

/// Has all workers run the turns at once, part after part.
Parts run_together(const Run& run, std::int64_t first, std::int64_t turns_of_part) {
  Parts spans;
  std::atomic<std::uint32_t> arrived{0};
  std::vector<std::thread> threads;
  for (std::uint32_t worker = 0; worker < kWorkers; ++worker) {
    threads.emplace_back([&, worker] {
      stay_on_processor(worker);
      for (std::uint32_t i = 0; i < kParts; ++i) {
        arrived.fetch_add(1);
        while (arrived.load() < (i + 1) * kWorkers) {
        }
        spans[worker][i] = timed([&] { run(worker, first + i * turns_of_part, turns_of_part); });
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return spans;
}

struct Together {
  double ns = 0;     // of a turn
  double share = 0;  // of the parts in which all ran at once
};

/// Whether both ran at once and no other process came between. Who fights for a cache line may be much slower than who
/// holds it, and ends later; so it is the quicker one's time that counts.
bool truly_shared(const Span& a, const Span& b) {
  const double at_once = std::min(a.ended_ns, b.ended_ns) - std::max(a.began_ns, b.began_ns);
  return a.preemptions == 0 && b.preemptions == 0 && at_once >= 0.8 * std::min(a.wall_ns(), b.wall_ns());
}

/// What the slower one needed, waiting for locks included. Where one worker had to make way for other processes, the
/// other ran alone: only parts that were truly shared count. Not a number where there are none.
Together together(const Run& run, std::int64_t first, std::int64_t count) {
  const std::int64_t turns = std::max<std::int64_t>(1, count / kParts);
  const Parts spans = run_together(run, first, turns);
  std::vector<double> shared;
  for (std::uint32_t i = 0; i < kParts; ++i) {
    const Span& a = spans[0][i];
    const Span& b = spans[1][i];
    if (truly_shared(a, b)) shared.push_back(std::max(a.wall_ns(), b.wall_ns()) / static_cast<double>(turns));
  }
  if (shared.empty()) return {std::numeric_limits<double>::quiet_NaN(), 0};
  return {median(shared), static_cast<double>(shared.size()) / kParts};
}

std::string spread(std::vector<double> values) {
  std::erase_if(values, [](double value) { return std::isnan(value); });
  if (values.empty()) return "-";
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.1f [%.1f-%.1f]", median(values),
                *std::min_element(values.begin(), values.end()), *std::max_element(values.begin(), values.end()));
  return text.data();
}

std::vector<double> difference_of(const std::vector<double>& more, const std::vector<double>& less) {
  std::vector<double> result;
  for (std::size_t i = 0; i < more.size(); ++i) result.push_back(more[i] - less[i]);
  return result;
}

void print_line(const std::string& name, const std::string& alone, const std::string& together,
                const std::string& allocations) {
  std::printf("| %-46s | %-24s | %-24s | %-11s |\n", name.c_str(), alone.c_str(), together.c_str(),
              allocations.c_str());
}

// Two functions of their own, so that callgrind can tell what happens in the one from what comes before.
[[gnu::noinline]] void warm_up_row(const Run& run) {
  for (std::uint32_t worker = 0; worker < kWorkers; ++worker) run(worker, 0, kWarmUp);
}
[[gnu::noinline]] void repeat_row(const Run& run, std::int64_t times) { run(0, kWarmUp, times); }

}  // namespace

std::size_t Bench::index_of(std::string_view name) const {
  const auto found = std::find_if(rows_.begin(), rows_.end(), [&](const Row& row) { return row.name == name; });
  if (found == rows_.end()) std::abort();
  return static_cast<std::size_t>(found - rows_.begin());
}

void Bench::difference(std::string name, std::string_view more, std::string_view less, Nanos most) {
  differences_.push_back({std::move(name), index_of(more), index_of(less), most});
}

void Bench::calibrate(Row& row) {
  warm_up_row(row.run);
  row.next = kWarmUp;
  Span span;
  do {
    row.batch *= 2;
    span = timed([&] { row.run(0, row.next, row.batch); });
    row.next += row.batch;
  } while (span.cpu_ns < static_cast<double>(kLength.count()));
}

void Bench::visit(Row& row) {
  const auto turns = static_cast<double>(row.batch);
  const Span one = timed([&] { row.run(0, row.next, row.batch); });
  row.next += row.batch;
  row.alone.push_back(one.cpu_ns / turns);
  row.allocations = std::max(row.allocations, static_cast<double>(one.allocations) / turns);
  const Together two = together(row.run, row.next, row.batch);
  row.next += row.batch;
  row.together.push_back(two.ns);
  undisturbed_.alone += share_of(one);
  undisturbed_.together += two.share;
  ++undisturbed_.visits;
}

bool Bench::keeps_promise(const Row& row) { return row.allocations <= row.allowed; }

void Bench::print(const Row& row) {
  std::array<char, 32> allocations{};
  std::snprintf(allocations.data(), allocations.size(), "%.4g", row.allocations);
  print_line(row.name, spread(row.alone), spread(row.together), allocations.data());
}

bool Bench::measure(int rounds) {
  for (Row& row : rows_) calibrate(row);
  for (int round = 0; round < rounds; ++round) {
    for (Row& row : rows_) visit(row);
    std::fprintf(stderr, "round %d of %d\n", round + 1, rounds);
  }
  print_line("decision", "ns, 1 thread", "ns, 2 threads", "allocations");
  print_line(std::string(46, '-'), std::string(24, '-'), std::string(24, '-'), std::string(11, '-'));
  for (const Row& row : rows_) print(row);
  for (const Difference& difference : differences_) {
    const Row& more = rows_[difference.more];
    const Row& less = rows_[difference.less];
    print_line(difference.name, spread(difference_of(more.alone, less.alone)),
               spread(difference_of(more.together, less.together)), "");
  }
  std::printf("\nmedian [least-most] of %d rounds; the processor was theirs for %.0f %% of the time, two for %.0f %%\n",
              rounds, 100 * undisturbed_.alone / undisturbed_.visits,
              100 * undisturbed_.together / undisturbed_.visits);
  return judge();
}

bool Bench::judge() const {
  bool met = true;
  for (const Row& row : rows_) {
    if (!row.excuse.empty()) std::printf("note %s: %s\n", row.name.c_str(), row.excuse.c_str());
    if (keeps_promise(row)) continue;
    met = false;
    std::printf("miss %s: %.3f allocations (promised: %.0f)\n", row.name.c_str(), row.allocations, row.allowed);
  }
  for (const Difference& difference : differences_) {
    if (difference.most == kForever) continue;
    const double ns = median(difference_of(rows_[difference.more].alone, rows_[difference.less].alone));
    const bool good = ns <= static_cast<double>(difference.most.count());
    met = met && good;
    std::printf("%s %s: %.0f ns (goal: at most %lld)\n", good ? "ok  " : "miss", difference.name.c_str(), ns,
                static_cast<long long>(difference.most.count()));
  }
  return met;
}

bool Bench::smoke() {
  bool met = true;
  for (Row& row : rows_) {
    warm_up_row(row.run);
    const Span span = timed([&] { row.run(0, kWarmUp, kSmoke); });
    row.allocations = static_cast<double>(span.allocations) / static_cast<double>(kSmoke);
    const bool good = keeps_promise(row);
    met = met && good;
    std::printf("%s %s: %.3f allocations\n", good ? "ok  " : "miss", row.name.c_str(), row.allocations);
  }
  return met;
}

void Bench::repeat(std::int64_t times, std::string_view text) {
  for (Row& row : rows_) {
    if (row.name.find(text) == std::string::npos) continue;
    warm_up_row(row.run);
    repeat_row(row.run, times);
    std::printf("%s\n", row.name.c_str());
  }
}

}  // namespace outrigger::bench
