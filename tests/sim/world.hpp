// tests/sim/world.hpp
//
// Time and chance for everything simulated. One queue of events ordered by time and, at the same time, by the order in
// which they were asked for: nothing else decides what happens next, so a seed is a whole history. Every actor draws
// from a generator of its own, split off in order of creation, so that one actor's extra draw does not change
// another's.
#pragma once

#include <functional>
#include <vector>

#include "proxy/base/rng.hpp"
#include "proxy/base/time.hpp"

namespace outrigger::sim {

/// A distribution of times, drawn by code of our own: the library's differ between implementations.
struct Times {
  enum class Shape : std::uint8_t { constant, uniform, exponential, pareto, lognormal };

  Shape shape = Shape::constant;
  Nanos scale{0};   // the value, the lower bound, the mean, or the least
  Nanos upper{0};   // of uniform; the cap of pareto
  double tail = 2;  // of pareto: smaller is heavier; of lognormal: sigma

  Nanos draw(Rng& rng) const;
};

inline Times constant(Nanos value) { return {.scale = value}; }
inline Times uniform(Nanos low, Nanos high) { return {.shape = Times::Shape::uniform, .scale = low, .upper = high}; }
inline Times exponential(Nanos mean) { return {.shape = Times::Shape::exponential, .scale = mean}; }
inline Times pareto(Nanos least, Nanos cap, double tail = 1.5) {
  return {.shape = Times::Shape::pareto, .scale = least, .upper = cap, .tail = tail};
}

inline Times lognormal(Nanos mean, double sigma) {
  return {.shape = Times::Shape::lognormal, .scale = mean, .tail = sigma};
}

/// True with probability `p`.
bool chance(Rng& rng, double p);

class World {
 public:
  explicit World(std::uint64_t seed) : root_(seed) {}

  TimePoint now() const { return now_; }
  Rng actor() { return root_.split(); }
  void at(TimePoint when, std::function<void()> what);
  void after(Nanos delay, std::function<void()> what) { at(saturating_add(now_, delay), std::move(what)); }

  /// Lets events happen until there are none left or `stop` was called.
  void run();
  void stop() { stopped_ = true; }
  /// Forgets what was still to happen, and what that kept alive.
  void clear();

 private:
  struct Event {
    TimePoint when;
    std::uint64_t sequence;
    std::size_t place;  // in `what_`: the heap moves small things only
  };
  static bool later(const Event& a, const Event& b) {
    return a.when != b.when ? a.when > b.when : a.sequence > b.sequence;
  }

  TimePoint now_{std::chrono::hours{1}};
  Rng root_;
  std::vector<Event> heap_;
  std::vector<std::function<void()>> what_;
  std::vector<std::size_t> free_;  // places of `what_`
  std::uint64_t sequence_ = 0;
  bool stopped_ = false;
};

}  // namespace outrigger::sim
