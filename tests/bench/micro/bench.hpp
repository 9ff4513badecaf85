// tests/bench/micro/bench.hpp
//
// What decisions cost: nanoseconds by one thread and by two at once on the same state, and heap allocations. A row is
// one operation; a round visits every row, so that what disturbs the machine disturbs all of them, and what is printed
// is the median of the rounds with the least and the most, because a machine that is shared has no other honest
// numbers. The time of one thread is its own by the scheduler's count: what others do on the machine is not in it. Two
// threads stay on a processor each, and only those parts of a measurement count in which both ran at once and neither
// had to make way. What a row costs beyond another is made of differences within a round.
//
// A row may be run by itself as often as wanted (`repeat`), so that callgrind can count its instructions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proxy/base/time.hpp"

namespace outrigger::bench {

/// Keeps the compiler from dropping a result nobody reads.
template <class T>
void keep(T&& value) {
  asm volatile("" : : "g"(&value) : "memory");
}

/// More threads than these are never run at once; states that are cut by worker are made for so many.
inline constexpr std::uint32_t kWorkers = 2;

/// Which run of an operation: by which worker, and the how-manieth of that worker. Time is made of the latter, so that
/// it passes for all workers alike.
struct Turn {
  std::uint32_t worker = 0;
  std::int64_t number = 0;

  /// The time of a turn if each takes `step`.
  TimePoint at(Nanos step) const noexcept { return TimePoint{std::chrono::hours{1}} + number * step; }
};

class Bench {
 public:
  /// Adds a row. The operation takes a Turn; it owns what it needs, and may be run by two threads at once.
  template <class Operation>
  void row(std::string name, Operation operation) {
    rows_.emplace_back().name = std::move(name);
    rows_.back().run = [operation](std::uint32_t worker, std::int64_t first, std::int64_t count) {
      for (std::int64_t number = first; number < first + count; ++number) operation(Turn{worker, number});
    };
  }
  /// The row added last may allocate so often, and why.
  void allocates(double times, std::string why) {
    rows_.back().allowed = times;
    rows_.back().excuse = std::move(why);
  }
  /// Adds a row that shows what one of the rows costs more than another.
  void difference(std::string name, std::string_view more, std::string_view less, Nanos most);

  /// Measures all rows and prints the table; false if a promise was broken or a goal missed.
  bool measure(int rounds);
  /// Runs every row a few times and looks at its allocations alone; false if a promise was broken.
  bool smoke();
  /// Runs each row whose name contains `text` so often, in a function that callgrind can
  /// tell from the rest, and prints its name.
  void repeat(std::int64_t times, std::string_view text);

 private:
  struct Row {
    std::string name;
    std::function<void(std::uint32_t worker, std::int64_t first, std::int64_t count)> run;
    double allowed = 0;
    std::string excuse;

    std::int64_t next = 0;   // turn
    std::int64_t batch = 1;  // turns of a measurement
    std::vector<double> alone;
    std::vector<double> together;
    double allocations = 0;  // per turn
  };
  struct Difference {
    std::string name;
    std::size_t more;
    std::size_t less;
    Nanos most;
  };

  std::size_t index_of(std::string_view name) const;
  static void calibrate(Row& row);
  void visit(Row& row);
  static bool keeps_promise(const Row& row);
  static void print(const Row& row);
  bool judge() const;

  std::vector<Row> rows_;
  std::vector<Difference> differences_;
  struct {
    double alone = 0;  // sums of shares
    double together = 0;
    double visits = 0;
  } undisturbed_;
};

// The rows, by subject.
void add_attempt_rows(Bench& bench);
void add_admission_rows(Bench& bench);
void add_cache_rows(Bench& bench);
void add_exchange_rows(Bench& bench);

}  // namespace outrigger::bench
