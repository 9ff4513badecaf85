#include "tests/sim/world.hpp"

#include <algorithm>
#include <cmath>
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
    case Shape::pareto: return std::min(upper, scaled(scale, std::pow(1 - rng.uniform(), -1 / tail)));
  }
  return scale;
}

bool chance(Rng& rng, double p) { return p > 0 && rng.uniform() < p; }

void World::at(TimePoint when, std::function<void()> what) {
  heap_.push_back({std::max(when, now_), sequence_++, std::move(what)});
  std::push_heap(heap_.begin(), heap_.end(), later);
}

void World::run() {
  while (!heap_.empty() && !stopped_) {
    std::pop_heap(heap_.begin(), heap_.end(), later);
    const Event event = std::move(heap_.back());
    heap_.pop_back();
    now_ = event.when;
    event.what();
  }
}

}  // namespace outrigger::sim
