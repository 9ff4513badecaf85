#include "tests/sim/world.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

namespace outrigger::sim {

Nanos Times::draw(Rng& rng) const {
  const auto scaled = [](Nanos by, double factor) {
    return Nanos{static_cast<std::int64_t>(static_cast<double>(by.count()) * factor)};
  };
  switch (shape) {
    case Shape::constant: return scale;
    case Shape::uniform: return scale + scaled(upper - scale, rng.uniform());
    case Shape::exponential: return scaled(scale, -std::log(1 - rng.uniform()));
    case Shape::lognormal: {
      // Box and Muller, 1958.
      const double normal =
          std::sqrt(-2 * std::log(1 - rng.uniform())) * std::cos(2 * std::numbers::pi * rng.uniform());
      return scaled(scale, std::exp(tail * normal - tail * tail / 2));
    }
    case Shape::pareto: return std::min(upper, scaled(scale, std::pow(1 - rng.uniform(), -1 / tail)));
  }
  return scale;
}

bool chance(Rng& rng, double p) { return p > 0 && rng.uniform() < p; }

void World::at(TimePoint when, std::function<void()> what) {
  if (free_.empty()) {
    free_.push_back(what_.size());
    what_.emplace_back();
  }
  const std::size_t place = free_.back();
  free_.pop_back();
  what_[place] = std::move(what);
  heap_.push_back({std::max(when, now_), sequence_++, place});
  std::push_heap(heap_.begin(), heap_.end(), later);
}

void World::run() {
  while (!heap_.empty() && !stopped_) {
    std::pop_heap(heap_.begin(), heap_.end(), later);
    const Event event = heap_.back();
    heap_.pop_back();
    now_ = event.when;
    const std::function<void()> what = std::move(what_[event.place]);
    free_.push_back(event.place);
    what();
  }
}

void World::clear() {
  // What goes may ask for more: a place that it gives back wakes somebody.
  while (!heap_.empty()) {
    heap_.clear();
    free_.clear();
    std::vector<std::function<void()>>{}.swap(what_);
  }
}

}  // namespace outrigger::sim
