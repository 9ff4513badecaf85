// tests/bench/micro/bench.hpp
//
// What a decision costs: nanoseconds and heap allocations per operation. Each operation is run in batches; of at least
// five runs the median, the least and the most are printed, because a machine that is shared has no other honest
// numbers. What workers share is measured twice, by one thread and by two at once on the same state.
//
// Each mechanism has a file of its own beside this one, which adds its operations with a BenchGroup.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "proxy/base/time.hpp"
#include "tests/support/allocations.hpp"

namespace outrigger::bench {

/// Keeps the compiler from dropping a result nobody reads.
template <class T>
void keep(T&& value) {
  asm volatile("" : : "g"(&value) : "memory");
}

class Bench {
 public:
  /// `once`: every operation runs a single time, which shows that it still works.
  explicit Bench(bool once) noexcept : once_(once) {
    if (!once_) std::printf("%-44s %9s %9s %9s %9s\n", "operation", "median ns", "min", "max", "allocs/op");
  }

  /// Measures an operation of one owner.
  template <class Operation>
  void operator()(const char* name, Operation operation) const {
    measure<1>(name, [&](std::uint32_t) { operation(); });
  }

  /// Measures an operation on shared state, given the index of the worker it runs on: by one thread and by two.
  template <class Operation>
  void shared(const char* name, Operation operation) const {
    measure<1>(name, operation);
    measure<2>((std::string{name} + ", 2 threads").c_str(), operation);
  }

 private:
  static constexpr int kRuns = 9;
  static constexpr Nanos kRunLength = std::chrono::milliseconds{50};

  struct Run {
    std::int64_t ns = 0;  // of the slower thread
    std::uint64_t allocations = 0;
  };

  template <std::uint32_t Threads, class Operation>
  void measure(const char* name, Operation operation) const {
    if (once_) {
      for (std::uint32_t worker = 0; worker < Threads; ++worker) operation(worker);
      std::printf("%-44s ran\n", name);
      return;
    }
    std::int64_t batch = 1;
    while (run<Threads>(operation, batch).ns < kRunLength.count()) batch *= 2;
    std::array<double, kRuns> per_op{};
    std::uint64_t allocations = 0;
    for (double& each : per_op) {
      const Run measured = run<Threads>(operation, batch);
      each = static_cast<double>(measured.ns) / static_cast<double>(batch);
      allocations += measured.allocations;
    }
    std::sort(per_op.begin(), per_op.end());
    std::printf("%-44s %9.1f %9.1f %9.1f %9.3f\n", name, per_op[kRuns / 2], per_op.front(), per_op.back(),
                static_cast<double>(allocations) / static_cast<double>(batch) / kRuns / Threads);
  }

  template <std::uint32_t Threads, class Operation>
  static Run run(Operation& operation, std::int64_t batch) {
    if constexpr (Threads == 1) {
      return on_this_thread(operation, 0, batch);
    } else {
      std::array<Run, Threads> runs{};
      std::atomic<std::uint32_t> missing{Threads};
      std::vector<std::thread> threads;
      for (std::uint32_t worker = 0; worker < Threads; ++worker) {
        threads.emplace_back([&, worker] {
          missing.fetch_sub(1);
          while (missing.load() != 0) {
          }
          runs[worker] = on_this_thread(operation, worker, batch);
        });
      }
      for (std::thread& thread : threads) thread.join();
      Run all;
      for (const Run& each : runs) all = {std::max(all.ns, each.ns), all.allocations + each.allocations};
      return all;
    }
  }

  template <class Operation>
  static Run on_this_thread(Operation& operation, std::uint32_t worker, std::int64_t batch) {
    const std::uint64_t before = test::allocations();
    const std::int64_t began = clock_ns();
    for (std::int64_t i = 0; i < batch; ++i) operation(worker);
    return {clock_ns() - began, test::allocations() - before};
  }

  /// The bench alone reads a clock: it measures.
  static std::int64_t clock_ns() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

  bool once_;
};

/// Adds a file's operations to the program.
class BenchGroup {
 public:
  explicit BenchGroup(void (*operations)(const Bench&)) noexcept : operations_(operations), next_(first_) {
    first_ = this;
  }

  static void run_all(const Bench& bench) {
    for (const BenchGroup* group = first_; group != nullptr; group = group->next_) group->operations_(bench);
  }

 private:
  static inline const BenchGroup* first_ = nullptr;

  void (*operations_)(const Bench&);
  const BenchGroup* next_;
};

}  // namespace outrigger::bench
